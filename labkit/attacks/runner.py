"""Runs attacks in a pod and waits for their alerts: names come in, expected and seen side by side go out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from labkit.attacks.catalogue import Attack, find, typed
from labkit.errors import AlertTimeoutError, ExecError
from labkit.show import Table

if TYPE_CHECKING:
    import pandas as pd

    from labkit.alerts.times import When
    from labkit.lab import Lab

_NOT_RUN = (126, 127)
# What proves that alerts are arriving: it needs nothing but cat.
_MARKER = find("read-shadow")
_runs: Counter[str] = Counter()


@dataclass(frozen=True)
class Outcome:
    """What an attack did. `alert` is what `lab.wait_for_alert` gave, None if no alert was expected or none came."""

    attack: Attack
    argv: tuple[str, ...]
    stdout: str = ""
    stderr: str = ""
    exit_code: int | None = None
    alert: Any = None
    seen: tuple[str, ...] = ()
    """Names of the rules that alerted."""
    problem: str = ""
    """Why it didn't pass, in words."""

    @property
    def name(self) -> str:
        return self.attack.name

    @property
    def rule(self) -> str | None:
        """The rule that was expected to alert; None for a control."""
        return self.attack.rule

    @property
    def passed(self) -> bool:
        """Whether what was seen is what was expected."""
        return not self.problem

    def __repr__(self) -> str:
        return repr(Outcomes({self.name: self}))

    def _repr_html_(self) -> str:
        return Outcomes({self.name: self})._repr_html_()


class Outcomes(dict[str, Outcome]):
    """Outcomes by the attack's name, in the order in which they ran."""

    def _table(self) -> Table:
        passed = sum(outcome.passed for outcome in self.values())
        rows = tuple(
            (
                outcome.name,
                typed(outcome.argv),
                outcome.rule or "no alert",
                ", ".join(outcome.seen) or "no alert",
                "as expected" if outcome.passed else f"NOT as expected: {outcome.problem}",
            )
            for outcome in self.values()
        )
        title = f"{passed} of {len(self)} as expected"
        return Table(title, ("attack", "command", "expected", "seen", "result"), rows)

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


def run(lab: Lab, *names: str, target: str = "deploy/nginx", timeout: float | None = None) -> Outcomes:
    """Runs the attacks one after the other in `target` and waits for each one's alert, at most `timeout` seconds.

    A control is followed by a command that does alert: once that one's alert is there, the control's would be, too.
    An attack whose alert doesn't come is an outcome that hasn't passed, not an exception. Raises `LabError` for a name
    that isn't in the catalogue, before anything is run.
    """
    attacks = [find(name) for name in names]
    return Outcomes({attack.name: _run(lab, attack, target, timeout) for attack in attacks})


def _run(lab: Lab, attack: Attack, target: str, timeout: float | None) -> Outcome:
    run_id = _run_id(attack.name)
    argv = _filled(attack.argv, run_id)
    since = lab.kube.now()
    try:
        result = lab.exec(target, *argv, tty=attack.tty, stdin=attack.stdin)
    except ExecError as error:
        return Outcome(attack, argv, problem=str(error))
    outcome = Outcome(attack, argv, result.stdout, result.stderr, result.exit_code)
    if result.exit_code in _NOT_RUN:
        return replace(outcome, problem=f"it needs {', '.join(attack.needs)} in the container")
    try:
        if attack.is_control:
            seen = _seen_before_marker(lab, target, since, timeout)
            return replace(outcome, seen=seen, problem=f"{', '.join(seen)} alerted" if seen else "")
        where = _names(run_id) if any(run_id in argument for argument in argv) else None
        alert = lab.wait_for_alert(attack.rule, where=where, since=since, timeout=timeout)
        return replace(outcome, alert=alert, seen=(str(alert["rule"]),))
    except AlertTimeoutError as error:
        return replace(outcome, problem=str(error))
    finally:
        if attack.cleanup:
            lab.exec(target, *_filled(attack.cleanup, run_id))


def _seen_before_marker(lab: Lab, target: str, since: When, timeout: float | None) -> tuple[str, ...]:
    """Rules that alerted in the target's pod since then, up to the alert of a command that is run now for certain.

    Alerts of one pod arrive in their order, so nothing has to be waited for that may never come.
    """
    marker = _run_id(_MARKER.name)
    lab.exec(target, *_MARKER.argv, f"/tmp/labkit-{marker}")
    last = lab.wait_for_alert(_MARKER.rule, where=_names(marker), since=since, timeout=timeout)
    df = lab.alerts(since=since)
    before = df[(df["time"] < last["time"]) & (df["k8s.pod.name"] == last.get("k8s.pod.name", ""))]
    return tuple(dict.fromkeys(before["rule"].astype(str)))


def _names(run_id: str) -> Callable[[pd.Series[Any]], bool]:
    return lambda alert: run_id in str(alert.get("proc.cmdline"))


def _run_id(name: str) -> str:
    """Six characters that tell this run from others of the attack; the same in each execution of a notebook."""
    _runs[name] += 1
    return hashlib.sha256(f"{name} {_runs[name]}".encode()).hexdigest()[:6]


def _filled(argv: tuple[str, ...], run_id: str) -> tuple[str, ...]:
    return tuple(argument.replace("{run}", run_id) for argument in argv)
