"""Step `security-hub`: a hub is enabled where there was none, one that was there stays, findings end archived."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ekslab.state import Endpoints
from labkit import Lab
from labkit.errors import TargetError
from labkit.provision.security_hub import describe
from labkit.provision.templates import template
from labkit.respond import findings

LINES = (Path(__file__).parents[1] / "alerts/data/falco-alerts.jsonl").read_text().splitlines()


@pytest.fixture
def fresh(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    """A lab in which nothing has been applied."""
    return Lab.connect(home=new_lab().home, root=workshop)


def hub(lab: Lab) -> Any:
    return lab.aws.client("securityhub")


def import_some(lab: Lab, count: int = 5) -> list[str]:
    """Ids of findings that have been imported."""
    batch = findings.to_findings(map(json.loads, LINES[:count]), **findings.origin(lab.target))
    assert len(findings.import_findings(hub(lab), batch).imported) == count
    return [finding["Id"] for finding in batch]


def changes(result: Any) -> dict[str, str]:
    return {change.kind: change.action for change in result.changes}


def test_the_lab_enables_what_was_off_and_disables_it_again(fresh: Lab) -> None:
    assert changes(fresh.apply("security-hub")) == {"Security Hub CSPM": "created"}
    described = describe(fresh)
    assert described is not None
    tags = hub(fresh).list_tags_for_resource(ResourceArn=described["HubArn"])["Tags"]
    assert tags == {"workshop": "falco-eks"}
    assert hub(fresh).get_enabled_standards()["StandardsSubscriptions"] == []
    assert fresh.apply("security-hub").action == "unchanged"
    assert {state for name, state, _ in fresh.status().rows if name == "security-hub"} == {"applied"}
    assert changes(fresh.undo("security-hub")) == {"Security Hub CSPM": "removed", "findings": "absent"}
    assert describe(fresh) is None
    assert fresh.undo("security-hub").action == "absent"
    assert fresh.audit().clean


def test_findings_are_archived_before_the_hub_goes(fresh: Lab) -> None:
    fresh.apply("security-hub")
    ids = import_some(fresh)
    assert changes(fresh.undo("security-hub")) == {"Security Hub CSPM": "removed", "findings": "removed"}
    hub(fresh).enable_security_hub(EnableDefaultStandards=False)
    df = findings.read(hub(fresh), fresh.settings.cluster)
    assert sorted(df["id"]) == sorted(ids)
    assert set(df["record"]) == {"ARCHIVED"}


def test_a_hub_that_was_there_stays_and_only_the_workshops_findings_are_archived(fresh: Lab) -> None:
    hub(fresh).enable_security_hub(EnableDefaultStandards=False, Tags={"team": "security"})
    assert changes(fresh.apply("security-hub"))["Security Hub CSPM"] == "unchanged"
    import_some(fresh)
    other = findings.to_findings([json.loads(LINES[0])], **{**findings.origin(fresh.target), "cluster": "another"})
    findings.import_findings(hub(fresh), other)
    assert changes(fresh.undo("security-hub")) == {"Security Hub CSPM": "kept", "findings": "removed"}
    assert describe(fresh) is not None
    assert list(findings.active(hub(fresh), fresh.settings.cluster)) == []
    assert [finding["Id"] for finding in findings.active(hub(fresh), "another")] == [other[0]["Id"]]
    assert fresh.audit().clean


def test_an_audit_finds_the_hub_and_active_findings_even_without_a_ledger(fresh: Lab) -> None:
    fresh.apply("security-hub")
    import_some(fresh, 3)
    fresh.ledger.path.unlink()
    left = {item.kind: item for item in fresh.audit().left}
    assert set(left) == {"Security Hub CSPM", "findings"}
    assert left["findings"].name == "falco/falco-workshop/*"
    fresh.teardown()
    assert fresh.audit().clean
    assert describe(fresh) is None


def restricted(lab: Lab, policy: dict[str, Any]) -> Lab:
    """The lab of a person who may do what a policy says."""
    iam = lab.aws.client("iam")
    anybody = {"Effect": "Allow", "Principal": {"AWS": lab.aws.identity.arn}, "Action": "sts:AssumeRole"}
    trust = {"Version": "2012-10-17", "Statement": [anybody]}
    role = iam.create_role(RoleName="person", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName="person", PolicyName="p", PolicyDocument=json.dumps(policy))
    credentials = lab.aws.client("sts").assume_role(RoleArn=role, RoleSessionName="person")["Credentials"]
    return Lab(replace(lab.target, aws=lab.aws.with_keys(credentials)))


def test_the_policy_for_a_person_allows_all_of_it(fresh: Lab) -> None:
    person = restricted(fresh, template(fresh, "iam/workshop-security-hub"))
    person.apply("security-hub")
    ids = import_some(person)
    assert len(findings.wait_for(hub(person), ids, timeout=5)) == 5
    assert findings.resolve(hub(person), ids[:1], note="n", by="b").updated == (ids[0],)
    assert person.undo("security-hub").action == "removed"
    assert describe(fresh) is None


def test_without_permission_it_is_said_which_is_missing(fresh: Lab) -> None:
    policy = template(fresh, "iam/workshop-security-hub")
    policy["Statement"][0]["Action"].remove("securityhub:EnableSecurityHub")
    person = restricted(fresh, policy)
    with pytest.raises(TargetError, match="securityhub:EnableSecurityHub") as caught:
        person.apply("security-hub")
    assert "permission" in caught.value.hint
    assert describe(fresh) is None
