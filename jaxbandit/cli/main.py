"""The command `jaxbandit`: its subcommands, and the exit status of each way to end."""

import gc
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from jaxbandit._core.errors import Failure, InputError
from jaxbandit._core.signals import Interrupted, interruptible
from jaxbandit.cli import commands, listing
from jaxbandit.cli.launch import launch
from jaxbandit.cli.output import flush, print_anywhere

# JAX makes a million objects that stay; Python would look through them for garbage a tenth of the time to start.
COLLECTIONS = (100_000, 50, 100)
FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: exit status 0, 1 where a job failed elsewhere, 2 for bad input, 130 when interrupted."""
    gc.set_threshold(*COLLECTIONS)
    print_anywhere()
    with interruptible():
        status = _status(argv)
        if (error := flush()) is not None and not isinstance(error, BrokenPipeError):
            status = _refuse(_unwritten(error))
        if processes := sys.modules.get("jaxbandit._core.processes"):  # else nothing was joined
            processes.leave(status)
        sys.exit(status)


def _status(argv: Sequence[str] | None) -> int:
    try:
        with interruptible():
            _check(sys.argv[1:] if argv is None else argv)
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
    except OSError as error:
        return _refuse(_unwritten(error))
    return status if isinstance(status, int) else 0


def _refuse(message: str, status: int = BAD_INPUT) -> int:
    from jaxbandit.reporting import print_error

    with suppress(OSError):  # nobody can be told
        print_error(message)
    return status


def _check(args: Sequence[str]) -> None:
    """Raise InputError where an argument is no Unicode: neither JSON nor tables can hold it."""
    for arg in args:
        try:
            arg.encode()
        except UnicodeEncodeError:
            raise InputError(f"{arg!r} is no text in UTF-8; allowed: paths and values that are") from None


def _unwritten(error: OSError) -> str:
    """Say what the system has refused, to a file or to what reads the output."""
    place = "the output" if error.filename is None else repr(error.filename)
    return f"cannot read or write {place}: {error.strerror or error}"


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
