"""Waits for alerts and log lines to arrive in CloudWatch Logs; a timeout names the broken link."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import pandas as pd

from labkit.alerts import diagnose
from labkit.alerts.card import Alert
from labkit.alerts.frame import Found
from labkit.alerts.reader import events, whole
from labkit.alerts.service import NoLogGroupError
from labkit.alerts.times import When, utc
from labkit.causes import PATIENCE
from labkit.errors import AlertTimeoutError, ExecError, LabError
from labkit.kube import ExecResult, Ran
from labkit.target import Target
from labkit.waiting import poll

Awaited = TypeVar("Awaited")
Condition: TypeAlias = "Callable[[pd.Series[Any]], bool] | Mapping[str, Any] | None"

MARKER, MARKER_RULE = ("cat", "/etc/shadow"), "Read sensitive file untrusted"
_runs: Counter[str] = Counter()
_LOOKS = 3.0
"""Seconds between two looks at what may be broken meanwhile."""
_PATIENCE = 15.0
"""Seconds for which a broken link may mend itself: `labkit.causes` has which do, and how many times longer."""
# Seconds without an alert after which Falco is asked whether it has the rule at all, and a log group that isn't there
# is the broken link. (Until then one may still be made.)
_DOUBT = 3.0


def wait_for_alert(target: Target, rule: str | None, *, where: Condition, since: When, timeout: float) -> Alert:
    """See `Lab.wait_for_alert`."""
    start = utc(since)
    label = f"an alert of {rule or 'any rule'}"
    seen: list[pd.DataFrame] = []
    in_doubt = time.monotonic() + _DOUBT

    def newest() -> Alert | None:
        nonlocal in_doubt
        settings = target.settings
        seen[:] = [whole(target.aws.client("logs"), settings.log_group, start, rule=rule, namespace=settings.scope)]
        found = latest(seen[0], where)
        if found is None and rule and time.monotonic() >= in_doubt:
            in_doubt = math.inf
            diagnose.refuse_unknown(target, rule)
        return found

    found = _poll(target, newest, label, timeout, start)
    if found is not None:
        return found
    raise _timed_out(
        target, label, timeout, diagnose.broken_link(target, rule, start, seen=len(seen[0]) if seen else 0)
    )


def alerts_of(target: Target, result: ExecResult, *, timeout: float) -> pd.DataFrame:
    """See `Lab.alerts_of`."""
    ran = result.ran
    if ran is None:
        raise LabError("It isn't known where this command ran.", hint="Give it what lab.exec(...) returned.")
    last = _marker(target, ran, timeout)
    # Falco names the container in every alert, the pod only when it knows it already.
    key = "container.id" if "container.id" in last else "k8s.pod.name"
    pattern = f'"{last.get(key)}"'
    df = whole(target.aws.client("logs"), target.settings.log_group, ran.started, filter_pattern=pattern)
    of_command = (df[key] == last.get(key)).fillna(False) & df["time"].between(ran.started, ran.ended)
    return Found(
        df[of_command].reset_index(drop=True),
        f"No alert of `{' '.join(ran.argv)}`. (A marker, an alert raised after it in the same container, has arrived, "
        "so one of this command would have, too.)",
    )


def _marker(target: Target, ran: Ran, timeout: float) -> Alert:
    """Raises an alert in the container that a command ran in, and returns it once CloudWatch Logs has it.

    Alerts of one container arrive in their order: those of earlier commands are there then, or don't exist. Raises
    `ExecError` if the marker can't be raised, `AlertTimeoutError` with the broken link if it doesn't arrive.
    """
    file = f"/tmp/labkit-{run_id('read-shadow')}"
    since = target.kube.now()
    name = f"{ran.namespace}/{ran.pod}"
    try:
        done = target.kube.exec(ran.pod, [*MARKER, file], namespace=ran.namespace, container=ran.container)
    except ExecError as error:
        gone = target.kube.get("Pod", ran.pod, ran.namespace) is None
        raise ExecError(
            f"Pod {name} is gone, so no marker can be raised in it."
            if gone
            else f"No marker can be raised in pod {name}: {error.message}",
            hint="lab.alerts() has what arrived until now; run the command again to be sure.",
        ) from error
    if not done.stdout:
        raise ExecError(
            f"No marker can be raised in pod {name}: {done.stderr.strip() or f'exit code {done.exit_code}'}",
            hint=f"It takes `{' '.join(MARKER)}`, as root. lab.alerts() has what arrived until now.",
        )
    return wait_for_alert(
        target, MARKER_RULE, where=lambda alert: file in str(alert.get("proc.cmdline")), since=since, timeout=timeout
    )


def run_id(name: str) -> str:
    """Six characters that identify a run of an attack; the same in each execution of a notebook."""
    _runs[name] += 1
    return hashlib.sha256(f"{name} {_runs[name]}".encode()).hexdigest()[:6]


def wait_for_log(target: Target, pattern: str, *, since: When | None, timeout: float) -> Mapping[str, Any]:
    """See `Lab.wait_for_log`."""
    start = None if since is None else utc(since)
    is_former = _former_canary(target)

    def newest() -> Mapping[str, Any] | None:
        found = events(target.aws.client("logs"), target.settings.log_group, start, filter_pattern=pattern)
        return max((e for e in found if not is_former(e["message"])), key=lambda e: e["timestamp"], default=None)

    label = f"a log event with {pattern}"
    found = _poll(target, newest, label, timeout, target.kube.now())
    if found is not None:
        return found
    raise _timed_out(
        target, label, timeout, diagnose.broken_link_of_log(target, pattern, start or utc("1h"), is_former)
    )


def _former_canary(target: Target) -> Callable[[str], bool]:
    """A predicate for the line of an earlier canary: it has another pod uid than the present canary."""
    pod = target.kube.get("Pod", "canary", target.settings.falco_namespace)
    current = pod["metadata"]["uid"] if pod else None

    def is_former(message: str) -> bool:
        try:
            printed = json.loads(message) if '"canary"' in message else None
        except (ValueError, RecursionError):
            return False
        return isinstance(printed, dict) and current is not None and printed.get("pod", current) != current

    return is_former


def _poll(
    target: Target, newest: Callable[[], Awaited | None], label: str, timeout: float, since: dt.datetime
) -> Awaited | None:
    """Polls a log group that may not exist yet, and shows meanwhile which link is broken.

    Raises `AlertTimeoutError` before the timeout if the group doesn't exist `_DOUBT` seconds later either, or if
    another link has been broken for as long as its cause may take to pass by itself.
    """
    started = time.monotonic()
    next_look, broken, broken_since = started + _DOUBT, None, 0.0

    def look() -> Awaited | None:
        try:
            return newest()
        except NoLogGroupError:
            waited = time.monotonic() - started
            if waited >= _DOUBT and (missing := diagnose.group_missing(target)):
                raise _timed_out(target, label, min(round(waited), timeout), missing) from None
            return None  # at the end, the diagnosis says so

    def doubt() -> str:
        nonlocal next_look, broken, broken_since
        now = time.monotonic()
        if now >= next_look:
            found = diagnose.broken_by_now(target, since)
            next_look = time.monotonic() + _LOOKS
            if found is None or broken is None or (found.name, found.hint) != (broken.name, broken.hint):
                broken_since = now
            broken = found
            if found and now - broken_since >= _PATIENCE * PATIENCE[found.ends]:
                raise _timed_out(target, label, min(round(now - started), timeout), found)
        return broken.finding.splitlines()[0] if broken else ""

    return poll(look, label, timeout, doubt)


# Steps that a class shares: only its instructor can mend them.
_OF_CLASS = re.compile(r'lab\.apply\("(canary|falco|fluent-bit|fluent-bit-role|log-group|oidc-provider)"\)')


def _timed_out(target: Target, label: str, timeout: float, link: diagnose.Link) -> AlertTimeoutError:
    hint = link.hint
    if target.settings.attendee and _OF_CLASS.search(hint):
        hint = f"That is the class's: tell the instructor, who can mend it: {hint}"
    return AlertTimeoutError(
        f"Waited {timeout:g} s for {label}, and it did not arrive. Broken link: {link.name}. {link.finding}", hint=hint
    )


def latest(frame: pd.DataFrame, where: Condition) -> Alert | None:
    """The last alert that `where` accepts, without delivery columns and missing values; None if there is none."""
    for index in range(len(frame) - 1, -1, -1):
        row = frame.iloc[index]
        if where is None or (where(row) if callable(where) else _has(row, where)):
            return Alert.of(row)
    return None


def _has(row: pd.Series[Any], fields: Mapping[str, Any]) -> bool:
    return all(name in row.index and not pd.isna(row[name]) and row[name] == fields[name] for name in fields)
