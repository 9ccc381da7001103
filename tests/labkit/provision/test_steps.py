"""The table of steps, and what is the same for all of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labkit.errors import StepError, StoppedError
from labkit.ledger import Ledger
from labkit.provision.parts import Part
from labkit.provision.steps import STEPS, Step, TeardownError, undo_all


def test_every_step_comes_after_what_it_needs() -> None:
    seen: set[str] = set()
    for step in STEPS:
        assert set(step.needs) <= seen, step.name
        seen.add(step.name)
    assert {"oidc-provider", "log-group", "fluent-bit-role", "fluent-bit", "falco", "nginx", "custom-rules"} <= seen


def test_needs_are_followed_through() -> None:
    names = [step.name for step in STEPS.with_needs(["custom-rules", "fluent-bit"])]
    assert names == ["oidc-provider", "log-group", "fluent-bit-role", "fluent-bit", "falco", "custom-rules"]


def test_an_unknown_step_is_answered_with_those_there_are() -> None:
    with pytest.raises(StepError, match="no step 'fluentbit'") as caught:
        STEPS["fluentbit"]
    assert "fluent-bit" in caught.value.hint


class Thing(Part):
    """A part that is a set of names in memory."""

    kind = "thing"  # type: ignore[assignment]
    name = ""  # type: ignore[assignment]

    def __init__(self, name: str, world: dict[str, str]) -> None:
        self.name = name  # type: ignore[misc]
        self.world = world

    def state(self, lab: Any) -> str:
        return "there" if self.name in self.world else ""

    def is_owned(self, lab: Any) -> bool:
        return self.world.get(self.name) == "tagged"

    def apply(self, lab: Any, *, owned: bool) -> str:
        if self.name in self.world:
            return "unchanged"
        if self.name == "cursed":
            raise StepError("no")
        if self.name == "stopped":
            raise KeyboardInterrupt
        self.world[self.name] = ""
        return "created"

    def delete(self, lab: Any) -> None:
        if self.name == "stuck":
            raise StepError("it does not go")
        if self.name == "stops":
            raise StoppedError("Stopped waiting.")
        del self.world[self.name]


def step_of(world: dict[str, str], *names: str) -> Step:
    return Step("s", "S", (), lambda lab: [Thing(name, world) for name in names], lambda lab: "do", lambda lab: "undo")


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    return SimpleNamespace(ledger=Ledger(tmp_path / "ledger.json"), aws=SimpleNamespace(hint=""))


def test_undoing_takes_only_what_the_lab_made_last_first(lab: Any) -> None:
    world = {"before": ""}
    step = step_of(world, "before", "one", "two")
    assert [change.action for change in step.apply(lab).changes] == ["unchanged", "created", "created"]
    undone = step.undo(lab)
    assert [(change.action, change.name) for change in undone.changes] == [
        ("removed", "two"),
        ("removed", "one"),
        ("kept", "before"),
    ]
    assert world == {"before": ""}


def test_applying_again_changes_nothing_and_forgets_nothing(lab: Any) -> None:
    world: dict[str, str] = {}
    step = step_of(world, "one")
    step.apply(lab)
    assert step.apply(lab).action == "unchanged"
    assert step.undo(lab).action == "removed"
    assert step.undo(lab).action == "absent"
    assert world == {}


def test_a_lost_ledger_is_made_up_for_by_the_tag(lab: Any) -> None:
    world = {"tagged one": "tagged", "stranger": ""}
    step_of(world, "tagged one", "stranger").undo(lab)
    assert world == {"stranger": ""}


def test_what_an_interrupted_step_made_is_undone(lab: Any) -> None:
    world: dict[str, str] = {}
    step = step_of(world, "one", "cursed")
    with pytest.raises(StepError):
        step.apply(lab)
    step.undo(lab)
    assert world == {}
    assert lab.ledger.records() == []


def test_what_is_being_made_is_in_the_ledger_before(lab: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        step_of({}, "one", "stopped").apply(lab)
    assert [(record.name, record.made, record.begun) for record in lab.ledger.records()] == [
        ("one", True, False),
        ("stopped", True, True),
    ]


def test_what_somebody_made_after_an_interruption_is_not_the_labs(lab: Any) -> None:
    world: dict[str, str] = {}
    step = step_of(world, "one", "stopped")
    with pytest.raises(KeyboardInterrupt):
        step.apply(lab)
    world["stopped"] = "somebody's"
    assert [(change.action, change.name) for change in step.undo(lab).changes] == [
        ("kept", "stopped"),
        ("removed", "one"),
    ]
    assert world == {"stopped": "somebody's"}


def test_undoing_goes_on_past_what_does_not_go_and_tells_it(lab: Any) -> None:
    world: dict[str, str] = {}
    steps = [step_of(world, "one"), step_of(world, "two", "stuck", "three")]
    for step in steps:
        step.apply(lab)
    with pytest.raises(TeardownError, match=r"1 thing is left:\n  thing stuck: it does not go") as caught:
        undo_all(lab, steps)
    assert [row[2] for row in caught.value.done.rows] == ["three", "two", "one"]
    assert world == {"stuck": ""}
    assert [record.name for record in lab.ledger.records()] == ["stuck"]


def test_an_interrupt_ends_undoing_as_a_whole(lab: Any) -> None:
    world: dict[str, str] = {}
    step = step_of(world, "one", "stops", "two")
    step.apply(lab)
    with pytest.raises(StoppedError):
        undo_all(lab, [step])
    assert world == {"one": "", "stops": ""}


def test_a_result_shows_the_same_text_each_time(lab: Any) -> None:
    result = step_of({}, "one").apply(lab)
    assert repr(result) == "s: created\n  created  thing  one"
    assert "<td" in result._repr_html_()
    assert (str(result.cli), result.cli._repr_markdown_()) == ("do", "```bash\ndo\n```")


def test_an_option_that_a_step_does_not_take_is_said(lab: Any) -> None:
    with pytest.raises(StepError, match="Step s takes no files"):
        step_of({}, "one").apply(lab, files=[])
