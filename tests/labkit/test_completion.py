"""Tab in the text that a lab's verb takes."""

from __future__ import annotations

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from labkit import completion
from labkit.alerts.card import Alert


@pytest.fixture(scope="module")
def shell() -> InteractiveShell:
    shell = InteractiveShell()
    shell.history_manager.enabled = False
    completion.register(shell)
    completion.register(shell)
    return shell


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ('lab.attack("read-sh', {"read-shadow"}),
        ('outcomes = lab.attack(\n    "terminal-shell",\n    "search-p', {"search-private-keys"}),
        ("lab.apply('fl", {"fluent-bit", "fluent-bit-role"}),
        ('lab.ensure("fluent-bit", "ng', {"nginx"}),
        ('lab.check("03-', {"03-one-alerts", "03-silent-read"}),
        ('lab.hint("05-in', {"05-intruder"}),
        ('lab.wait_for_alert("terminal sh', {"Terminal shell in container"}),
        ('lab.wait_for_alert(rule="Read sensitive file u', {"Read sensitive file untrusted"}),
        ('df = lab.alerts("1h", rule=["Find AWS Credentials", "Clear', {"Clear Log Activities"}),
        ('lab.console("al', {"alarms"}),
    ],
)
def test_names_are_completed(shell: InteractiveShell, typed: str, offered: set[str]) -> None:
    with provisionalcompleter():
        found = list(shell.Completer.completions(typed, len(typed)))
    assert {completion.text for completion in found} == offered
    word = typed.replace("'", '"').rpartition('"')[2]
    assert {typed[completion.start : completion.end] for completion in found} == {word}


def test_fields_of_an_alert_are_completed(shell: InteractiveShell) -> None:
    shell.user_ns["alert"] = Alert({"rule": "A", "proc.name": "cat", "proc.tty": 0})
    with provisionalcompleter():
        found = [found.text for found in shell.Completer.completions('alert["proc.t', 13)]
    assert found == ["proc.tty"]


@pytest.mark.parametrize(
    "typed", ['lab.exec("deploy/nginx", "re', 'lab.attack("x"); print("re', 'lab.alerts("re', "lab.att"]
)
def test_other_texts_are_left_alone(typed: str) -> None:
    assert completion.offered(typed) == ("", []) or not completion.offered(typed)[1]
