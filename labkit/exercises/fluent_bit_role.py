"""What Fluent Bit's role can do, found out by trying it with the role's own credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.aws import refusal, translated_errors
from labkit.errors import LabError, TargetError
from labkit.provision.iam import SERVICE_ACCOUNT, assume_role, assume_role_of, by_pod_identity, role_arn
from labkit.target import Target

if TYPE_CHECKING:
    from labkit.settings import Settings

# No such stream and no such group: where the role may do it, AWS says that there is none, and nothing is changed.
_NONE = "labkit-there-is-no-such-stream"
_ELSEWHERE = "labkit-there-is-no-such-group"
# What AWS answers to who may: there is no such thing, or there is one already.
_ALLOWED = ("ResourceNotFoundException", "ResourceAlreadyExistsException")


def _put(logs: Any, group: str) -> None:
    from datetime import UTC, datetime

    event = {"timestamp": int(datetime.now(UTC).timestamp() * 1000), "message": "tried out"}
    logs.put_log_events(logGroupName=group, logStreamName=_NONE, logEvents=[event])


@dataclass(frozen=True)
class Call:
    """A call to CloudWatch Logs that changes nothing, or at most makes Fluent Bit's own stream."""

    action: str
    needed: bool
    """Whether Fluent Bit makes it."""
    make: Callable[[Any, Settings], Any]
    """Takes the client."""

    @property
    def listed(self) -> bool:
        """Whether the policy lists the action, be it for another resource."""
        return any(call.needed and call.action == self.action for call in CALLS.values())


CALLS: dict[str, Call] = {
    "write lines to the log group": Call("logs:PutLogEvents", True, lambda logs, s: _put(logs, s.log_group)),
    "create a stream in it": Call(
        "logs:CreateLogStream",
        True,
        lambda logs, s: logs.create_log_stream(logGroupName=s.log_group, logStreamName=s.log_stream),
    ),
    "read the lines back": Call(
        "logs:FilterLogEvents", False, lambda logs, s: logs.filter_log_events(logGroupName=s.log_group, limit=1)
    ),
    "delete a stream": Call(
        "logs:DeleteLogStream",
        False,
        lambda logs, s: logs.delete_log_stream(logGroupName=s.log_group, logStreamName=_NONE),
    ),
    "create the log group": Call(
        "logs:CreateLogGroup", False, lambda logs, s: logs.create_log_group(logGroupName=s.log_group)
    ),
    "write to another log group": Call("logs:PutLogEvents", False, lambda logs, s: _put(logs, _ELSEWHERE)),
}
"""What to try."""


def tried(target: Target) -> dict[str, str]:
    """Tries each of `CALLS`; empty where the role may do it, else AWS's code.

    Raises `StepError` or `TargetError` if the service account has no role or can't take it on.
    """
    logs = assume_role_of(target, target.settings.logging_namespace, SERVICE_ACCOUNT).client("logs")
    return {name: _refused(call, logs, target) for name, call in CALLS.items()}


def as_the_policy_says() -> dict[str, str]:
    """What `tried` finds where the role has the workshop's two policies, and no others."""
    return {name: "" if call.needed else "AccessDeniedException" for name, call in CALLS.items()}


def tried_if_it_ships(target: Target) -> dict[str, str] | None:
    """As `tried`; None if the service account can't take the role on, or hasn't what it needs."""
    try:
        found = tried(target)
    except LabError:
        return None
    return None if any(found[name] for name, call in CALLS.items() if call.needed) else found


def can_ship(target: Target) -> bool:
    """Whether Fluent Bit's service account can take the role on and has what it needs."""
    return tried_if_it_ships(target) is not None


def excess(target: Target) -> Iterator[str]:
    """What the role can do, or who can take it on, that the pipeline doesn't need."""
    found = tried(target)
    yield from (f"it can {name}" for name, call in CALLS.items() if not call.needed and not found[name])
    try:
        assume_role(target, target.settings.logging_namespace, "default", role_arn(target))
    except TargetError as error:
        # With EKS Pod Identity, IAM trusts no tokens of the cluster at all.
        if "AccessDenied" not in refusal(error)[0] and not by_pod_identity(target):
            raise
        return
    yield "another service account can take it on"


def _refused(call: Call, logs: Any, target: Target) -> str:
    try:
        with translated_errors(target.aws.hint):
            call.make(logs, target.settings)
    except TargetError as error:
        code, _ = refusal(error)
        if "AccessDenied" in code:
            return code
        if code not in _ALLOWED:
            raise
    return ""
