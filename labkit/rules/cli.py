"""The `labkit rules` commands: check rule files, replay recorded events, list and explain rules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from labkit.errors import LabError

_FILES = click.argument("files", nargs=-1, required=True, metavar="RULES...", type=click.Path(path_type=Path))
_EVENTS = click.option(
    "--events",
    required=True,
    metavar="FILE",
    help="Recorded events, one JSON object per line (.gz is fine; - is standard input).",
)


@click.group()
def rules() -> None:
    """Check and try Falco rules without Falco."""


@rules.command()
@_FILES
@click.option("--json", "as_json", is_flag=True, help="Print Falco's JSON report.")
def check(files: tuple[Path, ...], *, as_json: bool) -> None:
    """Say what Falco says about rule files; exits with 1 if it would refuse them."""
    from labkit.rules.engine import check as check_files

    report = check_files(files)
    if as_json:
        click.echo(report.to_json())
    else:
        click.echo(str(report), nl=False)
        for problem in () if report.errors else report.warnings:
            click.echo(str(problem), err=True)
    if report.refused:
        click.echo(f"Error: {report.refused}", err=True)
    sys.exit(0 if report.successful else 1)


@rules.command()
@_FILES
@_EVENTS
@click.option("--matching", type=click.Choice(["first", "all"]), default="first", show_default=True)
@click.option("--priority", default="debug", show_default=True, help="Leave out rules below this priority.")
@click.option("--text", is_flag=True, help="Print Falco's text lines instead of JSON.")
def replay(files: tuple[Path, ...], events: str, matching: Any, priority: str, *, text: bool) -> None:
    """Evaluate recorded events and print the alerts, one JSON line each."""
    from labkit.rules.engine import Engine
    from labkit.rules.events import open_events

    engine = Engine(matching=matching, priority=priority)
    engine.load(files)
    for event in open_events(events):
        for alert in engine.process(event):
            click.echo(alert.to_text() if text else alert.to_json())


@rules.command(name="list")
@_FILES
def list_rules(files: tuple[Path, ...]) -> None:
    """List rules with their priority, tags and event types."""
    from labkit.rules.engine import Engine

    engine = Engine()
    engine.load(files)
    for rule in engine.rules:
        state = "" if rule.enabled else "  (disabled)"
        click.echo(f"{rule.priority:<13} {rule.name}{state}")
        click.echo(f"              tags: {', '.join(rule.tags) or '-'}")
        click.echo(f"              events: {_types(rule.event_types)}")


@rules.command()
@click.argument("rule")
@_FILES
def explain(rule: str, files: tuple[Path, ...]) -> None:
    """Show a rule's condition with its macros expanded, and what it uses."""
    from labkit.rules.engine import Engine
    from labkit.rules.explain import Explanation

    engine = Engine()
    engine.load(files)
    click.echo(str(Explanation.of(engine.rule(rule))))


@rules.command()
@click.argument("rule")
@_FILES
@_EVENTS
@click.option("--number", type=int, help="Only the event with this evt.num; else the one that came closest.")
def why(rule: str, files: tuple[Path, ...], events: str, number: int | None) -> None:
    """Show for one event which parts of a condition were true and which made it fail."""
    from labkit.rules.engine import Engine
    from labkit.rules.events import open_events
    from labkit.rules.explain import closest, explain_event

    engine = Engine()
    engine.load(files)
    chosen = engine.rule(rule)
    if number is None:
        event = closest(chosen, open_events(events))
    else:
        event = next((event for event in open_events(events) if event.get("evt.num") == number), None)
    if event is None:
        raise LabError(f"No such event in {events}", hint="evt.num of an event is in its JSON line.")
    click.echo(str(explain_event(chosen, event)))


@rules.command()
@click.argument("pattern", default="*")
def fields(pattern: str) -> None:
    """List the fields that rules can use; PATTERN may have wildcards (proc.*)."""
    import fnmatch

    from labkit.rules.fields import fields as all_fields

    found = [
        info
        for info in all_fields().values()
        if not info.hidden
        if fnmatch.fnmatchcase(info.name, pattern) or ("*" not in pattern and pattern in info.name)
    ]
    if not found:
        raise LabError(f"No field matches {pattern!r}", hint="labkit rules fields lists them all.")
    for info in found:
        argument = {"required": "[argument]", "optional": "[argument, optional]"}.get(info.argument, "")
        notes = [
            note
            for note, applies in (
                ("list", info.is_list),
                ("conditions only", info.filter_only),
                ("deprecated", info.deprecated),
            )
            if applies
        ]
        click.echo(f"{info.name + argument:<48} {info.type.lower():<9} {', '.join(notes)}".rstrip())


@rules.command()
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Where to (default: rules/ in the lab's folder).")
@click.option("--url", help="Where from (default: the published releases).")
def fetch(folder: Path | None, url: str | None) -> None:
    """Fetch the rule files that the Falco project publishes."""
    from labkit.rules.upstream import fetch as fetch_files

    for path in fetch_files(folder, url=url):
        click.echo(str(path))


def _types(types: frozenset[str]) -> str:
    names = sorted(types)
    return ", ".join(names) if len(names) <= 12 else f"{len(names)} types"
