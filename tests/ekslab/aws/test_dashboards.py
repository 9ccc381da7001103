"""Dashboards: what the service would refuse is refused at its place; what it takes comes back as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ekslab.aws.dashboard_body import check_body, expand

ALARM = "arn:aws:cloudwatch:us-east-1:111122223333:alarm:critical"
REQUIRED = "Should have required property"


def widget(type_: str, /, **properties: Any) -> dict[str, Any]:
    return {"type": type_, "x": 0, "y": 0, "width": 12, "height": 6, "properties": properties}


def metric(*rows: Any, **properties: Any) -> dict[str, Any]:
    return widget("metric", region="us-east-1", metrics=list(rows), **properties)


def body(*widgets: Any, **members: Any) -> str:
    return json.dumps({"widgets": list(widgets), **members})


GOOD = body(
    {"type": "text", "properties": {"markdown": "# Falco", "background": "transparent"}},
    metric(
        ["Falco", "Alerts", "Priority", "Critical", {"color": "#d62728", "label": "critical", "id": "m1"}],
        ["...", "Notice", {"yAxis": "right", "id": "m2", "visible": False}],
        [".", "Errors", ".", "."],
        [{"expression": "m1 + m2", "label": "both", "id": "e1"}],
        [{"expression": "SEARCH('{Falco,Priority}', 'Sum', 60)", "id": "e2", "period": 60}],
        view="timeSeries",
        stacked=True,
        stat="p99",
        period=300,
        title="Alerts",
        yAxis={"left": {"min": 0, "label": "n", "showUnits": False}},
        annotations={
            "horizontal": [{"value": 3, "label": "many", "fill": "above"}, [{"value": 1}, {"value": 2}]],
            "vertical": [{"value": "2026-11-26T10:00:00Z", "fill": "before"}],
        },
        legend={"position": "right"},
    ),
    metric(["Falco", "Alerts"], view="gauge", yAxis={"left": {"min": 0, "max": 10}}),
    widget("metric", region="us-east-1", annotations={"alarms": [ALARM]}),
    widget("log", region="us-east-1", query="SOURCE '/falco' | fields @message", view="table"),
    widget("alarm", alarms=[ALARM], sortBy="timestamp", states=["ALARM"], title="Alarms"),
    widget(
        "explorer",
        metrics=[{"metricName": "CPUUtilization", "resourceType": "AWS::EC2::Instance", "stat": "Average"}],
        labels=[{"key": "Name", "value": "x"}],
    ),
    widget("chart", data={"queries": []}),
    start="-PT3H",
    periodOverride="inherit",
)


@pytest.fixture
def cloudwatch(running: Any) -> Any:
    return running.client("cloudwatch")


def test_a_dashboard_is_kept_as_it_came_listed_changed_and_deleted(cloudwatch: Any) -> None:
    assert cloudwatch.put_dashboard(DashboardName="falco", DashboardBody=GOOD)["DashboardValidationMessages"] == []
    found = cloudwatch.get_dashboard(DashboardName="falco")
    assert found["DashboardBody"] == GOOD
    assert found["DashboardArn"] == "arn:aws:cloudwatch::111122223333:dashboard/falco"
    cloudwatch.put_dashboard(DashboardName="other", DashboardBody='{"widgets": []}')
    (entry,) = cloudwatch.list_dashboards(DashboardNamePrefix="fa")["DashboardEntries"]
    assert (entry["DashboardName"], entry["Size"]) == ("falco", len(GOOD))
    names = [e["DashboardName"] for e in cloudwatch.list_dashboards()["DashboardEntries"]]
    assert names == ["falco", "other"]
    with pytest.raises(ClientError, match=r"ResourceNotFound.*Dashboard none does not exist"):
        cloudwatch.delete_dashboards(DashboardNames=["falco", "none"])
    cloudwatch.delete_dashboards(DashboardNames=["falco", "other"])
    assert cloudwatch.list_dashboards()["DashboardEntries"] == []
    with pytest.raises(ClientError, match="Dashboard falco does not exist"):
        cloudwatch.get_dashboard(DashboardName="falco")


def test_dashboards_belong_to_no_region(running: Any, cloudwatch: Any) -> None:
    cloudwatch.put_dashboard(DashboardName="falco", DashboardBody=GOOD)
    elsewhere = running.client("cloudwatch", region="eu-central-1")
    assert elsewhere.get_dashboard(DashboardName="falco")["DashboardBody"] == GOOD


def test_faults_are_told_with_their_places(cloudwatch: Any) -> None:
    faulty = body(widget("metric", view="timeSeries"), {"type": "text", "properties": {}})
    with pytest.raises(cloudwatch.exceptions.DashboardInvalidInputError) as caught:
        cloudwatch.put_dashboard(DashboardName="falco", DashboardBody=faulty)
    error = caught.value.response["Error"]
    assert error["Code"] == "InvalidParameterInput"
    assert error["Message"].startswith("The dashboard body is invalid, there are 4 validation errors:\n[")
    assert caught.value.response["dashboardValidationMessages"] == [
        {"DataPath": "/widgets/0/properties", "Message": f"{REQUIRED} 'metrics'"},
        {
            "DataPath": "/widgets/0/properties",
            "Message": "The metric widget should have specified a region and a data source or an alarm annotation",
        },
        {"DataPath": "/widgets/0/properties", "Message": f"{REQUIRED} 'annotations'"},
        {"DataPath": "/widgets/1/properties", "Message": f"{REQUIRED} 'markdown'"},
    ]
    assert cloudwatch.list_dashboards()["DashboardEntries"] == []


def test_what_is_ignored_is_told_as_a_warning(cloudwatch: Any) -> None:
    answer = cloudwatch.put_dashboard(
        DashboardName="falco", DashboardBody=body(widget("text", markdown="x", font="Arial"), colour="red")
    )
    assert [(m["DataPath"], m["Message"]) for m in answer["DashboardValidationMessages"]] == [
        ("", 'The "colour" property is not expected to be part of a widget definition, will be ignored'),
        (
            "/widgets/0/properties",
            'The "font" property is not expected to be part of a widget definition, will be ignored',
        ),
    ]


ALLOWED = "Should be equal to one of the allowed values"


@pytest.mark.parametrize(
    ("faulty", "path", "text"),
    [
        ("{}", "", f"{REQUIRED} 'widgets'"),
        (body(periodOverride="never"), "/periodOverride", ALLOWED),
        ('{"widgets": {}}', "/widgets", "Should be array"),
        (body(*[widget("text", markdown="x")] * 501), "/widgets", "Should NOT have more than 500 items"),
        (body({"properties": {}}), "/widgets/0", f"{REQUIRED} 'type'"),
        (body({"type": "text"}), "/widgets/0", f"{REQUIRED} 'properties'"),
        (body(widget("chart-of-mine")), "/widgets/0/type", ALLOWED),
        (body({**widget("text", markdown="x"), "x": 24}), "/widgets/0/x", "Should be <= 23"),
        (body({**widget("text", markdown="x"), "y": -1}), "/widgets/0/y", "Should be >= 0"),
        (body({**widget("text", markdown="x"), "width": 0}), "/widgets/0/width", "Should be >= 1"),
        (body({**widget("text", markdown="x"), "height": "6"}), "/widgets/0/height", "Should be integer"),
        (body(widget("text", markdown=5)), "/widgets/0/properties/markdown", "Should be string"),
        (body({"type": "text", "properties": []}), "/widgets/0/properties", "Should be object"),
        (body(metric(["A", "B"], view="spiral")), "/widgets/0/properties/view", ALLOWED),
        (body(metric(["A", "B"], stacked="yes")), "/widgets/0/properties/stacked", "Should be boolean"),
        (body(metric(["A", "B"], period=45)), "/widgets/0/properties/period", "Should be 1, 5, 10, 20, 30 or a mult"),
        (body(metric(["A", "B"], stat="Most")), "/widgets/0/properties/stat", "The value Most for parameter"),
        (body(metric()), "/widgets/0/properties/metrics", "Should NOT have less than 1 items"),
        (body(metric("A")), "/widgets/0/properties/metrics/0", "Should be array"),
        (body(metric(["A", "B", 5, "x"])), "/widgets/0/properties/metrics/0/2", "Invalid metric field type, only"),
        (body(metric(["A", "B", "C"])), "/widgets/0/properties/metrics/0", "A metric has a namespace, a name, and"),
        (body(metric(["A", "B", {"Cluster": "x"}])), "/widgets/0/properties/metrics/0/2", "Invalid metric field type"),
        (body(metric(["A", "B", {"Cluster": "x"}])), "/widgets/0/properties/metrics/0", "Should NOT have more than 2"),
        (body(metric(["...", "x"])), "/widgets/0/properties/metrics/0", 'The shorthand "." or "..." has nothing'),
        (body(metric(["A", "B", {"color": "red"}])), "/widgets/0/properties/metrics/0/2/color", "Should match pattern"),
        (body(metric(["A", "B", {"id": "M1"}])), "/widgets/0/properties/metrics/0/2/id", "Should match pattern"),
        (body(metric(*[["A", "B", {"id": "m"}]] * 2)), "/widgets/0/properties/metrics/1/2/id", "Duplicate metric id"),
        (body(metric([{"label": "x"}])), "/widgets/0/properties/metrics/0", f"{REQUIRED} 'expression'"),
        (body(metric(["A", "B"], view="gauge")), "/widgets/0/properties/yAxis/left", f"{REQUIRED} 'min'"),
        (
            body(metric(["A", "B"], annotations={"horizontal": [{"label": "x"}]})),
            "/widgets/0/properties/annotations/horizontal/0",
            f"{REQUIRED} 'value'",
        ),
        (
            body(widget("metric", metrics=[["A", "B"]])),
            "/widgets/0/properties",
            "The metric widget should have specified a region and a data source or an alarm annotation",
        ),
        (body(widget("log", region="us-east-1")), "/widgets/0/properties", f"{REQUIRED} 'query'"),
        (body(widget("alarm", alarms=[])), "/widgets/0/properties/alarms", "Should NOT have less than 1 items"),
        (body(widget("alarm", alarms=["critical"])), "/widgets/0/properties/alarms/0", "Should match pattern"),
        (body(widget("alarm")), "/widgets/0/properties", f"{REQUIRED} 'alarms'"),
        (body(widget("explorer", labels=[])), "/widgets/0/properties", f"{REQUIRED} 'metrics'"),
    ],
)
def test_faults(faulty: str, path: str, text: str) -> None:
    faults, _ = check_body(faulty)
    assert any(fault.path == path and fault.text.startswith(text) for fault in faults), faults


@pytest.mark.parametrize("text", ["no json", "[]", '"x"'])
def test_a_body_is_a_json_object(cloudwatch: Any, text: str) -> None:
    with pytest.raises(ClientError, match="The field DashboardBody must be a valid JSON object"):
        cloudwatch.put_dashboard(DashboardName="falco", DashboardBody=text)


def test_names_have_few_characters(cloudwatch: Any) -> None:
    with pytest.raises(ClientError, match="DashboardName contains invalid characters"):
        cloudwatch.put_dashboard(DashboardName="my falco", DashboardBody=GOOD)


@pytest.mark.parametrize(
    ("row", "before", "expected"),
    [
        (["A", "B", "C", "d"], [], ["A", "B", "C", "d"]),
        ([".", "X", ".", "."], ["A", "B", "C", "d"], ["A", "X", "C", "d"]),
        (["...", "e"], ["A", "B", "C", "d"], ["A", "B", "C", "e"]),
        (["..."], ["A", "B"], ["A", "B"]),
        (["...", "D", "x", "y", "z", "w"], ["A", "B"], None),
        ([".", "."], [], None),
    ],
)
def test_shorthand_stands_for_the_row_before(row: list[str], before: list[str], expected: list[str] | None) -> None:
    assert expand(row, before) == expected


def test_tags_and_permissions_are_by_dashboard(running: Any, cloudwatch: Any) -> None:
    cloudwatch.put_dashboard(DashboardName="falco", DashboardBody=GOOD)
    arn = cloudwatch.get_dashboard(DashboardName="falco")["DashboardArn"]
    cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": "workshop", "Value": "falco"}])
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "workshop", "Value": "falco"}]
    statement = {"Effect": "Allow", "Action": "cloudwatch:*Dashboard*", "Resource": arn}
    limited = running.as_session("cloudwatch", running.session({"Version": "2012-10-17", "Statement": [statement]}))
    limited.get_dashboard(DashboardName="falco")
    with pytest.raises(ClientError, match=r"cloudwatch:PutDashboard on resource: .*:dashboard/other because"):
        limited.put_dashboard(DashboardName="other", DashboardBody=GOOD)
    with pytest.raises(ClientError, match=r"cloudwatch:ListDashboards on resource: \* because"):
        limited.list_dashboards()
