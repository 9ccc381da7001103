"""What the runner makes of what happens: a pod that answers as told stands in for the target."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from labkit.alerts import arrival, diagnose, to_frame
from labkit.attacks import find, run
from labkit.errors import AlertTimeoutError, LabError, StoppedError, TargetError
from labkit.kube import ExecResult
from labkit.settings import Settings

Where = Callable[[pd.Series], bool]


class Pod:
    """A target of one pod. Each command is answered by `answer`; `rules` says which rules the next commands trip."""

    def __init__(self, **rules: str) -> None:
        self.rules = rules
        self.commands: list[tuple[str, ...]] = []
        self.exit_code = 0
        self.stops_at = ""
        self.timeouts: list[float] = []
        self._alerts: list[dict[str, Any]] = []
        self.settings = Settings.load(environ={})
        self.kube = SimpleNamespace(
            exec=self.exec,
            now=lambda latest=False: pd.Timestamp(self._time(), tz="UTC"),
            resolve=lambda pod, namespace: None,
        )

    def _time(self) -> str:
        return f"2026-11-23T04:00:{len(self.commands):02d}.000000001"

    def exec(
        self, pod: str, argv: tuple[str, ...], *, namespace: str, tty: bool = False, stdin: str | None = None
    ) -> ExecResult:
        if argv[0] == self.stops_at:
            raise StoppedError("Stopped.")
        self.commands.append(argv)
        rule = self.rules.get(argv[0])
        if rule:
            fields = {"proc.cmdline": " ".join(argv), "k8s.pod.name": "nginx-1", "container.id": "0"}
            alert = {"time": self._time() + "Z", "rule": rule, "priority": "Notice", "output_fields": fields}
            self._alerts.append(alert)
        return ExecResult("out", "", self.exit_code)

    def alerts(self, *, since: pd.Timestamp) -> pd.DataFrame:
        df = to_frame([json.dumps(alert) for alert in self._alerts])
        return df[df["time"] >= since]

    def alerts_of(self, result: ExecResult, *, timeout: float) -> pd.DataFrame:
        if not self.rules:
            raise AlertTimeoutError("No alert arrived.")
        return to_frame([json.dumps(alert) for alert in self._alerts])

    def wait_for_alert(self, rule: str, *, where: Where | None, since: pd.Timestamp, timeout: float) -> Any:
        self.timeouts.append(timeout)
        for _, row in self.alerts(since=since).iterrows():
            if row["rule"] == rule and (where is None or where(row)):
                return row.dropna()
        raise AlertTimeoutError("No alert arrived.")


@pytest.fixture(autouse=True)
def _alerts_of_the_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("alerts_of", "wait_for_alert"):
        monkeypatch.setattr(arrival, name, getattr(Pod, name))


READ, LINK = "Read sensitive file untrusted", "Create Symlink Over Sensitive Files"


def only(lab: Any, name: str) -> Any:
    (outcome,) = run(lab, name).values()
    return outcome


def test_an_attack_passes_when_its_own_alert_has_come() -> None:
    lab = Pod(ln=LINK)
    first, second = only(lab, "symlink-shadow"), only(lab, "symlink-shadow")
    assert first.passed
    assert first.alert["rule"] == LINK
    assert first.seen == (LINK,)
    assert first.argv != second.argv
    assert second.argv[-1] in second.alert["proc.cmdline"]


def test_an_alert_is_waited_for_as_long_as_is_said_or_set() -> None:
    lab = Pod(ln=LINK)
    run(lab, "symlink-shadow", timeout=7)
    run(lab, "symlink-shadow")
    assert lab.timeouts == [7, lab.settings.alert_timeout]


def test_what_an_attack_made_is_removed_even_when_no_alert_came() -> None:
    lab = Pod()
    outcome = only(lab, "symlink-shadow")
    assert not outcome.passed
    assert "No alert arrived" in outcome.problem
    assert lab.commands[-1] == ("rm", "-f", outcome.argv[-1])


def test_another_run_s_alert_is_not_taken_for_this_one_s(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Pod(ln=LINK)
    lab.exec("deploy/nginx", ("ln", "-s", "/etc/shadow", "/tmp/somebody-else"), namespace="default")
    lab.rules.clear()
    lab.kube.now = lambda latest=False: pd.Timestamp("2026-11-24T00:00Z" if latest else "2026-11-23T00:00Z")
    assert not only(lab, "symlink-shadow").passed


def test_a_control_passes_when_alerts_arrive_but_none_of_it() -> None:
    lab = Pod(cat=READ)
    outcome = only(lab, "control-shell-without-terminal")
    assert outcome.passed
    assert outcome.seen == ()


def test_a_control_that_alerts_has_not_passed() -> None:
    outcome = only(Pod(cat=READ, sh="Terminal shell in container"), "control-shell-without-terminal")
    assert not outcome.passed
    assert outcome.seen == ("Terminal shell in container",)


def test_a_control_proves_nothing_while_no_alert_arrives_at_all() -> None:
    outcome = only(Pod(), "control-shell-without-terminal")
    assert "No alert arrived" in outcome.problem


def test_alerts_are_on_their_way_together_unless_they_could_be_mistaken(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Pod(cat=READ, ln=LINK, find="Search Private Keys or Passwords")
    happened: list[str] = []
    commands, wait = lab.exec, arrival.wait_for_alert

    def exec_noted(pod: str, argv: tuple[str, ...], **options: Any) -> ExecResult:
        happened.append(argv[0])
        return commands(pod, argv, **options)

    def wait_noted(target: Any, rule: str, **options: Any) -> Any:
        happened.append(f"wait for {rule}")
        return wait(target, rule, **options)

    lab.kube.exec = exec_noted
    monkeypatch.setattr(arrival, "wait_for_alert", wait_noted)
    outcomes = run(lab, "read-shadow", "symlink-shadow", "read-shadow", "control-read-passwd", "search-private-keys")  # type: ignore[arg-type]
    assert happened == [
        *("cat", "ln", f"wait for {READ}", f"wait for {LINK}", "rm"),  # what it made is removed when its alert is there
        *("cat", f"wait for {READ}"),
        "cat",  # the control
        *("find", "wait for Search Private Keys or Passwords"),
    ]
    assert list(outcomes) == ["read-shadow", "symlink-shadow", "control-read-passwd", "search-private-keys"]


def test_a_later_attack_that_trips_the_same_rule_is_not_taken_for_this_one() -> None:
    lab = Pod(cat=READ, grep=READ)  # as a search in all files does, besides its own rule
    outcomes = run(lab, "read-shadow", "search-aws-credentials")  # type: ignore[arg-type]
    assert outcomes["read-shadow"].alert["proc.cmdline"] == "cat /etc/shadow"
    lab = Pod(grep=READ)
    assert "No alert arrived" in run(lab, "read-shadow", "search-aws-credentials")["read-shadow"].problem  # type: ignore[arg-type]


def test_after_an_interrupt_each_alert_is_looked_for_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Pod(cat=READ)  # no alert of `find`
    lab.stops_at = "ln"
    outcomes = run(lab, "read-shadow", "search-private-keys", "symlink-shadow", "clear-log")  # type: ignore[arg-type]
    assert [outcome.stopped for outcome in outcomes.values()] == [False, True, True]
    assert outcomes["read-shadow"].passed
    assert outcomes.not_run == ("clear-log",)


@pytest.mark.parametrize("interrupted", ["sh", "ln"])
def test_one_interrupt_ends_the_run_and_keeps_what_was_seen(interrupted: str) -> None:
    lab = Pod(cat=READ, ln=LINK)
    lab.stops_at = interrupted
    names = ["read-shadow", {"sh": "control-shell-without-terminal", "ln": "symlink-shadow"}[interrupted]]
    outcomes = run(lab, *names, "search-private-keys", "read-shadow")  # type: ignore[arg-type]
    assert list(outcomes) == names
    assert outcomes.not_run == ("search-private-keys", "read-shadow")
    assert outcomes["read-shadow"].passed
    text = repr(outcomes)
    assert text.startswith("1 of 4 as expected; interrupted, 2 not run")
    assert text.splitlines()[-1].endswith("interrupted")
    assert "NOT" not in text


def test_a_missing_program_is_named() -> None:
    lab = Pod()
    lab.exit_code = 127
    assert only(lab, "shred-data").problem == "it needs sh, shred in the container"


@pytest.mark.parametrize("state", ["unknown", "disabled"])
def test_an_attack_whose_rule_falco_has_not_loaded_is_not_run(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    asked = []

    def rule_state(target: Any, rule: str) -> str:
        asked.append(rule)
        return state

    monkeypatch.setattr(diagnose, "rule_state", rule_state)
    lab = Pod(whoami="Whoami run in container")
    outcome = only(lab, "whoami")
    assert outcome.problem == 'Falco has not loaded its rule: lab.apply("custom-rules") ships it'
    assert (outcome.exit_code, lab.commands, asked) == (None, [], ["Whoami run in container"])
    monkeypatch.setattr(diagnose, "rule_state", lambda target, rule: "loaded")
    assert only(lab, "whoami").passed


def test_attacks_may_be_given_as_such_and_in_lists() -> None:
    lab: Any = Pod(cat=READ, ln=LINK)
    assert list(run(lab, [find("read-shadow")], ("symlink-shadow",))) == ["read-shadow", "symlink-shadow"]
    assert [outcome.rule for outcome in run(lab, "read-shadow").values()] == [READ]
    with pytest.raises(LabError, match="There is no attack to run") as caught:
        run(lab)
    assert "attacks.catalogue()" in caught.value.hint


def test_nothing_is_run_when_a_name_is_unknown() -> None:
    lab = Pod()
    with pytest.raises(LabError, match="no attack called"):
        run(lab, "read-shadow", "nonsense")  # type: ignore[arg-type]
    assert lab.commands == []


def test_outcomes_show_expected_and_seen() -> None:
    outcomes = run(Pod(cat=READ), "read-shadow", "symlink-shadow")  # type: ignore[arg-type]
    text = repr(outcomes)
    assert text.startswith("1 of 2 as expected")
    assert "NOT as expected: No alert arrived." in text
    assert "<table" in outcomes._repr_html_()
    assert repr(outcomes["read-shadow"]).startswith("1 of 1 as expected")


def test_runs_have_the_same_ids_in_each_process_and_different_ones_within(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for _ in range(2):
        monkeypatch.setattr(arrival, "_runs", arrival.Counter())
        ids.append([only(Pod(ln=LINK), "symlink-shadow").argv[-1] for _ in range(2)])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2
    assert find("symlink-shadow").argv[-1] == "/tmp/labkit-{run}"


def test_an_error_that_ends_the_run_leaves_nothing_in_the_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise TargetError("The credentials have expired.")

    monkeypatch.setattr(arrival, "wait_for_alert", refused)
    lab = Pod(ln=LINK, cat=READ)
    with pytest.raises(TargetError, match="have expired"):
        run(lab, "symlink-shadow", "hardlink-shadow")
    made = [argv[-1] for argv in lab.commands if argv[0] == "ln"]
    assert len(made) == 2
    assert [argv[-1] for argv in lab.commands if argv[0] == "rm"] == made
