"""Metric math and search expressions: the tables and examples of CloudWatch's documentation."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ekslab.aws import metric_math
from ekslab.aws.metric_math import Context, Labelled, Series, Value
from ekslab.aws.metric_search import compile_search
from ekslab.aws.metrics import Metric
from ekslab.aws.protocols import AwsError

START = 1_793_059_200  # Tuesday, 27 October 2026, 00:00


def series(text: str) -> Series:
    """`30 - 0`: one value for each minute, `-` where there is none."""
    return {START + 60 * n: float(word) for n, word in enumerate(text.split()) if word != "-"}


def text(value: Value, periods: int = 5) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return " | ".join(f"{label}: {text(one, periods)}" for label, one in value)
    return " ".join(f"{value[t]:g}" if (t := START + 60 * n) in value else "-" for n in range(periods))


def evaluate(expression: str, periods: int = 5, **metrics: str) -> str:
    values: dict[str, Value] = {id_: series(line) for id_, line in metrics.items()}

    def search(pattern: str, statistic: str, period: int) -> list[Labelled]:
        return [Labelled(pattern, series("1 2"))]

    labels = {id_: id_.upper() for id_ in metrics}
    context = Context(values, labels, range(START, START + 60 * periods, 60), search)
    return text(metric_math.evaluate(expression, context), periods)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("metric1 < metric2", "0 0 1 0"),
        ("metric1 >= 30", "1 0 0 0"),
        ("metric1 > 15 AND metric2 > 15", "1 0 0 0"),
        ("metric1 > 15 && metric2 > 15", "1 0 0 0"),
        ("metric1 > 15 OR metric2 > 15", "1 1 1 0"),
        ("metric1 == 20 || metric1 != 0", "1 1 0 0"),
        ("metric1 - metric2", "10 20 -20 0"),
        ("metric1 / metric2", "1.5 - 0 -"),
    ],
)
def test_comparisons_take_what_is_missing_for_zero(expression: str, expected: str) -> None:
    assert evaluate(expression, 4, metric1="30 20 0 0", metric2="20 - 20 -") == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("IF(metric1, metric2, metric3)", "30 0 20 - -"),
        ("IF(metric1, 5, metric3)", "5 5 20 - -"),
        ("IF(metric1, metric2, 5)", "30 0 5 5 -"),
        ("IF(metric1, metric2)", "30 0 - - -"),
        ("IF(1, metric2, metric3)", "30 - 0 0 30"),
        ("IF(0, metric2, metric3)", "0 0 20 - 20"),
        ("IF(0, metric2)", "- - - - -"),
        ("IF(metric3 > 10, 1, 0)", "0 0 1 - 1"),
    ],
)
def test_if(expression: str, expected: str) -> None:
    assert evaluate(expression, metric1="1 1 0 0 -", metric2="30 - 0 0 30", metric3="0 0 20 - 20") == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("SUM(METRICS())", "7 2 4 8 -"),
        ("SUM([m1, m2])", "6 2 4 8 -"),
        ('SUM([METRICS("m1"), METRICS("e")])', "2 2 4 - -"),
        ("AVG([m1, m2])", "3 1 2 4 -"),
        ("MIN(METRICS())", "1 2 4 8 -"),
        ("MAX(METRICS()) * 2", "10 4 8 16 -"),
        ("STDDEV([m1, m2])", "2 0 0 0 -"),
        ("DATAPOINT_COUNT(METRICS())", "3 1 1 1 -"),
        ("METRIC_COUNT(METRICS()) * m1", "3 6 12 - -"),
        ("m1 - AVG(m1) + SUM(m1) - MIN(m1) + MAX(m1)", "8.66667 9.66667 11.6667 - -"),
        ("m1 / DATAPOINT_COUNT(m1)", "0.333333 0.666667 1.33333 - -"),
        ("100 / [m1, m2]", "M1: 100 50 25 - - | M2: 20 - - 12.5 -"),
        ("-[m1, m2] / m1", "M1: -1 -1 -1 - - | M2: -5 0 0 - -"),
        ("METRICS() * 100", "M1: 100 200 400 - - | M2: 500 - - 800 - | E1: 100 - - - -"),
        ("ABS(m1 - m2)", "4 2 4 8 -"),
        ("CEIL(m1 / 3)", "1 1 2 - -"),
        ("FLOOR(m1 / 3)", "0 0 1 - -"),
        ("LOG10(m1 * 10 + 0 * m2)", "1 1.30103 1.60206 - -"),
        ("LOG(m1 * 0)", "- - - - -"),
        ("DIFF(m1)", "- 1 2 - -"),
        ("DIFF_TIME(m2)", "- - - 180 -"),
        ("RATE(m1) * 60", "- 1 2 - -"),
        ("RUNNING_SUM(m1)", "1 3 7 - -"),
        ("RUNNING_SUM([m1, m2])", "M1: 1 3 7 - - | M2: 5 - - 13 -"),
        ("m1 / PERIOD(m1)", "0.0166667 0.0333333 0.0666667 - -"),
        ("FILL(m2, 10)", "5 10 10 8 10"),
        ("FILL(m2, REPEAT)", "5 5 5 8 8"),
        ("FILL(m2, LINEAR)", "5 6 7 8 -"),
        ("FILL(m2, m1)", "5 2 4 8 -"),
        ("FILL(m2, MIN(m2))", "5 5 5 8 5"),
        ("FILL(METRICS(), 0)", "M1: 1 2 4 0 0 | M2: 5 0 0 8 0 | E1: 1 0 0 0 0"),
        ("TIME_SERIES(MAX(m1))", "4 4 4 4 4"),
        ("TIME_SERIES(5 * AVG(m2))", "32.5 32.5 32.5 32.5 32.5"),
        ("SORT(METRICS(), AVG, DESC)", "M2: 5 - - 8 - | M1: 1 2 4 - - | E1: 1 - - - -"),
        ("SORT(METRICS(), MAX, ASC, 2)", "E1: 1 - - - - | M1: 1 2 4 - -"),
        ("SLICE(SORT(METRICS(), SUM, DESC), 0, 1)", "M2: 5 - - 8 -"),
        ("SLICE(METRICS(), 1)", "M2: 5 - - 8 - | E1: 1 - - - -"),
        ("FIRST(SORT(METRICS(), AVG, DESC)) > 6", "0 - - 1 -"),
        ("LAST(METRICS())", "1 - - - -"),
        ("REMOVE_EMPTY(METRICS() / (m1 - m1))", ""),
        ("MINUTE(m1)", "0 1 2 3 4"),
        ("HOUR(m1) + DAY(m1) + DATE(m1) + MONTH(m1) + YEAR(m1)", "2065 2065 2065 2065 2065"),
        ("EPOCH(m1) - 1793059200", "0 60 120 180 240"),
        ("IF(DAY(m1) < 6, m1)", "1 2 4 0 0"),
        ("2 ^ 3 ^ 1 + m1 * 0", "8 8 8 - -"),
        ("SEARCH('{A} x', 'Sum', 60) * 2", "{A} x: 2 4 - - -"),
        ("SUM(SEARCH(\"{A} x\", 'Sum'))", "1 2 - - -"),
        ("AVG(m1)", "2.33333"),
    ],
)
def test_functions(expression: str, expected: str) -> None:
    assert evaluate(expression, m1="1 2 4", m2="5 - - 8", e1="1") == expected


@pytest.mark.parametrize(
    "expression",
    [
        "m1 +", "m1 m1", "(m1", "[m1", "SUM(", "sum(m1)", "unknown", "m1 % 2", "ANOMALY_DETECTION_BAND(m1)", "RATE(5)",
        "SORT(METRICS(), AVG)", "SORT(m1, AVG, DESC)", "FILL(m1)", "TIME_SERIES(m1)", "[m1, 5]",
        "METRICS() + METRICS()", "IF(METRICS(), 1, 0)", "SELECT AVG(x) FROM y", "SERVICE_QUOTA(m1)", "FIRST(m1)",
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(AwsError, match="ValidationError: Error in expression"):
        evaluate(expression, m1="1 2")


@given(st.text(alphabet="m1 +-*/()[],<>=&|^.5SUMFILAVG'\"", max_size=30))
def test_any_text_has_a_value_or_an_error(expression: str) -> None:
    try:
        answer = evaluate(expression, m1="1 2")
    except AwsError as error:
        answer = error.code
    assert isinstance(answer, str)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5))
def test_a_running_sum_ends_with_the_sum(values: list[float]) -> None:
    one: Series = {START + 60 * n: value for n, value in enumerate(values)}
    context = Context({"m": one}, {"m": "m"}, range(START, START + 300, 60), lambda *_: [])
    running = metric_math.evaluate("RUNNING_SUM(m)", context)
    total = metric_math.evaluate("SUM(m)", context)
    assert isinstance(running, dict)
    assert isinstance(total, float)
    assert math.isclose(running[max(running)], total, abs_tol=1e-6)


COUNT = Metric("MyNamespace", "CustomCount1")
ERRORS = Metric("AWS/Lambda", "Errors", (("FunctionName", "ProjectA-main"),))
INVOCATIONS = Metric("AWS/Lambda", "Invocations", (("FunctionName", "other"),))
NETWORK = Metric("Own", "Network-Errors-2", (("Dimension@Name", "t2.micro"),))
ALL = [COUNT, ERRORS, INVOCATIONS, NETWORK]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("{MyNamespace}", [COUNT]),
        ("{AWS/Lambda,FunctionName}", [ERRORS, INVOCATIONS]),
        ("{AWS/Lambda}", []),
        ('{Own, "Dimension@Name"}', [NETWORK]),
        ('{MyNamespace}, "CustomCount1"', [COUNT]),
        ('{MyNamespace} "customcount1"', []),
        ('{MyNamespace} "Custom"', []),
        ("count", [COUNT]),
        ("COUNT", [COUNT]),
        ("couNT", []),
        ("CustomCount", [COUNT]),
        ("Count1", [COUNT]),
        ("customcount", []),
        ("count1", []),
        ("customcount1", [COUNT]),
        ("network/errors", [NETWORK]),
        ("Network_Errors", [NETWORK]),
        ('"Network-Errors-2"', [NETWORK]),
        ('"Network_Errors_2"', []),
        ('MetricName="Errors"', [ERRORS]),
        ("MetricName=errors", [ERRORS, NETWORK]),
        ("errors AND lambda", [ERRORS]),
        ("errors lambda", [ERRORS]),
        ("errors OR count", [COUNT, ERRORS, NETWORK]),
        ("errors NOT lambda", [NETWORK]),
        ("NOT Namespace=AWS", [COUNT, NETWORK]),
        ('FunctionName="other" Namespace="AWS/Lambda"', [INVOCATIONS]),
        ("MetricName=(Errors OR Invocations) Namespace=AWS", [ERRORS, INVOCATIONS]),
        (
            '{AWS/Lambda,FunctionName} MetricName="Errors" OR (MetricName="Invocations" AND (ProjectA OR ProjectB))',
            [ERRORS],
        ),
    ],
)
def test_searches(pattern: str, found: list[Metric]) -> None:
    finds = compile_search(pattern)
    assert [metric for metric in ALL if finds(metric)] == found


@pytest.mark.parametrize("pattern", ["", " ", "{}", "(a", "a)", "a OR", "NOT", "MetricName=", "x" * 1025])
def test_searches_that_are_refused(pattern: str) -> None:
    with pytest.raises(AwsError, match="ValidationError: Error in search expression"):
        compile_search(pattern)
