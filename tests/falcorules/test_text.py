"""Values as Falco prints them."""

from __future__ import annotations

from typing import Any

import pytest

from falcorules.text import as_text, as_time, iso8601, moment_of

TIME = 1_795_407_615_000_000_007  # 2026-11-23 04:20:15 UTC


@pytest.mark.parametrize(
    ("value", "field", "text"),
    [
        ("a", "", "a"),
        (5, "", "5"),
        (5, "evt.num", "5"),
        (True, "", "true"),
        (False, "evt.time", "false"),
        (2.25, "", "2.2"),
        (b"a\0\xff ~", "", "a.. ~"),
        (b"x" * 2000, "", "x" * 1023),
        ([], "", "()"),
        (["a", 5, True], "", "(a,5,true)"),
        (["", "a", "", "b"], "", "(a,,b)"),
        (("a\0b",), "", "(a)"),
        (["é" * 1000], "", "(" + "é" * 511),
        (TIME, "evt.time", "04:20:15.000000007"),
        (TIME, "evt.time.s", "04:20:15"),
        (TIME, "evt.time.iso8601", "2026-11-23T04:20:15.000000007+0000"),
        (TIME, "evt.datetime", "2026-11-23 04:20:15.000000007"),
        (TIME, "evt.datetime.s", "2026-11-23 04:20:15"),
        (TIME, "evt.rawtime", str(TIME)),
    ],
)
def test_a_value_is_printed_as_falco_does(value: Any, field: str, text: str) -> None:
    assert as_text(value, field) == text


def test_times_that_no_calendar_has_are_the_epoch() -> None:
    assert iso8601(TIME) == "2026-11-23T04:20:15.000000007Z"
    assert iso8601(-1) == "1970-01-01T00:00:00.999999999Z"
    assert iso8601(253_402_300_799 * 10**9) == "9999-12-31T23:59:59.000000000Z"
    assert moment_of(253_402_300_800 * 10**9)[0].year == 1970
    assert as_time("written", "evt.time") == "written"
