"""The exercises of chapter 03, answered wrongly and rightly on the embedded lab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ekslab.state import Endpoints
from labkit import Lab
from labkit.exercises import NotYet


@pytest.fixture(scope="module")
def lab(embedded: Endpoints, workshop: Path) -> Lab:
    lab = Lab.connect(home=embedded.home, root=workshop)
    lab.ensure("fluent-bit", "falco", "nginx")
    return lab


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        (["id", "ls"], "3 different command lines; there are 2"),
        (["id", "id", "ls"], "3 different command lines; there are 2"),
        ("id", "a list of 3 command lines; it is `'id'`"),
        (["id", "ls", 3], "a command line, a text; it is `3`"),
        (["id", "ls", "cat /etc/passwd"], "the catalogue's `control-read-passwd`"),
        (["id", "ls", "tac /etc/shadow"], "that file is on this page"),
        (["id", "ls", "vim /etc/hosts"], "the image has no `vim`"),
        (
            ["id", "ls", "exit 1"],
            "`exit` is no program, but a command that is built into shells. Run it in one: `bash -c '",
        ),
        (["id", "ls", "date"], "None of them raised an alert"),
        (["id", "wc /etc/pam.conf", "tail /etc/pam.conf"], "2 of them raised an alert; it has to be one"),
    ],
)
def test_wrong_triples(lab: Lab, commands: Any, said: str) -> None:
    with pytest.raises(NotYet) as caught:
        lab.check("03-one-alerts", commands)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("alerting", "rule"),
    [
        ("wc -c /etc/pam.conf", "Read sensitive file untrusted"),
        ("find /srv -name id_dsa", "Search Private Keys or Passwords"),
    ],
)
def test_right_triples(lab: Lab, alerting: str, rule: str) -> None:
    right = lab.check("03-one-alerts", ["cat /etc/hosts", alerting, "ls /nowhere"])
    told = right.text.splitlines()
    assert told[:2] == ["`cat /etc/hosts`: no alert", f"`{alerting}`: {rule}"]
    assert told[2].startswith("`ls /nowhere`: no alert (exit code 2: ls: cannot access '/nowhere'")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("head -1 /etc/shadow", "Falco saw it: Read sensitive file untrusted"),
        ("head -1 /etc/passwd", "didn't print the first line of `/etc/shadow`. It printed: root:x:0:0"),
        ("cat /etc/shadowy", "No such file or directory"),
        ("echo", "It printed: nothing"),
        ("sh -c 'read l < /etc/shadow", "Unterminated quoted string"),
        (["cat", "/etc/shadow"], "a command line, a text"),
        ("echo $(cat /etc/shadow)", "printed the whole file, on one line"),
        ("bash -c 'echo root:*:11111:0:99999:7:::'", "That prints what you know already"),
        ("bash -c 'echo root:*::0:99999:7::: # shadow'", "That prints what you know already"),
        ("bash -c 'd=11111; echo root:*:$d:0:99999:7:::'", "That prints what you know already"),
        ("getent shadow root", "Which programs does the rule leave out?"),
        (
            "read -r l < /etc/shadow; echo $l; find /srv -name id_dsa",
            "What else about the command does this one look at?",
        ),
    ],
)
def test_reads_that_are_seen_or_are_none(lab: Lab, line: Any, said: str) -> None:
    with pytest.raises(NotYet) as caught:
        lab.check("03-silent-read", line)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "read -r line < /etc/shadow; echo $line",
        "bash -c 'cd /etc; read -r line < shado[w]; echo $line'",
        "bash -c 'mapfile -n 1 all < /etc/shadow; echo ${all[0]}'",
    ],
)
def test_silent_reads(lab: Lab, line: str) -> None:
    assert lab.check("03-silent-read", line).right
