"""The exercises of chapter 06, answered wrongly and rightly; the embedded lab's CloudWatch Logs tries the patterns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ekslab.state import Endpoints
from labkit import Lab
from labkit.exercises import NotYet, chapter06, recorded_day
from labkit.exercises.chapter06 import Alarm

SHOP = "$.output_fields.['k8s.ns.name'] = shop"


@pytest.fixture(scope="module")
def lab(embedded: Endpoints, workshop: Path) -> Lab:
    return Lab.connect(home=embedded.home, root=workshop)


@pytest.fixture(scope="module")
def day(workshop: Path) -> pd.DataFrame:
    return recorded_day.frame(workshop)


def settings(metric: str, period: Any, threshold: Any, datapoints: Any = 1, periods: Any = 1) -> dict[str, Any]:
    """An alarm that is raised if `datapoints` of `periods` periods reach the threshold."""
    return {
        "MetricName": metric,
        "Period": period,
        "EvaluationPeriods": periods,
        "DatapointsToAlarm": datapoints,
        "Threshold": threshold,
    }


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("{ $.output_fields.k8s.ns.name = shop && $.priority != Notice }", "matches none of 435 messages"),
        (
            f"{{ {SHOP} }}",
            "412 messages of 435; 143 are meant.\n  It takes too many: 267 `Notice` in `shop`, 1 `Debug`",
        ),
        (f"{{ {SHOP}* && $.priority != Notice }}", "1 `Warning` in `shop-test`."),
        (f"{{ {SHOP} && ($.priority = Warning || $.priority = Critical) }}", "It misses: 1 `Alert` in `shop`, 1 `Emer"),
        (
            f"{{ {SHOP} && $.priority = Warning || $.priority = Critical }}",
            "It takes too many: 1 `Critical` in `ci`, 1 `Critical` in `reports`.",
        ),
        (f"{{ {SHOP} && $.priority >= Warning }}", "refuses this pattern: Invalid character(s) in term 'Warning'"),
        (f"{{ {SHOP} && $.priority >= Warning }}", "list the ones that are meant, joined by `||`"),
        ("{ $.priority == Warning }", "expected a value (position 15). A pattern compares with one `=`."),
        ("{ $.output_fields.['k8s.ns.name'] = 'shop' }", 'Texts have double quotes, or none: `"shop"`.'),
        (f"{{ {SHOP} and $.priority = Warning }}", "“And” is `&&`, and “or” is `||`."),
        (f"{{ {SHOP} && $.priority in (Warning, Error) }}", "A pattern has no `in (...)`"),
        ("shop", "1 `Notice` in `ci` and 1 other kind."),
        ("canary", "a line that is no alert"),
        ("?Warning ?Notice ?Critical ?canary", "and 11 other kinds."),
        (["{ $.priority = Warning }"], "a text; it is `['{ $.priority = Warning }']`"),
    ],
)
def test_patterns_that_match_too_few_or_too_many(lab: Lab, pattern: Any, said: str) -> None:
    with pytest.raises(NotYet) as caught:
        lab.check("06-pattern", pattern)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "pattern",
    [
        f"{{ {SHOP} && $.priority = %^Warning$|^Error$|^Critical$|^Alert$|^Emergency$% }}",
        f"{{ $.priority != Notice && $.priority != Informational && $.priority != Debug && {SHOP} }}",
        f"{{ ($.priority = Warning || $.priority = Error || $.priority = Critical || $.priority = Alert || "
        f'$.priority = "Emergency") && {SHOP} }}',
    ],
)
def test_patterns_that_match_what_is_meant(lab: Lab, pattern: str) -> None:
    assert lab.check("06-pattern", pattern).text.startswith("It matches the 143 messages that are meant, of 435.")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        # The workshop's own two alarms.
        (
            settings("CriticalAlerts", 60, 1),
            "raises it at 13:20, but the rest of the day does so 49 times: 02:25, 03:07, 03:18 and 46 more. Of 55",
        ),
        (settings("CriticalAlerts", 60, 1), "Of 55 critical alerts that day, 3 are the intruder's."),
        (settings("Alerts", 60, 30), "never raised, and misses the intruder: in a minute `Alerts` reaches 15 at most"),
        (
            settings("Alerts", 60, 13),
            "misses the intruder, and the rest of the day raises it 2 times: 12:40, 17:07",
        ),
        (
            settings("Alerts", 60, 8),
            "With or without the intruder, it is raised 11 times: 00:40, 05:05, 06:40",
        ),
        (
            settings("Alerts", 300, 22),
            "The intruder raises it at 13:16, but the rest of the day does so 6 times: 00:41, 06:40, 12:41 and 3 more.",
        ),
        (settings("Alerts", 300, 22), "In 5 minutes there are up to 34 alerts that day."),
        (settings("Alerts", 300, 30, 2, 2), "periods with 30 or more, but never 2 of 2 that follow each other"),
        (settings("ShopAlerts", 7200, 85), "raised at 14:30. By then the intruder has left (13:55): it is too late"),
        (settings("AlertsByRule", 60, 1), "exists only with a dimension"),
        (settings("Alert", 60, 1), "it is `'Alert'`. Choose one of Alerts, CriticalAlerts, ShopAlerts"),
        (settings("Alerts", 15, 1), "It is in seconds, and for metrics by the minute a multiple of 60"),
        (settings("Alerts", "900", 1), "`Period` has to be a whole number from 1 on; it is `'900'`"),
        (settings("Alerts", 3600, 1, 1, 25), "25 periods of 3600 s are more than a day"),
        (settings("Alerts", 60, 1, 3, 2), "there can't be 3 datapoints in 2 periods"),
        (settings("Alerts", 60, 0), "`Threshold`: 0 is reached when nothing happens"),
        (settings("Alerts", 60, float("nan")), "`Threshold` has to be a number; it is `nan`"),
        (settings("Alerts", 60, 10**400), "reaches 15 at most"),
        (settings("Alerts", 60, True), "`Threshold` has to be a number; it is `True`"),
        (settings("Alerts", 60, 1) | {"Treshold": 1}, "no setting `Treshold` here. Did you mean 'Threshold'?"),
        ({"MetricName": "Alerts", "Period": 60, "Threshold": 1}, "`EvaluationPeriods` is missing"),
        (settings(["Alerts"], 60, 1), "doesn't have the form"),  # type: ignore[arg-type]
        (10, "a dict of an alarm's settings; it is `10`"),
    ],
)
def test_alarms_that_miss_the_intruder_or_wake_you_for_nothing(lab: Lab, answer: Any, said: str) -> None:
    with pytest.raises(NotYet) as caught:
        lab.check("06-threshold", answer)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (settings("ShopAlerts", 1200, 25), "raised at 13:26, 19 minutes after the intruder's first alert, and never"),
        (settings("ShopAlerts", 1200, 25.5), "which has up to 22 in 20 minutes; the alarm needs 25.5."),
        (
            settings("ShopAlerts", 300, 7, 2, 2),
            "needs 7 in 2 of 2 periods.\n\nIt would notify 3 times: 13:20, 13:28",
        ),
        ({"MetricName": "Alerts", "Period": 1200, "EvaluationPeriods": 1, "Threshold": 80}, "raised at 13:20"),
    ],
)
def test_alarms_that_find_the_intruder_and_nothing_else(lab: Lab, answer: Any, said: str) -> None:
    assert said in lab.check("06-threshold", answer).text


def test_usual_mistakes_are_not_seen_where_there_are_none() -> None:
    for pattern in (f"{{ {SHOP} && $.proc.tty >= 1 }}", '{ $.a = "this and == that" || $.b = %x in (y)% }'):
        assert chapter06._usual_mistakes(pattern) == ""


def test_a_notification_after_the_intruder_has_left_is_explained(lab: Lab) -> None:
    late = "once more after that (14:10). That is fine"
    assert late in lab.check("06-threshold", settings("Alerts", 3600, 194)).text
    assert "That is fine" not in lab.check("06-threshold", settings("ShopAlerts", 1200, 25)).text


def test_an_alarm_counts_the_minutes_before_it_and_is_raised_when_it_was_not(day: pd.DataFrame) -> None:
    """By hand: alerts at 00:00:30, 00:02:30, 00:03:30 and 00:10:30."""
    midnight = day["time"].iloc[0].floor("D")
    few = day.iloc[:4].assign(time=[midnight + pd.Timedelta(seconds=s) for s in (30, 150, 210, 630)])

    def raised(*alarm: Any) -> list[str]:
        return list(Alarm("Alerts", *alarm).raised(few).strftime("%H:%M"))

    assert raised(1, 1, 1, 1) == ["00:01", "00:03", "00:11"]  # still raised at 00:04
    assert raised(2, 1, 1, 2) == ["00:04"]
    assert raised(4, 1, 1, 3) == ["00:04"]
    assert raised(1, 2, 2, 1) == ["00:04"]
    assert raised(1, 4, 3, 1) == ["00:04"]
    assert raised(1, 2, 1, 1) == ["00:01", "00:11"]  # and from 00:01 to 00:05
    assert raised(2, 2, 2, 1) == ["00:03"]  # alerts from 00:01 to 00:03, and before that
    assert Alarm("CriticalAlerts", 1, 1, 1, 1).raised(few).empty


def test_the_chapter_says_how_often_the_workshops_alarms_would_have_called(day: pd.DataFrame, workshop: Path) -> None:
    alarms = json.loads((workshop / "manifests/cloudwatch/alarms.json").read_text())
    keys = ("EvaluationPeriods", "DatapointsToAlarm", "Threshold")
    calls = [
        len(Alarm(alarm["MetricName"], alarm["Period"] // 60, *(alarm[key] for key in keys)).raised(day))
        for alarm in alarms
    ]
    assert calls == [52, 0]
    text = (workshop / "notebooks/06-metrics-and-alarms.ipynb").read_text()
    assert "this alarm would have called you 52 times, and the other one never" in text
    visit = recorded_day.intruder(day)["time"]
    assert f"from {visit.min():%H:%M} to {visit.max().ceil('min'):%H:%M}, and" in text
