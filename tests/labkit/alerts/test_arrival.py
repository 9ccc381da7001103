"""Waits for alerts: which alert is meant, and what a log group that isn't there means."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from ekslab.state import Endpoints
from labkit import Lab
from labkit.alerts import arrival
from labkit.alerts.arrival import latest
from labkit.alerts.service import NoLogGroupError
from labkit.attacks import find
from labkit.errors import AlertTimeoutError, LabError


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    """A lab with nginx, and without a log group at the start and the end of each test."""
    lab = Lab.connect(home=new_lab().home, root=workshop)
    lab.ensure("nginx")
    return lab


def test_a_missing_log_group_may_still_be_made(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "_DOUBT", 0.2)  # it is made later than that: what counts is whether it is there
    lab.apply("log-group")
    answers: Iterator[object] = iter([NoLogGroupError("There is no log group 'falco' in us-east-1.")] * 9 + ["alert"])

    def newest() -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert arrival._poll(lab.target, newest, "an alert", 30, lab.kube.now()) == "alert"
    lab.undo("log-group")


def test_a_log_group_that_is_made_a_moment_later_is_waited_for(lab: Lab) -> None:
    def write() -> None:
        lab.apply("log-group")
        logs = lab.aws.client("logs")
        logs.create_log_stream(logGroupName="falco", logStreamName="a")
        event = {"timestamp": int(time.time() * 1000), "message": '{"canary": 1}'}
        logs.put_log_events(logGroupName="falco", logStreamName="a", logEvents=[event])

    later = threading.Timer(1, write)
    later.start()
    assert lab.wait_for_log("{ $.canary = * }", timeout=30)["message"] == '{"canary": 1}'
    later.join()
    lab.undo("log-group")


def test_a_log_group_that_is_not_there_is_not_waited_for_to_the_end(lab: Lab) -> None:
    started = time.monotonic()
    broken = r"Waited [34] s for .*, and it did not arrive\. Broken link: log group\. There is no log group 'falco'"
    with pytest.raises(AlertTimeoutError, match=broken) as caught:
        lab.wait_for_alert(arrival.MARKER_RULE, timeout=600)
    assert 'lab.apply("log-group")' in caught.value.hint
    with pytest.raises(AlertTimeoutError, match=broken):
        lab.wait_for_log("{ $.canary = * }", timeout=600)
    with pytest.raises(AlertTimeoutError, match=broken):
        lab.alerts_of(lab.exec("deploy/nginx", "id"))
    outcome = lab.attack("read-shadow")["read-shadow"]
    assert "Broken link: log group" in outcome.problem
    assert time.monotonic() - started < 40
    with pytest.raises(AlertTimeoutError, match=r"Waited 0\.2 s .* Broken link: log group"):
        lab.wait_for_alert(arrival.MARKER_RULE, timeout=0.2)


def test_other_errors_end_the_wait(lab: Lab) -> None:
    def newest() -> None:
        raise LabError("AWS refuses these credentials.")

    with pytest.raises(LabError, match="refuses these credentials"):
        arrival._poll(lab.target, newest, "an alert", 10, lab.kube.now())


def test_where_narrows_the_alerts_down() -> None:
    frame = pd.DataFrame(
        {"rule": ["a", "b", "a"], "proc.name": ["cat", "cat", "ls"], "fd.name": ["/etc/shadow", None, None]}
    )
    newest = latest(frame, None)
    assert newest is not None
    assert newest.to_dict() == {"rule": "a", "proc.name": "ls"}
    for where, rule in (({"proc.name": "cat"}, "b"), ({"fd.name": "/etc/shadow"}, "a")):
        found = latest(frame, where)
        assert found is not None
        assert found["rule"] == rule
    assert latest(frame, lambda alert: alert["rule"] == "c") is None
    assert latest(frame, {"no.such": 1}) is None


def test_the_marker_is_the_catalogues_attack_that_reads_the_password_hashes() -> None:
    attack = find("read-shadow")
    assert (attack.argv, attack.rule) == (arrival.MARKER, arrival.MARKER_RULE)
