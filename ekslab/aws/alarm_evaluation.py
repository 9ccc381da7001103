"""Evaluates an alarm's rule over datapoints: the state and the reason for it (StateReason, StateReasonData)."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]

COMPARISONS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "GreaterThanOrEqualToThreshold": ("greater than or equal to", operator.ge),
    "GreaterThanThreshold": ("greater than", operator.gt),
    "LessThanThreshold": ("less than", operator.lt),
    "LessThanOrEqualToThreshold": ("less than or equal to", operator.le),
}
# The evaluation range is longer than EvaluationPeriods, "depending on the period's length"; in the documentation's
# examples it is five periods for three.
MORE_PERIODS = 2
_TREATED = {"breaching": "Breaching", "notBreaching": "NonBreaching", "missing": "Missing"}
_LISTED = 4  # datapoints that a reason lists in full; of more it lists the five most recent


@dataclass(frozen=True)
class Datapoint:
    """The value of one period, which starts at `time` (s); None where there is none."""

    time: int
    value: float | None
    samples: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The state that follows from the datapoints, and why. `evaluated` are the datapoints that count, newest first."""

    state: State
    reason: str
    evaluated: tuple[Datapoint, ...]


@dataclass(frozen=True)
class Rule:
    """What an alarm compares: `to_alarm` of `periods` datapoints with a threshold."""

    comparison: str
    threshold: float
    periods: int
    to_alarm: int | None = None
    """None if it wasn't given: then it is all periods, and reasons are worded more briefly."""
    missing: str = "missing"
    """What a period without data stands for: missing, ignore, breaching or notBreaching."""

    @property
    def evaluation_range(self) -> int:
        """The evaluation range, in periods."""
        return self.periods + MORE_PERIODS

    def breached_by(self, value: float) -> bool:
        return COMPARISONS[self.comparison][1](value, self.threshold)

    def judge(self, datapoints: Sequence[Datapoint]) -> Verdict | None:
        """The verdict on the periods of the evaluation range, oldest first; None leaves the state unchanged.

        As documented ("How alarm state is evaluated when data is missing"): the newest existing datapoints count,
        and missing ones only where there are too few of those.
        """
        existing = [point for point in reversed(datapoints) if point.value is not None][: self.periods]
        needed = self.to_alarm or self.periods
        breaching = sum(self._breaches(point) for point in existing)
        filled = self.periods - len(existing)
        if not filled:
            return self._crossed(breaching >= needed, existing)
        if self.missing == "breaching":
            return self._filled(breaching + filled >= needed, existing, datapoints)
        if self.missing == "notBreaching":
            return self._filled(breaching >= needed, existing, datapoints)
        if breaching >= needed:
            return self._crossed(True, existing)
        if breaching < len(existing):
            return self._crossed(False, existing)
        if self.missing == "ignore":
            return None
        if not existing:
            plural = "s were" if self.periods > 1 else " was"
            reason = f"Insufficient Data: {self.periods} datapoint{plural} unknown."
            return Verdict("INSUFFICIENT_DATA", reason, tuple(self._newest(datapoints)))
        # Nothing but breaching and missing datapoints: an alarm once the oldest of them is old enough.
        ages = [age for age, point in enumerate(reversed(datapoints), start=1) if point.value is not None]
        if ages[-1] >= needed:
            return self._crossed(True, existing)
        return self._filled(False, existing, datapoints)

    def _breaches(self, point: Datapoint) -> bool:
        return point.value is not None and self.breached_by(point.value)

    def _newest(self, datapoints: Sequence[Datapoint]) -> list[Datapoint]:
        """The newest periods, with data or without, padded with older datapoints where there are some."""
        kept = [point for point in datapoints if point.value is not None]
        empty = [point for point in reversed(datapoints) if point.value is None]
        return sorted([*kept, *empty[: self.periods - len(kept)]], key=lambda point: -point.time)

    def _filled(self, alarm: bool, existing: Sequence[Datapoint], datapoints: Sequence[Datapoint]) -> Verdict:
        filled = self.periods - len(existing)
        received = "no" if not existing else str(len(existing))
        reason = (
            f"Threshold Crossed: {received} datapoint{' was' if len(existing) == 1 else 's were'} received for "
            f"{self.periods} period{'s' if self.periods > 1 else ''} and {filled} missing "
            f"datapoint{' was' if filled == 1 else 's were'} treated as "
            f"[{_TREATED[self.missing]}]."
        )
        return Verdict("ALARM" if alarm else "OK", reason, tuple(self._newest(datapoints)))

    def _crossed(self, alarm: bool, existing: Sequence[Datapoint]) -> Verdict:
        crossing = [point for point in existing if self._breaches(point) == alarm]
        count = len(crossing)
        words = f"{'was' if count == 1 else 'were'}{'' if alarm else ' not'} {COMPARISONS[self.comparison][0]}"
        number = f"{count} out of the last {self.periods} datapoints" if self.to_alarm else _datapoints(count)
        listed = ", ".join(f"{point.value!r} ({_short(point.time)})" for point in crossing[: _LISTED + 1])
        threshold = f"the threshold ({self.threshold!r})"
        if count > _LISTED:
            crossed = (
                f"{number} {words} {threshold}. The most recent datapoints which crossed the threshold: [{listed}]"
            )
        else:
            crossed = f"{number} [{listed}] {words} {threshold}"
        least = ""
        if self.to_alarm:
            least = (
                f" (minimum {_datapoints(self.to_alarm)} for OK -> ALARM transition)"
                if alarm
                else f" (minimum {_datapoints(self.periods - self.to_alarm + 1)} for ALARM -> OK transition)"
            )
        return Verdict("ALARM" if alarm else "OK", f"Threshold Crossed: {crossed}{least}.", tuple(existing))


def reason_data(
    verdict: Verdict, now: float, *, period: int, threshold: float, statistic: str = "", unit: str = ""
) -> dict[str, Any]:
    """StateReasonData: the datapoints behind a verdict."""
    values = [point for point in verdict.evaluated if point.value is not None]
    return {
        "version": "1.0",
        "queryDate": timestamp(now),
        **({"startDate": timestamp(values[-1].time)} if values else {}),
        **({"unit": unit} if unit else {}),
        **({"statistic": statistic} if statistic else {}),
        "period": period,
        "recentDatapoints": [point.value for point in reversed(values)],
        "threshold": threshold,
        "evaluatedDatapoints": [
            {
                "timestamp": timestamp(point.time),
                **({"sampleCount": point.samples} if point.samples is not None else {}),
                **({"value": point.value} if point.value is not None else {}),
            }
            for point in verdict.evaluated
        ],
    }


def timestamp(moment: float) -> str:
    """A time (s) as CloudWatch's JSON documents write it: `2026-11-26T10:00:00.000+0000`."""
    whole, ms = divmod(int(moment * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{ms:03d}+0000"


def _datapoints(count: int) -> str:
    return f"{count} datapoint{'' if count == 1 else 's'}"


def _short(moment: int) -> str:
    return time.strftime("%d/%m/%y %H:%M:%S", time.gmtime(moment))
