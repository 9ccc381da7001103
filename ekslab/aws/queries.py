"""Runs Insights queries in the background, in chunks: StartQuery, GetQueryResults, StopQuery, DescribeQueries."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Any

from ekslab import names
from ekslab.aws import insights
from ekslab.aws.event_blocks import EVENT_OVERHEAD
from ekslab.aws.insights import MalformedQuery, Query, Record, Source
from ekslab.aws.load import QUERIES, Load
from ekslab.aws.log_store import Group
from ekslab.aws.protocols import AwsError

logger = logging.getLogger(__name__)

# Records between two turns of the event loop: some 20 ms of work.
_CHUNK = 2_000
_KEPT = 1_000  # finished queries that can still be read
_KEPT_ROWS = 100_000  # of finished queries that have been read
_MAX_RUNNING = 100
_MAX_PAGE = 10_000


@dataclass
class RunningQuery:
    """A query and its state. `created` and `ended` are in ms; a query may end later than its results are there."""

    id: str
    query: Query
    group_names: list[str]
    created: int
    user: str
    status: str = "Running"
    ended: int | None = None
    read: bool = False
    """Whether the last page of the results has been read."""

    def status_at(self, now: int) -> str:
        return "Running" if self.ended is not None and now < self.ended else self.status


class Queries:
    """The queries of one region, newest last."""

    def __init__(self, now: Callable[[], int], load: Load, region: str) -> None:
        """`load` has the quota of running queries, and how long they take."""
        self._now = now
        self._load = load
        self._region = region
        self._queries: dict[str, RunningQuery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = 0

    def start(
        self, text: str, groups: list[Group], start: int, end: int, *, limit: int | None, user: str, account: str
    ) -> str:
        """Starts a query over [start, end] (ms) and returns its id. A small one is complete at once.

        `user` is the ARN of who starts it, `account` what `@log` shows before the group. Raises AwsError.
        """
        now = self._now()
        try:
            query = insights.parse(text, limit=limit, now=now)
        except MalformedQuery as error:
            location = {"startCharOffset": error.start, "endCharOffset": error.end}
            compile_error = {"location": location, "message": str(error)}
            raise AwsError(
                "MalformedQueryException", str(error), members={"queryCompileError": compile_error}
            ) from error
        most = int(self._load.quotas(self._region).get(QUERIES, _MAX_RUNNING))
        if sum(q.status_at(now) == "Running" for q in self._queries.values()) >= most:
            message = f"Account maximum query concurrency limit of [{most}] reached."
            raise AwsError("LimitExceededException", message)
        self._started += 1
        running = RunningQuery(names.uid("query", self._started), query, [group.name for group in groups], now, user)
        self._queries[running.id] = running
        self._forget()
        # As they are now: without events that are put while the query runs.
        sources = _sources(groups, start, end, account)
        records = _records(sources, start, end)
        if not self._run_chunk(running, records, sources):
            task = asyncio.get_running_loop().create_task(self._run(running, records, sources))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return running.id

    def _forget(self) -> None:
        """Forgets the oldest queries if there are many; if their rows are many, those whose results have been read."""
        while len(self._queries) > _KEPT:
            del self._queries[next(iter(self._queries))]
        rows = sum(running.query.row_count for running in self._queries.values())
        for running in tuple(self._queries.values()):
            if rows <= _KEPT_ROWS:
                break
            if running.read:
                rows -= running.query.row_count
                del self._queries[running.id]

    def _run_chunk(self, running: RunningQuery, records: Iterator[Record], sources: list[Source]) -> bool:
        """Processes a chunk of records; True after the last one that matters."""
        chunk = list(islice(records, _CHUNK))
        running.query.push(chunk)
        if len(chunk) == _CHUNK and not running.query.is_full:
            return False
        count = sum(len(source.events) for source in sources)
        size = sum(source.events.size for source in sources)
        running.query.count_all(count, size - count * EVENT_OVERHEAD)
        running.query.finish()
        running.status = "Complete"
        running.ended = max(self._now(), running.created + int(self._load.query_seconds * 1000))
        return True

    async def _run(self, running: RunningQuery, records: Iterator[Record], sources: list[Source]) -> None:
        try:
            while running.status == "Running" and not self._run_chunk(running, records, sources):
                await asyncio.sleep(0)  # lets other calls run
        except Exception:
            logger.exception("Query failed: %s", running.query.text)
            running.status, running.ended = "Failed", self._now()

    def _get(self, query_id: str) -> RunningQuery:
        running = self._queries.get(query_id)
        if running is None:
            raise AwsError("ResourceNotFoundException", f"Query '{query_id}' does not exist.")
        return running

    def results(self, query_id: str, token: str | None, size: int) -> dict[str, Any]:
        """The response of GetQueryResults, with a page of at most `size` rows. Raises AwsError."""
        running = self._get(query_id)
        first = 0
        if token is not None:
            prefix, _, number = token.partition("/")
            if prefix != query_id or not number.isdigit():
                raise AwsError("InvalidParameterException", "The specified nextToken is invalid.")
            first = int(number)
        size = min(size or _MAX_PAGE, _MAX_PAGE)
        status = running.status_at(self._now())
        count = running.query.row_count if status == "Complete" else 0
        answer: dict[str, Any] = {
            "queryLanguage": "CWLI",
            "results": running.query.rows(first, min(first + size, count)),
            "statistics": insights.statistics(running.query)
            | {"logGroupsScanned": float(len(running.group_names)), "resultCount": float(count)},
            "status": status,
        }
        if first + size < count:
            answer["nextToken"] = f"{query_id}/{first + size}"
        else:
            running.read = status == "Complete"
        return answer

    def stop(self, query_id: str) -> bool:
        """Cancels a running query. Raises AwsError."""
        running = self._get(query_id)
        status = running.status_at(self._now())
        if status != "Running":
            raise AwsError("InvalidParameterException", f"Query '{query_id}' is not running; it is {status}.")
        running.status, running.ended = "Cancelled", self._now()
        return True

    def describe(self, group: str | None, status: str | None, count: int) -> list[dict[str, Any]]:
        """The queries of a group and status, newest first."""
        now = self._now()
        found = [
            {
                "queryLanguage": "CWLI",
                "queryId": running.id,
                "queryString": running.query.text,
                "status": running.status_at(now),
                "createTime": running.created,
                "logGroupName": running.group_names[0],
                "queryDuration": min(running.ended or now, now) - running.created,
                "bytesScanned": float(running.query.bytes_scanned),
                "userIdentity": running.user,
            }
            for running in reversed(self._queries.values())
            if (group is None or group in running.group_names) and status in (None, running.status_at(now))
        ]
        return found[:count]


def _sources(groups: list[Group], start: int, end: int, account: str) -> list[Source]:
    """The streams of groups, with their events as they are now."""
    return [
        Source(stream, f"{account}:{group.name}", stream.events.snapshot((start, 0), (end + 1, 0)))
        for group in groups
        for stream in group.streams.values()
    ]


def _records(sources: list[Source], start: int, end: int) -> Iterator[Record]:
    """The events of all sources, newest first."""
    low, high = (start, 0), (end + 1, 0)
    runs = [zip(source.events.between(low, high, newest_first=True), repeat(source)) for source in sources]
    return runs[0] if len(runs) == 1 else heapq.merge(*runs, reverse=True)
