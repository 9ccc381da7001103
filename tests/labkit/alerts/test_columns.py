"""Lines are cut into pieces that are decoded once: what comes out is what decoding each line whole gives."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.alerts import columns as columns_module
from labkit.alerts import to_frame
from labkit.alerts.columns import Columns, Page
from labkit.alerts.frame import frame_of

DATA = Path(__file__).parent / "data"
LINES = (DATA / "falco-alerts.jsonl").read_text().splitlines()
ALERTS = [json.loads(line) for line in LINES]
KEYS = ["hostname", "output", "output_fields", "priority", "rule", "source", "tags", "time"]


def as_falco(alert: dict[str, Any]) -> str:
    """As Falco writes it: keys in order, no blanks."""
    return json.dumps(alert, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def frame(lines: list[str], **how: bool) -> tuple[pd.DataFrame, Page]:
    """The frame of lines of one page, and the page."""
    found = Columns()
    events = [{"message": line, "timestamp": 1795407307836 + i, "eventId": str(i)} for i, line in enumerate(lines)]
    if how:
        page = found._rows_of(events, **how) or found._rows_of(events, cut=False, trusted=False)
        assert page is not None
        found.events, found.skipped, found._pages = len(events), page.skipped, [page] if len(page) else []
    else:
        found.add_page(events)
        page = found._pages[0] if found._pages else Page()
    return frame_of(found), page


def assert_cut_like_whole(lines: list[str]) -> Page:
    cut, page = frame(lines)
    for trusted in (True, False):
        whole, _ = frame(lines, cut=False, trusted=trusted)
        pd.testing.assert_frame_equal(cut, whole)
        assert cut.attrs == whole.attrs
    return page


def test_falco_s_lines_are_cut() -> None:
    lines = list(map(as_falco, ALERTS))
    page = assert_cut_like_whole(lines)
    assert (len(page), page.unusual) == (60, {})
    assert page.decoded == {row for row, alert in enumerate(ALERTS) if "\\" in as_falco({"": alert["output"]})}


def test_what_repeats_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    loads: Callable[[str], Any] = columns_module.orjson.loads
    monkeypatch.setattr(columns_module.orjson, "loads", lambda text: decoded.append(text) or loads(text))
    alert = ALERTS[0]
    lines = []
    for i in range(500):
        moment = 1795407615000000000 + i
        fields = {**alert["output_fields"], "evt.time": moment}
        time = f"2026-11-23T04:20:15.{i:09d}Z"
        lines.append(as_falco({**alert, "output": f"number {i}", "output_fields": fields, "time": time}))
    df, page = frame(lines)
    assert (len(df), page.unusual, page.decoded) == (500, {}, set())
    assert len(decoded) == 4  # host, fields before the time, fields after it, the process with the rule
    assert df["output"].tolist() == [f"number {i}" for i in range(500)]
    assert df["evt.time"].tolist() == [1795407615000000000 + i for i in range(500)]


def test_pieces_are_forgotten_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns_module, "_MOST_PIECES", 3)
    alerts = [{**alert, "hostname": f"node-{i % 5}"} for i, alert in enumerate(ALERTS * 2)]
    df, _ = frame(list(map(as_falco, alerts)))
    assert sorted(df["hostname"]) == sorted(alert["hostname"] for alert in alerts)


CHARACTERS = st.text(
    alphabet=st.sampled_from('a ,:{}[]"\\/\n\t\x00é☃😀<') | st.characters(exclude_categories=["Cs"]), max_size=12
)
TOKENS = st.sampled_from(
    [',"output":"', '","output_fields":{', ',"evt.time":', ',"proc.', '},"priority":', ',"time":"', '"}', '"', "<NA>"]
)
TEXT = CHARACTERS | TOKENS | st.builds("".join, st.lists(CHARACTERS | TOKENS, max_size=3))
VALUE = (
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
ANY = VALUE | st.lists(VALUE, max_size=2) | st.dictionaries(TEXT, VALUE, max_size=2)
NAMES = (
    st.sampled_from(
        ["a", "container.id", "evt.time", "evt.type", "evt.tim", "proc.", "proc.name", "proc", "zzz", "é", "rule"]
    )
    | TEXT
)
MOMENTS = st.sampled_from([1795407615177232855, 0, -1, 1e18, "1795407615177232855", 9223372036854775808, None])
TIMES = st.sampled_from(
    [
        "2026-11-23T04:20:15.177232855Z",
        "2026-02-30T04:20:15.177232855Z",
        "1600-01-01T04:20:15.177232855Z",
        "2026-11-23T24:20:15.177232855Z",
        "2026-11-23 04:20:15.177232855Z",
        "2024-02-29T23:59:59.999999999Z",
        "2026-11-23T04:20:15Z",
        None,
    ]
)


@st.composite
def alerts(draw: st.DrawFn) -> dict[str, Any]:
    alert = dict(draw(st.sampled_from(ALERTS)))
    fields = {**alert["output_fields"], **draw(st.dictionaries(NAMES, ANY, max_size=3))}
    if draw(st.booleans()):
        fields["evt.time"] = draw(MOMENTS)
    changes = {"output": TEXT | st.none(), "time": TIMES, "hostname": TEXT | st.none(), "rule": TEXT, "source": TEXT}
    for name in draw(st.sets(st.sampled_from(sorted(changes)), max_size=2)):
        alert[name] = draw(changes[name])
    if draw(st.booleans()):
        alert["tags"] = draw(st.lists(VALUE, max_size=3) | st.none())
    return {**alert, "output_fields": fields}


@settings(max_examples=60, deadline=None)
@given(st.lists(alerts(), min_size=1, max_size=4), st.booleans())
def test_any_alert_is_cut_like_it_is_decoded(found: list[dict[str, Any]], ascii_only: bool) -> None:
    lines = [json.dumps(a, separators=(",", ":"), sort_keys=True, ensure_ascii=ascii_only) for a in found]
    assert_cut_like_whole([*lines, as_falco(ALERTS[0])])


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(ALERTS), st.data())
def test_a_damaged_line_is_what_decoding_says_it_is(alert: dict[str, Any], data: st.DataObject) -> None:
    line = as_falco(alert)
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, min(start + 40, len(line))))
    damage = data.draw(
        st.sampled_from(["", "x", '"', "\\", ",", "\n", "\x01", "}", '","', "²", "00", "-", " ", ":"]) | TEXT
    )
    assert_cut_like_whole([line[:start] + damage + line[end:], as_falco(ALERTS[1])])


@pytest.mark.parametrize(
    "damage",
    [
        ('"output":"', '"output":"a\nb'),
        ('"output":"', '"output":"a"b'),
        ('"evt.time":1', '"evt.time":+'),
        ('"evt.time":1', '"evt.time":٣'),
        ('"evt.time":1', '"evt.time":0'),
        ('"evt.time":1', '"evt.time":9'),
        ('Z"}', 'z"}'),
        ('Z"}', '9"}'),
        ('"hostname":', '"hostname":1,"hostname":'),
        ('"output_fields":{', '"output_fields":{"zzz":1,'),
        ('"output_fields":{', '"output_fields":{"x":{"y":1,'),
        ('},"priority"', ',"container.id":"late"},"priority"'),
        (',"proc.', ',"evt.time":5,"proc.'),
        (',"source":', ',"source":"twice","source":'),
        ('{"hostname"', '{ "hostname"'),
        ('"Z"', "'Z'"),
    ],
    ids=lambda pair: pair[1][:30].encode("unicode_escape").decode(),
)
def test_what_is_out_of_order_is_not_cut(damage: tuple[str, str]) -> None:
    lines = [as_falco(alert).replace(*damage, 1) for alert in ALERTS[:5]]
    assert_cut_like_whole([*lines, *map(as_falco, ALERTS)])


def test_half_a_surrogate_pair_breaks_nothing() -> None:
    lines = [as_falco(ALERTS[0]).replace("A shell", "A \ud800 shell"), as_falco(ALERTS[1])]
    df = to_frame(lines)
    assert len(df) == 2
    assert df["output"].str.contains("A \\? shell").any()


def test_numbers_that_are_equal_in_python_keep_their_types() -> None:
    lines = [
        as_falco({**ALERTS[0], "output_fields": {**ALERTS[0]["output_fields"], "x": x}}) for x in (1, True, 1.0, "1")
    ]
    df = to_frame(lines)
    assert sorted(df["x"]) == ["1", "1", "1.0", "True"]


@pytest.mark.parametrize("order", ["as they are", "nearly in order", "parts of the window mixed", "any"])
def test_rows_are_in_order_however_their_pages_came(order: str) -> None:
    start = 1795407615000000000
    events = []
    for i in range(9_000):
        moment = start + i * 1_000_000
        fields = {**ALERTS[0]["output_fields"], "evt.time": moment}
        time = f"{pd.Timestamp(moment):%Y-%m-%dT%H:%M:%S}.{moment % 10**9:09d}Z"
        line = as_falco({**ALERTS[0], "output": f"number {i}", "output_fields": fields, "time": time})
        events.append({"message": line, "eventId": str(i), "timestamp": moment // 1_000_000})
    numbers = list(range(len(events)))
    shuffled = random.Random(7)
    if order == "nearly in order":
        numbers.sort(key=lambda i: i + shuffled.randrange(50))
    elif order == "parts of the window mixed":
        numbers = [
            i
            for page in range(5)
            for part in (6_000, 0, 3_000)
            for i in range(part + page * 600, part + page * 600 + 600)
        ]
    elif order == "any":
        shuffled.shuffle(numbers)
    found = Columns()
    for begin in range(0, len(numbers), 600):
        found.add_page([events[i] for i in numbers[begin : begin + 600]])
    df = frame_of(found)
    assert df["output"].tolist() == [f"number {i}" for i in range(len(events))]
    assert df["eventId"].tolist() == list(map(str, range(len(events))))
    assert df["evt.time"].tolist() == [start + i * 1_000_000 for i in range(len(events))]
    assert df["time"].is_monotonic_increasing


def test_where_little_repeats_lines_are_decoded_whole_for_a_while() -> None:
    def page(first: int, different: bool) -> list[dict[str, str]]:
        fields = ALERTS[0]["output_fields"]
        numbers = [first + i if different else 0 for i in range(100)]
        changes = [{"proc.cmdline": f"cat {number}", "container.id": f"{number:012x}"} for number in numbers]
        alerts = [{**ALERTS[0], "output_fields": {**fields, **change}} for change in changes]
        return [{"message": as_falco(alert)} for alert in alerts]

    found = Columns()
    for number, different in enumerate([False, True, *[True] * 16, False, False]):
        found.add_page(page(number * 100, different))
    decoded = [len(page.decoded) for page in found._pages]
    assert decoded == [0, 0, *[100] * 16, 0, 0]
    assert frame_of(found)["proc.cmdline"].nunique() == 1 + 17 * 100


def test_a_line_that_is_none_lends_nothing_to_the_next() -> None:
    escaped = as_falco({**ALERTS[0], "output": "a\\b"}).replace('"source":', '"source":oh,')
    broken = as_falco(ALERTS[1]).replace('"output":"', '"output":"a\x01')
    page = assert_cut_like_whole([escaped, broken, as_falco(ALERTS[2])])
    assert (len(page), sum(page.skipped.values())) == (1, 2)
