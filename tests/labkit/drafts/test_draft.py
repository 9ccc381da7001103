"""Drafts of rules: kept in the state folder, checked with the running Falco's rules, tried on a recording, shipped."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import falcorules as rules
from ekslab.state import Endpoints
from labkit import Lab
from labkit.drafts.draft import Draft, DraftError, save
from labkit.errors import LabError
from labkit.exercises import NotYet
from labkit.exercises.exercise import _untouched

RULE = """\
- list: user_lookup_programs
  items: [cat, head, tail]

- rule: Accounts looked up in container
  desc: A program that prints files opened /etc/passwd in a container.
  condition: {condition}
  output: Accounts were looked up in a container | file=%fd.name process=%proc.name
  priority: INFO
"""
READS = "open_read and container and proc.name in (user_lookup_programs)"
RIGHT = f"{READS} and fd.name = /etc/passwd"
Write = Callable[..., Draft]


@pytest.fixture(scope="module")
def connected(embedded: Endpoints, workshop: Path) -> Lab:
    return Lab.connect(home=embedded.home, root=workshop)


@pytest.fixture
def lab(connected: Lab, tmp_path: Path) -> Lab:
    """A lab with a state folder of its own."""
    return Lab(replace(connected.target, settings=replace(connected.settings, home=tmp_path)))


@pytest.fixture
def write(lab: Lab) -> Write:
    def write(condition: str = RIGHT, **options: object) -> Draft:
        return save(lab.target, "mine", RULE.format(condition=condition), **options)  # type: ignore[arg-type]

    return write


def test_a_draft_is_kept_checked_and_tried(lab: Lab, write: Write, tmp_path: Path) -> None:
    draft = write()
    assert (draft.state, draft.ready, draft.untouched) == ("ready", True, False)
    assert [(match.command, match.file) for match in draft.trial.now] == [("cat /etc/passwd", "/etc/passwd")]
    assert draft.replay.rules.count("Accounts looked up in container") == 1
    assert draft.report.successful
    assert draft.path == tmp_path / "drafts" / "mine.yaml"
    again = lab.draft("mine")  # as after a restart of the kernel
    assert (again.text, again.rules, again.path) == (draft.text, draft.rules, draft.path)
    assert rules.load([lab.default_rules() if _falco(lab) else rules.default_rules(), *again.rules]).rule(
        "accounts looked up in container"
    )


def _falco(lab: Lab) -> bool:
    return lab.helm.status("falco", lab.settings.falco_namespace) is not None


def test_its_file_is_a_values_file_for_the_chart(write: Write) -> None:
    draft = write()
    assert rules.from_values(draft.path) == draft.rules
    assert draft.path.read_text().startswith("customRules:\n  mine.yaml: |\n    - list: user_lookup_programs\n")


@pytest.mark.parametrize(
    "text",
    [
        "- list: a\r\n  items: [x]\r\n",
        "- list: a\n  items:\t[x]  \n",
        "  - list: a\n    items: [x]\n",
        "# öäü 😀 \u2028\n- list: a\n  items: ['\u00a0']\n",
        "- list: a\n  items: [\x07]\n",
        "---\n- list: a\n  items: [x]\n...\n",
        "\n\n- list: a\n  items: [x]\n\n\n",
    ],
)
def test_whatever_the_text_is_it_comes_back_as_it_was(lab: Lab, text: str) -> None:
    draft = save(lab.target, "odd", text)
    assert lab.draft("odd").text == draft.text == text.replace("\r\n", "\n").rstrip("\n") + "\n"
    if draft.ready:
        assert rules.from_values(draft.path) == draft.rules


def test_of_many_changes_what_matches_now_is_shown_first(write: Write) -> None:
    assert len(write("open_read and container").trial.now) > 12
    draft = write()
    assert len(draft.trial.gone) > 12
    rows = [line.split() for line in repr(draft).splitlines() if re.search(r"\d\d:\d\d:\d\d\.", line)]
    assert rows[0][-2:] == ["/etc/passwd", "/etc/passwd"]
    assert [row[:2] == ["no", "longer"] for row in rows] == [False] + [True] * 11
    left = len(draft.trial.gone) - 11
    assert f"{left} more are left out, {left} of them no longer matching." in repr(draft)
    many = write("open_read and container")  # what is new, and what matched before
    shown = [line for line in repr(many).splitlines() if re.search(r"\d\d:\d\d:\d\d\.", line)]
    assert len(shown) == 12
    assert not [line for line in shown if "no longer" in line]


def test_what_changed_since_the_last_try_is_shown(write: Write) -> None:
    assert "Since the last try" not in repr(write(READS))
    draft = write()
    assert draft.trial.new == []
    assert {match.command for match in draft.trial.gone} == {
        "cat /etc/shadow",
        "cat /etc/passwd",  # what it loads
        "cat /var/www/../../etc/shadow",
    }
    assert "1 match. Since the last try: 8 no longer." in repr(draft)
    assert len(re.findall(r"(?m)^ +no longer ", repr(draft))) == 8
    assert "The same as in the last try." in repr(write())
    assert "0 matches. Since the last try: 1 no longer." in repr(write(RIGHT.replace("passwd", "hosts")))
    assert 'lab.draft("mine").why()' in repr(write(RIGHT.replace("passwd", "hosts")))
    assert "1 match. Since the last try: 1 new." in write()._repr_html_()


def test_a_broken_draft_in_between_is_no_try(write: Write) -> None:
    write()
    broken = write(RIGHT.replace("fd.name", "fd.nmae"))
    assert broken.state == "broken"
    assert "The same as in the last try." in repr(write())


def test_the_last_draft_that_falco_would_load_is_the_one_in_the_file(write: Write) -> None:
    path = write().path
    before = path.read_text()
    write(RIGHT.replace("fd.name", "fd.nmae"))
    write(f"never_true and {READS}")
    assert path.read_text() == before


def test_with_the_stub_the_exercise_begins_again(write: Write) -> None:
    write()
    write("...")
    assert "last try" not in repr(write(READS))


def test_a_run_of_the_chapters_leaves_the_attendees_drafts_alone(
    lab: Lab, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = write()
    monkeypatch.setenv("LABKIT_PROGRESS", str(tmp_path / "run" / "progress.json"))
    assert write(READS).path == tmp_path / "run" / "drafts" / "mine.yaml"
    monkeypatch.delenv("LABKIT_PROGRESS")
    assert lab.draft("mine").text == mine.text


def test_another_recording_has_tries_of_its_own(write: Write, tmp_path: Path) -> None:
    write()
    visit = tmp_path / "short.jsonl"
    event = {"evt.type": "openat", "evt.num": 1, "evt.time": 1, "fd.name": "/etc/passwd", "proc.name": "cat"}
    event |= {"evt.is_open_read": True, "fd.typechar": "f", "fd.num": 3, "container.id": "a", "proc.cmdline": "<b>"}
    visit.write_text(json.dumps(event) + "\n")
    draft = write(events=str(visit))
    assert "Replayed on short.jsonl: 1 event, 1 match." in repr(draft)
    assert "last try" not in repr(draft)
    assert "&lt;b&gt;" in draft._repr_html_()
    assert "<b>&" not in draft._repr_html_()
    with pytest.raises(DraftError, match=r"There is no file 'no\.jsonl'"):
        write(events="no.jsonl")
    visit.write_text("{\n")
    with pytest.raises(LabError, match="short"):
        repr(write(events=str(visit)))


def test_a_broken_draft_shows_the_errors_and_refuses_to_be_used(lab: Lab, write: Write) -> None:
    draft = write("open_reed and fd.nmae = /etc/passwd")
    assert "mine: Falco refuses it. 2 errors" in repr(draft)
    assert "Did you mean 'fd.name'?" in repr(draft)
    assert "Replayed" not in repr(draft)
    for use in (lambda: draft.replay, lambda: draft.engine, lambda: os.fspath(draft), lambda: draft.why()):
        with pytest.raises(DraftError, match=r"an error in line 6\. There is no macro `open_reed`") as caught:
            use()
        assert "%%rule mine" in caught.value.hint
    with pytest.raises(LabError, match="an error in line 6"):
        lab.apply("custom-rules", files=[draft])


@pytest.mark.parametrize(
    ("condition", "place"),
    [
        ("...", "..."),
        ("…", "…"),
        (f"{READS} and ...", "..."),
        (f"never_true and {READS}", "never_true"),
        (f">-\n    {READS}\n    and (...)", "..."),
        ("TODO", "TODO"),
        ("", ""),
    ],
)
def test_a_stub_is_the_attendees_turn(lab: Lab, write: Write, condition: str, place: str) -> None:
    draft = write(condition)
    assert (draft.state, draft.untouched) == ("untouched", True)
    assert [mark.severity for mark in draft.annotated.marks] == ["todo"]
    mark = draft.annotated.marks[0]
    assert place in draft.text.split("\n")[mark.line][mark.start : mark.end]
    assert "mine: your turn. Finish the rule" in repr(draft)
    assert "user_lookup_programs\n" not in repr(draft)  # of the cell above, only what is about the placeholder
    assert "your turn" in draft._repr_html_()
    with pytest.raises(DraftError, match="Your turn: the draft mine still has a placeholder in line"):
        lab.apply("custom-rules", files=draft)
    assert _untouched(draft)


@pytest.mark.parametrize("text", ["", "\n", "# Write a rule here\n", "- rule: ...\n  condition: ...\n"])
def test_so_is_an_empty_cell(lab: Lab, text: str) -> None:
    assert save(lab.target, "empty", text).untouched


@pytest.mark.parametrize(
    "text",
    [
        RULE.format(condition=RIGHT).replace("were looked up", "were... looked up ..."),
        RULE.format(condition=f"{RIGHT} and proc.args != 'a...'"),
        "# condition: ...\n" + RULE.format(condition=RIGHT),
        "- macro: user_known_read\n  condition: (never_true)\n"
        + RULE.format(condition=f"{RIGHT} and not user_known_read"),
    ],
)
def test_three_dots_elsewhere_are_no_placeholder(lab: Lab, text: str) -> None:
    assert save(lab.target, "dots", text).ready


def test_a_rule_that_comes_after_another_for_the_same_event_raises_no_alert(write: Write) -> None:
    draft = write(RIGHT.replace("passwd", "shadow"))
    assert len(draft.trial.now) == 2
    assert "2 of them would raise no alert of this draft" in repr(draft)
    assert "(Read sensitive file untrusted)" in repr(draft)
    assert "Accounts looked up in container" not in draft.replay.rules


def test_what_it_changes_of_other_rules_is_shown(lab: Lab) -> None:
    text = "- rule: Read sensitive file untrusted\n  condition: and proc.name != cat\n  override: {condition: append}\n"
    assert "the rule Read sensitive file untrusted raises 2 alerts fewer." in repr(save(lab.target, "less", text))
    text = "- list: account_files\n  items: [/etc/passwd]\n  override: {items: append}\n"
    assert re.search(
        r"the rule Read sensitive file untrusted raises \d alerts? more", repr(save(lab.target, "more", text))
    )


def test_two_rules_in_a_cell(lab: Lab) -> None:
    second = RULE.format(condition=RIGHT.replace("passwd", "shadow")).split("\n\n")[1].replace("Accounts", "Secrets")
    draft = save(lab.target, "two", RULE.format(condition=RIGHT) + second)
    assert {match.rule for match in draft.trial.now} == {
        "Accounts looked up in container",
        "Secrets looked up in container",
    }
    assert "Secrets looked up in container" in repr(draft)


def test_rules_of_other_files_are_loaded_in_falcos_order(lab: Lab, write: Write, workshop: Path) -> None:
    draft = write(values=["custom-rules/whoami.yaml"])
    names = [name for name, _ in draft.files]
    assert names[1:] == ["mine.yaml", *(name for name, _ in rules.from_values(workshop / "custom-rules/whoami.yaml"))]
    assert "Whoami run in container" in draft.replay.rules
    assert [name for name, _ in lab.draft("mine").files] == names
    with pytest.raises(LabError, match="no rules for the Falco chart"):
        write(values=["custom-rules/broken/3-under-a-key.yaml"])


@pytest.mark.parametrize("name", ["", "../mine", "a/b", ".hidden", "a b", "ä", "x" * 64, "a\n", "a\0"])
def test_a_name_that_is_no_file_name_is_refused(lab: Lab, tmp_path: Path, name: str) -> None:
    with pytest.raises(DraftError, match="can't be the name of a draft"):
        save(lab.target, name, "- list: a\n  items: [x]\n")
    with pytest.raises(DraftError, match="can't be the name of a draft"):
        lab.draft(name)
    assert not (tmp_path / "drafts").exists()


def test_a_name_may_end_as_its_file_does(lab: Lab) -> None:
    assert save(lab.target, "mine.yaml", RULE.format(condition=RIGHT)).name == lab.draft("mine").name == "mine"


def test_a_draft_that_isnt_there_is_named_with_those_that_are(lab: Lab, write: Write) -> None:
    write()
    with pytest.raises(DraftError, match="There is no draft called mien") as caught:
        lab.draft("mien")
    assert "Did you mean 'mine'?" in caught.value.hint
    assert "%%rule mien" in caught.value.hint


@pytest.mark.parametrize("content", ["", "{", "[]", '{"text": 1}'])
def test_notes_that_cant_be_read_are_as_good_as_none(lab: Lab, write: Write, tmp_path: Path, content: str) -> None:
    write()
    (tmp_path / "drafts" / "mine.json").write_text(content)
    with pytest.raises(DraftError, match="There is no draft called mine"):
        lab.draft("mine")
    assert write().ready


@pytest.mark.parametrize("text", ["\ud800", "x" * (1 << 19)])
def test_a_text_that_cant_be_kept_is_refused(lab: Lab, text: str) -> None:
    with pytest.raises(DraftError, match="can't be kept"):
        save(lab.target, "mine", text)


def test_why_says_what_was_not_true(write: Write) -> None:
    draft = write(RIGHT.replace("passwd", "hosts"))
    assert "fd.name = /etc/hosts" in str(draft.why())
    reads = next(event for event in rules.open_events(draft.recording) if event.get("fd.name") == "/etc/passwd")
    assert "fd.name = /etc/hosts    [/etc/passwd]" in str(draft.why(reads))


def test_a_draft_is_shipped_and_trips(connected: Lab) -> None:
    """The whole way: written, shipped beside another file, tripped in a pod."""
    lab = connected
    lab.ensure("fluent-bit", "falco", "nginx")
    draft = save(lab.target, "accounts", RULE.format(condition=RIGHT))
    assert draft.files[0] == lab.default_rules()
    try:
        result = lab.apply("custom-rules", files=["custom-rules/whoami.yaml", draft])
        assert str(draft.path) in result.cli
        lab.exec("deploy/nginx", "cat /etc/passwd")
        assert lab.wait_for_alert("Accounts looked up in container")["fd.name"] == "/etc/passwd"
    finally:
        lab.undo("custom-rules")


def test_a_checkpoint_looks_at_the_draft(lab: Lab, write: Write) -> None:
    write("...")
    condition = {"Your rule alerts once": lambda: lab.draft("mine").replay.rules.count("Accounts looked up") == 1}
    with pytest.raises(NotYet, match="Your turn: the draft mine still has a placeholder in line 6"):
        lab.checkpoint("04", condition)


def test_rules_that_load_with_the_draft_only_are_compared_with_nothing(lab: Lab, tmp_path: Path) -> None:
    needing = tmp_path / "needing.yaml"
    rule = "- rule: Needs it\n  desc: x\n  condition: theirs\n  output: x\n  priority: INFO\n"
    needing.write_text(yaml.safe_dump({"customRules": {"zz.yaml": rule}}))
    draft = save(lab.target, "macros", "- macro: theirs\n  condition: (spawned_process)\n", values=[str(needing)])
    assert draft.ready
    assert draft.trial.others == {}
