"""`df.falco`: the charts, the process tree, the summary and the delays as methods of a frame of alerts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit import triage
from labkit.alerts.card import Alert, card, table
from labkit.alerts.delays import Delays, delays
from labkit.calls import checked
from labkit.charts.data import summary_data
from labkit.errors import LabError
from labkit.show import Table, counted
from labkit.triage import Incidents, Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Size = Sequence[float] | None
_NEEDED = ("time", "rule", "priority", "tags", "container.id", "k8s.pod.name", "k8s.ns.name", "proc.cmdline")


class NotAlertsError(LabError, AttributeError):
    """The frame isn't one of alerts. (pandas asks for an AttributeError.)"""


@pd.api.extensions.register_dataframe_accessor("falco")
@checked
class FalcoAccessor:
    """Charts and summaries of Falco alerts. The frame is one that `labkit.alerts.read` made, or rows of it."""

    def __init__(self, frame: pd.DataFrame) -> None:
        missing = [name for name in _NEEDED if name not in frame.columns]
        if missing:
            raise NotAlertsError(
                f"These are not Falco alerts: there is no column {missing[0]!r}.",
                hint="Use the frame that lab.alerts() gives.",
            )
        if not isinstance(frame["priority"].dtype, pd.CategoricalDtype):
            raise NotAlertsError(
                "The columns have lost their types, as they do in a CSV file.",
                hint="Use the frame that lab.alerts() gives, and keep it with df.to_parquet(...).",
            )
        self._df = frame

    def __repr__(self) -> str:
        offered = ", ".join(f"{name}()" for name in dir(type(self)) if not name.startswith("_"))
        return f"{counted(len(self._df), 'alert')}. There are {offered}."

    def card(self, row: int = -1) -> Alert:
        """One alert as a card: of the row at a position, from the end if negative (default: the last one)."""
        if not -len(self._df) <= row < len(self._df):
            raise LabError(
                f"There is no row {row}: the frame has {counted(len(self._df), 'alert')}.",
                hint="The first row is 0."
                if len(self._df)
                else "Read more alerts: lab.alerts() gives those of an hour.",
            )
        return card(self._df.iloc[row])

    def table(self, n: int = 100) -> Table:
        """The first `n` alerts, one row each, with nothing cut off: time (UTC), priority, rule, pod, command line."""
        rows = (card(row) for _, row in self._df.head(n).iterrows())
        title = counted(len(self._df), "alert")
        return table(title if len(self._df) <= n else f"{title}; the first {n} are shown", rows)

    def timeline(self, tz: str | tzinfo = "UTC", *, ax: Axes | None = None, figsize: Size = None) -> Axes:
        """Alerts over time by priority, by the clocks of a time zone (`"Europe/Berlin"`)."""
        from labkit.charts import over_time

        return over_time.timeline(self._df, tz, ax=ax, figsize=figsize)

    def top_rules(self, n: int = 10, *, ax: Axes | None = None, figsize: Size = None) -> Axes:
        """The `n` rules with the most alerts."""
        from labkit.charts import bars

        return bars.top_rules(self._df, n, ax=ax, figsize=figsize)

    def by_pod(self, n: int = 15, *, ax: Axes | None = None, figsize: Size = None) -> Axes:
        """Alerts per pod by priority: the `n` pods with the most alerts."""
        from labkit.charts import bars

        return bars.by_pod(self._df, n, ax=ax, figsize=figsize)

    def heat_map(self, pods: int = 30, rules: int = 20, *, ax: Axes | None = None, figsize: Size = None) -> Axes:
        """Alerts per pod and rule: an intruder is a row of many cells, noise is a column or a single cell."""
        from labkit.charts import grids

        return grids.heat_map(self._df, pods, rules, ax=ax, figsize=figsize)

    def tactics(self, *, ax: Axes | None = None, figsize: Size = None) -> Axes:
        """Alerts per MITRE ATT&CK tactic."""
        from labkit.charts import bars

        return bars.tactics(self._df, ax=ax, figsize=figsize)

    def attack_matrix(self, covered: Any = None, *, ax: Axes | None = None, figsize: Size = None) -> Axes:
        """MITRE ATT&CK's tactics with the techniques seen, and those `covered` by the rules of `lab.falco_rules()`."""
        from labkit.charts import grids

        return grids.attack_matrix(self._df, covered, ax=ax, figsize=figsize)

    def latency(self, *, ax: Axes | None = None, figsize: Size = None) -> Axes:
        """How long alerts took from the system call to Falco's line and to CloudWatch Logs, as a distribution."""
        from labkit.charts import ridges

        return ridges.latency(self._df, ax=ax, figsize=figsize)

    def noise(self, n: int = 15, *, ax: Axes | None = None, figsize: Size = None) -> Axes:
        """Which rules drown the rest: the `n` rules with the most alerts, and the share of all that they add up to."""
        from labkit.charts import bars

        return bars.noise(self._df, n, ax=ax, figsize=figsize)

    def before_after(self, after: pd.DataFrame, n: int = 15, *, ax: Axes | None = None, figsize: Size = None) -> Axes:
        """These alerts beside those `after` a change, rule by rule; the `n` rules that changed most."""
        from labkit.charts import bars

        return bars.before_after(self._df, after, n, ax=ax, figsize=figsize)

    def tree(self, incident: int | None = None) -> Tree:
        """The processes behind the alerts (or those of an incident, by its number) as a tree per place, in text."""
        return triage.tree(self._of(incident))

    def process_tree(self, incident: int | None = None, *, ax: Axes | None = None, figsize: Size = None) -> Axes:
        """The processes behind the alerts (or those of an incident) as a picture, with a badge for each rule."""
        from labkit.charts.tree import process_tree

        return process_tree(self._of(incident), ax=ax, figsize=figsize)

    def sequence(self, incident: int | None = None, *, ax: Axes | None = None, figsize: Size = None) -> Axes:
        """The alerts (or those of an incident) on the axis of time, with rules and command lines, a lane per place."""
        from labkit.charts.steps import sequence

        return sequence(self._of(incident), ax=ax, figsize=figsize)

    def steps(self, n: int = 60) -> pd.DataFrame:
        """The numbers of `sequence`: one row per place, rule and command line, at most `n`."""
        return triage.steps(self._df, n)

    def processes(self) -> pd.DataFrame:
        """The numbers of `process_tree`: one row per process, parents before their children."""
        return triage.processes(self._df)

    def _of(self, incident: int | None) -> pd.DataFrame:
        return self._df if incident is None else triage.incident(self._df, incident)

    def summary(self) -> pd.DataFrame:
        """One row per rule: priority, number of alerts and pods, first and last time."""
        return summary_data(self._df)

    def incidents(self, gap: Any = "5m") -> Incidents:
        """Alerts that belong together, one row each, the incident to look at first on top.

        That is what happened in one place without a pause longer than `gap`, and what a shell, a name, an address or a
        file ties to it; routine is apart. `labkit.triage.incidents` describes the columns and the score.
        """
        return triage.incidents(self._df, gap)

    def incident(self, number: int = 1, gap: Any = "5m") -> pd.DataFrame:
        """The alerts of an incident, by its number in `incidents(gap)`; without one, of the first."""
        return triage.incident(self._df, number, gap)

    def first_seen(self, by: str | Sequence[str] = triage.COMBINATION) -> pd.DataFrame:
        """When each combination of a rule, an image and a command (or what `by` names) was seen first."""
        return triage.first_seen(self._df, by)

    def rare(
        self, by: str | Sequence[str] = triage.COMBINATION, n: int = 3, share: float | None = None
    ) -> pd.DataFrame:
        """Alerts of combinations that occur at most `n` times (or below a `share` of all), and why they are rare."""
        return triage.rare(self._df, by, n, share)

    def compare(self, after: pd.DataFrame, by: str | Sequence[str] = ("rule", "place")) -> pd.DataFrame:
        """These alerts and later ones, counted by rule and by place: new, gone, more, less or the same."""
        return triage.compare(self._df, after, by)

    def delays(self) -> Delays:
        """Milliseconds from the system call to Falco's line, from there to CloudWatch Logs, and in total, by alert."""
        return delays(self._df)
