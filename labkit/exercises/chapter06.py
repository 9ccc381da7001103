"""Exercises of chapter 06: a pattern that matches certain alerts, and an alarm that a noisy day doesn't raise."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from labkit.aws import refusal, translated_errors
from labkit.calls import near, short_repr
from labkit.errors import TargetError
from labkit.exercises import recorded_day
from labkit.exercises.exercise import Wrong, exercise
from labkit.show import counted
from labkit.target import Target

if TYPE_CHECKING:
    import pandas as pd

NAMESPACE, LEAST = "shop", "Warning"
MAX_MESSAGES = 50  # of a TestMetricFilter call
_MINUTE = timedelta(minutes=1)
# The lowest priority that each counts, and the namespace if it counts one only.
_METRICS = {"Alerts": ("Debug", ""), "CriticalAlerts": ("Critical", ""), "ShopAlerts": ("Debug", NAMESPACE)}
_OTHER_METRICS = ("AlertsByPriority", "AlertsByRule")
_SETTINGS = ("MetricName", "Period", "EvaluationPeriods", "Threshold")


@exercise(
    "06-pattern",
    f"A filter pattern that matches what is `{LEAST}` or above in the namespace `{NAMESPACE}`, and nothing else",
    hints=(
        "Two conditions are joined by `&&`. Names that have dots, such as that of the field for the namespace, are "
        "written in brackets with quotes, as `proc.tty` is above.",
        "A pattern can't ask for `Warning` or above: it compares letters. Name every priority that is meant, joined by "
        "`||`, in parentheses; or leave out the three that aren't meant, with `!=`.",
    ),
)
def pattern(target: Target, answer: Any) -> str:
    """`answer`: a filter pattern of CloudWatch Logs. It is tried on the day's alerts and on some that are made up."""
    if not isinstance(answer, str):
        raise Wrong(f"It has to be a filter pattern, a text; it is `{short_repr(answer)}`.")
    messages = _tried(recorded_day.messages(target.settings.root))
    matched = _matches(target, answer, messages)
    meant = {message for message in messages if _is_meant(message)}
    if not matched:
        raise Wrong(
            f"It matches none of {counted(len(messages), 'message')}. Values are compared letter by letter, and a name "
            f"with a dot in it is no path of two names. {_usual_mistakes(answer)}".strip()
        )
    problems = [
        f"{what}: {_kinds(found)}."
        for what, found in (("It misses", meant - matched), ("It takes too many", matched - meant))
        if found
    ]
    if problems:
        found = f"It matches {counted(len(matched), 'message')} of {len(messages)}; {len(meant)} are meant."
        raise Wrong("\n".join([found, *problems]))
    return (
        f"It matches the {len(meant)} messages that are meant, of {len(messages)}. Some of the priorities didn't occur "
        "that day; a pattern has to be right on other days, too."
    )


def _tried(messages: list[str]) -> list[str]:
    """What patterns are tried on: all of the namespace, some of each other, and what the day doesn't have."""
    some: dict[tuple[str, str, str], str] = {}
    for message in messages:
        some.setdefault((*_kind(message), message if _kind(message)[1] == NAMESPACE else _rule(message)), message)
    return [*some.values(), *_more(messages[0])]


def _rule(message: str) -> str:
    return str(json.loads(message)["rule"])


def _more(line: str) -> list[str]:
    """Messages that the day doesn't have: other priorities, a similar namespace, and two that are no alerts."""
    made = []
    for priority, namespace in (
        *((priority, NAMESPACE) for priority in ("Emergency", "Alert", "Error", "Informational", "Debug")),
        ("Warning", f"{NAMESPACE}-test"),
    ):
        alert = json.loads(line)
        alert["priority"] = priority
        alert["output_fields"]["k8s.ns.name"] = namespace
        made.append(json.dumps(alert))
    return [*made, '{"canary": true}', "Falco initialized with configuration files:"]


def _matches(target: Target, pattern: str, messages: list[str]) -> set[str]:
    """The messages that a pattern matches, by CloudWatch Logs. Raises `Wrong` if it refuses the pattern."""
    matched = set()
    for first in range(0, len(messages), MAX_MESSAGES):
        some = messages[first : first + MAX_MESSAGES]
        try:
            with translated_errors(target.aws.hint):
                answer = target.aws.client("logs").test_metric_filter(filterPattern=pattern, logEventMessages=some)
        except TargetError as error:
            code, reason = refusal(error)
            if code != "InvalidParameterException":
                raise
            said = f"CloudWatch Logs refuses this pattern: {reason.rstrip('.')}. {_usual_mistakes(pattern)}"
            raise Wrong(said.strip()) from error
        matched |= {match["eventMessage"] for match in answer["matches"]}
    return matched


_MISTAKES = {
    r"[<>]=?\s*(?![\s=\d.+-])": "Texts can't be compared with `>=`: list the ones that are meant, joined by `||`.",
    r"=\s*'": 'Texts have double quotes, or none: `"shop"`.',
    r"==": "A pattern compares with one `=`.",
    r"\b(and|or)\b": "“And” is `&&`, and “or” is `||`.",
    r"\bin\s*[(\[]": "A pattern has no `in (...)`: compare with each value, joined by `||`.",
}
"""Habits from rules and from Python, which filter patterns don't have, and what to write."""


def _usual_mistakes(pattern: str) -> str:
    bare = re.sub(r'"[^"]*"|%[^%]*%', '""', pattern)
    return " ".join(said for mistake, said in _MISTAKES.items() if re.search(mistake, bare, re.I))


def _is_meant(message: str) -> bool:
    from labkit.alerts import PRIORITIES

    priority, namespace = _kind(message)
    above = PRIORITIES[PRIORITIES.index(LEAST) :]
    return namespace == NAMESPACE and priority in above


def _kind(message: str) -> tuple[str, str]:
    """Priority and namespace; the first word of what is no alert, and an empty namespace."""
    try:
        alert = json.loads(message)
        return alert["priority"], alert["output_fields"]["k8s.ns.name"]
    except (ValueError, KeyError):
        return message.split()[0].strip('{":'), ""


def _kinds(messages: Iterable[str]) -> str:
    found = Counter(_kind(message) for message in messages)
    texts = [
        f"{count} `{priority}` in `{namespace}`" if namespace else "a line that is no alert"
        for (priority, namespace), count in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]
    return ", ".join(texts[:4]) + (f" and {counted(len(texts) - 4, 'other kind')}" if len(texts) > 4 else "")


@dataclass(frozen=True)
class Alarm:
    """An alarm: at least `datapoints` of the last `periods` periods of `minutes` have a sum of `threshold` or more."""

    metric: str
    minutes: int
    periods: int
    datapoints: int
    threshold: float

    def raised(self, day: pd.DataFrame) -> pd.DatetimeIndex:
        """When it would have gone to `ALARM`: it is evaluated every minute, over the periods that end then."""
        import pandas as pd

        reached = (self.sums(day) >= self.threshold).astype("int64")
        found = reached
        for back in range(1, self.periods):
            found = found + reached.shift(self.minutes * back, fill_value=0)
        alarm = (found >= self.datapoints).astype("int64")
        before = alarm.shift(1, fill_value=0)
        return pd.DatetimeIndex(reached.index[alarm > before]) + pd.Timedelta(minutes=1)

    def counted(self, day: pd.DataFrame) -> pd.DataFrame:
        """The alerts that the metric counts."""
        least, namespace = _METRICS[self.metric]
        found: pd.DataFrame = day[day["priority"] >= least]
        return found[found["k8s.ns.name"] == namespace] if namespace else found

    def sums(self, day: pd.DataFrame) -> pd.Series[Any]:
        """The metric's sum over the period that ends with each minute of the day."""
        import pandas as pd

        counted_ones = self.counted(day)
        minutes = pd.date_range(day["time"].iloc[0].floor("D"), periods=24 * 60, freq="min")
        counts = counted_ones.groupby(counted_ones["time"].dt.floor("min")).size().reindex(minutes, fill_value=0)
        return counts.rolling(self.minutes, min_periods=1).sum()


@exercise(
    "06-threshold",
    "An alarm that is raised by the intruder, and not by the rest of the day",
    hints=(
        "An intruder isn't fast: no minute of the visit is as loud as the loudest of the day. Draw sums over longer "
        "periods. From which length on does the visit stand out?",
        "Builds and one noisy program drown the rest in what counts everything: count the shop's alerts. What is the "
        "highest sum of 20 minutes while the intruder is there, and what is the highest of the rest of the day? Choose "
        "a number between them.",
    ),
)
def threshold(target: Target, answer: Any) -> str:
    """`answer`: a dict of `MetricName`, `Period`, `EvaluationPeriods`, `DatapointsToAlarm` and `Threshold`."""
    alarm = _alarm(answer)
    day = recorded_day.frame(target.settings.root)
    visit = recorded_day.intruder(day)
    start, end = visit["time"].iloc[0].floor("min"), visit["time"].iloc[-1].ceil("min")
    noise = day.drop(visit.index)
    raised, false = alarm.raised(day), alarm.raised(noise)
    in_time = raised[(raised >= start) & (raised <= end)]
    if len(false):
        by_it = in_time[~in_time.isin(false)]
        times = f"{counted(len(false), 'time')}: {_clock(false[:3])}" + (
            f" and {len(false) - 3} more" if len(false) > 3 else ""
        )
        if len(by_it):
            said = f"The intruder raises it at {_clock(by_it[:1])}, but the rest of the day does so {times}"
        elif len(in_time):
            said = f"With or without the intruder, it is raised {times}"
        else:
            said = f"It misses the intruder, and the rest of the day raises it {times}"
        raise Wrong(f"{said}. {_what_it_counts(alarm, day, visit)}")
    if not len(in_time):
        raise Wrong(_missed(alarm, day, raised, end))
    told = [
        f"It is raised at {_clock(in_time[:1])}, {(in_time[0] - start) // _MINUTE} minutes after the intruder's first "
        f"alert, and never by the rest of the day, which has up to {alarm.sums(noise).max():.0f} {_within(alarm)}; "
        f"the alarm needs {alarm.threshold:g}"
        + (f" in {alarm.datapoints} of {alarm.periods} periods." if alarm.periods > 1 else ".")
    ]
    if len(raised) > 1:
        told.append(f"It would notify {len(raised)} times: {_clock(raised)}.")
    if len(late := raised[raised > end]):
        when = "once more" if len(late) == 1 else f"{len(late)} times more"
        told.append(
            f"The intruder left at {end:%H:%M}, and it notifies {when} after that ({_clock(late)}). That is fine: the "
            "periods that it looks at then still hold the intruder's alerts; without those it is never raised."
        )
    told.append("Another day has other noise: look at more than one, and tune the loudest rules first.")
    return "\n\n".join(told)


def _alarm(answer: Any) -> Alarm:
    """The answer as an alarm. Raises `Wrong` for what CloudWatch would refuse, or never or always be raised by."""
    known = (*_SETTINGS, "DatapointsToAlarm")
    if not isinstance(answer, Mapping):
        raise Wrong(f"It has to be a dict of an alarm's settings; it is `{short_repr(answer)}`.")
    if odd := next((key for key in answer if key not in known), None):
        raise Wrong(f"There is no setting `{odd}` here. {near(str(odd), known)}There are: {', '.join(known)}.")
    if missing := next((key for key in _SETTINGS if key not in answer), None):
        raise Wrong(f"`{missing}` is missing.")
    metric = answer["MetricName"]
    if metric in _OTHER_METRICS:
        raise Wrong(
            f"`MetricName`: `{metric}` exists only with a dimension, one metric for each value; an alarm on it without "
            f"one never sees a datapoint. Choose one of {', '.join(_METRICS)}."
        )
    if metric not in _METRICS:
        raise Wrong(f"`MetricName`: it is `{short_repr(metric)}`. Choose one of {', '.join(_METRICS)}.")
    period, periods = _whole(answer, "Period"), _whole(answer, "EvaluationPeriods")
    datapoints = _whole(answer, "DatapointsToAlarm") if "DatapointsToAlarm" in answer else periods
    if period % 60:
        raise Wrong(f"`Period`: it is {period}. It is in seconds, and for metrics by the minute a multiple of 60.")
    if period * periods > 24 * 3600:
        raise Wrong(f"{periods} periods of {period} s are more than a day. CloudWatch doesn't look back further.")
    if datapoints > periods:
        raise Wrong(f"`DatapointsToAlarm`: there can't be {datapoints} datapoints in {counted(periods, 'period')}.")
    return Alarm(metric, period // 60, periods, datapoints, _positive(answer, "Threshold"))


def _positive(answer: Mapping[str, Any], key: str) -> float:
    value = answer[key]
    number = math.nan
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    if math.isnan(number):
        raise Wrong(f"`{key}` has to be a number; it is `{short_repr(value)}`.")
    if number <= 0:
        raise Wrong(f"`{key}`: {number:g} is reached when nothing happens. The alarm would never end.")
    return number


def _whole(answer: Mapping[str, Any], key: str) -> int:
    value = answer[key]
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise Wrong(f"`{key}` has to be a whole number from 1 on; it is `{short_repr(value)}`.")
    return int(value)


def _missed(alarm: Alarm, day: pd.DataFrame, raised: pd.DatetimeIndex, end: pd.Timestamp) -> str:
    if len(raised):
        return f"It is raised at {_clock(raised[:1])}. By then the intruder has left ({end:%H:%M}): it is too late."
    peak = alarm.sums(day).max()
    if peak < alarm.threshold:
        found = f"{_within(alarm)} `{alarm.metric}` reaches {peak:.0f} at most that day"
    else:
        found = (
            f"there are periods with {alarm.threshold:g} or more, but never {alarm.datapoints} of {alarm.periods} "
            "that follow each other"
        )
    return f"It is never raised, and misses the intruder: {found}."


def _what_it_counts(alarm: Alarm, day: pd.DataFrame, visit: pd.DataFrame) -> str:
    if alarm.metric == "CriticalAlerts":
        all_of_them, mine = (len(alarm.counted(df)) for df in (day, visit))
        return f"Of {all_of_them} critical alerts that day, {mine} are the intruder's."
    return f"{_within(alarm).capitalize()} there are up to {alarm.sums(day).max():.0f} alerts that day."


def _within(alarm: Alarm) -> str:
    return f"in {alarm.minutes} minutes" if alarm.minutes > 1 else "in a minute"


def _clock(times: pd.DatetimeIndex) -> str:
    return ", ".join(times.strftime("%H:%M"))
