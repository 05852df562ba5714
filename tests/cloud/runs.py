"""What a job or a trial consists of: all its replicas together, over restarts. It knows no job states."""

import datetime
import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from google.cloud import aiplatform_v1 as v1
from google.protobuf.json_format import MessageToDict

from .calls import NUMBER
from .image import command_line
from .replicas import METRIC_FILE, Line, Replica, Site

ROOT = Path(__file__).parents[2]
# What a container keeps of this machine: its programs, the number of threads, and the cache that all tests share.
KEPT = (
    *("PATH", "LANG", "OPENBLAS_NUM_THREADS"),
    *("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"),
)


class Ending(NamedTuple):
    """How a run ended: succeeded, failed, timeout, cancelled, stopped, or preempted where it may not go on."""

    reason: str
    message: str = ""


class Run:
    """All replicas of one job or trial, from its start to its end, over restarts. One thread calls all of it."""

    def __init__(self, site: Site, spec: v1.CustomJobSpec, job: str, trial: str = "", flags: Sequence[str] = ()):
        self._site, self._spec, self._flags = site, spec, flags
        self.job, self.trial = job, trial
        self.replicas: list[Replica] = []
        self.restarts = 0
        self.ending: Ending | None = None
        self.started = datetime.datetime.now(datetime.UTC)
        self._clock = time.monotonic()
        self._leaving: Ending | None = None
        self._deadline = 0.0
        self._port = _free_port()
        self._name = f"{job}-{trial}" if trial else job
        self._start()

    def _start(self) -> None:
        counts = [pool.replica_count for pool in self._spec.worker_pool_specs]
        tasks = [(index, rank) for index, count in enumerate(counts) for rank in range(count)]
        hosts = {place: f"127.0.0.{number}" for number, place in enumerate(tasks, 1)}
        for pool, rank in tasks:
            home = self._home(pool, rank, self.restarts)
            container = self._spec.worker_pool_specs[pool].container_spec
            command = command_line(self._site.image, container.command, [*container.args, *self._flags])
            variables = self._variables(container, home) | {"CLUSTER_SPEC": self._cluster(hosts, pool, rank)}
            self.replicas.append(Replica(self._site, f"workerpool{pool}-{rank}", command, variables, home))

    def _home(self, pool: int, rank: int, start: int) -> Path:
        return self._site.directory / self._name / f"workerpool{pool}-{rank}-start{start}"

    def _variables(self, container: v1.ContainerSpec, home: Path) -> dict[str, str]:
        """The environment of a container: nothing of this process but KEPT."""
        site = self._site
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        contract = {"CLOUD_ML_PROJECT_ID": NUMBER, "CLOUD_ML_JOB_ID": self.job}
        if base := self._spec.base_output_directory.output_uri_prefix:
            base = f"{base.rstrip('/')}/{self.trial}".rstrip("/")
            contract |= {"AIP_MODEL_DIR": f"{base}/model/", "AIP_CHECKPOINT_DIR": f"{base}/checkpoints/"}
            contract |= {"AIP_TENSORBOARD_LOG_DIR": f"{base}/logs/"}
        if self.trial:
            contract |= {"CLOUD_ML_TRIAL_ID": self.trial}
            contract |= {"CLOUD_ML_HP_METRIC_FILE": str(home / METRIC_FILE)}
        machine = {
            "JAXBANDIT_GCS_MOUNT": str(site.mount),
            "JAXBANDIT_COORDINATOR_PORT": str(self._port),
            "JAXBANDIT_CACHE": str(site.cache),
            "PYTHONPATH": str(ROOT),
        }
        own = {variable.name: variable.value for variable in container.env}
        connection = dict(site.connection)
        if not self._spec.service_account:  # the token of Google's own agent reaches no service but buckets
            del connection["GOOGLE_APPLICATION_CREDENTIALS"]
        return kept | site.image.variables | own | contract | machine | connection

    def _cluster(self, hosts: dict[tuple[int, int], str], pool: int, rank: int) -> str:
        cluster: dict[str, list[str]] = {}
        for (index, _), host in hosts.items():
            cluster.setdefault(f"workerpool{index}", []).append(f"{host}:2222")
        task: dict[str, str | int] = {"type": f"workerpool{pool}", "index": rank}
        if self.trial:
            task["trial"] = self.trial
        job = MessageToDict(v1.CustomJobSpec.pb(self._spec), preserving_proto_field_name=True)
        return json.dumps({"cluster": cluster, "environment": "cloud", "task": task, "job": job})

    def leave(self, ending: Ending, kill: bool = False) -> None:
        """Begin to end all replicas; `poll` tells when that is done. A second call changes nothing."""
        if self._leaving is None:
            self._leaving = ending
            self._deadline = 0.0 if kill else time.monotonic() + self._site.grace
            for replica in self.replicas:
                replica.kill() if kill else replica.terminate()

    def poll(self) -> Ending | None:
        """Look after the replicas; return how the run has ended once all of them have."""
        codes = {replica.task: replica.ended() for replica in self.replicas}
        self.collect()
        failed = next((task for task, code in codes.items() if code), None)
        if self._leaving is None and failed:
            message = f"The replica {failed} exited with a non-zero status of {_status(codes[failed])}."
            self.leave(Ending("failed", message))
        elif self._leaving is None and self._overdue():
            self.leave(
                Ending("timeout", f"The job has run longer than its timeout of {self._spec.scheduling.timeout}.")
            )
        if any(code is None for code in codes.values()):
            if self._leaving and time.monotonic() > self._deadline:
                self.kill()
            return None
        self._close()
        if self._leaving and self._leaving.reason == "preempted" and not self._spec.scheduling.disable_retries:
            self._leaving = None
            self.restarts += 1
            self._start()
            return None
        self.ending = self._leaving or Ending("succeeded")
        return self.ending

    def _overdue(self) -> bool:
        limit = self._spec.scheduling.timeout
        return bool(limit) and time.monotonic() - self._clock > limit.total_seconds()

    def metrics(self) -> str:
        """What the primary replica has reported; each start had a machine of its own, with its own metric file."""
        homes = [self._home(0, 0, start) for start in range(self.restarts + 1)]
        files = [home / METRIC_FILE for home in homes]
        return "".join(file.read_text() for file in files if file.exists())

    def collect(self) -> None:
        """Keep the lines that were written since the last time."""
        for replica in self.replicas:
            for stream, text in replica.new_lines():
                last = self._site.lines[-1].time if self._site.lines else self.started
                now = datetime.datetime.now(datetime.UTC)
                now = max(now, last + datetime.timedelta(microseconds=1))  # so that times tell the order
                self._site.lines.append(Line(now, self.job, self.trial, replica.task, stream, text))

    def kill(self) -> None:
        """End all replicas at once."""
        for replica in self.replicas:
            replica.kill()

    def close(self) -> None:
        """End all replicas at once and keep what they wrote."""
        self.kill()
        self._close()

    def _close(self) -> None:
        self.collect()
        for replica in self.replicas:
            replica.close()
        self.replicas = []


def _status(code: int) -> int:
    return code if code > 0 else 128 - code


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]
