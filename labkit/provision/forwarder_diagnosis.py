"""Finds what keeps alerts in the log group from becoming findings in Security Hub."""

from __future__ import annotations

from datetime import UTC, datetime

from labkit.alerts.diagnose import Link
from labkit.alerts.reader import events
from labkit.aws import describe_log_group, translated_errors
from labkit.provision.alarms import queue_url
from labkit.provision.findings_forwarder import (
    Permission,
    SubscriptionFilter,
    dead_letter_queue,
    function_log_group,
    parts,
)
from labkit.provision.iam import Role, RolePolicy
from labkit.provision.parts import Part
from labkit.respond.findings import newest_dead_letter
from labkit.target import Target

_MOMENT = "%Y-%m-%d %H:%M:%S UTC"
# What Lambda's Python runtime writes of an exception, and Lambda itself of a function that took too long or crashed.
_ERRORS = '?"[ERROR]" ?"Task timed out" ?"Runtime.ExitError"'
_COMPARED = (Role, RolePolicy, Permission, SubscriptionFilter)


def broken_link(target: Target) -> Link:
    """What keeps alerts in the log group from becoming findings: parts that aren't as they should be, and what failed.

    The parts are looked at in the order in which an alert meets them; dead letters are read and stay where they are.
    """
    with translated_errors(target.aws.hint):
        faults = [fault for part in reversed(parts(target)) if (fault := _fault(target, part))]
        failures = [failure for newest in (_newest_letter, _newest_error) if (failure := newest(target))]
    if faults:
        hint = 'lab.apply("findings-forwarder") puts that right; then trigger the alert again, or import its finding.'
    elif failures:
        hint = (
            f"Correct what it names. `aws logs tail {function_log_group(target)}` shows the rest of the function's log."
        )
    else:
        failures = ["All of the forwarder is in place, and it reports no failure."]
        hint = "Is the alert in lab.alerts(), and is it newer than the subscription? Then wait again: it may be slow."
    return Link("forwarder", " ".join(faults + failures), hint)


def _fault(target: Target, part: Part) -> str:
    found, state = part.look(target)
    if not state:
        return f"There is no {part.kind} {part.name}."
    if isinstance(part, _COMPARED) and not part.matches(target, found):
        return f"The {part.kind} {part.name} isn't as the step makes it."
    return ""


def _newest_letter(target: Target) -> str:
    url = queue_url(target, dead_letter_queue(target))
    found = newest_dead_letter(target.aws.client("sqs"), url) if url else None
    return f"Newest dead letter ({found[0]:{_MOMENT}}): {found[1]}" if found else ""


def _newest_error(target: Target) -> str:
    if describe_log_group(target.aws, function_log_group(target)) is None:
        return ""
    found = events(target.aws.client("logs"), function_log_group(target), "1h", filter_pattern=_ERRORS)
    newest = max(found, key=lambda event: event["timestamp"], default=None)
    if newest is None:
        return ""
    moment = datetime.fromtimestamp(newest["timestamp"] / 1000, UTC)
    return f"Newest error in the function's log ({moment:{_MOMENT}}): {newest['message'].splitlines()[0]}"
