"""SNS: standard topics with subscriptions of SQS queues and e-mail addresses."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ekslab import names
from ekslab.aws import wire
from ekslab.aws.iam_authorization import parse_document, trusts_service
from ekslab.aws.protocols import AwsError, Call, unsupported
from ekslab.aws.validation import validate

if TYPE_CHECKING:
    from ekslab.aws.iam_authorization import Principal
    from ekslab.aws.sqs import Sqs
    from ekslab.aws.wire import Parameters, Result

MAX_MESSAGE = 262_144  # bytes, attributes included
_MAX_TAGS = 50
_PAGE = 100
_PROTOCOLS = ("application", "email", "email-json", "firehose", "http", "https", "lambda", "sms", "sqs")
_SETTABLE = ("DisplayName", "Policy", "SignatureVersion")
_UNSUPPORTED_OF_TOPICS = re.compile(
    "DeliveryPolicy|KmsMasterKeyId|TracingConfig|FifoTopic|ContentBasedDeduplication|ArchivePolicy|DataProtectionPolicy"
    "|FifoThroughputScope|(HTTP|Application|Lambda|SQS|Firehose)(Success|Failure)Feedback(RoleArn|SampleRate)"
)
_UNSUPPORTED_OF_SUBSCRIPTIONS = ("DeliveryPolicy", "FilterPolicy", "FilterPolicyScope", "ReplayPolicy",
                                 "SubscriptionRoleArn")  # fmt: skip
_OWNERS_ACTIONS = ("GetTopicAttributes", "SetTopicAttributes", "AddPermission", "RemovePermission", "DeleteTopic",
                   "Subscribe", "ListSubscriptionsByTopic", "Publish")  # fmt: skip
_DELIVERY = {
    "http": {
        "defaultHealthyRetryPolicy": {
            "minDelayTarget": 20,
            "maxDelayTarget": 20,
            "numRetries": 3,
            "numMaxDelayRetries": 0,
            "numNoDelayRetries": 0,
            "numMinDelayRetries": 0,
            "backoffFunction": "linear",
        },
        "disableSubscriptionOverrides": False,
        "defaultRequestPolicy": {"headerContentType": "text/plain; charset=UTF-8"},
    }
}
# Only Amazon can sign notifications. The placeholder says so when it is decoded.
_NO_SIGNATURE = base64.b64encode(b"The embedded lab doesn't sign notifications.").decode()


@dataclass(eq=False)
class Subscription:
    arn: str
    topic: str
    protocol: str
    endpoint: str
    principal: str
    confirmed: bool
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def raw(self) -> bool:
        return self.attributes.get("RawMessageDelivery") == "true"

    @property
    def dead_letter_queue(self) -> str | None:
        text = self.attributes.get("RedrivePolicy")
        return str(json.loads(text)["deadLetterTargetArn"]) if text else None

    def described(self, owner: str) -> dict[str, str]:
        """The subscription in the responses of list operations."""
        return {
            "SubscriptionArn": self.arn if self.confirmed else "PendingConfirmation",
            "Owner": owner,
            "Protocol": self.protocol,
            "Endpoint": self.endpoint,
            "TopicArn": self.topic,
        }


@dataclass(eq=False)
class Topic:
    name: str
    arn: str
    attributes: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    unsubscribed: int = 0
    # Numbers of subscriptions and messages so far, from which ids are made.
    made: int = 0
    published: int = 0


class Sns:
    """The service. It delivers to SQS queues. E-mail subscriptions stay pending: the lab sends no mail."""

    def __init__(self, *, account_id: str, clock: Callable[[], float], sqs: Sqs) -> None:
        self.account_id = account_id
        self._clock = clock
        self._sqs = sqs
        self._topics: dict[str, Topic] = {}  # by ARN
        self._operations: dict[str, Callable[[Call, Parameters, Principal], Result]] = {
            "CreateTopic": self._create,
            "DeleteTopic": self._delete,
            "ListTopics": self._list,
            "GetTopicAttributes": self._get_attributes,
            "SetTopicAttributes": self._set_attributes,
            "Subscribe": self._subscribe,
            "ConfirmSubscription": self._confirm,
            "Unsubscribe": self._unsubscribe,
            "ListSubscriptions": self._list_subscriptions,
            "ListSubscriptionsByTopic": self._list_by_topic,
            "GetSubscriptionAttributes": self._get_subscription,
            "SetSubscriptionAttributes": self._set_subscription,
            "Publish": self._publish,
            "PublishBatch": self._publish_batch,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTagsForResource": self._list_tags,
        }

    # -- for other services

    def publish_as(self, principal: str, source_arn: str, topic_arn: str, subject: str, message: str) -> str:
        """Publishes for a service (`cloudwatch.amazonaws.com`) on behalf of `source_arn`; returns the message id.

        Raises AwsError if there is no such topic, or if its policy doesn't allow it.
        """
        topic = self._topic(topic_arn)
        context = {
            "aws:SourceArn": source_arn,
            "aws:SourceAccount": self.account_id,
            "aws:SourceOwner": self.account_id,
        }
        if not trusts_service(parse_document(self._policy(topic)), "sns:Publish", principal, topic.arn, context):
            refusal = (
                f"Resource: {source_arn} is not authorized to perform: SNS:Publish on resource: {topic.arn} because no "
                "resource-based policy allows the SNS:Publish action"
            )
            raise AwsError("AuthorizationError", refusal, 403)
        return self._deliver(topic, _checked_message({"Message": message, "Subject": subject}))

    # -- the service

    def resources(self, call: Call, p: Parameters) -> list[str]:
        """The ARN of the topic; `*` for actions on subscriptions."""
        if call.operation == "CreateTopic":
            return [self._arn(call, str(p.get("Name", "")))]
        for name in ("TopicArn", "TargetArn", "ResourceArn"):
            if p.get(name):
                return [str(p[name])]
        return ["*"]

    async def handle(self, call: Call, p: Parameters, caller: Principal) -> Result:
        """The operation's result. Raises AwsError, named as the service does."""
        operation = self._operations.get(call.operation)
        if operation is None:
            raise unsupported(call)
        try:
            validate("sns", call.operation, p)
        except AwsError as error:
            raise AwsError("ValidationError", error.message) from error
        return operation(call, p, caller)

    def _arn(self, call: Call, name: str) -> str:
        return f"arn:aws:sns:{call.region}:{self.account_id}:{name}"

    def _topic(self, arn: Any, parameter: str = "TopicArn") -> Topic:
        parts = str(arn or "").split(":")
        if len(parts) < 6:
            reason = f"An ARN must have at least 6 elements, not {len(parts)}"
            raise _invalid(f"{parameter} Reason: {reason}")
        topic = self._topics.get(str(arn))
        if topic is None:
            raise AwsError("NotFound", "Topic does not exist", 404)
        return topic

    # -- topics

    def _create(self, call: Call, p: Parameters, caller: Principal) -> Result:
        name, attributes = str(p.get("Name", "")), dict(p.get("Attributes") or {})
        if name.endswith(".fifo") or attributes.get("FifoTopic") == "true":
            raise _invalid("Topic Name Reason: The embedded lab has standard topics only, no FIFO topics.")
        if re.fullmatch(r"[\w-]{1,256}", name, re.ASCII) is None:
            raise _invalid("Topic Name")
        if p.get("DataProtectionPolicy"):
            raise _invalid("DataProtectionPolicy is not supported by the embedded lab.")
        tags = _tags(p.get("Tags"))
        for attribute, value in attributes.items():
            _check_topic_attribute(attribute, value, f"Attributes Reason: {attribute}")
        arn = self._arn(call, name)
        topic = self._topics.get(arn)
        if topic is None:
            self._topics[arn] = Topic(name, arn, attributes, tags)
            return {"TopicArn": arn}
        if any(topic.attributes.get(attribute, "") != value for attribute, value in attributes.items()):
            raise _invalid("Attributes Reason: Topic already exists with different attributes")
        if any(topic.tags.get(key) != value for key, value in tags.items()):
            raise _invalid("Tags Reason: Topic already exists with different tags")
        return {"TopicArn": arn}

    def _delete(self, call: Call, p: Parameters, caller: Principal) -> Result:
        self._topics.pop(str(p.get("TopicArn", "")), None)
        return {}

    def _list(self, call: Call, p: Parameters, caller: Principal) -> Result:
        prefix = self._arn(call, "")
        page, following = _page([arn for arn in sorted(self._topics) if arn.startswith(prefix)], p)
        return {"Topics": [{"TopicArn": arn} for arn in page], **following}

    def _policy(self, topic: Topic) -> str:
        """The topic's policy. The default policy allows everything to principals of the account."""
        statement = {
            "Sid": "__default_statement_ID",
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": [f"SNS:{action}" for action in _OWNERS_ACTIONS],
            "Resource": topic.arn,
            "Condition": {"StringEquals": {"AWS:SourceOwner": self.account_id}},
        }
        default = {"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]}
        return topic.attributes.get("Policy") or json.dumps(default, separators=(",", ":"))

    def _get_attributes(self, call: Call, p: Parameters, caller: Principal) -> Result:
        topic = self._topic(p.get("TopicArn"))
        subscriptions = topic.subscriptions.values()
        attributes = {
            "DisplayName": "",
            **topic.attributes,
            "TopicArn": topic.arn,
            "Owner": self.account_id,
            "Policy": self._policy(topic),
            "EffectiveDeliveryPolicy": json.dumps(_DELIVERY, separators=(",", ":")),
            "SubscriptionsConfirmed": str(sum(subscription.confirmed for subscription in subscriptions)),
            "SubscriptionsPending": str(sum(not subscription.confirmed for subscription in subscriptions)),
            "SubscriptionsDeleted": str(topic.unsubscribed),
        }
        return {"Attributes": attributes}

    def _set_attributes(self, call: Call, p: Parameters, caller: Principal) -> Result:
        topic = self._topic(p.get("TopicArn"))
        name, value = str(p.get("AttributeName", "")), str(p.get("AttributeValue") or "")
        _check_topic_attribute(name, value, name if name in _SETTABLE else "AttributeName")
        topic.attributes[name] = value
        return {}

    # -- subscriptions

    def _subscribe(self, call: Call, p: Parameters, caller: Principal) -> Result:
        topic = self._topic(p.get("TopicArn"))
        protocol, endpoint = str(p.get("Protocol", "")), str(p.get("Endpoint") or "")
        attributes = dict(p.get("Attributes") or {})
        self._check_endpoint(protocol, endpoint)
        for name, value in attributes.items():
            self._check_subscription_attribute(name, value, "Attributes Reason: ")
        for subscription in topic.subscriptions.values():
            if (subscription.protocol, subscription.endpoint) == (protocol, endpoint):
                if attributes and attributes != subscription.attributes:
                    raise _invalid("Attributes Reason: Subscription already exists with different attributes")
                break
        else:
            topic.made += 1
            arn = f"{topic.arn}:{names.uid('sns subscription', topic.arn, topic.made)}"
            subscription = Subscription(arn, topic.arn, protocol, endpoint, caller.arn, protocol == "sqs", attributes)
            topic.subscriptions[arn] = subscription
        shown = subscription.confirmed or p.get("ReturnSubscriptionArn")
        return {"SubscriptionArn": subscription.arn if shown else "pending confirmation"}

    def _check_endpoint(self, protocol: str, endpoint: str) -> None:
        if protocol not in _PROTOCOLS:
            raise _invalid(f"Amazon SNS does not support this protocol string: {protocol}")
        match protocol:
            case "sqs":
                if re.fullmatch(r"arn:aws:sqs:[\w-]+:\d{12}:[\w.-]+", endpoint) is None:
                    raise _invalid("SQS endpoint ARN")
                if endpoint.split(":")[4] != self.account_id:
                    raise _invalid("Endpoint Reason: The embedded lab has one account, and this queue is of another.")
            case "email" | "email-json":
                if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", endpoint) is None:
                    raise _invalid("Email address")
            case _:
                raise _invalid(f"Protocol Reason: The embedded lab can't deliver to {protocol}; it delivers to sqs.")

    def _check_subscription_attribute(self, name: str, value: str, where: str) -> None:
        if name == "RawMessageDelivery":
            if value not in ("true", "false"):
                raise _invalid(f"{where}RawMessageDelivery: Invalid value [{value}]. Must be true or false.")
        elif name == "RedrivePolicy":
            if not value:
                return
            try:
                target = json.loads(value)["deadLetterTargetArn"]
            except (ValueError, KeyError, TypeError):
                raise _invalid(f"{where}RedrivePolicy: failed to parse JSON.") from None
            if re.fullmatch(r"arn:aws:sqs:[\w-]+:\d{12}:[\w-]+", str(target)) is None:
                raise _invalid(f"{where}RedrivePolicy: deadLetterTargetArn is an invalid arn")
        elif name in _UNSUPPORTED_OF_SUBSCRIPTIONS:
            if value not in ("", "{}"):
                raise _invalid(f"{where}{name} is not supported by the embedded lab.")
        else:
            raise _invalid(f"{where}AttributeName")

    def _subscription(self, arn: Any) -> Subscription:
        topic = self._topics.get(str(arn).rpartition(":")[0])
        subscription = topic.subscriptions.get(str(arn)) if topic else None
        if subscription is None:
            raise AwsError("NotFound", "Subscription does not exist", 404)
        return subscription

    def _confirm(self, call: Call, p: Parameters, caller: Principal) -> Result:
        self._topic(p.get("TopicArn"))
        raise AwsError("InvalidParameter", "Invalid token")  # the lab has sent none

    def _unsubscribe(self, call: Call, p: Parameters, caller: Principal) -> Result:
        arn = str(p.get("SubscriptionArn", ""))
        if len(arn.split(":")) < 6:
            raise _invalid(f"SubscriptionArn Reason: An ARN must have at least 6 elements, not {len(arn.split(':'))}")
        topic = self._topics.get(arn.rpartition(":")[0])
        if topic is not None and topic.subscriptions.pop(arn, None) is not None:
            topic.unsubscribed += 1
        return {}

    def _list_subscriptions(self, call: Call, p: Parameters, caller: Principal) -> Result:
        topics = [topic for arn, topic in sorted(self._topics.items()) if arn.startswith(self._arn(call, ""))]
        return self._described_page([s for topic in topics for s in topic.subscriptions.values()], p)

    def _list_by_topic(self, call: Call, p: Parameters, caller: Principal) -> Result:
        return self._described_page(list(self._topic(p.get("TopicArn")).subscriptions.values()), p)

    def _described_page(self, subscriptions: Sequence[Subscription], p: Parameters) -> Result:
        page, following = _page(subscriptions, p)
        return {"Subscriptions": [subscription.described(self.account_id) for subscription in page], **following}

    def _get_subscription(self, call: Call, p: Parameters, caller: Principal) -> Result:
        subscription = self._subscription(p.get("SubscriptionArn"))
        attributes = {
            "RawMessageDelivery": "false",
            **{name: value for name, value in subscription.attributes.items() if value not in ("", "{}")},
            "SubscriptionArn": subscription.arn,
            "TopicArn": subscription.topic,
            "Protocol": subscription.protocol,
            "Endpoint": subscription.endpoint,
            "Owner": self.account_id,
            "SubscriptionPrincipal": subscription.principal,
            "PendingConfirmation": str(not subscription.confirmed).lower(),
            "ConfirmationWasAuthenticated": str(subscription.confirmed).lower(),
        }
        return {"Attributes": attributes}

    def _set_subscription(self, call: Call, p: Parameters, caller: Principal) -> Result:
        subscription = self._subscription(p.get("SubscriptionArn"))
        name, value = str(p.get("AttributeName", "")), str(p.get("AttributeValue") or "")
        self._check_subscription_attribute(name, value, "")
        subscription.attributes[name] = value
        return {}

    # -- publishing

    def _publish(self, call: Call, p: Parameters, caller: Principal) -> Result:
        if p.get("PhoneNumber"):
            raise _invalid("PhoneNumber Reason: The embedded lab sends no text messages.")
        if p.get("TargetArn") and p.get("TopicArn"):
            raise _invalid("TargetArn Reason: Both TargetArn and TopicArn were specified; only one is allowed.")
        if not p.get("TargetArn") and not p.get("TopicArn"):
            raise _invalid("TopicArn or TargetArn Reason: no value for required parameter")
        topic = self._topic(p.get("TopicArn") or p["TargetArn"], "TopicArn" if p.get("TopicArn") else "TargetArn")
        return {"MessageId": self._deliver(topic, _checked_message(p))}

    def _publish_batch(self, call: Call, p: Parameters, caller: Principal) -> Result:
        topic = self._topic(p.get("TopicArn"))
        entries = p.get("PublishBatchRequestEntries") or []
        if not entries:
            raise AwsError("EmptyBatchRequest", "The batch request doesn't contain any entries.")
        if len(entries) > 10:
            raise AwsError("TooManyEntriesInBatchRequest", "The batch request contains more entries than permissible.")
        if len({entry["Id"] for entry in entries}) < len(entries):
            raise AwsError("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")
        done, failed = [], []
        for entry in entries:
            try:
                done.append({"Id": entry["Id"], "MessageId": self._deliver(topic, _checked_message(entry))})
            except AwsError as error:
                failed.append({"Id": entry["Id"], "Code": error.code, "Message": error.message, "SenderFault": True})
        return {"Successful": done, "Failed": failed}

    def _deliver(self, topic: Topic, message: Mapping[str, Any]) -> str:
        """Sends a message to all confirmed subscriptions. Refused by a queue, it is a dead letter or lost."""
        topic.published += 1
        id_ = names.uid("sns message", topic.arn, topic.published)
        for subscription in topic.subscriptions.values():
            if not subscription.confirmed:
                continue
            body, attributes = self._notification(topic, subscription, id_, message)
            for queue in (subscription.endpoint, subscription.dead_letter_queue):
                if queue is None:
                    continue
                try:
                    self._sqs.send_as("sns.amazonaws.com", topic.arn, queue, body, attributes)
                except AwsError:
                    continue
                break
        return id_

    def _notification(
        self, topic: Topic, subscription: Subscription, id_: str, message: Mapping[str, Any]
    ) -> tuple[str, dict[str, dict[str, Any]]]:
        """The body and the attributes of the SQS message."""
        text = message["texts"].get(subscription.protocol, message["texts"]["default"])
        attributes = message["attributes"]
        if subscription.raw:
            return text, attributes
        region = topic.arn.split(":")[3]
        now = self._clock()
        host = f"https://sns.{region}.amazonaws.com"
        envelope = {
            "Type": "Notification",
            "MessageId": id_,
            "TopicArn": topic.arn,
            **({"Subject": message["subject"]} if message["subject"] is not None else {}),
            "Message": text,
            "Timestamp": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z",
            "SignatureVersion": topic.attributes.get("SignatureVersion") or "1",
            "Signature": _NO_SIGNATURE,
            "SigningCertURL": f"{host}/SimpleNotificationService-none.pem",
            "UnsubscribeURL": f"{host}/?Action=Unsubscribe&SubscriptionArn={subscription.arn}",
        }
        if attributes:
            envelope["MessageAttributes"] = {
                name: {"Type": value["DataType"], "Value": _attribute_text(value)} for name, value in attributes.items()
            }
        return json.dumps(envelope, indent=2, separators=(",", " : "), ensure_ascii=False), {}

    # -- tags

    def _tagged(self, p: Parameters) -> Topic:
        topic = self._topics.get(str(p.get("ResourceArn", "")))
        if topic is None:
            raise AwsError("ResourceNotFound", "Resource does not exist", 404)
        return topic

    def _tag(self, call: Call, p: Parameters, caller: Principal) -> Result:
        topic, tags = self._tagged(p), _tags(p.get("Tags"))
        if len(topic.tags | tags) > _MAX_TAGS:
            raise AwsError("TagLimitExceeded", "Could not complete request: tag quota of per resource exceeded")
        topic.tags.update(tags)
        return {}

    def _untag(self, call: Call, p: Parameters, caller: Principal) -> Result:
        topic = self._tagged(p)
        for key in p.get("TagKeys") or ():
            topic.tags.pop(key, None)
        return {}

    def _list_tags(self, call: Call, p: Parameters, caller: Principal) -> Result:
        return {"Tags": [{"Key": key, "Value": value} for key, value in self._tagged(p).tags.items()]}


def _check_topic_attribute(name: str, value: str, where: str) -> None:
    match name:
        case "Policy" if value:
            try:
                document = parse_document(value)
            except ValueError:
                raise _invalid("Policy Reason: Policy is not valid JSON") from None
            if not document.get("Statement"):
                raise _invalid("Policy Reason: Policy statement must not be empty")
        case "DisplayName" if len(value) > 100:
            raise _invalid("DisplayName Reason: must not be longer than 100 characters")
        case "SignatureVersion" if value not in ("1", "2"):
            raise _invalid("SignatureVersion Reason: must be 1 or 2")
        case "Policy" | "DisplayName" | "SignatureVersion":
            return
        case "FifoTopic" if value == "false":
            raise _invalid(f"{where} Reason: FifoTopic can only be true")
        case _ if _UNSUPPORTED_OF_TOPICS.fullmatch(name):
            raise _invalid(f"{where} Reason: {name} is not supported by the embedded lab.")
        case _:
            raise _invalid(where)


def _tags(given: Sequence[Mapping[str, str]] | None) -> dict[str, str]:
    tags = {tag["Key"]: tag.get("Value", "") for tag in given or ()}
    if len(tags) < len(given or ()):
        raise _invalid("Duplicated keys are not allowed.")
    if len(tags) > _MAX_TAGS:
        raise AwsError("TagLimitExceeded", "Could not complete request: tag quota of per resource exceeded")
    return tags


def _checked_message(p: Mapping[str, Any]) -> dict[str, Any]:
    """The texts by protocol, the subject and the attributes of a message. Raises AwsError if it is invalid."""
    text, subject = p.get("Message"), p.get("Subject")
    if not text:
        raise _invalid("Empty message")
    if subject is not None and (not 1 <= len(subject) <= 100 or re.search(r"[\x00-\x1f\x7f]|^\s", subject)):
        raise _invalid("Subject")
    if p.get("MessageGroupId") or p.get("MessageDeduplicationId"):
        raise _invalid("MessageGroupId Reason: The embedded lab has standard topics only.")
    attributes = {name: _checked_attribute(name, value) for name, value in (p.get("MessageAttributes") or {}).items()}
    size = len(text.encode()) + sum(
        len(name.encode()) + len(value["DataType"]) + len(_attribute_text(value).encode())
        for name, value in attributes.items()
    )
    if size > MAX_MESSAGE:
        raise _invalid("Message too long")
    texts = {"default": text}
    match p.get("MessageStructure"):
        case "json":
            try:
                texts = json.loads(text)
            except ValueError:
                raise _invalid("Message Structure - JSON message body failed to parse") from None
            if not isinstance(texts, dict) or not isinstance(texts.get("default"), str):
                raise _invalid("Message Structure - No default entry in JSON message body")
            texts = {name: value for name, value in texts.items() if isinstance(value, str)}
        case None | "":
            pass
        case other:
            raise _invalid(f"MessageStructure Reason: {other} is not json")
    return {"texts": texts, "subject": subject, "attributes": attributes}


def _checked_attribute(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(value.get("DataType", ""))
    basic = kind.partition(".")[0]
    if basic not in ("String", "Number", "Binary"):
        message = f"The message attribute '{name}' has an invalid message attribute type, the set of supported type "
        raise AwsError("ParameterValueInvalid", message + "prefixes is Binary, Number, and String.")
    member = "BinaryValue" if basic == "Binary" else "StringValue"
    if not value.get(member):
        message = f"The message attribute '{name}' must contain non-empty message attribute value for message attribute"
        raise AwsError("ParameterValueInvalid", f"{message} type '{kind}'.")
    if re.fullmatch(r"(?!aws\.|amazon\.|\.)[\w.-]{1,256}(?<!\.)", name, re.ASCII | re.IGNORECASE) is None:
        raise AwsError("ParameterValueInvalid", f"The message attribute name '{name}' is invalid.")
    if basic == "Number":
        try:
            float(value["StringValue"])
        except ValueError:
            message = f"Could not cast message attribute '{name}' value to number."
            raise AwsError("ParameterValueInvalid", message) from None
    return {"DataType": kind, member: value[member]}


def _attribute_text(value: Mapping[str, Any]) -> str:
    if "BinaryValue" in value:
        data = value["BinaryValue"]
        return base64.b64encode(data).decode() if isinstance(data, bytes) else str(data)
    return str(value["StringValue"])


def _page(found: Sequence[Any], p: Parameters) -> tuple[Sequence[Any], dict[str, str]]:
    try:
        return wire.page(found, p.get("NextToken"), _PAGE)
    except ValueError:
        raise _invalid("NextToken") from None


def _invalid(what: str) -> AwsError:
    return AwsError("InvalidParameter", f"Invalid parameter: {what}")
