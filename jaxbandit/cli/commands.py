"""`jaxbandit run`, `sweep`, `evaluate`, `export` and `compare`: each calls the function of its name.

What is slow to import is imported by the command that needs it.
"""

import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click

from jaxbandit._core.errors import InputError
from jaxbandit.cli.command_line import SettingsCommand, chosen_config, chosen_sweep_config
from jaxbandit.cli.reading import LOG_HELP
from jaxbandit.vertex.trainer import RESULTS, is_container

OPTIONS = ("checkpoint_every", "profile")  # flags of `run` and `sweep` on which no number depends


@click.command("run", cls=SettingsCommand, short_help="Simulate an agent: learning curves, a table, a picture.")
@click.pass_context
def run_command(ctx: click.Context, out: str | None, resume: bool, distributed: bool, **given: Any) -> None:
    """Simulate an agent against thousands of users: learning curves, a table, a picture.

    Below are the settings of the chosen --env and --agent; others have others.
    """
    from jaxbandit import reporting
    from jaxbandit._core import processes
    from jaxbandit.experiments.run import run

    _prepare(out, resume, distributed)
    config = chosen_config(ctx)
    options = {name: given[name] for name in (*OPTIONS, "log_interactions", "propensity_samples")}
    with _job(config, out, f"{config.agent}-{config.env}", resume) as job:
        summary = run(config, job.places, resume=job.resume, report=job.report, **options)
        job.finish(summary)
    if processes.is_first():
        reporting.print_table(summary, agent=config.agent, directory=out or str(job.places.results))


@click.command("sweep", cls=SettingsCommand, short_help="Simulate many configurations: a ranked table, the best one.")
@click.pass_context
def sweep_command(ctx: click.Context, out: str | None, resume: bool, distributed: bool, **given: Any) -> None:
    """Simulate many configurations on the same users: a ranked table, a picture, the best one's flags.

    --agent takes several, as linucb,lints. A flag fixes a setting for all configurations, --grid and --sample vary it.

    Lanes, configurations x seeds, are spread over all devices, or cores of a CPU. On TPUs take configurations in
    multiples of 128, which fill their vector units; seeds divide among chips. On a GPU more lanes are nearly free.
    """
    from jaxbandit._core import processes
    from jaxbandit.experiments.sweep import show, sweep

    _prepare(out, resume, distributed)
    sweep_config = chosen_sweep_config(ctx)
    options = {name: given[name] for name in (*OPTIONS, "max_lanes")}
    with _job(sweep_config, out, f"sweep-{sweep_config.base.agent}-{sweep_config.base.env}", resume) as job:
        summary = sweep(sweep_config, job.places, resume=job.resume, **options)
        job.finish(summary)
    if processes.is_first():
        show(sweep_config, summary, out or str(job.places.results))


@click.command(cls=SettingsCommand, short_help="Estimate what another policy would have earned on logged users.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    log: str,
    out: str | None,
    policy_from: str | None,
    policy_seed: int | None,
    propensity_samples: int | None,
    **given: Any,
) -> None:
    """Estimate what a policy would have earned on users of LOG, a run with --log-interactions or a file of your own.

    By inverse propensities (IPS, SNIPS), a reward model (DM) and both (DR), with 95 % bootstrap intervals.
    """
    from jaxbandit.experiments import interaction_log
    from jaxbandit.policies import evaluate as evaluation

    columns = {name: given.pop(name) for name in LOG_HELP}
    of_log = policy_from is None and given.get("config") is None
    if of_log and given.get("agent") is None:
        raise InputError("agent is missing; allowed: --agent NAME, --config FILE or --policy-from DIR")
    _check_devices()
    from jaxbandit.experiments import programs

    programs.keep()
    content = evaluation.evaluate(
        log,
        chosen_config(ctx),
        of_log=of_log,
        policy_from=policy_from,
        policy_seed=policy_seed or 0,
        samples=propensity_samples or interaction_log.SAMPLES,
        out=out,
        columns=_log_columns(columns),
    )
    evaluation.show(content)


@click.command("export", short_help="Write a trained agent, so that another process acts with it.")
@click.argument("run", metavar="RUN_DIR")
@click.option("--out", metavar="DIR", help="where it goes  [default: RUN_DIR/policy]")
@click.option("--policy-seed", type=int, default=0, show_default=True, help="which of the run's simulations")
def export_command(run: str, out: str | None, policy_seed: int) -> None:
    """Write the agent that a run has trained: jaxbandit.load_policy(DIR).act(context) acts with it.

    Beside what it has learned stand StableHLO programs for CPU, GPU and TPU. A run that was interrupted is exported as
    it is at its last checkpoint.
    """
    from jaxbandit.policies import export

    _check_devices()
    content = export.export(run, out, seed=policy_seed)
    config, place = content["config"], out or f"{run.rstrip('/')}/{export.DIRECTORY}"
    learned = f"{content['rounds']:,} of {config['training_loops'] * config['steps_per_loop']:,} rounds"
    click.echo(f"{config['agent']} of seed {content['seed']} after {learned}: policy in {place}")


@click.command(short_help="Put finished runs and sweeps beside each other.")
@click.argument("directories", nargs=-1, required=True, metavar="DIR...")
@click.option("--out", default="comparison", show_default=True, metavar="DIR", help="where table and picture go")
def compare(directories: tuple[str, ...], out: str) -> None:
    """Put finished runs, and the best configurations of finished sweeps, beside each other: a table and a picture."""
    from jaxbandit.experiments import compare as comparison

    comparison.compare(directories, out)


def _log_columns(given: Mapping[str, str | None]) -> Any:
    """Columns of a log of one's own, as they are named; None: none is."""
    from jaxbandit.policies.own_log import LogColumns

    named: dict[str, Any] = {name.removesuffix("_column"): value for name, value in given.items() if value is not None}
    if not named:
        return None
    features = str(named.pop("feature_columns", ""))
    return LogColumns(**named, features=tuple(part.strip() for part in features.split(",") if part.strip()))


def _prepare(out: str | None, resume: bool, distributed: bool) -> None:
    """Join the other processes, take all cores, and have compiled programs kept."""
    from jaxbandit._core import processes

    if resume and not (out or os.environ.get(RESULTS)):
        raise InputError("resume: --out is missing; allowed: the --out of an interrupted run")
    if distributed or processes.pool() is not None:
        processes.join()
    processes.use_all_cores()
    processes.check_devices()
    from jaxbandit.experiments import programs

    programs.keep()


def _check_devices() -> None:
    from jaxbandit._core import processes

    processes.check_devices()


def _job(asked: Any, out: str | None, name: str, resume: bool) -> AbstractContextManager[Any]:
    """Lay out a run or a sweep: at home in one directory, in a container as Vertex AI says."""
    new = f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    if is_container(os.environ):
        from jaxbandit.vertex.trainer import job

        return job.job(asked, out, new, resume)
    from jaxbandit.experiments.job import at_home

    return nullcontext(at_home(out or new, resume))
