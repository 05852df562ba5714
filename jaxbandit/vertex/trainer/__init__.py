"""What a container on Vertex AI does around a run: where results go, what it reports of a trial.

It simulates nothing, and creates no jobs: the launcher is the package above.
"""

from collections.abc import Mapping

RESULTS, TRIAL, EXPERIMENT = "AIP_MODEL_DIR", "CLOUD_ML_TRIAL_ID", "JAXBANDIT_EXPERIMENT"
VARIABLES = (RESULTS, "CLOUD_ML_JOB_ID", TRIAL, EXPERIMENT)


def is_container(environ: Mapping[str, str]) -> bool:
    """Whether this process is a job's: one of the variables is there."""
    return any(environ.get(name) for name in VARIABLES)
