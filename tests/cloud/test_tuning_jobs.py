"""Tuning jobs, asked for with the unpatched SDK: parameters, measurements and failures of trials."""

import pytest
from google.cloud import aiplatform_v1 as v1

from ..vertex_server import VertexServer
from . import study
from .asking import PARENT, REPORT, categorical, discrete, double, integer, output, study_spec, tune, tuning, wait_until

pytestmark = pytest.mark.emulator


def test_trials_get_their_parameters_as_flags_and_the_service_tells_doubles(
    server: VertexServer, client: v1.JobServiceClient
) -> None:
    parameters = [
        double("x", 0.01, 100, scale_type="UNIT_LOG_SCALE"),
        integer("n", 1, 3),
        discrete("d", 16, 32),
        categorical("agent", "linucb", "lints"),
    ]
    job = tune(client, server, study_spec(*parameters), "import sys; print(sys.argv[1:])" + REPORT)
    assert [trial.id for trial in job.trials] == ["1", "2", "3", "4"]
    flags = {line.trial: line.text for line in server.lines}
    for trial in job.trials:
        values = {p.parameter_id: p.value for p in trial.parameters}
        assert 0.01 <= values["x"] <= 100
        assert values["agent"] in ("linucb", "lints")
        assert all(type(values[name]) is float for name in ("x", "n", "d"))
        n, d = int(values["n"]), values["d"]
        assert d in (16.0, 32.0)
        assert flags[trial.id] == str([f"--x={values['x']}", f"--n={n}", f"--d={d}", f"--agent={values['agent']}"])
        assert [(m.step_count, m.metrics[0].value) for m in trial.measurements] == [
            (0, 2 * values["x"]),
            (1, values["x"]),
        ]
        assert trial.final_measurement == trial.measurements[-1]
        assert trial.state == v1.Trial.State.SUCCEEDED
    assert len({trial.parameters[0].value for trial in job.trials}) == 4
    moments = [(t.start_time, 1) for t in job.trials] + [(t.end_time, -1) for t in job.trials]
    running = [sum(change for _, change in sorted(moments)[: i + 1]) for i in range(len(moments))]
    assert max(running) == 2


def test_the_measurement_that_counts_is_the_last_or_the_best(server: VertexServer, client: v1.JobServiceClient) -> None:
    for selection, factor in (("LAST_MEASUREMENT", 1), ("BEST_MEASUREMENT", 2)):
        fields = {"measurement_selection_type": selection, "algorithm": "GRID_SEARCH"}
        job = tune(client, server, study_spec(discrete("x", 3, 4), **fields))
        assert [t.final_measurement.metrics[0].value for t in job.trials] == [3 * factor, 4 * factor]


def test_a_grid_search_tries_each_point_once(server: VertexServer, client: v1.JobServiceClient) -> None:
    grid = study_spec(integer("x", 1, 2), categorical("agent", "a", "b"), algorithm="GRID_SEARCH")
    job = tune(client, server, grid, max_trial_count=9, parallel_trial_count=4)
    points = [tuple(p.value for p in trial.parameters) for trial in job.trials]
    assert points == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]


def test_the_sampler_respects_types_and_scales() -> None:
    for scale, share in (("UNIT_LINEAR_SCALE", 0.5), ("UNIT_LOG_SCALE", 0.13), ("UNIT_REVERSE_LOG_SCALE", 0.87)):
        drawn = study.suggestions(v1.StudySpec(study_spec(double("x", 0.01, 100, scale_type=scale))), 0)
        values = [next(drawn)[0].value for _ in range(300)]
        assert all(0.01 <= value <= 100 for value in values)
        assert abs(sum(value > 50 for value in values) / 300 - share) < 0.1, scale


FAILS = """
import sys
if float(sys.argv[1].split("=")[1]) > 2: sys.exit(5)
"""


def test_a_trial_without_a_metric_or_with_an_error_is_infeasible(
    server: VertexServer, client: v1.JobServiceClient
) -> None:
    grid = study_spec(integer("x", 1, 4), algorithm="GRID_SEARCH")
    job = tune(client, server, grid, FAILS + REPORT, max_failed_trial_count=3)
    assert [trial.state.name for trial in job.trials] == ["SUCCEEDED", "SUCCEEDED", "INFEASIBLE", "INFEASIBLE"]
    assert "status of 5" in job.trials[2].infeasible_reason
    assert not job.trials[2].final_measurement
    silent = tune(client, server, grid, "", state="FAILED", max_trial_count=2)
    assert {trial.infeasible_reason for trial in silent.trials} == {
        "The trial has not reported all metrics of the study."
    }
    assert silent.error.message == "All trials failed."


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("str(value)", None),
        ("value", "must be strings"),
        ('"nan"', "not finite"),
        ('str(value), "trial": "99"', "has not reported"),
    ],
)
def test_a_metric_is_read_as_the_service_does(
    server: VertexServer, client: v1.JobServiceClient, change: str, reason: str | None
) -> None:
    code = REPORT.replace("str(value)", change)
    grid = study_spec(integer("x", 1, 2), algorithm="GRID_SEARCH")
    job = tune(
        client, server, grid, code, state="FAILED" if reason else "SUCCEEDED", max_trial_count=1, parallel_trial_count=1
    )
    assert (reason or "") in job.trials[0].infeasible_reason


def test_so_many_failed_trials_fail_the_job(server: VertexServer, client: v1.JobServiceClient) -> None:
    grid = study_spec(integer("x", 1, 9), algorithm="GRID_SEARCH")
    job = tune(client, server, grid, FAILS + REPORT, state="FAILED", max_trial_count=9, max_failed_trial_count=2)
    assert "max_failed_trial_count 2" in job.error.message
    assert len(job.trials) < 9


def test_a_preempted_trial_keeps_what_it_has_reported(server: VertexServer, client: v1.JobServiceClient) -> None:
    code = REPORT + "\nprint('reported', flush=True)\ntime.sleep(0 if '-start1' in os.getcwd() else 60)"
    grid = study_spec(integer("x", 1, 2), algorithm="GRID_SEARCH")
    job = client.create_hyperparameter_tuning_job(parent=PARENT, hyperparameter_tuning_job=tuning(grid, code))
    for trial in (1, 2):
        wait_until(lambda trial=trial: any(line.trial == str(trial) for line in server.lines))
        server.preempt(job.name, trial)
    server.wait_for(job.name)
    trials = client.get_hyperparameter_tuning_job(name=job.name).trials
    assert [len(trial.measurements) for trial in trials] == [4, 4]


def test_the_median_rule_stops_a_hopeless_trial(server: VertexServer, client: v1.JobServiceClient) -> None:
    code = REPORT + "\nif float(flags['x']) < 0: time.sleep(60)"
    stopping = {"median_automated_stopping_spec": {}, "algorithm": "GRID_SEARCH"}
    grid = study_spec(discrete("x", -1, 3, 4), **stopping)
    job = tune(client, server, grid, code, max_trial_count=3)
    assert [trial.state.name for trial in job.trials] == ["SUCCEEDED"] * 3
    assert job.trials[0].end_time > job.trials[2].end_time
    assert job.trials[0].final_measurement.metrics[0].value == -1


def test_a_cancelled_study_ends_its_trials(server: VertexServer, client: v1.JobServiceClient) -> None:
    code = "import time; print('ready', flush=True); time.sleep(60)"
    job = client.create_hyperparameter_tuning_job(
        parent=PARENT, hyperparameter_tuning_job=tuning(study_spec(double("x", 0, 1)), code)
    )
    wait_until(lambda: output(server) == ["ready"] * 2)
    client.cancel_hyperparameter_tuning_job(name=job.name)
    server.wait_for(job.name, "CANCELLED", 20)
    assert len(client.get_hyperparameter_tuning_job(name=job.name).trials) == 2
