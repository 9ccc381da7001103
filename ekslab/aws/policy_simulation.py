"""The IAM policy simulator: SimulateCustomPolicy and SimulatePrincipalPolicy.

It uses the evaluation that authorises calls, so that the simulated decision is the real one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from ekslab.aws.account import Account
from ekslab.aws.iam_authorization import Document, evaluate, parse_document
from ekslab.aws.protocols import AwsError, Call, unsupported
from ekslab.http import HttpResponse

OPERATIONS = frozenset({"SimulateCustomPolicy", "SimulatePrincipalPolicy"})
_DECISIONS = {"allowed": "allowed", "implicitly denied": "implicitDeny", "explicitly denied": "explicitDeny"}
_MAX_PAIRS, _MAX_WORK = 1_000, 10_000_000  # pairs of an action and a resource; times the policies' characters
_NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"


def simulate(call: Call, account: Account) -> HttpResponse:
    """Answers SimulateCustomPolicy and SimulatePrincipalPolicy. Raises AwsError."""
    p = call.parameters
    given = {key.partition(".")[0] for key in p}
    if refused := given & {"ResourcePolicy", "OrderedOrganizationPolicyInputList", "PolicyExclusionList"}:
        raise unsupported(call, ", ".join(sorted(refused)))
    policies = {f"PolicyInputList.{n}": _document(text) for n, text in enumerate(_members(p, "PolicyInputList"), 1)}
    boundary = [_document(text) for text in _members(p, "PermissionsBoundaryPolicyInputList")]
    if call.operation == "SimulatePrincipalPolicy":
        arn = p.get("PolicySourceArn", "")
        found = account.policies_of(arn)
        if found is None:
            raise AwsError("NoSuchEntity", f"The entity {arn} cannot be found.", 404)
        named, attached_boundary = found
        policies |= named
        boundary = boundary or attached_boundary
    actions = _members(p, "ActionNames")
    if not actions or any(re.fullmatch(r"[\w-]+:\w+", action) is None for action in actions):
        raise AwsError("InvalidInput", f"Invalid Input Actions: {', '.join(actions) or 'none'}")
    resources = _members(p, "ResourceArns") or ["*"]
    size = sum(len(text) for name, text in p.items() if "PolicyInputList" in name)
    if len(actions) * len(resources) > _MAX_PAIRS or len(actions) * len(resources) * size > _MAX_WORK:
        message = "The embedded lab simulates fewer or smaller policies, actions and resources at a time."
        raise AwsError("InvalidInput", message)
    context = _context(p)
    results = [_result(policies, boundary, action, resource, context) for action in actions for resource in resources]
    body = (
        f'<{call.operation}Response xmlns="{_NAMESPACE}"><{call.operation}Result><IsTruncated>false</IsTruncated>'
        f"<EvaluationResults>{''.join(results)}</EvaluationResults></{call.operation}Result>"
        f"<ResponseMetadata><RequestId>-</RequestId></ResponseMetadata></{call.operation}Response>"
    )
    return HttpResponse(200, {"Content-Type": "text/xml"}, body.encode())


def _result(
    policies: Mapping[str, Document],
    boundary: Sequence[Document],
    action: str,
    resource: str,
    context: Mapping[str, str | Sequence[str]],
) -> str:
    verdict = evaluate(policies.values(), action, resource, context)
    limited = ""
    if boundary:
        within = evaluate(boundary, action, resource, context)
        allowed = str(within == "allowed").lower()
        limited = (
            "<PermissionsBoundaryDecisionDetail><AllowedByPermissionsBoundary>"
            f"{allowed}</AllowedByPermissionsBoundary></PermissionsBoundaryDecisionDetail>"
        )
        if verdict == "allowed" or within == "explicitly denied":
            verdict = within
    matched = "".join(
        f"<member><SourcePolicyId>{escape(name)}</SourcePolicyId>"
        "<SourcePolicyType>IAM Policy</SourcePolicyType></member>"
        for name, document in policies.items()
        if evaluate([document], action, resource, context) == verdict != "implicitly denied"
    )
    return (
        f"<member><EvalActionName>{escape(action)}</EvalActionName>"
        f"<EvalResourceName>{escape(resource)}</EvalResourceName><EvalDecision>{_DECISIONS[verdict]}</EvalDecision>"
        f"<MatchedStatements>{matched}</MatchedStatements><MissingContextValues/>{limited}</member>"
    )


def _document(text: str) -> Document:
    try:
        return parse_document(text)
    except ValueError as error:
        raise AwsError("InvalidInput", f"Syntax errors in policy: {error}") from error


def _members(parameters: Mapping[str, str], name: str) -> list[str]:
    """The items of a list in the query protocol: `name.member.1`, `name.member.2`, ..."""
    found: list[str] = []
    while (value := parameters.get(f"{name}.member.{len(found) + 1}")) is not None:
        found.append(value)
    return found


def _context(parameters: Mapping[str, str]) -> dict[str, Sequence[str]]:
    context: dict[str, Sequence[str]] = {}
    number = 1
    while (key := parameters.get(f"ContextEntries.member.{number}.ContextKeyName")) is not None:
        context[key] = _members(parameters, f"ContextEntries.member.{number}.ContextKeyValues")
        number += 1
    return context
