"""IAM policy evaluation: identity policies, trust policies, resource policies, boundaries and conditions."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ekslab.aws.protocols import AwsError, Call
from ekslab.wildcards import wildcard

Context = Mapping[str, str | Sequence[str]]
Document = Mapping[str, Any]
Verdict = Literal["allowed", "implicitly denied", "explicitly denied"]


@dataclass(frozen=True)
class Principal:
    """A caller. `policies` is None for the account's administrator, who may do everything.

    `boundaries` are further sets of policies (a permissions boundary, a session policy), each of which must allow
    the action too.
    """

    arn: str
    user_id: str
    policies: Sequence[Document] | None = None
    boundaries: Sequence[tuple[str, Sequence[Document]]] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    """Of the role and its session: `aws:PrincipalTag/...`."""


def parse_document(text: str) -> Document:
    """A policy document. Raises ValueError when it isn't a JSON object."""
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("a policy document is a JSON object")
    return document


def evaluate(policies: Iterable[Document], action: str, resource: str, context: Context) -> Verdict:
    """Evaluates identity policies: an explicit deny wins over any allow; without an allow, the action is denied."""
    allowed = False
    for policy in policies:
        for statement in _list(policy.get("Statement")):
            deny = statement.get("Effect") == "Deny"
            if _applies(statement, action, resource, context, deny=deny):
                if deny:
                    return "explicitly denied"
                allowed = True
    return "allowed" if allowed else "implicitly denied"


def trusts(
    document: Document,
    action: str,
    principals: Mapping[str, Iterable[str]],
    context: Context,
    *,
    deniable: Mapping[str, Iterable[str]] | None = None,
) -> bool:
    """Whether a role's trust policy lets one of `principals` (by type: `AWS`, `Federated`, ...) do `action`.

    `deniable` are those that a `Deny` may name, if these are more.
    """
    allowed = False
    for statement in _list(document.get("Statement")):
        deny = statement.get("Effect") == "Deny"
        if (
            _matches_principal(statement.get("Principal"), (deniable if deny else None) or principals)
            and _matches_action(statement, action)
            and _matches_conditions(statement.get("Condition", {}), context, deny=deny)
        ):
            if deny:
                return False
            allowed = True
    return allowed


def trusts_service(document: Document, action: str, service: str, resource: str, context: Context) -> bool:
    """Whether a resource's policy lets a service (`sns.amazonaws.com`) do `action` on it."""
    statements = [
        statement
        for statement in _list(document.get("Statement"))
        if "Resource" not in statement or _matches_resource(statement, resource, context, deny=False)
    ]
    # `{"AWS": "*"}` includes services.
    return trusts({"Statement": statements}, action, {"Service": [service], "AWS": ()}, context)


def authorize(principal: Principal, action: str, resources: Sequence[str], context: Context) -> None:
    """Raises AwsError (AccessDeniedException, in AWS's words) unless the principal may act on every resource."""
    if principal.policies is None:
        return
    for resource in resources:
        layers = [("identity-based policy", principal.policies), *principal.boundaries]
        for name, policies in layers:
            verdict = evaluate(policies, action, resource, context)
            if verdict == "explicitly denied":
                article = "an" if name[0] in "aeiou" else "a"
                raise _denied(principal, action, resource, f"with an explicit deny in {article} {name}")
            if verdict == "implicitly denied":
                raise _denied(principal, action, resource, f"because no {name} allows the {action} action")


def _denied(principal: Principal, action: str, resource: str, why: str) -> AwsError:
    message = f"User: {principal.arn} is not authorized to perform: {action} on resource: {resource} {why}"
    return AwsError("AccessDeniedException", message)


# Actions on queries have no resource: a query has no ARN, and the call doesn't name its log group.
_UNRESTRICTED_LOGS = {"DescribeQueries", "GetQueryResults", "StopQuery", "TestMetricFilter"}
_STREAM_LOGS = {"PutLogEvents", "GetLogEvents", "CreateLogStream", "DeleteLogStream"}
_TAGGING_LOGS = {"TagResource", "UntagResource", "ListTagsForResource"}


def resources_of(call: Call, account_id: str) -> list[str]:
    """The ARNs a call is authorised on; `*` for an action without resource-level permissions."""
    p = call.parameters
    match call.service:
        case "logs":
            return _log_resources(call, account_id)
        case "iam":
            if call.operation == "CreateOpenIDConnectProvider":
                url = str(p.get("Url", "")).removeprefix("https://")
                return [f"arn:aws:iam::{account_id}:oidc-provider/{url}"]
            for key in ("PolicyArn", "OpenIDConnectProviderArn", "PolicySourceArn"):
                if key in p and not any(name in p for name in ("RoleName", "UserName", "GroupName")):
                    return [p[key]]
            for key, kind in (
                ("RoleName", "role"),
                ("UserName", "user"),
                ("GroupName", "group"),
                ("PolicyName", "policy"),
            ):
                if key in p:
                    return [f"arn:aws:iam::{account_id}:{kind}{p.get('Path', '/')}{p[key]}"]
        case "eks" | "eks-auth":
            of = call.path_parameters
            for key, kind in (("associationId", "podidentityassociation"), ("addonName", "addon")):
                if key in of:
                    end = "/*" if kind == "addon" else ""
                    return [f"arn:aws:eks:{call.region}:{account_id}:{kind}/{of['name']}/{of[key]}{end}"]
            name = call.path_parameters.get("name") or call.path_parameters.get("clusterName") or p.get("name")
            if name:
                return [f"arn:aws:eks:{call.region}:{account_id}:cluster/{name}"]
        case "sts":
            if "RoleArn" in p:
                return [p["RoleArn"]]
    return ["*"]


def condition_keys_of(call: Call) -> dict[str, str | list[str]]:
    """The service-specific condition keys of a call, with their values."""
    if call.action == "cloudwatch:PutMetricAlarm":
        kinds = ("AlarmActions", "OKActions", "InsufficientDataActions")
        actions = [str(arn) for kind in kinds for arn in call.parameters.get(kind) or ()]
        return {"cloudwatch:AlarmActions": actions} if actions else {}
    if call.action == "securityhub:BatchImportFindings":
        findings = [finding for finding in call.parameters.get("Findings") or () if isinstance(finding, Mapping)]
        return {"securityhub:TargetAccount": sorted({str(finding.get("AwsAccountId", "")) for finding in findings})}
    if call.action == "cloudwatch:PutMetricData":
        return {"cloudwatch:namespace": str(call.parameters.get("Namespace", ""))}
    if call.action == "sns:Subscribe":
        p = call.parameters
        return {"sns:Protocol": str(p.get("Protocol", "")), "sns:Endpoint": str(p.get("Endpoint", ""))}
    return {}


# Actions that create tagged resources: (the parameter with the tags, the action that tagging needs).
TAGGED_WHEN_MADE = {
    "cloudwatch:PutDashboard": ("Tags", "cloudwatch:TagResource"),
    "cloudwatch:PutMetricAlarm": ("Tags", "cloudwatch:TagResource"),
    "eks:CreateAccessEntry": ("tags", "eks:TagResource"),
    "lambda:CreateFunction": ("Tags", "lambda:TagResource"),
    "logs:CreateLogGroup": ("tags", "logs:TagResource"),
    "securityhub:EnableSecurityHub": ("Tags", "securityhub:TagResource"),
    "sns:CreateTopic": ("Tags", "sns:TagResource"),
    "sqs:CreateQueue": ("tags", "sqs:TagQueue"),
}


def _log_resources(call: Call, account_id: str) -> list[str]:
    p = call.parameters
    prefix = f"arn:aws:logs:{call.region}:{account_id}:log-group:"
    if call.operation in _TAGGING_LOGS:
        return [str(p.get("resourceArn", "*")).removesuffix(":*")]
    if call.operation in _UNRESTRICTED_LOGS:
        return ["*"]
    groups = [p.get("logGroupName"), p.get("logGroupIdentifier")]
    for several in (p.get("logGroupNames"), p.get("logGroupIdentifiers")):
        groups += several if isinstance(several, list) else []
    stream = p.get("logStreamName", "") if call.operation in _STREAM_LOGS else ""
    names = [str(group).removesuffix(":*").rpartition(":log-group:")[2] for group in groups if group]
    return [f"{prefix}{name}:log-stream:{stream}" for name in names] or [f"{prefix}:log-stream:"]


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _like(pattern: str, value: str, *, ignore_case: bool = False) -> bool:
    return wildcard(pattern, single=True, ignore_case=ignore_case)(value)


def _applies(statement: Mapping[str, Any], action: str, resource: str, context: Context, *, deny: bool) -> bool:
    return (
        _matches_action(statement, action)
        and _matches_resource(statement, resource, context, deny=deny)
        and _matches_conditions(statement.get("Condition", {}), context, deny=deny)
    )


def _matches_action(statement: Mapping[str, Any], action: str) -> bool:
    if "NotAction" in statement:
        return not any(_like(p, action, ignore_case=True) for p in _list(statement["NotAction"]))
    return any(_like(p, action, ignore_case=True) for p in _list(statement.get("Action")))


def _matches_resource(statement: Mapping[str, Any], resource: str, context: Context, *, deny: bool) -> bool:
    negated = "NotResource" in statement
    patterns = []
    for pattern in _list(statement.get("NotResource" if negated else "Resource")):
        filled = _fill_variables(pattern, context)
        if filled is None:
            # A policy variable without a value in the request: the pattern neither grants nor exempts anything.
            if deny and not negated:
                return True
            if negated and not deny:
                return False
            continue
        patterns.append(filled)
    return any(_like(pattern, resource) for pattern in patterns) != negated


def _fill_variables(pattern: str, context: Context) -> str | None:
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        found = _context_values(match[1], context)
        if not found:
            missing = True
            return ""
        return found[0]

    filled = re.sub(r"\$\{([^}]+)\}", value, pattern)
    return None if missing else filled


def _matches_principal(principal: Any, principals: Mapping[str, Iterable[str]]) -> bool:
    if principal == "*":
        return True
    if not isinstance(principal, Mapping):
        return False
    for kind, values in principals.items():
        for wanted in _list(principal.get(kind)):
            if wanted == "*" or wanted in values:
                return True
    return False


def _context_values(key: str, context: Context) -> list[str]:
    key = key.lower()
    for name, value in context.items():
        if name.lower() == key:
            return [value] if isinstance(value, str) else list(value)
    return []


def _matches_conditions(conditions: Mapping[str, Any], context: Context, *, deny: bool) -> bool:
    """Whether all conditions hold. An unknown operator doesn't hold in an Allow, and holds in a Deny."""
    for operator, keys in conditions.items():
        for key, wanted in keys.items():
            held = _condition(operator, key, [_text(value) for value in _list(wanted)], context)
            if held is None:
                held = deny
            if not held:
                return False
    return True


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _condition(operator: str, key: str, wanted: list[str], context: Context) -> bool | None:
    """Whether one condition holds; None when the operator isn't known."""
    quantifier, _, name = operator.rpartition(":")
    values = _context_values(key, context)
    if name == "Null":
        return (not values) == (wanted == ["true"])
    if_exists = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    negated = "Not" in name
    compare = _COMPARISONS.get(name.replace("Not", "") if name != "NotIpAddress" else "IpAddress")
    if compare is None or quantifier not in ("", "ForAnyValue", "ForAllValues"):
        return None
    if not values:
        return if_exists or negated or quantifier == "ForAllValues"
    try:
        results = [any(compare(want, value) for want in wanted) != negated for value in values]
    except ValueError:
        return False
    return all(results) if quantifier == "ForAllValues" or (not quantifier and negated) else any(results)


def _arn_like(pattern: str, value: str) -> bool:
    # Each of the six colon-separated parts is matched by itself: a wildcard doesn't match a colon.
    wanted, got = pattern.split(":", 5), value.split(":", 5)
    return len(wanted) == len(got) and all(_like(w, g) for w, g in zip(wanted, got, strict=True))


def _date(text: str) -> dt.datetime:
    if text.isdigit():
        return dt.datetime.fromtimestamp(int(text), dt.UTC)
    parsed = dt.datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)


_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda want, got: want == got,
    "StringEqualsIgnoreCase": lambda want, got: want.lower() == got.lower(),
    "StringLike": _like,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "Bool": lambda want, got: want.lower() == got.lower(),
    "NumericEquals": lambda want, got: float(got) == float(want),
    "NumericLessThan": lambda want, got: float(got) < float(want),
    "NumericLessThanEquals": lambda want, got: float(got) <= float(want),
    "NumericGreaterThan": lambda want, got: float(got) > float(want),
    "NumericGreaterThanEquals": lambda want, got: float(got) >= float(want),
    "DateEquals": lambda want, got: _date(got) == _date(want),
    "DateLessThan": lambda want, got: _date(got) < _date(want),
    "DateLessThanEquals": lambda want, got: _date(got) <= _date(want),
    "DateGreaterThan": lambda want, got: _date(got) > _date(want),
    "DateGreaterThanEquals": lambda want, got: _date(got) >= _date(want),
    "IpAddress": lambda want, got: ipaddress.ip_address(got) in ipaddress.ip_network(want, strict=False),
}
