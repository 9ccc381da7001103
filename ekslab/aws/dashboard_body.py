"""Validates the body of a CloudWatch dashboard, and a widget to draw: errors, and warnings about ignored members."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ekslab.aws.metrics import check_period, check_statistic
from ekslab.aws.protocols import AwsError

MAX_WIDGETS = 500
_MAX_METRICS = 500  # in a widget
MAX_DRAWN = 100  # metrics in a widget to draw
_ALARM_ARN = r"arn:aws[\w-]*:cloudwatch:[a-z0-9-]+:\d{12}:alarm:.+"


class Message(NamedTuple):
    """A validation message at a path such as `/widgets/0/properties`: an error, or (`ignored`) a warning."""

    path: str
    text: str
    ignored: bool = False


@dataclass(frozen=True)
class Number:
    """A number within bounds; an integer if `whole`."""

    least: float | None = None
    most: float | None = None
    whole: bool = False


@dataclass(frozen=True)
class Text:
    """A string; `pattern` is a regular expression that the whole string must match."""

    pattern: str = ""


@dataclass(frozen=True)
class Items:
    """An array of `of`."""

    of: Any
    least: int = 0
    most: int = 10_000


@dataclass(frozen=True)
class Members:
    """An object. Unknown members are ignored with a warning."""

    known: Mapping[str, Any]
    required: Sequence[str] = ()


STRING, BOOLEAN, ANYTHING = Text(), bool, object
COLOUR = Text(r"#[0-9A-Fa-f]{6}|#[0-9A-Fa-f]{3}")
_AXIS = Members({"min": Number(), "max": Number(), "label": STRING, "showUnits": BOOLEAN})
_ACCOUNT = Text(r"\d{12}|LABEL")
_LINE = {
    "color": COLOUR,
    "label": STRING,
    "value": Number(),
    "fill": ("above", "below", "none"),
    "visible": BOOLEAN,
    "yAxis": ("left", "right"),
}
_MOMENT = {
    "color": COLOUR,
    "label": STRING,
    "value": Text(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?"),
    "fill": ("before", "after", "none"),
    "visible": BOOLEAN,
}
_RENDERING = {
    "accountId": _ACCOUNT,
    "color": COLOUR,
    "expression": STRING,
    "id": Text(r"[a-z]\w*"),
    "label": STRING,
    "period": Number(1, whole=True),
    "region": STRING,
    "stat": STRING,
    "visible": BOOLEAN,
    "yAxis": ("left", "right"),
}
_TIMES = {"start": STRING, "end": STRING}
# The properties of each type of widget, from the reference of the dashboard body.
PROPERTIES: dict[str, Members] = {
    "metric": Members(
        {
            **_TIMES,
            "accountId": _ACCOUNT,
            "annotations": ANYTHING,
            "labels": Members({"visible": BOOLEAN}),
            "legend": Members({"position": ("right", "bottom", "hidden")}),
            "liveData": BOOLEAN,
            "metrics": ANYTHING,
            "period": Number(1, whole=True),
            "region": STRING,
            "setPeriodToTimeRange": BOOLEAN,
            "singleValueFullPrecision": BOOLEAN,
            "sparkline": BOOLEAN,
            "stacked": BOOLEAN,
            "stat": STRING,
            "table": Members(
                {
                    "layout": ("vertical", "horizontal"),
                    "showTimeSeriesData": BOOLEAN,
                    "stickySummary": BOOLEAN,
                    "summaryColumns": Items(("MIN", "MAX", "SUM", "AVG")),
                }
            ),
            "timezone": Text(r"[+-]\d{4}"),
            "title": STRING,
            "trend": BOOLEAN,
            "view": ("timeSeries", "singleValue", "gauge", "bar", "pie", "table"),
            "yAxis": Members({"left": _AXIS, "right": _AXIS}),
        }
    ),
    "text": Members({"markdown": STRING, "background": ("transparent", "solid")}, ["markdown"]),
    "log": Members(
        {
            **_TIMES,
            "accountId": STRING,
            "query": STRING,
            "queryLanguage": ("CWLI", "SQL", "PPL"),
            "queryBy": STRING,
            "region": STRING,
            "stacked": BOOLEAN,
            "timezone": STRING,
            "title": STRING,
            "view": ("table", "timeSeries", "bar", "pie", "logs"),
            "yAxis": Members({"left": _AXIS}),
            "legend": Members({"position": ("right", "bottom", "hidden")}),
        },
        ["query", "region"],
    ),
    "alarm": Members(
        {
            "alarms": Items(Text(_ALARM_ARN), 1, 100),
            "sortBy": ("default", "stateUpdatedTimestamp", "timestamp"),
            "states": Items(("ALARM", "INSUFFICIENT_DATA", "OK"), 0, 3),
            "title": STRING,
        },
        ["alarms"],
    ),
    "explorer": Members(
        {
            "aggregateBy": Members({"key": STRING, "func": ("AVG", "MIN", "MAX", "SUM")}),
            "labels": Items(Members({"key": STRING, "value": STRING}, ["key"])),
            "metrics": Items(
                Members({"metricName": STRING, "resourceType": STRING, "stat": STRING}, ["metricName", "resourceType"])
            ),
            "period": Number(1, whole=True),
            "region": STRING,
            "splitBy": STRING,
            "title": STRING,
            "widgetOptions": ANYTHING,
        },
        ["labels", "metrics"],
    ),
    "custom": Members(
        {
            "endpoint": STRING,
            "params": ANYTHING,
            "title": STRING,
            "updateOn": Members({"refresh": BOOLEAN, "resize": BOOLEAN, "timeRange": BOOLEAN}),
        },
        ["endpoint"],
    ),
}
# The widget that GetMetricWidgetImage takes: the properties of a metric widget with a size and a theme. Its reference
# has the views timeSeries, bar and pie; the service draws singleValue, too.
_DRAWN = Members(
    {
        **PROPERTIES["metric"].known,
        "height": Number(1, 2000, whole=True),
        "theme": ("light", "dark"),
        "timezone": Text(r"[+-]([01][0-9]|2[0-3])[0-5][0-9]"),
        "view": ("timeSeries", "singleValue", "bar", "pie"),
        "width": Number(1, 2000, whole=True),
    },
    ["metrics"],
)
# Types of widget whose properties the lab doesn't check.
_UNCHECKED = ("chart",)
_BODY = Members(
    {
        **_TIMES,
        "periodOverride": ("auto", "inherit"),
        "variables": Items(
            Members(
                {
                    "type": ("property", "pattern"),
                    "inputType": ("input", "radio", "select"),
                    **dict.fromkeys(("id", "property", "pattern", "label", "search", "populateFrom"), STRING),
                    "defaultValue": STRING,
                    "values": ANYTHING,
                    "visible": BOOLEAN,
                },
                ["type", "inputType", "id"],
            )
        ),
        "widgets": Items(
            Members(
                {
                    "type": (*PROPERTIES, *_UNCHECKED),
                    "x": Number(0, 23, whole=True),
                    "y": Number(0, whole=True),
                    "width": Number(1, 24, whole=True),
                    "height": Number(1, 1000, whole=True),
                    "properties": ANYTHING,
                },
                ["type", "properties"],
            ),
            0,
            MAX_WIDGETS,
        ),
    },
    ["widgets"],
)


def check_body(text: str) -> tuple[list[Message], list[Message]]:
    """(errors, warnings) of a dashboard's body. Raises AwsError if it isn't a JSON object."""
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise AwsError("InvalidParameterInput", "The field DashboardBody must be a valid JSON object")
    found = [*_check(_BODY, body, "")]
    widgets = body.get("widgets")
    for place, widget in enumerate(widgets if isinstance(widgets, list) else ()):
        if isinstance(widget, dict) and widget.get("type") in PROPERTIES and "properties" in widget:
            found += _check_widget(widget["type"], widget["properties"], f"/widgets/{place}/properties")
    return [m for m in found if not m.ignored], [m for m in found if m.ignored]


def check_drawn(widget: Mapping[str, Any], region: str) -> list[Message]:
    """The errors of a widget to draw in a region."""
    found = [*_check(_DRAWN, widget, ""), *_check_reading(widget, "")]
    rows = widget.get("metrics")
    if "metrics" in widget:
        found += _check_metrics(rows, "/metrics", MAX_DRAWN)
    annotations = widget.get("annotations", {})
    found += _check_annotations(annotations, "/annotations")
    if isinstance(annotations, dict) and "alarms" in annotations:
        found.append(Message("/annotations/alarms", "Alarm annotations are not supported by the embedded lab"))
    options = [row[-1] for row in rows if isinstance(row, list) and row] if isinstance(rows, list) else []
    for asked in (widget, *(option for option in options if isinstance(option, dict))):
        if asked.get("region", region) != region:
            found.append(Message("/region", f"Should be the local Region, {region}"))
        if "accountId" in asked:
            found.append(Message("/accountId", "The embedded lab has one account, which monitors no other"))
    errors = [message for message in found if not message.ignored]
    return errors or _check_moments(annotations.get("vertical", ()))


def _check_moments(marks: Iterable[Any]) -> list[Message]:
    """Errors of vertical annotations, whose shape is right, that are at no time."""
    found = []
    for mark in marks:
        for line in mark if isinstance(mark, list) else [mark]:
            try:
                dt.datetime.fromisoformat(line["value"])
            except ValueError:
                found.append(Message("/annotations/vertical", f"{line['value'][:40]!r} is no time"))
    return found


def _check(kind: Any, value: Any, path: str) -> Iterator[Message]:
    match kind:
        case tuple():
            if value not in kind:
                yield Message(path, "Should be equal to one of the allowed values")
        case Text(pattern):
            if not isinstance(value, str):
                yield Message(path, "Should be string")
            elif pattern and not re.fullmatch(pattern, value):
                yield Message(path, f'Should match pattern "{pattern}"')
        case Number(least, most, whole):
            if not isinstance(value, int if whole else int | float) or isinstance(value, bool):
                yield Message(path, f"Should be {'integer' if whole else 'number'}")
            elif not abs(value) <= 2.0**360:  # the largest value of a metric; nor NaN
                yield Message(path, "Should be a finite number")
            elif least is not None and value < least:
                yield Message(path, f"Should be >= {least}")
            elif most is not None and value > most:
                yield Message(path, f"Should be <= {most}")
        case Items(of, least, most):
            if not isinstance(value, list):
                yield Message(path, "Should be array")
                return
            if len(value) < least:
                yield Message(path, f"Should NOT have less than {least} items")
            if len(value) > most:
                yield Message(path, f"Should NOT have more than {most} items")
            for place, item in enumerate(value):
                yield from _check(of, item, f"{path}/{place}")
        case Members(known, required):
            if not isinstance(value, dict):
                yield Message(path, "Should be object")
                return
            for name in required:
                if name not in value:
                    yield Message(path, f"Should have required property '{name}'")
            for name, item in value.items():
                if name in known:
                    yield from _check(known[name], item, f"{path}/{name}")
                else:
                    text = f'The "{name}" property is not expected to be part of a widget definition, will be ignored'
                    yield Message(path, text, ignored=True)
        case _ if kind is bool and not isinstance(value, bool):
            yield Message(path, "Should be boolean")


def _check_widget(type_: str, properties: Any, path: str) -> Iterator[Message]:
    yield from _check(PROPERTIES[type_], properties, path)
    if type_ != "metric" or not isinstance(properties, dict):
        return
    annotations = properties.get("annotations")
    alarms = annotations.get("alarms") if isinstance(annotations, dict) else None
    if "metrics" not in properties and not alarms:
        yield Message(path, "Should have required property 'metrics'")
    if "region" not in properties or ("metrics" not in properties and not alarms):
        text = "The metric widget should have specified a region and a data source or an alarm annotation"
        yield Message(path, text)
    if "metrics" not in properties and annotations is None:
        yield Message(path, "Should have required property 'annotations'")
    if "metrics" in properties:
        yield from _check_metrics(properties["metrics"], f"{path}/metrics")
    if annotations is not None:
        yield from _check_annotations(annotations, f"{path}/annotations")
    if properties.get("view") == "gauge":
        axes = properties.get("yAxis")
        left = axes.get("left") if isinstance(axes, dict) else None
        for name in ("min", "max"):
            if not isinstance(left, dict) or name not in left:
                yield Message(f"{path}/yAxis/left", f"Should have required property '{name}'")
    yield from _check_reading(properties, path)


def _check_reading(options: Mapping[str, Any], path: str) -> Iterator[Message]:
    """Checks the statistic and the period of a widget or of one of its metrics."""
    if isinstance(options.get("stat"), str):
        try:
            check_statistic(options["stat"])
        except AwsError as error:
            yield Message(f"{path}/stat", error.message)
    period = options.get("period")
    if isinstance(period, int) and not isinstance(period, bool) and period >= 1:
        try:
            check_period(period)
        except AwsError:
            yield Message(f"{path}/period", "Should be 1, 5, 10, 20, 30 or a multiple of 60")


def _check_metrics(metrics: Any, path: str, most: int = _MAX_METRICS) -> Iterator[Message]:
    """Rows such as `[namespace, name, dimension, value, {options}]`, shorthand (`.`, `...`), or `[{expression}]`."""
    if not isinstance(metrics, list):
        yield Message(path, "Should be array")
        return
    if not 1 <= len(metrics) <= most:
        bound = "less than 1" if not metrics else f"more than {most}"
        yield Message(path, f"Should NOT have {bound} items")
    before: list[str] = []
    ids: set[str] = set()
    for place, row in enumerate(metrics):
        where = f"{path}/{place}"
        if not isinstance(row, list):
            text = (
                'Field "metrics" has to be an array of array of strings, with an optional metricRenderer object as last'
            )
            yield Message(where, "Should be array")
            yield Message(where, f"{text} element")
            continue
        options = row[-1] if row and isinstance(row[-1], dict) else {}
        names = row[:-1] if row and isinstance(row[-1], dict) else row
        if not row:
            yield Message(where, "Should NOT have less than 1 items")
            continue
        for index, name in enumerate(names):
            if not isinstance(name, str):
                yield Message(f"{where}/{index}", 'Invalid metric field type, only "String" type is allowed')
        unknown = set(options) - set(_RENDERING)
        if unknown:
            yield Message(f"{where}/{len(names)}", 'Invalid metric field type, only "String" type is allowed')
            yield Message(where, f"Should NOT have more than {len(names)} items")
        yield from _check(
            Members(_RENDERING), {k: v for k, v in options.items() if k in _RENDERING}, f"{where}/{len(names)}"
        )
        yield from _check_reading(options, f"{where}/{len(names)}")
        if isinstance(id_ := options.get("id"), str):
            if id_ in ids:
                yield Message(f"{where}/{len(names)}/id", f'Duplicate metric id "{id_}"')
            ids.add(id_)
        if not all(isinstance(name, str) for name in names):
            continue
        if not names:
            if "expression" not in options:
                yield Message(where, "Should have required property 'expression'")
            continue
        full = expand(names, before)
        if full is None:
            yield Message(where, 'The shorthand "." or "..." has nothing in the row before to stand for')
        elif len(full) < 2 or len(full) % 2:
            yield Message(where, "A metric has a namespace, a name, and a value for each dimension")
        else:
            before = full


def expand(names: Sequence[str], before: Sequence[str]) -> list[str] | None:
    """A row with its shorthand (`.`, `...`) expanded from the row before; None if that row is too short."""
    if names and names[0] == "...":
        kept = len(before) - (len(names) - 1)
        if not before or kept < 0:
            return None
        names = [*before[:kept], *names[1:]]
    full = []
    for place, name in enumerate(names):
        if name == ".":
            if place >= len(before):
                return None
            name = before[place]
        full.append(name)
    return full


def _check_annotations(annotations: Any, path: str) -> Iterator[Message]:
    yield from _check(
        Members({"horizontal": ANYTHING, "vertical": ANYTHING, "alarms": Items(Text(_ALARM_ARN), 1, 1)}),
        annotations,
        path,
    )
    if not isinstance(annotations, dict):
        return
    for name, members in (("horizontal", _LINE), ("vertical", _MOMENT)):
        lines = annotations.get(name, [])
        if not isinstance(lines, list):
            yield Message(f"{path}/{name}", "Should be array")
            continue
        for place, line in enumerate(lines):
            where = f"{path}/{name}/{place}"
            if isinstance(line, list):  # a band, between two lines
                yield from _check(Items(Members(members, ["value"]), 2, 2), line, where)
            else:
                yield from _check(Members(members, ["value"]), line, where)
