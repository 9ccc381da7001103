"""EKS access entries: whom the cluster lets in, and as whom."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

ACCOUNT = "arn:aws:iam::111122223333"
CLUSTER = {"clusterName": "falco-workshop"}
POLICY = "arn:aws:eks::aws:cluster-access-policy/"


@pytest.fixture
def role(running: Any) -> str:
    trust = {"Effect": "Allow", "Principal": {"AWS": f"{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    found: str = running.client("iam").create_role(RoleName="attendee-07", AssumeRolePolicyDocument=document)["Role"][
        "Arn"
    ]
    return found


def error_of(call: Any, **parameters: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_cluster_has_the_entries_of_its_creator_and_of_its_nodes(running: Any) -> None:
    eks = running.client("eks")
    admin = running.client("sts").get_caller_identity()["Arn"]
    assert eks.list_access_entries(**CLUSTER)["accessEntries"] == sorted([admin, f"{ACCOUNT}:role/falco-workshop-node"])
    assert running.aws.eks.access.user(admin).grants == (("cluster-admin", ""),)
    (policy,) = eks.list_associated_access_policies(**CLUSTER, principalArn=admin)["associatedAccessPolicies"]
    assert policy["policyArn"] == f"{POLICY}AmazonEKSClusterAdminPolicy"
    assert policy["accessScope"] == {"type": "cluster", "namespaces": []}


def test_an_entry_maps_the_sessions_of_a_role_to_a_user_and_groups(running: Any, role: str) -> None:
    eks, access = running.client("eks"), running.aws.eks.access
    session = "arn:aws:sts::111122223333:assumed-role/attendee-07/anna@example.com"
    assert access.user(session) is None
    made = eks.create_access_entry(**CLUSTER, principalArn=role, kubernetesGroups=["class"], tags={"a": "b"})
    entry = made["accessEntry"]
    assert entry["username"] == "arn:aws:sts::111122223333:assumed-role/attendee-07/{{SessionName}}"
    assert (entry["type"], entry["tags"]) == ("STANDARD", {"a": "b"})
    assert entry["accessEntryArn"].startswith(
        "arn:aws:eks:us-east-1:111122223333:access-entry/falco-workshop/role/111122223333/attendee-07/"
    )
    assert eks.describe_access_entry(**CLUSTER, principalArn=role)["accessEntry"] == entry
    user = access.user(session)
    assert (user.name, user.groups) == (session.replace("@", "-"), ("class",))
    assert access.user(session.replace("attendee-07", "attendee-0")) is None
    eks.update_access_entry(**CLUSTER, principalArn=role, kubernetesGroups=["other"], username="seven")
    assert (access.user(session).name, access.user(session).groups) == ("seven", ("other",))
    scope = {"type": "namespace", "namespaces": ["seven"]}
    eks.associate_access_policy(
        **CLUSTER, principalArn=role, policyArn=f"{POLICY}AmazonEKSEditPolicy", accessScope=scope
    )
    assert access.user(session).grants == (("edit", "seven"),)
    assert eks.list_access_entries(**CLUSTER, associatedPolicyArn=f"{POLICY}AmazonEKSEditPolicy")["accessEntries"] == [
        role
    ]
    eks.disassociate_access_policy(**CLUSTER, principalArn=role, policyArn=f"{POLICY}AmazonEKSEditPolicy")
    assert access.user(session).grants == ()
    eks.delete_access_entry(**CLUSTER, principalArn=role)
    assert access.user(session) is None


def test_pages_of_entries(running: Any, role: str) -> None:
    eks = running.client("eks")
    eks.create_access_entry(**CLUSTER, principalArn=role)
    pages = list(eks.get_paginator("list_access_entries").paginate(**CLUSTER, PaginationConfig={"PageSize": 2}))
    assert [len(page["accessEntries"]) for page in pages] == [2, 1]


def test_what_eks_refuses(running: Any, role: str) -> None:
    eks = running.client("eks")
    invalid = "InvalidParameterException"
    create = eks.create_access_entry
    nobody = "The specified principalArn is invalid: invalid principal."
    assert error_of(create, **CLUSTER, principalArn=f"{ACCOUNT}:role/nobody") == (invalid, nobody)
    code, message = error_of(create, **CLUSTER, principalArn=role, kubernetesGroups=["system:masters"])
    assert code == invalid
    assert message == "The kubernetes group name system:masters is invalid, it cannot start with system:"
    create(**CLUSTER, principalArn=role)
    assert error_of(create, **CLUSTER, principalArn=role) == (
        "ResourceInUseException",
        "The specified access entry resource is already in use on this cluster.",
    )
    missing = error_of(eks.delete_access_entry, **CLUSTER, principalArn=f"{ACCOUNT}:role/nobody")
    assert missing[0] == "ResourceNotFoundException"
    assert "could not be found" in missing[1]
    scope = {"type": "cluster"}
    associate = eks.associate_access_policy
    unknown = error_of(associate, **CLUSTER, principalArn=role, policyArn=f"{POLICY}Nothing", accessScope=scope)
    assert unknown == (invalid, "The specified policyArn is invalid: invalid policy.")
    names = [policy["name"] for policy in eks.list_access_policies()["accessPolicies"]]
    assert "AmazonEKSViewPolicy" in names
    assert error_of(create, clusterName="nope", principalArn=role)[0] == "ResourceNotFoundException"
