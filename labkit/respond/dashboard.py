"""A CloudWatch dashboard, drawn: graphs as CloudWatch draws them, alarms, texts and log queries as text and tables."""

from __future__ import annotations

import base64
import html
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from falcorules import markup
from labkit.alerts.query import insights
from labkit.aws import refusal, translated_errors
from labkit.calls import CloudWatchClient, LogsClient, checked, near, shortened
from labkit.errors import LabError, TargetError
from labkit.show import Table, counted

_UNIT = 40  # pixels of a dashboard's grid, of which 24 are a row
_ROW = 40  # pixels of a row of a log widget's table
_LONGEST = 160  # letters of a cell of it
_TIME = "%Y-%m-%d %H:%M:%S"
_TONES = {"ALARM": "bad", "OK": "good"}
_DURATION = re.compile(r"([-+]?)P(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", re.ASCII)
# What is shown of a series in text: by its statistic one number for the whole time range, else its last value.
_WHOLE: Mapping[str, Callable[[Sequence[float]], float]] = {
    "Sum": sum,
    "SampleCount": sum,
    "Maximum": max,
    "Minimum": min,
}


@dataclass(frozen=True)
class Widget:
    """A widget that has been drawn."""

    kind: str
    """`metric`, `alarm`, `text`, `log`, or another of CloudWatch's types."""
    title: str
    summary: str
    """What it shows, in words and numbers."""
    body: str
    """What it shows, as HTML."""
    area: str
    """Where it is in the grid, as CSS has it."""
    png: bytes = b""
    """The image of a metric widget."""


@dataclass(frozen=True)
class Dashboard:
    """A dashboard as it was when it was read: images and tables in a notebook, else a line for each widget."""

    name: str
    widgets: tuple[Widget, ...]

    def __repr__(self) -> str:
        rows = tuple((w.kind, w.title, w.summary) for w in self.widgets)
        return repr(Table(f"Dashboard {self.name}", ("widget", "title", "shows"), rows))

    def _repr_html_(self) -> str:
        grid = "display:grid;grid-template-columns:repeat(24,minmax(0,1fr));gap:6px;max-width:1200px"
        card = f"align-self:start;border:{markup.LINE};border-radius:6px;overflow:hidden;overflow-wrap:anywhere"
        cells = "".join(f'<div style="{w.area};{card}">{w.body}</div>' for w in self.widgets)
        return f'<div style="{grid}">{cells}</div>'


@checked
def read(client: CloudWatchClient, logs: LogsClient, name: str) -> Dashboard:
    """The dashboard `name` with its widgets drawn.

    `client` is `boto3.client("cloudwatch")`, `logs` is `boto3.client("logs")`. Metric widgets are PNGs that CloudWatch
    makes (GetMetricWidgetImage); log widgets run their query. A widget that CloudWatch refuses says why in its place.
    Raises `LabError` if there is no such dashboard, `TargetError` if these credentials may not read it.
    """
    try:
        with translated_errors():
            body = json.loads(client.get_dashboard(DashboardName=name)["DashboardBody"])
    except TargetError as error:
        if refusal(error)[0] not in ("ResourceNotFound", "DashboardNotFoundError"):
            raise
        with translated_errors():
            there = [found["DashboardName"] for found in client.list_dashboards()["DashboardEntries"]]
        hint = f"{near(name, there)}lab.apply('dashboard') makes the workshop's."
        raise LabError(f"There is no dashboard {name!r}.", hint=hint) from error
    times = {key: body[key] for key in ("start", "end") if key in body}
    drawn = []
    for widget in body["widgets"]:
        draw = _KINDS.get(widget["type"], _unknown)
        asked = {**({} if "start" in widget["properties"] else times), **widget["properties"]}
        try:
            drawn.append(draw(client, logs, widget, asked))
        except LabError as error:
            if refusal(error)[0] in ("AccessDenied", "AccessDeniedException"):
                raise
            drawn.append(_shown(widget, error.message, f"<p>{html.escape(error.message)}</p>"))
    return Dashboard(name, tuple(drawn))


def _shown(widget: Mapping[str, Any], summary: str, body: str, *, titled: bool = True, png: bytes = b"") -> Widget:
    title = str(widget["properties"].get("title", ""))
    if titled:
        heading = f"<b>{html.escape(title)}</b>" if title else ""
        body = f'<div style="padding:6px 10px">{heading}{body}</div>'
    width, height = int(widget.get("width", 6)), int(widget.get("height", 6))
    column = f"{int(widget['x']) + 1} / span {width}" if "x" in widget else f"span {width}"
    row = f"{int(widget['y']) + 1} / span {height}" if "y" in widget else f"span {height}"
    return Widget(widget["type"], title, summary, body, f"grid-column:{column};grid-row:{row}", png)


def _metric(client: Any, logs: Any, widget: Mapping[str, Any], asked: Mapping[str, Any]) -> Widget:
    size = {"width": _UNIT * int(widget.get("width", 6)), "height": _UNIT * int(widget.get("height", 6))}
    with translated_errors():
        png = client.get_metric_widget_image(MetricWidget=json.dumps({**asked, **size}))["MetricWidgetImage"]
    summary = _values(client, asked)
    title = str(asked.get("title", ""))
    description = html.escape(f"{title}: {summary}" if title else summary)
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    image = f'<img src="{source}" alt="{description}" style="display:block;width:100%;background:#fff">'
    return _shown(widget, summary, image, titled=False, png=png)


def _values(client: Any, asked: Mapping[str, Any]) -> str:
    """A number for each series that has values in the widget's time range."""
    start, end = _moment(asked.get("start", "-PT3H")), _moment(asked.get("end", "-PT0H"))
    if start is None or end is None or "metrics" not in asked:
        return ""
    period = int(asked.get("period", 300))
    if asked.get("setPeriodToTimeRange"):
        period = math.ceil((end - start).total_seconds() / 60) * 60
    queries = _queries(asked, period)
    names = {query["Id"]: re.search(r'MetricName="?([\w/-]+)', query.get("Expression", "")) for query in queries}
    searched = {id_: name[1] for id_, name in names.items() if name}
    with translated_errors():
        pages = client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries, StartTime=start, EndTime=end, ScanBy="TimestampAscending"
        )
        values: dict[tuple[str, str], list[float]] = {}  # by query and label: two may be labelled alike
        for page in pages:
            for result in page["MetricDataResults"]:
                # A metric that a search found is named with what was searched for.
                label = result["Label"].removeprefix(f"{searched.get(result['Id'])} ")
                values.setdefault((result["Id"], label), []).extend(result["Values"])
    reduce = _WHOLE.get(asked.get("stat", "Average"), _last)
    told = (f"{label} {reduce(numbers):,.6g}" for (_, label), numbers in values.items() if numbers)
    return ", ".join(told) or "no data"


def _last(numbers: Sequence[float]) -> float:
    return numbers[-1]


def _queries(asked: Mapping[str, Any], period: int) -> list[dict[str, Any]]:
    """A widget's rows, such as `[namespace, name, dimension, value, {options}]`, as GetMetricData takes them."""
    queries: list[dict[str, Any]] = []
    before: list[str] = []
    for place, row in enumerate(asked["metrics"]):
        options = row[-1] if isinstance(row[-1], dict) else {}
        query: dict[str, Any] = {"Id": options.get("id", f"row{place}"), "ReturnData": options.get("visible", True)}
        if "label" in options and "${" not in options["label"]:
            query["Label"] = options["label"]
        if names := [name for name in row if isinstance(name, str)]:
            if names[0] == "...":
                names = [*before[: len(before) - len(names) + 1], *names[1:]]
            before = [before[i] if name == "." else name for i, name in enumerate(names)]
            dimensions = [{"Name": n, "Value": v} for n, v in zip(before[2::2], before[3::2], strict=False)]
            metric = {"Namespace": before[0], "MetricName": before[1], "Dimensions": dimensions}
            stat = options.get("stat", asked.get("stat", "Average"))
            query["MetricStat"] = {"Metric": metric, "Period": options.get("period", period), "Stat": stat}
        else:
            query |= {"Expression": options["expression"], "Period": period}
        queries.append(query)
    return queries


def _moment(text: str) -> pd.Timestamp | None:
    """A time of a dashboard: absolute, or relative to now as `-PT3H`; None if it is none."""
    if duration := _DURATION.fullmatch(text):
        sign, months, *parts = duration.groups()
        weeks, days, hours, minutes, seconds = (int(part or 0) for part in parts)
        days += 30 * int(months or 0)
        length = pd.Timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        return pd.Timestamp.now("UTC") + (length if sign == "+" else -length)
    try:
        moment = pd.Timestamp(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.tz_localize("UTC")


def _alarm(client: Any, logs: Any, widget: Mapping[str, Any], asked: Mapping[str, Any]) -> Widget:
    names = [str(arn).rpartition(":alarm:")[2] for arn in asked["alarms"]]
    with translated_errors():
        pages = client.get_paginator("describe_alarms").paginate(
            AlarmNames=names[:100], AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        found = pages.build_full_result()
    alarms = {
        alarm["AlarmName"]: alarm for kind in ("MetricAlarms", "CompositeAlarms") for alarm in found.get(kind, ())
    }
    rows, words = [], []
    for name in names:
        alarm = alarms.get(name, {})
        state = str(alarm.get("StateValue", "missing"))
        badge = markup.badge(state, markup.TONES[_TONES.get(state, "plain")])
        since = f"<br>since {alarm['StateUpdatedTimestamp']:{_TIME}}" if "StateUpdatedTimestamp" in alarm else ""
        reason = html.escape(str(alarm.get("StateReason", "There is no such alarm.")))
        rows.append(f"<p>{badge} <b>{html.escape(name)}</b>{since}<br><small>{reason}</small></p>")
        words.append(f"{name} {state}")
    return _shown(widget, ", ".join(words), "".join(rows))


def _text(client: Any, logs: Any, widget: Mapping[str, Any], asked: Mapping[str, Any]) -> Widget:
    text = str(asked["markdown"])
    words = " ".join(re.sub(r"^#+ *|[*`]", "", line) for line in text.splitlines() if line.strip())
    return _shown(widget, words, _markdown(text))


def _markdown(text: str) -> str:
    """The Markdown of text widgets, as far as it is headings, paragraphs, lists, links, `code` and **bold**."""
    blocks = []
    for line in html.escape(text, quote=False).splitlines():
        line = re.sub(r"`([^`]+)`", r"<code>\1</code>", line)
        line = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", line)
        line = re.sub(r"\[([^\]]+)\]\((https?://[^)\s\"]+)\)", r'<a href="\2">\1</a>', line)
        if heading := re.match(r"(#{1,6}) +(.*)", line):
            size = 1.5 - 0.1 * len(heading[1])
            blocks.append(f'<div style="font-size:{size:.1f}em;font-weight:bold">{heading[2]}</div>')
        elif item := re.match(r" *[-*] +(.*)", line):
            blocks.append(f"<div>• {item[1]}</div>")
        elif line.strip():
            blocks.append(f"<div>{line}</div>")
    return "".join(blocks)


def _log(client: Any, logs: Any, widget: Mapping[str, Any], asked: Mapping[str, Any]) -> Widget:
    source = re.match(r"\s*SOURCE\s+(?:'([^']+)'|\"([^\"]+)\"|(\S+))\s*\|\s*", asked["query"])
    start, end = _moment(asked.get("start", "-PT3H")), _moment(asked.get("end", "-PT0H"))
    if source is None or start is None or end is None:
        raise LabError(
            "This query can't be run here: it names no log group (SOURCE '...' | ...), or its time can't be read."
        )
    group = next(filter(None, source.groups()))
    df = insights(logs, asked["query"][source.end() :], group, start, end)
    shown = df.head(max((_UNIT * int(widget.get("height", 6)) - 50) // _ROW, 1))
    cells = [[_cell(name, value) for name, value in row.items()] for row in shown.to_dict("records")]
    table = f'<div style="overflow-wrap:normal">{markup.table(list(map(str, shown.columns)), cells)}</div>'
    more = f"<small>{len(shown)} of {counted(len(df), 'row')}</small>" if len(shown) < len(df) else ""
    return _shown(widget, counted(len(df), "row"), table + more if len(df) else "<p>No rows.</p>")


def _cell(name: object, value: Any) -> str:
    if isinstance(value, pd.Timestamp):
        return f"{value:{_TIME}}"
    text = "" if pd.isna(value) else shortened(str(value), _LONGEST)
    return markup.priority_badge(text) if name == "priority" and text else text


def _unknown(client: Any, logs: Any, widget: Mapping[str, Any], asked: Mapping[str, Any]) -> Widget:
    note = f"A widget of type {widget['type']} is shown by the console only."
    return _shown(widget, note, f"<p>{html.escape(note)}</p>")


_KINDS = {"metric": _metric, "alarm": _alarm, "text": _text, "log": _log}
