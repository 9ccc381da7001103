"""What the chosen steps will make, what is there already and stays, and what all of it costs an hour."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.errors import LabError, StepError
from labkit.kube import KubernetesError
from labkit.provision import falco
from labkit.provision.preflight.finding import Finding, blocker, ok
from labkit.provision.shared import SharedPart
from labkit.provision.steps import Step
from labkit.show import counted
from labkit.target import Target

_THERE = "there already"
HOURS = 730
"""Hours of a month, as AWS counts them."""
ALERTS_AN_HOUR = 600
"""Assumed for what is paid by the alert: ten a minute."""
_ALERT_BYTES = 900
_RULES, _PRIORITIES = 25, 8  # the stable rules: a metric each, once they have alerted
_FORWARDER_SECONDS = 0.3


@dataclass(frozen=True)
class Planned:
    """One thing that a step makes or made.

    `state`: `will be made`, `made`, `stays`, `shared` (it is the class's), `in the way` or `missing`.
    """

    step: str
    kind: str
    name: str
    state: str
    why: str = ""


def look(target: Target, steps: Sequence[Step]) -> list[Planned]:
    """The parts of steps, each with whether it is there. Raises `LabError` for what can't be looked at."""
    planned = []
    for step in steps:
        for part in step.parts(target):
            if part.incidental:
                continue
            found, state = part.look(target)
            if part.unwanted and (not state or step.owns(target, part, found)):
                continue  # it isn't there, or the step takes it away
            if not state:
                lack = part.lack(target)
                planned.append(Planned(step.name, part.kind, part.name, "missing" if lack else "will be made", lack))
            elif step.owns(target, part, found):
                planned.append(Planned(step.name, part.kind, part.name, "made", state))
            elif isinstance(part, SharedPart):
                planned.append(Planned(step.name, part.kind, part.name, "shared", state))
            else:
                why = part.obstacle(target, found)
                planned.append(Planned(step.name, part.kind, part.name, "in the way" if why else "stays", why or state))
    return planned


def there_already(planned: Iterable[Planned]) -> Iterator[Finding]:
    """What others made under the workshop's names: it stays, or is in the way."""
    seen = set()
    for item in planned:
        if (item.kind, item.name) in seen:
            continue
        seen.add((item.kind, item.name))
        what = f"{item.kind} {item.name}"
        if item.state == "missing":
            yield blocker(_THERE, what, f"it isn't there: {item.why}", "Ask the instructor.")
        elif item.state == "in the way":
            hint = (
                f"Step {item.step} would refuse. Choose other names (LABKIT_PREFIX, LABKIT_ROLE_NAME, "
                "LABKIT_..._NAMESPACE), or delete it if nothing uses it."
            )
            yield blocker(_THERE, what, item.why, hint)
        elif item.state == "shared":
            yield ok(_THERE, what, f"{item.why}; the class's")
        elif item.state == "stays":
            yield ok(_THERE, what, f"{item.why}; not the lab's: it is used, and stays as it is")


def falcos(target: Target) -> Iterator[Finding]:
    """A Falco that the workshop did not install: in its namespace, or elsewhere, which makes each alert come twice."""
    own, release = target.settings.falco_namespace, falco.RELEASE
    try:
        found = target.helm.status(release, own) or target.kube.get("DaemonSet", release, own)
        if found and not falco.is_workshops(target, own):
            raise falco.foreign(own)
        falco.refuse_second(target, own)
    except KubernetesError:
        raise
    except StepError as error:
        yield blocker(_THERE, "Falco", error.message, str(error.hint))
    else:
        yield ok(_THERE, "Falco", "no other")


def quantities(target: Target, steps: Iterable[Step]) -> dict[str, float]:
    """What an hour of the steps takes, under the names of `prices.toml`; of what is paid by the month, its part."""
    names = {step.name for step in steps}
    found: defaultdict[str, float] = defaultdict(float)
    gigabytes = ALERTS_AN_HOUR * _ALERT_BYTES / 1e9
    if "log-group" in names:
        found["ingested_gb"] += gigabytes
        found["stored_gb"] += gigabytes * target.settings.retention_days * 24 / HOURS
    if "metric-filters" in names:
        found["custom_metrics"] += (2 + _RULES + _PRIORITIES) / HOURS
    if "alarms" in names:
        from labkit.provision.alarms import requests

        found["alarms"] += len(requests(target)) / HOURS
    if "dashboard" in names:
        found["dashboards"] += 1 / HOURS
    if "findings-forwarder" in names:
        found["findings"] += ALERTS_AN_HOUR
        found["invocations"] += ALERTS_AN_HOUR
        found["function_gb_seconds"] += ALERTS_AN_HOUR * 0.25 * _FORWARDER_SECONDS
    return dict(found)


def _plural(unit: str, count: float) -> str:
    return unit if count == 1 or unit == "GB" else f"{unit}s"


def instance_types(nodes: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many EC2 instances of which type the nodes are."""
    types: Counter[str] = Counter()
    for node in nodes:
        if str(node.get("spec", {}).get("providerID", "")).startswith("aws://"):
            labels = node["metadata"].get("labels") or {}
            types[str(labels.get("node.kubernetes.io/instance-type", "unknown"))] += 1
    return dict(sorted(types.items()))


def dollars(amount: float) -> str:
    """An hour's costs: to a tenth of a cent."""
    return "< 0.001" if 0 < amount < 0.0005 else f"{amount:.3f}"


def hourly(target: Target, steps: Iterable[Step], *, extended: bool) -> tuple[tuple[str, str, str], ...]:
    """Rows (what, how much, US dollars an hour) of the steps, then of the cluster; the last of each is its sum.

    `extended`: its version is in extended support.
    """
    from labkit.respond.costs import costs, prices

    rows: list[tuple[str, str, str]] = []
    frame = costs(**quantities(target, steps))
    for item, quantity, unit, cost in frame[["item", "quantity", "unit", "month"]].itertuples(index=False):
        much = quantity * HOURS if unit.endswith("for a month") else quantity
        much = f"{much:,.3g} {_plural(unit.partition(',')[0], much)}"
        rows.append((item, much, dollars(cost)))
    rows.append(("the workshop", f"at {ALERTS_AN_HOUR} alerts an hour", dollars(float(frame["month"].sum()))))
    try:
        nodes = target.kube.list("Node")
    except LabError:
        nodes = []
    plane = prices()["items"]["extended_clusters" if extended else "clusters"]
    rows.append((plane["item"], "", dollars(plane["price"])))
    total, instances = plane["price"], prices()["instances"]
    for name, count in instance_types(nodes).items():
        price = instances.get(name)
        rows.append((f"{name}, on demand", counted(count, "node"), dollars(count * price) if price else "look it up"))
        total += count * (price or 0)
    rows.append(("the cluster, workshop or not", "without disks, NAT and load balancers", dollars(total)))
    return tuple(rows)
