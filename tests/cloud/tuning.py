"""The life of a HyperparameterTuningJob: trials side by side, what they report, and when enough have failed."""

from collections.abc import Generator

from google.cloud import aiplatform_v1 as v1

from . import study
from .lives import CANCELLED, Job, now
from .replicas import Site
from .runs import Ending, Run

State = v1.Trial.State
RUNNING = (State.ACTIVE, State.STOPPING)


class Tuning(Job):
    """A HyperparameterTuningJob: one run for each trial."""

    def __init__(self, message: v1.HyperparameterTuningJob, site: Site, seed: int):
        super().__init__(message, site)
        self._offers = study.suggestions(message.study_spec, seed)
        self._more = True  # whether trials may still begin

    def run(self) -> Generator[None, None, Ending]:
        ending = None
        while ending is None or self._running():
            self._more = self._more and ending is None and not self.cancelled and self._begin_trials()
            yield
            self.obey()
            for trial in self._running():
                self._watch(trial)
            ending = ending or self._verdict()
            if ending and ending.reason == "failed":
                for run in self.runs.values():
                    run.leave(CANCELLED)
        return ending

    def _running(self) -> list[v1.Trial]:
        return [trial for trial in self.message.trials if trial.state in RUNNING]

    def _begin_trials(self) -> bool:
        """Start trials as far as they may run side by side; return whether more may come."""
        message = self.message
        while len(self._running()) < message.parallel_trial_count:
            parameters = next(self._offers, None) if len(message.trials) < message.max_trial_count else None
            if parameters is None:
                return False
            number = str(len(message.trials) + 1)
            flags = study.flags(message.study_spec, parameters)
            message.trials.append(v1.Trial(id=number, state=State.ACTIVE, parameters=parameters, start_time=now()))
            self.runs[number] = Run(self.site, message.trial_job_spec, self.id, number, flags)
        return True

    def _watch(self, trial: v1.Trial) -> None:
        """Read a trial's measurements, stop it where it is hopeless, and close it once it has ended."""
        run, spec = self.runs[trial.id], self.message.study_spec
        ending = run.poll()
        reason = _measure(run, trial, spec)  # before the end a file may be half written, and is read again
        if ending:
            self._close(trial, ending, reason)
        elif trial.state == State.ACTIVE:
            completed = [one for one in self.message.trials if one.state == State.SUCCEEDED]
            if study.hopeless(spec, trial, completed):
                trial.state = State.STOPPING
                run.leave(Ending("stopped"))

    def _close(self, trial: v1.Trial, ending: Ending, reason: str) -> None:
        """Decide whether a trial that has ended counts; `reason` says why its metric file could not be read."""
        final = study.final_measurement(self.message.study_spec, list(trial.measurements))
        if ending.reason not in ("succeeded", "stopped"):
            reason = ending.message
        elif final is None and not reason:
            reason = "The trial has not reported all metrics of the study."
        trial.state = State.INFEASIBLE if reason else State.SUCCEEDED
        trial.infeasible_reason = reason
        if not reason:
            trial.final_measurement = final
        trial.end_time = now()

    def _verdict(self) -> Ending | None:
        """How the whole job ends, as soon as that is certain."""
        trials, bound = self.message.trials, self.message.max_failed_trial_count
        failed = sum(trial.state == State.INFEASIBLE for trial in trials)
        over = not self._running()
        if self.cancelled:
            return CANCELLED if over else None
        if bound and failed >= bound:
            return Ending("failed", f"Too many trials failed: {failed}, with max_failed_trial_count {bound}.")
        if over and not self._more:
            return Ending("failed", "All trials failed.") if failed == len(trials) else Ending("succeeded")
        return None


def _measure(run: Run, trial: v1.Trial, spec: v1.StudySpec) -> str:
    """Take over what a trial has reported; return why that is impossible, or nothing."""
    try:
        trial.measurements = study.read_measurements(run.metrics(), trial.id, spec, run.started)
    except (KeyError, TypeError, ValueError) as error:
        return f"The metric file cannot be read: {error!r}"
    return ""
