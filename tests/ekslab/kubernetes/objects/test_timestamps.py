"""Times in the forms of the API."""

from __future__ import annotations

import pytest

from ekslab.kubernetes.objects.timestamps import age, parse, rfc3339, rfc3339_micro

MOMENT = 1_795_445_175.25


def test_times_are_written_and_read() -> None:
    assert rfc3339(MOMENT) == "2026-11-23T14:46:15Z"
    assert rfc3339_micro(MOMENT) == "2026-11-23T14:46:15.250000Z"
    assert parse("2026-11-23T14:46:15Z") == 1_795_445_175
    assert parse("2026-11-23T15:46:15.250+01:00") == MOMENT


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0s"), (0, "0s"), (119.9, "119s"), (120, "2m"), (121, "2m1s"), (599, "9m59s"), (600, "10m"),
        (3599, "59m"), (10_799, "179m"), (10_800, "3h"), (10_860, "3h1m"), (28_799, "7h59m"), (28_800, "8h"),
        (172_799, "47h"), (172_800, "2d"), (176_400, "2d1h"), (691_199, "7d23h"), (691_200, "8d"),
        (63_071_999, "729d"), (63_072_000, "2y"),
    ],
)  # fmt: skip
def test_ages_have_kubectl_s_short_form(seconds: float, shown: str) -> None:
    assert age(seconds) == shown
