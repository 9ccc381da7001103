"""What stands in the way of the workshop, before anything is made: account, cluster, nodes, quotas, permissions.

Also what the chosen chapters will make, what is there already and stays, and what it costs an hour. Nothing here
changes anything: `preflight` only reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from html import escape
from typing import Any

from falcorules import markup
from labkit.aws import translated_errors
from labkit.errors import LabError
from labkit.provision.own_rules import GATE, silence
from labkit.provision.preflight import account, cluster, nodes, permissions, plan, quotas
from labkit.provision.preflight.chapters import CHAPTERS, Chosen
from labkit.provision.preflight.finding import Finding, blocker, ok, warning
from labkit.provision.preflight.plan import Planned
from labkit.provision.steps import Step
from labkit.show import Table, counted, terminal_width
from labkit.target import Target

__all__ = ["CHAPTERS", "Finding", "Preflight", "preflight"]

_AT_ONCE = 12  # checks; most of their time they wait for answers
# Clients that checks share. They are made first, since boto3's sessions aren't for several threads.
_CLIENTS = ("eks", "iam", "logs", "cloudwatch", "sns", "sqs", "lambda", "securityhub", "service-quotas")


@dataclass(frozen=True, repr=False)
class Preflight:
    """All findings, in the order of their subjects. `passed` if none is a blocker; `failures` says what to do then.

    `plan` is what the chapters' steps make or find, `costs` an hour's list prices as (what, how much, US dollars).
    """

    findings: tuple[Finding, ...]
    chapters: tuple[str, ...] = ()
    plan: tuple[Planned, ...] = ()
    costs: tuple[tuple[str, str, str], ...] = ()
    prices: str = ""
    """Where and when the prices are from."""

    @property
    def passed(self) -> bool:
        return not self.blockers

    @property
    def blockers(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.result == "blocker")

    @property
    def failures(self) -> str:
        return "\n".join(f"{f.subject}, {f.what}: {f.found}\n  What to do: {f.hint}" for f in self.blockers)

    @property
    def tables(self) -> tuple[Table, ...]:
        """Findings, plan and costs."""
        warnings = sum(finding.result == "warning" for finding in self.findings)
        counts = [counted(len(self.blockers), "blocker")] * bool(self.blockers) + [counted(warnings, "warning")] * bool(
            warnings
        )
        title = f"{'Ready' if self.passed else 'Not ready'}{': ' if counts else ''}{', '.join(counts)}"
        columns = ("subject", "check", "result", "found", "what to do")
        subjects = [finding.subject for finding in self.findings]
        # A subject is named once; it is clear what the lines below it are about.
        named = [now if now != before else "" for before, now in zip(["", *subjects], subjects, strict=False)]
        rows = tuple((name, f.what, f.result, f.found, f.hint) for name, f in zip(named, self.findings, strict=True))
        tables = [Table(title, columns, rows)]
        made = [(i.step, i.state, _several(i)) for i in _by_kind(self.plan) if i.state in ("will be made", "made")]
        if made:
            tables.append(Table("What the chapters make", ("step", "state", "what"), tuple(made)))
        if self.costs:
            tables.append(Table(f"What an hour costs ({self.prices})", ("what", "how much", "US dollars"), self.costs))
        return tuple(tables)

    def __repr__(self) -> str:
        return self.text(terminal_width())

    def text(self, width: int | None = None) -> str:
        """The tables as text, at most `width` wide, for which cells are broken into lines."""
        return "\n\n".join(table.text(width) for table in self.tables)

    def _repr_html_(self) -> str:
        """Findings with what to do below them, and the other tables folded."""
        findings, *others = self.tables
        rows = tuple((*row[:3], _with_hint(*row[3:])) for row in findings.rows)
        findings = replace(findings, columns=findings.columns[:4], rows=rows)
        folded = "".join(
            f"<details><summary>{escape(table.title)}</summary>{replace(table, title='')._repr_html_()}</details>"
            for table in others
        )
        return findings._repr_html_() + folded

    def json(self) -> str:
        """The same as a JSON object: `ready`, `chapters`, `findings`, `plan`, `costs`."""
        costs = [dict(zip(("what", "quantity", "dollars_an_hour"), row, strict=True)) for row in self.costs]
        content: dict[str, Any] = {
            "ready": self.passed,
            "chapters": self.chapters,
            "findings": [asdict(finding) for finding in self.findings],
            "plan": [asdict(item) for item in self.plan],
            "costs": {"source": self.prices, "items": costs},
        }
        return json.dumps(content, indent=2)


def preflight(target: Target, chapters: Iterable[str] = ()) -> Preflight:
    """Checks for these chapters (default: all), at the same time. What can't be checked is a blocker that says why.

    Raises `LabError` for a chapter that there isn't.
    """
    chosen = Chosen.of(target, chapters)
    target.kube.client  # noqa: B018  made here, as the clients of AWS are
    with translated_errors(target.aws.hint):
        for service in _CLIENTS:
            target.aws.client(service)
    with target.helm.reading_once(), ThreadPoolExecutor(_AT_ONCE) as pool:
        looks = [pool.submit(_looked, target, steps) for steps in _together(chosen.steps)]
        checks = [pool.submit(_findings, name, check) for name, check in _checks(chosen).items()]
        priced = pool.submit(_priced, chosen)
        planned, unseen = [], []
        for job in looks:
            items, findings = job.result()
            planned += items
            unseen += findings
        order = {step.name: index for index, step in enumerate(chosen.steps)}
        planned.sort(key=lambda item: order[item.step])
        counted_ones = [] if target.settings.attendee else planned
        limits = pool.submit(_findings, "quotas", partial(quotas.quotas, target, counted_ones))
        found = [finding for job in checks for finding in job.result()]
        there = list(plan.there_already(planned))
        costs, prices = priced.result()
    said = _without_repetition([*found, *limits.result(), *unseen, *there])
    return Preflight(said, chosen.chapters, tuple(planned), costs, prices)


def _checks(chosen: Chosen) -> dict[str, Callable[[], Iterator[Finding]]]:
    target = chosen.target
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "identity": partial(account.identity, target),
        "tools": partial(account.helm, target),
        "cluster": partial(cluster.cluster, target),
        "nodes": partial(nodes.nodes, target),
        "permissions in AWS": partial(permissions.in_aws, chosen),
        "permissions in the cluster": partial(permissions.in_cluster, chosen),
        "other Falcos": partial(plan.falcos, target),
    }
    if target.settings.attendee:
        checks["class"] = partial(_class, chosen)
    # In a class, an attendee may not look at the rest, and the instructor has.
    left_out = ("tools", "permissions in AWS", "other Falcos") if target.settings.attendee else ()
    return {name: check for name, check in checks.items() if name not in left_out}


def _class(chosen: Chosen) -> Iterator[Finding]:
    target, settings = chosen.target, chosen.target.settings
    namespace = target.kube.get("Namespace", settings.app_namespace)
    if namespace is None:
        hint = "Tell the instructor: `labkit class up` makes it. Or is LABKIT_ATTENDEE another one's?"
        yield blocker("class", "namespace", f"there is no namespace {settings.app_namespace}", hint)
    else:
        yield ok("class", "namespace", settings.app_namespace)
    silent = silence(target, target.kube.get("ConfigMap", GATE, settings.falco_namespace))
    if silent:
        hint = "Tell the instructor before chapter 04: `labkit class gate` starts it."
        yield warning("class", "gate for rules", silent, hint)
    else:
        yield ok("class", "gate for rules", "open")
    for chapter in chosen.not_in_class:
        if chosen.chapters == chosen.not_in_class:  # and no other is asked for
            hint = "Ask the instructor for `labkit class up --findings`."
            yield blocker("class", f"chapter {chapter}", "not in this class", hint)
        else:
            yield ok("class", f"chapter {chapter}", "not in this class: leave it out")


def _findings(name: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """A check's findings; if it can't be made, those until then and why."""
    found: list[Finding] = []
    try:
        with translated_errors():
            found.extend(check())  # those until an error stay
    except LabError as error:
        found.append(blocker(name, "check", error.message, str(error.hint)))
    return found


def _without_repetition(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """By subject; of blockers that say the same (no Helm, a cluster that doesn't answer), the first."""
    first: dict[str, Finding] = {}
    for finding in findings:
        key = finding.found if finding.result == "blocker" else f"{finding.subject}: {finding.what}"
        first.setdefault(key, finding)
    subjects = list(dict.fromkeys(finding.subject for finding in first.values()))
    return tuple(sorted(first.values(), key=lambda finding: subjects.index(finding.subject)))


def _together(steps: list[Step]) -> list[list[Step]]:
    """Steps that are looked at one after another: those that ask Helm, whose answers are kept, in one list."""
    asking = [step for step in steps if step.name in ("falco", "custom-rules")]
    return [[step] for step in steps if step not in asking] + [asking] * bool(asking)


def _looked(target: Target, steps: list[Step]) -> tuple[list[Planned], list[Finding]]:
    try:
        with translated_errors(target.aws.hint):
            return plan.look(target, steps), []
    except LabError as error:
        names = ", ".join(step.name for step in steps)
        return [], [blocker("there already", f"step {names}", error.message, str(error.hint))]


def _priced(chosen: Chosen) -> tuple[tuple[tuple[str, str, str], ...], str]:
    from labkit.respond.costs import prices

    about = prices()
    extended = cluster.is_extended(chosen.target)
    return plan.hourly(
        chosen.target, chosen.steps, extended=extended
    ), f"list prices, {about['region']}, {about['date']}"


def _with_hint(found: str, hint: str) -> str:
    return markup.Html(f"{markup.escaped(found)}<br><b>→</b> {markup.with_code(hint)}") if hint else found


def _by_kind(planned: Iterable[Planned]) -> list[Planned]:
    """Several things of a kind, step and state as one, with their names after one another."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for item in planned:
        found.setdefault((item.step, item.state, item.kind), []).append(item.name)
    return [Planned(step, kind, ", ".join(names), state) for (step, state, kind), names in found.items()]


def _several(item: Planned) -> str:
    return f"{item.kind} {item.name}"
