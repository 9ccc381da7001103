"""`Lab` as a notebook uses it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

import falcorules as rules
from ekslab.state import Endpoints
from labkit import Lab, attacks
from labkit.attacks.catalogue import AttackName
from labkit.errors import ExecError, LabError
from labkit.kube.command import command
from labkit.provision.steps import STEPS, StepName
from labkit.settings import Settings


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
    with pytest.raises(ExecError, match="What to do: ") as caught:
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


def test_a_recording_of_a_namespace_that_is_not_there_is_refused(lab: Lab) -> None:
    with pytest.raises(LabError, match="no namespace 'defualt'") as caught, lab.record(namespace="defualt"):
        pytest.fail("it was begun")
    assert "Did you mean 'default'" in caught.value.hint
    with pytest.raises(LabError, match=r"no namespace '\.\./x'"), lab.record(namespace="../x"):
        pytest.fail("it was begun")


def test_the_parameters_of_connect_are_the_settings() -> None:
    named = set(inspect.signature(Lab.connect).parameters) - {"start", "partly"}
    assert named == {field.name for field in fields(Settings)}
    assert all(f"`{name}`" in str(Lab.connect.__doc__) for name in named)


def test_names_of_steps_and_attacks_complete() -> None:
    assert tuple(get_args(StepName)) == tuple(STEPS.table)
    assert list(get_args(AttackName)) == [attack.name for attack in attacks.catalogue()]
    assert Lab.apply.__annotations__["step"] == "StepName"
    assert "AttackName" in Lab.attack.__annotations__["names"]


def test_alerts_have_an_end(lab: Lab) -> None:
    lab.ensure("fluent-bit", "falco", "nginx")
    lab.exec("deploy/nginx", "cat /etc/shadow")
    first = lab.wait_for_alert("Read sensitive file untrusted")
    between = lab.kube.now()
    lab.exec("deploy/nginx", "cat /etc/shadow")
    lab.wait_for_alert("Read sensitive file untrusted")
    assert lab.alerts("1h", between)["time"].max() == first["time"]
    assert lab.alerts("1h")["time"].max() > first["time"]
    assert repr(lab.alerts("2h", "1h")).startswith("No alerts since 2h until 1h in log group falco")


def test_alerts_are_chosen_by_rule_pod_and_priority(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.ensure("fluent-bit", "falco", "nginx")
    rule = "Read sensitive file untrusted"
    lab.exec("deploy/nginx", "cat /etc/shadow")
    found = lab.wait_for_alert(rule)
    namespace, pod = found["k8s.ns.name"], found["k8s.pod.name"]
    for chosen in (lab.alerts(rule=[rule, "Other"], pod=pod), lab.alerts(pod=f"{namespace}/{pod}", priority="Warning")):
        assert set(chosen["k8s.pod.name"]) == {pod}
        assert rule in set(chosen["rule"])
        assert pod in chosen.attrs["pushed_down"]
    (newest,) = lab.alerts(rule=rule, limit=1)["time"]
    assert newest == lab.alerts(rule=rule)["time"].max()
    said = f"No alerts of the rule '{rule}' in pod elsewhere/{pod} of priority Error or above in log group falco. "
    assert repr(lab.alerts(rule=rule, pod=f"elsewhere/{pod}", priority="error")).startswith(said)
    assert list(lab.alerts(by="insights", rule=rule)["time"]) == list(lab.alerts(rule=rule)["time"])
    assert "Insights scans about 0.000 GB for this window" in capsys.readouterr().err
    before = lab.alerts()
    assert "No alerts beside those that were given" in repr(lab.alerts(after=before))
    lab.exec("deploy/nginx", "cat /etc/shadow")
    lab.wait_for_alert(rule)
    assert list(lab.alerts(after=before)["rule"]) == [rule]


def test_a_wait_for_anything_ends_with_it_or_says_what_was_awaited(lab: Lab) -> None:
    answers = iter([None, "there"])
    assert lab.wait_until(lambda: next(answers), "a thing") == "there"
    with pytest.raises(LabError, match="Waited 0 s for a thing: it isn't there"):
        lab.wait_until(lambda: None, "a thing", timeout=0)


def test_a_recording_that_cannot_be_written_is_refused_before_anything_is_done(lab: Lab) -> None:
    said = "Can't write events to /nowhere/x.*\n.*in a folder that is there"
    with pytest.raises(LabError, match=said), lab.record("/nowhere/x"):
        raise AssertionError("the block has to be left out")


def test_a_template_is_shown_with_its_values_here(lab: Lab) -> None:
    shown = lab.show("manifests/iam/fluent-bit-trust.json", mark={"aud": "for STS", "sub": "for Fluent Bit"})
    assert ("${service_account}", "the service account that may take the role on", "fluent-bit") in shown.placeholders
    assert "(1) for STS" in repr(shown)
    assert "${account_id}  the account's number; here 111122223333" in repr(shown)
    with pytest.raises(LabError, match="No line matches"):
        lab.show({"a": 1}, mark="b")
