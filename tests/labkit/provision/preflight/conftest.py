"""A lab in which nothing has been applied, changes of its nodes for a while, and people who may do less."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ekslab.state import Endpoints
from labkit import Lab
from labkit.provision.preflight import Finding, Preflight

Nodes = Callable[..., AbstractContextManager[None]]


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    """Shared by a module's tests, which leave it as they found it."""
    return Lab.connect(home=new_lab().home, root=workshop)


def of(found: Preflight, subject: str) -> dict[str, Finding]:
    """The findings on a subject, by what each is about."""
    return {finding.what: finding for finding in found.findings if finding.subject == subject}


def _patched(item: Any, change: Mapping[str, Any]) -> Any:
    """A merge patch, applied."""
    merged = dict(item) if isinstance(item, Mapping) else {}
    for key, value in change.items():
        merged[key] = _patched(merged.get(key), value) if isinstance(value, Mapping) else value
    return merged


@pytest.fixture
def nodes(lab: Lab) -> Nodes:
    """Changes nodes within a `with` block: one merge patch for each node, or one for all."""

    @contextmanager
    def changed(*patches: Mapping[str, Any]) -> Iterator[None]:
        before = lab.kube.list("Node")
        for index, node in enumerate(before):
            _replace(lab, _patched(node, patches[index % len(patches)]))
        try:
            yield
        finally:
            for node in before:
                _replace(lab, node)

    return changed


def _replace(lab: Lab, node: Any) -> None:
    path = f"/api/v1/nodes/{node['metadata']['name']}"
    metadata = {key: value for key, value in node["metadata"].items() if key != "resourceVersion"}
    item = {"apiVersion": "v1", "kind": "Node", **node, "metadata": metadata}
    lab.kube.request("PUT", path, body=item)
    lab.kube.request("PUT", f"{path}/status", body=item)


def info(**facts: str) -> dict[str, Any]:
    """A patch of what a node says it runs."""
    return {"status": {"nodeInfo": facts}}


def labelled(**labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": {name.replace("__", "/").replace("_", "-"): v for name, v in labels.items()}}}


@pytest.fixture
def person(lab: Lab) -> Iterator[Callable[..., Lab]]:
    """Makes the lab anew for a role that has one policy; roles go at the end."""
    iam, account = lab.aws.client("iam"), lab.aws.identity.account_id
    principal = {"AWS": f"arn:aws:iam::{account}:root"}
    trust = {"Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]}

    def make(*statements: Any) -> Lab:
        iam.create_role(RoleName="person", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", **trust}))
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_role_policy(RoleName="person", PolicyName="own", PolicyDocument=document)
        role = f"arn:aws:iam::{account}:role/person"
        keys = lab.aws.client("sts").assume_role(RoleArn=role, RoleSessionName="person")["Credentials"]
        return Lab(replace(lab.target, aws=lab.aws.with_keys(keys)))

    yield make
    if any(role["RoleName"] == "person" for role in iam.list_roles()["Roles"]):
        iam.delete_role_policy(RoleName="person", PolicyName="own")
        iam.delete_role(RoleName="person")
