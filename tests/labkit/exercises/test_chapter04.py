"""The exercise of chapter 04: rules that are wrong in one way each, and two that are right. No cluster is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from labkit import exercises
from labkit.drafts.draft import Draft, save
from labkit.errors import LabError
from labkit.exercises import NotYet
from labkit.settings import Settings
from labkit.target import Target

PRINTERS = "cat, head, tail, less, grep, awk, sed, cut, sort"
ANYBODY = "open_read and container and fd.name = /etc/passwd"
RIGHT = f"{ANYBODY} and proc.name in ({PRINTERS})"


@pytest.fixture
def target(workshop: Path, tmp_path: Path) -> Target:
    """No cluster answers, so rules are checked with the stable rules."""

    def unreachable(*_: Any, **__: Any) -> Any:
        raise LabError("No cluster.")

    kube = SimpleNamespace(exec=unreachable, list=unreachable)
    settings = Settings.load(environ={}, root=workshop, home=tmp_path)
    return Target(settings, *cast(Any, (None, kube, None, None, None)))


@pytest.fixture
def draft(target: Target) -> Callable[..., Draft]:
    def write(condition: str, before: str = "") -> Draft:
        text = f"""{before}- rule: Accounts looked up in container
  desc: A program that prints files opened /etc/passwd in a container.
  condition: {condition}
  output: Accounts were looked up | command=%proc.cmdline
  priority: INFO
"""
        return save(target, "passwd-lookup", text)

    return write


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (RIGHT.replace("fd.name", "fd.nmae"), "Falco would refuse the draft passwd-lookup: an error in line 3"),
        (RIGHT.replace("/etc/passwd", "/etc/shadow"), "It keeps silent when the visitor runs `cat /etc/passwd`"),
        (
            "spawned_process and container and proc.cmdline = 'cat /etc/passwd'",
            "It alerts when the program is started, not when the file is opened",
        ),
        (
            "spawned_process and container and proc.cmdline contains /etc/passwd",
            "It alerts when the program is started, not when the file is opened",
        ),
        (RIGHT + " and user.name = root", "It keeps silent on `cat /etc/passwd` by the user www-data"),
        (RIGHT.replace("container", "container.name = nginx"), "It keeps silent on `cat /etc/passwd` in another cont"),
        (RIGHT + " and k8s.ns.name = shop", "It keeps silent on `cat /etc/passwd` in another container"),
        *(
            (RIGHT.replace("= /etc/passwd", f"in (/etc/passwd, {other})"), f"It alerts on `cat {other}`, too")
            for other in ("/etc/hosts", "/etc/group", "/etc/shadow", "/etc/hostname", "/var/lib/passwd")
        ),
        (RIGHT.replace("fd.name = /etc", "fd.name endswith "), "It alerts on `cat /var/lib/passwd`, too"),
        (RIGHT.replace("fd.name = /etc/passwd", "fd.filename = passwd"), "It alerts on `cat /var/lib/passwd`, too"),
        (f"{ANYBODY} and not proc.name in (id, ls, bash)", "It alerts on `sh`, which looks a name up in passing, too"),
        (
            f"{ANYBODY} and not proc.name in (id, ls, bash, sh, whoami, sshd, nginx, ps, sudo, python3)",
            "It alerts on `frobnicate`, which looks a name up in passing, too",
        ),
        (RIGHT.replace("fd.name = /etc/passwd", "fd.directory = /etc"), "It alerts on `cat /etc/hosts`, too"),
        (RIGHT.replace("= /etc/passwd", "startswith /etc/passwd"), "It alerts on `cat /etc/passwd-`, too"),
        (
            ANYBODY,
            "It alerts on `id`, which looks a name up in passing, too",
        ),
        (RIGHT.replace(" and container", ""), "It alerts on `cat /etc/passwd` on the node itself, too"),
        (RIGHT.replace("open_read", "opened_file"), "It alerts on a program that opens the file for writing, too"),
        (RIGHT.replace(PRINTERS, "cat, head, tail"), "but not `less`, `grep`, `awk`, `sed`, `cut`, `sort`"),
    ],
)
def test_what_is_wrong_is_said(target: Target, draft: Callable[..., Draft], condition: str, said: str) -> None:
    with pytest.raises(NotYet) as caught:
        exercises.check(target, "04-own-rule", draft(condition))
    assert said in str(caught.value)
    assert caught.value.feedback.verdict == "wrong"


@pytest.mark.parametrize(
    ("condition", "before"),
    [
        (RIGHT, ""),
        (
            "passwd_read and container.id != host and proc.name in (printers)",
            f"- list: printers\n  items: [{PRINTERS}, tac]\n- macro: passwd_read\n"
            "  condition: (evt.type in (open, openat, openat2) and evt.is_open_read = true "
            "and fd.name = /etc/passwd)\n",
        ),
    ],
)
def test_right_ones(target: Target, draft: Callable[..., Draft], condition: str, before: str) -> None:
    assert exercises.check(target, "04-own-rule", draft(condition, before)).right


def test_the_stub_is_the_attendees_turn(target: Target, draft: Callable[..., Draft]) -> None:
    with pytest.raises(NotYet) as caught:
        exercises.check(target, "04-own-rule", draft("..."))
    assert caught.value.feedback.verdict == "your turn"


@pytest.mark.parametrize("answer", ["passwd-lookup", 3, ["x"]])
def test_something_else_than_a_draft(target: Target, answer: Any) -> None:
    with pytest.raises(NotYet, match="Give it the draft"):
        exercises.check(target, "04-own-rule", answer)


def test_a_rule_that_has_a_default_rules_name(target: Target) -> None:
    text = f"- rule: Terminal shell in container\n  desc: d\n  condition: {RIGHT}\n  output: o\n  priority: INFO\n"
    with pytest.raises(NotYet, match="A default rule has that name; yours would take its place: Terminal shell"):
        exercises.check(target, "04-own-rule", save(target, "passwd-lookup", text))


def test_a_draft_without_a_rule(target: Target) -> None:
    macro = save(target, "only", "- macro: reads\n  condition: (open_read)\n")
    with pytest.raises(NotYet, match="There is no rule in it"):
        exercises.check(target, "04-own-rule", macro)
