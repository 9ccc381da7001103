"""Waits for alerts: which alert is meant, and what a log group that isn't there means."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest

from labkit.alerts import arrival
from labkit.alerts.arrival import latest
from labkit.alerts.service import NoLogGroupError
from labkit.attacks import find
from labkit.errors import LabError


def test_a_missing_log_group_may_still_be_made() -> None:
    answers: Iterator[object] = iter([NoLogGroupError("There is no log group 'falco' in us-east-1."), "alert"])

    def newest() -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert arrival._poll(newest, "an alert", timeout=10) == "alert"


def test_other_errors_end_the_wait() -> None:
    def newest() -> None:
        raise LabError("AWS refuses these credentials.")

    with pytest.raises(LabError, match="refuses these credentials"):
        arrival._poll(newest, "an alert", timeout=10)


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
