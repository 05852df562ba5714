"""`jaxbandit launch ...`: its commands and their flags. Slow imports wait for their command; the work is done below."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import click

from jaxbandit._core.errors import Failure, InputError
from jaxbandit.vertex.cloud import PAIRS, SWITCHES, WORDS, Cloud

PASSED_ON = {"ignore_unknown_options": True}
# Of the training with the best values, or of another try: what may differ, in the same project, region and bucket.
MACHINES = ("machine", "accelerator", "topology", "image", "replicas", "disk", "reservation", "persistent_resource")
HOW = (*MACHINES, "scheduling", "max_wait", "timeout", "price")
Command = Callable[..., None]
Decorator = Callable[[Command], Command]
DIRECTORY = click.argument("directory", required=False, metavar="[DIR|gs://BUCKET/NAME]")


def _positive(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if not 0 < value < math.inf:
        raise InputError(f"{param.name} is {value}; allowed: a number of seconds > 0")
    return value


POLL = click.option(
    "--poll", type=float, default=30.0, show_default=True, callback=_positive, help="seconds between two looks at a job"
)
DETACH = click.option("--detach", is_flag=True, help="do not wait for the job")
REST = click.argument("rest", nargs=-1, type=click.UNPROCESSED, metavar="[FLAGS OF THE TRAINER]")


@click.group()
def launch() -> None:
    """Send training, hyperparameter tuning and sweeps to Vertex AI, or tune on this machine.

    Where: --cloud FILE (a TOML file), or flags such as --project. What: the flags of `jaxbandit run` or `sweep`.
    """


def _flags(*options: Decorator) -> Decorator:
    """Give a command flags, in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _cloud_flag(name: str, words: str, *, default: bool = True) -> Decorator:
    flag, kind = f"--{name.replace('_', '-')}", {"replicas": int, "price": float}.get(name, str)
    if name in PAIRS:
        return click.option(flag, multiple=True, metavar="NAME=VALUE", callback=_pairs, help=words)
    if name in SWITCHES:
        return click.option(flag, is_flag=True, default=None, help=words)
    shown = getattr(Cloud, name) if default else None
    return click.option(flag, type=kind, help=words + (f"  [default: {shown}]" if shown else ""))


def _pairs(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> dict[str, str] | None:
    """Read NAME=VALUE texts; None where there is none, so that a file's stay."""
    pairs = dict(text.partition("=")[::2] for text in texts)
    if wrong := next((text for text in texts if "=" not in text), None):
        raise InputError(f"{param.name} is {wrong!r}; allowed: NAME=VALUE")
    return pairs or None


_cloud_flags = _flags(
    click.option("--cloud", metavar="FILE", help="TOML file with any of the following; flags win"),
    *(_cloud_flag(name, words) for name, words in WORDS.items()),
)
_elsewhere_flags = _flags(*(_cloud_flag(name, WORDS[name], default=False) for name in HOW))
_name_flag = click.option("--name", help="of the launch; by default it follows from what is asked")
_launch_flags = _flags(
    _cloud_flags,
    _name_flag,
    click.option("--dry-run", is_flag=True, help="print the exact request, quota and cost; create nothing"),
    DETACH,
    POLL,
    REST,
)
_final_flags = _flags(
    click.option("--then-train", is_flag=True, help="train with the best values when they are known"),
    click.option("--final", multiple=True, metavar="NAME=VALUE", help="flag of that training, as seeds=64"),
)
_study_flags = _flags(
    click.option("--tune", multiple=True, metavar="NAME=RANGE", help="as alpha=log:0.01:30, or NAME=a,b,c"),
    click.option("--metric", default="final_average_return", show_default=True, help="what is best"),
    click.option("--algorithm", default="bayesian", show_default=True, help="bayesian, random or grid"),
    click.option("--trials", type=int, default=24, show_default=True, help="trainings, each with other values"),
    click.option("--parallel", type=int, default=4, show_default=True, help="trials at a time"),
    click.option("--max-failed", type=int, help="failed trials that end the study  [default: half of them]"),
    click.option("--stop-early", default="none", show_default=True, help="median, decay-curve or convex"),
    _final_flags,
)


@launch.command(context_settings=PASSED_ON)
@_launch_flags
def train(**given: Any) -> None:
    """Run `jaxbandit run` on Vertex AI: one job, its results and its policy in the bucket and here."""
    _launch("train", given)


@launch.command(context_settings=PASSED_ON)
@_launch_flags
def sweep(**given: Any) -> None:
    """Run `jaxbandit sweep` on Vertex AI: one job, whose one program runs all lanes on a GPU, a pool or a TPU slice."""
    _launch("sweep", given)


@launch.command(context_settings=PASSED_ON)
@_study_flags
@_launch_flags
def hpt(**given: Any) -> None:
    """Tune flags of `jaxbandit run` with a hyperparameter tuning job, and train with the best values."""
    _launch("hpt", given)


@launch.command(context_settings=PASSED_ON)
@_study_flags
@_name_flag
@REST
def local(rest: tuple[str, ...], name: str | None, **given: Any) -> None:
    """Tune flags of `jaxbandit run` on this machine: the same trials as processes, without any cloud."""
    from jaxbandit.cli import prepare
    from jaxbandit.vertex import launch

    launch.start(prepare.tuning(rest, None, prepare.study(rest, given), _final(given), name))


@launch.command()
@_cloud_flags
@click.option("--parallel", type=click.IntRange(1), default=1, show_default=True, help="jobs side by side")
@click.option("--setup", is_flag=True, help="print all commands from an empty project to the first job; ask nothing")
def doctor(parallel: int, setup: bool, **given: Any) -> None:
    """Look whether a job could run: services, bucket, image, roles, quota. Each line ends with what mends it."""
    from jaxbandit.vertex import cloud_file
    from jaxbandit.vertex import doctor as looks

    where = cloud_file.read_cloud(given["cloud"], {name: given[name] for name in WORDS})
    if setup:
        click.echo("\n".join(looks.setup(where, given["cloud"])))
        return
    wrong = 0
    for finding in looks.look(where, parallel):
        click.echo(str(finding))
        wrong += finding.state == "no"
    if wrong:
        raise Failure(f"{wrong} {'thing is' if wrong == 1 else 'things are'} missing: see the lines that begin with no")


@launch.command()
@DIRECTORY
@POLL
def wait(directory: str | None, poll: float) -> None:
    """Wait for the jobs of a launch, and show what they left behind. Creates nothing."""
    from jaxbandit.vertex import elsewhere, launch

    launch.follow(elsewhere.opened(directory), poll=poll)


@launch.command()
@DIRECTORY
@click.option("--again", is_flag=True, help="let a job that failed or was ended have another, from its checkpoints")
@POLL
@DETACH
@_elsewhere_flags
def resume(directory: str | None, again: bool, poll: float, detach: bool, **given: Any) -> None:
    """Go on with a launch that was interrupted: jobs that exist are waited for, others are created."""
    from jaxbandit.vertex import cloud_runner, elsewhere, launch, preview

    one = elsewhere.opened(directory)
    changes = {name: value for name, value in given.items() if value is not None}
    if changes and not again:
        raise InputError(f"{next(iter(changes))} is given without again; allowed: both, or neither")
    if again:
        one = cloud_runner.again(one, changes)
        for line in preview.needs(one):
            click.echo(line, err=True)
    launch.go_on(one, poll=poll, detach=detach, partial=again)


@launch.command()
@DIRECTORY
@_final_flags
@POLL
@DETACH
@_elsewhere_flags
def best(
    directory: str | None, then_train: bool, final: tuple[str, ...], poll: float, detach: bool, **given: Any
) -> None:
    """Write the best trial of a study into result.json and print it; train with it, also on another machine."""
    from jaxbandit.cli import prepare
    from jaxbandit.vertex import cloud_file, elsewhere, launch, preview

    study = elsewhere.opened(directory)
    changes = {name: value for name, value in given.items() if value is not None}
    if study.study is None:
        raise InputError(f"{str(study.directory)!r} is no study; allowed: that of a launch hpt or local")
    if (changes or final) and not then_train:
        raise InputError(f"{next(iter(changes), 'final')} is given without then-train; allowed: both, or neither")
    if not then_train:
        click.echo(json.dumps(launch.show_best(study), indent=2))
        return
    clouds = [*changes, *(["detach"] if detach else [])]
    if clouds and study.cloud is None:
        raise InputError(f"{clouds[0]} is given for a launch on this machine; allowed: none of the cloud's flags")
    other = cloud_file.changed(study.cloud, changes) if study.cloud and changes else None
    both = prepare.then_train(study, final, other)
    for line in preview.needs(both) if study.cloud else ():
        click.echo(line, err=True)
    launch.go_on(both, poll=poll, detach=detach, partial=True)


@launch.command()
@DIRECTORY
@click.option("--trial", metavar="N", help="of one trial alone")
def logs(directory: str | None, trial: str | None) -> None:
    """Print what the containers of a launch have printed."""
    from jaxbandit.vertex import elsewhere, launch

    for line in launch.logs(elsewhere.opened(directory), trial):
        click.echo(line)


@launch.command()
@DIRECTORY
def cancel(directory: str | None) -> None:
    """Cancel the jobs of a launch that have not ended."""
    from jaxbandit.vertex import cloud_runner, elsewhere

    cloud_runner.cancel(elsewhere.opened(directory))


def _launch(kind: Literal["train", "sweep", "hpt"], given: Mapping[str, Any]) -> None:
    """Prepare a launch, and carry it out or print what it would be."""
    from jaxbandit.cli import prepare
    from jaxbandit.vertex import cloud_file, launch, preview

    where = cloud_file.read_cloud(given["cloud"], {name: given[name] for name in WORDS})
    rest, name = given["rest"], given["name"]
    if kind == "hpt":
        asked = prepare.tuning(rest, where, prepare.study(rest, given), _final(given), name)
    elif kind == "sweep":
        asked = prepare.sweeping(rest, where, name)
    else:
        asked = prepare.training(rest, where, name)
    if given["dry_run"]:
        click.echo(preview.dry_run(asked))
    for line in preview.needs(asked):
        click.echo(line, err=True)
    if not given["dry_run"]:
        launch.start(asked, detach=given["detach"], poll=given["poll"])


def _final(given: Mapping[str, Any]) -> Sequence[str] | None:
    """Flags of the training with the best values; None where there is none."""
    if given["final"] and not given["then_train"]:
        raise InputError("final is given without then-train; allowed: both, or neither")
    return given["final"] if given["then_train"] else None
