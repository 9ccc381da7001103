"""Thirty attendees on one embedded cluster at the same moment, each a process of its own, some of them killed.

    python -m tests.class_of_thirty [--attendees 30] [--killed 5]

Each has what `labkit class env` prints, and nothing else. They apply their steps, trip rules, read alerts, ship a rule,
make alarms and delete what is theirs; each must see exactly their own. `labkit class up` and the gate are killed on the
way, and `labkit class down` has to leave nothing. Prints what took how long; exits 1 if anything went wrong.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FORK = multiprocessing.get_context("fork")
RULE = """\
customRules:
  mine.yaml: |-
    - rule: Whoami of {name}
      desc: Somebody asks who they are
      condition: spawned_process and container and proc.name = whoami
      output: whoami by %user.name (attendee {name})
      priority: WARNING
"""
SECONDS = 180.0
"""How long an attendee may take; a rule waits until Falco has loaded those of all."""


class Attendee:
    """What one attendee does, and how long each thing took."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self.namespace = f"attendee-{name}"
        self.home = home
        self.took: dict[str, float] = {}
        self.wrong: list[str] = []

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.took[what] = time.monotonic() - started

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)

    def act(self) -> None:
        """Begins to end; begun again after a kill, it goes on with what is there."""
        from labkit import Lab
        from labkit.errors import LabError

        with self.timed("connect"):
            lab = Lab.connect(root=ROOT, timeout=SECONDS, alert_timeout=SECONDS)
        with self.timed("application"):
            lab.apply("nginx")
        with self.timed("alert"):
            lab.exec("deploy/nginx", "cat", "/etc/shadow")
            alert = lab.wait_for_alert("Read sensitive file untrusted")
        self.expect(alert["k8s.ns.name"] == self.namespace, f"an alert of {alert['k8s.ns.name']}")
        with self.timed("alarms"):
            lab.apply("alarms")
            lab.apply("dashboard")
            cloudwatch = lab.aws.client("cloudwatch")
            mine = f"{lab.settings.prefix}-mine"
            cloudwatch.put_metric_alarm(
                AlarmName=mine,
                Namespace=lab.settings.class_prefix,
                MetricName="Alerts",
                Dimensions=[{"Name": "Namespace", "Value": self.namespace}],
                Statistic="Sum",
                Period=60,
                EvaluationPeriods=1,
                Threshold=1.0,
                ComparisonOperator="GreaterThanOrEqualToThreshold",
                TreatMissingData="notBreaching",
                AlarmActions=[lab.aws.arn("sns", f"{lab.settings.prefix}-alarms")],
            )
        rule = self.home / "mine.yaml"
        rule.write_text(RULE.format(name=self.name), encoding="utf-8")
        with self.timed("rule"):
            lab.apply("custom-rules", files=[rule])
        with self.timed("own alert"):
            lab.exec("deploy/nginx", "whoami")
            alert = lab.wait_for_alert(f"Whoami of {self.name}")
        self.expect(alert["k8s.ns.name"] == self.namespace, f"the rule alerted in {alert['k8s.ns.name']}")
        with self.timed("read"):
            seen = lab.alerts("1h")
        self.expect(set(seen["k8s.ns.name"]) == {self.namespace}, f"alerts of {sorted(set(seen['k8s.ns.name']))}")
        for other in ("falco", "default", "attendee-01" if self.name != "01" else "attendee-02"):
            try:
                lab.kube.request("DELETE", f"/api/v1/namespaces/{other}/pods")
                self.wrong.append(f"pods of {other} could be deleted")
            except LabError:
                pass
        with self.timed("alarm"):
            lab.wait_for_alarm(mine, timeout=SECONDS)
            notified = lab.notifications(timeout=20)
        self.expect(set(notified["alarm"]) == {mine}, f"notified of {sorted(set(notified['alarm']))}")
        with self.timed("delete"):
            cloudwatch.delete_alarms(AlarmNames=[mine])
            lab.teardown()
        left = lab.audit()
        self.expect(left.clean, f"left: {[(item.kind, item.name) for item in left.left]}")


def _attendee(name: str, variables: dict[str, str], home: Path, report: Path) -> None:
    """The process of an attendee."""
    for key in [key for key in os.environ if key.startswith(("AWS_", "LABKIT_", "KUBE"))]:
        del os.environ[key]
    os.environ.update(variables)
    attendee = Attendee(name, home)
    try:
        attendee.act()
    except BaseException as error:
        attendee.wrong.append(f"{type(error).__name__}: {error}")
        (home / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
    report.write_text(json.dumps({"took": attendee.took, "wrong": attendee.wrong}), encoding="utf-8")


def _started(target: Callable[..., None], *arguments: Any) -> Any:
    process = FORK.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def _up(home: Path, count: int) -> None:
    from classroom import attendees, background
    from classroom.up import up
    from labkit import Lab

    target = Lab.connect(home=home, root=ROOT).target
    up(target, attendees.names(count), findings=True)
    background.start(target)


def run(home: Path, count: int, killed: int, say: Callable[[str], None] = print) -> list[str]:
    """All of it on the embedded lab in `home`; what went wrong, a line each."""
    from classroom import attendees, background, handout
    from classroom.down import down
    from labkit import Lab

    lab = Lab.connect(home=home, root=ROOT)
    target, names = lab.target, attendees.names(count)
    chance = random.Random(count)
    took: dict[str, list[float]] = {}
    wrong: list[str] = []

    first = _started(_up, home, count)

    def begun() -> int:
        return len(lab.kube.list("Namespace", labels=attendees.LABEL))

    lab.wait_until(lambda: begun() > count // 3 or None, "some of the class", timeout=120)
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    say(f"class up of {count}, killed when {begun()} had a namespace")
    started = time.monotonic()
    _up(home, count)
    say(f"class up, again: {time.monotonic() - started:.1f} s")

    started = time.monotonic()
    variables = {name: handout.handout(target, name).variables for name in names}
    say(f"class env, {count} times: {time.monotonic() - started:.1f} s")
    reports = {name: home / f"report-{name}.json" for name in names}
    running = {
        name: _started(_attendee, name, variables[name], handout.home(target, name), reports[name]) for name in names
    }
    started = time.monotonic()
    time.sleep(min(8.0, 2.0 + count / 5))
    victims = chance.sample(names, min(killed, count))
    for name in victims:
        os.kill(running[name].pid, signal.SIGKILL)
        running[name].join()
        reports[name].unlink(missing_ok=True)
    gate = background.running(target)
    if gate is not None:
        os.kill(gate, signal.SIGKILL)
        lab.wait_until(lambda: background.running(target) is None or None, "the gate to end", timeout=60)
    background.start(target)
    for name in victims:
        running[name] = _started(_attendee, name, variables[name], handout.home(target, name), reports[name])
    say(f"killed on the way and begun again: attendees {', '.join(sorted(victims))}, and the gate")
    for name, process in running.items():
        process.join(max(1.0, 3 * SECONDS - (time.monotonic() - started)))
        if process.is_alive():
            process.kill()
            wrong.append(f"{name}: not done after {3 * SECONDS:g} s")
        elif not reports[name].exists():
            wrong.append(f"{name}: ended without a report, with {process.exitcode}")
        else:
            report = json.loads(reports[name].read_text(encoding="utf-8"))
            wrong += [f"{name}: {one}" for one in report["wrong"]]
            for what, seconds in report["took"].items():
                took.setdefault(what, []).append(seconds)
    say(f"{count} attendees at once: {time.monotonic() - started:.1f} s")
    for what, seconds in took.items():
        say(f"  {what:12} median {statistics.median(seconds):5.1f} s, longest {max(seconds):5.1f} s")
    if background.log(target).exists():  # it goes with the class
        shutil.copy(background.log(target), home / "gate.log")
    started = time.monotonic()
    down(target)
    say(f"class down: {time.monotonic() - started:.1f} s")
    left = lab.audit()
    if not left.clean:
        wrong.append(f"left after class down: {left!r}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--attendees", type=int, default=30)
    parser.add_argument("--killed", type=int, default=5)
    options = parser.parse_args()
    import boto3  # noqa: F401  once, for all processes that are forked
    import kubernetes.client  # noqa: F401

    import labkit.alerts.arrival
    import labkit.lab  # noqa: F401
    from labkit.connect import stop_embedded

    home = Path(tempfile.mkdtemp(prefix="class-of-thirty-"))
    try:
        wrong = run(home, options.attendees, options.killed)
    finally:
        stop_embedded(home)
    for one in wrong:
        print(one, file=sys.stderr)
    if not wrong:
        shutil.rmtree(home)
    print(
        f"{len(wrong)} things went wrong; see {home}" if wrong else "Each saw exactly their own, and nothing is left."
    )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
