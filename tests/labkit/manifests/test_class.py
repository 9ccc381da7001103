"""What a class has: rights that lead nowhere else, policies that fit, names that agree with each other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from classroom.attendees import GROUP, LABEL, group_of

MANIFESTS = Path(__file__).parents[3] / "manifests"
CLUSTER = list(yaml.safe_load_all((MANIFESTS / "class/cluster.yaml").read_text()))
ATTENDEE = list(yaml.safe_load_all((MANIFESTS / "class/attendee.yaml").read_text()))
POLICIES = ["attendee-permissions", "attendee-findings", "attendee-trust", "class-instructor"]

# Rights that lead to others' rights or to a node: to Secrets and tokens, to roles, to what admits pods.
LEADS_ELSEWHERE = {
    *("secrets", "serviceaccounts/token", "roles", "rolebindings", "clusterroles", "clusterrolebindings"),
    *("nodes/proxy", "pods/ephemeralcontainers", "pods/proxy", "services/proxy", "resourcequotas", "limitranges"),
    *("networkpolicies", "certificatesigningrequests", "customresourcedefinitions", "daemonsets", "*"),
}
READ = {"get", "list", "watch"}


def statements(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((MANIFESTS / f"iam/{name}.json").read_text())["Statement"]
    return found


def rules(name: str) -> list[dict[str, Any]]:
    (role,) = [item for item in CLUSTER if (item["kind"], item["metadata"]["name"]) == ("ClusterRole", name)]
    found: list[dict[str, Any]] = role["rules"]
    return found


def test_an_attendee_s_rights_lead_to_no_others() -> None:
    for rule in rules("falco-workshop-attendee"):
        assert not LEADS_ELSEWHERE & set(rule["resources"])
        assert not {"*", "bind", "escalate", "impersonate"} & set(rule["verbs"])
    for name in ("falco-workshop-attendees", "falco-workshop-onlooker"):
        for rule in rules(name):
            assert set(rule["verbs"]) <= READ
            assert not (LEADS_ELSEWHERE - {"daemonsets"}) & set(rule["resources"])


def test_bindings_are_for_the_groups_that_access_entries_give() -> None:
    bindings = [item for item in [*CLUSTER, *ATTENDEE] if item["kind"].endswith("Binding")]
    groups = {subject["name"] for item in bindings for subject in item["subjects"]}
    assert groups == {GROUP, group_of("07")}
    roles = {item["metadata"]["name"] for item in CLUSTER if item["kind"] == "ClusterRole"}
    assert {item["roleRef"]["name"] for item in bindings} == roles
    (own,) = [item for item in ATTENDEE if item["kind"] == "RoleBinding"]
    assert own["metadata"]["namespace"] == "attendee-07"


def test_an_attendee_s_namespace_admits_nothing_that_leads_to_the_node() -> None:
    (namespace,) = [item for item in ATTENDEE if item["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"][LABEL] == "07"
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"
    (policy,) = [item for item in ATTENDEE if item["kind"] == "NetworkPolicy"]
    blocks = [to["ipBlock"] for rule in policy["spec"]["egress"] for to in rule["to"] if "ipBlock" in to]
    assert all("169.254.169.254/32" in block["except"] for block in blocks)
    assert all("namespaceSelector" not in peer for rule in policy["spec"]["ingress"] for peer in rule["from"])


@pytest.mark.parametrize("name", ["attendee-permissions", "attendee-findings"])
def test_what_an_attendee_may_change_is_named(name: str) -> None:
    """Actions on anything (`*`) only read, or a condition limits them to the own names."""
    for statement in statements(name):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        assert not [action for action in actions if "*" in action]
        changing = [
            a for a in actions if not re.search(r":(Get|List|Describe|Filter|Test|StartQuery|StartLive|StopQ)", a)
        ]
        if "*" in resources and changing:
            assert statement["Condition"], changing
        assert not [action for action in changing if action.startswith(("iam:", "eks:", "lambda:", "sts:"))]


def test_all_policies_of_a_role_fit_together() -> None:
    """IAM takes 10,240 characters of inline policies of one role, blanks aside."""
    text = "".join(
        (MANIFESTS / f"iam/{name}.json").read_text() for name in ("attendee-permissions", "attendee-findings")
    )
    for placeholder, value in {"region": "ap-southeast-2", "partition": "aws-us-gov", "account_id": "1" * 12}.items():
        text = text.replace(f"${{{placeholder}}}", value)
    assert len("".join(text.replace("${", "x" * 30).split())) <= 10_240


@pytest.mark.parametrize("name", POLICIES)
def test_each_statement_has_a_name_of_its_own(name: str) -> None:
    names = [statement["Sid"] for statement in statements(name)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9]+", one) for one in names)


def test_a_class_needs_four_of_the_hundred_metric_filters_of_a_log_group() -> None:
    filters = json.loads((MANIFESTS / "class/metric-filters.json").read_text())
    alone = json.loads((MANIFESTS / "cloudwatch/metric-filters.json").read_text())
    metrics = {found["metricTransformations"][0]["metricName"] for found in filters}
    assert metrics == {found["metricTransformations"][0]["metricName"] for found in alone}
    assert not {found["filterName"] for found in filters} & {found["filterName"] for found in alone}
    for found in filters:
        (made,) = found["metricTransformations"]
        assert made["dimensions"]["Namespace"] == "$.output_fields.['k8s.ns.name']"
        assert len(made["dimensions"]) <= 3
        assert "defaultValue" not in made  # AWS takes none beside dimensions
