"""The cloudwatch_logs output: sends chunks of events by signed CreateLogStream and PutLogEvents requests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ekslab.http import HttpResponse
from ekslab.images.fluent_bit.config import ConfigError, Section
from ekslab.images.fluent_bit.credentials import AwsCredentials, Provider
from ekslab.images.fluent_bit.log import Log
from ekslab.images.fluent_bit.records import Event, Record, lookup

if TYPE_CHECKING:
    from ekslab.node import Process

Result = Literal["ok", "retry", "error"]

MAX_EVENTS = 10_000
MAX_BYTES = 1_048_576
EVENT_OVERHEAD = 26
MAX_EVENT = 1_000_000
"""Bytes of one event's message as it is written into the request; what is longer is cut."""
MASSIVE = 1_200_000
"""From here on an event doesn't fit the request buffer at all and is left out."""
SPAN = 24 * 3600 * 1000
STREAM_EXPIRES = 4 * 3600


@dataclass
class Batch:
    """Events of one PutLogEvents request: times in ms, and messages escaped for JSON."""

    group: str
    stream: str
    events: list[tuple[int, str]] = field(default_factory=list)
    size: int = 0
    first: int = 0
    last: int = 0

    def takes(self, time: int, size: int) -> bool:
        """Whether the API would still accept the batch with one more event of `size` bytes."""
        return not self.events or (
            len(self.events) < MAX_EVENTS
            and self.size + size + EVENT_OVERHEAD <= MAX_BYTES
            and max(self.last, time) - min(self.first, time) < SPAN
        )

    def add(self, time: int, message: str, size: int) -> None:
        self.first = min(self.first, time) if self.events else time
        self.last = max(self.last, time) if self.events else time
        self.events.append((time, message))
        self.size += size + EVENT_OVERHEAD

    def payload(self) -> bytes:
        """The request's body, put together as text: a broken message breaks the request, as it does in Fluent Bit."""
        events = ",".join(
            f'{{"timestamp":{time},"message":"{message}"}}' for time, message in sorted(self.events, key=lambda e: e[0])
        )
        head = f'{{"logGroupName":{json.dumps(self.group)},"logStreamName":{json.dumps(self.stream)}'
        return f'{head},"logEvents":[{events}]}}'.encode()


class CloudWatchLogs:
    """One output section. `flush` sends a chunk and says whether it must be sent again."""

    def __init__(self, process: Process, section: Section, log: Log) -> None:
        self._process = process
        self._section = section
        self._log = log
        self._label = f"[{section.label}]"
        self._streams: dict[tuple[str, str], float] = {}
        """Streams known to exist, and the time (s) at which that is forgotten."""
        self.region = section.get("region")
        self._group = section.get("log_group_name")
        if not self._group:
            raise self._failed("'log_group_name' is a required field")
        if bool(section.get("log_stream_name")) == bool(section.get("log_stream_prefix")):
            raise self._failed("Either 'log_stream_name' or 'log_stream_prefix' is required")
        if not self.region:
            raise self._failed("'region' is a required field")
        self._log_class = section.get("log_group_class", "STANDARD")
        if section.flag("auto_create_group") and self._log_class not in ("STANDARD", "INFREQUENT_ACCESS"):
            raise self._failed(
                "The valid values for log_group_class are {STANDARD, INFREQUENT_ACCESS}. "
                f"Invalid input was {self._log_class}"
            )
        host = section.get("endpoint").removeprefix("https://") or f"logs.{self.region}.amazonaws.com"
        port = section.get("port", "443")
        self._url = f"https://{host}/" if port == "443" else f"https://{host}:{port}/"
        self._provider = Provider(process, log, region=self.region, sts_endpoint=section.get("sts_endpoint"))

    def _failed(self, text: str) -> ConfigError:
        return ConfigError(
            ("error", f"{self._label} {text}"),
            ("error", f"{self._label} Initialization failed"),
            ("error", "[output] failed to initialize 'cloudwatch_logs' plugin"),
            ("error", "[engine] output initialization failed"),
        )

    async def flush(self, tag: str, events: Sequence[Event]) -> Result:
        for batch in self._batches(tag, events):
            await self._process.cooperate()
            if not await self._ensure_stream(batch.group, batch.stream) or not await self._put(batch):
                self._log.error(f"{self._label} Failed to send events")
                return "retry"
        return "ok"

    # -- events to messages

    def _batches(self, tag: str, events: Sequence[Event]) -> Iterator[Batch]:
        batch: Batch | None = None
        for event in events:
            message = self._message(event.record)
            if message is None:
                continue
            size = len(message.encode())
            if size > MASSIVE:
                self._log.warn(f"{self._label} Discarding massive log record")
                continue
            if size > MAX_EVENT:
                message, size = message.encode()[:MAX_EVENT].decode("utf-8", "ignore"), MAX_EVENT
            time = event.time // 1_000_000
            group, stream = self._target(tag, event.record)
            if batch is None or (batch.group, batch.stream) != (group, stream) or not batch.takes(time, size):
                if batch is not None:
                    yield batch
                batch = Batch(group, stream)
            batch.add(time, message, size)
        if batch is not None:
            yield batch

    def _message(self, record: Record) -> str | None:
        """The message as it stands between the quotes of the request, None to leave the event out."""
        key = self._section.get("log_key")
        if not key:
            return json.dumps(json.dumps(record, separators=(",", ":")), ensure_ascii=False)[1:-1]
        for name, value in record.items():
            # Fluent Bit compares as many bytes as the record's key has, so `log_key log_processed` finds `log` too.
            if key.startswith(name):
                # Of a value that isn't text the first and last byte go instead of the quotes.
                return json.dumps(value, separators=(",", ":"), ensure_ascii=False)[1:-1] or None
        self._log.error(f"{self._label} Could not find log_key '{key}' in record")
        return None

    def _target(self, tag: str, record: Record) -> tuple[str, str]:
        group = expand(self._section.get("log_group_template"), tag, record) or self._group
        stream = expand(self._section.get("log_stream_template"), tag, record)
        stream = stream or self._section.get("log_stream_name") or self._section.get("log_stream_prefix") + tag
        return group, stream

    # -- requests

    async def _ensure_stream(self, group: str, stream: str, *, create_group: bool = True) -> bool:
        now = self._process.kernel.now() / 1e9
        if self._streams.get((group, stream), 0) > now:
            return True
        self._log.info(f"{self._label} Creating log stream {stream} in log group {group}")
        response = await self._call("CreateLogStream", {"logGroupName": group, "logStreamName": stream})
        code, _ = _error(response)
        if response is not None and response.status == 200:
            self._log.info(f"{self._label} Created log stream {stream}")
        elif code == "ResourceAlreadyExistsException":
            self._log.info(f"{self._label} Log Stream {stream} already exists")
        elif code == "ResourceNotFoundException":
            if not self._section.flag("auto_create_group"):
                self._log.error(f"{self._label} Log Group {group} not found and `auto_create_group` disabled.")
                return False
            self._log.info(f"{self._label} Log Group {group} not found. Will attempt to create it.")
            created = create_group and await self._create_group(group)
            return created and await self._ensure_stream(group, stream, create_group=False)
        else:
            self._report("CreateLogStream", response)
            self._log.error(f"{self._label} Failed to create log stream")
            return False
        self._streams[group, stream] = now + STREAM_EXPIRES
        return True

    async def _create_group(self, group: str) -> bool:
        self._log.info(f"{self._label} Creating log group {group}")
        body: dict[str, Any] = {"logGroupName": group}
        if self._log_class != "STANDARD":
            body["logGroupClass"] = self._log_class
        response = await self._call("CreateLogGroup", body)
        code, _ = _error(response)
        if response is not None and response.status == 200:
            self._log.info(f"{self._label} Created log group {group} with storage class {self._log_class}")
        elif code == "ResourceAlreadyExistsException":
            self._log.info(f"{self._label} Log Group {group} already exists")
        else:
            self._report("CreateLogGroup", response)
            self._log.error(f"{self._label} Failed to create log group")
            return False
        days = int(self._section.get("log_retention_days", "0") or 0)
        if days <= 0:
            return True
        self._log.info(f"{self._label} Setting retention policy on log group {group} to {days}d")
        response = await self._call("PutRetentionPolicy", {"logGroupName": group, "retentionInDays": days})
        if response is not None and response.status == 200:
            self._log.info(f"{self._label} Set retention policy to {days}")
            return True
        self._report("PutRetentionPolicy", response)
        self._log.error(f"{self._label} Failed to putRetentionPolicy")
        return False

    async def _put(self, batch: Batch) -> bool:
        response = await self._call("PutLogEvents", batch.payload())
        if response is not None and response.status == 200:
            # Events that the service rejects (older than 14 days...) come back with 200; Fluent Bit ignores that.
            return True
        code, _ = _error(response)
        if code == "ResourceNotFoundException":
            # The stream was deleted meanwhile: the next try creates it.
            self._streams.pop((batch.group, batch.stream), None)
        self._report("PutLogEvents", response)
        self._log.error(f"{self._label} Failed to send log events")
        return False

    def _report(self, operation: str, response: HttpResponse | None) -> None:
        if response is None:
            return
        code, message = _error(response)
        if not code:
            self._log.warn(f"{self._label} Raw response: {response.body.decode('utf-8', 'replace')}")
        elif message:
            self._log.error(f"{self._label} {operation} API responded with error='{code}', message='{message}'")
        else:
            self._log.error(f"{self._label} {operation} API responded with error='{code}'")

    async def _call(self, operation: str, body: dict[str, Any] | bytes) -> HttpResponse | None:
        """The service's answer; None if it can't be asked. A request with expired credentials is made again."""
        payload = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
        response: HttpResponse | None = None
        for _ in range(2):
            credentials = await self._provider.get(self._process.kernel.now() / 1e9)
            if credentials is None:
                self._log.error("[signv4] Provider returned no credentials, service=logs")
                self._log.error("[aws_client] could not sign request")
                return None
            headers = self._signed(operation, payload, credentials)
            try:
                response = await self._process.http("POST", self._url, headers, payload)
            except (OSError, TimeoutError) as error:
                self._log.error(f"[aws_client] connection initialization error: {self._url}: {error}")
                return None
            if _error(response)[0] not in ("ExpiredToken", "ExpiredTokenException"):
                break
            self._provider.forget()
        return response

    def _signed(self, operation: str, payload: bytes, credentials: AwsCredentials) -> dict[str, str]:
        # botocore takes a moment to import, and the lab must be up in less.
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"Logs_20140328.{operation}",
            "User-Agent": "aws-fluent-bit-plugin",
        }
        if operation == "PutLogEvents" and self._section.get("log_format"):
            headers["x-amzn-logs-format"] = self._section.get("log_format")
        request = AWSRequest(method="POST", url=self._url, data=payload, headers=headers)
        key = Credentials(credentials.access_key, credentials.secret_key, credentials.token or None)
        SigV4Auth(key, "logs", self.region).add_auth(request)
        return dict(request.headers.items())


def _error(response: HttpResponse | None) -> tuple[str, str]:
    """Code and message of an error response; empty if it isn't one."""
    if response is None or response.status == 200:
        return "", ""
    try:
        body = json.loads(response.body)
    except ValueError:
        return "", ""
    code = str(body.get("__type", "")).rpartition("#")[2]
    return code, str(body.get("message") or body.get("Message") or "")


def expand(template: str, tag: str, record: Record) -> str:
    """A template with record accessors filled in; empty if one of them finds nothing."""
    if not template:
        return ""
    missing = False

    def fill(match: re.Match[str]) -> str:
        nonlocal missing
        name = match[0]
        if name == "$TAG":
            return tag
        if part := re.fullmatch(r"\$TAG\[(\d+)\]", name):
            parts = tag.split(".")
            missing = missing or int(part[1]) >= len(parts)
            return "" if missing else parts[int(part[1])]
        value = lookup(record, name)
        missing = missing or value is None
        return str(value)

    text = re.sub(r"\$[A-Za-z_][\w-]*(?:\['[^']*'\]|\[\d+\])*", fill, template)
    return "" if missing else text
