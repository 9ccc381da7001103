"""Sets a class up: what all share, and for each attendee a namespace, a role and the way into the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from classroom import gate, handout, parts
from classroom.attendees import known, note, noted, refuse_attendee, role_name, target_of
from classroom.roll import roll
from labkit.aws import translated_errors
from labkit.errors import LabError, SettingsError, StepError, StoppedError
from labkit.provision.preflight.plan import HOURS
from labkit.provision.steps import STEPS, Change, table_of
from labkit.respond.costs import prices
from labkit.settings import attendee_settings
from labkit.show import Table, counted
from labkit.target import Target
from labkit.waiting import progress

Result = TypeVar("Result")

# What one attendee's metrics come to in a workshop: two counts, some ten rules, four priorities, one by PutMetricData.
_METRICS, _ALARMS = 17, 2
_CLIENTS = ("cloudwatch", "eks", "iam", "logs", "sns", "sqs", "sts")


class ClassError(StepError):
    """Some attendees could not be set up: `left`. What was done until then stays; the same again goes on from there."""

    def __init__(self, left: Sequence[Change], done: Table) -> None:
        rows = "".join(f"\n  attendee {change.name}: {change.why}" for change in left)
        super().__init__(
            f"{counted(len(left), 'attendee')} could not be set up:{rows}", hint="Mend that, then run it again."
        )
        self.left = tuple(left)
        self.done = done


def plan(target: Target, names: Sequence[str], *, findings: bool = False) -> Table:
    """What `up` makes, what of that is there, and what it costs an hour by AWS's list prices; changes nothing."""
    refuse_attendee(target)
    _refuse_config_map(target)
    there = known(target)
    new = [name for name in names if name not in there]
    rows = []
    with target.helm.reading_once():
        for step in STEPS.with_needs([*parts.SHARED, *(parts.FINDINGS if findings else ())]):
            state = step.status(target).state
            rows.append(("stays" if state == "applied" else "new", "step, for all", step.name, step.title))
    for step in (parts.ACCESS, parts.FILTERS):
        state = step.status(target).state
        rows.append(("stays" if state == "applied" else "new", "for all", step.name, step.title))
    settings = target.settings
    if new:
        one = attendee_settings(settings, new[0])
        made = f"each as {new[0]}: namespace {one.app_namespace}, role {role_name(settings, new[0])}, access entry"
        rows.append(("new", counted(len(new), "attendee"), _listed(new), made))
    whole = {seat.attendee for seat in roll(target) if seat.state == "ready"} if there else set()
    begun = [name for name in names if name in there and name not in whole]
    if begun:  # by a call that was interrupted, or failed
        rows.append(("new", counted(len(begun), "attendee"), _listed(begun), "begun before: what is missing is made"))
    if stays := [name for name in there if name not in begun]:
        rows.append(("stays", counted(len(stays), "attendee"), _listed(stays), "in the class already"))
    cost = costs_an_hour(len(set(there) | set(names)))
    rows += [
        ("costs", "US dollars an hour", item, f"{amount:.2f}" if amount >= 0.005 else "< 0.01")
        for item, amount in cost.items()
    ]
    title = f"A class of {len(set(there) | set(names))}: about {sum(cost.values()):.2f} US dollars an hour for AWS"
    return Table(f"{title}, beside the cluster and its nodes", ("action", "kind", "name", "what"), tuple(rows))


def _listed(names: Sequence[str]) -> str:
    """Names in a few words: the first and the last of many."""
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:3])} ... {names[-1]}"


def _refuse_config_map(target: Target) -> None:
    """Raises `StepError` for a cluster that takes no access entries."""
    if target.cluster.get("accessConfig", {}).get("authenticationMode") == "CONFIG_MAP":
        name = target.settings.cluster
        raise StepError(
            f"Cluster {name} lets people in by its aws-auth ConfigMap only, not by access entries.",
            hint=f"`aws eks update-cluster-config --name {name} --access-config "
            "authenticationMode=API_AND_CONFIG_MAP` adds these, and keeps who is in; it can't be undone.",
        )


def costs_an_hour(attendees: int) -> dict[str, float]:
    """US dollars an hour by what costs them, at list prices without the free tier; beside the cluster and its nodes."""
    items = prices()["items"]

    def an_hour(name: str, quantity: float) -> float:
        return float(items[name]["price"]) * quantity / HOURS

    return {
        "metrics": an_hour("custom_metrics", _METRICS * attendees),
        "alarms": an_hour("alarms", _ALARMS * attendees),
        "dashboards": an_hour("dashboards", attendees),
    }


def up(
    target: Target, names: Sequence[str], *, trust: Mapping[str, Sequence[str]] | None = None, findings: bool = False
) -> Table:
    """Sets the class up, or adds to it: one row for each attendee. Applied again, it changes nothing.

    `trust` has the ARNs that may assume an attendee's role, by name, or under "" for all; by default the caller may,
    who hands out sessions (`labkit class env`). An interrupted `up` goes on where it was. Raises `ClassError` with the
    attendees that couldn't be set up, once the others are, and `SettingsError` for trust in one who isn't in `names`.
    """
    refuse_attendee(target)
    if strange := sorted(set(trust or {}) - {"", *names}):
        raise SettingsError(
            f"`--trust` names {', '.join(strange)}, and the attendees of this call are {_listed(names)}.",
            hint="Correct the name, or add it to `--attendees` or `--names`.",
        )
    _refuse_config_map(target)
    before = noted(target)
    findings = findings or before["findings"]
    steps = STEPS.with_needs([*parts.SHARED, *(parts.FINDINGS if findings else ())])
    principals = _principals(target, names, trust or {}, before["attendees"])
    with target.helm.reading_once():
        made = [step.name for step in steps if step.name in before["steps"] or step.is_missing(target)]
        # Written first: whatever happens from here on, `down` knows of it.
        note(target, attendees={**before["attendees"], **principals}, findings=findings, steps=made)
        for step in progress(steps, "For all", len(steps), lambda step: step.name):
            step.apply(target)
    for step in (parts.ACCESS, parts.FILTERS):
        step.apply(target)
    gate.publish(target)

    def one(name: str) -> Change:
        return _set_up(target, name, principals[name], findings=findings)

    changes = list(each(target, names, one, "Attendees"))
    table = table_of(f"A class of {len(noted(target)['attendees'])}", changes)
    left = [change for change in changes if change.action == "left"]
    if left:
        raise ClassError(left, table)
    return table


def _principals(
    target: Target, names: Sequence[str], trust: Mapping[str, Sequence[str]], known_: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """By name, the ARNs that may assume a role: as given, or as they were, or the caller."""
    found = {}
    caller = ""
    for name in names:
        given = [*trust.get("", ()), *trust.get(name, ())]
        if not given and not known_.get(name):
            caller = caller or parts.principal(target)
        found[name] = list(dict.fromkeys(given or known_.get(name) or [caller]))
    return found


def _set_up(target: Target, name: str, principals: Sequence[str], *, findings: bool) -> Change:
    attendee = target_of(target, name)
    actions = set()
    try:
        with translated_errors(target.aws.hint):
            for part in parts.of_attendee(attendee, target, principals, findings=findings):
                actions.add(parts.apply(part, attendee))
        handout.write(target, name)
    except StoppedError:
        raise
    except LabError as error:
        return Change("left", "attendee", name, " ".join(error.message.split()))
    action = next((one for one in ("created", "updated") if one in actions), "unchanged")
    return Change(action, "attendee", name, f"namespace {attendee.settings.app_namespace}")


def each(target: Target, items: Iterable[str], act: Callable[[str], Result], label: str) -> Iterator[Result]:
    """The results of `act` on each item, in their order; several at a time.

    AWS meters what IAM and EKS are asked to make: on an account four at a time, at the pace that boto3 finds (see
    `Aws`). Raises `StoppedError` on Ctrl-C, once what had begun is done.
    """
    waiting = list(items)
    for service in _CLIENTS:
        target.aws.client(service)  # once, and not by several threads at the same time
    workers = 4 if target.settings.target == "eks" else 8
    with ThreadPoolExecutor(workers, "class") as pool, _stopped(pool):
        results = pool.map(act, waiting)
        shown = progress(waiting, label, len(waiting), str)
        for _, result in zip(shown, results, strict=True):
            yield result


@contextmanager
def _stopped(pool: ThreadPoolExecutor) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        pool.shutdown(wait=True, cancel_futures=True)
        raise StoppedError("Stopped; what was done stays.", hint="Run the same again to go on from there.") from None
