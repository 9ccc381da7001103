"""The preflight as a whole: what it shows, that it changes nothing, and what is there already."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from labkit import Lab
from labkit.aws import Aws
from labkit.cli.provision import preflight as command
from labkit.errors import LabError, TargetError
from labkit.provision.app import STEPS as APP
from labkit.provision.preflight import CHAPTERS, Finding, Preflight, nodes, plan
from labkit.provision.preflight.chapters import Chosen
from labkit.provision.preflight.plan import Planned
from labkit.provision.steps import STEPS
from labkit.respond.costs import prices
from tests.labkit.provision.preflight.conftest import of

ROOT = Path(__file__).parents[4]
GOOD, BAD = Finding("a", "x", "ok", "1"), Finding("b", "y", "blocker", "2", "Do it.")


def test_one_blocker_is_enough_and_says_what_to_do() -> None:
    doubtful = Finding("c", "z", "warning", "3", "See.")
    assert Preflight((GOOD, doubtful)).passed
    assert (Preflight((GOOD, doubtful)).failures, Preflight((GOOD, doubtful)).tables[0].title) == (
        "",
        "Ready: 1 warning",
    )
    found = Preflight((GOOD, BAD, doubtful))
    assert not found.passed
    assert found.failures == "b, y: 2\n  What to do: Do it."
    assert repr(found).splitlines()[0] == "Not ready: 1 blocker, 1 warning"
    assert ">blocker</span>" in found._repr_html_()


def test_a_new_lab_is_ready_and_shows_what_the_chapters_make_and_cost(lab: Lab) -> None:
    found = lab.preflight()
    assert found.passed, found.failures
    assert list(dict.fromkeys(f.subject for f in found.findings)) == [
        *("account", "tools", "cluster", "nodes", "permissions", "there already", "quotas")
    ]
    text = repr(found)
    for said in ("will be made  log group falco", "dashboard falco-workshop", "m5.large, on demand", "2 nodes"):
        assert said in text
    made = {(item.kind, item.name) for item in found.plan}
    assert {"will be made"} == {item.state for item in found.plan}
    for step in STEPS:
        for part in step.parts(lab.target):
            assert part.incidental or part.unwanted or (part.kind, part.name) in made


def test_it_is_quick(lab: Lab) -> None:
    start = time.process_time()
    lab.preflight()
    assert time.process_time() - start < 2  # of this process; the lab's own time depends on what else runs


READS = ("Describe", "Get", "List", "Simulate")


def test_it_changes_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    requests: list[tuple[str, str]] = []
    helm: list[str] = []
    aws = Aws(lab.aws.region, hint="", endpoint=lab.aws._endpoint, keys=lab.aws._keys)
    aws.session.events.register("before-call", lambda model, **_: calls.append(model.name))
    request, run = lab.kube.request, lab.helm._run
    monkeypatch.setattr(lab.kube, "request", lambda *a, **k: requests.append(a) or request(*a, **k))
    monkeypatch.setattr(lab.helm, "_run", lambda *a, **k: helm.append(a[0]) or run(*a, **k))
    before = {kind: lab.kube.list(kind) for kind in ("Namespace", "ConfigMap", "Secret", "Node", "Pod")}
    Lab(replace(lab.target, aws=aws)).preflight()
    assert len(calls) > 40
    assert [name for name in calls if not name.startswith(READS)] == []
    written = {path for method, path in requests if method != "GET"}
    assert written == {"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"}  # which stores nothing
    assert set(helm) == {"version", "history"}
    assert {kind: lab.kube.list(kind) for kind in before} == before


def test_it_is_for_the_chapters_that_are_chosen(lab: Lab) -> None:
    found = lab.preflight("01")
    assert found.chapters == ("01",)
    assert {item.step for item in found.plan} == {*CHAPTERS["01"].steps}
    assert "alarms" not in repr(found)
    assert lab.preflight("00").plan == ()
    with pytest.raises(LabError, match="There is no chapter '9'") as caught:
        lab.preflight("9")
    assert "08" in str(caught.value.hint)


def test_a_check_that_can_not_be_made_is_a_blocker(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(target: Any) -> Any:
        yield GOOD
        raise TargetError("It does not answer.", hint="Wait.")

    monkeypatch.setattr(nodes, "nodes", broken)
    found = lab.preflight("00")
    assert GOOD in found.findings
    assert Finding("nodes", "check", "blocker", "It does not answer.", "Wait.") in found.findings


def test_what_several_checks_say_is_said_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: Any, **__: Any) -> Any:
        raise TargetError("The cluster does not answer.", hint="Wait.")

    monkeypatch.setattr(lab.kube, "list", silent)
    monkeypatch.setattr(lab.kube, "get", silent)
    said = [finding for finding in lab.preflight("03").findings if finding.found == "The cluster does not answer."]
    assert [finding.subject for finding in said] == ["nodes"]


def test_a_step_that_can_not_be_looked_at_is_a_blocker(lab: Lab, person: Callable[..., Lab]) -> None:
    found = person({"Effect": "Allow", "Action": ["eks:*", "iam:*"], "Resource": "*"}).preflight("01")
    finding = of(found, "there already")["step log-group"]
    assert (finding.result, "logs:DescribeLogGroups" in finding.found) == ("blocker", True)


# The command


def invoke(lab: Lab, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr("labkit.cli.provision.connect", lambda: lab)
    return CliRunner().invoke(command, arguments)


def test_the_command_exits_1_on_a_blocker_only(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    done = invoke(lab, monkeypatch, "--chapters", "01, 03")
    assert (done.exit_code, done.output.startswith("Ready")) == (0, True)
    monkeypatch.setattr(nodes, "nodes", lambda target: iter([BAD]))
    done = invoke(lab, monkeypatch)
    assert (done.exit_code, done.output.startswith("Not ready: 1 blocker")) == (1, True)


def test_as_json_it_is_the_same(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    done = invoke(lab, monkeypatch, "--json", "--chapters", "06")
    found = json.loads(done.output)
    assert (done.exit_code, found["ready"], found["chapters"]) == (0, True, ["06"])
    assert {"subject", "what", "result", "found", "hint"} == set(found["findings"][0])
    assert {"step": "log-group", "kind": "log group", "name": "falco", "state": "will be made", "why": ""} in found[
        "plan"
    ]
    assert found["costs"]["source"].startswith("list prices, us-east-1, ")
    assert found["costs"]["items"][-1]["what"] == "the cluster, workshop or not"


# What is there already


def test_what_others_made_stays_or_is_in_the_way(lab: Lab) -> None:
    logs, hub, sns = (lab.aws.client(name) for name in ("logs", "securityhub", "sns"))
    logs.create_log_group(logGroupName="falco")
    hub.enable_security_hub(EnableDefaultStandards=False)
    topic = sns.create_topic(Name="falco-workshop-alarms")["TopicArn"]
    lab.kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": "logging"}})
    try:
        found = lab.preflight()
        there = of(found, "there already")
        for name in ("log group falco", "Security Hub CSPM us-east-1", "Namespace logging"):
            assert (there[name].result, "stays as it is" in there[name].found) == ("ok", True)
        (blocked,) = found.blockers
        assert blocked.what == "SNS topic falco-workshop-alarms"
        assert "LABKIT_PREFIX" in blocked.hint
        with pytest.raises(LabError, match="was there before the lab and isn't what the workshop needs"):
            lab.apply("alarms")  # which is what it said
    finally:
        sns.delete_topic(TopicArn=topic)
        hub.disable_security_hub()
        lab.teardown()
        logs.delete_log_group(logGroupName="falco")
        lab.kube.delete_one({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "logging"}})


def test_objects_of_others_are_in_the_way_if_they_are_another(lab: Lab) -> None:
    def service(item: Any, **spec: Any) -> Any:
        meta = {"name": "nginx", "namespace": "default"}
        return {**item, "metadata": meta, "spec": {**item["spec"], **spec}}

    parts = [part for part in APP[0].parts(lab.target) if part.kind == "Service"]
    item = parts[0].item  # type: ignore[attr-defined]
    steps = Chosen.of(lab.target, ["03"]).steps
    for spec, state in (({}, "stays"), ({"ports": [{"name": "http", "port": 81}]}, "in the way")):
        lab.kube.apply([service(item, **spec)])
        try:
            planned = {(one.kind, one.name): one.state for one in plan.look(lab.target, steps)}
            assert planned["Service", "default/nginx"] == state
        finally:
            lab.kube.delete([item])


def test_what_the_lab_made_is_its_own(lab: Lab) -> None:
    lab.apply("metric-filters")
    try:
        states = {item.step: item.state for item in lab.preflight("06").plan}
        assert (states["log-group"], states["metric-filters"], states["alarms"]) == ("made", "made", "will be made")
        assert lab.preflight("06").passed
    finally:
        lab.teardown()


@pytest.mark.parametrize("namespace", ["security", "falco"])
def test_another_falco_is_a_blocker(lab: Lab, namespace: str) -> None:
    assert [(f.result, f.found) for f in plan.falcos(lab.target)] == [("ok", "no other")]
    labels = {"app.kubernetes.io/name": "falco"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "falco", "image": "falcosecurity/falco"}]}}
    daemons = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "falco", "namespace": namespace, "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": pod},
    }
    objects = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}, daemons]
    lab.kube.apply(objects)
    try:
        (finding,) = plan.falcos(lab.target)
        assert (finding.result, namespace in finding.found, bool(finding.hint)) == ("blocker", True, True)
    finally:
        lab.kube.delete(objects)


# Costs


def test_an_hour_costs_what_the_steps_take(lab: Lab) -> None:
    rows = {what: (much, dollars) for what, much, dollars in plan.hourly(lab.target, list(STEPS), extended=False)}
    assert rows["alarms, 60 s and longer"] == ("2 metric alarms", "< 0.001")
    assert rows["dashboards"] == ("1 dashboard", "0.004")
    assert rows["m5.large, on demand"] == ("2 nodes", "0.192")
    assert rows["the cluster, workshop or not"][1] == "0.292"
    assert float(rows["the workshop"][1]) == pytest.approx(0.038, abs=0.002)
    extended = {row[0]: row[2] for row in plan.hourly(lab.target, [], extended=True)}
    assert extended["EKS control plane, version in extended support"] == "0.600"
    assert extended["the workshop"] == "0.000"


def test_instances_without_a_price_are_said(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"metadata": {"name": "a", "labels": {"node.kubernetes.io/instance-type": "x9.huge"}}}
    assert plan.instance_types([{**node, "spec": {"providerID": "aws:///a/i-1"}}]) == {"x9.huge": 1}
    assert plan.instance_types([{**node, "spec": {"providerID": "kind://docker/a/b"}}]) == {}
    monkeypatch.setattr(plan, "instance_types", lambda nodes: {"x9.huge": 1})
    rows = {row[0]: row[2] for row in plan.hourly(lab.target, [], extended=False)}
    assert rows["x9.huge, on demand"] == "look it up"
    assert all(price > 0 for price in prices()["instances"].values())


# What chapters use


def test_chapters_use_the_steps_that_their_notebooks_apply() -> None:
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        number = path.name[:2]
        named: set[str] = set()
        for cell in json.loads(path.read_text())["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] != "code" or source.startswith("%"):
                continue
            for call in ast.walk(ast.parse(source)):
                if isinstance(call, ast.Call) and getattr(call.func, "attr", "") in ("apply", "ensure"):
                    named |= {a.value for a in call.args if isinstance(a, ast.Constant) and a.value in STEPS.ORDER}
        if number != "08":  # which takes down whatever there is
            assert set(CHAPTERS[number].steps) == named, path.name


def test_planned_things_of_a_kind_are_shown_together() -> None:
    planned = tuple(Planned("alarms", "alarm", name, "will be made") for name in "ab")
    assert "alarms  will be made  alarm a, b" in repr(Preflight((GOOD,), plan=planned))


def test_an_association_of_others_is_in_the_way_of_irsa(lab: Lab) -> None:
    eks, iam, name = lab.aws.client("eks"), lab.aws.client("iam"), lab.settings.cluster
    principal = {"Service": "pods.eks.amazonaws.com"}
    statement = {"Effect": "Allow", "Principal": principal, "Action": ["sts:AssumeRole", "sts:TagSession"]}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = iam.create_role(RoleName="theirs", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    made = eks.create_pod_identity_association(
        clusterName=name, namespace="logging", serviceAccount="fluent-bit", roleArn=role
    )["association"]
    try:
        (blocked,) = lab.preflight("01").blockers
        assert blocked.found == "EKS prefers it to the role of IRSA"
        with pytest.raises(LabError, match="EKS prefers to the role of IRSA"):
            lab.apply("fluent-bit-role")  # which is what it said
    finally:
        eks.delete_pod_identity_association(clusterName=name, associationId=made["associationId"])
        iam.delete_role(RoleName="theirs")
        lab.teardown()
