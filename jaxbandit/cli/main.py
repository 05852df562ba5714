"""The command `jaxbandit`: its subcommands, and the exit status of each way to end."""

import gc
import sys
from collections.abc import Sequence

import click

from jaxbandit._core.errors import Failure, InputError
from jaxbandit._core.signals import Interrupted, interruptible
from jaxbandit.cli import commands, listing
from jaxbandit.cli.launch import launch

# JAX makes a million objects that stay; Python would look through them for garbage a tenth of the time to start.
COLLECTIONS = (100_000, 50, 100)
FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: exit status 0, 1 where a job failed elsewhere, 2 for bad input, 130 when interrupted."""
    gc.set_threshold(*COLLECTIONS)
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


for command in (
    commands.run_command,
    commands.sweep_command,
    commands.compare,
    commands.evaluate,
    commands.export_command,
    launch,
    listing.list_command,
    listing.data,
):
    cli.add_command(command)
