"""Reading alerts from CloudWatch Logs into a frame: labkit, the usual ways, and the floor below which none can get.

All read the same log groups from the same service on loopback, which answers from encoded pages, so that the client is
what takes time. Each reading has a process of its own; readers take turns, so that what else the machine does befalls
all of them, and ratios are taken within a turn.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import client, pages, peers, service
from benchmarks.alerts import Variant
from benchmarks.report import BUILD, ROOT, Cell, Part, Table, this_machine

GROUPS = BUILD / "groups"
COUNT = 100_000
MILLION = 1_000_000
SMALL = {100: 20, 1_000: 8, 10_000: 3}  # alerts, and how often they are read in a turn

LABELS: dict[str, str] = {
    "labkit": "`labkit.alerts.read`",
    "awswrangler": "awswrangler, `json.loads`, `json_normalize`, types",
    "awswrangler, by hand": "awswrangler, `json.loads`, frames of lists of dicts, types",
    "boto3": "boto3's paginator, `json.loads`, `json_normalize`, types",
    "floor": "floor: fetch and decode pages, no frame",
    "floor and messages": "floor, and `orjson.loads` of each message",
}
SOME = ("labkit", "awswrangler", "boto3", "floor")  # in every turn
OURS = ("labkit", "floor")
AIMS = {"awswrangler": 10.0, "floor": 1.8, "frame": 450, "peak": 1024}

Measures = dict[str, list[dict[str, dict[str, Any]]]]
"""By reader: for each turn, what each log group took."""


def measure(*, full: bool = False) -> Part:
    """The tables of reading. `full` adds a million alerts: two minutes, 1.5 GB of disk, and memory for the peers."""
    machine = this_machine()
    everyone = interpreters()
    some = {name: everyone[name] for name in everyone if name in SOME}
    ours = {name: everyone[name] for name in OURS}
    usual, long, varied, hard = (group(variant) for variant in ("usual", "long", "varied", "hard"))
    small = [name for count, often in SMALL.items() for name in [group("usual", count).name] * often]
    sizes = interleaved(some, [*small, group("hard", client.MOST_COMPARED).name], turns=2)
    found = {
        usual: merged(interleaved(everyone, [usual.name], turns=1), interleaved(some, [usual.name], turns=2)),
        long: interleaved(ours, [long.name], turns=2),
        varied: interleaved(ours, [varied.name], turns=2),
        hard: interleaved(some, [hard.name], turns=1),
    }
    sizes = merged(sizes, found[usual])
    if full:
        without = {name: python for name, python in some.items() if name != "boto3"}
        sizes = merged(sizes, interleaved(without, [group("usual", MILLION).name], turns=1))
    compared = [side_by_side(group, by_reader) for group, by_reader in found.items()]
    counts = [*SMALL, COUNT, *([MILLION] if full else [])]
    return Part("reading", machine, [aims(found), *compared, growth(sizes, counts)])


def group(variant: Variant, count: int = COUNT) -> pages.Group:
    return pages.group(GROUPS, variant, count)


def interpreters() -> dict[str, str]:
    """The readers, and which Python runs them."""
    there = peers.python()
    names = [name for name in LABELS if there or not name.startswith("awswrangler")]
    return {name: there if there and name.startswith("awswrangler") else sys.executable for name in names}


def interleaved(readers: Mapping[str, str], groups: Sequence[str], *, turns: int, folder: Path = GROUPS) -> Measures:
    """Lets readers read groups of the folder, one after the other in each turn.

    Raises `RuntimeError` if two readers' frames differ.
    """
    pages.group(folder, "usual", 1)  # client.WARM
    found: Measures = {name: [] for name in readers}
    with service.running(folder) as url:
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "PYTHONPATH": str(ROOT),
        }
        for turn in range(turns):
            names = list(readers)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                command = [readers[name], str(Path(client.__file__)), name, *groups]
                done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True)
                if done.returncode:
                    raise RuntimeError(f"{name} failed:\n{done.stderr}")
                found[name].append(_by_group(groups, json.loads(done.stdout)))
    compare(found)
    return found


def compare(found: Measures) -> None:
    digests: dict[str, set[str]] = {}
    for turns in found.values():
        for name, measured in turns[0].items():
            digests.setdefault(name, set()).update({measured["digest"]} if "digest" in measured else ())
    if different := sorted(name for name, some in digests.items() if len(some) > 1):
        raise RuntimeError(f"The readers made different frames of the same alerts: {', '.join(different)}.")


def merged(first: Measures, second: Measures) -> Measures:
    """Both measures of the readers that have both or one."""
    return {name: first.get(name, []) + second.get(name, []) for name in [*first, *(set(second) - set(first))]}


def _by_group(groups: Sequence[str], results: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of a group that was read several times: the median time, and the rest from the first time."""
    by_group: dict[str, list[dict[str, Any]]] = {}
    for name, result in zip(groups, results, strict=True):
        by_group.setdefault(name, []).append(result)
    return {
        name: {**times[0], **{key: statistics.median(t[key] for t in times) for key in ("cpu", "wall")}}
        for name, times in by_group.items()
    }


def median(found: Measures, reader: str, group: str, key: str) -> float | None:
    """The median over the turns, per alert (bytes, or seconds)."""
    values = [turn[group][key] / turn[group]["count"] for turn in found.get(reader, ()) if key in turn.get(group, {})]
    return statistics.median(values) if values else None


def times(found: Measures, reader: str, other: str, group: str) -> float | None:
    """How many times as much CPU time `reader` takes as `other`: the median of the turns' ratios."""
    turns = zip(found.get(reader, ()), found.get(other, ()), strict=False)
    ratios = [one[group]["cpu"] / two[group]["cpu"] for one, two in turns]
    return statistics.median(ratios) if ratios else None


def side_by_side(group: pages.Group, found: Measures) -> Table:
    columns = (
        "reader",
        "CPU, µs/alert",
        "alerts per CPU second",
        "to labkit's CPU",
        "wall, s",
        "frame, B/alert",
        "peak, B/alert",
        "kept, B/alert",
    )
    rows: list[list[Cell]] = []
    for name in found:
        spent, wall = (median(found, name, group.name, key) or 0.0 for key in ("cpu", "wall"))
        ratio = times(found, name, "labkit", group.name)
        memory = [median(found, name, group.name, key) for key in ("frame", "peak", "kept")]
        rows.append(
            [LABELS[name], spent * 1e6, 1 / spent, ratio, wall * group.count, *(m and round(m) for m in memory)]
        )
    variant = group.name.partition("-")[0]
    values, combinations = group.distinct
    title = f"{group.count:,} alerts, {variant}: {group.mean:,.0f} B a message; {values:.1%} of values are new, "
    title += f"{combinations:.0%} of their combinations"
    return Table(title, columns, rows)


def growth(found: Measures, counts: Sequence[int]) -> Table:
    def spent(name: str, count: int) -> float | None:
        value = median(found, name, f"usual-{count}", "cpu")
        return value and value * 1e6

    rows = [[LABELS[name], *(spent(name, count) for count in counts)] for name in found]
    rows = [row for row in rows if row[1] is not None]
    return Table(
        "Growth: CPU time in µs/alert, by the number of alerts, usual", ("reader", *(f"{c:,}" for c in counts)), rows
    )


def aims(found: Mapping[pages.Group, Measures]) -> Table:
    def against(name: str) -> list[Cell]:
        if name == "awswrangler":
            return [times(m, name, "labkit", group.name) for group, m in found.items()]
        return [times(m, "labkit", name, group.name) for group, m in found.items()]

    def memory(key: str) -> list[float | None]:
        return [median(m, "labkit", group.name, key) for group, m in found.items()]

    frames, peaks = memory("frame"), memory("peak")
    beyond = [peak - frame if peak and frame else None for peak, frame in zip(peaks, frames, strict=True)]

    rows: list[list[Cell]] = [
        ["awswrangler's CPU time to labkit's", f"at least {AIMS['awswrangler']:g}", *against("awswrangler")],
        ["labkit's CPU time to the floor's", f"at most {AIMS['floor']}", *against("floor")],
        ["the frame, B/alert", f"at most {AIMS['frame']}", *(value and round(value) for value in frames)],
        [
            "the peak beyond the frame, B/alert",
            f"at most {AIMS['peak']:,}",
            *(value and round(value) for value in beyond),
        ],
    ]
    return Table("Aims", ("what", "aim", *(group.name.partition("-")[0] for group in found)), rows)
