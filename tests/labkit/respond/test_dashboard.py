"""A dashboard, drawn: its graphs by CloudWatch, its alarms, texts and queries by the lab."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from labkit import Lab
from labkit.errors import LabError, TargetError
from labkit.respond.dashboard import Dashboard

PNG = b"\x89PNG\r\n\x1a\n"


class Parsed(HTMLParser):
    """The images' descriptions and the text of a page whose tags are all closed."""

    def __init__(self, dashboard: Dashboard) -> None:
        super().__init__()
        self.open: list[str] = []
        self.alts: list[str] = []
        self.styles: list[str] = []
        self.text = ""
        self.feed(dashboard._repr_html_())
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("img", "br"):
            self.open.append(tag)
        self.styles.append(dict(attrs).get("style") or "")
        self.alts += [text or "" for name, text in attrs if name == "alt"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def put(lab: Lab) -> Callable[..., Dashboard]:
    """Puts widgets on the lab's dashboard and draws it."""

    def put(*widgets: Any, **members: Any) -> Dashboard:
        body = json.dumps({"widgets": list(widgets), **members})
        lab.aws.client("cloudwatch").put_dashboard(DashboardName=lab.settings.prefix, DashboardBody=body)
        return lab.dashboard()

    return put


def metric(*rows: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "metric", "properties": {"region": "us-east-1", "metrics": list(rows), **properties}}


def test_the_workshops_dashboard_is_drawn_with_its_numbers(
    lab: Lab, alert: Callable[..., str], log: Callable[..., None]
) -> None:
    lab.ensure("dashboard")
    odd = "<b>A rule</b> & more"
    log(alert(priority="Critical", rule=odd), alert(priority="Notice", rule=odd), alert(priority="Notice", rule="b"))
    lab.wait_for_alarm(f"{lab.settings.prefix}-critical-alert", timeout=20)
    found = lab.dashboard()
    shown = {widget.title or widget.kind: widget.summary for widget in found.widgets}
    assert shown["Alerts by priority"] == "Critical 1, Notice 2"
    assert shown["Alerts by rule"] == f"{odd} 2, b 1"
    assert shown["All alerts, and the critical ones"] == "Alerts 3, CriticalAlerts 1"
    assert f"{lab.settings.prefix}-critical-alert ALARM" in shown["Alarms"]
    assert shown["The latest alerts"] == "3 rows"
    assert shown["text"].startswith("Falco on ")
    assert [w.png[:8] for w in found.widgets if w.kind == "metric"] == [PNG] * 3
    page = Parsed(found)
    assert page.alts == [f"{name}: {shown[name]}" for name in list(shown)[1:4]]
    assert page.text.count(odd) == 2  # in the log's table, escaped
    assert "grid-column:13 / span 12;grid-row:3 / span 7" in "".join(page.styles)
    text = repr(found)
    assert text.startswith(f"Dashboard {lab.settings.prefix}\n")
    assert "Critical 1, Notice 2" in text


def test_what_cloudwatch_cannot_draw_says_why_in_its_place(put: Callable[..., Dashboard]) -> None:
    found = put(
        metric(["A", "B"], view="gauge", yAxis={"left": {"min": 0, "max": 1}}),
        metric(["A", "B"], title="works"),
        {"type": "custom", "properties": {"endpoint": "arn:aws:lambda:us-east-1:111122223333:function:f"}},
        {"type": "log", "properties": {"region": "us-east-1", "query": "SOURCE '/none' | fields @message"}},
        {"type": "alarm", "properties": {"alarms": ["arn:aws:cloudwatch:us-east-1:111122223333:alarm:none"]}},
    )
    gauge, works, custom, log, alarm = (widget.summary for widget in found.widgets)
    assert "GetMetricWidgetImage" in gauge
    assert works == "no data"
    assert custom == "A widget of type custom is shown by the console only."
    assert "There is no log group '/none'" in log
    assert alarm == "none missing"
    assert "There is no such alarm." in Parsed(found).text


def test_shorthand_and_times_are_as_cloudwatch_reads_them(
    lab: Lab, put: Callable[..., Dashboard], alert: Callable[..., str], log: Callable[..., None]
) -> None:
    lab.ensure("metric-filters")
    log(alert(priority="Error"), alert(priority="Error"), alert(priority="Debug"))
    prefix = lab.settings.prefix
    rows = [
        [prefix, "AlertsByPriority", "Priority", "Error", {"id": "e", "label": "errors"}],
        ["...", "Debug", {"id": "d"}],
        [".", "Alerts", {"visible": False}],
        [{"expression": "e + d", "label": "both"}],
    ]
    values = ["errors 2", "AlertsByPriority Debug 1", "both 3"]
    for times in ({"start": "-PT2H"}, {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}, {}):
        (widget,) = put(metric(*rows, stat="Sum", period=60), **times).widgets
        assert widget.summary == ("no data" if "end" in times else ", ".join(values)), times
    (widget,) = put(metric(*rows, stat="Sum", view="pie", setPeriodToTimeRange=True, start="-P1D")).widgets
    assert widget.summary == ", ".join(values)
    (widget,) = put(metric(*rows, stat="Maximum")).widgets
    assert widget.summary == "errors 1, AlertsByPriority Debug 1, both 2"
    (widget,) = put(metric(*rows, stat="Sum", start="-P3M", period=86400)).widgets
    assert (widget.png[:8], widget.summary) == (PNG, ", ".join(values))


def test_texts_are_markdown_and_nothing_else(put: Callable[..., Dashboard]) -> None:
    text = "# Falco `x`\n**bold** <script>alert(1)</script>\n* one [page](https://example.com/?a=1&b=2)\n[bad](javascript:x)"
    shown = put({"type": "text", "properties": {"markdown": text}})._repr_html_()
    assert "<code>x</code>" in shown
    assert "<b>bold</b> &lt;script&gt;" in shown
    assert '<a href="https://example.com/?a=1&amp;b=2">page</a>' in shown
    assert not re.search(r"<script|href=\"java", shown)


def test_no_dashboard_is_told_with_those_there_are(lab: Lab) -> None:
    lab.ensure("dashboard")
    with pytest.raises(LabError, match="There is no dashboard 'none'") as missing:
        lab.dashboard("none")
    assert "lab.apply('dashboard')" in str(missing.value)
    with pytest.raises(LabError, match=f"Did you mean '{lab.settings.prefix}'"):
        lab.dashboard(lab.settings.prefix[:-1])


def test_the_history_of_an_alarm_is_a_frame_oldest_first(
    lab: Lab, alert: Callable[..., str], log: Callable[..., None]
) -> None:
    lab.ensure("alarms")
    log(alert(priority="Critical"))
    name = f"{lab.settings.prefix}-critical-alert"
    lab.wait_for_alarm(name, timeout=20)
    lab.notifications(timeout=20)
    history = lab.alarm_history(name)
    assert {column: str(dtype) for column, dtype in history.dtypes.items()} == {
        "time": "datetime64[ns, UTC]",
        "type": "string",
        "summary": "string",
        "reason": "string",
    }
    assert history["type"].tolist()[0] == "ConfigurationUpdate"
    assert history["type"].tolist()[-2:] == ["StateUpdate", "Action"]
    assert history["time"].is_monotonic_increasing
    assert history["reason"].iloc[-2].startswith("Threshold Crossed")
    assert history["reason"].isna().iloc[-1]
    for shown in (repr(history), html.unescape(history._repr_html_())):
        assert f"History of alarm {name}" in shown
        assert history["reason"].iloc[-2] in shown  # in full
        assert "<NA>" not in shown
    assert lab.alarm_history(name, 1)["type"].tolist() == ["Action"]
    with pytest.raises(LabError, match="no history of an alarm 'none'"):
        lab.alarm_history("none")
    with pytest.raises(LabError, match=f"Did you mean '{name}'"):
        lab.alarm_history(name[:-1])
    with pytest.raises(LabError, match="0 is no number of entries"):
        lab.alarm_history(name, 0)


def test_without_permission_for_images_the_call_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.ensure("dashboard")
    iam = lab.aws.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": lab.aws.identity.arn}, "Action": "sts:AssumeRole"}
    role = iam.create_role(
        RoleName="looks-only", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    allowed = {"Effect": "Allow", "Action": "cloudwatch:GetDashboard", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_role_policy(RoleName="looks-only", PolicyName="p", PolicyDocument=policy)
    try:
        session = lab.aws.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
        monkeypatch.setattr(lab, "aws", lab.aws.with_keys(session))
        with pytest.raises(TargetError, match=r"AccessDenied.*cloudwatch:GetMetricWidgetImage"):
            lab.dashboard()
    finally:
        iam.delete_role_policy(RoleName="looks-only", PolicyName="p")
        iam.delete_role(RoleName="looks-only")
