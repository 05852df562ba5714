"""argv -> config -> experiment, and exit statuses. What is slow to import is imported by the command that needs it."""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from jaxbandit._core.errors import Failure, InputError, unknown
from jaxbandit._core.signals import Interrupted, interruptible
from jaxbandit.cli.command_line import EvaluateCommand, RunCommand, SweepCommand, chosen_config, chosen_plan
from jaxbandit.cli.launch import launch
from jaxbandit.vertex.trainer import RESULTS, is_container

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: exit status 0, 1 where a job failed elsewhere, 2 for bad input, 130 when interrupted."""
    with interruptible():
        status = _status(argv)
        if processes := sys.modules.get("jaxbandit._core.processes"):  # else nothing was joined
            processes.leave(status)
        sys.exit(status)


def _status(argv: Sequence[str] | None) -> int:
    try:
        status = cli.main(args=argv, prog_name="jaxbandit", standalone_mode=False)
    except InputError as error:
        return _refuse(str(error))
    except Failure as error:
        return _refuse(str(error), FAILED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return BAD_INPUT
    except click.ClickException as error:
        return _refuse(error.format_message())
    except (Interrupted, click.Abort) as error:
        click.echo(f"jaxbandit: {str(error) or 'interrupted'}", err=True)
        return INTERRUPTED
    return status if isinstance(status, int) else 0


def _refuse(message: str, status: int = BAD_INPUT) -> int:
    from jaxbandit.reporting import print_error

    print_error(message)
    return status


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from importlib import metadata

        try:
            click.echo(f"jaxbandit {metadata.version('jaxbandit')}")
        except metadata.PackageNotFoundError:
            click.echo("jaxbandit, not installed: a directory of its source")
        ctx.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--version", is_flag=True, is_eager=True, callback=_show_version, expose_value=False, help="Show it.")
def cli() -> None:
    """Contextual-bandit simulation in one compiled JAX program: ratings in, learning curves out."""


cli.add_command(launch)


@cli.command("run", cls=RunCommand, short_help="Simulate an agent: learning curves, a table, a picture.")
@click.pass_context
def run_command(
    ctx: click.Context,
    out: str | None,
    resume: bool,
    checkpoint_every: int | None,
    profile: bool,
    distributed: bool,
    log_interactions: bool,
    propensity_samples: int | None,
    **_: Any,
) -> None:
    """Simulate an agent against thousands of users: learning curves, a table, a picture.

    Below are the settings of the chosen --env and --agent; others have others.
    """
    from jaxbandit import reporting
    from jaxbandit._core import processes
    from jaxbandit.experiments.run import run

    _prepare(out, resume, distributed)
    config = chosen_config(ctx)
    with _job(config, out, f"{config.agent}-{config.env}", resume) as job:
        summary = run(
            config,
            job.places,
            resume=job.resume,
            checkpoint_every=checkpoint_every,
            profile=profile,
            log_interactions=log_interactions,
            propensity_samples=propensity_samples,
            report=job.report,
        )
        job.finish(summary)
    if processes.is_first():
        reporting.print_table(summary, agent=config.agent, directory=out or str(job.places.results))


@cli.command(
    "sweep", cls=SweepCommand, short_help="Simulate many configurations: a ranked table, a picture, the best one."
)
@click.pass_context
def sweep_command(
    ctx: click.Context,
    out: str | None,
    resume: bool,
    checkpoint_every: int | None,
    profile: bool,
    distributed: bool,
    max_lanes: int | None,
    **_: Any,
) -> None:
    """Simulate many configurations on the same users: a ranked table, a picture, the best one's flags.

    --agent takes several, as linucb,lints. A flag fixes a setting for all configurations, --grid and --sample vary it.
    """
    from jaxbandit._core import processes
    from jaxbandit.experiments.sweep import show, sweep

    _prepare(out, resume, distributed)
    plan = chosen_plan(ctx)
    with _job(plan, out, f"sweep-{plan.base.agent}-{plan.base.env}", resume) as job:
        summary = sweep(
            plan,
            job.places,
            resume=job.resume,
            checkpoint_every=checkpoint_every,
            max_lanes=max_lanes,
            profile=profile,
        )
        job.finish(summary)
    if processes.is_first():
        show(plan, summary, out or str(job.places.results))


@cli.command(cls=EvaluateCommand, short_help="Estimate what another policy would have earned on logged users.")
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
    """Estimate what a policy would have earned on the users of LOG, a run with --log-interactions.

    By inverse propensities (IPS, SNIPS), a reward model (DM) and both (DR), with 95 % bootstrap intervals.
    """
    from jaxbandit.experiments import interaction_log
    from jaxbandit.policies import evaluate as evaluation

    of_log = policy_from is None and given.get("config") is None
    if of_log and given.get("agent") is None:
        raise InputError("agent is missing; allowed: --agent NAME, --config FILE or --policy-from DIR")
    _keep_programs()
    content = evaluation.evaluate(
        log,
        chosen_config(ctx),
        of_log=of_log,
        policy_from=policy_from,
        policy_seed=policy_seed or 0,
        samples=propensity_samples or interaction_log.SAMPLES,
        out=out,
    )
    evaluation.show(content)


@cli.command("export", short_help="Write a trained agent, so that another process acts with it.")
@click.argument("run", metavar="RUN_DIR")
@click.option("--out", metavar="DIR", help="where it goes  [default: RUN_DIR/policy]")
@click.option("--policy-seed", type=int, default=0, show_default=True, help="which of the run's simulations")
def export_command(run: str, out: str | None, policy_seed: int) -> None:
    """Write the agent that a run has trained: jaxbandit.load_policy(DIR).act(context) acts with it.

    Beside what it has learned stand StableHLO programs for CPU, GPU and TPU. A run that was interrupted is exported as
    it is at its last checkpoint.
    """
    from jaxbandit.policies import export

    content = export.export(run, out, seed=policy_seed)
    config, place = content["config"], out or str(Path(run) / export.DIRECTORY)
    learned = f"{content['rounds']:,} of {config['training_loops'] * config['steps_per_loop']:,} rounds"
    click.echo(f"{config['agent']} of seed {content['seed']} after {learned}: policy in {place}")


@cli.command(short_help="Put finished runs and sweeps beside each other.")
@click.argument("directories", nargs=-1, required=True, metavar="DIR...")
@click.option("--out", default="comparison", show_default=True, metavar="DIR", help="where table and picture go")
def compare(directories: tuple[str, ...], out: str) -> None:
    """Put finished runs, and the best configurations of finished sweeps, beside each other: a table and a picture."""
    from jaxbandit.experiments import compare as comparison

    comparison.compare(directories, out)


def _prepare(out: str | None, resume: bool, distributed: bool) -> None:
    """Join the other processes, and have compiled programs kept."""
    from jaxbandit._core import processes

    if resume and not (out or os.environ.get(RESULTS)):
        raise InputError("resume: --out is missing; allowed: the --out of an interrupted run")
    if distributed or processes.pool() is not None:
        processes.join()
    _keep_programs()


def _job(asked: Any, out: str | None, name: str, resume: bool) -> AbstractContextManager[Any]:
    """Lay out a run or a sweep: at home in one directory, in a container as Vertex AI says."""
    new = f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    if is_container(os.environ):
        from jaxbandit.vertex.trainer import job

        return job.job(asked, out, new, resume)
    from jaxbandit.experiments.job import at_home

    return nullcontext(at_home(out or new, resume))


def _keep_programs() -> None:
    """Keep compiled programs on disk: the next run of the same shape starts at once. Harmless where that fails."""
    import platform
    import warnings

    import jax

    from jaxbandit.data import cache_dir

    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    # Programs are compiled for the processor at hand, and a home directory may be shared by several.
    directory = Path(cache_dir()) / "programs" / (platform.node() or "local")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(directory, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(directory))
        warnings.filterwarnings("ignore", message=".*persistent compilation cache", category=UserWarning)


@cli.command("list")
@click.argument("what", metavar="agents|envs|data|machines")
def list_command(what: str) -> None:
    """List agents, environments, data sets or the machines of Vertex AI."""
    if what == "data":
        _list_data()
        return
    if what == "machines":
        _list_machines()
        return
    from jaxbandit.experiments.config import REGISTRIES
    from jaxbandit.reporting import print_list

    kinds = {f"{kind}s": kind for kind in REGISTRIES}
    if what not in kinds:
        raise unknown("list", what, (*kinds, "data", "machines"))
    registry = REGISTRIES[kinds[what]]
    rows = [(name, (factory.__doc__ or "").splitlines()[0]) for name, factory in registry.items()]
    print_list(rows, headings=("name", "what it does"))
    click.echo(f"\nTheir settings: jaxbandit run --{kinds[what]} NAME --help")


def _list_machines() -> None:
    from jaxbandit.reporting import print_list
    from jaxbandit.vertex.machines import MACHINES

    rows = [
        (name, machine.words, machine.quota(spot=False)[0].rpartition("/")[2]) for name, machine in MACHINES.items()
    ]
    print_list(rows, headings=("name", "machine", "quota of Vertex AI"))


@cli.group()
def data() -> None:
    """List, fetch and describe ratings."""


@data.command("list")
def data_list() -> None:
    """List the data sets that have names."""
    _list_data()


def _list_data() -> None:
    from jaxbandit.data import DATASETS
    from jaxbandit.reporting import print_list

    rows = [(n, f"{d.users:,}", f"{d.items:,}", f"{d.ratings:,}", d.source, d.description) for n, d in DATASETS.items()]
    print_list(rows, headings=("name", "users", "items", "ratings", "source", "description"))


@data.command("fetch")
@click.argument("name")
def data_fetch(name: str) -> None:
    """Download a MovieLens data set into the cache; its licence is between you and GroupLens."""
    from jaxbandit.data import fetch

    click.echo(fetch(name))


@data.command("describe")
@click.argument("name_or_path", metavar="NAME|PATH")
@click.option("--user-column", metavar="NAME", help="column of user ids in a file of your own")
@click.option("--item-column", metavar="NAME", help="column of item ids")
@click.option("--rating-column", metavar="NAME", help="column of ratings")
@click.option("--plot", metavar="FILE", help="draw star shares, popularity and activity into a PNG")
def data_describe(name_or_path: str, plot: str | None, **columns: str | None) -> None:
    """Say what is in a data set: counts, density, star shares, skew."""
    from jaxbandit.data import describe, load
    from jaxbandit.data import plot as draw
    from jaxbandit.reporting import print_list

    ratings = load(name_or_path, **columns)
    rows = [(name.replace("_", " "), _shown(value)) for name, value in describe(ratings).items()]
    print_list(rows, headings=("what", "value"))
    if plot:
        draw(ratings, plot)
        click.echo(f"picture in {plot}")


def _shown(value: Any) -> str:
    """Format a number, or a few of them, as a person reads them."""
    if isinstance(value, dict):
        return "  ".join(f"{key}: {_shown(item)}" for key, item in value.items())
    if isinstance(value, list):
        if value and isinstance(value[0], str):
            return f"{len(value)}: {', '.join(value[:4])}{', …' if len(value) > 4 else ''}"
        return " to ".join(map(_shown, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
