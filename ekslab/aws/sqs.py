"""SQS: standard queues with visibility timeouts, long polling and dead-letter queues."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ekslab import names
from ekslab.aws import wire
from ekslab.aws.iam_authorization import parse_document, trusts_service
from ekslab.aws.protocols import AwsError, Call, service_model, unsupported

if TYPE_CHECKING:
    from ekslab.aws.iam_authorization import Principal
    from ekslab.aws.wire import Parameters, Result

MAX_MESSAGE = 1_048_576  # bytes
MAX_IN_QUEUE = 20_000  # messages; a workshop has some dozens
MAX_BATCH = 10
_NUMBERS = {
    # attribute -> (default, least, most)
    "DelaySeconds": (0, 0, 900),
    "MaximumMessageSize": (MAX_MESSAGE, 1024, MAX_MESSAGE),
    "MessageRetentionPeriod": (345_600, 60, 1_209_600),
    "ReceiveMessageWaitTimeSeconds": (0, 0, 20),
    "VisibilityTimeout": (30, 0, 43_200),
}
_SETTABLE = {*_NUMBERS, "Policy", "RedrivePolicy", "SqsManagedSseEnabled"}
_UNSUPPORTED = {"KmsDataKeyReusePeriodSeconds", "KmsMasterKeyId", "RedriveAllowPolicy"}


@dataclass(eq=False)
class Message:
    id: str
    body: str
    sent: float
    sender: str
    attributes: dict[str, dict[str, Any]]
    visible: float
    """The time from which it can be received, in seconds since the epoch."""
    received: int = 0
    first_received: float = 0.0
    receipt: str = ""
    # The ARN of the queue that a dead letter came from.
    source: str = ""


@dataclass(eq=False)
class Queue:
    name: str
    arn: str
    created: float
    attributes: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)
    arrivals: asyncio.Condition = field(default_factory=asyncio.Condition)
    count: int = 0
    modified: float = 0.0
    purged: float = -1e9

    def number(self, attribute: str) -> int:
        return int(self.attributes.get(attribute, _NUMBERS[attribute][0]))

    @property
    def redrive(self) -> tuple[str, int] | None:
        """(ARN of the dead-letter queue, maxReceiveCount)."""
        text = self.attributes.get("RedrivePolicy")
        if not text:
            return None
        policy = json.loads(text)
        return policy["deadLetterTargetArn"], int(policy["maxReceiveCount"])

    def expire(self, now: float) -> None:
        limit = now - self.number("MessageRetentionPeriod")
        for id_ in [id_ for id_, message in self.messages.items() if message.sent < limit]:
            del self.messages[id_]


class Sqs:
    """The service. Queue URLs have the host and port of the request."""

    def __init__(self, *, account_id: str, clock: Callable[[], float]) -> None:
        self.account_id = account_id
        self._clock = clock
        self._queues: dict[str, Queue] = {}  # by ARN
        self._operations: dict[str, Callable[[Call, Parameters, Principal], Result]] = {
            "CreateQueue": self._create,
            "DeleteQueue": self._delete,
            "GetQueueUrl": self._get_url,
            "ListQueues": self._list,
            "GetQueueAttributes": self._get_attributes,
            "SetQueueAttributes": self._set_attributes,
            "SendMessage": self._send,
            "SendMessageBatch": self._send_batch,
            "DeleteMessage": self._delete_message,
            "DeleteMessageBatch": self._delete_batch,
            "ChangeMessageVisibility": self._change_visibility,
            "ChangeMessageVisibilityBatch": self._change_visibility_batch,
            "PurgeQueue": self._purge,
            "ListDeadLetterSourceQueues": self._list_sources,
            "TagQueue": self._tag,
            "UntagQueue": self._untag,
            "ListQueueTags": self._list_tags,
        }

    # -- for other services

    def send(self, queue_arn: str, body: str, attributes: Mapping[str, str | Mapping[str, Any]] | None = None) -> None:
        """Sends a message without a check of permissions. Raises AwsError if there is no such queue.

        An attribute is a text or a message attribute: `{"DataType": ..., "StringValue": ...}`.
        """
        queue = self._by_arn(queue_arn)
        typed = {
            name: {"DataType": "String", "StringValue": value} if isinstance(value, str) else dict(value)
            for name, value in (attributes or {}).items()
        }
        _check_size(queue, body, typed)
        self._put(queue, body, typed, sender=self.account_id)

    def send_as(
        self,
        principal: str,
        source_arn: str,
        queue_arn: str,
        body: str,
        attributes: Mapping[str, str | Mapping[str, Any]] | None = None,
    ) -> None:
        """Sends for a service (`sns.amazonaws.com`) on behalf of `source_arn`.

        Raises AwsError if there is no such queue, or if its policy doesn't allow it.
        """
        queue = self._by_arn(queue_arn)
        context = {"aws:SourceArn": source_arn, "aws:SourceAccount": self.account_id}
        policy = parse_document(queue.attributes.get("Policy") or "{}")
        if not trusts_service(policy, "sqs:SendMessage", principal, queue.arn, context):
            raise AwsError("AccessDenied", f"{principal} is not authorized to perform: sqs:SendMessage on {queue.arn}")
        self.send(queue_arn, body, attributes)

    # -- the service

    def resources(self, call: Call, p: Parameters) -> list[str]:
        if call.operation == "ListQueues":
            return ["*"]
        name = p.get("QueueName") or urlsplit(str(p.get("QueueUrl", ""))).path.rpartition("/")[2]
        return [self._arn(call, name)]

    async def handle(self, call: Call, p: Parameters, caller: Principal) -> Result:
        operation = self._operations.get(call.operation)
        if operation is None and call.operation != "ReceiveMessage":
            raise unsupported(call)
        _check_required(call.operation, p)
        if operation is None:
            return await self._receive(call, p)
        result = operation(call, p, caller)
        if call.operation in ("SendMessage", "SendMessageBatch", "ChangeMessageVisibility"):
            await _wake(self._queue(call, p))
        return result

    def _arn(self, call: Call, name: str) -> str:
        return f"arn:aws:sqs:{call.region}:{self.account_id}:{name}"

    def _url(self, call: Call, queue: Queue) -> str:
        parts = urlsplit(call.request.url)
        return f"{parts.scheme}://{parts.netloc}/{self.account_id}/{queue.name}"

    def _by_arn(self, arn: str) -> Queue:
        queue = self._queues.get(arn)
        if queue is None:
            raise _no_queue()
        return queue

    def _queue(self, call: Call, p: Parameters) -> Queue:
        url = p.get("QueueUrl")
        if not url:
            raise AwsError("MissingParameter", "The request must contain the parameter QueueUrl.")
        match = re.fullmatch(r"/(\d{12})/([\w.-]+)/?", urlsplit(str(url)).path)
        if match is None or match[1] != self.account_id:
            raise _no_queue()
        return self._by_arn(self._arn(call, match[2]))

    def _create(self, call: Call, p: Parameters, caller: Principal) -> Result:
        name, attributes = p.get("QueueName", ""), dict(p.get("Attributes") or {})
        if name.endswith(".fifo") or attributes.get("FifoQueue"):
            raise AwsError("UnsupportedOperation", "The embedded lab has standard queues only, no FIFO queues.")
        if re.fullmatch(r"[\w-]{1,80}", name, re.ASCII) is None:
            raise AwsError(
                "InvalidParameterValue",
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
            )
        arn = self._arn(call, name)
        self._check(attributes)
        queue = self._queues.get(arn)
        if queue is None:
            now = self._clock()
            queue = self._queues[arn] = Queue(name, arn, now, attributes, dict(p.get("tags") or {}), modified=now)
        elif any(str(self._attributes(queue).get(key, "")) != str(value) for key, value in attributes.items()):
            message = "A queue already exists with the same name and a different value for attribute "
            different = [k for k, v in attributes.items() if str(self._attributes(queue).get(k, "")) != str(v)]
            raise AwsError("QueueNameExists", message + different[0])
        return {"QueueUrl": self._url(call, queue)}

    def _check(self, attributes: Mapping[str, str]) -> None:
        for name, value in attributes.items():
            if name in _UNSUPPORTED:
                raise AwsError("UnsupportedOperation", f"{name} is not supported by the embedded lab.")
            if name not in _SETTABLE:
                raise AwsError("InvalidAttributeName", f"Unknown Attribute {name}.")
            if name in _NUMBERS:
                _, least, most = _NUMBERS[name]
                if not str(value).isdigit() or not least <= int(value) <= most:
                    raise AwsError("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
            elif name == "Policy" and value:
                _check_policy(value)
            elif name == "RedrivePolicy" and value:
                self._check_redrive(value)

    def _check_redrive(self, text: str) -> None:
        try:
            policy = json.loads(text)
            target, most = policy["deadLetterTargetArn"], int(policy["maxReceiveCount"])
        except (ValueError, KeyError, TypeError):
            message = f"Value {text} for parameter RedrivePolicy is invalid. Reason: Redrive policy is not a valid "
            raise AwsError("InvalidParameterValue", message + "JSON map.") from None
        if not 1 <= most <= 1000:
            reason = "Invalid value for maxReceiveCount: " + str(most) + ", valid values are from 1 to 1000 inclusive."
            raise AwsError("InvalidParameterValue", f"Value {text} for parameter RedrivePolicy is invalid. {reason}")
        if target not in self._queues:
            reason = "Reason: Dead letter target does not exist."
            raise AwsError("InvalidParameterValue", f"Value {text} for parameter RedrivePolicy is invalid. {reason}")

    def _delete(self, call: Call, p: Parameters, caller: Principal) -> Result:
        del self._queues[self._queue(call, p).arn]
        return {}

    def _get_url(self, call: Call, p: Parameters, caller: Principal) -> Result:
        return {"QueueUrl": self._url(call, self._by_arn(self._arn(call, p.get("QueueName", ""))))}

    def _list(self, call: Call, p: Parameters, caller: Principal) -> Result:
        prefix = self._arn(call, p.get("QueueNamePrefix", ""))
        found = [queue for arn, queue in sorted(self._queues.items()) if arn.startswith(prefix)]
        try:
            page, more = wire.page(found, p.get("NextToken"), p.get("MaxResults") or 1000)
        except ValueError:
            raise AwsError("InvalidParameterValue", "Invalid or expired next token.") from None
        urls = [self._url(call, queue) for queue in page]
        return {**({"QueueUrls": urls} if urls else {}), **more}

    def _attributes(self, queue: Queue) -> dict[str, str]:
        now = self._clock()
        queue.expire(now)
        messages = queue.messages.values()
        hidden = sum(message.visible > now and message.received > 0 for message in messages)
        delayed = sum(message.visible > now and message.received == 0 for message in messages)
        return {
            "ApproximateNumberOfMessages": str(len(messages) - hidden - delayed),
            "ApproximateNumberOfMessagesNotVisible": str(hidden),
            "ApproximateNumberOfMessagesDelayed": str(delayed),
            "CreatedTimestamp": str(int(queue.created)),
            "LastModifiedTimestamp": str(int(queue.modified)),
            "QueueArn": queue.arn,
            "SqsManagedSseEnabled": "true",
            **{name: str(default) for name, (default, _, _) in _NUMBERS.items()},
            **{name: str(value) for name, value in queue.attributes.items() if value != ""},
        }

    def _get_attributes(self, call: Call, p: Parameters, caller: Principal) -> Result:
        every = self._attributes(self._queue(call, p))
        wanted = p.get("AttributeNames") or []
        unknown = [name for name in wanted if name not in {*every, *_SETTABLE, "All"}]
        if unknown:
            raise AwsError("InvalidAttributeName", f"Unknown Attribute {unknown[0]}.")
        chosen = every if "All" in wanted else {name: every[name] for name in wanted if name in every}
        return {"Attributes": chosen} if chosen else {}

    def _set_attributes(self, call: Call, p: Parameters, caller: Principal) -> Result:
        queue = self._queue(call, p)
        self._check(p["Attributes"])
        queue.attributes |= p["Attributes"]
        queue.modified = self._clock()
        return {}

    # -- messages

    def _put(
        self, queue: Queue, body: str, attributes: dict[str, dict[str, Any]], *, sender: str, delay: int | None = None
    ) -> Message:
        now = self._clock()
        queue.expire(now)
        if len(queue.messages) >= MAX_IN_QUEUE:
            raise AwsError("OverLimit", f"The embedded lab keeps {MAX_IN_QUEUE:,} messages in a queue.", 403)
        queue.count += 1
        id_ = names.uid("sqs message", queue.arn, queue.created, queue.count)
        wait = queue.number("DelaySeconds") if delay is None else delay
        message = queue.messages[id_] = Message(id_, body, now, sender, attributes, now + wait)
        _wake_soon(queue)
        return message

    def _checked_body(self, queue: Queue, p: Mapping[str, Any]) -> tuple[str, dict[str, dict[str, Any]], int | None]:
        body, delay = p.get("MessageBody"), p.get("DelaySeconds")
        attributes = {
            name: _checked_attribute(name, value) for name, value in (p.get("MessageAttributes") or {}).items()
        }
        if not isinstance(body, str) or not body:
            raise AwsError("MissingParameter", "The request must contain the parameter MessageBody.")
        if re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", body):
            raise AwsError("InvalidMessageContents", "Invalid characters found in the message body.")
        if p.get("MessageGroupId") or p.get("MessageDeduplicationId"):
            raise AwsError("InvalidParameterValue", "The embedded lab has standard queues only.")
        _check_size(queue, body, attributes)
        if len(attributes) > 10:
            raise AwsError("InvalidParameterValue", "Number of message attributes exceeds the allowed maximum [10].")
        return body, attributes, delay

    def _send(self, call: Call, p: Parameters, caller: Principal) -> Result:
        queue = self._queue(call, p)
        body, attributes, delay = self._checked_body(queue, p)
        return _sent(self._put(queue, body, attributes, sender=caller.user_id, delay=delay))

    def _send_batch(self, call: Call, p: Parameters, caller: Principal) -> Result:
        def send(entry: Mapping[str, Any]) -> Result:
            return self._send(call, {**entry, "QueueUrl": p["QueueUrl"]}, caller)

        return _batch(p, send)

    async def _receive(self, call: Call, p: Parameters) -> Result:
        queue = self._queue(call, p)
        most = p.get("MaxNumberOfMessages", 1)
        if not 1 <= most <= MAX_BATCH:
            reason = "Reason: Must be between 1 and 10, if provided."
            message = f"Value {most} for parameter MaxNumberOfMessages is invalid. {reason}"
            raise AwsError("InvalidParameterValue", message)
        wait = p.get("WaitTimeSeconds")
        wait = queue.number("ReceiveMessageWaitTimeSeconds") if wait is None else wait
        if not 0 <= wait <= 20:
            reason = "Reason: Must be >= 0 and <= 20, if provided."
            raise AwsError("InvalidParameterValue", f"Value {wait} for parameter WaitTimeSeconds is invalid. {reason}")
        deadline = asyncio.get_running_loop().time() + wait
        while True:
            found = self._take(queue, most, p)
            left = deadline - asyncio.get_running_loop().time()
            if found or left <= 0 or queue.arn not in self._queues:
                break
            now = self._clock()
            due = [m.visible - now for m in queue.messages.values() if m.visible > now]
            async with queue.arrivals:
                try:
                    await asyncio.wait_for(queue.arrivals.wait(), max(0.0, min([left, *due])))
                except TimeoutError:
                    continue
        wanted = {*(p.get("AttributeNames") or ()), *(p.get("MessageSystemAttributeNames") or ())}
        shown = [_described(message, wanted, p.get("MessageAttributeNames") or ()) for message in found]
        return {"Messages": shown} if shown else {}

    def _take(self, queue: Queue, most: int, p: Parameters) -> list[Message]:
        now = self._clock()
        queue.expire(now)
        timeout = p.get("VisibilityTimeout")
        timeout = queue.number("VisibilityTimeout") if timeout is None else timeout
        taken: list[Message] = []
        for message in list(queue.messages.values()):
            if message.visible > now:
                continue
            redrive = queue.redrive
            if redrive is not None and message.received >= redrive[1] and redrive[0] in self._queues:
                del queue.messages[message.id]
                message.visible, message.received, message.source = now, 0, queue.arn
                self._queues[redrive[0]].messages[message.id] = message
                _wake_soon(self._queues[redrive[0]])
                continue
            message.received += 1
            message.first_received = message.first_received or now
            message.visible = now + timeout
            message.receipt = names.hex_id(64, "sqs receipt", message.id, message.received)
            taken.append(message)
            if len(taken) == most:
                break
        return taken

    def _message_of_receipt(self, queue: Queue, p: Mapping[str, Any]) -> Message | None:
        """The message with a receipt handle; None if it was deleted. Raises AwsError for an invalid handle."""
        handle = p.get("ReceiptHandle")
        if not handle or re.fullmatch("[0-9a-f]{64}", handle) is None:
            raise AwsError(
                "ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not a valid receipt handle.'
            )
        return next((message for message in queue.messages.values() if message.receipt == handle), None)

    def _delete_message(self, call: Call, p: Parameters, caller: Principal) -> Result:
        queue = self._queue(call, p)
        message = self._message_of_receipt(queue, p)
        if message is not None:
            del queue.messages[message.id]
        return {}

    def _delete_batch(self, call: Call, p: Parameters, caller: Principal) -> Result:
        return _batch(p, lambda entry: self._delete_message(call, {**entry, "QueueUrl": p["QueueUrl"]}, caller))

    def _change_visibility(self, call: Call, p: Parameters, caller: Principal) -> Result:
        queue = self._queue(call, p)
        message, timeout = self._message_of_receipt(queue, p), p["VisibilityTimeout"]
        if not 0 <= timeout <= 43_200:
            message_ = f"Value {timeout} for parameter VisibilityTimeout is invalid."
            raise AwsError("InvalidParameterValue", message_)
        if message is None or message.visible <= self._clock():
            raise AwsError("MessageNotInflight", "The message referred to is not in flight.")
        message.visible = self._clock() + timeout
        return {}

    def _change_visibility_batch(self, call: Call, p: Parameters, caller: Principal) -> Result:
        return _batch(p, lambda entry: self._change_visibility(call, {**entry, "QueueUrl": p["QueueUrl"]}, caller))

    def _purge(self, call: Call, p: Parameters, caller: Principal) -> Result:
        queue, now = self._queue(call, p), self._clock()
        if now - queue.purged < 60:
            message = f"Only one PurgeQueue operation on {queue.name} is allowed every 60 seconds."
            raise AwsError("PurgeQueueInProgress", message, 403)
        queue.purged = now
        queue.messages.clear()
        return {}

    def _list_sources(self, call: Call, p: Parameters, caller: Principal) -> Result:
        target = self._queue(call, p)
        sources = [q for q in self._queues.values() if q.redrive is not None and q.redrive[0] == target.arn]
        return {"queueUrls": sorted(self._url(call, queue) for queue in sources)}

    def _tag(self, call: Call, p: Parameters, caller: Principal) -> Result:
        self._queue(call, p).tags.update(p["Tags"])
        return {}

    def _untag(self, call: Call, p: Parameters, caller: Principal) -> Result:
        queue = self._queue(call, p)
        for key in p["TagKeys"]:
            queue.tags.pop(key, None)
        return {}

    def _list_tags(self, call: Call, p: Parameters, caller: Principal) -> Result:
        tags = self._queue(call, p).tags
        return {"Tags": dict(tags)} if tags else {}


def _wake_soon(queue: Queue) -> None:
    """Schedules `_wake` on the running loop; without a loop nothing waits."""
    with contextlib.suppress(RuntimeError):
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: loop.create_task(_wake(queue)))


async def _wake(queue: Queue) -> None:
    """Wakes the receivers that wait for a message."""
    async with queue.arrivals:
        queue.arrivals.notify_all()


def _check_required(operation: str, p: Parameters) -> None:
    """Raises AwsError if a required member is missing, in the call or in an entry of a batch."""
    shapes = service_model("sqs")["shapes"]
    shape = shapes[service_model("sqs")["operations"][operation]["input"]["shape"]]
    missing = [name for name in shape.get("required", ()) if p.get(name) is None]
    entries = p.get("Entries") or []
    if not missing and entries and "Entries" in shape["members"]:
        entry = shapes[shapes[shape["members"]["Entries"]["shape"]]["member"]["shape"]]
        missing = [name for given in entries for name in entry.get("required", ()) if given.get(name) is None]
    if missing:
        raise AwsError("MissingParameter", f"The request must contain the parameter {missing[0]}.")


def _no_queue() -> AwsError:
    return AwsError("QueueDoesNotExist", "The specified queue does not exist.")


def _check_policy(text: str) -> None:
    try:
        parse_document(text)
    except ValueError:
        raise AwsError("InvalidAttributeValue", "Invalid value for the parameter Policy.") from None


def _batch(p: Mapping[str, Any], do: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Calls `do` for each entry of a batch; an error fails only its entry."""
    entries = p.get("Entries") or []
    if not entries:
        raise AwsError("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(entries) > MAX_BATCH:
        raise AwsError(
            "TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are {MAX_BATCH}. You have sent {len(entries)}.",
        )
    ids = [entry["Id"] for entry in entries]
    if len(set(ids)) < len(ids):
        raise AwsError("BatchEntryIdsNotDistinct", f"Id {ids[0]} repeated.")
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for entry in entries:
        try:
            done.append({"Id": entry["Id"], **do(entry)})
        except AwsError as error:
            failed.append({"Id": entry["Id"], "Code": error.code, "Message": error.message, "SenderFault": True})
    result: dict[str, Any] = {"Successful": done}
    if failed:
        result["Failed"] = failed
    return result


def _sent(message: Message) -> dict[str, Any]:
    answer = {"MessageId": message.id, "MD5OfMessageBody": _md5(message.body.encode())}
    if message.attributes:
        answer["MD5OfMessageAttributes"] = _md5_of_attributes(message.attributes)
    return answer


def _described(message: Message, system: set[str], wanted: Any) -> dict[str, Any]:
    values = {
        "SenderId": message.sender,
        "SentTimestamp": str(int(message.sent * 1000)),
        "ApproximateReceiveCount": str(message.received),
        "ApproximateFirstReceiveTimestamp": str(int(message.first_received * 1000)),
    }
    if message.source:
        values["DeadLetterQueueSourceArn"] = message.source
    shown: dict[str, Any] = {
        "MessageId": message.id,
        "ReceiptHandle": message.receipt,
        "MD5OfBody": _md5(message.body.encode()),
        "Body": message.body,
    }
    chosen = {name: value for name, value in values.items() if "All" in system or name in system}
    if chosen:
        shown["Attributes"] = chosen
    prefixes = tuple(name.removesuffix(".*") for name in wanted if name.endswith(".*"))
    attributes = {
        name: value
        for name, value in sorted(message.attributes.items())
        if "All" in wanted or name in wanted or (prefixes and name.startswith(prefixes)) or ".*" in wanted
    }
    if attributes:
        shown["MessageAttributes"] = attributes
        shown["MD5OfMessageAttributes"] = _md5_of_attributes(attributes)
    return shown


def _check_size(queue: Queue, body: str, attributes: Mapping[str, Mapping[str, Any]]) -> None:
    size = len(body.encode()) + sum(
        len(name.encode()) + len(value["DataType"]) + len(_bytes(value)) for name, value in attributes.items()
    )
    most = queue.number("MaximumMessageSize")
    if size > most:
        reason = f"Reason: Message must be shorter than {most} bytes."
        raise AwsError("InvalidParameterValue", f"One or more parameters are invalid. {reason}")


def _checked_attribute(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """A message attribute to store, with binary values decoded. Raises AwsError if it is invalid."""
    kind = str(value.get("DataType") or "")
    basic = kind.partition(".")[0]
    if basic not in ("String", "Number", "Binary"):
        message = (
            f"The type of message (user) attribute '{name}' is invalid. You must use only the following supported "
        )
        raise AwsError("InvalidParameterValue", message + "type prefixes: Binary, Number, String.")
    member = "BinaryValue" if basic == "Binary" else "StringValue"
    if not value.get(member):
        message = f"The message (user) attribute '{name}' must contain a non-empty value of type '{kind}'."
        raise AwsError("InvalidParameterValue", message)
    if member == "StringValue":
        return {"DataType": kind, "StringValue": str(value["StringValue"])}
    try:
        return {"DataType": kind, "BinaryValue": base64.b64decode(value["BinaryValue"], validate=True)}
    except ValueError:
        raise AwsError("SerializationException", f"The value of attribute '{name}' is not base64.") from None


def _bytes(attribute: Mapping[str, Any]) -> bytes:
    """The bytes of an attribute's value, for its size and its digest."""
    value = attribute.get("BinaryValue")
    return value if isinstance(value, bytes) else str(attribute.get("StringValue", "")).encode()


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _md5_of_attributes(attributes: Mapping[str, Mapping[str, Any]]) -> str:
    """The digest by which SDKs check a response: of name, type and value of each attribute, in the order of names."""

    def part(data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + data

    packed = b""
    for name, attribute in sorted(attributes.items()):
        packed += part(name.encode()) + part(attribute["DataType"].encode())
        packed += (b"\x02" if "BinaryValue" in attribute else b"\x01") + part(_bytes(attribute))
    return _md5(packed)
