"""Metrics of alerts: what CloudWatch counts is what the frame holds, and what AWS would refuse is refused before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pandas as pd
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from ekslab.state import Endpoints
from labkit import Lab
from labkit.alerts import PRIORITIES, to_frame
from labkit.errors import LabError, TargetError
from labkit.provision import metric_filters
from labkit.respond import metrics
from labkit.respond.metrics import Counter

from .conftest import LINES

DTYPES = {"period": "datetime64[ns, UTC]", "rule": "string", "count": "Int64"}


@pytest.fixture
def counters(lab: Lab) -> dict[str, Counter]:
    """The workshop's counters, once its filters are there."""
    lab.apply("metric-filters")
    return metrics.counters(metric_filters.requests(lab.target))


def read(lab: Lab, counter: Counter, **options: Any) -> pd.DataFrame:
    return metrics.read(lab.aws.client("cloudwatch"), counter, "20m", **options)


# Counts


@pytest.mark.parametrize("by", ["", "rule", "priority"])
@pytest.mark.parametrize("period", [60, 300])
def test_cloudwatch_counts_what_the_frame_holds_by_period(
    lab: Lab, counters: dict[str, Counter], log: Callable[..., None], by: str, period: int
) -> None:
    log(*LINES, minutes=9, step=540 / len(LINES))
    alerts = metrics.count(lab.alerts(), by, period=period)
    found = read(lab, counters[by], period=period)
    assert alerts["count"].sum() == len(LINES)
    assert alerts["period"].nunique() >= (8 if period == 60 else 2)
    pd.testing.assert_frame_equal(found, alerts)
    both = metrics.compare(alerts, found)
    assert both["alerts"].equals(both["metric"].rename("alerts"))


def test_the_frames_have_the_same_dtypes_with_and_without_alerts(lab: Lab, counters: dict[str, Counter]) -> None:
    empty = metrics.count(to_frame([]), "rule")
    for frame in (empty, read(lab, counters["rule"]), metrics.count(to_frame(LINES), "rule")):
        assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
    assert metrics.compare(empty, empty).empty


def test_a_filter_counts_what_comes_after_it(lab: Lab, alert: Callable[..., str], log: Callable[..., None]) -> None:
    log(alert(), alert())
    lab.apply("metric-filters")
    counter = metrics.counters(metric_filters.requests(lab.target))[""]
    assert read(lab, counter).empty
    log(alert())
    seen = metrics.counted(lab.alerts(), metric_filters.described(lab))
    assert len(lab.alerts()) == 3
    assert len(seen) == read(lab, counter)["count"].sum() == 1


def test_what_is_no_alert_is_not_counted(
    lab: Lab, counters: dict[str, Counter], alert: Callable[..., str], log: Callable[..., None]
) -> None:
    log("Falco initialized with configuration files:", '{"canary": true}', '{"rule": null, "priority": "Notice"}')
    log(alert())
    assert read(lab, counters[""])["count"].tolist() == [1]


def test_a_priority_that_falco_does_not_know_makes_no_metric(
    lab: Lab, counters: dict[str, Counter], alert: Callable[..., str], log: Callable[..., None]
) -> None:
    log(alert(priority="Loud", rule="A rule"), alert(priority="Debug", rule="A rule"))
    df = lab.alerts()
    assert metrics.count(df, "priority")["priority"].tolist() == ["Debug"]
    assert read(lab, counters["priority"])["priority"].tolist() == ["Debug"]
    assert metrics.count(df, "rule")["count"].tolist() == read(lab, counters["rule"])["count"].tolist() == [2]


def test_every_priority_is_counted_and_the_critical_ones_once_more(
    lab: Lab, counters: dict[str, Counter], alert: Callable[..., str], log: Callable[..., None]
) -> None:
    log(*(alert(priority=priority) for priority in PRIORITIES))
    assert set(read(lab, counters["priority"])["priority"]) == set(PRIORITIES)
    assert read(lab, Counter(lab.settings.prefix, "CriticalAlerts"))["count"].sum() == 3


def test_alerts_from_a_host_are_counted_like_those_from_pods(
    lab: Lab, counters: dict[str, Counter], alert: Callable[..., str], log: Callable[..., None]
) -> None:
    log(alert(output_fields={"proc.name": "bash"}), alert(output_fields=None))
    df = lab.alerts()
    assert df["k8s.pod.name"].isna().all()
    pd.testing.assert_frame_equal(metrics.count(df, "rule"), read(lab, counters["rule"]))


def test_a_value_that_no_list_has_yet_is_asked_for(lab: Lab, counters: dict[str, Counter]) -> None:
    found = read(lab, counters["rule"], values=["Nobody tripped this one"])
    assert found.empty


def test_more_values_than_one_call_takes_are_all_read(
    lab: Lab, counters: dict[str, Counter], alert: Callable[..., str], log: Callable[..., None]
) -> None:
    log(*(alert(rule=f"Rule {number}") for number in range(metrics.MAX_QUERIES + 20)))
    assert len(read(lab, counters["rule"])) == metrics.MAX_QUERIES + 20


def test_waiting_ends_as_soon_as_all_is_counted_or_the_time_is_up(
    lab: Lab, counters: dict[str, Counter], alert: Callable[..., str], log: Callable[..., None]
) -> None:
    log(alert(rule="A"), alert(rule="B"))
    alerts = metrics.count(lab.alerts(), "rule")
    found = lab.wait_for_counts(alerts)
    assert found["rule"].tolist() == ["A", "B"]
    more = alerts.assign(count=alerts["count"] + 1)
    short = lab.wait_for_counts(more, timeout=0.1)
    assert (metrics.compare(more, short)["alerts"] - metrics.compare(more, short)["metric"]).tolist() == [1, 1]


def test_nothing_to_wait_for_is_said(lab: Lab) -> None:
    with pytest.raises(LabError, match="no alerts to wait for") as caught:
        lab.wait_for_counts(metrics.count(to_frame([])))
    assert "Trigger some" in caught.value.hint


def test_counts_by_different_columns_are_not_compared() -> None:
    df = to_frame(LINES)
    with pytest.raises(LabError, match="one is by period, rule, the other by period, priority"):
        metrics.compare(metrics.count(df, "rule"), metrics.count(df, "priority"))
    with pytest.raises(LabError, match="no column 'rool'"):
        metrics.count(df, "rool")


# What the limits are


def test_the_workshops_filters_stay_far_from_every_limit(lab: Lab) -> None:
    requests = metric_filters.requests(lab.target)
    assert len(requests) <= 10  # of 100
    for request in requests:
        (transformation,) = request["metricTransformations"]
        dimensions = transformation.get("dimensions", {})
        assert set(dimensions.values()) <= {"$.rule", "$.priority"}
        assert not (dimensions and "defaultValue" in transformation)
        assert len(dimensions) <= 1


def test_a_dimension_of_pod_names_would_end_in_a_disabled_filter(
    lab: Lab, alert: Callable[..., str], log: Callable[..., None]
) -> None:
    transformation = {
        "metricNamespace": lab.settings.prefix,
        "metricName": "AlertsByPod",
        "metricValue": "1",
        "dimensions": {"Pod": "$.output_fields.['k8s.pod.name']"},
    }
    request = {
        "logGroupName": lab.settings.log_group,
        "filterName": "by-pod",
        "filterPattern": "{ $.rule = * }",
        "metricTransformations": [transformation],
    }
    metrics.put_filter(lab.aws.client("logs"), request)
    for first in range(0, 1100, 100):
        log(*(alert(output_fields={"k8s.pod.name": f"web-{number}"}) for number in range(first, first + 100)))
    counter = metrics.counters([request])["k8s.pod.name"]
    assert counter.dimension == "Pod"
    assert read(lab, counter)["count"].sum() == 1000  # in an hour, and nothing after that


# What AWS would refuse


def changed(lab: Lab, pattern: str | None = None, **transformation: Any) -> dict[str, Any]:
    request = metric_filters.requests(lab.target)[0]
    found = {**request["metricTransformations"][0], **transformation}
    return {
        **request,
        "filterPattern": pattern if pattern is not None else request["filterPattern"],
        "metricTransformations": [{key: value for key, value in found.items() if value is not None}],
    }


@pytest.mark.parametrize(
    ("pattern", "transformation", "said"),
    [
        ('{ $.priority == "Critical" }', {}, r"metric filter \S+-alerts: .* \(position 15\)\n  \{.*\n {16}\^"),
        ('{ $.rule = "Terminal shell }', {}, r"\(position 12\)\n.*\n {13}\^"),
        ("{ $.rule = *", {}, r"must end with '}' \(position 12\)"),
        ("{ $.output_fields['k8s.pod.name'] = * }", {}, r"a key in brackets is written \.\['key'\]"),
        (" ".join(["a"] * 600), {}, "length less than or equal to 1024"),
        (None, {"defaultValue": 0, "dimensions": {"Rule": "$.rule"}}, "dimensions and default value"),
        (None, {"defaultValue": None, "dimensions": dict.fromkeys("ABCD", "$.rule")}, "number of dimensions is 3"),
        (None, {"metricNamespace": "AWS/Falco"}, "AWS/"),
        (None, {"metricName": "Alerts:all"}, r"\[\^:\*\$\]"),
    ],
)
def test_a_filter_that_the_service_refuses_is_shown_with_its_reason_and_the_place(
    lab: Lab, pattern: str | None, transformation: dict[str, Any], said: str
) -> None:
    request = changed(lab, pattern, **transformation)
    with pytest.raises(LabError, match=said) as caught:
        metrics.put_filter(lab.aws.client("logs"), request)
    assert (f"  {request['filterPattern']}" in caught.value.message.splitlines()) == (
        "(position" in caught.value.message
    )
    assert "TestMetricFilter" in caught.value.hint
    assert not metric_filters.described(lab)


def test_a_filter_of_a_group_that_is_not_there_is_no_fault_of_the_filter(lab: Lab) -> None:
    with pytest.raises(TargetError, match="ResourceNotFoundException") as caught:
        metrics.put_filter(lab.aws.client("logs"), {**changed(lab), "logGroupName": "nowhere"})
    assert "pattern" not in str(caught.value)


# PutMetricData


def test_numbers_of_a_frame_become_a_metric_with_percentiles(
    lab: Lab, alert: Callable[..., str], log: Callable[..., None]
) -> None:
    now = pd.Timestamp.now("UTC")
    log(*(alert(time=(now - pd.Timedelta(milliseconds=lag)).isoformat()) for lag in range(1, 101)))
    df = lab.alerts()
    lags = df.falco.delays()["total"]
    cloudwatch = lab.aws.client("cloudwatch")
    data = metrics.metric_data("Lag", lags, df["timestamp"], unit="Milliseconds", dimensions={"Stage": "delivery"})
    assert metrics.put(cloudwatch, lab.settings.prefix, data) == 1
    (point,) = cloudwatch.get_metric_statistics(
        Namespace=lab.settings.prefix,
        MetricName="Lag",
        Dimensions=[{"Name": "Stage", "Value": "delivery"}],
        StartTime=now.floor("h").to_pydatetime(),
        EndTime=(now + pd.Timedelta(hours=1)).to_pydatetime(),
        Period=7200,
        Statistics=["SampleCount", "Sum", "Minimum", "Maximum"],
    )["Datapoints"]
    assert point["SampleCount"] == len(df) == 100
    assert (point["Minimum"], point["Maximum"]) == (lags.min(), lags.max())
    assert point["Sum"] == lags.sum()


def test_values_that_repeat_are_sent_once_with_their_count() -> None:
    now = pd.Timestamp.now("UTC").floor("min")
    times = pd.Series([now, now, now, now - pd.Timedelta(minutes=1), now])
    data = metrics.metric_data("Lag", pd.Series([5, 7, 5, 5, None], dtype="Int64"), times)
    assert [(datum["Values"], datum["Counts"]) for datum in data] == [([5.0], [1.0]), ([5.0, 7.0], [2.0, 1.0])]
    assert {datum["Unit"] for datum in data} == {"None"}


def test_calls_and_their_entries_stay_within_their_limits(lab: Lab) -> None:
    now = pd.Timestamp.now("UTC").floor("min")
    values = pd.Series(range(1000), dtype="float64")
    data = metrics.metric_data("Many", values, pd.Series([now] * 1000))
    assert [len(datum["Values"]) for datum in data] == [150] * 6 + [100]
    times = pd.Series([now - pd.Timedelta(minutes=i) for i in range(2500)])
    data = metrics.metric_data("Minutes", pd.Series([1.0] * 2500), times)
    cloudwatch = lab.aws.client("cloudwatch")
    assert metrics.put(cloudwatch, lab.settings.prefix, data) == 3
    answer = cloudwatch.get_metric_statistics(
        Namespace=lab.settings.prefix,
        MetricName="Minutes",
        StartTime=(now - pd.Timedelta(days=2)).to_pydatetime(),
        EndTime=(now + pd.Timedelta(minutes=5)).to_pydatetime(),
        Period=86_400,
        Statistics=["SampleCount"],
    )
    assert sum(point["SampleCount"] for point in answer["Datapoints"]) == 2500
    wide = {"MetricName": "a" * 250, "Values": [0.123456789] * 150, "Counts": [1.0] * 150}
    sent = [{**datum, **wide} for datum in data[:300]]  # by size there are several calls long before 1,000 entries
    size = len(json.dumps(sent, default=str))
    assert metrics.put(cloudwatch, lab.settings.prefix, sent) == -(-size // metrics.MAX_BYTES) == 2


@pytest.mark.parametrize(
    ("namespace", "datum", "said"),
    [
        ("AWS/Falco", {}, "The value AWS/ for parameter Namespace"),
        (":falco", {}, "namespace"),
        ("", {}, "Namespace"),
        ("mine", {"Timestamp": pd.Timestamp.now("UTC") - pd.Timedelta(days=15)}, "no more than two weeks in the past"),
        ("mine", {"Timestamp": pd.Timestamp.now("UTC") + pd.Timedelta(hours=3)}, "two hours in the future"),
        ("mine", {"Values": [float("inf")]}, "can not be converted to Double"),
        ("mine", {"MetricName": "a" * 256}, "length less than or equal to 255"),
        ("mine", {"Dimensions": [{"Name": ":Rule", "Value": "x"}]}, "':Rule' for parameter Dimensions.Name"),
        ("mine", {"Dimensions": [{"Name": "Ru\nle", "Value": "x"}]}, "for parameter Dimensions.Name"),
        ("mine", {"Dimensions": [{"Name": "Rule", "Value": "Überwachung"}]}, "'Überwachung' for parameter"),
        ("mine", {"Dimensions": [{"Name": "Rule", "Value": "  "}]}, "for parameter Dimensions.Value"),
    ],
)
def test_data_that_cloudwatch_refuses_are_an_error_with_its_reason(
    lab: Lab, namespace: str, datum: dict[str, Any], said: str
) -> None:
    now = pd.Timestamp.now("UTC")
    (good,) = metrics.metric_data("Lag", pd.Series([1.0]), pd.Series([now]))
    with pytest.raises(TargetError, match=said) as caught:
        metrics.put(lab.aws.client("cloudwatch"), namespace, [{**good, **datum}])
    assert caught.value.hint


def test_times_without_a_zone_and_values_that_are_text_are_refused() -> None:
    now = pd.Timestamp.now("UTC")
    with pytest.raises(LabError, match=r"are datetime64\[\w+\], not times with their zone"):
        metrics.metric_data("Lag", pd.Series([1.0]), pd.Series([now.tz_localize(None)]))
    with pytest.raises(LabError, match="not numbers"):
        metrics.metric_data("Lag", pd.Series(["1"]), pd.Series([now]))


# When AWS asks to slow down


def throttled(client: Any, operation: str, times: int) -> list[str]:
    """Answers the next `times` calls of an operation as a busy AWS does; the list tells which calls those were."""
    answered: list[str] = []

    class Raw:
        def stream(self, **_: Any) -> Iterator[bytes]:
            yield b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'

    def busy(request: Any, **_: Any) -> AWSResponse | None:
        if len(answered) == times:
            return None
        answered.append(operation)
        headers = {"x-amzn-query-error": "Throttling;Sender", "Content-Type": "application/x-amz-json-1.0"}
        return AWSResponse(request.url, 400, headers, Raw())

    client.meta.events.register(f"before-send.cloudwatch.{operation}", busy)
    return answered


def test_throttled_calls_are_made_again(
    lab: Lab, counters: dict[str, Counter], alert: Callable[..., str], log: Callable[..., None]
) -> None:
    log(alert())
    client = lab.aws.client("cloudwatch")
    answered = throttled(client, "GetMetricData", 2)
    assert metrics.read(client, counters["rule"], "5m")["count"].sum() == 1
    assert len(answered) == 2


def test_a_service_that_stays_busy_is_named(embedded: Endpoints, lab: Lab, counters: dict[str, Counter]) -> None:
    client = boto3.client(
        "cloudwatch",
        region_name=embedded.region,
        endpoint_url=embedded.aws_url,
        aws_access_key_id=embedded.access_key_id,
        aws_secret_access_key=embedded.secret_access_key,
        config=Config(retries={"total_max_attempts": 1}),
    )
    throttled(client, "GetMetricData", 1)
    with pytest.raises(TargetError, match=r"refused GetMetricData \(Throttling") as caught:
        metrics.read(client, counters[""], "5m")
    assert "slow down" in caught.value.hint
