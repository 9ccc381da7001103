"""Runs attacks in a pod, waits for their alerts, and compares expected with actual ones."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from labkit.attacks.catalogue import Attack, find, shown, typed
from labkit.attacks.pods import attack_pod, start
from labkit.calls import checked, texts
from labkit.errors import AlertTimeoutError, ExecError, LabError, StepError, StoppedError, TargetError
from labkit.kube import KubernetesError
from labkit.show import AsTable, Table
from labkit.waiting import progress

if TYPE_CHECKING:
    import pandas as pd

    from labkit.kube import ExecResult
    from labkit.target import Target

_NOT_RUN = (126, 127)
_NOT_IN_CLASS = "not in a class: it needs a pod with privileges, and an attendee's namespace takes none"
_TRACES = ("proc.cmdline", "proc.pcmdline", "fd.name", "evt.arg.path", "evt.arg.name")
"""Fields of an alert in which the id of a run can be."""


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
                shown(typed(outcome.argv)),
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
def run(
    target: Target, *names: Any, pod: str = "deploy/nginx", timeout: float | None = None, benign: bool = False
) -> Outcomes:
    """Runs the attacks one after the other in `pod`, and waits for each one's alert, at most `timeout` seconds.

    `benign`: runs their twins instead, which must not alert. An attack that needs a pod of its own gets one, which is
    deleted afterwards.

    A control is followed by a command that does alert: once that one's alert is there, the control's would be, too.
    An attack whose alert doesn't come is an outcome that hasn't passed, not an exception. Ctrl-C (or Jupyter's stop
    button) ends the whole; what was seen until then is returned. Before anything is run, raises `LabError` for a name
    that isn't in the catalogue, and `ExecError` if there is no such pod, as in a lab that has just been started.
    """
    attacks = [find(name) for name in texts(_names_of(names), "attack")]
    if benign:
        attacks = [attack.twin for attack in attacks]
    if not attacks:
        raise LabError("There is no attack to run.", hint="Name some; labkit.attacks.catalogue() shows all.")
    target.kube.resolve(pod, namespace=target.settings.app_namespace)
    seconds = target.settings.alert_timeout if timeout is None else timeout
    outcomes, attempts, ran = Outcomes(), list[_Attempt](), 0

    def finish() -> None:
        stopped = bool(attempts) and attempts[-1].outcome.stopped
        while attempts:
            attempt = attempts.pop(0)
            outcomes[attempt.attack.name] = attempt.end(seconds, last_look=stopped or outcomes.stopped)

    try:
        for attack in progress(attacks, "Attacks", len(attacks), lambda attack: attack.name):
            # Several alerts are on their way at a time, but not two of a rule: they could be taken for one another, as
            # could a control's marker for the alert of an attack.
            if any(attack.is_control or one.attack.is_control or one.attack.rule == attack.rule for one in attempts):
                finish()
            if outcomes.stopped:
                break
            attempts.append(_Attempt(target, attack, pod))
            ran += 1
            if attempts[-1].outcome.stopped:
                break
        finish()
    finally:
        for attempt in attempts:  # an error ended the run: what their commands made is still there
            attempt.clean_up()
    if outcomes.stopped:
        outcomes.not_run = tuple(left.name for left in attacks[ran:])
    return outcomes


class _Attempt:
    """One attack: its command is run at once, and its alert waited for by `end`."""

    def __init__(self, target: Target, attack: Attack, pod: str) -> None:
        from labkit.alerts.arrival import run_id
        from labkit.alerts.diagnose import rule_state

        self.target, self.attack = target, attack
        self.run = run_id(attack.name)
        self.pod = attack_pod(attack, self.run, target.settings.app_namespace) if attack.pod else None
        place = str(self.pod["metadata"]["name"]) if self.pod else pod
        self.exec = partial(target.kube.exec, place, namespace=target.settings.app_namespace)
        self.since = self.ended = target.kube.now()
        self.result: ExecResult | None = None
        argv = _filled(attack.argv, self.run)
        self.outcome = Outcome(attack, argv)
        if target.settings.attendee and not attack.is_in_class:
            self.is_run = False
            self.outcome = replace(self.outcome, problem=_NOT_IN_CLASS)
            return
        if attack.tier not in ("", "stable") and rule_state(target, attack.rule or "") in ("unknown", "disabled"):
            self.is_run = False
            self.outcome = replace(
                self.outcome, problem=f"Falco has not loaded its rule: {_loaded_by(target, attack.tier)}"
            )
            return
        self.is_run = True
        try:
            if self.pod:
                start(target, self.pod)
            self.result = result = self.exec(argv, tty=attack.tty, stdin=attack.stdin)
            self.ended = target.kube.now(latest=True)
            if self.pod and result.ran:  # what its start raises counts, too
                self.result = replace(result, ran=replace(result.ran, started=self.since))
        except (StoppedError, KeyboardInterrupt):
            self.outcome = replace(self.outcome, stopped=True)
        except (ExecError, StepError, KubernetesError) as error:
            self.outcome = replace(self.outcome, problem=" ".join(str(error).split()))
        else:
            self.outcome = replace(
                self.outcome,
                stdout=result.stdout,
                stderr=result.stderr,
                exit_code=result.exit_code,
                problem=f"it needs {', '.join(attack.needs)} in the container" if result.exit_code in _NOT_RUN else "",
            )

    def end(self, seconds: float, *, last_look: bool) -> Outcome:
        """Waits for the alert, and removes what the command made. `last_look`: the run was interrupted."""
        try:
            if self.result is None or self.outcome.problem:
                return self.outcome
            return self._seen(self.result, 0.0 if last_look else seconds)
        except (ExecError, AlertTimeoutError) as error:
            if last_look:
                return replace(self.outcome, stopped=True)
            return replace(self.outcome, problem=" ".join(str(error).split()))
        except (StoppedError, KeyboardInterrupt):
            return replace(self.outcome, stopped=True)
        finally:
            self.clean_up()

    def clean_up(self) -> None:
        """Removes what the command made, or the pod that it ran in."""
        if not self.is_run:
            return
        with suppress(ExecError, StepError, TargetError):  # said already, if it couldn't be run
            if self.pod:
                self.target.kube.delete_one(self.pod)
            elif self.attack.cleanup:
                self.exec(_filled(self.attack.cleanup, self.run))

    def _seen(self, result: ExecResult, seconds: float) -> Outcome:
        from labkit.alerts.arrival import alerts_of, wait_for_alert

        if self.attack.is_control:
            seen = tuple(dict.fromkeys(alerts_of(self.target, result, timeout=seconds)["rule"].astype(str)))
            wrong = [rule for rule in seen if rule not in self.attack.also]
            return replace(self.outcome, seen=seen, problem=f"{', '.join(wrong)} alerted" if wrong else "")
        alert = wait_for_alert(self.target, self.attack.rule, where=self._raised, since=self.since, timeout=seconds)
        return replace(self.outcome, alert=alert, seen=(str(alert["rule"]),))

    def _raised(self, alert: pd.Series[Any]) -> bool:
        """Whether an alert is of this command. A later one may trip the same rule, besides its own."""
        if alert["time"] > self.ended:
            return False
        if self.pod:  # Falco may not know the pod yet when its first process starts
            return alert.get("k8s.pod.name") in (self.pod["metadata"]["name"], None, "<NA>")
        named = self.attack.traced and any(self.run in argument for argument in self.outcome.argv)
        return not named or any(self.run in str(alert.get(field)) for field in _TRACES)


def _loaded_by(target: Target, tier: str) -> str:
    """What makes Falco load the rules of a tier."""
    if tier == "custom":
        return 'lab.apply("custom-rules") ships it'
    if target.settings.attendee:
        return f"it is the class's, whose instructor decides on the tier {tier}"
    return f'connect with rule_tiers="{tier}" (LABKIT_RULE_TIERS), then lab.apply("falco")'


def _names_of(attacks: Any) -> Any:
    """Attacks by their names: one, or what is in lists of them."""
    if isinstance(attacks, Attack):
        return attacks.name
    return [_names_of(one) for one in attacks] if isinstance(attacks, list | tuple) else attacks


def _filled(argv: tuple[str, ...], run_id: str) -> tuple[str, ...]:
    return tuple(argument.replace("{run}", run_id) for argument in argv)
