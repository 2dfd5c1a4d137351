"""The command line: parses words into values and hands them to the function of each verb.

Nothing heavy is imported here; a verb imports its own module when it runs. An error of ours becomes a message
on stderr and the exit code of its class (`foldwright.errors`); a wrong command line exits with 2, an
interruption with 130.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from foldwright import __version__
from foldwright.errors import FoldwrightError, nearest

__all__ = ["cli", "command_line", "main"]

_INTERRUPTED = 130
_ANY_PATH = click.Path(path_type=Path)


class _Verbs(click.Group):
    """The verbs in the order in which a newcomer meets them; unknown ones get the nearest name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            ctx.fail(f"no verb is named {args[0]!r}; {nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


def command_line() -> str:
    """Returns the command as the user would type it again; what identifies a run."""
    return shlex.join([Path(sys.argv[0]).name.replace("__main__.py", "foldwright"), *sys.argv[1:]])


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="foldwright")
def cli() -> None:
    """Find the best accelerator for a quantized CNN on a small FPGA, and prove how good it is.

    \b
    Begin with:  foldwright demo
    Your own:    foldwright optimize MODEL.onnx --part xc7z020 --out runs/first
    """


@cli.command("init", short_help="Write a commented configuration file.")
@click.argument("file", type=_ANY_PATH, default=Path("foldwright.toml"))
def _init(file: Path) -> None:
    """Write FILE (foldwright.toml), a commented configuration for `optimize --config FILE`."""
    from foldwright.config import write_template

    write_template(file)
    click.echo(f"wrote {file}; edit it, then run: foldwright optimize --config {file}")


@cli.command("run", short_help="Run a network in integers on an array of inputs.")
@click.argument("model")
@click.argument("inputs", type=_ANY_PATH)
@click.option("--output", type=_ANY_PATH, required=True, help="The .npz file to write, array 'output'.")
def _run(model: str, inputs: Path, output: Path) -> None:
    """Run MODEL, an ONNX file or a name of `models`, on the array 'input' of INPUTS (.npz).

    Everything that the accelerator computes is computed in integers, exactly.
    """
    from foldwright.accel.network import run_model
    from foldwright.verbs.listing import find_model

    run_model(find_model(model), inputs, output)
    click.echo(f"wrote {output}")


@cli.command("parts", short_help="List the FPGA parts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def _parts(as_json: bool) -> None:
    """List the FPGA parts and their budgets."""
    from foldwright.verbs.listing import print_parts

    print_parts(as_json)


@cli.command("models", short_help="List the networks that come along.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def _models(as_json: bool) -> None:
    """List the small quantized networks that come with Foldwright; verbs take them by name."""
    from foldwright.verbs.listing import print_models

    print_models(as_json)


@cli.command("doctor", short_help="Say what is installed and what is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def _doctor(as_json: bool) -> int:
    """Say which packages and tools are there, what each is for, and how to get what is missing.

    Exits with 4 if something that every installation needs is missing; optional things do not count.
    """
    from foldwright.verbs.doctor import print_diagnosis

    return print_diagnosis(as_json)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; the `foldwright` script's entry point."""
    try:
        code = cli.main(
            args=None if argv is None else list(argv), prog_name="foldwright", standalone_mode=False
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted: nothing half-written was kept", _INTERRUPTED)
    except FoldwrightError as error:
        return _say(f"error: {error}", error.exit_code)
    except BrokenPipeError:
        _close_stdout()
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        return _say(f"error: {error.filename}: {error.strerror}", 2)
    except MemoryError:
        return _say("error: out of memory: the input is too large for this machine", 2)
    return code if isinstance(code, int) else 0


def _say(message: str, code: int) -> int:
    click.echo(message, err=True)
    return code


def _close_stdout() -> None:
    """Keeps the interpreter from complaining at exit about a reader that went away, such as `head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
