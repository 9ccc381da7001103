"""The `labkit` command: finds the module that a subcommand lives in, and turns errors into two plain sentences."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from labkit.errors import LabError

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

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LabError as error:
            click.echo(f"labkit: {error}", err=True)
            sys.exit(1)


@click.group(cls=_LazyGroup)
@click.version_option(package_name="labkit")
def main() -> None:
    """Falco on Amazon EKS, a workshop: start the embedded lab, run the chapters, look at alerts."""


if __name__ == "__main__":
    main()
