"""CloudWatch metrics: what is put comes back by period, in statistics and in expressions."""

from __future__ import annotations

import datetime as dt
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ekslab.aws.metrics import Statistics

MINUTE = 60


@pytest.fixture
def cloudwatch(running: Any) -> Any:
    return running.client("cloudwatch")


def this_minute(running: Any) -> int:
    return int(running.clock() // MINUTE) * MINUTE


def put(cloudwatch: Any, name: str, time: float, value: float = 1.0, **dimensions: str) -> None:
    named = [{"Name": key, "Value": text} for key, text in dimensions.items()]
    datum = {"MetricName": name, "Timestamp": time, "Value": value, "Dimensions": named}
    cloudwatch.put_metric_data(Namespace="Falco", MetricData=[datum])


def data(cloudwatch: Any, start: int, end: int, *queries: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=list(queries), StartTime=start, EndTime=end, ScanBy="TimestampAscending", **options
    )
    return list(answer["MetricDataResults"])


def stat(id_: str, name: str, statistic: str = "Sum", period: int = MINUTE, **dimensions: str) -> dict[str, Any]:
    named = [{"Name": key, "Value": text} for key, text in dimensions.items()]
    metric = {"Namespace": "Falco", "MetricName": name, "Dimensions": named}
    return {"Id": id_, "MetricStat": {"Metric": metric, "Period": period, "Stat": statistic}}


def refusal(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"


def test_statistics_are_those_of_what_was_put_in_each_period(running: Any, cloudwatch: Any) -> None:
    start = this_minute(running) - 300
    for time, value in ((start, 2.0), (start + 59, 4.0), (start + 60, 10.0), (start + 250, 1.0)):
        put(cloudwatch, "Alerts", time, value)
    answer = cloudwatch.get_metric_statistics(
        Namespace="Falco", MetricName="Alerts", StartTime=start, EndTime=start + 300, Period=120,
        Statistics=["SampleCount", "Average", "Sum", "Minimum", "Maximum"],
    )  # fmt: skip
    points = [
        (int(p["Timestamp"].timestamp()) - start, p["SampleCount"], p["Average"], p["Sum"], p["Minimum"], p["Maximum"])
        for p in answer["Datapoints"]
    ]
    assert points == [(0, 3, 16 / 3, 16, 2, 10), (240, 1, 1, 1, 1, 1)]
    assert answer["Label"] == "Alerts"


def test_sets_of_values_and_of_statistics(running: Any, cloudwatch: Any) -> None:
    start = this_minute(running)
    cloudwatch.put_metric_data(
        Namespace="Falco",
        MetricData=[
            {"MetricName": "A", "Timestamp": start, "Values": [1.0, 5.0], "Counts": [3.0, 1.0], "Unit": "Count"},
            {
                "MetricName": "B",
                "Timestamp": start,
                "StatisticValues": {"SampleCount": 4.0, "Sum": 8.0, "Minimum": 1.0, "Maximum": 3.0},
            },
        ],
    )
    a, p, b, unknown = data(
        cloudwatch, start, start + 60, stat("a", "A", "Average"), stat("p", "A", "p75"), stat("b", "B", "Average"),
        stat("u", "B", "p50"),
    )  # fmt: skip
    assert (a["Values"], p["Values"], b["Values"], unknown["Values"]) == ([2.0], [2.0], [2.0], [])


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values=st.lists(st.integers(-50, 50), min_size=1, max_size=60))
def test_percentiles_are_those_of_all_values(values: list[int]) -> None:
    statistics = Statistics()
    for value in values:
        statistics.add(value)
    ordered = sorted(values)
    place = 0.9 * (len(values) - 1)
    low = ordered[int(place)]
    high = ordered[min(int(place) + 1, len(values) - 1)]
    assert statistics.get("p90") == pytest.approx(low + (high - low) * (place - int(place)))


def test_dimensions_make_metrics_of_their_own(running: Any, cloudwatch: Any) -> None:
    start = this_minute(running)
    put(cloudwatch, "Alerts", start, 1, Priority="Notice")
    put(cloudwatch, "Alerts", start, 2, Priority="Critical")
    put(cloudwatch, "Alerts", start, 4)
    notice, alone = data(cloudwatch, start, start + 60, stat("n", "Alerts", Priority="Notice"), stat("a", "Alerts"))
    assert (notice["Values"], alone["Values"]) == ([1.0], [4.0])
    listed = cloudwatch.list_metrics(Namespace="Falco", Dimensions=[{"Name": "Priority"}])["Metrics"]
    assert [metric["Dimensions"][0]["Value"] for metric in listed] == ["Critical", "Notice"]
    (only,) = cloudwatch.list_metrics(Dimensions=[{"Name": "Priority", "Value": "Notice"}])["Metrics"]
    assert only["MetricName"] == "Alerts"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a + b", [(0, 11.0), (60, 2.0)]),
        ("-a * 2 + 1", [(0, -1.0), (60, -3.0)]),
        ("a / (b - 10)", []),
        ("SUM(a)", None),
        ("TIME_SERIES(SUM(a))", [(0, 3.0), (60, 3.0), (120, 3.0)]),
        ("SUM(METRICS())", [(0, 11.0), (60, 2.0)]),
        ("MAX([a, b])", [(0, 10.0), (60, 2.0)]),
        ("FILL(b, 0)", [(0, 10.0), (60, 0.0), (120, 0.0)]),
        ("FILL(a, REPEAT)", [(0, 1.0), (60, 2.0), (120, 2.0)]),
        ("IF(a > 1, a, 0)", [(0, 0.0), (60, 2.0)]),
        ("IF(a > 1, a)", [(60, 2.0)]),
        ("RATE(a)", [(60, 1 / 60)]),
        ("a * PERIOD(a)", [(0, 60.0), (60, 120.0)]),
        ("2 ^ 3 + 0 * a", [(0, 8.0), (60, 8.0)]),
        ("a + nothing", None),
        ("ANOMALY_DETECTION_BAND(a, 2)", None),
        ("(" * 200 + "a" + ")" * 200, None),
        (" ", None),
    ],
)
def test_expressions(running: Any, cloudwatch: Any, expression: str, expected: list[tuple[int, float]] | None) -> None:
    start = this_minute(running)
    for name, time, value in (("A", 0, 1.0), ("A", 60, 2.0), ("B", 0, 10.0)):
        put(cloudwatch, name, start + time, value)
    queries = [stat("a", "A"), stat("b", "B"), {"Id": "e", "Expression": expression}]
    if expected is None:
        assert "Validation" in refusal(
            cloudwatch.get_metric_data, MetricDataQueries=queries, StartTime=start, EndTime=start + 180
        )
        return
    found = data(cloudwatch, start, start + 180, *queries)[2]
    times = [int(time.timestamp()) - start for time in found["Timestamps"]]
    assert list(zip(times, found["Values"], strict=True)) == expected


def test_a_search_finds_every_metric_of_a_schema(running: Any, cloudwatch: Any) -> None:
    start = this_minute(running)
    for priority, value in (("Notice", 1.0), ("Critical", 2.0)):
        put(cloudwatch, "ByPriority", start, value, Priority=priority)
    put(cloudwatch, "Other", start, 9.0, Priority="Notice")
    expression = "SEARCH('{Falco,Priority} MetricName=\"ByPriority\"', 'Sum', 60)"
    found = data(cloudwatch, start, start + 60, {"Id": "s", "Expression": expression})
    assert [(series["Label"], series["Values"]) for series in found] == [
        ("ByPriority Critical", [2.0]),
        ("ByPriority Notice", [1.0]),
    ]


def test_labels_say_what_tells_metrics_apart(running: Any, cloudwatch: Any) -> None:
    start = this_minute(running)

    def labels(*queries: dict[str, Any]) -> list[str]:
        return [result["Label"] for result in data(cloudwatch, start, start + 60, *queries)]

    assert labels(stat("a", "A"), stat("b", "B")) == ["A", "B"]
    assert labels(stat("a", "A"), stat("b", "A", "Minimum", 30)) == ["A Sum 60", "A Minimum 30"]
    assert labels(stat("a", "A", period=30), stat("b", "A")) == ["A 30", "A 60"]
    assert labels(stat("a", "A", Priority="x"), stat("b", "A", Priority="y")) == ["A x", "A y"]
    named = {**stat("a", "A"), "Label": "Alerts"}
    assert "has no dynamic labels" in refusal(
        cloudwatch.get_metric_data,
        MetricDataQueries=[{**named, "Label": "${PROP('MetricName')}"}],
        StartTime=start,
        EndTime=start + 60,
    )
    assert labels(named, {"Id": "e", "Expression": "FILL(METRICS(), 0)", "Label": "filled:"}) == [
        "Alerts",
        "filled: Alerts",
    ]


def test_a_request_has_up_to_500_queries(running: Any, cloudwatch: Any) -> None:
    start = this_minute(running)
    queries = [stat(f"q{number}", "A") for number in range(501)]
    assert len(data(cloudwatch, start, start + 60, *queries[:500])) == 500
    assert "must not have a size greater than 500" in refusal(
        cloudwatch.get_metric_data, MetricDataQueries=queries, StartTime=start, EndTime=start + 60
    )


def test_one_of_several_units_is_taken_and_told_of(running: Any, cloudwatch: Any) -> None:
    start = this_minute(running)
    for unit, value in (("Seconds", 60.0), ("Milliseconds", 60_000.0)):
        datum = {"MetricName": "Took", "Timestamp": start, "Value": value, "Unit": unit}
        cloudwatch.put_metric_data(Namespace="Falco", MetricData=[datum])
    (found,) = data(cloudwatch, start, start + 60, stat("t", "Took"))
    assert found["Values"] == [60_000.0]
    (message,) = found["Messages"]
    assert message == {"Code": "MultipleUnits", "Value": "Multiple units returned: '[Milliseconds, Seconds]'"}
    query = stat("t", "Took")
    query["MetricStat"]["Unit"] = "Seconds"
    (found,) = data(cloudwatch, start, start + 60, query)
    assert (found["Values"], "Messages" in found) == ([60.0], False)


def test_seconds_are_kept_for_three_hours(running: Any, cloudwatch: Any) -> None:
    start = this_minute(running) - 4 * 3600
    for time in (start, start + 3 * 3600):
        datum = {"MetricName": "A", "Timestamp": time, "Value": 1.0, "StorageResolution": 1}
        cloudwatch.put_metric_data(Namespace="Falco", MetricData=[datum])
    times = {"StartTime": start, "EndTime": start + 4 * 3600, "MetricName": "A", "Namespace": "Falco"}
    by_minute = cloudwatch.get_metric_statistics(**times, Period=3600, Statistics=["Sum"])["Datapoints"]
    (by_second,) = data(cloudwatch, start, start + 4 * 3600, stat("a", "A", period=10))
    assert (len(by_minute), len(by_second["Values"])) == (2, 1)


def test_pages_of_datapoints(running: Any, cloudwatch: Any) -> None:
    start = this_minute(running)
    for minute in range(5):
        put(cloudwatch, "A", start + minute * 60, minute)
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=[stat("a", "A")], StartTime=start, EndTime=start + 300, MaxDatapoints=2
    )
    values = [value for page in pages for value in page["MetricDataResults"][0]["Values"]]
    assert values == [4.0, 3.0, 2.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("datum", "code"),
    [
        ({"MetricName": "A"}, "MissingParameter"),
        ({"MetricName": "A", "Value": 1.0, "Values": [1.0]}, "InvalidParameterCombination"),
        ({"MetricName": "A", "Value": 1e300}, "InvalidParameterValue"),
        ({"MetricName": "A", "Value": 1.0, "Timestamp": 5}, "InvalidParameterValue"),
        ({"MetricName": "A", "Values": [1.0, 2.0], "Counts": [1.0]}, "InvalidParameterValue"),
        ({"MetricName": "A", "Value": 1.0, "Unit": "Alerts"}, "ValidationError"),
        ({"MetricName": "A", "Value": 1.0, "StorageResolution": 30}, "InvalidParameterValue"),
        (
            {"MetricName": "A", "Value": 1.0, "Dimensions": [{"Name": "x", "Value": "1"}, {"Name": "x", "Value": "2"}]},
            "InvalidParameterValue",
        ),
    ],
)
def test_what_the_service_refuses(cloudwatch: Any, datum: dict[str, Any], code: str) -> None:
    good = {"MetricName": "Good", "Value": 1.0}
    assert refusal(cloudwatch.put_metric_data, Namespace="Falco", MetricData=[good, datum]).startswith(f"{code}: ")
    assert cloudwatch.list_metrics()["Metrics"] == []  # all of it or nothing


def test_what_the_lab_has_no_answer_to_is_named(cloudwatch: Any) -> None:
    message = refusal(cloudwatch.describe_anomaly_detectors)
    assert "cloudwatch:DescribeAnomalyDetectors is not supported by the embedded lab" in message
    assert "tm90" in refusal(
        cloudwatch.get_metric_data, MetricDataQueries=[stat("a", "A", "tm90")], StartTime=0, EndTime=60
    )


def by_query(running: Any, action: str, **parameters: str) -> str:
    """The answer to a call in the query protocol, as older SDKs make it."""
    body = urlencode({"Action": action, "Version": "2010-08-01", **parameters})
    request = AWSRequest("POST", running.url, {"Content-Type": "application/x-www-form-urlencoded"}, body)
    keys = Credentials(running.credentials.access_key_id, running.credentials.secret_access_key)
    SigV4Auth(keys, "monitoring", "us-east-1").add_auth(request)
    prepared = request.prepare()
    send = urllib.request.Request(prepared.url, body.encode(), dict(prepared.headers))
    try:
        with urllib.request.urlopen(send) as response:
            text: str = response.read().decode()
    except urllib.error.HTTPError as error:
        text = error.read().decode()
    return text


def test_the_query_protocol_of_older_sdks(running: Any) -> None:
    datum = {"MetricName": "Alerts", "Value": "3", "Dimensions.member.1.Name": "P", "Dimensions.member.1.Value": "x"}
    flat = {f"MetricData.member.1.{name}": value for name, value in datum.items()}
    assert "<PutMetricDataResponse" in by_query(running, "PutMetricData", Namespace="Falco", **flat)
    listed = by_query(running, "ListMetrics", Namespace="Falco")
    assert "<MetricName>Alerts</MetricName>" in listed
    assert "<Name>P</Name><Value>x</Value>" in listed
    start = dt.datetime.fromtimestamp(this_minute(running) - 60, dt.UTC)
    times = {"StartTime": start.isoformat(), "EndTime": (start + dt.timedelta(minutes=5)).isoformat()}
    found = by_query(
        running, "GetMetricStatistics", Namespace="Falco", MetricName="Alerts", Period="60", **times,
        **{"Statistics.member.1": "Sum", "Dimensions.member.1.Name": "P", "Dimensions.member.1.Value": "x"},
    )  # fmt: skip
    assert "<Sum>3.0</Sum>" in found
    assert "<Code>InvalidAction</Code>" in by_query(running, "Nothing")


def test_alarms_and_dashboards_over_the_query_protocol(running: Any) -> None:
    settings = {
        "AlarmName": "critical", "MetricName": "Alerts", "Namespace": "Falco", "Statistic": "Sum", "Period": "60",
        "EvaluationPeriods": "1", "Threshold": "1", "ComparisonOperator": "GreaterThanThreshold",
        "AlarmActions.member.1": "arn:aws:sns:us-east-1:111122223333:t", "Tags.member.1.Key": "a",
        "Tags.member.1.Value": "b",
    }  # fmt: skip
    assert "<PutMetricAlarmResponse" in by_query(running, "PutMetricAlarm", **settings)
    described = by_query(running, "DescribeAlarms")
    assert "<StateValue>INSUFFICIENT_DATA</StateValue>" in described
    assert "<Threshold>1.0</Threshold>" in described
    assert "<AlarmActions><member>arn:aws:sns:us-east-1:111122223333:t</member></AlarmActions>" in described
    assert "created</HistorySummary>" in by_query(running, "DescribeAlarmHistory", AlarmName="critical")
    state = {"AlarmName": "none", "StateValue": "OK", "StateReason": "x"}
    assert "<Code>ResourceNotFound</Code>" in by_query(running, "SetAlarmState", **state)
    wrong = by_query(running, "PutDashboard", DashboardName="x", DashboardBody="{}")
    assert "<Code>InvalidParameterInput</Code>" in wrong
    assert "Should have required property" in wrong


def test_the_command_line(aws_cli: Any, cloudwatch: Any) -> None:
    put = "put-metric-data --namespace Falco --metric-name Alerts --value 2 --dimensions A=b"
    aws_cli("cloudwatch", *put.split())
    (metric,) = cloudwatch.list_metrics(Namespace="Falco")["Metrics"]
    assert metric == {"Namespace": "Falco", "MetricName": "Alerts", "Dimensions": [{"Name": "A", "Value": "b"}]}


def test_a_large_request_comes_compressed_and_is_read(cloudwatch: Any) -> None:
    data = [{"MetricName": f"metric-{number}", "Value": 1.0} for number in range(500)]  # more than 10 KB: SDKs compress
    cloudwatch.put_metric_data(Namespace="compressed", MetricData=data)
    pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace="compressed")
    assert sum(len(page["Metrics"]) for page in pages) == 500


@pytest.mark.parametrize("protocol", ["query", "json"])
def test_a_policy_can_allow_one_namespace(running: Any, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    statement = {
        "Effect": "Allow",
        "Action": "cloudwatch:PutMetricData",
        "Resource": "*",
        "Condition": {"StringEquals": {"cloudwatch:namespace": "falco"}},
    }
    session = running.session({"Version": "2012-10-17", "Statement": [statement]})
    monkeypatch.setattr("botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS", (protocol,))
    cloudwatch = running.as_session("cloudwatch", session)
    assert cloudwatch.meta.service_model.resolved_protocol == protocol
    cloudwatch.put_metric_data(Namespace="falco", MetricData=[{"MetricName": "Alerts", "Value": 1.0}])
    with pytest.raises(ClientError, match=r"AccessDenied.*cloudwatch:PutMetricData"):
        cloudwatch.put_metric_data(Namespace="payroll", MetricData=[{"MetricName": "Alerts", "Value": 1.0}])
