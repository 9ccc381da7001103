"""Alerts as rows of a page: from lines of Falco's log, from log events, and from findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from falcorules.card import USUAL, attack_of, sections

_SHORT = 300  # characters of a text in a row
_LONG = 20_000  # of one that is shown as a whole
_OF_ALERTS = ("time", "rule", "priority", "source", "hostname", "output", "tags")

Row = dict[str, Any]


def parsed(line: str | bytes) -> dict[str, Any] | None:
    """The alert in a line; None if it is no alert."""
    if line[:1] not in ("{", b"{"):
        return None
    try:
        alert = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return alert if isinstance(alert, dict) and isinstance(alert.get("rule"), str) else None


def row_of(alert: Mapping[str, Any]) -> Row:
    """What a list shows of an alert. `key` is the same for the line in Falco's log, the log event and the finding."""
    fields = alert.get("output_fields")
    fields = fields if isinstance(fields, dict) else {}
    time, rule = short(alert.get("time", "")), short(alert.get("rule", ""))
    return {
        "key": f"{time} {rule}",
        "time": time,
        "rule": rule,
        "priority": short(alert.get("priority", "")),
        "pod": short(fields.get("k8s.pod.name") or fields.get("container.name") or ""),
        "namespace": short(fields.get("k8s.ns.name") or ""),
        "command": short(fields.get("proc.cmdline") or ""),
        "hostname": short(alert.get("hostname", "")),
    }


def event_row(event: Mapping[str, Any]) -> Row:
    """What a list shows of a log event: an alert's row, or the beginning of its message."""
    message = str(event.get("message", ""))
    alert = parsed(message)
    row: Row = row_of(alert) if alert else {"message": short(message)}
    row["id"] = event.get("eventId", "")
    row["stream"] = event.get("logStreamName", "")
    row["timestamp"] = event.get("timestamp", 0)
    row["ingestion"] = event.get("ingestionTime", 0)
    row["size"] = len(message)
    return row


def finding_row(finding: Mapping[str, Any]) -> Row:
    """What a list shows of a finding, and the key of the alert that it came from."""
    about = finding.get("ProductFields") or {}
    time, rule = short(about.get("falco/time", "")), short(about.get("falco/rule", ""))
    return {
        "key": f"{time} {rule}" if rule else "",
        "id": finding.get("Id", ""),
        "title": short(finding.get("Title", "")),
        "severity": (finding.get("Severity") or {}).get("Label", ""),
        "workflow": (finding.get("Workflow") or {}).get("Status", ""),
        "record": finding.get("RecordState", ""),
        "product": short(finding.get("ProductName", "")),
        "created": finding.get("CreatedAt", ""),
        "updated": finding.get("UpdatedAt", ""),
        "resource": short(next((r.get("Id", "") for r in finding.get("Resources") or ()), "")),
        "resources": len(finding.get("Resources") or ()),
        "time": time,
        "rule": rule,
    }


def short(value: object, most: int = _SHORT) -> str:
    """The beginning of a text. A lone half of a character that JSON can't hold becomes a question mark."""
    text = value if isinstance(value, str) else str(value)
    text = text if len(text) <= most else f"{text[:most]}…"
    return text.encode("utf-8", "replace").decode()


def card_of(alert: Mapping[str, Any]) -> Row:
    """What there is to say of an alert, as the notebook's card says it; all values are texts."""
    given = alert.get("output_fields")
    given = given if isinstance(given, dict) else {}
    output, bar, more = short(alert.get("output", ""), _LONG).partition(" | ")
    tags = alert.get("tags")
    tags = [str(tag) for tag in tags] if isinstance(tags, list) else []
    flat: dict[str, Any] = {name: alert[name] for name in ("source", "hostname") if alert.get(name)}
    flat |= {name: given[name] for name in USUAL if given.get(name) is not None}
    flat |= {name: value for name, value in given.items() if value is not None and name not in _OF_ALERTS}
    flat["output"] = str(alert.get("output", ""))
    if tags:
        flat["tags"] = tags
    time = short(alert.get("time", ""))
    when = f"{time[:10]} {time[11:].rstrip('Z')} UTC" if time else ""
    return {
        "priority": short(alert.get("priority", "?")),
        "rule": short(alert.get("rule", ""), _LONG),
        "facts": [fact for fact in (when, attack_of(tags)) if fact],
        "output": output,
        "more": bar + more,
        "sections": [
            (title, [tuple(short(text, _LONG) for text in row) for row in rows]) for title, rows in sections(flat)
        ],
    }
