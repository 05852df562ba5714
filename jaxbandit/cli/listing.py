"""`jaxbandit list` and `jaxbandit data`: what there is to choose from, and what is in a data set."""

from collections.abc import Callable
from typing import Any

import click

from jaxbandit._core.errors import unknown
from jaxbandit.cli.reading import READING_HELP


@click.command("list")
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

    prefix = "custom_model_training_"
    rows = []
    for name, machine in MACHINES.items():
        quotas = [metric.partition(prefix)[2] for metric in machine.quota(preemptible=False)]
        rows.append((name, machine.words, prefix + ", ".join(quotas)))
    print_list(rows, headings=("name", "machine", "quota of Vertex AI"))


@click.group()
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


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that say how a file of ratings is read."""
    for name, words in reversed(READING_HELP.items()):
        switch = {"is_flag": True} if name == "implicit" else {"metavar": "NAME"}
        command = click.option(f"--{name.replace('_', '-')}", help=words, default=None, **switch)(command)
    return command


@data.command("describe")
@click.argument("name_or_path", metavar="NAME|PATH")
@reading_options
@click.option("--plot", metavar="FILE", help="draw star shares, popularity and activity into a PNG")
def data_describe(name_or_path: str, plot: str | None, **reading: Any) -> None:
    """Say what is in a data set: counts, density, star shares, skew."""
    from jaxbandit.data import describe, load
    from jaxbandit.data import plot as draw
    from jaxbandit.reporting import print_list

    ratings = load(name_or_path, **{name: value for name, value in reading.items() if value is not None})
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
