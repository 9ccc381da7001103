"""`labkit alerts`: prints alerts as a table, as Falco's JSON lines or as CSV."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import click
import orjson
import pandas as pd

from labkit.alerts.frame import to_frame
from labkit.alerts.live import follow_events
from labkit.alerts.pages import Event
from labkit.alerts.parse import NotAlert, parse
from labkit.alerts.reader import events, reading
from labkit.alerts.times import utc
from labkit.calls import near
from labkit.cli.parameters import running
from labkit.show import terminal_width


@click.command()
@click.option("--since", default="1h", show_default=True, help='How long ago ("15m", "2d") or a time with its zone.')
@click.option("--rule", help="Only this rule's alerts.")
@click.option("--format", "form", type=click.Choice(["table", "jsonl", "csv"]), default="table", show_default=True)
@click.option("--follow", is_flag=True, help="Go on as alerts arrive, until Ctrl-C.")
def alerts(since: str, rule: str | None, form: str, follow: bool) -> None:
    """Read alerts from the log group."""
    start = utc(since)
    lab = running("Start one with `labkit up`, and put the workshop in it: `labkit apply`.")
    client, group = lab.aws.client("logs"), lab.settings.log_group
    batches: Iterable[list[Event]]
    if follow:
        click.echo(f"Following log group {group}; Ctrl-C ends it.", err=True)
        batches = ([e for e in batch if _is_of(e, rule)] for batch in follow_events(client, group, start))
    else:
        found = []
        names: set[str] = set()
        with reading() as shown:
            for event in events(client, group, start, progress=shown):
                alert = parse(event["message"])
                if not isinstance(alert, NotAlert):
                    names.add(str(alert.get("rule")))
                    if rule in (None, alert.get("rule")):
                        found.append(event)
        if not found:
            named = f" of the rule {rule!r}" if rule else ""
            other = near(rule, names).strip() if rule else ""
            click.echo(
                f"There are no alerts{named} since {start:%Y-%m-%d %H:%M:%S} UTC in {group}. {other}".strip(), err=True
            )
        batches = [found]
    try:
        for line in _lines(batches, form):
            click.echo(line)
    except KeyboardInterrupt:
        return


def _is_of(event: Event, rule: str | None) -> bool:
    alert = parse(event["message"])
    return not isinstance(alert, NotAlert) and rule in (None, alert.get("rule"))


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
