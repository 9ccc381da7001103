"""The table of steps, and what is the same for all of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labkit.aws import Identity, NoClusterError
from labkit.errors import StepError, StoppedError, UnreachableError
from labkit.helm import Helm
from labkit.ledger import Ledger, Record
from labkit.provision.parts import Part
from labkit.provision.steps import STEPS, Change, Step, StepResult, StepStatus, TeardownError, applying, undo_all
from labkit.settings import Settings
from labkit.show import Cli


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

    def find(self, lab: Any) -> Any:
        return self.world.get(self.name)

    def is_owned(self, lab: Any, found: Any) -> bool:
        return bool(found == "tagged")

    def apply(self, lab: Any, found: Any, *, owned: bool) -> str:
        if self.name in self.world:
            return "unchanged"
        if self.name == "cursed":
            raise StepError("no")
        if self.name == "stopped":
            raise KeyboardInterrupt
        self.world[self.name] = ""
        return "created"

    def delete(self, lab: Any, found: Any) -> None:
        if self.name == "stuck":
            raise StepError("it does not go")
        if self.name == "stops":
            raise StoppedError("Stopped waiting.")
        del self.world[self.name]


def step_of(world: dict[str, str], *names: str) -> Step:
    return Step("s", "S", (), lambda lab: [Thing(name, world) for name in names])


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    shell = tmp_path / "manifests" / "commands"
    shell.mkdir(parents=True)
    for name in "abs":
        (shell / f"{name}.sh").write_text("do\n")
        (shell / f"{name}.undo.sh").write_text("undo\n")
    aws = SimpleNamespace(hint="", identity=Identity("111122223333", "arn:aws:iam::111122223333:user/me"))
    settings = Settings.load(environ={}, root=tmp_path)
    return SimpleNamespace(settings=settings, ledger=Ledger(tmp_path / "ledger.json"), aws=aws, helm=Helm())


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
    with pytest.raises(StepError, match=r"^Step s: no$"):
        step.apply(lab)
    assert [record.name for record in lab.ledger.records()] == ["one"]  # nothing was made of the other
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


def test_what_others_made_after_an_interruption_is_not_the_labs(lab: Any) -> None:
    world: dict[str, str] = {}
    step = step_of(world, "one", "stopped")
    with pytest.raises(KeyboardInterrupt):
        step.apply(lab)
    world["stopped"] = "foreign"
    assert [(change.action, change.name) for change in step.undo(lab).changes] == [
        ("kept", "stopped"),
        ("removed", "one"),
    ]
    assert world == {"stopped": "foreign"}


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
    with pytest.raises(StoppedError, match=r"Stopped waiting\."):
        undo_all(lab, [step])
    assert world == {"one": "", "stops": ""}


def test_a_result_shows_the_same_text_each_time(lab: Any) -> None:
    result = step_of({}, "one").apply(lab)
    assert repr(result) == "s: created\n  created  thing  one"
    assert "<td" in result._repr_html_()
    assert str(result.cli) == repr(result.cli) == "do"


def test_an_option_that_a_step_does_not_take_is_said(lab: Any) -> None:
    with pytest.raises(StepError, match="Step s takes no files"):
        step_of({}, "one").apply(lab, files=[])


@pytest.mark.parametrize(
    ("actions", "word"),
    [
        (("unchanged", "created", "updated"), "created"),
        (("unchanged", "updated"), "updated"),
        (("removed", "left"), "left"),
        (("absent", "kept", "removed"), "removed"),
        (("absent", "kept"), "kept"),
        ((), "unchanged"),
    ],
)
def test_one_word_for_a_result_is_the_strongest(actions: tuple[str, ...], word: str) -> None:
    changes = tuple(Change(action, "thing", "x") for action in actions)
    result = StepResult("s", "S", changes, Cli(""))
    assert result.action == word
    assert [change.action for change in result.left] == ["left"] * actions.count("left")


def test_a_result_shows_why_and_what_was_needed() -> None:
    needed = StepResult("first", "F", (Change("created", "thing", "a"),), Cli(""))
    result = StepResult("s", "S", (Change("left", "thing", "x", "it is stuck"),), Cli(""), (needed,))
    assert repr(result) == "first: created\n  created  thing  a\ns: left\n  left  thing  x  it is stuck"
    assert result._repr_html_().index("first: created") < result._repr_html_().index("it is stuck")
    assert "why" not in needed._repr_html_()


@pytest.mark.parametrize(
    ("states", "fault", "state"),
    [
        (("there", "there"), "", "applied"),
        (("there", "there"), "it crashes", "not ready"),
        (("there", ""), "it crashes", "partly"),
        (("", ""), "", "absent"),
    ],
)
def test_the_state_of_a_step(states: tuple[str, ...], fault: str, state: str) -> None:
    assert StepStatus("s", "S", tuple(("thing", str(i), s) for i, s in enumerate(states)), fault).state == state


class Faulty(Thing):
    """A part that is unwell."""

    def fault(self, lab: Any, found: Any) -> str:
        return f"{self.name} is unwell"


class Incidental(Thing):
    incidental = True


def test_status_tells_states_and_the_first_fault_of_what_is_there(lab: Any) -> None:
    world = {"b": "", "c": ""}
    things = [Faulty("a", world), Thing("b", world), Faulty("c", world), Faulty("b", world), Incidental("d", world)]
    status = Step("s", "S", (), lambda lab: things).status(lab)
    assert status.parts == (
        ("thing", "a", ""),
        ("thing", "b", "there"),
        ("thing", "c", "there"),
        ("thing", "b", "there"),
    )
    assert status.fault == "c is unwell"
    world["d"] = ""
    assert step_with(things[-1]).status(lab).parts == (("thing", "d", "there"),)


def step_with(*parts: Part, name: str = "s", **more: Any) -> Step:
    return Step(name, "S", (), lambda lab: parts, **more)


def test_what_comes_by_itself_is_not_applied(lab: Any) -> None:
    world: dict[str, str] = {}
    result = step_with(Incidental("a", world), Thing("b", world)).apply(lab)
    assert [change.name for change in result.changes] == ["b"]
    assert world == {"b": ""}


def test_a_part_that_was_applied_before_or_is_tagged_is_the_labs(lab: Any) -> None:
    owned: list[bool] = []

    class Watched(Thing):
        def apply(self, lab: Any, found: Any, *, owned: bool) -> str:
            seen.append(owned)
            return super().apply(lab, found, owned=owned)

    seen = owned
    world = {"tagged": "tagged", "stranger": ""}
    names = ("new", "tagged", "stranger")
    step = step_with(*(Watched(name, world) for name in names))
    step.apply(lab)
    assert seen == [True, True, False]
    assert [record.made for record in lab.ledger.records()] == [True, True, False]
    seen.clear()
    step.apply(lab)
    assert seen == [True, True, False]
    lab.ledger.write(Record("s", "thing", "new", made=True, begun=True))  # interrupted: only the tag tells
    seen.clear()
    step.apply(lab)
    assert seen == [False, True, False]


def test_a_refusal_of_what_is_there_keeps_the_record(lab: Any) -> None:
    world = {"a": ""}

    class Refused(Thing):
        def apply(self, lab: Any, found: Any, *, owned: bool) -> str:
            raise StepError("Step s: no")

    lab.ledger.write(Record("s", "thing", "a", made=True))
    with pytest.raises(StepError, match=r"^Step s: no$"):
        step_with(Refused("a", world)).apply(lab)
    assert [(record.name, record.made) for record in lab.ledger.records()] == [("a", True)]


class Cluster(Thing):
    """A part in a cluster that gives no answer, or isn't there."""

    service = "Kubernetes"

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(name, {})
        self.error = error
        self.asked = 0

    def find(self, lab: Any) -> Any:
        self.asked += 1
        raise self.error


def test_a_service_that_gives_no_answer_is_asked_once(lab: Any) -> None:
    world: dict[str, str] = {}
    thing = Thing("one", world)
    step_with(thing).apply(lab)
    silence = UnreachableError("It does not\n answer.", service="Kubernetes")
    first, second = Cluster("a", silence), Cluster("b", silence)
    with pytest.raises(TeardownError, match="2 things are left:") as caught:
        undo_all(lab, [step_with(first, thing, second)])
    assert [change.name for change in caught.value.left] == ["b", "a"]
    assert {change.why for change in caught.value.left} == {"It does not answer."}
    assert (second.asked, first.asked) == (1, 0)
    assert world == {}


def test_what_was_in_a_cluster_that_is_gone_is_gone(lab: Any) -> None:
    lab.ledger.write(Record("s", "thing", "a", made=True))
    gone = NoClusterError("There is no cluster.")
    assert step_with(Cluster("a", gone)).undo(lab).action == "absent"
    assert lab.ledger.records() == []
    world = {"b": "tagged"}

    def no_parts(lab: Any) -> Any:
        raise gone

    step = Step("s", "S", (), no_parts, without_cluster=lambda lab: [Thing("b", world)])
    undone = step.undo(lab)
    assert [(change.action, change.name) for change in undone.changes] == [("removed", "b")]
    assert str(undone.cli) == ""


def test_a_step_whose_parts_can_not_be_told_is_left(lab: Any) -> None:
    def no_parts(lab: Any) -> Any:
        raise UnreachableError("AWS does not answer.", service="AWS")

    silent: dict[str, str] = {}
    step = Step("s", "S", (), no_parts)
    assert step.undo(lab, silent=silent).changes == (Change("left", "step", "s", "AWS does not answer."),)
    assert silent == {"AWS": "AWS does not answer."}


def test_what_stays_has_to_work_without_what_is_undone(lab: Any) -> None:
    waited: list[str] = []

    class Extra(Thing):
        def wait_without(self, lab: Any) -> None:
            waited.append(self.name)

    world = {"base": "tagged", "extra": "tagged"}
    base, extra = (
        Step(name, name, needs, partial(lambda thing, lab: [thing], Extra(name, world)))
        for name, needs in (("base", ()), ("extra", ("base",)))
    )
    for step in (base, extra):
        for form in ("sh", "undo.sh"):
            (lab.settings.root / f"manifests/commands/{step.name}.{form}").write_text("do\n")
    undo_all(lab, [base, extra])
    assert (waited, world) == (["base"], {})
    world["extra"] = "tagged"
    undo_all(lab, [extra])
    assert waited == ["base", "extra"]
    world["extra"] = "tagged"
    extra.undo(lab)
    assert waited == ["base", "extra", "extra"]


def test_what_is_in_use_is_kept_and_stays_the_labs(lab: Any) -> None:
    class Used(Thing):
        def in_use(self, lab: Any) -> str:
            return "a foreign pod is in it"

    step = step_with(Used("a", {}))
    step.apply(lab)
    assert step.undo(lab).changes == (Change("kept", "thing", "a", "a foreign pod is in it"),)
    assert [record.made for record in lab.ledger.records()] == [True]


def test_what_others_take_away_meanwhile_is_absent(lab: Any) -> None:
    world: dict[str, str] = {}

    class Vanishing(Thing):
        def delete(self, lab: Any, found: Any) -> None:
            world.clear()
            raise StepError("it is gone")

    step = step_with(Vanishing("a", world))
    step.apply(lab)
    assert step.undo(lab).changes == (Change("absent", "thing", "a"),)
    assert lab.ledger.records() == []


def test_what_several_steps_share_is_forgotten_by_all(lab: Any) -> None:
    world: dict[str, str] = {}
    thing = Thing("a", world)
    step_with(thing).apply(lab)
    lab.ledger.write(Record("other", "thing", "a", made=False))
    lab.ledger.write(Record("other", "thing", "b", made=True))
    step_with(thing).undo(lab)
    assert [(record.step, record.name) for record in lab.ledger.records()] == [("other", "b")]


def test_a_step_is_missing_until_it_was_applied_to_the_end(lab: Any) -> None:
    world: dict[str, str] = {}
    step = step_of(world, "one", "two")
    assert step.is_missing(lab)
    step.apply(lab)
    assert not step.is_missing(lab)
    del world["two"]
    assert not step.is_missing(lab)  # taken away on purpose, perhaps
    lab.ledger.forget("s", "thing", "two")
    assert step.is_missing(lab)
    lab.ledger.write(Record("s", "thing", "two", made=True, begun=True))
    assert step.is_missing(lab)
    world.clear()
    assert step.is_missing(lab)


def test_what_is_needed_is_applied_first_if_it_never_was(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world: dict[str, str] = {}
    table = {
        "a": step_with(Thing("a", world), name="a"),
        "b": Step("b", "B", ("a",), lambda lab, files=(): [Thing("b", world)]),
    }
    monkeypatch.setitem(vars(STEPS), "table", table)
    with pytest.raises(StepError, match="Step b takes no fiels"):
        next(applying(lab, ["b"], fiels=["x"]))
    assert world == {}
    assert [result.step for result in applying(lab, ["b"], files=["x"])] == ["a", "b"]
    assert [result.step for result in applying(lab, ["b"])] == ["b"]
    assert [result.action for result in applying(lab, ["a", "b"])] == ["unchanged", "unchanged"]


def test_the_title_of_a_teardown_says_whether_anything_was_removed(lab: Any) -> None:
    step = step_of({}, "one")
    step.apply(lab)
    assert undo_all(lab, [step]).title == "Taken down"
    empty = undo_all(lab, [step])
    assert (empty.title, empty.rows) == ("Nothing to take down", ())
    kept = undo_all(lab, [step_of({"stranger": ""}, "stranger")])
    assert (kept.title, kept.rows) == ("Nothing to take down", (("kept", "thing", "stranger"),))
