"""`labkit apply`, `teardown`, `audit`: the provisioning steps from a shell."""

from __future__ import annotations

import sys
from textwrap import indent

import click

from labkit.cli import connect
from labkit.errors import NoLabError
from labkit.lab import Lab
from labkit.provision.steps import STEPS


@click.command()
@click.argument("steps", nargs=-1, type=click.Choice(STEPS.ORDER))
@click.option("--cli", "only_show", is_flag=True, help="Only print how to do all of it by hand; changes nothing.")
def apply(steps: tuple[str, ...], only_show: bool) -> None:
    """Apply STEPS and what they need (all steps if none is named); tells what changed and how to do that by hand."""
    lab = connect()
    for step in STEPS.with_needs(steps or STEPS.ORDER):
        if only_show:
            click.echo(step.cli(lab))
            continue
        result = step.apply(lab)
        click.echo(repr(result))
        if result.action != "unchanged":
            click.echo(f"  by hand:\n{indent(result.cli, '    ')}")


@click.command()
@click.argument("steps", nargs=-1, type=click.Choice(STEPS.ORDER))
def teardown(steps: tuple[str, ...]) -> None:
    """Take away what the lab made: STEPS, or everything; what was there before stays."""
    try:
        lab = Lab.connect(start=False)
    except NoLabError as error:
        click.echo(f"Nothing to take down: {error.message}")
        return
    if not steps:
        click.echo(repr(lab.teardown()))
        return
    for step in reversed([step for step in STEPS if step.name in steps]):
        click.echo(repr(step.undo(lab)))


@click.command()
def audit() -> None:
    """List what is left of the workshop. Exits 1 if there is anything."""
    try:
        lab = Lab.connect(start=False)
    except NoLabError as error:
        click.echo(f"Nothing is left: {error.message}")
        return
    found = lab.audit()
    click.echo(repr(found))
    sys.exit(0 if found.clean else 1)
