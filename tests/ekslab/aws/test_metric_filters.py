"""Metric filters: events that are put become values of metrics, as the service was seen to make them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

GROUP = "falco"


@pytest.fixture
def logs(running: Any) -> Any:
    client = running.client("logs")
    client.create_log_group(logGroupName=GROUP)
    client.create_log_stream(logGroupName=GROUP, logStreamName="s")
    return client


def put_filter(logs: Any, pattern: str, value: str = "1", *, name: str = "f", metric: str = "M", **more: Any) -> None:
    transformation = {"metricName": metric, "metricNamespace": "Falco", "metricValue": value, **more}
    logs.put_metric_filter(
        logGroupName=GROUP, filterName=name, filterPattern=pattern, metricTransformations=[transformation]
    )


def put(running: Any, logs: Any, *messages: Any, before: int = 0) -> None:
    time = running.clock.ms() - before
    texts = [message if isinstance(message, str) else json.dumps(message) for message in messages]
    logs.put_log_events(
        logGroupName=GROUP, logStreamName="s", logEvents=[{"timestamp": time, "message": text} for text in texts]
    )


def values(running: Any, metric: str = "M") -> dict[str, tuple[float, float]]:
    """Sum and number of samples by the values of the dimensions."""
    cloudwatch = running.client("cloudwatch")
    found = {}
    for listed in cloudwatch.list_metrics(Namespace="Falco", MetricName=metric)["Metrics"]:
        now = running.clock()
        points = cloudwatch.get_metric_statistics(
            **listed, StartTime=now - 80_000, EndTime=now + 3_600, Period=3600, Statistics=["Sum", "SampleCount"]
        )["Datapoints"]
        key = ",".join(dimension["Value"] for dimension in listed["Dimensions"])
        found[key] = (sum(p["Sum"] for p in points), sum(p["SampleCount"] for p in points))
    return found


def refusal(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(*arguments, **named)
    error = caught.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"


def test_only_what_is_put_after_the_filter_counts(running: Any, logs: Any) -> None:
    put(running, logs, "ERROR before")
    put_filter(logs, "ERROR")
    put(running, logs, "ERROR one", "INFO", "ERROR two")
    assert values(running) == {"": (2.0, 2.0)}
    put(running, logs, "ERROR late", before=3_600_000)  # its time is before the filter, its arrival after
    assert values(running) == {"": (3.0, 3.0)}


def test_each_event_that_does_not_match_counts_with_the_default(running: Any, logs: Any) -> None:
    put_filter(logs, "ERROR", "3", defaultValue=7.0)
    put(running, logs, "ERROR", "INFO", "ERROR")
    assert values(running) == {"": (13.0, 3.0)}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, 3.0), ("4.5", 4.5), ("x", None), (None, 7.0), (True, None), ([1], None), (1e400, None)],
)
def test_values_come_from_a_field(running: Any, logs: Any, value: Any, expected: float | None) -> None:
    put_filter(logs, '{ $.kind = "a" }', "$.value", defaultValue=7.0)
    put(running, logs, {"kind": "a", "value": value})
    put(running, logs, {"kind": "a"})  # no value: the default
    found = values(running)[""]
    assert found == ((7.0, 1.0) if expected is None else (7.0 + expected, 2.0))


def test_a_space_delimited_field_as_value_and_dimension(running: Any, logs: Any) -> None:
    put_filter(logs, "[ip, user, size > 10]", "$size", dimensions={"User": "$user"})
    put(running, logs, "10.0.0.1 root 20", "10.0.0.1 root 5", "10.0.0.2 app 30")
    assert values(running) == {"root": (20.0, 1.0), "app": (30.0, 1.0)}


def test_dimensions_need_not_be_in_the_pattern_of_json(running: Any, logs: Any) -> None:
    put_filter(logs, '{ $.rule = "*" }', dimensions={"P": "$.priority", "First": "$.tags[0]"})
    put_filter(logs, "[ip, , size > 5]", name="place", metric="Place", dimensions={"Second": "$2"})
    put(running, logs, {"rule": "R", "priority": "Notice", "tags": ["T1059"]}, "10.0.0.1 app 7")
    assert values(running) == {"T1059,Notice": (1.0, 1.0)}
    assert values(running, "Place") == {"app": (1.0, 1.0)}


def test_dotted_keys_are_reached_in_brackets(running: Any, logs: Any) -> None:
    put_filter(logs, '{ $.rule = "*" }', dimensions={"Namespace": "$.output_fields.['k8s.ns.name']"})
    put(running, logs, {"rule": "R", "output_fields": {"k8s.ns.name": "shop"}})
    assert values(running) == {"shop": (1.0, 1.0)}


def test_without_all_dimensions_there_are_none(running: Any, logs: Any) -> None:
    put_filter(logs, '{ $.k = "x" }', dimensions={"A": "$.a", "B": "$.b"})
    put(running, logs, {"k": "x", "a": 1, "b": True}, {"k": "x", "a": 1}, {"k": "x", "b": "2"}, {"k": "x"})
    assert values(running) == {"1,true": (1.0, 1.0), "": (3.0, 3.0)}


PRIORITIES = ("Notice", "Warning", "Critical")


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(stream=st.lists(st.tuples(st.sampled_from(PRIORITIES), st.sampled_from("AB"), st.integers(0, 5)), max_size=40))
def test_metrics_are_the_counts_of_the_stream(running: Any, logs: Any, stream: list[tuple[str, str, int]]) -> None:
    run = f"{hash(tuple(stream)):x}"
    names = [f"{kind}{run}" for kind in ("all", "priority", "both")]
    put_filter(logs, '{ $.rule = "*" }', name=names[0], metric=names[0])
    put_filter(logs, '{ $.rule = "*" }', name=names[1], metric=names[1], dimensions={"P": "$.priority"})
    put_filter(
        logs, '{ $.priority = "Critical" }', name=names[2], metric=names[2],
        dimensions={"P": "$.priority", "R": "$.rule"},
    )  # fmt: skip
    start = int(running.clock() // 3600) * 3600 - 3600
    for priority, rule, minute in stream:
        event = {"timestamp": (start + minute * 60) * 1000, "message": json.dumps({"priority": priority, "rule": rule})}
        logs.put_log_events(logGroupName=GROUP, logStreamName="s", logEvents=[event])
    found: Counter[tuple[str, str, int]] = Counter()
    cloudwatch = running.client("cloudwatch")
    for place, name in enumerate(names):
        for metric in cloudwatch.list_metrics(Namespace="Falco", MetricName=name)["Metrics"]:
            points = cloudwatch.get_metric_statistics(
                **metric, StartTime=start, EndTime=start + 600, Period=60, Statistics=["Sum"]
            )["Datapoints"]
            key = ",".join(dimension["Value"] for dimension in metric["Dimensions"])
            for point in points:
                found[str(place), key, (int(point["Timestamp"].timestamp()) - start) // 60] += int(point["Sum"])
    expected: Counter[tuple[str, str, int]] = Counter()
    for priority, rule, minute in stream:
        expected["0", "", minute] += 1
        expected["1", priority, minute] += 1
        if priority == "Critical":
            expected["2", f"{priority},{rule}", minute] += 1
    assert found == expected
    for name in names:
        logs.delete_metric_filter(logGroupName=GROUP, filterName=name)


def test_filters_are_described_replaced_and_deleted(running: Any, logs: Any) -> None:
    put_filter(logs, "ERROR", name="b", metric="B", unit="Count")
    put_filter(logs, "%ERR.*%", name="a", metric="A")
    described = logs.describe_metric_filters(logGroupName=GROUP)["metricFilters"]
    assert [(f["filterName"], f["filterPattern"], f["logGroupName"]) for f in described] == [
        ("a", "%ERR.*%", GROUP),
        ("b", "ERROR", GROUP),
    ]
    assert described[1]["metricTransformations"] == [
        {"metricName": "B", "metricNamespace": "Falco", "metricValue": "1", "unit": "Count"}
    ]
    assert logs.describe_log_groups()["logGroups"][0]["metricFilterCount"] == 2
    (named,) = logs.describe_metric_filters(metricName="A", metricNamespace="Falco")["metricFilters"]
    assert named["filterName"] == "a"
    pages = logs.get_paginator("describe_metric_filters").paginate(PaginationConfig={"PageSize": 1})
    assert [f["filterName"] for page in pages for f in page["metricFilters"]] == ["a", "b"]
    put_filter(logs, "WARN", name="b", metric="B")
    put(running, logs, "ERROR", "WARN")
    assert values(running, "B") == {"": (1.0, 1.0)}
    logs.delete_metric_filter(logGroupName=GROUP, filterName="b")
    put(running, logs, "WARN")
    assert values(running, "B") == {"": (1.0, 1.0)}
    assert "ResourceNotFound" in refusal(logs.delete_metric_filter, logGroupName=GROUP, filterName="b")
    logs.delete_log_group(logGroupName=GROUP)
    assert logs.describe_metric_filters()["metricFilters"] == []


WRONG = "InvalidParameterException: Invalid metric transformation"
EXCLUSIVE = "dimensions and default value are mutually exclusive properties"


@pytest.mark.parametrize(
    ("pattern", "value", "more", "message"),
    [
        ("{ $.a = }", "1", {}, "position"),
        ("ERROR", "x", {}, f"{WRONG}: metric value x must be a valid number"),
        ("ERROR", "$name", {}, f"{WRONG}: metric value $name must be a valid number"),
        ("[a, b]", "$c", {}, f"{WRONG}: metric value $c must be a valid number"),
        ("[a, b]", "$.a", {}, f"{WRONG}: metric value $.a must be a valid number"),
        ("{ $.a = 1 }", "$.values[*]", {}, f"{WRONG}: metric value $.values[*] must be a valid number"),
        ("{ $.a = 1 }", "$.", {}, f"{WRONG}: metric value $. must be a valid number"),
        *(
            (pattern, "1", {"defaultValue": 0.0, "dimensions": {"A": "$.a"}}, f"{WRONG}: {EXCLUSIVE}")
            for pattern in ("ERROR", "{ $.a = 1 }")
        ),
        ("{ $.a = 1 }", "1", {"dimensions": {c: f"$.{c}" for c in "abcd"}}, f"{WRONG}: the maximum number of dim"),
        *(
            (pattern, "1", {"dimensions": {"A": value}}, "The specified filter pattern does not support dimensions")
            for pattern in ("ERROR", '"two words"', "?a ?b", "-INFO", "%ERR%", "")
            for value in ("$.a", "production")
        ),
        *(
            (pattern, "1", {"dimensions": {"A": value}}, f"{WRONG}: dimension value must be valid selector")
            for pattern, value in (
                ("{ $.a = 1 }", "production"),
                ("{ $.a = 1 }", "$a"),
                ("{ $.a = 1 }", "$.b[*]"),
                ("{ $.a = 1 }", "$.a.*"),
                ("[a, b]", "$c"),
                ("[a, b]", "$.a"),
                ("[a, b]", "a"),
                ("[a, , c]", "$4"),
            )
        ),
        ("ERROR", "1", {"metricName": "a:b"}, "regular expression pattern"),
        ("ERROR", "1", {"metricNamespace": "AWS/Falco"}, "reserved"),
        ("ERROR", "1", {"unit": "Alerts"}, "enum"),
    ],
)
def test_what_the_service_refuses(logs: Any, pattern: str, value: str, more: dict[str, Any], message: str) -> None:
    refused = refusal(put_filter, logs, pattern, value, **more)
    assert refused.startswith("InvalidParameterException")
    assert message in refused
    assert logs.describe_metric_filters()["metricFilters"] == []


def test_quotas(logs: Any) -> None:
    for number in range(5):
        put_filter(logs, f"%a{number}%", name=f"regex{number}")
    assert "LimitExceeded" in refusal(put_filter, logs, "%b%", name="regex5")
    put_filter(logs, "%c%", name="regex0")  # replaces one of them
    for number in range(95):
        put_filter(logs, "x", name=f"plain{number}")
    assert "LimitExceeded" in refusal(put_filter, logs, "x", name="one more")


def test_a_filter_with_too_many_different_values_is_disabled(running: Any, logs: Any) -> None:
    put_filter(logs, '{ $.pod = "*" }', dimensions={"Pod": "$.pod"})
    put(running, logs, *({"pod": f"p{number}"} for number in range(1200)))
    found = [
        m for page in running.client("cloudwatch").get_paginator("list_metrics").paginate() for m in page["Metrics"]
    ]
    assert len(found) == 1000
