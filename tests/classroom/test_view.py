"""The instructor's view: checkpoints, refused rules, alerts a minute and cost, and what attendees may write into it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import nbformat
import pandas as pd
import pytest
from click.testing import CliRunner

from classroom.chart import small_multiples
from classroom.view import Row, needing_help, view
from labkit.cli import main
from labkit.errors import LabError
from labkit.exercises import NotYet
from labkit.exercises.published import KEY, NAME
from labkit.kube.objects import config_map
from labkit.lab import Lab
from labkit.provision import own_rules
from labkit.provision.own_rules import RULES, VERDICT, Verdict
from labkit.waiting import poll
from tests.classroom.conftest import Attendee

Attend: TypeAlias = "Callable[[str], Attendee]"


def row(instructor: Lab, name: str) -> Row:
    return next(row for row in view(instructor.target).rows if row.attendee == name)


def test_it_shows_who_is_where_and_who_is_stuck(instructor: Lab, attend: Attend) -> None:
    lab = attend("07").lab
    before = row(instructor, "07")
    lab.check("00-two-facts", "runtime", "kernel")
    with pytest.raises(NotYet):
        lab.check("03-one-alerts", ["id", "id", "id"])
    lab.checkpoint("00", {"All is well": lambda: True})
    after = row(instructor, "07")
    assert (after.chapter, after.solved, after.stuck) == ("00", before.solved + 1, "03-one-alerts, 1 wrong answer")
    assert row(instructor, "08").chapter == ""
    printed = repr(view(instructor.target))
    assert printed.startswith("A class of 3. Gate: ")
    assert "US dollars so far" in printed
    assert "STUCK AT" in printed
    assert ">checkpoint</th>" in view(instructor.target)._repr_html_()


def test_it_shows_whose_rules_are_refused_and_alerts_a_minute(instructor: Lab, attend: Attend) -> None:
    lab = attend("08").lab
    instructor.kube.apply_one(config_map(RULES, "attendee-08", {own_rules.KEY: "- rule: x"}))
    said = Verdict(own_rules.digest("- rule: x"), said=("LOAD_ERR_VALIDATE at line 1: <b>no</b>",))
    annotation = {VERDICT: json.dumps({**vars(said), "said": list(said.said), "rules": []})}
    instructor.kube.request(
        "PATCH",
        instructor.kube.path("v1", "ConfigMap", "attendee-08", RULES),
        body={"metadata": {"annotations": annotation}},
        content_type="application/merge-patch+json",
    )
    lab.ensure("nginx")
    lab.attack("read-shadow")
    assert poll(lambda: row(instructor, "08").alerts or None, "the alert to be counted", 30)
    found = row(instructor, "08")
    assert found.refused
    assert found.rules == "refused: LOAD_ERR_VALIDATE at line 1: <b>no</b>"
    shown = view(instructor.target)
    assert "<b>no</b>" not in shown._repr_html_()
    assert set(shown.alerts["attendee"]) >= {"08"}
    assert json.loads(shown.json())["attendees"][1]["attendee"] == "08"
    assert shown.an_hour > 0.1
    assert shown.chart().figure is not None
    lab.undo("custom-rules")


@pytest.mark.parametrize(
    "text", ["", "[]", "nonsense", '{"00": 1, "03": {"reached": "yes"}}', '{"x": {"wrong": "<b>"}}', "[" * 5000]
)
def test_whatever_an_attendee_writes_the_view_is_shown(instructor: Lab, text: str) -> None:
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": "attendee-anna"}}
    instructor.kube.apply_one({**item, "data": {KEY: text}})
    assert (row(instructor, "anna").chapter, row(instructor, "anna").solved) == ("", 0)


def test_what_cannot_be_told_does_not_stop_a_chapter(attend: Attend, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = attend("anna").lab

    def refused(item: Any) -> str:
        raise LabError("The API server refuses it.")

    monkeypatch.setattr(lab.kube, "apply_one", refused)
    lab.check("00-two-facts", "runtime", "kernel")


def test_the_command_prints_it(instructor: Lab, monkeypatch: pytest.MonkeyPatch, workshop: Path) -> None:
    monkeypatch.setenv("LABKIT_HOME", str(instructor.settings.home))
    monkeypatch.setenv("LABKIT_ROOT", str(workshop))
    assert "an hour, with the cluster and its nodes" in CliRunner().invoke(main, ["class", "status"]).output
    printed = CliRunner().invoke(main, ["class", "status", "--json"], catch_exceptions=False).output
    assert [row["attendee"] for row in json.loads(printed)["attendees"]] == ["07", "08", "anna"]


def test_whom_to_look_after_first_and_why() -> None:
    well = Row("01", "03", 5, "", "2 rules", False, 1.0, "1/1", "ready")
    stuck = replace(well, attendee="02", stuck="03-one-alerts, 2 wrong answers")
    refused = replace(well, attendee="03", rules="LOAD_ERR_YAML_PARSE", refused=True, state="no role")
    assert repr(needing_help([well])) == "All attendees get on"
    assert needing_help([well, stuck, refused]).rows == (
        ("02", "stuck at 03-one-alerts, 2 wrong answers"),
        ("03", "no role; own rules: LOAD_ERR_YAML_PARSE"),
    )


def test_small_charts_have_a_place_for_everyone() -> None:
    counts = pd.DataFrame(
        {
            "period": pd.to_datetime(["2026-11-29 19:00Z", "2026-11-29 19:02Z"]),
            "attendee": ["01", "07"],
            "count": [1, 30],
        }
    )
    axes = small_multiples(counts, [f"{n:02}" for n in range(1, 31)])
    texts = [text.get_text() for text in axes.texts]
    assert {"01", "30", "1", "0"} <= set(texts)
    assert small_multiples(counts.iloc[:0], ["01"]).figure is not None


def test_the_instructors_notebook_runs(instructor: Lab, monkeypatch: pytest.MonkeyPatch, workshop: Path) -> None:
    monkeypatch.setenv("LABKIT_HOME", str(instructor.settings.home))
    monkeypatch.setenv("LABKIT_ROOT", str(workshop))
    names: dict[str, Any] = {"__name__": "__main__"}
    notebook = nbformat.read(workshop / "notebooks" / "instructor" / "class.ipynb", 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs, "it is committed without outputs: those of a class are its own"
            exec(compile(cell.source, "class.ipynb", "exec"), names)
    assert [row.attendee for row in names["now"].rows] == ["07", "08", "anna"]
