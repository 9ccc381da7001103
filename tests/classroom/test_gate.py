"""The gate on the embedded cluster: from an attendee's ConfigMap to the rule in a Falco that wasn't restarted."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from classroom import gate
from classroom.gate import Gate
from classroom.rules import Checked
from labkit.alerts.falco_rules import ATTENDEES, LOADED
from labkit.errors import StepError
from labkit.kube.objects import config_map
from labkit.lab import Lab
from labkit.provision import own_rules
from labkit.provision.own_rules import KEY, RULES, Verdict
from labkit.waiting import poll
from tests.classroom.conftest import Attendee

Attend: TypeAlias = "Callable[[str], Attendee]"

pytestmark = pytest.mark.in_order  # a gate runs from some test on
LEAVING = "attendee-leaving"
RULE = """
- rule: Mine
  desc: A program was run.
  condition: spawned_process and container and proc.name = id
  output: who=%proc.cmdline
  priority: NOTICE
"""


@pytest.fixture(scope="module")
def lab(instructor: Lab) -> Lab:
    """The instructor's lab, with a namespace of one who is about to leave."""
    instructor.kube.apply_one({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LEAVING}})
    return instructor


@contextmanager
def running(lab: Lab) -> Iterator[list[str]]:
    """A gate that is running; what it says."""
    said: list[str] = []
    stop = threading.Event()
    thread = threading.Thread(target=gate.run, args=(lab.target,), kwargs={"say": said.append, "stop": stop.is_set})
    thread.start()
    try:
        assert poll(lambda: said or None, "the gate to open", 60)
        yield said
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def gated(lab: Lab) -> Iterator[list[str]]:
    with running(lab) as said:
        yield said


def write(lab: Lab, namespace: str, text: str) -> str:
    lab.kube.apply_one(config_map(RULES, namespace, {KEY: text}))
    return own_rules.digest_of({"data": {KEY: text}})


def verdict(lab: Lab, namespace: str, digest: str, seconds: float = 30.0) -> Verdict:
    def look() -> Verdict | None:
        found = Verdict.of(lab.kube.get("ConfigMap", RULES, namespace))
        return found if found is not None and found.digest == digest else None

    found = poll(look, "a verdict", seconds)
    assert found is not None
    return found


def keys(lab: Lab) -> set[str]:
    found = lab.kube.get("ConfigMap", ATTENDEES, "falco") or {}
    return {key for key in found.get("data") or {} if key.startswith("attendee-")}


def restarts(lab: Lab) -> dict[str, int]:
    pods = lab.pods("falco").items
    return {pod["metadata"]["uid"]: sum(s["restartCount"] for s in pod["status"]["containerStatuses"]) for pod in pods}


def test_without_a_gate_an_attendee_is_told_at_once_and_the_next_gate_takes_what_waits(
    lab: Lab, attend: Attend
) -> None:
    one = attend("08").lab
    with pytest.raises(StepError, match=r"Your rules wait in ConfigMap .*: no gate has been started") as caught:
        one.apply("custom-rules")
    assert "labkit class gate" in caught.value.hint
    with running(lab) as said:
        assert one.apply("custom-rules").action == "unchanged"
    assert any(line.startswith("attendee-08: accepted") for line in said)


def test_a_gate_that_was_killed_is_noticed_and_another_goes_on_where_it_was(
    lab: Lab, attend: Attend, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Gate):
        def _tell(self, one: Any, verdict: Verdict) -> None:
            raise KeyboardInterrupt

    first = Killed(lab.target, lambda line: None)
    first.take_over()
    digest = write(lab, "attendee-anna", RULE)
    with pytest.raises(KeyboardInterrupt):
        first.settle()
    assert "attendee-anna.yaml" in keys(lab)
    assert Verdict.of(lab.kube.get("ConfigMap", RULES, "attendee-anna")) is None
    monkeypatch.setattr(own_rules, "SILENT", -1.0)
    with pytest.raises(StepError, match=r"the gate on .*, process \d+ was last there \d+ s ago"):
        attend("anna").lab.apply("custom-rules")
    monkeypatch.setattr(own_rules, "SILENT", 30.0)
    with subprocess.Popen(["true"]) as ended, monkeypatch.context() as patch:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # its parent hasn't noticed yet
        patch.setattr(os, "getpid", lambda: ended.pid)
        killed = Gate(lab.target, lambda line: None)
        killed.beat()
        with pytest.raises(StepError, match=r"the gate on .*, process \d+ has ended"):  # it was there a moment ago
            attend("anna").lab.apply("custom-rules")
    second = Gate(lab.target, lambda line: None)
    second.take_over()
    monkeypatch.undo()
    digest = write(lab, "attendee-anna", RULE)
    assert second.settle()
    assert verdict(lab, "attendee-anna", digest).loaded
    assert not second.settle()
    second.leave()


def test_what_falco_refuses_after_all_is_taken_back_and_the_others_rules_are_loaded(lab: Lab) -> None:
    class Trusting(Gate):
        def _check(self, one: Any, others: Any) -> Checked:
            if one.namespace == "attendee-anna":
                return Checked((), "- rule: x\n", ("x",))
            return super()._check(one, others)

    trusting = Trusting(lab.target, lambda line: None)
    before = restarts(lab)
    good, bad = write(lab, "attendee-08", RULE + "# good\n"), write(lab, "attendee-anna", RULE + "# bad\n")
    trusting.settle()
    trusting.leave()
    refused = verdict(lab, "attendee-anna", bad)
    assert not refused.accepted
    assert "Falco refuses them: /etc/falco/attendees/attendee-anna.yaml: Invalid" in str(refused)
    assert verdict(lab, "attendee-08", good).loaded
    data = (lab.kube.get("ConfigMap", ATTENDEES, "falco") or {})["data"]
    assert "Mine (attendee-anna)" in data["attendee-anna.yaml"], "what was loaded before stays"
    assert restarts(lab) == before


def test_one_whose_configmap_takes_no_verdict_or_has_a_strange_one_keeps_no_other_waiting(lab: Lab) -> None:
    def annotate(name: str, text: str) -> None:
        path = lab.kube.path("v1", "ConfigMap", "attendee-anna", RULES)
        body = {"metadata": {"annotations": {name: text}}}
        lab.kube.request("PATCH", path, body=body, content_type="application/merge-patch+json")

    write(lab, "attendee-anna", "no rules; no room")
    annotate(own_rules.VERDICT, "")
    annotate("filler", "x" * (256 * 1024 - 100))
    other = write(lab, "attendee-08", "no rules; beside a full one")
    said: list[str] = []
    patient = Gate(lab.target, said.append)
    assert patient.settle()
    assert not verdict(lab, "attendee-08", other).accepted
    assert any(line.startswith("attendee-anna: the verdict can't be written") for line in said)
    assert not patient.settle(), "it isn't tried again until the rules are others"
    annotate("filler", "")
    annotate(own_rules.VERDICT, "[" * 200_000)
    room = write(lab, "attendee-anna", "no rules; room")
    assert patient.settle()
    patient.leave()
    assert not verdict(lab, "attendee-anna", room).accepted


def test_one_who_changes_rules_all_the_time_does_not_keep_falco_reloading(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "MOST_TRIES", 1)
    calm = Gate(lab.target, lambda line: None)
    write(lab, "attendee-anna", "no rules; one")
    assert calm.settle()
    second, other = write(lab, "attendee-anna", "no rules; two"), write(lab, "attendee-08", "no rules; other")
    assert calm.settle()
    assert verdict(lab, "attendee-08", other).said
    assert not calm.settle(), "the second waits"
    monkeypatch.setattr(gate, "_TRIES_SECONDS", 0.0)
    assert calm.settle()
    assert verdict(lab, "attendee-anna", second).said
    calm.leave()


def test_an_attendees_alert_cannot_speak_for_falco() -> None:
    quoted = f"{gate._FAILURE}: /etc/falco/attendees/attendee-08.yaml: no \u2028 /generation-0.yaml |"
    alert = json.dumps({"rule": "Mine (attendee-07)", "output": quoted, "output_fields": {"proc.cmdline": quoted}})
    own = json.dumps({"rule": gate._FAILURE, "output": f"{gate._FAILURE}: {{x}}", "source": "internal"})
    loaded = "Tue Nov 24 10:00:00 2026:    /etc/falco/attendees/generation-0.yaml | schema validation: ok"
    assert gate._failures(f"{alert}\n{quoted}\n") == set()
    assert not gate._has_loaded(f"{alert}\n", "generation-0.yaml")
    assert gate._has_loaded(f"{alert}\n{loaded}\n", "generation-0.yaml")
    assert [gate._reason(line) for line in gate._failures(f"{alert}\n{own}\n")] == ["{x}"]


@pytest.mark.parametrize(
    "forged",
    [
        "[" * 100_000,
        '{"said": [1], "rules": []}',
        '{"said": ["\\u001b]0;x"], "rules": []}',
        '{"said": [], "rules": [], "accepted": true, "loaded": true, "seconds": "x"}',
        '{"said": [], "rules": [], "accepted": true, "loaded": true, "seconds": 1' + "0" * 400 + "}",
        '{"said": [], "rules": [], "accepted": "yes"}',
        '{"digest": 5, "said": [], "rules": []}',
    ],
    ids=range(7),
)
def test_what_an_attendee_has_forged_is_no_verdict(forged: str) -> None:
    assert Verdict.of({"metadata": {"annotations": {own_rules.VERDICT: forged}}}) is None


def test_an_attendee_without_rights_in_falcos_pods_reads_what_the_class_has_published(lab: Lab) -> None:
    published = (lab.kube.get("ConfigMap", LOADED, "falco") or {})["data"]
    assert set(published) == {"rules.json", "falco_rules.yaml"}
    assert len(json.loads(published["rules.json"])["rules"]) >= 25


@pytest.mark.usefixtures("gated")
def test_a_rule_is_loaded_without_a_restart_and_alerts_for_its_attendee_only(lab: Lab, attend: Attend) -> None:
    before = restarts(lab)
    one, other = attend("07").lab, attend("08").lab
    result = one.apply("custom-rules")
    assert (result.action, len(result.changes)) == ("created", 1)
    assert "accepted in " in result.changes[0].why
    assert "1 rule in 2 running Falcos" in repr(result)
    one.ensure("nginx")
    other.ensure("nginx")
    with other.follow(timeout=30) as stream:
        theirs, mine = other.exec("deploy/nginx", "whoami"), one.exec("deploy/nginx", "whoami")
        assert one.wait_for_alert("Whoami run in container")["rule"] == "Whoami run in container (attendee-07)"
        assert list(one.alerts_of(mine)["k8s.ns.name"]) == ["attendee-07"]
        assert other.alerts_of(theirs).empty
        assert next(stream)["k8s.ns.name"] == "attendee-08"  # the marker's, though attendee 07's alert came before
    assert set(one.alerts("5m")["k8s.ns.name"]) == {"attendee-07"}
    assert set(other.alerts("5m")["k8s.ns.name"]) == {"attendee-08"}
    assert one.alerts("5m", rule="Whoami run in container").attrs["pushed_down"].endswith('"attendee-07"')
    query = "stats count(*) as alerts by rule"
    assert set(one.insights(query)["rule"]) == set(one.alerts("5m")["rule"])
    assert "Whoami run in container (attendee-07)" in set(one.falco_rules()["rule"])
    assert not set(other.falco_rules()["rule"]) - set(lab.falco_rules()["rule"])
    assert one.default_rules() == lab.default_rules()
    assert one.apply("custom-rules").action == "unchanged"
    assert restarts(lab) == before


@pytest.mark.usefixtures("gated")
def test_what_is_refused_is_said_and_what_was_loaded_before_stays(lab: Lab, attend: Attend, tmp_path: Path) -> None:
    one = attend("07").lab
    one.apply("custom-rules")
    typo = tmp_path / "typo.yaml"
    typo.write_text(
        (lab.settings.root / "custom-rules" / "whoami.yaml").read_text().replace("proc.name =", "proc.nmae =")
    )
    with pytest.raises(StepError, match=r"The class's gate refuses these rules: LOAD_ERR_COMPILE_CONDITION.*proc.nmae"):
        one.apply("custom-rules", files=[typo])
    assert "Whoami run in container (attendee-07)" in set(one.falco_rules()["rule"])
    assert one.status().rows[7][1] == "not ready"
    assert one.apply("custom-rules", files=[lab.settings.root / "custom-rules" / "whoami.yaml"]).action == "updated"


@pytest.mark.usefixtures("gated")
def test_a_key_that_is_not_read_is_named_in_the_verdict(lab: Lab) -> None:
    item = config_map(RULES, "attendee-anna", {KEY: RULE})
    for name, of, accepted in (
        ("mine.yaml", {**item["data"], "mine.yaml": RULE}, True),
        ("a.yml", {"a.yml": RULE}, False),
    ):
        lab.kube.delete_one(item)
        lab.kube.apply_one({**item, "data": of})
        found = verdict(lab, "attendee-anna", own_rules.digest_of({"data": of}))
        assert (found.accepted, found.loaded) == (accepted, accepted)
        assert f"Not read: key {name}. Put all rules under rules.yaml." in str(found)
    lab.kube.delete_one(item)


@pytest.mark.usefixtures("gated")
def test_several_at_the_same_moment_are_loaded_and_one_who_leaves_leaves_nothing(lab: Lab, attend: Attend) -> None:
    digests = {name: write(lab, name, RULE + f"# {name}\n") for name in ("attendee-07", "attendee-08", LEAVING)}
    for namespace, digest in digests.items():
        found = verdict(lab, namespace, digest)
        assert (found.accepted, found.loaded, found.rules) == (True, True, (f"Mine ({namespace})",))
    assert {f"{name}.yaml" for name in digests} <= keys(lab)
    lab.kube.delete_one({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LEAVING}})
    assert attend("08").lab.undo("custom-rules").action == "removed"
    assert "attendee-08.yaml" not in keys(lab)
    assert poll(lambda: f"{LEAVING}.yaml" not in keys(lab) or None, "the key to go", 30)
    assert "attendee-07.yaml" in keys(lab)


@pytest.mark.usefixtures("gated")
def test_a_second_gate_is_refused(lab: Lab) -> None:
    with pytest.raises(StepError, match="A gate is running already"):
        gate.run(lab.target)
