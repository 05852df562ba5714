"""A run of Vertex Experiments: settings logged at the start, final numbers at the end, if the launch names one.

Nothing else of a trainer needs the cloud SDK, which is imported only then.
"""

import importlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from jaxbandit._core.errors import InputError
from jaxbandit.experiments.config import FlagValue
from jaxbandit.reporting.summary import Summary
from jaxbandit.vertex.trainer import EXPERIMENT, TRIAL

RUN, REGION = "JAXBANDIT_EXPERIMENT_RUN", "JAXBANDIT_REGION"
PROJECT, ENDPOINT = "CLOUD_ML_PROJECT_ID", "JAXBANDIT_VERTEX_ENDPOINT"
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
LONGEST = 121  # of both names with a dash between: the service adds seven characters for some of its own records
SECONDS = 60.0  # that a call is tried again where the service is not there


@contextmanager
def tracked(settings: Mapping[str, FlagValue], environ: Mapping[str, str]) -> Iterator[Callable[[Summary], None]]:
    """Log settings; what is yielded logs a summary. Neither happens unless the environment names an experiment.

    A run that is there already is gone on with. What is lost of the final numbers is said on stderr, and no reason to
    fail: they are in summary.json.

    Raises:
        InputError: a name is missing or not allowed, the SDK is not installed, or the service refuses.
    """
    if not environ.get(EXPERIMENT):
        yield lambda summary: None
        return
    experiment, run = _names(environ)
    missing = [name for name in (PROJECT, REGION) if not environ.get(name)]
    if missing:
        raise InputError(f"{EXPERIMENT} is set, but {' and '.join(missing)} not; allowed: all or none")
    platform = _sdk()
    try:
        _begin(platform, experiment, run, settings, environ)
    except _refusals() as error:
        raise InputError(f"{EXPERIMENT} is {experiment!r}, which Vertex AI refuses: {_reason(error)}") from None
    state = platform.gapic.Execution.State
    try:
        yield lambda summary: _end(platform, summary)
    except Exception:
        with suppress(*_refusals()):
            platform.end_run(state=state.FAILED)
        raise


def _begin(
    platform: Any, experiment: str, run: str, settings: Mapping[str, FlagValue], environ: Mapping[str, str]
) -> None:
    from google.api_core.exceptions import AlreadyExists

    platform.init(
        project=environ[PROJECT],
        location=environ[REGION],
        experiment=experiment,
        experiment_tensorboard=False,
        api_endpoint=environ.get(ENDPOINT) or None,
    )
    try:
        platform.start_run(run)
    except AlreadyExists:  # this job, interrupted
        platform.start_run(run, resume=True)
    _retried(lambda: platform.log_params(dict(settings)))


def _end(platform: Any, summary: Summary) -> None:
    numbers = {f"final_{name}": estimate["mean"] for name, estimate in summary["final"].items()}
    numbers["interactions_per_second"] = summary["interactions_per_second"]
    try:
        _retried(lambda: platform.log_metrics({name: value for name, value in numbers.items() if value is not None}))
        _retried(platform.end_run)
    except _refusals() as error:
        print(f"jaxbandit: warning: Vertex Experiments lacks the final numbers: {_reason(error)}", file=sys.stderr)


def _retried(call: Callable[[], None]) -> None:
    """Call again while the service is not there; the SDK does that for reading alone."""
    from google.api_core import retry

    retry.Retry(predicate=retry.if_transient_error, initial=1.0, timeout=SECONDS)(call)()


def _names(environ: Mapping[str, str]) -> tuple[str, str]:
    """Names of the experiment and of the run."""
    experiment, run, trial = environ[EXPERIMENT], environ.get(RUN, ""), environ.get(TRIAL)
    for variable, name in ((EXPERIMENT, experiment), (RUN, run)):
        if not NAME.fullmatch(name):
            raise InputError(f"{variable} is {name!r}; allowed: lower-case letters, digits and dashes")
    run = f"{run}-{trial}" if trial else run
    if len(experiment) + 1 + len(run) > LONGEST:
        raise InputError(f"{EXPERIMENT} and {RUN} are {experiment!r} and {run!r}; allowed: {LONGEST - 1} characters")
    return experiment, run


def _sdk() -> Any:
    try:
        return importlib.import_module("google.cloud.aiplatform")
    except ImportError:
        raise InputError(
            f"{EXPERIMENT} is set, but the SDK of Vertex AI is not installed; allowed: pip install 'jaxbandit[vertex]'"
        ) from None


def _refusals() -> tuple[type[Exception], ...]:
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    return GoogleAPIError, GoogleAuthError, ValueError, RuntimeError


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "message", "") or error or type(error).__name__).split())
