"""Vertex AI and a bucket as a few dictionaries."""

import json
from dataclasses import asdict

from jaxbandit._core import sealed
from jaxbandit._core.errors import InputError
from jaxbandit.experiments.config import Config
from jaxbandit.vertex.service import Vertex

TRIAL = {
    "id": "1",
    "state": "SUCCEEDED",
    "parameters": [{"parameterId": "alpha", "value": 1.5}],
    "finalMeasurement": {"metrics": [{"metricId": "final_average_return", "value": 3.0}]},
}


class FakeVertex(Vertex):
    """Jobs succeed as soon as they are looked at, unless `state` says otherwise."""

    def __init__(self):
        self.jobs, self.objects, self.state, self.faults = {}, {}, "JOB_STATE_SUCCEEDED", []
        self.cancelled = []

    def check_bucket(self, uri):
        pass

    def create(self, kind, body):
        fault, after = self.faults.pop(0) if self.faults else (None, False)
        if fault and not after:
            raise fault
        name = f"projects/1/locations/r/{kind}/{len(self.jobs)}"
        self.jobs[name] = body
        spec = body.get("trialJobSpec") or body["jobSpec"]
        output = spec["baseOutputDirectory"]["outputUriPrefix"]
        self.objects[f"{output}/model/summary.json"] = json.dumps({"final": {}}).encode()
        for place, settings in (("model", {}), ("1/model", {"alpha": 1.5})):
            config = asdict(Config(env="wheel", agent_settings=settings))
            self.objects[f"{output}/{place}/config.json"] = sealed.sealed(config)
        if fault:
            raise fault
        return name

    def get(self, name):
        trials = {"trials": [TRIAL]} if "studySpec" in self.jobs[name] else {}
        return {"name": name, "state": self.state, **trials}

    def find(self, kind, labels):
        found = [name for name, body in self.jobs.items() if body["labels"] == dict(labels) and f"/{kind}/" in name]
        return found[-1] if found else None

    def cancel(self, name):
        self.cancelled.append(name)

    def tensorboard(self, name):
        return f"projects/1/locations/r/tensorboards/{name}"

    def last_line(self, name, trial=None):
        return "its last line"

    def logs(self, name, trial=None):
        return iter([name])

    def claim(self, uri, content):
        is_free = uri not in self.objects
        self.objects.setdefault(uri, content)
        return is_free

    def write(self, uri, content):
        self.objects[uri] = content

    def delete(self, uri):
        if self.objects.pop(uri, None) is None:
            raise InputError(f"{uri} was refused: no such object")

    def files(self, uri):
        return {name.removeprefix(f"{uri}/"): name for name in self.objects if name.startswith(f"{uri}/")}

    def read(self, uri):
        if uri not in self.objects:
            raise InputError(f"{uri} was refused: no such object")
        return self.objects[uri]
