"""Whether the caller may do what the chosen chapters do: IAM's policy simulator, and access reviews of the cluster.

What they do is said once: steps and chapters name statements of `manifests/iam/workshop-*.json` and resources of the
cluster, and tests prove that these are all that is called, and no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from labkit.aws import answer_or_none, refusal
from labkit.kube import KubernetesError
from labkit.kube.access import EVERYTHING, Access
from labkit.provision.iam import policy
from labkit.provision.preflight.chapters import CHAPTERS, Chosen
from labkit.provision.preflight.finding import Finding, blocker, ok, warning
from labkit.show import counted
from labkit.target import Target

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import ContextEntryTypeDef

_PERMISSIONS, _AWS, _CLUSTER = "permissions", "in AWS", "in the cluster"
_AT_ONCE = 6  # requests to the simulator
_SHOWN = 6


@dataclass(frozen=True)
class Statement:
    """A statement of the workshop's policies, filled in."""

    sid: str
    policy: str
    """The policy that it is in, e.g. `workshop-alarms`."""
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    context: Mapping[str, Sequence[str]] = field(hash=False)
    """What its conditions want keys to be: one of these values."""


def statements(target: Target) -> dict[str, Statement]:
    """The statements of `manifests/iam/workshop-*.json`, by Sid. Raises `StepError` for a file that is none."""
    found = {}
    for file in sorted((target.settings.root / "manifests" / "iam").glob("workshop-*.json")):
        for statement in policy(file.stem, target)["Statement"]:
            actions, resources = statement["Action"], statement["Resource"]
            equal = statement.get("Condition", {}).get("StringEquals", {})
            found[statement["Sid"]] = Statement(
                statement["Sid"],
                file.stem,
                tuple([actions] if isinstance(actions, str) else actions),
                tuple([resources] if isinstance(resources, str) else resources),
                {key: [v] if isinstance(v, str) else v for key, v in equal.items()},
            )
    return found


def in_aws(chosen: Chosen) -> Iterator[Finding]:
    """Asks IAM to simulate every action; a request for each set of resources."""
    target, table = chosen.target, statements(chosen.target)
    wanted = [table[sid] for sid in sorted(chosen.allowed & set(table))]
    count = len({action for statement in wanted for action in statement.actions})
    policies = sorted({statement.policy for statement in wanted})
    shown = " and ".join(f"`labkit policy {name}`" for name in policies)
    principal, why = _principal(target)
    if not principal:
        hint = f"{why} What it has to be allowed: {shown}."
        yield warning(_PERMISSIONS, _AWS, f"{counted(count, 'action')}, not checked", hint)
        return
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            denials = list(pool.map(partial(_denied, target, principal), wanted))
    except Exception as error:
        code, said = refusal(error)
        if not code.startswith("AccessDenied"):
            raise
        hint = (
            "It may not call iam:SimulatePrincipalPolicy: allow that (`labkit policy workshop-preflight`) to have them "
            f"checked. What it has to be allowed: {shown}."
        )
        yield warning(_PERMISSIONS, _AWS, f"{counted(count, 'action')}, not checked: {said}", hint)
        return
    missing = {statement: denied for statement, denied in zip(wanted, denials, strict=True) if denied}
    for name, used in _users(chosen).items():
        lacking = {a: why for s, denied in missing.items() if s.sid in used for a, why in denied.items()}
        if lacking:
            files = sorted({s.policy for s in missing if s.sid in used})
            hint = f"Ask for {' and '.join(f'`labkit policy {file}`' for file in files)}, or leave that chapter out."
            yield blocker(_PERMISSIONS, f"{_AWS}, {name}", f"may not {_listed(lacking)}", hint)
    if not missing:
        yield ok(_PERMISSIONS, _AWS, "every action that they use is allowed, as IAM simulates it")


def _users(chosen: Chosen) -> dict[str, set[str]]:
    """Who uses which statements: each step, then each chapter for what it calls itself."""
    users = {f"step {step.name}": set(step.statements(chosen.target)) for step in chosen.steps}
    taken = set().union(*users.values()) if users else set()
    for chapter in chosen.chapters:
        own = set(CHAPTERS[chapter].allowed) - taken
        users[f"chapter {chapter}"] = own
        taken |= own
    return users


def _principal(target: Target) -> tuple[str, str]:
    """The ARN of the user or role whose policies count, or why there is none."""
    identity = target.aws.identity
    if ":user/" in identity.arn:
        return identity.arn, ""
    if not identity.role:
        return "", f"IAM simulates no policies of {identity.arn.rpartition(':')[2]}."
    try:  # a role may have a path, as those of IAM Identity Center do
        found = answer_or_none(target.aws.client("iam").get_role, RoleName=identity.role)
    except Exception as error:
        if not refusal(error)[0].startswith("AccessDenied"):
            raise
        found = None
    return (str(found["Role"]["Arn"]) if found else identity.principal), ""


def _denied(target: Target, principal: str, statement: Statement) -> dict[str, str]:
    """The statement's actions that are allowed on none of its resources, each with who denies it (may be empty)."""
    context: list[ContextEntryTypeDef] = [
        {"ContextKeyName": key, "ContextKeyValues": values[:1], "ContextKeyType": "string"}
        for key, values in statement.context.items()
    ]
    pages = target.aws.client("iam").get_paginator("simulate_principal_policy")
    results = pages.paginate(
        PolicySourceArn=principal,
        ActionNames=list(statement.actions),
        # A pattern isn't a resource: a name in its place.
        ResourceArns=[resource if resource == "*" else resource.replace("*", "x") for resource in statement.resources],
        ContextEntries=context,
    ).build_full_result()["EvaluationResults"]
    allowed = {result["EvalActionName"] for result in results if result["EvalDecision"] == "allowed"}
    return {r["EvalActionName"]: _reason(r) for r in results if r["EvalActionName"] not in allowed}


def _reason(result: Any) -> str:
    """Who denies it, where that isn't merely that nothing allows it."""
    if not result.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations", True):
        return "denied by the organization's policies (SCP)"
    if not result.get("PermissionsBoundaryDecisionDetail", {}).get("AllowedByPermissionsBoundary", True):
        return "denied by the permissions boundary"
    if result["EvalDecision"] == "explicitDeny":
        named = ", ".join(statement.get("SourcePolicyId", "?") for statement in result.get("MatchedStatements", []))
        return f"denied by {f'policy {named}' if named else 'a policy'}"
    return ""


def _listed(lacking: Mapping[str, str]) -> str:
    """`a and b (denied by ...), c`: actions with the same reason together."""
    reasons: dict[str, list[str]] = {}
    for action, why in sorted(lacking.items()):
        reasons.setdefault(why, []).append(action)
    return "; ".join(f"{_few(actions)}{f' ({why})' if why else ''}" for why, actions in reasons.items())


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def in_cluster(chosen: Chosen) -> Iterator[Finding]:
    """Asks the API server for each verb on each resource; of an administrator, only whether it is one."""
    kube, wanted = chosen.target.kube, sorted(chosen.access)
    if not wanted:
        return
    try:
        if EVERYTHING.is_granted(kube):
            yield ok(_PERMISSIONS, _CLUSTER, "everything: an administrator")
            return
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            granted = dict(zip(wanted, pool.map(lambda access: access.is_granted(kube), wanted), strict=True))
    except KubernetesError as error:
        hint = "`kubectl auth can-i --list` shows what this identity may do."
        yield warning(_PERMISSIONS, _CLUSTER, f"not checked: {error.message}", hint)
        return
    denied = [access for access, may in granted.items() if not may]
    if denied:
        hint = (
            "Ask for the access policy AmazonEKSClusterAdminPolicy (`aws eks associate-access-policy`) or the "
            "ClusterRole cluster-admin."
        )
        yield blocker(_PERMISSIONS, _CLUSTER, f"may not {_few(_together(denied))}", hint)
    else:
        yield ok(_PERMISSIONS, _CLUSTER, "every verb that they use is granted")


def _together(denied: Sequence[Access]) -> list[str]:
    """`create, patch daemonsets.apps in falco`: the verbs on a resource together."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for access in denied:
        verbs.setdefault((access.resource, access.namespace), []).append(access.verb)
    return [str(Access(", ".join(names), *where)) for where, names in verbs.items()]
