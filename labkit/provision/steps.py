"""The provisioning steps: a table of them, and how any of them is applied, looked at and undone.

A step is a list of parts (a role, a policy, a manifest, a release). Each part knows how to bring itself about, look at
itself and go away; what is the same for all - order, the ledger, who made what - is here, once.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from labkit.errors import LabError, StepError
from labkit.provision.ledger import Record
from labkit.provision.target import explained
from labkit.show import Cli, Table

if TYPE_CHECKING:
    from labkit.lab import Lab

TAG = ("workshop", "falco-eks")
"""The tag on every AWS resource the lab makes."""


class Part(Protocol):
    """One resource that a step answers for.

    One with a true attribute `incidental` comes by itself once the step is in place: it isn't applied, its absence is
    no lack, and undoing the step takes it away. One with a method `fits(lab)` tells whether it is as the step makes it.
    """

    @property
    def kind(self) -> str:
        """What it is in words, e.g. `IAM role`."""

    @property
    def name(self) -> str:
        """What it is called; with `kind`, unique within the step."""

    def state(self, lab: Lab) -> str:
        """What is there, in a word or two (`ready`, `7 days`); empty if it isn't there."""

    def ours(self, lab: Lab) -> bool:
        """Whether what is there carries the lab's mark (tag or label)."""

    def apply(self, lab: Lab, *, mine: bool) -> str:
        """Brings it about: `created`, `updated` or `unchanged`. What isn't `mine` is left as it is where possible."""

    def delete(self, lab: Lab) -> bool:
        """Takes it away and waits until it is gone. False if it wasn't there."""


@dataclass(frozen=True)
class Change:
    """What happened to one part."""

    action: str
    """`created`, `updated`, `unchanged`; `removed`, `kept` (the lab didn't make it), `absent`."""
    kind: str
    name: str


@dataclass(frozen=True)
class StepResult:
    """What a step did. Shown in a notebook as a table; `result.cli` is the same by hand."""

    step: str
    title: str
    changes: tuple[Change, ...]
    cli: Cli

    @property
    def action(self) -> str:
        """One word for the whole: the strongest of what happened to its parts."""
        order = ("created", "updated", "removed", "unchanged", "kept", "absent")
        return min((change.action for change in self.changes), key=order.index, default="unchanged")

    @property
    def _table(self) -> Table:
        return Table(
            f"{self.step}: {self.action}",
            ("action", "kind", "name"),
            tuple((change.action, change.kind, change.name) for change in self.changes),
        )

    def __repr__(self) -> str:
        return repr(self._table)

    def _repr_html_(self) -> str:
        return self._table._repr_html_()


@dataclass(frozen=True)
class StepStatus:
    """What is there of one step: for each part its state in words, empty if it isn't there."""

    step: str
    title: str
    parts: tuple[tuple[str, str, str], ...]

    @property
    def state(self) -> str:
        there = [bool(state) for _, _, state in self.parts]
        return "applied" if all(there) else "partly" if any(there) else "absent"


@dataclass(frozen=True)
class Step:
    """A row of the table. `parts` makes the parts for a lab; `cli` and `undo_cli` the commands that do the same."""

    name: str
    title: str
    needs: tuple[str, ...]
    parts: Callable[..., Sequence[Part]] = field(repr=False)
    cli: Callable[[Lab], str] = field(repr=False)
    undo_cli: Callable[[Lab], str] = field(repr=False)

    def apply(self, lab: Lab, **options: Any) -> StepResult:
        """Brings every part about, in order. Raises `StepError` or `TargetError`; what was done until then stays."""
        unknown = set(options) - set(inspect.signature(self.parts).parameters)
        if unknown:
            raise StepError(
                f"Step {self.name} takes no {', '.join(sorted(unknown))}.", hint="Only custom-rules takes files=[...]."
            )
        changes = []
        with explained(lab.aws.hint):
            for part in self.parts(lab, **options):
                if getattr(part, "incidental", False):
                    continue
                known = lab.ledger.find(self.name, part.kind, part.name)
                there = bool(part.state(lab))
                mine = (known is not None and known.made) or not there or part.ours(lab)
                if not there:
                    # Written first: if this is interrupted between here and the end, undoing knows of it.
                    self._record(lab, part, made=True)
                try:
                    action = part.apply(lab, mine=mine)
                except LabError:
                    # A refusal made nothing; what somebody makes of that name later must not pass for the lab's.
                    if known is None and not part.state(lab):
                        lab.ledger.forget(self.name, part.kind, part.name)
                    raise
                self._record(lab, part, made=mine)
                changes.append(Change(action, part.kind, part.name))
        return StepResult(self.name, self.title, tuple(changes), Cli(self.cli(lab)))

    def undo(self, lab: Lab) -> StepResult:
        """Takes away what the lab made, last part first; what was there before stays."""
        changes = []
        with explained(lab.aws.hint):
            for part in reversed(self.parts(lab)):
                known = lab.ledger.find(self.name, part.kind, part.name)
                if not part.state(lab):
                    action = "absent"
                elif known.made if known is not None else part.ours(lab):
                    action = "removed" if part.delete(lab) else "absent"
                else:
                    action = "kept"
                if action != "kept":
                    lab.ledger.forget(self.name, part.kind, part.name)
                changes.append(Change(action, part.kind, part.name))
        return StepResult(self.name, self.title, tuple(changes), Cli(self.undo_cli(lab)))

    def status(self, lab: Lab) -> StepStatus:
        """What is there of it now."""
        with explained(lab.aws.hint):
            found = [(part, part.state(lab)) for part in self.parts(lab)]
        parts = [(p.kind, p.name, state) for p, state in found if state or not getattr(p, "incidental", False)]
        return StepStatus(self.name, self.title, tuple(parts))

    def _record(self, lab: Lab, part: Part, *, made: bool) -> None:
        details = getattr(part, "details", {})
        lab.ledger.write(Record(self.name, part.kind, part.name, made, details))


class Steps:
    """The table of steps, in the order in which they are applied."""

    MODULES = (
        "iam",
        "logs",
        "fluent_bit",
        "falco",
        "app",
        "custom_rules",
        "metric_filters",
        "alarms",
        "security_hub",
        "findings_forwarder",
    )
    ORDER = (
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
    )

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
            raise StepError(f"There is no step {name!r}.", hint=f"Use one of: {', '.join(self.table)}.") from None

    def __iter__(self) -> Any:
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
