"""`labkit class`: a class on one shared cluster."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from labkit.cli import as_commands
from labkit.cli.parameters import ask, connect, running
from labkit.errors import NoLabError, StepError
from labkit.provision.steps import TeardownError
from labkit.show import Table

if TYPE_CHECKING:
    from labkit.target import Target

_WATCH_SECONDS = 5.0
_NOT_UP = "`labkit class up --attendees 30` sets a class up."


@click.group("class")
def class_() -> None:
    """A class on one shared cluster: one Falco, one log group, and for each attendee a namespace and a role."""


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip()) if value else ()


def _trust(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for value in values:
        matched = re.fullmatch(r"(?:([a-z0-9]{1,12})=)?(arn:aws[\w-]*:iam::\d{12}:(?:root|(?:role|user)/.+))", value)
        if matched is None:
            message = f"{value!r}: write it as arn:aws:iam::111122223333:role/NAME, or 07=arn:... for one attendee."
            raise click.BadParameter(message, ctx, param)
        found.setdefault(matched[1] or "", []).append(matched[2])
    return found


_YES = click.option(
    "--yes", is_flag=True, help="Don't ask whether to go on (else asked on an account, and at a terminal)."
)


def _asks(target: Target, yes: bool) -> bool:
    """Whether to ask first: always on an account; on the embedded lab, which scripts use, at a terminal."""
    return not yes and (target.settings.target == "eks" or sys.stdin.isatty())


@class_.command()
@click.option("--attendees", type=click.IntRange(1, 99), metavar="N", help="How many: they are 01, 02, ...")
@click.option("--names", callback=_names, metavar="A,B,...", help="Their names, in the place of a number.")
@click.option(
    "--trust",
    multiple=True,
    metavar="[NAME=]ARN",
    callback=_trust,
    help="Who may assume the attendees' roles (default: you, who hand out sessions); may be repeated.",
)
@click.option("--findings", is_flag=True, help="Security Hub and one forwarder for all, for chapter 07.")
@click.option("--plan", "only_plan", is_flag=True, help="Only print what is made and what it costs; changes nothing.")
@_YES
def up(
    attendees: int | None,
    names: tuple[str, ...],
    trust: dict[str, list[str]],
    findings: bool,
    only_plan: bool,
    yes: bool,
) -> None:
    """Set a class up, or add attendees to it. Applied again it changes nothing; interrupted, it goes on.

    If no embedded lab is running, it starts one first, also with --plan.
    """
    from classroom import attendees as people
    from classroom import background
    from classroom.up import ClassError
    from classroom.up import plan as planned
    from classroom.up import up as set_up

    chosen = people.names(attendees, names)
    target = connect().target
    click.echo(repr(planned(target, chosen, findings=findings)))
    if only_plan:
        return
    if _asks(target, yes):
        ask()
    try:
        table = set_up(target, chosen, trust=trust, findings=findings)
    except ClassError as error:
        click.echo(as_commands(repr(error.done)))
        raise
    click.echo(as_commands(repr(table)))
    background.start(target)
    click.echo(f"The gate for rules runs in the background; its log: {background.log(target)}")
    click.echo(f"What an attendee needs: `labkit class env {chosen[0]}`, and so on.")


@class_.command()
@click.argument("name")
@click.option(
    "--credentials/--role",
    default=None,
    help="Print a session of the attendee's role, or the role to assume (default: what `--trust` makes needed).",
)
def env(name: str, credentials: bool | None) -> None:
    """Print shell commands that make a shell attendee NAME's: settings, and credentials of that attendee alone."""
    from classroom.handout import handout

    click.echo(handout(running(_NOT_UP).target, name, credentials=credentials).text)


@class_.command()
@click.option("--watch", is_flag=True, help="Print it again every few seconds, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print it as a JSON object.")
def status(watch: bool, as_json: bool) -> None:
    """Print who is at which checkpoint, whose rules fail, alerts a minute, what is missing, and the cost so far."""
    from classroom.view import view

    target = running(_NOT_UP).target
    with suppress(KeyboardInterrupt):
        while True:
            found = view(target)
            if watch and not as_json:
                click.clear()
            click.echo(found.json() if as_json else repr(found))
            if not watch:
                return
            time.sleep(_WATCH_SECONDS)


_GONE = click.option("--plan", "only_plan", is_flag=True, help="Only print what is taken away; changes nothing.")


@class_.command()
@click.argument("names", nargs=-1, required=True)
@_GONE
@_YES
def remove(names: tuple[str, ...], only_plan: bool, yes: bool) -> None:
    """Take attendees NAMES out of the class, with everything that is theirs. Exits 1 with what is left."""
    from classroom.down import plan
    from classroom.down import remove as take_out

    target = running(_NOT_UP).target
    _take(target, plan(target, names), lambda: take_out(target, names), only_plan, yes)


@class_.command()
@_GONE
@_YES
def down(only_plan: bool, yes: bool) -> None:
    """Take the class down: all that is the class's and the attendees', and nothing else.

    Goes on past what can't be taken away, and exits 1 with what is left and why.
    """
    from classroom.down import down as take_down
    from classroom.down import plan
    from labkit.lab import Lab

    try:
        target = Lab.connect(start=False, partly=True).target
    except NoLabError as error:
        click.echo(f"There is no class: {error.message}")
        return
    _take(target, plan(target), lambda: take_down(target), only_plan, yes)


def _take(target: Target, planned: Table, act: Callable[[], Table], only_plan: bool, yes: bool) -> None:
    """Says what goes and asks, then does it."""
    asks = planned.rows and _asks(target, yes)
    if only_plan or asks:
        click.echo(repr(planned))
    if only_plan:
        return
    if asks:
        ask()
    try:
        click.echo(repr(act()))
    except TeardownError as error:
        click.echo(repr(error.done))
        raise


@class_.command()
def gate() -> None:
    """Check attendees' rules and hand them to Falco, until it is ended. `class up` starts it in the background."""
    from classroom.attendees import known, refuse_attendee
    from classroom.gate import run

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it says that it is gone
    target = running(_NOT_UP).target
    refuse_attendee(target)
    if not known(target):
        raise StepError("There is no class.", hint=_NOT_UP)
    with suppress(KeyboardInterrupt):
        run(target, say=_log)


def _log(line: str) -> None:
    click.echo(f"{datetime.now(UTC):%H:%M:%S} {line}")
