"""The commands: check rule files, list and explain rules, replay recorded events."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from falcorules.errors import FalcoRulesError

if TYPE_CHECKING:
    from falcorules.engine import Source


class _Commands(click.Group):
    """A group that prints errors to stderr in two lines and ends with exit code 1."""

    def main(self, *args: Any, **extra: Any) -> Any:
        try:
            return super().main(*args, **extra)
        except FalcoRulesError as error:
            click.echo(f"Error: {error}", err=True)
        except OSError as error:
            click.echo(f"Error: Input or output failed: {error.strerror or error}.", err=True)
            with suppress(OSError):  # or the interpreter would write what is buffered when it ends, and fail again
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


class FileName(click.Path):
    """A file or folder, as a Path."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip():
            self.fail("The name of a file is empty.", param, ctx)
        try:
            Path(value).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a loop of symbolic links, or a NUL
            self.fail(f"{str(value)[:200]!r} can't be used: {error}", param, ctx)
        return super().convert(value, param, ctx)


_EVENTS = click.option(
    "--events",
    required=True,
    metavar="FILE",
    help="Recorded events, one JSON object per line (.gz is fine; - is standard input).",
)


def _rule_files(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options for rule files, as `files` in the order of loading."""

    @click.argument("paths", nargs=-1, metavar="[RULES]...", type=FileName())
    @click.option("--default-rules", is_flag=True, help="Load the stable rules before them.")
    @click.option(
        "--values",
        multiple=True,
        metavar="FILE",
        type=FileName(),
        help="Load the rules in a values file of the Falco chart (customRules) after them.",
    )
    @functools.wraps(command)
    def wrapped(paths: tuple[Path, ...], default_rules: bool, values: tuple[Path, ...], **options: Any) -> None:
        files: list[Source] = []
        if default_rules:
            from falcorules.rulesets import default_rules as stable_rules

            files.append(stable_rules())
        files += paths
        for path in values:
            from falcorules.chart import from_values

            files += from_values(path)
        if not files:
            raise click.UsageError("Which rules? Name files or folders, --default-rules, or --values FILE.")
        command(files=files, **options)

    return wrapped


@click.group(cls=_Commands)
def main() -> None:
    """Check and try Falco rules without Falco."""


@main.command()
@_rule_files
@click.option("--json", "as_json", is_flag=True, help="Print Falco's JSON report.")
def check(files: list[Source], *, as_json: bool) -> None:
    """Report what Falco reports for rule files; the exit code is 1 if it refuses them."""
    from falcorules.chart import is_values_file
    from falcorules.engine import check as check_files

    report = check_files(files)
    if as_json and not report.refused:
        click.echo(report.to_json())
    elif not as_json:
        click.echo(str(report), nl=False)
        for problem in () if report.errors else report.warnings:
            click.echo(str(problem), err=True)
        for problem in report.errors:
            if problem.suggestion:
                click.echo(f"What to do: {problem.suggestion.strip()}", err=True)
    if report.refused:
        click.echo(report.said, err=True)
    if report.errors and Path("-") in files:
        click.echo("- is taken for a file's name, as Falco does: standard input is /dev/stdin.", err=True)
    for file in files if report.errors else ():
        if isinstance(file, Path) and is_values_file(file):
            click.echo(f"{file} is a values file for the Falco chart: check the rules in it with --values.", err=True)
    sys.exit(0 if report.successful else 1)


@main.command()
@_rule_files
@_EVENTS
@click.option("--matching", type=click.Choice(["first", "all"]), default="first", show_default=True)
@click.option("--priority", default="debug", show_default=True, help="Leave out rules below this priority.")
@click.option("--text", is_flag=True, help="Print Falco's text lines instead of JSON.")
def replay(files: list[Source], events: str, matching: Any, priority: str, *, text: bool) -> None:
    """Evaluate recorded events and print the alerts, one JSON line each."""
    from falcorules.engine import load
    from falcorules.events import open_events

    engine = load(files, matching=matching, priority=priority)
    for event in open_events(events):
        for alert in engine.process(event):
            click.echo(alert.to_text() if text else alert.to_json())


@main.command(name="list")
@_rule_files
def list_rules(files: list[Source]) -> None:
    """List rules with their priority, tags and event types."""
    from falcorules.engine import load
    from falcorules.explain import types_text

    for rule in load(files).rules:
        state = "" if rule.enabled else "  (disabled)"
        click.echo(f"{rule.priority:<13} {rule.name}{state}")
        click.echo(f"              tags: {', '.join(rule.tags) or '-'}")
        click.echo(f"              events: {types_text(rule.event_types, 12)}")


@main.command()
@click.argument("rule")
@_rule_files
def explain(rule: str, files: list[Source]) -> None:
    """Show a rule's condition with its macros expanded, and what it uses."""
    from falcorules.engine import load

    click.echo(str(load(files).explain(rule)))


@main.command()
@click.argument("rule")
@_rule_files
@_EVENTS
@click.option("--number", type=int, help="Only the event with this evt.num; else the one that came closest.")
def why(rule: str, files: list[Source], events: str, number: int | None) -> None:
    """Show for one event which parts of a condition were true and which made it fail."""
    from falcorules.engine import load

    click.echo(str(load(files).why(rule, events, number=number)))


@main.command()
@click.argument("pattern", default="*")
def fields(pattern: str) -> None:
    """List the fields that rules can use; PATTERN may have wildcards (proc.*)."""
    import fnmatch

    from falcorules.fields import fields as all_fields

    found = [
        info
        for info in all_fields().values()
        if not info.hidden
        if fnmatch.fnmatchcase(info.name, pattern) or ("*" not in pattern and pattern in info.name)
    ]
    if not found:
        raise FalcoRulesError(f"No field matches {pattern!r}", hint="Without a pattern, `fields` lists them all.")
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


@main.command()
@click.option("--to", "folder", type=FileName(), default="rules", show_default=True, help="The folder for them.")
@click.option("--url", help="The folder to download from, instead of the published releases.")
def fetch(folder: Path, url: str | None) -> None:
    """Download the rule files that the Falco project publishes."""
    from falcorules.rulesets import fetch as fetch_files

    for path in fetch_files(folder, url=url):
        click.echo(str(path))
