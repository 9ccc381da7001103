"""The table of provisioning steps, and how a step is applied, described and undone.

A step is a list of parts (a role, a policy, a manifest, a release). Order, the ledger and ownership, which are the same
for all parts, are here.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

from labkit.aws import NoClusterError, translated_errors
from labkit.calls import near, short_repr
from labkit.errors import LabError, StepError, StoppedError, UnreachableError
from labkit.ledger import Record
from labkit.provision.parts import Part
from labkit.provision.shared import SharedPart, shared_parts
from labkit.provision.templates import commands
from labkit.show import Cli, Table
from labkit.target import Target
from labkit.waiting import progress

StepName = Literal[
    "oidc-provider",
    "log-group",
    "fluent-bit-role",
    "fluent-bit",
    "canary",
    "falco",
    "nginx",
    "custom-rules",
    "metric-filters",
    "alarms",
    "dashboard",
    "security-hub",
    "findings-forwarder",
]
"""Names of the steps, in the order in which they are applied."""


@dataclass(frozen=True)
class Change:
    """What happened to one part."""

    action: str
    """`created`, `updated`, `unchanged`, `shared` (it is the class's); `removed`, `kept` (the lab didn't make it),
    `absent`, `left` (it failed);
    `lost` (applied before, and no longer there)."""
    kind: str
    name: str
    why: str = ""
    """Why it was kept or left, where that isn't plain; or what else there is to say of it."""


class TeardownError(StepError):
    """Something could not be deleted: `left`. `done` is the table of what was."""

    def __init__(self, left: Sequence[Change], done: Table) -> None:
        rows = "".join(f"\n  {change.kind} {change.name}: {change.why}" for change in left)
        what = "1 thing is" if len(left) == 1 else f"{len(left)} things are"
        super().__init__(
            f"{what} left:{rows}", hint="See to what is said there, then run the same again: what is gone stays gone."
        )
        self.left = tuple(left)
        self.done = done


@dataclass(frozen=True)
class StepResult:
    """What a step did. Shown in a notebook as a table; `result.cli` is the same by hand."""

    step: str
    title: str
    changes: tuple[Change, ...]
    cli: Cli
    needed: tuple[StepResult, ...] = ()
    """Results of the steps that this one needs and that were applied first."""
    lost: tuple[Change, ...] = ()
    """Where something was created: steps applied before that need it and have lost parts, such as those inside it."""

    @property
    def action(self) -> str:
        """One word for the whole: the strongest of what happened to its parts."""
        order = ("left", "created", "updated", "removed", "unchanged", "shared", "kept", "absent")
        return min((change.action for change in self.changes), key=order.index, default="unchanged")

    @property
    def left(self) -> tuple[Change, ...]:
        """Parts that could not be deleted."""
        return tuple(change for change in self.changes if change.action == "left")

    def _table(self) -> Table:
        return table_of(f"{self.step}: {self.action}", (*self.changes, *self.lost))

    def __repr__(self) -> str:
        return "\n".join([*map(repr, self.needed), repr(self._table())])

    def _repr_html_(self) -> str:
        return "".join(result._repr_html_() for result in self.needed) + self._table()._repr_html_()


def table_of(title: str, changes: Iterable[Change]) -> Table:
    """What happened to parts; why, where one of them says so."""
    rows = [(change.action, change.kind, change.name, change.why) for change in changes]
    width = 4 if any(change[3] for change in rows) else 3
    return Table(title, ("action", "kind", "name", "why")[:width], tuple(row[:width] for row in rows))


@dataclass(frozen=True)
class StepStatus:
    """What is there of one step: for each part its state in words, empty if it isn't there."""

    step: str
    title: str
    parts: tuple[tuple[str, str, str], ...]
    fault: str = ""
    """What is wrong with what is there, e.g. that pods crash; empty if all is well."""

    @property
    def state(self) -> str:
        """`applied`, `not ready` (all is there, but not well), `partly` or `absent`."""
        there = [bool(state) for _, _, state in self.parts]
        if all(there):
            return "not ready" if self.fault else "applied"
        return "partly" if any(there) else "absent"


@dataclass(frozen=True)
class Step:
    """A row of the table: `own_parts` makes a lab's parts, `manifests/commands/` has the commands that do the same."""

    name: str
    title: str
    needs: tuple[str, ...]
    own_parts: Callable[..., Sequence[Part]] = field(repr=False)
    values: Callable[[Target], dict[str, Any]] = field(repr=False, default=lambda target: {})
    """What the commands' placeholders stand for, besides the names that `templates` knows."""
    without_cluster: Callable[[Target], Sequence[Part]] = field(repr=False, default=lambda target: ())
    """Parts to undo where `parts` can't tell, because it takes the cluster and that is gone."""
    form: Callable[[Target], str] = field(repr=False, default=lambda target: "")
    """Which commands, where that depends on a setting: what their file's name has after the step's, `.pod-identity`."""

    allowed: tuple[str, ...] = ()
    """The statements of `manifests/iam/workshop-*.json`, by Sid, that allow what it calls in AWS."""
    allowed_by_form: Mapping[str, tuple[str, ...]] = field(repr=False, hash=False, default_factory=dict)
    """Those that it needs in one form only."""

    def statements(self, target: Target) -> tuple[str, ...]:
        """All statements that it needs with the settings, by Sid."""
        return *self.allowed, *self.allowed_by_form.get(self.form(target), ())

    def parts(self, target: Target, **options: Any) -> Sequence[Part]:
        """The parts that a lab makes or, for an attendee of a class, finds (`labkit.provision.shared`)."""
        return self.own_parts(target, **options) if (shared := shared_parts(target, self.name)) is None else shared

    def cli(self, target: Target) -> str:
        """The shell commands that do the same as `apply`."""
        return commands(target, f"{self.name}{self.form(target)}", **self.values(target))

    def undo_cli(self, target: Target) -> str:
        """The shell commands that do the same as `undo`."""
        return commands(target, f"{self.name}{self.form(target)}.undo", **self.values(target))

    def check(self, options: Iterable[str]) -> None:
        """Raises `StepError` if the step doesn't take an option."""
        unknown = set(options) - set(inspect.signature(self.own_parts).parameters)
        if unknown:
            raise StepError(
                f"Step {self.name} takes no {', '.join(sorted(unknown))}.",
                hint="`timeout` is for all of them, `files` (one or a list) for custom-rules only.",
            )

    def apply(self, target: Target, **options: Any) -> StepResult:
        """Applies every part, in order. Raises `StepError` or `TargetError`; what was done until then stays."""
        self.check(options)
        changes = []
        with self._named(), translated_errors(target.aws.hint):
            for part in self.parts(target, **options):
                if part.incidental or (part.unwanted and part.find(target) is None):
                    continue
                if isinstance(part, SharedPart):
                    action = part.apply(target, part.find(target), owned=False)
                    changes.append(Change(action, part.kind, part.name, _SHARED))
                    continue
                found = part.wait_deleted(target, part.find(target))
                known = target.ledger.find(self.name, part.kind, part.name)
                there = found is not None and bool(part.describe(found))
                owned = not there or self.owns(target, part, found)
                if not there:
                    # Written first: if this is interrupted between here and the end, undoing knows of it.
                    self._record(target, part, made=True, begun=True)
                try:
                    action = part.apply(target, found, owned=owned)
                except LabError:
                    # Nothing was made: what others make of that name later isn't the lab's.
                    if known is None and not part.state(target):
                        target.ledger.forget(self.name, part.kind, part.name)
                    raise
                if part.unwanted:
                    target.ledger.forget(self.name, part.kind, part.name)
                else:
                    self._record(target, part, made=owned)
                changes.append(Change(action, part.kind, part.name, part.remark()))
        return StepResult(self.name, self.title, tuple(changes), Cli(self.cli(target)))

    def owns(self, target: Target, part: Part, found: Any) -> bool:
        """Whether what was found of a part is the lab's: by the ledger, or by its mark."""
        known = target.ledger.find(self.name, part.kind, part.name)
        return (known is not None and known.made and not known.begun) or part.is_owned(target, found)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Puts the step's name before its errors."""
        try:
            yield
        except LabError as error:
            if not error.message.startswith("Step "):
                error.message = f"Step {self.name}: {error.message}"
            raise

    def undo(self, target: Target, *, silent: dict[str, str] | None = None, last: bool = True) -> StepResult:
        """Deletes what the lab made, last part first; what was there before stays.

        Continues after a part that can't be deleted: the result has it in `left`. `silent` has the services that don't
        answer, with their errors; their parts aren't tried. `last`: what the step needs isn't undone next, and so has
        to work without it.
        """
        silent = {} if silent is None else silent
        try:
            with translated_errors(target.aws.hint):
                try:
                    parts, cli = self.parts(target), self.undo_cli(target)
                except NoClusterError:
                    parts, cli = self.without_cluster(target), ""
        except LabError as error:
            _note_silence(error, silent)
            why = _reason(error)
            return StepResult(self.name, self.title, (Change("left", "step", self.name, why),), Cli(""))
        changes = [self._undo_part(target, part, silent, last) for part in reversed(parts)]
        return StepResult(self.name, self.title, tuple(changes), Cli(cli))

    def _undo_part(self, target: Target, part: Part, silent: dict[str, str], last: bool) -> Change:
        service = part.service
        try:
            if service in silent:
                raise LabError(silent[service])
            with translated_errors(target.aws.hint):
                found, state = part.look(target)
                if not state:
                    action = "absent"
                elif (fate := self._fate(target, part, found)).why:
                    return fate
                elif fate.action == "kept":
                    action = "kept"
                elif why := part.in_use(target):
                    return Change("kept", part.kind, part.name, why)  # and still the lab's, to be taken away later
                else:
                    part.delete(target, found)
                    action = "removed"
                    if last:
                        part.wait_without(target)
        except NoClusterError:
            action = "absent"  # gone with its cluster
        except StoppedError:
            raise  # Ctrl-C ends all of it, not only this part
        except LabError as error:
            _note_silence(error, silent)
            if service in silent or not _is_gone(target, part):
                return Change("left", part.kind, part.name, _reason(error))
            action = "absent"  # deleted by others meanwhile
        if action != "kept":
            for record in target.ledger.records():  # a namespace may be several steps'
                if (record.kind, record.name) == (part.kind, part.name):
                    target.ledger.forget(*record.key)
        return Change(action, part.kind, part.name)

    def _fate(self, target: Target, part: Part, found: Any) -> Change:
        """What undoing does with a part that is there, by whose it is: `removed` or `kept`."""
        if isinstance(part, SharedPart):
            return Change("kept", part.kind, part.name, _SHARED)
        known = target.ledger.find(self.name, part.kind, part.name)
        made = known.made if known is not None and not known.begun else part.is_owned(target, found)
        return Change("removed" if made else "kept", part.kind, part.name)

    def plan_undo(self, target: Target) -> list[Change]:
        """What `undo` does with each part that is there, in its order. What can't be looked at is `left`, with why."""
        changes: list[Change] = []
        try:
            with translated_errors(target.aws.hint):
                try:
                    parts = self.parts(target)
                except NoClusterError:
                    parts = self.without_cluster(target)
        except LabError as error:
            return [Change("left", "step", self.name, _reason(error))]
        for part in reversed(parts):
            try:
                with translated_errors(target.aws.hint):
                    found, state = part.look(target)
                    changes += [self._fate(target, part, found)] if state else []
            except NoClusterError:
                continue
            except LabError as error:
                changes.append(Change("left", part.kind, part.name, _reason(error)))
        return changes

    def status(self, target: Target) -> StepStatus:
        """The state of each part."""
        with self._named(), translated_errors(target.aws.hint):
            looks = [(part, *part.look(target)) for part in self.parts(target)]
            faults = [part.fault(target, found) for part, found, state in looks if state]
        parts = [
            (part.kind, part.name, state) for part, _, state in looks if state or not (part.incidental or part.unwanted)
        ]
        return StepStatus(self.name, self.title, tuple(parts), next(filter(None, faults), ""))

    def is_missing(self, target: Target) -> bool:
        """Whether there is nothing of it, or a part isn't there because applying it was interrupted before."""
        status = self.status(target)
        known = {record.key for record in target.ledger.records(self.name) if not record.begun}
        absent = [(self.name, kind, name) for kind, name, state in status.parts if not state]
        return status.state == "absent" or not known.issuperset(absent)

    def _record(self, target: Target, part: Part, *, made: bool, begun: bool = False) -> None:
        target.ledger.write(Record(self.name, part.kind, part.name, made, part.details(), begun))


_SHARED = "it is the class's"


def _is_gone(target: Target, part: Part) -> bool:
    """Whether a part that couldn't be deleted isn't there any more."""
    try:
        with translated_errors(target.aws.hint):
            return not part.state(target)
    except LabError:
        return False


def _note_silence(error: LabError, silent: dict[str, str]) -> None:
    if isinstance(error, UnreachableError):
        silent[error.service] = error.message


def _reason(error: LabError) -> str:
    return " ".join(error.message.split())


def applying(target: Target, names: Sequence[str], **options: Any) -> Iterator[StepResult]:
    """Applies steps, and before each those that it needs and that were never applied to the end; results as they come.

    A needed step that isn't ready, or has lost a part since, isn't applied again: the step itself may repair it, and
    what was deleted on purpose stays deleted. A step that needs one of them isn't applied again, either: if it has
    lost parts, the result names it (`StepResult.lost`).
    """
    for step in STEPS.with_needs(names):
        if step.name in names:
            step.check(options)
    with target.helm.reading_once():
        steps = STEPS.with_needs(names)
        for step in progress(steps, "Steps", len(steps), lambda step: step.name):
            if step.name in names:
                yield with_lost(target, step.apply(target, **options), names)
            elif step.is_missing(target):
                yield with_lost(target, step.apply(target), names)


def with_lost(target: Target, result: StepResult, names: Sequence[str]) -> StepResult:
    """The result with the steps that have lost parts to what it created again: a log group takes its filters along.

    `names` are the steps that are applied in any case, and so lose nothing.
    """
    if all(change.action != "created" for change in result.changes):
        return result
    coming = {step.name for step in STEPS.with_needs(names)}
    lost = []
    for step in STEPS:
        known = {record.key for record in target.ledger.records(step.name) if not record.begun}
        needs_it = step.name != result.step and STEPS[result.step] in STEPS.with_needs([step.name])
        if not known or not needs_it or step.name in names:
            continue
        try:
            status = step.status(target)
            if step.name in coming and step.is_missing(target):
                continue  # it is needed here, and applied next
        except LabError:
            continue  # what was asked for is done; lab.status() tells of this
        gone = [
            f"{kind} {name}" for kind, name, state in status.parts if not state and (step.name, kind, name) in known
        ]
        if gone:
            others = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
            why = f'{gone[0]}{others}: no longer there. lab.apply("{step.name}") puts back what is missing.'
            lost.append(Change("lost", "step", step.name, why))
    return replace(result, lost=tuple(lost))


def plan_undo(target: Target, steps: Iterable[Step]) -> Table:
    """What `undo_all` takes away, keeps, or can't look at, without doing it; a row each, none if there is nothing."""
    with target.helm.reading_once():
        changes = [change for step in list(steps)[::-1] for change in step.plan_undo(target)]
    rows = {(change.kind, change.name): change for change in changes}  # a namespace may be several steps'
    cluster = target.settings.context or target.settings.cluster
    title = f"To take down in account {target.aws.identity.account_id} and cluster {cluster}"
    return table_of(title if rows else "Nothing to take down", rows.values())


def undo_all(target: Target, steps: Iterable[Step]) -> Table:
    """Undoes steps, last first, and continues after errors: one row for each part that was there.

    Raises `TeardownError` at the end if anything is left, with what and why, and `StepError` before anything is undone
    that a class works with (`labkit class`).
    """
    silent: dict[str, str] = {}
    backwards = list(steps)[::-1]
    names = {step.name for step in backwards}
    of_class = {name for record in target.ledger.records("class") for name in record.details.get("steps", ())}
    if shared := [name for name in STEPS.ORDER if name in names & of_class]:
        raise StepError(
            f"A class is up, and works with what the step {shared[0]} has made.",
            hint="`labkit class down` takes both down; a step that isn't the class's can be undone by its name.",
        )
    with target.helm.reading_once():
        changes = [
            change
            for step in progress(backwards, "Undoing", len(backwards), lambda step: step.name)
            for change in step.undo(target, silent=silent, last=names.isdisjoint(step.needs)).changes
            if change.action != "absent"
        ]
    done = list(dict.fromkeys(change for change in changes if change.action != "left"))  # a namespace is several steps'
    title = "Taken down" if any(change.action == "removed" for change in done) else "Nothing to take down"
    table = table_of(title, done)
    left = [change for change in changes if change.action == "left"]
    if left:
        raise TeardownError(left, table)
    return table


class Steps:
    """The table of steps, in the order in which they are applied."""

    MODULES = (
        *("iam", "logs", "fluent_bit", "falco", "app", "custom_rules"),
        *("metric_filters", "alarms", "security_hub", "findings_forwarder"),
    )
    ORDER: tuple[StepName, ...] = get_args(StepName)

    @cached_property
    def table(self) -> dict[str, Step]:
        found = {
            step.name: step
            for module in self.MODULES
            for step in importlib.import_module(f"labkit.provision.{module}").STEPS
        }
        return {name: found[name] for name in self.ORDER}

    def __getitem__(self, name: str) -> Step:
        try:
            return self.table[name]
        except KeyError:
            hint = f"{near(name, self.table)}Use one of: {', '.join(self.table)}."
            raise StepError(f"There is no step {short_repr(name)}.", hint=hint) from None

    def __iter__(self) -> Iterator[Step]:
        return iter(self.table.values())

    def with_needs(self, names: Iterable[str]) -> list[Step]:
        """The steps of these names and all that they need, in the order in which to apply them."""
        wanted: set[str] = set()
        pending = [self[name].name for name in names]
        while pending:
            name = pending.pop()
            if name not in wanted:
                wanted.add(name)
                pending += self[name].needs
        return [step for step in self if step.name in wanted]


STEPS = Steps()
