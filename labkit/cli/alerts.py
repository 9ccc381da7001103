"""`labkit alerts`: prints alerts as a table, as Falco's JSON lines or as CSV."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import click
import orjson
import pandas as pd

from labkit.alerts import times
from labkit.alerts.choice import Choice
from labkit.alerts.diagnose import unknown_rule
from labkit.alerts.frame import to_frame
from labkit.alerts.live import follow_events
from labkit.alerts.pages import Event, Window
from labkit.alerts.parse import parse
from labkit.alerts.reader import found, reading
from labkit.alerts.rows import bounds
from labkit.alerts.times import utc
from labkit.calls import near
from labkit.cli import as_commands
from labkit.cli.parameters import running
from labkit.errors import LabError
from labkit.show import counted, terminal_width

_MOST_DOLLARS = 1.0  # what one command may cost


@click.command()
@click.option("--since", default="1h", show_default=True, help='How long ago ("15m", "2d") or a time with its zone.')
@click.option("--until", help="The end of the time, in the same ways.")
@click.option("--rule", "rules", multiple=True, help="Only this rule's alerts; may be repeated.")
@click.option("--pod", help="Only this pod's alerts: its name, or its namespace/name.")
@click.option("--priority", help='Only alerts of this priority and above, such as "Warning".')
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest that many.")
@click.option("--format", "form", type=click.Choice(["table", "jsonl", "csv"]), default="table", show_default=True)
@click.option(
    "--by",
    type=click.Choice(["insights"]),
    help="Read by Logs Insights instead of FilterLogEvents; it costs money, and the estimate is printed first.",
)
@click.option("--follow", is_flag=True, help="Go on as alerts arrive, until Ctrl-C.")
def alerts(
    since: str,
    until: str | None,
    rules: tuple[str, ...],
    pod: str | None,
    priority: str | None,
    limit: int | None,
    form: str,
    by: str | None,
    follow: bool,
) -> None:
    """Read alerts from the log group.

    Ctrl-C while it reads prints what has been read until then.
    """
    start, end = utc(since), None if until is None else utc(until)
    edges = times.window(start, end)
    Choice.of(rules or None, pod, priority)  # what is wrong with it is said without a lab
    if follow and (until or limit):
        raise click.UsageError("--follow has no end: leave --until and --limit out.")
    if by and (follow or limit):
        raise click.UsageError("Insights reads a whole window: leave --follow and --limit out, or --by.")
    lab = running("Start one with `labkit up`, and put the workshop in it: `labkit apply`.")
    client, group = lab.aws.client("logs"), lab.settings.log_group
    choice = Choice.of(rules or None, pod, priority, lab.settings.scope)
    batches: Iterable[list[Event]]
    if follow:
        for rule in rules:
            if unknown := unknown_rule(lab.target, rule):
                click.echo(as_commands(f"Warning: {unknown}"), err=True)
        click.echo(f"Following log group {group}; Ctrl-C ends it.", err=True)
        batches = map(choice.events, follow_events(client, group, start, filter_pattern=choice.pattern()))
    else:
        window = Window(group, *edges, None, choice.pattern())
        priced = _priced(client, group, start, end) if by else None
        with reading() as shown:
            read, attrs = found(client, window, choice, limit=limit, by_insights=priced, progress=shown)
        if not attrs["complete"]:
            click.echo(f"Stopped: {counted(len(read), 'alert')} had been read.", err=True)
        elif not read:
            other = near(rules[0], _newest_rules(client, window, lab.settings.scope)).strip() if rules else ""
            bounds = f" since {start:%Y-%m-%d %H:%M:%S}" + (f" until {end:%Y-%m-%d %H:%M:%S}" if end else "")
            click.echo(f"There are no alerts{choice}{bounds} UTC in {group}. {other}".strip(), err=True)
        batches = [read]
    try:
        for line in _lines(batches, form):
            click.echo(line)
    except KeyboardInterrupt:
        return


def _priced(client: Any, group: str, start: datetime, end: datetime | None) -> tuple[int, int, int]:
    """The window for Logs Insights, with about how many rows it has; says what that costs, and refuses a high price."""
    low, high, price = bounds(client, group, start, end)
    if price.dollars > _MOST_DOLLARS:
        raise LabError(
            f"{price} That is more than {_MOST_DOLLARS:g}.",
            hint="Ask for less (--since, --until), or leave --by insights out.",
        )
    click.echo(repr(price), err=True)
    return low, high, price.rows


def _newest_rules(client: Any, window: Window, namespace: str) -> set[str]:
    choice = Choice(namespace=namespace)
    newest, _ = found(client, replace(window, filter_pattern=choice.pattern()), choice, limit=1000)
    return set(to_frame(newest)["rule"].dropna())


def _lines(batches: Iterable[list[Event]], form: str) -> Iterator[str]:
    columns: list[str] | None = None
    for batch in batches:
        if form == "jsonl":
            yield from (orjson.dumps(parse(event["message"])).decode() for event in batch)
            continue
        df = to_frame(batch)
        if form == "table":
            yield from _table(df)
            continue
        # While following, later lines must have the columns that the first one announced.
        first = columns is None
        columns = list(df.columns) if columns is None else columns
        df["tags"] = [" ".join(tags) for tags in df["tags"]]
        yield from df.reindex(columns=columns).to_csv(index=False, header=first).splitlines()


def _table(df: pd.DataFrame) -> Iterator[str]:
    width = (terminal_width() if sys.stdout.isatty() else None) or sys.maxsize
    narrow = width < 140
    pods = df["k8s.pod.name"].astype("string").fillna(df["container.name"].astype("string")).fillna("host")
    commands = df["proc.cmdline"].astype("string").fillna("")
    for time, priority, rule, pod, command in zip(df["time"], df["priority"], df["rule"], pods, commands, strict=True):
        moment = "-" if pd.isna(time) else f"{time:%Y-%m-%d %H:%M:%S}"
        level, name = ("-" if pd.isna(value) else value for value in (priority, rule))
        command = "".join(c if c.isprintable() else "?" for c in " ".join(command.split()))
        if narrow:
            line = f"{moment[5:]:<14}  {_cut(level, 8):<8}  {_cut(name, 28):<28}  {_cut(pod, 16):<16}  {command}"
        else:
            line = f"{moment:<19}  {level:<13}  {name:<44}  {pod:<30}  {command}"
        yield line if len(line) <= width else line[: width - 1] + "…"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
