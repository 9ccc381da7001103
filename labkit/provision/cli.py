"""`labkit apply`, `teardown`, `audit`: the provisioning steps from a shell."""

from __future__ import annotations

import sys

import click

from labkit.lab import Lab
from labkit.provision.steps import STEPS


@click.command()
@click.argument("steps", nargs=-1, type=click.Choice(STEPS.ORDER))
@click.option("--cli", "only_show", is_flag=True, help="Only print the equivalent commands.")
def apply(steps: tuple[str, ...], only_show: bool) -> None:
    """Apply STEPS and what they need (all steps if none is named); tells what changed and how to do it by hand."""
    lab = Lab.connect()
    for step in STEPS.with_needs(steps or STEPS.ORDER):
        if not only_show:
            click.echo(repr(step.apply(lab)))
            click.echo("  by hand:")
        for line in step.cli(lab).splitlines():
            click.echo(line if only_show else f"    {line}")


@click.command()
@click.argument("steps", nargs=-1, type=click.Choice(STEPS.ORDER))
def teardown(steps: tuple[str, ...]) -> None:
    """Take away what the lab made: STEPS, or everything; what was there before stays."""
    lab = Lab.connect()
    if not steps:
        click.echo(repr(lab.teardown()))
        return
    for step in reversed([step for step in STEPS if step.name in steps]):
        click.echo(repr(step.undo(lab)))


@click.command()
def audit() -> None:
    """List what is left of the workshop. Exits 1 if there is anything."""
    found = Lab.connect().audit()
    click.echo(repr(found))
    sys.exit(0 if found.clean else 1)
