"""A bucket that is mounted, as a directory, and the environment of a container whose output goes there."""

import json
from pathlib import Path


class Bucket:
    """A mounted bucket, and the environment of a trial whose output goes there."""

    def __init__(self, directory: Path) -> None:
        self.mount, self.output = directory / "gcs", directory / "gcs" / "bucket" / "job" / "3"
        self.model, self.checkpoints, self.logs = (self.output / name for name in ("model", "checkpoints", "logs"))
        self.metric = directory / "hypertune" / "output.metrics"
        (self.mount / "bucket").mkdir(parents=True)
        self.variables = {
            "JAXBANDIT_GCS_MOUNT": str(self.mount),
            "AIP_MODEL_DIR": "gs://bucket/job/3/model/",
            "AIP_CHECKPOINT_DIR": "gs://bucket/job/3/checkpoints/",
            "AIP_TENSORBOARD_LOG_DIR": "gs://bucket/job/3/logs/",
            "CLOUD_ML_PROJECT_ID": "123",
            "CLOUD_ML_JOB_ID": "7",
            "CLOUD_ML_TRIAL_ID": "3",
            "CLOUD_ML_HP_METRIC_FILE": str(self.metric),
        }

    def lines(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.metric.read_text().splitlines()]

    def names(self) -> set[str]:
        return {path.name for path in self.output.iterdir()}
