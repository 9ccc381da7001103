"""What all open pages show live: one feed for them all, which runs while at least one page is open."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp

from ekslab.console.alerts import Row, event_row, finding_row, parsed, row_of
from ekslab.console.doors import DoorError, Doors, segment
from ekslab.console.pipeline import Pipeline
from ekslab.console.views import events

INTERVAL = 1.0  # seconds between two snapshots
_RECENT = 200  # alerts that a new page begins with
_NOTED = 2_000  # alerts of which it is known how far they came
_CATCH_UP_SECONDS = 0.5  # in which the logs that were there are read
_BACKLOG = 1_000  # messages that a slow page may be behind; then it begins anew
_DIAGNOSIS_SECONDS = 60.0
_DIAGNOSED_EVERY = 10.0
logger = logging.getLogger(__name__)

Message = tuple[str, Any]


class Feed:
    """Follows the lab, and hands what happens to each page."""

    def __init__(self, doors: Doors, diagnosis: Sequence[str] = ()) -> None:
        self._doors = doors
        self._command = list(diagnosis)
        self._pages: set[asyncio.Queue[Message | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._forget()

    def _forget(self) -> None:
        self._pipeline = Pipeline(self._doors)
        self._recent: deque[Row] = deque(maxlen=_RECENT)
        self._raised: dict[str, tuple[int, int]] = {}
        self._stored: dict[str, int] = {}
        self._found: dict[str, str] = {}
        self._findings: set[str] | None = None
        self._snapshot: dict[str, Any] | None = None
        self._diagnosis: list[dict[str, str]] = []
        self._diagnosed = 0.0
        self._diagnosing: asyncio.Task[None] | None = None

    async def messages(self) -> AsyncIterator[Message]:
        """What a page is sent: first what there is, then what happens, until the caller stops."""
        queue: asyncio.Queue[Message | None] = asyncio.Queue()
        if self._task is None:
            self._forget()
            self._task = asyncio.create_task(self._run())
        self._pages.add(queue)
        try:
            yield "recent", self._latest()
            if self._snapshot is not None:
                yield "snapshot", self._snapshot
            while (message := await queue.get()) is not None:
                yield message
        finally:
            self._pages.discard(queue)
            if not self._pages and self._task is not None:
                self._task.cancel()
                self._task = None

    async def close(self) -> None:
        for queue in self._pages:
            queue.put_nowait(None)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def _send(self, kind: str, content: Any) -> None:
        for queue in tuple(self._pages):
            if queue.qsize() > _BACKLOG:  # its connection is closed, and it connects again
                self._pages.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait((kind, content))

    async def _run(self) -> None:
        following: dict[str, asyncio.Task[None]] = {}
        tail: tuple[str, asyncio.Task[None]] | None = None
        try:
            while True:
                started = time.monotonic()
                try:
                    snapshot = await self._read()
                except DoorError as error:
                    snapshot = {"links": [], "error": str(error)}
                for pod in self._pipeline.falco:
                    uid = pod["metadata"]["uid"]
                    if uid not in following or following[uid].done():
                        following[uid] = asyncio.create_task(self._follow(pod))
                group = self._pipeline.group if self._pipeline.group_exists else ""
                if tail is None or tail[0] != group or tail[1].done():
                    if tail is not None:
                        tail[1].cancel()
                    tail = (group, asyncio.create_task(self._tail(group))) if group else None
                self._snapshot = snapshot
                self._send("snapshot", snapshot)
                await asyncio.sleep(max(0.2, INTERVAL - (time.monotonic() - started)))
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("the console's feed failed")
            self._task = None
            for queue in self._pages:  # pages connect again, and start it anew
                queue.put_nowait(None)
        finally:
            for task in (*following.values(), *([tail[1]] if tail else []), *filter(None, [self._diagnosing])):
                task.cancel()

    async def _read(self) -> dict[str, Any]:
        links = await self._pipeline.links()
        by_id = {link["id"]: link for link in links}
        raised = by_id["alerts"]
        if self._raised or raised["state"] != "absent":
            raised["count"] = sum(count for count, _ in self._raised.values())
            raised["last"] = max((last for _, last in self._raised.values()), default=0) or None
        by_id["calls"]["last"] = raised["last"]
        await self._new_findings()
        broken = [link["id"] for link in links if link["state"] == "broken"]
        if not broken:
            self._diagnosis = []
        elif self._command and self._diagnosing is None and time.monotonic() - self._diagnosed > _DIAGNOSED_EVERY:
            self._diagnosing = asyncio.create_task(self._diagnose())
        return {
            "time": int(time.time() * 1000),
            "group": self._pipeline.group,
            "links": links,
            "diagnosis": self._diagnosis,
            "diagnosing": self._diagnosing is not None,
        }

    async def _follow(self, pod: dict[str, Any]) -> None:
        """Reads a Falco pod's log from its start, and follows it: an alert is there as soon as Falco has written it."""
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{segment(meta['namespace'])}/pods/{segment(meta['name'])}/log"
        begun = time.time()
        count = last = 0
        self._raised[meta["uid"]] = (0, 0)
        asyncio.get_running_loop().call_later(_CATCH_UP_SECONDS, self._send_recent)
        with contextlib.suppress(DoorError, aiohttp.ClientError, OSError):
            async with self._doors.kube_stream(path, container="falco", follow="true") as lines:
                async for line in lines:
                    if line[:1] != b"{" or (alert := parsed(line.rstrip(b"\r"))) is None:
                        continue
                    row = row_of(alert)
                    when = _milliseconds(row["time"])
                    count, last = count + 1, max(last, when)
                    self._raised[meta["uid"]] = (count, last)
                    row["raised"] = max(int(time.time() * 1000), when)
                    if when / 1000 < begun - 1:  # it was there before
                        row["raised"] = None
                        self._recent.append(row)
                        if count % 500 == 0:
                            await asyncio.sleep(0)
                    else:
                        self._recent.append(row)
                        self._send("alert", row)

    def _send_recent(self) -> None:
        """Sends what the logs had before: they were read one after the other."""
        self._recent = deque(sorted(self._recent, key=lambda row: str(row["time"])), maxlen=_RECENT)
        self._send("recent", self._latest())

    def _latest(self) -> list[Row]:
        """The latest alerts, with how far they have come."""
        return [
            {**row, "stored": self._stored.get(row["key"]), "finding": self._found.get(row["key"])}
            for row in self._recent
        ]

    async def _tail(self, group: str) -> None:
        """Follows the log group: each log event that it stores."""
        account = self._doors.endpoints.account_id
        arn = f"arn:aws:logs:{self._doors.endpoints.region}:{account}:log-group:{group}"
        with contextlib.suppress(DoorError, aiohttp.ClientError, OSError):
            async with self._doors.live_tail(logGroupIdentifiers=[arn]) as updates:
                self._note_stored((await events(self._doors, {"group": group, "limit": str(_RECENT)}))["events"])
                async for update in updates:
                    if rows := [event_row(event) for event in update.get("sessionResults", [])]:
                        self._pipeline.forget_count()
                        self._note_stored(rows)

    def _note_stored(self, rows: list[Row]) -> None:
        """Sends log events, and notes of the latest alerts when they were stored."""
        stored = {row["key"]: row["ingestion"] for row in rows if "key" in row}
        self._stored = dict([*self._stored.items(), *stored.items()][-_NOTED:])
        self._send("stored", rows)

    async def _new_findings(self) -> None:
        """Sends the findings that are new among the newest."""
        newest = {"MaxResults": 100, "SortCriteria": [{"Field": "UpdatedAt", "SortOrder": "desc"}]}
        try:
            page = await self._doors.rest("securityhub", "POST", "/findings", newest)
        except DoorError:
            return
        rows = [finding_row(finding) for finding in page.get("Findings", [])]
        found = {row["key"]: row["id"] for row in rows if row["key"]}
        if self._findings is None:
            self._found = found
            self._send_recent()
        else:
            now = int(time.time() * 1000)
            if new := [{**row, "found": now} for row in rows if row["id"] not in self._findings]:
                self._send("findings", new)
            self._found = dict([*self._found.items(), *found.items()][-_NOTED:])
        self._findings = {row["id"] for row in rows}

    async def _diagnose(self) -> None:
        """Asks the command that finds broken links, which prints them as JSON. One runs at a time."""
        process = None
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KUBE"))},
            )
            printed, _ = await asyncio.wait_for(process.communicate(), _DIAGNOSIS_SECONDS)
            found = json.loads(printed)
            self._diagnosis = [
                {name: str(one.get(name, ""))[:4000] for name in ("link", "finding", "hint")} for one in found
            ]
        except (OSError, ValueError, TypeError, AttributeError, TimeoutError):
            logger.info("the diagnosis gave nothing", exc_info=True)
        finally:
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            self._diagnosed = time.monotonic()
            self._diagnosing = None


def _milliseconds(time_: str) -> int:
    """The time of an alert (ISO 8601, with nanoseconds) in ms since the epoch; 0 if it is none."""
    try:
        return int(dt.datetime.fromisoformat(time_[:26].rstrip("Z") + "+00:00").timestamp() * 1000)
    except ValueError:
        return 0
