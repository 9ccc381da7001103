"""The instructor's view of a class: where each attendee is, what became of rules, alerts a minute, the cost so far."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from classroom.attendees import refuse_attendee
from classroom.roll import Seat, roll
from classroom.up import costs_an_hour
from labkit.exercises import exercises
from labkit.exercises.published import KEY, NAME
from labkit.provision.own_rules import GATE, RULES, Verdict, silence, text_of
from labkit.provision.preflight.plan import instance_types
from labkit.respond import metrics
from labkit.respond.costs import prices
from labkit.show import AsTable, Table, counted
from labkit.target import Target

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MINUTES = 10
"""Over how many minutes alerts are counted in the table."""
_LONGEST = 70  # characters of a remark in the table


@dataclass(frozen=True)
class Row:
    """One attendee."""

    attendee: str
    chapter: str
    """The last chapter whose checkpoint was reached, such as `03`; empty before the first."""
    solved: int
    """Exercises that are solved."""
    stuck: str
    """The exercise that was answered wrongly last and isn't solved, with how often; empty if there is none."""
    rules: str
    """What the gate says of the attendee's rules: `3 rules`, or why they are refused; empty if there are none."""
    refused: bool
    """Whether the gate has refused them."""
    alerts: float
    """Alerts a minute, over the last `MINUTES`."""
    pods: str
    """Pods that are ready, of all."""
    state: str
    """`ready`, or what is missing of the namespace, the role and its access."""


@dataclass(frozen=True, repr=False)
class View(AsTable):
    """A class at one moment."""

    rows: tuple[Row, ...]
    gate: str
    """`open`, or why it isn't."""
    alerts: pd.DataFrame
    """Alerts counted by CloudWatch: `period` (UTC, a minute), `attendee`, `count`."""
    began: dt.datetime | None
    """When the first attendee was set up."""
    cost: float
    """US dollars since then, at list prices: the class's metrics, alarms and dashboards, the control plane, nodes."""
    an_hour: float
    """US dollars an hour."""

    def json(self) -> str:
        """The same as a JSON object: `attendees`, `gate`, `began`, `dollars`, `dollars_an_hour`."""
        content = {
            "attendees": [asdict(row) for row in self.rows],
            "gate": self.gate,
            "began": self.began and self.began.isoformat(),
            "dollars": round(self.cost, 2),
            "dollars_an_hour": round(self.an_hour, 2),
        }
        return json.dumps(content, indent=2)

    def __repr__(self) -> str:
        table = self._table()
        names = (tuple(name.upper() for name in table.columns),) * bool(self.rows)
        return repr(replace(table, rows=(*names, *table.rows)))

    def _table(self) -> Table:
        if not self.rows:
            return Table("There is no class", ("attendee",), ())
        total = len(exercises())
        title = (
            f"A class of {len(self.rows)}. Gate: {self.gate}. About {self.cost:.2f} US dollars so far, "
            f"{self.an_hour:.2f} an hour, with the cluster and its nodes"
        )
        columns = ("attendee", "checkpoint", "exercises", "stuck at", "own rules", "alerts/min", "pods", "state")
        rows = tuple(
            (
                row.attendee,
                row.chapter or "-",
                f"{row.solved} of {total}",
                row.stuck or "-",
                _cut(row.rules) or "-",
                f"{row.alerts:.1f}",
                row.pods,
                row.state,
            )
            for row in self.rows
        )
        return Table(title, columns, rows)

    def chart(self) -> Axes:
        """Alerts a minute, a small chart for each attendee, all to one scale."""
        from classroom.chart import small_multiples

        return small_multiples(self.alerts, [row.attendee for row in self.rows])


def view(target: Target, *, minutes: int = 60) -> View:
    """The class now; alerts are of the last `minutes`. `target` is the instructor's."""
    refuse_attendee(target)
    seats = roll(target)
    names = {seat.namespace: seat.attendee for seat in seats}
    done = {
        item["metadata"]["namespace"]: _progress(item)
        for item in target.kube.list("ConfigMap", fields=f"metadata.name={NAME}")
    }
    rules = {
        item["metadata"]["namespace"]: item for item in target.kube.list("ConfigMap", fields=f"metadata.name={RULES}")
    }
    counts = alerts(target, names, minutes)
    now = pd.Timestamp(target.kube.now()).floor("min")
    latest = counts[counts["period"] > now - pd.Timedelta(minutes=MINUTES)]
    rates = latest.groupby("attendee")["count"].sum() / MINUTES
    rows = tuple(
        _row(seat, done.get(seat.namespace, {}), rules.get(seat.namespace), float(rates.get(seat.attendee, 0)))
        for seat in seats
    )
    silent = silence(target, target.kube.get("ConfigMap", GATE, target.settings.falco_namespace))
    began = _began(target, set(names))
    hour = _an_hour(target, len(seats))
    hours = (target.kube.now() - began).total_seconds() / 3600 if began else 0.0
    return View(rows, silent or "open", counts, began, hour * hours, hour)


def alerts(target: Target, names: Mapping[str, str], minutes: int) -> pd.DataFrame:
    """Alerts by minute and attendee, as the class's metric filters have counted them; `names` by namespace."""
    counter = metrics.Counter(target.settings.prefix, "Alerts", "Namespace", "namespace")
    found = metrics.read(target.aws.client("cloudwatch"), counter, f"{minutes} minutes", values=list(names))
    found = found[found["namespace"].isin(list(names))]
    return found.assign(attendee=found["namespace"].map(names))[["period", "attendee", "count"]].reset_index(drop=True)


def _row(seat: Seat, done: Mapping[str, Any], rules: Any, rate: float) -> Row:
    verdict = Verdict.of(rules)
    said = "" if verdict is None else counted(len(verdict.rules), "rule") if verdict.accepted else f"refused: {verdict}"
    if rules is not None and verdict is None and text_of(rules):
        said = "waits for the gate"
    reached = sorted(name for name, about in done.items() if len(name) == 2 and about.get("reached") is True)
    known = exercises()
    solved = [name for name in known if done.get(name, {}).get("solved") is True]
    wrong = {name: about.get("wrong") for name, about in done.items() if name in known and name not in solved}
    tried = [(name, times) for name, times in wrong.items() if isinstance(times, int) and times > 0]
    stuck = f"{tried[-1][0]}, {counted(tried[-1][1], 'wrong answer')}" if tried else ""
    return Row(
        seat.attendee,
        reached[-1] if reached else "",
        len(solved),
        stuck,
        said.replace("refused: refused: ", "refused: "),
        verdict is not None and not verdict.accepted,
        rate,
        f"{seat.ready}/{seat.pods}",
        seat.state,
    )


def _progress(item: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What an attendee's ConfigMap says. It is the attendee's to write, so anything may be in it."""
    try:
        found = json.loads((item.get("data") or {}).get(KEY) or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(name): about for name, about in found.items() if isinstance(about, dict)}


def _began(target: Target, namespaces: set[str]) -> dt.datetime | None:
    times = [
        dt.datetime.fromisoformat(item["metadata"]["creationTimestamp"])
        for item in target.kube.list("Namespace")
        if item["metadata"]["name"] in namespaces
    ]
    return min(times, default=None)


def _an_hour(target: Target, attendees: int) -> float:
    about = prices()
    nodes = instance_types(target.kube.list("Node"))
    instances = sum(float(about["instances"].get(name, 0)) * count for name, count in nodes.items())
    return sum(costs_an_hour(attendees).values()) + float(about["items"]["clusters"]["price"]) + instances


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def needing_help(rows: Sequence[Row]) -> Table:
    """The attendees to look after first, and why: a part is missing, their rules are refused, or they are stuck."""
    reasons = {
        row.attendee: [
            *([row.state] if row.state != "ready" else []),
            *([f"own rules: {row.rules}"] if row.refused else []),
            *([f"stuck at {row.stuck}"] if row.stuck else []),
        ]
        for row in rows
    }
    found = tuple((attendee, "; ".join(why)) for attendee, why in reasons.items() if why)
    title = f"{counted(len(found), 'attendee')} to look after" if found else "All attendees get on"
    return Table(title, ("attendee", "why"), found)
