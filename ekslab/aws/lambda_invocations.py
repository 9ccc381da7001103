"""Invokes Lambda functions: execution environments, logs, metrics, retries, dead letters.

An asynchronous event is tried again when it fails, and ends in the dead-letter queue.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ekslab import names
from ekslab.aws.lambda_environment import Environment, Outcome
from ekslab.aws.metrics import Metric, Metrics
from ekslab.aws.protocols import AwsError

if TYPE_CHECKING:
    from ekslab.aws.iam_authorization import Principal
    from ekslab.aws.sts import Sts

RETRY_DELAYS = (1.0, 2.0)
"""Seconds before the second and third attempt; the service waits one minute and two."""
# Seconds before an event that couldn't be started is tried again; doubled each time, as the service does.
_BACKOFF, _LONGEST_BACKOFF = 1.0, 300.0
_IDLE_SECONDS = 300.0
_CREDENTIALS_SECONDS = 3600
_MAX_ENVIRONMENTS = 4  # of one function; an invocation beyond them waits
_MAX_PENDING = 10_000  # events of one function
_LOG_TAIL = 4096  # bytes

logger = logging.getLogger(__name__)

CallAs = Callable[["Principal", str, str, str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Makes a call as a principal: service, operation, region, parameters. Raises AwsError."""


@dataclass(eq=False)
class Event:
    """An accepted asynchronous event."""

    request_id: str
    payload: str
    accepted: float
    attempts: int = 0
    failed_starts: int = 0
    """How often it couldn't be started."""


@dataclass(eq=False)
class Function:
    """One function: its configuration in the form of the API, its code, and its invocations."""

    region: str
    arn: str
    configuration: dict[str, Any]
    files: dict[str, bytes]
    tags: dict[str, str] = field(default_factory=dict)
    policy: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Statements of its resource-based policy, by id."""
    event_invoke: dict[str, Any] | None = None
    changing: str = ""
    """The change in progress that the next response reports: `create`, `update` or none."""
    revisions: int = 0
    deleted: bool = False
    streams: int = 0
    """Number of log streams so far."""
    events: int = 0
    """Number of events from other services so far."""
    pending: deque[Event] = field(default_factory=deque)
    worker: asyncio.Task[None] | None = None
    idle: list[_WarmEnvironment] = field(default_factory=list)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MAX_ENVIRONMENTS))

    @property
    def name(self) -> str:
        return str(self.configuration["FunctionName"])

    @property
    def revision(self) -> str:
        return str(self.configuration["RevisionId"])

    def setting(self, name: str, default: Any) -> Any:
        """A setting of asynchronous invocation."""
        return (self.event_invoke or {}).get(name, default)


@dataclass(eq=False)
class _WarmEnvironment:
    """An environment with the function's revision and the log stream that it was made for."""

    environment: Environment
    revision: str
    stream: str
    expires: float
    has_stream: bool = False
    end: asyncio.TimerHandle | None = None

    def close(self) -> None:
        if self.end is not None:
            self.end.cancel()
        self.environment.close()


class Invocations:
    """All running and waiting invocations. Lives on one event loop."""

    def __init__(
        self,
        *,
        sts: Sts,
        clock: Callable[[], float],
        call_as: CallAs,
        url: Callable[[], str],
        metrics: Callable[[str], Metrics],
    ) -> None:
        """`url` returns the lab's AWS endpoint, `metrics` a region's CloudWatch metrics."""
        self._sts = sts
        self._clock = clock
        self._call_as = call_as
        self._url = url
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._warm: set[_WarmEnvironment] = set()

    # -- one invocation

    async def run(self, function: Function, request_id: str, event: str) -> tuple[Outcome, str]:
        """Invokes the function on an event (JSON); returns the outcome and the log as text.

        Raises AwsError if the function's role can't be assumed.
        """
        async with function.slots:
            return await self._run(function, request_id, event)

    async def _run(self, function: Function, request_id: str, event: str) -> tuple[Outcome, str]:
        warm = self._take(function)
        settings = function.configuration
        started = int(self._clock() * 1000)
        try:
            outcome = await warm.environment.invoke(
                request_id, event, function_arn=function.arn, timeout=settings["Timeout"]
            )
        except BaseException:
            self._discard(warm)
            raise
        lines = _log(request_id, started, int(self._clock() * 1000), settings["MemorySize"], outcome)
        self._count(function, "Invocations")
        self._count(function, "Errors", 1.0 if outcome.failed else 0.0)
        self._count(function, "Duration", outcome.milliseconds, unit="Milliseconds")
        try:
            await self._write_log(function, warm, lines)
        finally:
            self._give_back(function, warm)
        return outcome, "".join(text for _, text in lines)

    def _take(self, function: Function) -> _WarmEnvironment:
        while function.idle:
            warm = function.idle.pop()
            if warm.end is not None:
                warm.end.cancel()
            if not warm.environment.closed and warm.revision == function.revision and warm.expires > self._clock():
                return warm
            self._discard(warm)
        settings = function.configuration
        keys = self._sts.credentials_for_service("lambda.amazonaws.com", settings["Role"], function.name)
        if keys is None:
            message = "The role defined for the function cannot be assumed by Lambda."
            raise AwsError("AccessDeniedException", message, 403, members={"Type": "User"})
        function.streams += 1
        today = dt.datetime.fromtimestamp(self._clock(), dt.UTC).strftime("%Y/%m/%d")
        stream = f"{today}/[$LATEST]{names.hex_id(32, function.arn, function.revision, function.streams)}"
        variables = {
            **settings.get("Environment", {}).get("Variables", {}),
            **self._variables(function, stream),
            **keys,
        }
        environment = Environment(
            function.files, settings["Handler"], variables, memory=settings["MemorySize"], clock=self._clock
        )
        warm = _WarmEnvironment(environment, function.revision, stream, self._clock() + _CREDENTIALS_SECONDS / 2)
        self._warm.add(warm)
        return warm

    def _variables(self, function: Function, stream: str) -> dict[str, str]:
        """The reserved variables, and variables that keep SDKs from reading this computer's AWS configuration."""
        settings = function.configuration
        return {
            "_HANDLER": settings["Handler"],
            "AWS_DEFAULT_REGION": function.region,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{settings['Runtime']}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(settings["MemorySize"]),
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
            "AWS_REGION": function.region,
            "LANG": "en_US.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "TZ": ":UTC",
            "AWS_ENDPOINT_URL": self._url(),
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
            "no_proxy": "*",
        }

    def _give_back(self, function: Function, warm: _WarmEnvironment) -> None:
        if warm.environment.closed or function.deleted or warm.revision != function.revision:
            self._discard(warm)
            return
        function.idle.append(warm)
        warm.end = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._expire, function, warm)

    def _expire(self, function: Function, warm: _WarmEnvironment) -> None:
        function.idle.remove(warm)
        self._discard(warm)

    def _discard(self, warm: _WarmEnvironment) -> None:
        self._warm.discard(warm)
        warm.close()

    def renew(self, function: Function) -> None:
        """Ends idle environments: they have the code or settings of an earlier revision."""
        while function.idle:
            self._discard(function.idle.pop())

    async def _write_log(self, function: Function, warm: _WarmEnvironment, lines: list[tuple[int, str]]) -> None:
        """Writes to the function's log group as its role; without the permission the log is lost, as on AWS."""
        role = self._sts.principal_of_role(function.configuration["Role"], function.name)
        where = {"logGroupName": f"/aws/lambda/{function.name}", "logStreamName": warm.stream}

        async def call(operation: str, **parameters: Any) -> None:
            await self._call_as(role, "logs", operation, function.region, parameters)

        try:
            if not warm.has_stream:
                try:
                    await call("CreateLogStream", **where)
                except AwsError as error:
                    if error.code != "ResourceNotFoundException":
                        raise
                    await call("CreateLogGroup", logGroupName=where["logGroupName"])
                    await call("CreateLogStream", **where)
                warm.has_stream = True
            events = [{"timestamp": at, "message": text} for at, text in sorted(lines, key=lambda line: line[0])]
            await call("PutLogEvents", **where, logEvents=events)
        except AwsError as error:
            warm.has_stream = False  # it may have been deleted: the next invocation creates it again
            logger.info("%s can't write its log: %s", function.name, error)

    # -- asynchronous events

    def submit(self, function: Function, request_id: str, payload: str) -> None:
        """Accepts an event. Events of a function are first tried in the order in which they came. Raises AwsError."""
        if len(function.pending) >= _MAX_PENDING:
            members = {"Type": "User", "Reason": "CallerRateLimitExceeded"}
            raise AwsError("TooManyRequestsException", "Rate Exceeded.", 429, members=members)
        self._count(function, "AsyncEventsReceived")
        self._enqueue(function, Event(request_id, payload, self._clock()))

    def _enqueue(self, function: Function, event: Event) -> None:
        function.pending.append(event)
        if function.worker is None or function.worker.done():
            function.worker = asyncio.get_running_loop().create_task(self._work(function))
            self._tasks.add(function.worker)
            function.worker.add_done_callback(self._tasks.discard)

    async def _work(self, function: Function) -> None:
        while function.pending and not function.deleted:
            event = function.pending.popleft()
            try:
                await self._attempt(function, event)
            except Exception:
                logger.exception("event %s of %s failed", event.request_id, function.name)

    async def _attempt(self, function: Function, event: Event) -> None:
        if self._clock() - event.accepted > function.setting("MaximumEventAgeInSeconds", 21_600):
            await self._drop(function, event, 429, "Rate Exceeded.")
            return
        try:
            outcome, _ = await self.run(function, event.request_id, event.payload)
        except (AwsError, OSError) as error:  # no role that can be assumed, or no process could be started
            logger.info("%s is tried again: %s", function.name, error)
            self._later(min(_BACKOFF * 2**event.failed_starts, _LONGEST_BACKOFF), function, event)
            event.failed_starts += 1
            return
        event.attempts += 1
        if not outcome.failed:
            return
        if event.attempts <= function.setting("MaximumRetryAttempts", 2):
            self._later(RETRY_DELAYS[event.attempts - 1], function, event)
            return
        await self._drop(function, event, 200, json.loads(outcome.payload).get("errorMessage", ""))

    def _later(self, seconds: float, function: Function, event: Event) -> None:
        def again() -> None:
            self._timers.discard(handle)
            if not function.deleted:
                self._enqueue(function, event)

        handle = asyncio.get_running_loop().call_later(seconds, again)
        self._timers.add(handle)

    async def _drop(self, function: Function, event: Event, code: int, message: str) -> None:
        """Gives up an event: sends it to the dead-letter queue if there is one, with the permissions of the role."""
        self._count(function, "AsyncEventsDropped")
        queue_arn = function.configuration.get("DeadLetterConfig", {}).get("TargetArn")
        if not queue_arn:
            return
        reason = message.encode()[:1024].decode("utf-8", "ignore")
        attributes = {
            "RequestID": {"DataType": "String", "StringValue": event.request_id},
            "ErrorCode": {"DataType": "Number", "StringValue": str(code)},
            "ErrorMessage": {"DataType": "String", "StringValue": reason},
        }
        role = self._sts.principal_of_role(function.configuration["Role"], function.name)
        region, account, name = queue_arn.split(":")[3:6]
        parameters = {
            "QueueUrl": f"https://sqs.{region}.amazonaws.com/{account}/{name}",
            "MessageBody": event.payload,
            "MessageAttributes": {name: value for name, value in attributes.items() if value["StringValue"]},
        }
        try:
            await self._call_as(role, "sqs", "SendMessage", region, parameters)
        except AwsError as error:
            logger.warning("an event of %s is lost: %s", function.name, error)
            self._count(function, "DeadLetterErrors")

    # -- the rest

    def _count(self, function: Function, name: str, value: float = 1.0, *, unit: str = "Count") -> None:
        metric = Metric("AWS/Lambda", name, (("FunctionName", function.name),))
        self._metrics(function.region).put(metric, self._clock(), [(value, 1.0)], unit=unit)

    async def stop(self) -> None:
        """Ends all processes, tasks and timers."""
        for timer in tuple(self._timers):
            timer.cancel()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        for warm in tuple(self._warm):
            self._discard(warm)
        await asyncio.gather(*tasks, return_exceptions=True)


def _log(request_id: str, started: int, ended: int, memory_size: int, outcome: Outcome) -> list[tuple[int, str]]:
    """The log events of an invocation, (ms, text): START, what the function printed, END and REPORT."""
    lines = [(started, f"START RequestId: {request_id} Version: $LATEST")]
    lines += [(min(max(at, started), ended), text) for at, text in outcome.output]
    error = json.loads(outcome.payload) if outcome.status in ("timeout", "exit") else {}
    if outcome.status == "timeout":
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ended / 1000))
        what = error["errorMessage"].partition(" Error: ")[2]
        lines.append((ended, f"{moment}.{ended % 1000:03d}Z {request_id} {what}\n"))
    elif outcome.status == "exit":
        lines.append((ended, f"{error['errorMessage']}\n{error['errorType']}"))
    lines.append((ended, f"END RequestId: {request_id}"))
    report = [
        f"REPORT RequestId: {request_id}",
        f"Duration: {outcome.milliseconds:.2f} ms",
        f"Billed Duration: {int(outcome.milliseconds + (outcome.init_milliseconds or 0)) + 1} ms",
        f"Memory Size: {memory_size} MB",
    ]
    if outcome.memory:
        report.append(f"Max Memory Used: {outcome.memory // 1024**2} MB")
    if outcome.init_milliseconds is not None:
        report.append(f"Init Duration: {outcome.init_milliseconds:.2f} ms")
    if outcome.status == "timeout":
        report.append("Status: timeout")
    elif outcome.status == "exit":
        report += ["Status: error", f"Error Type: {error['errorType']}"]
    lines.append((ended, "\t".join(report) + "\t"))
    return [(at, text if text.endswith("\n") else text + "\n") for at, text in lines]


def log_tail(log: str) -> str:
    """The last 4 KB of a log, in base64."""
    return base64.b64encode(log.encode()[-_LOG_TAIL:]).decode()
