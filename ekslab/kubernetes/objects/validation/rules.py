"""The engine of the validation tables: what a rule is, and the rules that tables are made of.

A table says for each field of a type which rules its value has to meet, in the order in which Kubernetes looks:

    PORT = fields(
        field("name", first(formatted(formats.port_name), unique)),
        field("containerPort", required(), between(1, 65535)),
        field("protocol", required(), one_of("SCTP", "TCP", "UDP")),
    )

A rule takes a value, its `Place` in the object and the `Scope`, and returns what is wrong. Absent and empty are the
same for a `field`; a `pointer` is looked at as soon as it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from dataclasses import field as _dataclass_field
from typing import Any

from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.validation.formats import Format

Causes = Iterable[Cause]
Test = Callable[[Any], bool]


class Place:
    """Where a value is in an object; as text as messages have it: `spec.containers[0].ports`."""

    __slots__ = ("_above", "_step", "name")

    def __init__(self, name: str, above: Place | None = None, step: str = "") -> None:
        self.name = name
        self._above = above
        self._step = step or name

    def child(self, name: str) -> Place:
        return Place(name, self, f".{name}")

    def item(self, index: int) -> Place:
        return Place(self.name, self, f"[{index}]")

    def key(self, key: str) -> Place:
        return Place(self.name, self, f"[{key}]")

    def above(self, levels: int = 1) -> Place:
        place = self
        for _ in range(levels):
            assert place._above is not None
            place = place._above
        return place

    def __str__(self) -> str:
        steps: list[str] = []
        place: Place | None = self
        while place is not None:
            steps.append(place._step)
            place = place._above
        return "".join(reversed(steps)).lstrip(".")


ROOT = Place("")


@dataclass(slots=True)
class Scope:
    """What rules know besides the value: the object, the pod and container around it, its siblings in a list."""

    root: Object
    old: Object | None = None
    pod: Object = _dataclass_field(default_factory=dict)
    """The spec of the pod or pod template."""
    container: Object = _dataclass_field(default_factory=dict)
    volumes: dict[str, Object] = _dataclass_field(default_factory=dict)
    """The pod's volumes that are right, by name."""
    is_pod: bool = False
    """Whether it is a pod, and not a template."""
    seen: dict[str, set[Any]] = _dataclass_field(default_factory=dict)
    """Values of the list's items before this one, by the name of the field: what `unique` looks at."""


Rule = Callable[[Any, Place, Scope], Causes]


@dataclass(frozen=True, slots=True)
class Field:
    """A row of a table: a field and its rules. `needed` is the rule for an absent value, if there is one."""

    name: str
    rules: tuple[Rule, ...]
    needed: Rule | None
    absent: Any
    is_pointer: bool

    @property
    def is_missed(self) -> bool:
        """Whether there is something to say if the field isn't there."""
        return self.needed is not None or self.absent is not None

    def check(self, holder: Object, at: Place, scope: Scope, causes: list[Cause]) -> None:
        value = holder.get(self.name)
        if value is None or (not self.is_pointer and not value and not isinstance(value, dict)):
            if self.needed is not None:
                causes.extend(self.needed(value, at.child(self.name), scope))
                return
            if self.absent is None:
                return
            if value is None:
                value = self.absent
        place = at.child(self.name)
        for rule in self.rules:
            causes.extend(rule(value, place, scope))

    def collected(self, holder: Object, at: Place, scope: Scope) -> list[Cause]:
        causes: list[Cause] = []
        self.check(holder, at, scope, causes)
        return causes


def field(name: str, *rules: Rule, needed: Rule | None = None, absent: Any = None) -> Field:
    """A field that counts as absent if it is empty. `absent` is the value that is looked at then, if any."""
    return Field(name, rules, needed, absent, is_pointer=False)


def pointer(name: str, *rules: Rule, needed: Rule | None = None) -> Field:
    """A field whose zero value is a value."""
    return Field(name, rules, needed, None, is_pointer=True)


def required(name: str, *rules: Rule, why: str = "") -> Field:
    """A field that must be there, and not empty."""
    return Field(name, rules, lambda _, at, __: (Cause.required(str(at), why),), None, is_pointer=False)


def fields(*rows: Field | Rule) -> Rule:
    """The table of a type: its fields, and rules that take the whole value, in order."""
    plan = [(row, "") if not isinstance(row, Field) else (row, "" if row.is_missed else row.name) for row in rows]

    def check(value: Object, at: Place, scope: Scope) -> Causes:
        causes: list[Cause] = []
        for row, name in plan:
            if name and name not in value:
                continue  # most fields are left out: nothing is called for these
            if isinstance(row, Field):
                row.check(value, at, scope, causes)
            else:
                causes.extend(row(value, at, scope))
        return causes

    return check


def each(*rules: Rule, place: Callable[[Place, int], Place] = Place.item) -> Rule:
    """Rules for each item of a list. `place` makes an item's place (some messages name the list only)."""

    def check(value: list[Any], at: Place, scope: Scope) -> Causes:
        before, scope.seen = scope.seen, {}
        causes: list[Cause] = []
        for index, item in enumerate(value):
            item_place = place(at, index)
            for rule in rules:
                causes.extend(rule(item, item_place, scope))
        scope.seen = before
        return causes

    return check


def each_unplaced(*rules: Rule) -> Rule:
    """Rules for each item of a list whose messages name the list only."""
    return each(*rules, place=lambda at, _: at)


def keys(*rules: Rule) -> Rule:
    """Rules for each key of a map."""

    def check(value: Object, at: Place, scope: Scope) -> Causes:
        for key in value:
            place = at.key(key)
            for rule in rules:
                yield from rule(key, place, scope)

    return check


def first(*rules: Rule) -> Rule:
    """The causes of the first rule that has any."""

    def check(value: Any, at: Place, scope: Scope) -> Causes:
        for rule in rules:
            if causes := list(rule(value, at, scope)):
                return causes
        return ()

    return check


def when(test: Test, *rules: Rule | Field, otherwise: Sequence[Rule | Field] = ()) -> Rule:
    """Rows that hold only if the value passes a test."""
    then, else_ = fields(*rules), fields(*otherwise)

    def check(value: Any, at: Place, scope: Scope) -> Causes:
        return (then if test(value) else else_)(value, at, scope)

    return check


def created(*rules: Rule | Field) -> Rule:
    """Rows that hold for new objects only."""
    table = fields(*rules)
    return lambda value, at, scope: table(value, at, scope) if scope.old is None else ()


def union(
    *members: Field,
    many: str,
    none: str,
) -> Rule:
    """Exactly one of the members: the first is looked at. `many` and `none` say why it can't be more, or none."""

    def check(value: Object, at: Place, scope: Scope) -> Causes:
        causes: list[Cause] = []
        found = 0
        for member in members:
            if member.name not in value or value[member.name] is None:
                continue
            if found:
                causes.append(Cause.forbidden(str(at.child(member.name)), many))
            else:
                member.check(value, at, scope, causes)
            found += 1
        if not found:
            causes.append(Cause.required(str(at), none))
        return causes

    return check


def formatted(*formats: Format) -> Rule:
    def check(value: str, at: Place, _: Scope) -> Causes:
        return [Cause.invalid(str(at), value, why) for form in formats for why in form(value)]

    return check


def one_of(*names: str, printed: Callable[[Any], Any] | None = None) -> Rule:
    """One of the names, which a message lists in this order."""

    def check(value: Any, at: Place, _: Scope) -> Causes:
        if value in names:
            return ()
        return (Cause.unsupported(str(at), printed(value) if printed else value, names),)

    return check


def holds(test: Test, why: str) -> Rule:
    """A value that passes a test; otherwise it is invalid, and `why` says so."""

    def check(value: Any, at: Place, _: Scope) -> Causes:
        return () if test(value) else (Cause.invalid(str(at), value, why),)

    return check


def between(low: int, high: int) -> Rule:
    return holds(lambda value: low <= value <= high, f"must be between {low} and {high}, inclusive")


def within(low: int, high: int, why: str) -> Rule:
    """`between` in other words."""
    return holds(lambda value: low <= value <= high, why)


at_least_0 = holds(lambda value: bool(value >= 0), "must be greater than or equal to 0")
positive = holds(lambda value: bool(value > 0), "must be greater than zero")


def is_unique(value: Any, at: Place, scope: Scope) -> Causes:
    """No item before in the list has the same value in this field."""
    seen = scope.seen.setdefault(at.name, set())
    if value in seen:
        return (Cause.duplicate(str(at), value),)
    seen.add(value)
    return ()


def forbidden(why: str) -> Rule:
    """The field may not be there."""
    return lambda _, at, __: (Cause.forbidden(str(at), why),)


def invalid(why: str) -> Rule:
    """The field may not be there, and its value is printed."""
    return lambda value, at, _: (Cause.invalid(str(at), value, why),)


def has(name: str) -> Test:
    return lambda value: value.get(name) is not None


def lacks(name: str) -> Test:
    return lambda value: value.get(name) is None


def equals(name: str, *wanted: Any) -> Test:
    return lambda value: value.get(name) in wanted


def both(*tests: Test) -> Test:
    return lambda value: all(test(value) for test in tests)


def not_(test: Test) -> Test:
    return lambda value: not test(value)
