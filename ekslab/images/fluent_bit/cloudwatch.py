"""The cloudwatch_logs output: sends chunks of events by signed CreateLogStream and PutLogEvents requests."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time as clock
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from ekslab.http import HttpResponse
from ekslab.images.fluent_bit.config import ConfigError, Section, parse_seconds
from ekslab.images.fluent_bit.credentials import AwsCredentials, Provider
from ekslab.images.fluent_bit.log import Log
from ekslab.images.fluent_bit.records import Event, Record, lookup
from ekslab.images.fluent_bit.text import as_json, escaped
from ekslab.sigv4 import ALGORITHM, Scope, sign

if TYPE_CHECKING:
    from ekslab.node import Process

Result = Literal["ok", "retry", "error"]

# Sizes in bytes, of what is written into a request, where a character outside ASCII has six (`\u00e9`).
MAX_EVENTS = 10_000
MAX_BODY = 1_048_576
MAX_EVENT = 1_000_000
"""What is longer is cut, wherever that is: inside an escape, what comes out is no JSON, and is refused for ever."""
_HEAD = 76
_PER_EVENT = 42
SPAN = 24 * 3600 * 1000  # milliseconds
STREAM_EXPIRES = 4 * 3600
REFRESH_LIMIT = 300
"""Seconds in which a refused request makes it ask for new credentials only once."""


@dataclass
class Batch:
    """Events of one PutLogEvents request: times in ms, and messages escaped for JSON."""

    group: str
    stream: str
    events: list[tuple[int, bytes]] = field(default_factory=list)
    size: int = 0
    """Bytes of the request."""
    held: int = 0
    """Bytes of its messages in the buffer in which they are escaped."""
    first: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        self.size = _HEAD + len(json.dumps(self.group)) + len(json.dumps(self.stream)) - 4

    def holds(self, size: int) -> bool:
        """Whether the buffer has room for one more message that is so long before it is cut."""
        return self.held + size + 4 <= MAX_BODY

    def takes(self, time: int, size: int) -> bool:
        """Whether the API would still accept the batch with one more event."""
        return self.size + size + _PER_EVENT <= MAX_BODY and (
            not self.events or max(self.last, time) - min(self.first, time) < SPAN
        )

    def add(self, time: int, message: bytes) -> None:
        self.first = min(self.first, time) if self.events else time
        self.last = max(self.last, time) if self.events else time
        self.events.append((time, message))
        self.size += len(message) + _PER_EVENT
        self.held += len(message) + 1

    def payload(self) -> bytes:
        """The request's body, put together as text: a broken message breaks the request, as it does in Fluent Bit."""
        events = b",".join(
            b'{"timestamp":%d,"message":"%b"}' % event for event in sorted(self.events, key=lambda event: event[0])
        )
        names = f'{{"logGroupName":{json.dumps(self.group)},"logStreamName":{json.dumps(self.stream)}'
        return names.encode() + b',"logEvents":[' + events + b"]}"


class CloudWatchLogs:
    """One output section. `flush` sends a chunk: it is `ok`, is to be sent again (`retry`) or is lost (`error`)."""

    def __init__(self, process: Process, section: Section, log: Log, *, ascii_only: bool = True) -> None:
        self._process = process
        self._section = section
        self._log = log
        self._label = f"[{section.label}]"
        self._streams: dict[tuple[str, str], float] = {}
        """Streams known to exist, and the time (s) at which that is forgotten."""
        self._creating = asyncio.Lock()
        self._refreshed = 0.0
        self._connections = 0
        self._ascii_only = ascii_only
        self._io_timeout = parse_seconds(section.get("net.io_timeout", "0")) or None
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
        self._address = f"{host}:{port}"
        self._provider = Provider(process, log, region=self.region, sts_endpoint=section.get("sts_endpoint"))

    def _failed(self, text: str) -> ConfigError:
        return ConfigError(
            ("error", f"{self._label} {text}"),
            ("error", f"{self._label} Initialization failed"),
            ("error", "[output] failed to initialize 'cloudwatch_logs' plugin"),
            ("error", "[engine] output initialization failed"),
        )

    async def flush(self, tag: str, events: Sequence[Event]) -> Result:
        result = await self._send(tag, events)
        if result != "ok":
            self._log.error(f"{self._label} Failed to send events")
        return result

    async def _send(self, tag: str, events: Sequence[Event]) -> Result:
        """Sends events in as few requests as they fit in; stops at the first that fails."""
        batch: Batch | None = None
        for number, event in enumerate(events):
            if number % 50 == 0:
                await self._process.cooperate()
            target = self._target(tag, event.record)
            if batch is None or (batch.group, batch.stream) != target:
                result = await self._put(batch)
                if result != "ok":
                    return result
                if not await self._ensure_stream(*target):
                    return "retry"
                batch = Batch(*target)
            message = self._message(event.record)
            if not message:
                continue
            time = event.time // 1_000_000
            cut = self._cut(message)
            while not (fits := batch.holds(len(message)) and batch.takes(time, len(cut))) and batch.events:
                result = await self._put(batch)
                if result != "ok":
                    return result
                batch = Batch(*target)
            if not fits:
                self._log.warn(f"{self._label} Discarding massive log record")
                continue
            batch.add(time, cut)
            if len(batch.events) == MAX_EVENTS:
                result = await self._put(batch)
                if result != "ok":
                    return result
                batch = Batch(*target)
        return await self._put(batch)

    # -- events to messages

    def _message(self, record: Record) -> bytes:
        """The message as it stands between the quotes of the request; empty to leave the event out."""
        key = self._section.get("log_key")
        if not key:
            return escaped(as_json(record, ascii_only=self._ascii_only).decode(), ascii_only=self._ascii_only)
        for name, value in record.items():
            # Fluent Bit compares as many bytes as the record's key has, so `log_key log_processed` finds `log` too.
            if key.startswith(name):
                # Of a value that isn't text the first and last byte go instead of the quotes.
                return as_json(value, ascii_only=self._ascii_only)[1:-1]
        self._log.error(f"{self._label} Could not find log_key '{key}' in record")
        return b""

    def _cut(self, message: bytes) -> bytes:
        if len(message) <= MAX_EVENT or len(message) + 4 > MAX_BODY:
            return message
        self._log.warn(
            f"{self._label} [size={len(message)}] Truncating event which is larger than max size allowed by CloudWatch"
        )
        message = message[:MAX_EVENT]
        slashes = len(message) - len(message.rstrip(b"\\"))
        return message[:-1] if slashes % 2 else message

    def _target(self, tag: str, record: Record) -> tuple[str, str]:
        group = expand(self._section.get("log_group_template"), tag, record) or self._group
        stream = expand(self._section.get("log_stream_template"), tag, record)
        stream = stream or self._section.get("log_stream_name") or self._section.get("log_stream_prefix") + tag
        return group, stream

    # -- requests

    async def _ensure_stream(self, group: str, stream: str) -> bool:
        async with self._creating:  # chunks that are sent at the same time make it once
            now = self._process.kernel.now() / 1e9
            if self._streams.get((group, stream), 0) > now:
                return True
            if not await self._create_stream(group, stream):
                return False
            self._streams[group, stream] = now + STREAM_EXPIRES
            return True

    async def _create_stream(self, group: str, stream: str, *, create_group: bool = True) -> bool:
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
            return created and await self._create_stream(group, stream, create_group=False)
        else:
            self._report("CreateLogStream", response)
            self._log.error(f"{self._label} Failed to create log stream")
            return False
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

    async def _put(self, batch: Batch | None) -> Result:
        if batch is None or not batch.events:
            return "ok"
        key = batch.group, batch.stream
        self._streams[key] = self._process.kernel.now() / 1e9 + STREAM_EXPIRES  # it is in use
        response = await self._call("PutLogEvents", batch.payload())
        if response is not None and response.status == 200:
            # Events that the service rejects (older than 14 days...) come back with 200; Fluent Bit ignores that.
            return "ok"
        code, _ = _error(response)
        if code == "ResourceNotFoundException":
            # Trying again would never help: the stream is made once for a chunk, before its first events.
            self._log.error(f"{self._label} Log stream {batch.stream} not found. Rejecting the chunk without retry.")
            self._streams.pop(key, None)
        else:
            self._report("PutLogEvents", response)
            self._log.error(f"{self._label} Failed to send log events")
        self._log.error(f"{self._label} Failed to send log events")
        return "error" if code == "ResourceNotFoundException" else "retry"

    def _report(self, operation: str, response: HttpResponse | None) -> None:
        if response is None:
            return
        code, message = _error(response)
        if not code:
            prefix = f"{operation}: " if operation != "CreateLogStream" else ""
            self._log.warn(f"{self._label} {prefix}Raw response: {response.body.decode('utf-8', 'replace')}")
        elif message:
            self._log.error(f"{self._label} {operation} API responded with error='{code}', message='{message}'")
        else:
            self._log.error(f"{self._label} {operation} API responded with error='{code}'")

    async def _call(self, operation: str, body: dict[str, Any] | bytes) -> HttpResponse | None:
        """The service's answer; None if there is none, also at the second try that follows at once."""
        payload = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
        response = await self._request(operation, payload)
        if response is None and self._section.flag("auto_retry_requests", True):
            response = await self._request(operation, payload)
        now = self._process.kernel.now() / 1e9
        if response is not None and 400 <= response.status < 500 and _auth_error(response) and now > self._refreshed:
            self._log.info("[aws_client] auth error, refreshing creds")
            self._refreshed = now + REFRESH_LIMIT
            await self._provider.refresh()
        return response

    async def _request(self, operation: str, payload: bytes) -> HttpResponse | None:
        credentials = await self._provider.get(self._process.kernel.now() / 1e9)
        if credentials is None:
            self._log.error("[signv4] Provider returned no credentials, service=logs")
            self._log.error("[aws_client] could not sign request")
            return None
        self._connections += 1
        number, timeout = self._connections, self._io_timeout
        try:
            headers = self._signed(operation, payload, credentials)
            return await self._process.http("POST", self._url, headers, payload, timeout=timeout)
        except TimeoutError:
            self._log.error(
                f"[upstream] connection #{number} to tcp://{self._address} timed out after {timeout:.0f} seconds "
                "(IO timeout)"
            )
            self._log.error(
                f"[http_client] upstream I/O timeout reached while waiting for response from {self._address}"
            )
        except (ConnectionResetError, BrokenPipeError):
            self._log.error("[tls] error: error:0A000126:SSL routines::unexpected eof while reading")
            self._log.error(f"[http_client] broken connection to {self._address} ?")
        except OSError:
            self._log.error("[aws_client] connection initialization error")
        return None

    def _signed(self, operation: str, payload: bytes, credentials: AwsCredentials) -> dict[str, str]:
        now = clock.strftime("%Y%m%dT%H%M%SZ", clock.gmtime(self._process.kernel.now() // 1_000_000_000))
        url = urlsplit(self._url)
        headers = {
            "content-length": str(len(payload)),
            "content-type": "application/x-amz-json-1.1",
            "host": url.netloc,
            "user-agent": "aws-fluent-bit-plugin-",
            "x-amz-date": now,
            "x-amz-target": f"Logs_20140328.{operation}",
        }
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        if operation == "PutLogEvents" and self._section.get("log_format"):
            headers["x-amzn-logs-format"] = self._section.get("log_format")
        scope = Scope(credentials.access_key, now[:8], self.region, "logs")
        signature = sign(
            credentials.secret_key,
            scope,
            now,
            method="POST",
            path=url.path,
            query="",
            headers=sorted(headers.items()),
            payload_hash=hashlib.sha256(payload).hexdigest(),
        )
        headers["authorization"] = (
            f"{ALGORITHM} Credential={scope.access_key_id}/{scope}, SignedHeaders={';'.join(sorted(headers))}, "
            f"Signature={signature}"
        )
        return headers


def _auth_error(response: HttpResponse) -> bool:
    """Whether an answer looks like one about credentials; AccessDenied counts, too."""
    text = response.body.decode("utf-8", "replace").lower()
    return any(sign in text for sign in _AUTH_ERRORS)


_AUTH_ERRORS = (
    "invalidclienttokenid", "accessdenied", "expired", "invalidaccesskeyid", "signaturedoesnotmatch", "invalidtoken",
    "invalidsecurity", "tokenrefreshrequired", "invalidsignature", "incompletesignature",
    "missingauthenticationtoken", "unrecognizedclientexception",
)  # fmt: skip


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
