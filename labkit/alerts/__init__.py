"""Falco alerts of a CloudWatch Logs group: typed DataFrames, live streams and Logs Insights queries."""

from labkit.alerts.choice import concat
from labkit.alerts.file import read_file
from labkit.alerts.frame import to_frame
from labkit.alerts.live import follow, live_tail
from labkit.alerts.parse import PRIORITIES, NotAlert, parse
from labkit.alerts.query import insights
from labkit.alerts.reader import events, read, read_by_insights
from labkit.alerts.rows import insights_price

__all__ = [
    "PRIORITIES",
    "NotAlert",
    "concat",
    "events",
    "follow",
    "insights",
    "insights_price",
    "live_tail",
    "parse",
    "read",
    "read_by_insights",
    "read_file",
    "to_frame",
]


def __dir__() -> list[str]:
    return __all__
