"""`labkit apply`, `policy`, `teardown`, `audit`: provisioning steps."""

from __future__ import annotations

import json
import sys
from textwrap import indent

import click

from labkit.cli import as_commands
from labkit.cli.parameters import Name, ask, connect, running
from labkit.connect import end_noise
from labkit.errors import NoLabError, StepError
from labkit.lab import Lab
from labkit.provision.preflight.chapters import numbers
from labkit.provision.steps import STEPS, TeardownError, applying, plan_undo, undo_all
from labkit.show import terminal_width

_WIDTH = 120  # columns, where there is no terminal
_STEPS = f"Steps: {', '.join(STEPS.ORDER)}."


@click.command(name="preflight")
@click.option("--chapters", default="", metavar="01,03", help="For these chapters only (default: all).")
@click.option("--json", "as_json", is_flag=True, help="Findings, plan and costs as a JSON object.")
def preflight(chapters: str, as_json: bool) -> None:
    """Tell what stands in the way of the workshop, what it will make, and what that costs an hour. Changes nothing.

    If no embedded lab is running, it starts an empty one to look at.

    Exits 1 if a finding is a blocker.
    """
    chosen = numbers(name.strip() for name in chapters.split(",") if name.strip())
    found = connect().preflight(*chosen)
    # A blocker's row says what is found and what to do: in a file, too, it stays in the columns that people read.
    click.echo(found.json() if as_json else as_commands(found.text(terminal_width() or _WIDTH)))
    sys.exit(0 if found.passed else 1)


@click.command(epilog=_STEPS)
@click.argument("steps", nargs=-1, metavar="[STEP]...", type=Name(STEPS.ORDER))
@click.option("--cli", "only_show", is_flag=True, help="Only print how to do all of it by hand; changes nothing.")
def apply(steps: tuple[str, ...], only_show: bool) -> None:
    """Apply STEPS and what they need (all steps if none is named); tells what changed and how to do that by hand."""
    if only_show:
        target = running("The commands have its names and addresses in them: start it with `labkit up`.").target
        for step in STEPS.with_needs(steps or STEPS.ORDER):
            click.echo(step.cli(target))
        return
    target = connect().target
    for result in applying(target, steps or STEPS.ORDER):
        click.echo(as_commands(repr(result)))
        if result.action != "unchanged":
            whose = ", for the instructor" if result.action == "shared" else ""
            click.echo(f"  by hand{whose}:\n{indent(result.cli, '    ')}")


@click.command()
@click.argument("name")
def policy(name: str) -> None:
    """Print the policy document NAME of manifests/iam, with your account, region, cluster and names filled in."""
    from labkit.provision.iam import policy as filled_in

    target = connect().target
    there = sorted(file.stem for file in (target.settings.root / "manifests" / "iam").glob("*.json"))
    if name not in there:
        raise StepError(f"There is no policy {name!r}.", hint=f"Use one of: {', '.join(there)}.")
    click.echo(json.dumps(filled_in(name, target), indent=2))


@click.command(epilog=_STEPS)
@click.argument("steps", nargs=-1, metavar="[STEP]...", type=Name(STEPS.ORDER))
@click.option("--yes", is_flag=True, help="Don't ask first.")
def teardown(steps: tuple[str, ...], yes: bool) -> None:
    """Take away what the lab made: STEPS, or everything; what was there before stays.

    On a real account (LABKIT_TARGET=eks) it shows first what it will take away, and asks.

    Goes on past what can't be taken away, and exits 1 with what is left and why.
    """
    try:
        target = Lab.connect(start=False, partly=True).target
    except NoLabError as error:
        click.echo(f"Nothing to take down: {error.message}")
        return
    chosen = [step for step in STEPS if not steps or step.name in steps]
    if target.settings.target == "eks" and not yes:
        planned = plan_undo(target, chosen)
        click.echo(repr(planned))
        if not planned.rows:
            return
        ask()
    if not steps:
        end_noise(target)
    try:
        click.echo(repr(undo_all(target, chosen)))
    except TeardownError as error:
        click.echo(repr(error.done))
        raise


@click.command()
def audit() -> None:
    """List what is left of the workshop. Exits 1 if there is anything."""
    try:
        lab = Lab.connect(start=False, partly=True)
    except NoLabError as error:
        click.echo(f"Nothing is left: {error.message}")
        return
    found = lab.audit()
    click.echo(repr(found))
    sys.exit(0 if found.clean else 1)
