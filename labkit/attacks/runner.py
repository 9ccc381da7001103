"""Runs attacks in a pod, waits for their alerts, and compares expected with actual ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from labkit.attacks.catalogue import Attack, find, typed
from labkit.calls import checked, texts
from labkit.errors import AlertTimeoutError, ExecError, LabError, StoppedError
from labkit.show import AsTable, Table
from labkit.waiting import progress

if TYPE_CHECKING:
    import pandas as pd

    from labkit.target import Target

_NOT_RUN = (126, 127)


@dataclass(frozen=True, repr=False)
class Outcome(AsTable):
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
    stopped: bool = False
    """Whether a person interrupted it before it was known how it ends."""

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
        return not self.problem and not self.stopped

    def _table(self) -> Table:
        return Outcomes({self.name: self})._table()

    def __repr__(self) -> str:
        """Its row, and its alert if there is one."""
        return super().__repr__() + ("" if self.alert is None else f"\n\n{self.alert!r}")

    def _repr_html_(self) -> str:
        card = getattr(self.alert, "_repr_html_", None)
        return super()._repr_html_() + (card() if card else "")


class Outcomes(AsTable, dict[str, Outcome]):
    """Outcomes by the attack's name, in the order in which they ran. `not_run` are the names after an interrupt."""

    not_run: tuple[str, ...] = ()

    @property
    def stopped(self) -> bool:
        """Whether a person interrupted the run."""
        return bool(self.not_run) or any(outcome.stopped for outcome in self.values())

    def _table(self) -> Table:
        passed = sum(outcome.passed for outcome in self.values())
        rows = tuple(
            (
                outcome.name,
                typed(outcome.argv),
                outcome.rule or "no alert",
                ", ".join(outcome.seen) or "no alert",
                "interrupted"
                if outcome.stopped
                else "as expected"
                if outcome.passed
                else f"NOT as expected: {outcome.problem}",
            )
            for outcome in self.values()
        )
        title = f"{passed} of {len(self) + len(self.not_run)} as expected"
        if self.stopped:
            title += f"; interrupted, {len(self.not_run)} not run"
        return Table(title, ("attack", "command", "expected", "seen", "result"), rows)


@checked
def run(target: Target, *names: Any, pod: str = "deploy/nginx", timeout: float | None = None) -> Outcomes:
    """Runs the attacks one after the other in `pod` and waits for each one's alert, at most `timeout` seconds.

    A control is followed by a command that does alert: once that one's alert is there, the control's would be, too.
    An attack whose alert doesn't come is an outcome that hasn't passed, not an exception. Ctrl-C (or Jupyter's stop
    button) ends the whole; what was seen until then is returned. Before anything is run, raises `LabError` for a name
    that isn't in the catalogue, and `ExecError` if there is no such pod, as in a lab that has just been started.
    """
    attacks = [find(name) for name in texts(_names_of(names), "attack")]
    if not attacks:
        raise LabError("There is no attack to run.", hint="Name some; labkit.attacks.catalogue() shows all.")
    target.kube.resolve(pod, namespace=target.settings.app_namespace)
    outcomes = Outcomes()
    for number, attack in enumerate(progress(attacks, "Attacks", len(attacks), lambda attack: attack.name), 1):
        outcomes[attack.name] = outcome = _run(target, attack, pod, timeout)
        if outcome.stopped:
            outcomes.not_run = tuple(left.name for left in attacks[number:])
            break
    return outcomes


def _run(target: Target, attack: Attack, pod: str, timeout: float | None) -> Outcome:
    from labkit.alerts.arrival import alerts_of, run_id, wait_for_alert
    from labkit.alerts.diagnose import rule_state

    seconds = target.settings.alert_timeout if timeout is None else timeout
    exec_in_pod = partial(target.kube.exec, pod, namespace=target.settings.app_namespace)
    run = run_id(attack.name)
    argv = _filled(attack.argv, run)
    since = target.kube.now()
    outcome = Outcome(attack, argv)
    if attack.tier == "custom" and rule_state(target, attack.rule or "") in ("unknown", "disabled"):
        problem = 'Falco has not loaded its rule: lab.apply("custom-rules") ships it'
        return replace(outcome, problem=problem)
    try:
        result = exec_in_pod(argv, tty=attack.tty, stdin=attack.stdin)
        outcome = replace(outcome, stdout=result.stdout, stderr=result.stderr, exit_code=result.exit_code)
        if result.exit_code in _NOT_RUN:
            return replace(outcome, problem=f"it needs {', '.join(attack.needs)} in the container")
        if attack.is_control:
            seen = tuple(dict.fromkeys(alerts_of(target, result, timeout=seconds)["rule"].astype(str)))
            return replace(outcome, seen=seen, problem=f"{', '.join(seen)} alerted" if seen else "")
        is_of_run = _names(run) if any(run in argument for argument in argv) else None
        alert = wait_for_alert(target, attack.rule, where=is_of_run, since=since, timeout=seconds)
        return replace(outcome, alert=alert, seen=(str(alert["rule"]),))
    except (ExecError, AlertTimeoutError) as error:
        return replace(outcome, problem=" ".join(str(error).split()))
    except (StoppedError, KeyboardInterrupt):
        return replace(outcome, stopped=True)
    finally:
        if attack.cleanup:
            with suppress(ExecError):  # said already, if it couldn't be run
                exec_in_pod(_filled(attack.cleanup, run))


def _names_of(attacks: Any) -> Any:
    """Attacks by their names: one, or what is in lists of them."""
    if isinstance(attacks, Attack):
        return attacks.name
    return [_names_of(one) for one in attacks] if isinstance(attacks, list | tuple) else attacks


def _names(run_id: str) -> Callable[[pd.Series[Any]], bool]:
    return lambda alert: run_id in str(alert.get("proc.cmdline"))


def _filled(argv: tuple[str, ...], run_id: str) -> tuple[str, ...]:
    return tuple(argument.replace("{run}", run_id) for argument in argv)
