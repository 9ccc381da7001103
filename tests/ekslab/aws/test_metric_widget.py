"""GetMetricWidgetImage: what a widget asks for is evaluated and drawn; what is wrong with it is listed."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ekslab.aws.metric_widget import Graph, graph_of
from ekslab.aws.metrics import Metric, Metrics
from ekslab.aws.protocols import AwsError
from ekslab.aws.widget_image import draw, figure

NOW = 1_795_944_000 + 90  # 09:21:30
MINUTE = 60


def size(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG, which has to be whole."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png.endswith(b"IEND" + struct.pack(">I", zlib.crc32(b"IEND")))
    width, height = struct.unpack(">II", png[16:24])
    return width, height


@pytest.fixture
def store() -> Metrics:
    """Alerts by rule: `a` 1, 2 and 3 minutes ago, `b` 40 minutes ago; all alerts in another metric."""
    metrics = Metrics(lambda: float(NOW))
    for rule, minutes, count in (("a", 1, 2), ("a", 2, 3), ("a", 3, 4), ("b", 40, 7)):
        metrics.put(Metric("Falco", "ByRule", (("Rule", rule),)), NOW - minutes * MINUTE, [(1.0, float(count))])
        metrics.put(Metric("Falco", "Alerts"), NOW - minutes * MINUTE, [(1.0, float(count))])
    return metrics


def graph(store: Metrics, *rows: Any, **properties: Any) -> Graph:
    widget = {"metrics": list(rows), "stat": "Sum", "period": MINUTE, **properties}
    return graph_of(store, json.dumps(widget), region="us-east-1", now=NOW)


def values(found: Graph) -> dict[str, list[float]]:
    return {line.label: [line.series[time] for time in sorted(line.series)] for line in found.lines}


def texts(fig: Figure) -> list[str]:
    """Everything that is written in a figure."""
    axes = [text.get_text() for ax in fig.axes for text in (*ax.texts, *ax.get_yticklabels(), ax.yaxis.label)]
    legends = [text.get_text() for legend in fig.legends for text in legend.get_texts()]
    return [text for text in (*(t.get_text() for t in fig.texts), *axes, *legends) if text]


SEARCH = "SEARCH('{Falco,Rule} MetricName=\"ByRule\"', 'Sum')"


def test_searches_shorthand_and_metric_math_are_evaluated_and_hidden_metrics_are_not_drawn(store: Metrics) -> None:
    found = graph(
        store,
        ["Falco", "ByRule", "Rule", "a", {"id": "m1", "visible": False}],
        ["...", "b", {"id": "m2"}],
        [{"expression": "m1 * 10", "label": "ten", "id": "e1"}],
        [{"expression": SEARCH, "id": "s"}],
    )
    assert values(found) == {"ByRule b": [7.0], "ten": [40.0, 30.0, 20.0], "a": [4.0, 3.0, 2.0], "b": [7.0]}


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        (None, ["a", "b"]),
        ("rule", ["rule a", "rule b"]),
        ("${LABEL}: ${SUM}, at most ${MAX}", ["a: 9, at most 4", "b: 7, at most 7"]),
        ("${LAST} of ${DATAPOINT_COUNT}", ["2 of 3", "7 of 1"]),
    ],
)
def test_labels_of_a_search(store: Metrics, label: str | None, shown: list[str]) -> None:
    options = {"expression": SEARCH, "id": "s", **({"label": label} if label else {})}
    assert list(values(graph(store, [options]))) == shown


def test_an_expression_without_label_is_named_by_its_id_or_itself(store: Metrics) -> None:
    rows = (["Falco", "Alerts", {"id": "m"}], [{"expression": "m+1"}], [{"expression": "m+2", "id": "two"}])
    assert list(values(graph(store, *rows))) == ["Alerts", "m+1", "two"]


def test_times_default_to_three_hours_and_periods_begin_as_on_a_clock(store: Metrics) -> None:
    found = graph(store, ["Falco", "Alerts"], period=3600)
    begin = NOW // 3600 * 3600
    assert (found.start, found.end) == (begin - 3 * 3600, begin + 3600)
    assert found.lines[0].series == {begin: 9.0, begin - 3600: 7.0}
    found = graph(store, ["Falco", "Alerts"], start="-PT10M", end="-PT2M")
    assert (NOW - found.start, found.end) == (NOW % 60 + 600, NOW // 60 * 60 - MINUTE)
    found = graph(store, ["Falco", "Alerts"], start="2026-11-29T09:00:00Z", end="2026-11-29T10:30:00+01:00")
    assert found.end - found.start == 1800
    found = graph(store, ["Falco", "Alerts"], start="-P1DT12H", end="PT0H")
    assert found.end - found.start == 36 * 3600 + MINUTE


def test_bars_have_the_latest_datapoint_or_that_of_the_whole_range(store: Metrics) -> None:
    row = [{"expression": f"SORT({SEARCH}, SUM, DESC)", "id": "s"}]
    latest = figure(graph(store, row, view="bar"))
    assert [bar.get_width() for bar in latest.axes[0].patches] == [2.0, 7.0]
    whole = figure(graph(store, row, view="bar", setPeriodToTimeRange=True, title="By rule"))
    assert [bar.get_width() for bar in whole.axes[0].patches] == [9.0, 7.0]
    assert {"By rule", "a", "b", "9", "7"} <= set(texts(whole))


def test_a_line_is_interrupted_where_a_minute_has_no_value_and_a_lone_value_is_a_dot(store: Metrics) -> None:
    (line,) = figure(graph(store, ["Falco", "Alerts", {"color": "#a5133b"}])).axes[0].lines
    drawn = [None if y != y else y for y in line.get_ydata()]
    assert drawn == [7.0, None, 4.0, 3.0, 2.0]
    assert line.get_markevery() == [0]
    assert to_hex(line.get_color()) == "#a5133b"


def test_stacked_series_stand_on_one_another_each_as_wide_as_its_period(store: Metrics) -> None:
    store.put(Metric("Falco", "ByRule", (("Rule", "b"),)), NOW - MINUTE, [(1.0, 5.0)])
    ax = figure(graph(store, [{"expression": SEARCH, "id": "s"}], stacked=True)).axes[0]
    tops = [max(path.get_extents().y1 for path in area.get_paths()) for area in ax.collections]
    assert tops == [4.0, 7.0]  # a alone; b 40 minutes ago, and 2 + 5 a minute ago
    x = [at[0] * 86_400 for at in ax.collections[0].get_paths()[0].vertices.tolist() if at[1] == 2.0]
    assert max(x) - min(x) == pytest.approx(MINUTE, abs=0.01)


def test_annotations_axes_zone_and_legend(store: Metrics) -> None:
    fig = figure(
        graph(
            store,
            ["Falco", "Alerts", {"id": "m"}],
            [{"expression": "m * 100", "label": "percent", "yAxis": "right"}],
            title="Costs $x$ and $y$",
            timezone="+0530",
            yAxis={"left": {"min": -1, "max": 20, "label": "alerts"}},
            annotations={
                "horizontal": [
                    {"value": 8, "label": "many", "fill": "above"},
                    [{"value": 2000, "label": "top", "yAxis": "right"}, {"value": 1000, "label": "bottom"}],
                    {"value": 30, "label": "unseen", "visible": False},
                ],
                "vertical": [{"value": "2026-11-29T09:00:00Z", "label": "deployed", "fill": "after"}],
            },
        )
    )
    left, right = fig.axes
    assert left.get_ylim() == (-1, 20)
    assert right.get_ylim()[1] > 2000  # the graph is scaled so that annotations are in it
    assert {"many", "top", "bottom", "deployed", "alerts", "Alerts", "percent"} <= set(texts(fig))
    assert "unseen" not in texts(fig)
    fig.canvas.draw()
    assert "14:00" in [label.get_text() for label in left.get_xticklabels()]  # 08:30 UTC
    assert fig.texts[0].get_text() == "Costs $x$ and $y$"


def test_single_values_and_pies(store: Metrics) -> None:
    row = [{"expression": SEARCH, "id": "s"}]
    single = figure(graph(store, row, view="singleValue", setPeriodToTimeRange=True, sparkline=True))
    assert [text.get_text() for text in single.texts if text.get_text() != "■"] == ["9", "a", "7", "b"]
    pie = figure(graph(store, row, view="pie", setPeriodToTimeRange=True))
    assert {"56%", "44%", "a: 9", "b: 7"} <= set(texts(pie))
    store.put(Metric("Falco", "Many"), NOW - MINUTE, [(1234567.0, 1.0)])
    shown = [
        texts(figure(graph(store, ["Falco", "Many"], view="singleValue", **more)))
        for more in ({}, {"singleValueFullPrecision": True})
    ]
    assert [found[0] for found in shown] == ["1.23M", "1,234,567"]


@pytest.mark.parametrize("view", ["timeSeries", "bar", "pie", "singleValue"])
def test_without_data_it_says_so(store: Metrics, view: str) -> None:
    found = " ".join(texts(figure(graph(store, ["Falco", "None"], view=view))))
    assert "--" in found if view == "singleValue" else "No data available" in found


@pytest.mark.parametrize("view", ["timeSeries", "bar", "pie", "singleValue"])
@pytest.mark.parametrize("pixels", [(1, 1), (2000, 3), (3, 2000), (123, 77), (600, 400)])
def test_every_size_is_drawn_exactly(store: Metrics, view: str, pixels: tuple[int, int]) -> None:
    odd = {"label": "_$\\frac{x$ \n\0 漢 " * 9}
    found = graph(store, ["Falco", "Alerts", odd], view=view, title="$t" * 99, width=pixels[0], height=pixels[1])
    assert size(draw(found)) == pixels


def test_a_long_stack_is_filled_in_parts_that_join(store: Metrics) -> None:
    """A long polygon would keep the lab from answering while it is drawn."""
    rows = (["Falco", "Alerts", {"id": "m", "visible": False}], [{"expression": "FILL(m, 2)"}])
    found = graph(store, *rows, stacked=True, start="-PT20H", end="PT0H")
    (axes,) = figure(found).axes
    fills = [collection.get_paths()[0].vertices[:, 0] for collection in axes.collections]
    assert len(fills) > 1
    assert max(map(len, fills)) < 5000
    assert [after.min() for after in fills[1:]] == [before.max() for before in fills[:-1]]


def test_the_theme_is_the_paper(store: Metrics) -> None:
    papers = [to_hex(figure(graph(store, ["Falco", "Alerts"], theme=t)).get_facecolor()) for t in ("light", "dark")]
    assert papers == ["#ffffff", "#1a2029"]


def test_more_series_than_fit_are_counted(store: Metrics) -> None:
    rows = [["Falco", "Alerts", {"label": f"line {n}", "id": f"m{n}"}] for n in range(100)]
    legend = [text.get_text() for text in figure(graph(store, *rows)).legends[0].get_texts()]
    assert legend[-1] == f"and {101 - len(legend)} more"
    bars = texts(figure(graph(store, *rows, view="bar", height=200)))
    assert "line 0" in bars
    assert "line 99" not in bars


FAULTS: list[tuple[Any, str]] = [
    ("{", "must be a valid JSON object"),
    ("[" * 9999, "must be a valid JSON object"),
    ("[]", "must be a valid JSON object"),
    ({}, "Should have required property 'metrics'"),
    ({"metrics": []}, "Should NOT have less than 1 items"),
    ({"metrics": [["A", "B", {"id": f"m{n}"}] for n in range(101)]}, "Should NOT have more than 100 items"),
    ({"metrics": [["A", "B"]], "view": "gauge"}, "/view"),
    ({"metrics": [["A", "B"]], "width": 2001}, "Should be <= 2000"),
    ({"metrics": [["A", "B"]], "stat": "Mode"}, "/stat"),
    ({"metrics": [["A", "B"]], "period": 61}, "/period"),
    ({"metrics": [["A", "B"]], "start": "yesterday"}, "'yesterday' is no time"),
    ({"metrics": [["A", "B"]], "start": "P"}, "'P' is no time"),
    ({"metrics": [["A", "B"]], "start": "PT1H", "end": "-PT1H"}, "Should be before the end"),
    ({"metrics": [["A", "B"]], "start": "-PT5M", "end": "+PT9999H"}, "Should be before the end|/period"),
    ({"metrics": [["A", "B"]], "start": "-P400D", "period": 60}, "100,800 datapoints"),
    ({"metrics": [["A", "B", {"region": "eu-west-1"}]]}, "Should be the local Region, us-east-1"),
    ({"metrics": [["A", "B"]], "accountId": "111122223333"}, "monitors no other"),
    ({"metrics": [[".", "B"]]}, "shorthand"),
    ({"metrics": [[{"expression": "m1 +"}]]}, "Error in expression 'm1 \\+'"),
    ({"metrics": [[{"expression": "1"}]]}, "returns a number"),
    ({"metrics": [["A", "B", {"label": "${PROP('Period')}"}]]}, "has the dynamic labels"),
    ({"metrics": [["A", "B"]], "annotations": {"alarms": ["x"]}}, "/annotations/alarms"),
    ({"metrics": [["A", "B"]], "annotations": {"vertical": [{"value": "soon"}]}}, "/annotations/vertical/0/value"),
    ({"metrics": [["A", "B"]], "annotations": {"vertical": [{"value": "2024-13-45"}]}}, "'2024-13-45' is no time"),
    ({"metrics": [["A", "B"]], "annotations": {"horizontal": [{"value": 10**400}]}}, "Should be a finite number"),
    ('{"metrics": [["A", "B"]], "annotations": {"horizontal": [{"value": 1e999}]}}', "Should be a finite number"),
    ('{"metrics": [["A", "B"]], "yAxis": {"left": {"min": NaN}}}', "Should be a finite number"),
    ({"metrics": [["A", "B"]], "timezone": "+9999"}, "/timezone"),
    ({"metrics": [["A", "B"]], "start": "9998-01-01T00:00:00Z", "end": "9998-02-01T00:00:00Z"}, "/start"),
    ({"metrics": [["A", "B"]], "title": "x" * 100_001}, "larger than 100,000 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("widget", "message"), FAULTS, ids=[message for _, message in FAULTS])
def test_what_is_wrong_is_named_with_its_place(store: Metrics, widget: Any, message: str) -> None:
    text = widget if isinstance(widget, str) else json.dumps(widget)
    with pytest.raises(AwsError, match=message) as refused:
        graph_of(store, text, region="us-east-1", now=NOW)
    assert refused.value.code == "ValidationError"


# Over HTTP


@pytest.fixture
def cloudwatch(running: Any) -> Any:
    client = running.client("cloudwatch")
    client.put_metric_data(Namespace="Falco", MetricData=[{"MetricName": "Alerts", "Value": 3.0}])
    return client


WIDGET = json.dumps({"metrics": [["Falco", "Alerts"]], "width": 320, "height": 200, "title": "Alerts"})


def test_the_image_comes_by_every_protocol(running: Any, cloudwatch: Any, aws_cli: Callable[..., Any]) -> None:
    assert size(cloudwatch.get_metric_widget_image(MetricWidget=WIDGET)["MetricWidgetImage"]) == (320, 200)
    answer = aws_cli("cloudwatch", "get-metric-widget-image", "--metric-widget", WIDGET)
    assert size(base64.b64decode(answer["MetricWidgetImage"])) == (320, 200)


def test_images_asked_for_at_the_same_time_are_the_same(cloudwatch: Any) -> None:
    fixed = {"start": "2026-11-29T09:00:00Z", "end": "2026-11-29T10:00:00Z"}
    widget = json.dumps({**json.loads(WIDGET), **fixed})
    with ThreadPoolExecutor(4) as threads:
        drawn = [threads.submit(cloudwatch.get_metric_widget_image, MetricWidget=widget) for _ in range(6)]
        assert cloudwatch.list_metrics()["Metrics"]
        assert len({answer.result()["MetricWidgetImage"] for answer in drawn}) == 1


def test_refusals_have_the_codes_of_the_service(cloudwatch: Any) -> None:
    with pytest.raises(ClientError, match=r"ValidationError.*valid JSON object"):
        cloudwatch.get_metric_widget_image(MetricWidget="nonsense")
    with pytest.raises(ClientError, match=r"InvalidParameterValue.*the embedded lab has png"):
        cloudwatch.get_metric_widget_image(MetricWidget=WIDGET, OutputFormat="gif")


@pytest.mark.parametrize("action", ["cloudwatch:GetMetricWidgetImage", "cloudwatch:GetMetricData"])
def test_a_policy_has_to_allow_it(running: Any, cloudwatch: Any, action: str) -> None:
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    client = running.as_session("cloudwatch", running.session({"Version": "2012-10-17", "Statement": [statement]}))
    if action.endswith("Image"):
        assert size(client.get_metric_widget_image(MetricWidget=WIDGET)["MetricWidgetImage"]) == (320, 200)
        return
    with pytest.raises(ClientError, match=r"AccessDenied.*cloudwatch:GetMetricWidgetImage"):
        client.get_metric_widget_image(MetricWidget=WIDGET)


def test_matplotlib_is_imported_for_the_first_image_and_not_before() -> None:
    code = "import sys, ekslab.server, ekslab.lab; sys.exit('matplotlib' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_matplotlib_the_lab_says_what_to_install(cloudwatch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ekslab.aws.widget_image")
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ClientError, match=r"not supported by the embedded lab: matplotlib.*pip install"):
        cloudwatch.get_metric_widget_image(MetricWidget=WIDGET)
