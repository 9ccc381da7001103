"""Waiting for alerts: polls CloudWatch Logs until they are there or can't come any more; on a timeout, says why."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from labkit.errors import AlertTimeoutError, ExecError, LabError, StoppedError
from labkit.show import in_notebook

if TYPE_CHECKING:
    import pandas as pd

    from labkit.alerts.times import When
    from labkit.kube import ExecResult, Ran
    from labkit.lab import Lab
    from labkit.provision.diagnose import Link

Found = TypeVar("Found")

# Polls start close together, because the embedded lab delivers at once, and grow apart, because AWS meters them.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
QUIET_SECONDS = 5.0
"""A wait shorter than this shows nothing while it lasts, so that stored outputs stay the same."""


def wait_for_alert(
    lab: Lab,
    rule: str | None,
    *,
    where: Callable[[pd.Series[Any]], bool] | Mapping[str, Any] | None,
    since: When,
    timeout: float,
) -> pd.Series[Any]:
    """See `Lab.wait_for_alert`."""
    from labkit.alerts import read
    from labkit.alerts.times import utc

    start = utc(since)
    label = f"an alert of {rule or 'any rule'}"
    seen: list[pd.DataFrame] = []

    def look() -> pd.Series[Any] | None:
        seen[:] = [read(lab.aws.client("logs"), lab.settings.log_group, start, rule=rule)]
        return latest(seen[0], where)

    found = poll(look, label, timeout)
    if found is not None:
        return found
    from labkit.provision.diagnose import broken_link

    raise _timed_out(label, timeout, broken_link(lab, rule, start, seen=len(seen[0]) if seen else 0))


def alerts_of(lab: Lab, result: ExecResult, *, timeout: float) -> pd.DataFrame:
    """See `Lab.alerts_of`."""
    from labkit.alerts.frame import Found

    ran = result.ran
    if ran is None:
        raise LabError("It isn't known where this command ran.", hint="Give it what lab.exec(...) returned.")
    last = _marker(lab, ran, timeout)
    df = lab.alerts(since=ran.started)
    # Falco names the container in every alert, the pod only when it knows it already.
    place = "container.id" if "container.id" in last else "k8s.pod.name"
    mine = df[(df[place] == last.get(place)).fillna(False) & df["time"].between(ran.started, ran.ended)]
    return Found(
        mine.reset_index(drop=True),
        f"No alert of `{' '.join(ran.argv)}`. (A marker, an alert raised after it in the same container, has arrived, "
        "so one of this command would have, too.)",
    )


def _marker(lab: Lab, ran: Ran, timeout: float) -> pd.Series[Any]:
    """Raises an alert in the container that a command ran in, and returns it once CloudWatch Logs has it.

    Alerts of one container arrive in their order: those of earlier commands are there then, or don't exist. Raises
    `ExecError` if the marker can't be raised, `AlertTimeoutError` with the broken link if it doesn't arrive.
    """
    from labkit.attacks.catalogue import find
    from labkit.attacks.runner import run_id

    attack = find("read-shadow")  # needs nothing but cat
    file = f"/tmp/labkit-{run_id(attack.name)}"
    since = lab.kube.now()
    where = f"{ran.namespace}/{ran.pod}"
    try:
        done = lab.kube.exec(ran.pod, ran.namespace, [*attack.argv, file], container=ran.container)
    except ExecError as error:
        gone = lab.kube.get("Pod", ran.pod, ran.namespace) is None
        raise ExecError(
            f"Pod {where} is gone, so no marker can be raised in it."
            if gone
            else f"No marker can be raised in pod {where}: {error.message}",
            hint="lab.alerts() has what arrived until now; run the command again to be sure.",
        ) from error
    if not done.stdout:
        raise ExecError(
            f"No marker can be raised in pod {where}: {done.stderr.strip() or f'exit code {done.exit_code}'}",
            hint=f"It takes `{' '.join(attack.argv)}`, as root. lab.alerts() has what arrived until now.",
        )
    assert attack.rule is not None
    return wait_for_alert(
        lab, attack.rule, where=lambda alert: file in str(alert.get("proc.cmdline")), since=since, timeout=timeout
    )


def wait_for_log(lab: Lab, pattern: str, *, since: When | None, timeout: float) -> Mapping[str, Any]:
    """See `Lab.wait_for_log`."""
    from labkit.alerts import events
    from labkit.alerts.times import utc
    from labkit.provision.app import is_former_canary
    from labkit.provision.diagnose import broken_link_of_log

    start = None if since is None else utc(since)
    former = is_former_canary(lab)

    def look() -> Mapping[str, Any] | None:
        found = events(lab.aws.client("logs"), lab.settings.log_group, start, filter_pattern=pattern)
        return max((e for e in found if not former(e["message"])), key=lambda e: e["timestamp"], default=None)

    label = f"a log event with {pattern}"
    found = poll(look, label, timeout)
    if found is not None:
        return found
    raise _timed_out(label, timeout, broken_link_of_log(lab, pattern, start or utc("1h"), former))


def poll(look: Callable[[], Found | None], label: str, timeout: float) -> Found | None:
    """What `look()` finds, as soon as it finds something; None after `timeout` seconds. Ctrl-C ends it in one line."""
    started = time.monotonic()
    pause = FIRST_PAUSE
    with Elapsed(f"Waiting for {label}", timeout) as elapsed:
        try:
            while True:
                try:
                    found = look()
                except LabError as error:
                    if "no log group" not in error.message:
                        raise
                    found = None  # said by the diagnosis, unless somebody makes the group in time
                left = started + timeout - time.monotonic()
                if found is not None or left <= 0:
                    return found
                time.sleep(min(pause, left))
                pause = min(pause * 1.5, LONGEST_PAUSE)
                elapsed.show()
        except KeyboardInterrupt:
            raise StoppedError(
                f"Stopped waiting for {label}.",
                hint="Nothing is broken by that: run the cell again to go on waiting.",
            ) from None


def _timed_out(label: str, timeout: float, link: Link) -> AlertTimeoutError:
    return AlertTimeoutError(
        f"Waited {timeout:g} s for {label}, and it did not arrive. Broken link: {link.name}. {link.finding}",
        hint=link.hint,
    )


def latest(
    frame: pd.DataFrame, where: Callable[[pd.Series[Any]], bool] | Mapping[str, Any] | None
) -> pd.Series[Any] | None:
    """What Falco said in the last row that `where` accepts, without missing values; None if there is none."""
    from labkit.alerts.frame import DELIVERY

    for index in range(len(frame) - 1, -1, -1):
        row = frame.iloc[index]
        if where is None or (where(row) if callable(where) else _has(row, where)):
            return row.drop(list(DELIVERY), errors="ignore").dropna()
    return None


def _has(row: pd.Series[Any], fields: Mapping[str, Any]) -> bool:
    import pandas as pd

    return all(name in row.index and not pd.isna(row[name]) and row[name] == fields[name] for name in fields)


class Elapsed:
    """One line with the time gone by, written over itself and wiped at the end. Terminals and notebooks only."""

    def __init__(self, what: str, timeout: float) -> None:
        self.what = what
        self.timeout = timeout
        self._started = time.monotonic()
        self._width = 0
        self._live = sys.stderr.isatty() or in_notebook()
        self._out = sys.stdout if in_notebook() else sys.stderr  # Jupyter paints stderr red

    def __enter__(self) -> Elapsed:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=self._out, flush=True)

    def show(self) -> None:
        gone = time.monotonic() - self._started
        if self._live and gone >= QUIET_SECONDS:
            line = f"{self.what}: {gone:.0f} of {self.timeout:.0f} s"
            self._width = max(self._width, len(line))
            print("\r" + line.ljust(self._width), end="", file=self._out, flush=True)
