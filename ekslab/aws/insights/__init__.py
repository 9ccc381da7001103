"""Logs Insights: parses and runs queries. What the lab lacks of the language is refused, with its position."""

from ekslab.aws.insights.query import Query, parse, statistics
from ekslab.aws.insights.rows import Record, Source
from ekslab.aws.insights.tokens import MalformedQuery

__all__ = ["MalformedQuery", "Query", "Record", "Source", "parse", "statistics"]
