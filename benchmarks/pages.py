"""Log groups as the bodies of FilterLogEvents' answers, encoded once and kept in `build/bench/groups`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks import alerts

MOST_BYTES = 1_048_576  # of a page: messages, and 26 bytes more for each, as CloudWatch Logs counts
MOST_EVENTS = 10_000
_OVERHEAD = 26


@dataclass(frozen=True)
class Group:
    """A log group of a variant of alerts in a file: `pages` has for each page where its body begins and ends, and the
    first and last time (ms) of its events.

    `mean` is the messages' mean size in bytes; `distinct` as in `alerts.Summary`.
    """

    file: Path
    count: int
    mean: float
    distinct: tuple[float, float]
    pages: tuple[tuple[int, int, int, int], ...]

    @property
    def name(self) -> str:
        return self.file.stem

    @classmethod
    def load(cls, file: Path, made_by: str | None = None) -> Group | None:
        """The group of a file; None if it isn't there, or was made by another version."""
        index = file.with_suffix(".json")
        known = json.loads(index.read_text()) if index.exists() else {}
        if not known or made_by not in (None, known["made_by"]):
            return None
        distinct = (known["distinct"][0], known["distinct"][1])
        return cls(file, known["count"], known["mean"], distinct, tuple(map(tuple, known["pages"])))


def group(folder: Path, variant: alerts.Variant, count: int) -> Group:
    """The log group with `count` alerts, from `folder` or, the first time, made there."""
    source = (Path(alerts.__file__), Path(__file__), alerts.DAY)
    made_by = hashlib.sha256(b"".join(path.read_bytes() for path in source)).hexdigest()[:12]
    file = folder / f"{variant}-{count}.pages"
    if found := Group.load(file, made_by):
        return found
    folder.mkdir(parents=True, exist_ok=True)
    summary = alerts.Summary()
    pages, at = [], 0
    with file.open("wb") as out:
        for body, first, last in bodies(alerts.messages(count, variant, summary)):
            out.write(body)
            pages.append((at, at + len(body), first, last))
            at += len(body)
    group = Group(file, count, summary.size / count, summary.distinct, tuple(pages))
    about = {"count": count, "mean": group.mean, "distinct": group.distinct, "pages": pages, "made_by": made_by}
    file.with_suffix(".json").write_text(json.dumps(about))
    return group


def bodies(messages: Iterator[tuple[int, bytes]]) -> Iterator[tuple[bytes, int, int]]:
    """The answers' bodies, page after page, and the first and last time (ms) in each.

    A page's `nextToken` is the number of the next one.
    """
    page: list[dict[str, Any]] = []
    size = number = logged = 0

    def encoded(*, more: bool) -> tuple[bytes, int, int]:
        token = {"nextToken": str(number + 1)} if more else {}
        body = orjson.dumps({"events": page, **token, "searchedLogStreams": []})
        return body, page[0]["timestamp"], page[-1]["timestamp"]

    for i, (happened, line) in enumerate(messages):
        size += len(line) + _OVERHEAD
        if page and (size > MOST_BYTES or len(page) == MOST_EVENTS):
            yield encoded(more=True)
            number += 1
            page, size = [], len(line) + _OVERHEAD
        logged = max(logged, happened // 1_000_000)
        event = {"eventId": f"{39 * 10**54 + i}", "ingestionTime": logged + 412, "logStreamName": "alerts"}
        page.append({**event, "message": line.decode(), "timestamp": logged})
    yield encoded(more=False)
