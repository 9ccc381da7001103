"""`Lab` as a notebook uses it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

import falcorules as rules
from ekslab.state import Endpoints
from labkit import Lab
from labkit.errors import ExecError, LabError
from labkit.lab import command


def test_importing_lab_costs_almost_nothing() -> None:
    """None of the heavy libraries is imported before it is needed, so a notebook's first cell returns at once."""
    code = (
        "import sys, labkit; from labkit import Lab;"
        "heavy = {'pandas', 'numpy', 'boto3', 'botocore', 'kubernetes', 'matplotlib', 'aiohttp'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("typed", "argv"),
    [
        (("cat", "/etc/shadow"), ["cat", "/etc/shadow"]),
        (("cat /etc/shadow",), ["cat", "/etc/shadow"]),
        (("find / -name 'id_rsa'",), ["find", "/", "-name", "id_rsa"]),
        (('echo "a | b"',), ["echo", "a | b"]),
        (("cat /etc/hostname && ls /etc/shadow",), ["sh", "-c", "cat /etc/hostname && ls /etc/shadow"]),
        (("echo $HOME",), ["sh", "-c", "echo $HOME"]),
        (('echo "$HOME"',), ["sh", "-c", 'echo "$HOME"']),
        (("echo '$HOME'",), ["echo", "$HOME"]),
        (("ls /root/*",), ["sh", "-c", "ls /root/*"]),
        (("bash", "-c", "id; ls"), ["bash", "-c", "id; ls"]),
    ],
)
def test_a_command_line_gets_a_shell_only_if_it_takes_one(typed: tuple[str, ...], argv: list[str]) -> None:
    assert command(*typed) == argv


@pytest.mark.parametrize("typed", [(), ("",), ("  ",), ("echo 'open",)])
def test_what_is_no_command_is_refused(typed: tuple[str, ...]) -> None:
    with pytest.raises(ExecError) as caught:
        command(*typed)
    assert caught.value.hint


@pytest.fixture
def lab(embedded: Endpoints, workshop: Path) -> Lab:
    lab = Lab.connect(home=embedded.home, root=workshop)
    lab.ensure("nginx")
    return lab


def test_what_was_recorded_can_be_replayed(lab: Lab, workshop: Path, tmp_path: Path) -> None:
    file = tmp_path / "visit.jsonl.gz"
    with lab.record(file) as events:
        lab.exec("deploy/nginx", "sh", "-c", "whoami; cat /etc/shadow")
        lab.exec("deploy/nginx", "id")
    lab.exec("deploy/nginx", "whoami")  # after the recording
    default = workshop / "falcorules/data/falco_rules.yaml"
    engine = rules.load([default, *rules.from_values(workshop / "custom-rules/whoami.yaml")])
    assert engine.replay(file).rules == ["Whoami run in container", "Read sensitive file untrusted"]
    assert [alert.to_dict() for alert in engine.replay(events)] == [alert.to_dict() for alert in engine.replay(file)]
    assert {event.get("k8s.pod.name").rpartition("-")[0].rpartition("-")[0] for event in events} == {"nginx"}
    started = [event.get("proc.cmdline") for event in events if event.type == "execve"]
    assert started == ["sh -c whoami; cat /etc/shadow", "whoami", "cat /etc/shadow", "id"]


def test_a_recording_keeps_what_was_recorded_when_its_block_fails(lab: Lab) -> None:
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(ZeroDivisionError))
        events = stack.enter_context(lab.record())
        lab.exec("deploy/nginx", "id")
        raise ZeroDivisionError
    assert any(event.get("proc.name") == "id" for event in events)


def test_a_recording_that_cannot_be_written_is_refused_before_anything_is_done(lab: Lab) -> None:
    said = "Can't write events to /nowhere/x.*\n.*in a folder that is there"
    with pytest.raises(LabError, match=said), lab.record("/nowhere/x"):
        raise AssertionError("the block has to be left out")
