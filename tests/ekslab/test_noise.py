"""Noise: what happens follows from the seed, and how often from the rate."""

from __future__ import annotations

from collections import Counter

import pytest

from ekslab.noise import Happening, Plan, _data


def happenings(seed: int, count: int, rate: float = 4) -> list[Happening]:
    plan = Plan(seed, rate)
    return [plan.next() for _ in range(count)]


def test_a_seed_decides_what_happens_and_the_rate_only_how_soon() -> None:
    slow, fast = happenings(3, 200), happenings(3, 200, rate=40)
    assert slow == happenings(3, 200)
    assert [(h.pod, h.argv, h.typed) for h in slow] == [(h.pod, h.argv, h.typed) for h in fast]
    assert [h.after for h in slow] == pytest.approx([10 * h.after for h in fast])
    assert [h.argv for h in slow] != [h.argv for h in happenings(4, 200)]
    assert Plan(3, 1).pods != Plan(4, 1).pods


@pytest.mark.parametrize("rate", [1, 4, 60])
def test_alerts_come_at_the_rate_that_was_asked_for_without_long_silences(rate: float) -> None:
    found = happenings(1, 5000, rate)
    alerts = sum(h.rule is not None for h in found)
    assert alerts / sum(h.after for h in found) * 60 == pytest.approx(rate, rel=0.05)
    assert max(h.after for h in found) < 200 / rate


def test_every_activity_comes_and_one_rule_is_the_noisy_one() -> None:
    rules = Counter(h.rule for h in happenings(1, 300))
    assert set(rules) == {activity["rule"] for activity in _data()["activities"]}
    (noisiest, most), (_, next_) = Counter({rule: n for rule, n in rules.items() if rule}).most_common(2)
    assert noisiest == "Contact K8S API Server From Container"
    assert most > 1.5 * next_
