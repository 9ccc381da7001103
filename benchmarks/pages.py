"""Log groups as the bodies of FilterLogEvents' answers, encoded once and kept in `build/bench/groups`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks import alerts

MOST_BYTES = 1_048_576  # of a page: messages, and 26 bytes more for each, as CloudWatch Logs counts
MOST_EVENTS = 10_000
_OVERHEAD = 26


@dataclass(frozen=True)
class Group:
    """A log group of a variant of alerts in a file: `bounds` has where each page's body begins, and the end.

    `mean` is the messages' mean size in bytes, `distinct` the share of distinct values (`alerts.Summary`).
    """

    file: Path
    count: int
    mean: float
    distinct: float
    bounds: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.file.stem


def group(folder: Path, variant: alerts.Variant, count: int) -> Group:
    """The log group with `count` alerts, from `folder` or, the first time, made there."""
    source = (Path(alerts.__file__), Path(__file__), alerts.DAY)
    made_by = hashlib.sha256(b"".join(path.read_bytes() for path in source)).hexdigest()[:12]
    file = folder / f"{variant}-{count}.pages"
    index = file.with_suffix(".json")
    if index.exists():
        known = json.loads(index.read_text())
        if known.pop("made_by") == made_by:
            return Group(file, **{**known, "bounds": tuple(known["bounds"])})
    folder.mkdir(parents=True, exist_ok=True)
    summary = alerts.Summary()
    bounds = [0]
    with file.open("wb") as out:
        for body in bodies(alerts.messages(count, variant, summary)):
            bounds.append(bounds[-1] + out.write(body))
    about = {"count": count, "mean": summary.size / count, "distinct": summary.distinct, "bounds": bounds}
    index.write_text(json.dumps({**about, "made_by": made_by}))
    return Group(file, count, summary.size / count, summary.distinct, tuple(bounds))


def bodies(messages: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
    """The answers' bodies, page after page. A page's `nextToken` is the number of the next one."""
    page: list[dict[str, object]] = []
    size = number = logged = 0
    for i, (happened, line) in enumerate(messages):
        size += len(line) + _OVERHEAD
        if page and (size > MOST_BYTES or len(page) == MOST_EVENTS):
            number += 1
            yield orjson.dumps({"events": page, "nextToken": str(number), "searchedLogStreams": []})
            page, size = [], len(line) + _OVERHEAD
        logged = max(logged, happened // 1_000_000)
        event = {"eventId": f"{39 * 10**54 + i}", "ingestionTime": logged + 412, "logStreamName": "alerts"}
        page.append({**event, "message": line.decode(), "timestamp": logged})
    yield orjson.dumps({"events": page, "searchedLogStreams": []})
