"""The preflight as an attendee of a class runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ekslab.state import Endpoints
from labkit import Lab
from labkit.errors import StepError
from tests.classroom.conftest import Attendee


def test_it_looks_at_what_is_the_attendees(seven: Attendee) -> None:
    found = seven.lab.preflight()
    assert found.passed, found.failures
    assert {finding.what for finding in found.findings if finding.result != "ok"} == {"gate for rules"}, repr(found)
    states = {(item.step, item.state) for item in found.plan}
    assert {("falco", "shared"), ("fluent-bit", "shared"), ("log-group", "shared")} <= states
    said = {finding.found for finding in found.findings if finding.subject == "there already"}
    assert "keeps 7 days; the class's" in said
    assert not any("not the lab's" in one for one in said)
    names = {item.name for item in found.plan if item.step in ("alarms", "dashboard")}
    assert names
    assert all("falco-workshop-07" in name for name in names)


def test_a_class_that_is_not_up_is_a_blocker(new_lab: Callable[..., Endpoints], workshop: Path) -> None:
    lab = Lab.connect(home=new_lab().home, root=workshop)
    settings = replace(lab.settings, attendee="07", app_namespace="attendee-07", prefix="falco-workshop-07")
    found = Lab(replace(lab.target, settings=settings)).preflight("03")
    assert not found.passed
    assert "`labkit class up`" in found.failures
    assert {item.state for item in found.plan if item.step == "falco"} == {"missing"}


def test_a_class_without_findings_is_ready_and_leaves_nothing(instructor: Lab, seven: Attendee) -> None:
    iam, policy = instructor.aws.client("iam"), "falco-workshop-findings"
    role = "falco-workshop-attendee-07"
    document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    iam.delete_role_policy(RoleName=role, PolicyName=policy)
    try:
        found = seven.lab.preflight()
        assert found.passed, found.failures
        assert {f.found for f in found.findings if f.what == "chapter 07"} == {"not in this class: leave it out"}
        assert {"security-hub", "findings-forwarder"}.isdisjoint(item.step for item in found.plan)
        assert not any("Security Hub" in row[0] for row in found.costs)
        assert "not in this class" in seven.lab.preflight("07").failures
        with pytest.raises(StepError, match="set up without it") as refused:
            seven.lab.ensure("findings-forwarder")
        assert "--findings" in str(refused.value.hint)
        assert seven.lab.audit().clean
        seven.lab.teardown()  # raises if something is left
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))
