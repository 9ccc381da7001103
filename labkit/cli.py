"""The `labkit` command: finds the module that a subcommand lives in, and turns errors into two plain sentences."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from labkit.errors import LabError, NoLabError

if TYPE_CHECKING:
    from labkit.lab import Lab

# Subcommand -> where its click command is. A command's module is imported only when it is used.
COMMANDS = {
    "up": "labkit.embedded.cli:up",
    "down": "labkit.embedded.cli:down",
    "status": "labkit.embedded.cli:status",
    "env": "labkit.embedded.cli:env",
    "run": "labkit.runner:run_command",
    "apply": "labkit.provision.cli:apply",
    "teardown": "labkit.provision.cli:teardown",
    "audit": "labkit.provision.cli:audit",
    "exec": "labkit.attacks.cli:exec_command",
    "attack": "labkit.attacks.cli:attack",
    "rules": "labkit.rules.cli:rules",
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
        """Runs the command; an error is told on standard error, and ends it with 1. (So does, without a word, a reader
        of the output that goes away: click sees to that.)"""
        try:
            if sys.stdout is None:
                raise LabError("Standard output is closed.", hint="Send it to a file, or to /dev/null.")
            return super().main(*args, **extra)
        except LabError as error:
            said = error
        except OSError as error:
            what = f"{error.filename} can't be used" if error.filename else "Input or output failed"
            hint = "See to what is read from or written to: that it is there, may be used, and has room."
            said = LabError(f"{what}: {error.strerror or error}.", hint=hint)
            _give_up_output()
        click.echo(f"labkit: {said}", err=True)
        sys.exit(1)


def _give_up_output() -> None:
    """Drops what could not be written, or the interpreter would try again when it ends, and complain."""
    with suppress(OSError):  # standard output isn't a file in a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def connect() -> Lab:
    """The settings' lab for a command. If the embedded one has to be started, and so is empty, stderr tells."""
    from labkit.lab import Lab

    try:
        return Lab.connect(start=False)
    except NoLabError as error:
        click.echo(f"{error.message} Starting a new one.", err=True)
        return Lab.connect()


@click.group(cls=_LazyGroup)
@click.version_option(package_name="labkit")
def main() -> None:
    """Falco on Amazon EKS, a workshop: start the embedded lab, run the chapters, look at alerts."""


if __name__ == "__main__":
    main()
