"""The `labkit` command: finds the module that a subcommand lives in, and turns errors into two plain sentences."""

from __future__ import annotations

import importlib
import io
import os
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from falcorules import FalcoRulesError
from labkit.calls import is_text, near, seconds, shown
from labkit.errors import LabError, NoLabError

if TYPE_CHECKING:
    from labkit.lab import Lab

# Subcommand -> where its click command is. A command's module is imported only when it is used.
COMMANDS = {
    "up": "labkit.lab_commands:up",
    "down": "labkit.lab_commands:down",
    "status": "labkit.lab_commands:status",
    "env": "labkit.lab_commands:env",
    "lab": "labkit.jupyterlab:lab",
    "run": "labkit.runner:run_command",
    "apply": "labkit.provision.cli:apply",
    "policy": "labkit.provision.cli:policy",
    "teardown": "labkit.provision.cli:teardown",
    "audit": "labkit.provision.cli:audit",
    "exec": "labkit.attacks.cli:exec_command",
    "attack": "labkit.attacks.cli:attack",
    "rules": "labkit.rules_cli:rules",
    "alerts": "labkit.alerts.cli:alerts",
}


class _LazyGroup(click.Group):
    """A group that imports a subcommand's module only when that subcommand is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = COMMANDS.get(cmd_name)
        if where is None:
            return None
        module, attribute = where.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def main(self, *args: Any, **extra: Any) -> Any:
        """Runs the command. Errors go to stderr in two lines; the exit code is 1, of a wrong call 2.

        (A reader of the output that goes away ends it with 1, too, without a word: click sees to that.)
        """
        problem: LabError | FalcoRulesError
        try:
            if sys.stdout is None:
                raise LabError("Standard output is closed.", hint="Send it to a file, or to /dev/null.")
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file need not be UTF-8
            wrong = next((one for one in extra.get("args") or sys.argv[1:] if not is_text(one)), None)
            if wrong is not None:
                raise LabError(f"The argument {shown(wrong)} is not text in UTF-8.", hint="Write it in UTF-8.")
            sys.exit(super().main(*args, **{**extra, "standalone_mode": False}) or 0)
        except click.ClickException as error:
            context = error.ctx if isinstance(error, click.UsageError) else None
            hint = f"`{context.command_path} --help` shows how." if context else ""
            _tell(LabError(" ".join(error.format_message().split()), hint=hint))
            sys.exit(error.exit_code)
        except click.Abort:
            click.echo("labkit: Stopped.", err=True)
            sys.exit(130)  # as of any command that Ctrl-C ends
        except (LabError, FalcoRulesError) as error:
            problem = error
        except OSError as error:
            what = f"{error.filename} can't be used" if error.filename else "Input or output failed"
            hint = "See to what is read from or written to: that it is there, may be used, and has room."
            problem = LabError(f"{what}: {error.strerror or error}.", hint=hint)
            _give_up_output()
        except Exception as error:
            problem = LabError(
                f"{type(error).__name__}: {shown(str(error), 200)}",
                hint=f"This is a fault of labkit itself; please report it with {_traceback_file()}.",
            )
        _tell(problem)
        sys.exit(1)


def _tell(problem: LabError | FalcoRulesError) -> None:
    """Prints an error on stderr, without what a terminal would take for a command, and no line too long to read."""
    text = "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in f"labkit: {problem}")
    click.echo("\n".join(_shortened(line) for line in text.splitlines()), err=True)


def _shortened(line: str, width: int = 1000) -> str:
    return line if len(line) <= width else f"{line[: width // 2]} ... {line[-width // 2 :]}"


def _traceback_file() -> str:
    try:
        with tempfile.NamedTemporaryFile("w", prefix="labkit-", suffix=".txt", delete=False) as file:
            traceback.print_exc(file=file)
            return file.name
    except OSError:
        return "what you typed"


def _give_up_output() -> None:
    """Drops what could not be written, or the interpreter would try again when it ends, and complain."""
    with suppress(OSError):  # standard output isn't a file in a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class FileName(click.Path):
    """A file or folder, as a Path."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip():
            self.fail("The name of a file is empty.", param, ctx)
        try:
            Path(value).resolve()
        except (OSError, RuntimeError) as error:  # a loop of symbolic links
            self.fail(f"{shown(str(value))} can't be used: {error}", param, ctx)
        return super().convert(value, param, ctx)


class Name(click.Choice[str]):
    """One of some names; of another it says which are similar."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            similar = near(value, self.choices) or f"Use one of: {', '.join(self.choices)}."
            self.fail(f"There is no {shown(value)}. {similar}", param, ctx)
        return str(value)


class Seconds(click.ParamType[float]):
    """A time to wait: `90`, `5m`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return seconds(value, "It")
        except LabError as error:
            return self.fail(f"{error.message} {error.hint}", param, ctx)


def connect() -> Lab:
    """The settings' lab for a command. If the embedded one has to be started, and so is empty, stderr tells."""
    from labkit.lab import Lab

    try:
        return Lab.connect(start=False)
    except NoLabError as error:
        if not error.ended:  # which is told when the new one has started
            click.echo(f"{error.message} Starting a new one.", err=True)
        return Lab.connect()


@click.group(cls=_LazyGroup)
@click.version_option(package_name="labkit")
def main() -> None:
    """Falco on Amazon EKS, a workshop: start the embedded lab, run the chapters, look at alerts."""


if __name__ == "__main__":
    main()
