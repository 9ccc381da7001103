"""What state datapoints ask for: the tables of CloudWatch's documentation, and the words of the service's reasons."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ekslab.aws.alarm_evaluation import Datapoint, Rule, reason_data, timestamp

START = 1_698_338_520  # 26/10/23 16:42:00
RETAINED = "Retain current state"


def points(text: str) -> list[Datapoint]:
    """`0 - X`, oldest first: within the threshold (5), missing, beyond it."""
    values = {"0": 0.0, "X": 9.0, "-": None}
    return [Datapoint(START + 60 * place, values[char]) for place, char in enumerate(text.split())]


def state(rule: Rule, text: str) -> str:
    verdict = rule.judge(points(text))
    return RETAINED if verdict is None else verdict.state


# (datapoints, missing, ignore, breaching, notBreaching), as documented
THREE_OF_THREE = [
    ("0 - X - X", "OK", "OK", "OK", "OK"),
    ("0 - - - -", "OK", "OK", "OK", "OK"),
    ("- - - - 0", "OK", "OK", "OK", "OK"),
    ("- - - - -", "INSUFFICIENT_DATA", RETAINED, "ALARM", "OK"),
    ("0 X X - X", "ALARM", "ALARM", "ALARM", "ALARM"),
    ("- - X - -", "ALARM", RETAINED, "ALARM", "OK"),
    ("X - - - -", "ALARM", RETAINED, "ALARM", "OK"),
    ("- - - - X", "OK", RETAINED, "ALARM", "OK"),  # not yet
    ("- - - X -", "OK", RETAINED, "ALARM", "OK"),
]
TWO_OF_THREE = [
    ("0 - X - X", "ALARM", "ALARM", "ALARM", "ALARM"),
    ("0 0 X 0 X", "ALARM", "ALARM", "ALARM", "ALARM"),
    ("0 - X - -", "OK", "OK", "ALARM", "OK"),
    ("- - - - 0", "OK", "OK", "ALARM", "OK"),
    ("- - - X -", "ALARM", RETAINED, "ALARM", "OK"),
    ("- - - - X", "OK", RETAINED, "ALARM", "OK"),
]


@pytest.mark.parametrize(
    ("needed", "text", "expected"),
    [(needed, text, states) for needed, table in ((3, THREE_OF_THREE), (2, TWO_OF_THREE)) for text, *states in table],
)
def test_missing_data_as_documented(needed: int, text: str, expected: list[str]) -> None:
    treatments = ("missing", "ignore", "breaching", "notBreaching")
    rules = [Rule("GreaterThanThreshold", 5.0, 3, needed, missing) for missing in treatments]
    assert [state(rule, text) for rule in rules] == expected


@pytest.mark.parametrize(
    ("comparison", "below", "equal", "above"),
    [
        ("GreaterThanThreshold", "OK", "OK", "ALARM"),
        ("GreaterThanOrEqualToThreshold", "OK", "ALARM", "ALARM"),
        ("LessThanThreshold", "ALARM", "OK", "OK"),
        ("LessThanOrEqualToThreshold", "ALARM", "ALARM", "OK"),
    ],
)
def test_comparisons(comparison: str, below: str, equal: str, above: str) -> None:
    rule = Rule(comparison, 5.0, 1)
    verdicts = [rule.judge([Datapoint(START, value)]) for value in (4.9, 5.0, 5.1)]
    assert [verdict and verdict.state for verdict in verdicts] == [below, equal, above]


# Reasons that the service was seen to give.
@pytest.mark.parametrize(
    ("rule", "values", "reason"),
    [
        (
            Rule("GreaterThanThreshold", 2.0, 1),
            [21.5],
            "Threshold Crossed: 1 datapoint [21.5 (26/10/23 16:42:00)] was greater than the threshold (2.0).",
        ),
        (
            Rule("GreaterThanThreshold", 5.0, 1, 1),
            [1.0],
            "Threshold Crossed: 1 out of the last 1 datapoints [1.0 (26/10/23 16:42:00)] was not greater than the "
            "threshold (5.0) (minimum 1 datapoint for ALARM -> OK transition).",
        ),
        (
            Rule("LessThanThreshold", 65.0, 5, 5),
            [0.0] * 5,
            "Threshold Crossed: 5 out of the last 5 datapoints were less than the threshold (65.0). The most recent "
            "datapoints which crossed the threshold: [0.0 (26/10/23 16:46:00), 0.0 (26/10/23 16:45:00), "
            "0.0 (26/10/23 16:44:00), 0.0 (26/10/23 16:43:00), 0.0 (26/10/23 16:42:00)] "
            "(minimum 5 datapoints for OK -> ALARM transition).",
        ),
        (
            Rule("GreaterThanOrEqualToThreshold", 80.0, 2),
            [85.0, 84.0],
            "Threshold Crossed: 2 datapoints [84.0 (26/10/23 16:43:00), 85.0 (26/10/23 16:42:00)] were greater than "
            "or equal to the threshold (80.0).",
        ),
        (
            Rule("GreaterThanThreshold", 2.0, 2, missing="breaching"),
            [None, None],
            "Threshold Crossed: no datapoints were received for 2 periods and 2 missing datapoints were treated as "
            "[Breaching].",
        ),
        (
            Rule("GreaterThanThreshold", 2.0, 1, missing="notBreaching"),
            [None],
            "Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint was treated as "
            "[NonBreaching].",
        ),
        (
            Rule("LessThanThreshold", 1.0, 3, 2, "breaching"),
            [None, 3.0, None],
            "Threshold Crossed: 1 datapoint was received for 3 periods and 2 missing datapoints were treated as "
            "[Breaching].",
        ),
        (Rule("GreaterThanThreshold", 2.0, 1), [None], "Insufficient Data: 1 datapoint was unknown."),
        (Rule("GreaterThanThreshold", 2.0, 2), [None, None], "Insufficient Data: 2 datapoints were unknown."),
    ],
)
def test_reasons(rule: Rule, values: list[float | None], reason: str) -> None:
    verdict = rule.judge([Datapoint(START + 60 * place, value) for place, value in enumerate(values)])
    assert verdict is not None
    assert verdict.reason == reason


def test_the_data_behind_a_reason() -> None:
    verdict = Rule("GreaterThanThreshold", 2.0, 2, missing="notBreaching").judge(
        [Datapoint(START, 3.0, 2.0), Datapoint(START + 60, None)]
    )
    assert verdict is not None
    assert reason_data(verdict, START + 61.5, period=60, threshold=2.0, statistic="Sum", unit="Count") == {
        "version": "1.0",
        "queryDate": "2023-10-26T16:43:01.500+0000",
        "startDate": "2023-10-26T16:42:00.000+0000",
        "unit": "Count",
        "statistic": "Sum",
        "period": 60,
        "recentDatapoints": [3.0],
        "threshold": 2.0,
        "evaluatedDatapoints": [
            {"timestamp": "2023-10-26T16:43:00.000+0000"},
            {"timestamp": "2023-10-26T16:42:00.000+0000", "sampleCount": 2.0, "value": 3.0},
        ],
    }
    assert timestamp(START + 0.25) == "2023-10-26T16:42:00.250+0000"


@given(
    text=st.lists(st.sampled_from("0X-"), min_size=5, max_size=5),
    needed=st.integers(1, 3),
    treatment=st.sampled_from(["missing", "ignore", "breaching", "notBreaching"]),
)
def test_with_enough_datapoints_missing_ones_do_not_count(text: list[str], needed: int, treatment: str) -> None:
    rule = Rule("GreaterThanThreshold", 5.0, 3, needed, treatment)
    existing = [char for char in text if char != "-"]
    if len(existing) >= 3:
        assert state(rule, " ".join(text)) == ("ALARM" if existing[-3:].count("X") >= needed else "OK")
    elif treatment == "breaching":
        count = existing.count("X") + 3 - len(existing)
        assert state(rule, " ".join(text)) == ("ALARM" if count >= needed else "OK")
