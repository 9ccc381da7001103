"""Step `findings-forwarder`: a Lambda function that imports each alert of the log group into Security Hub.

The requests that create its parts are in `manifests/security-hub/*.json`, its policies in `manifests/iam/`; the code is
the file `labkit/respond/forwarder.py`. `manifests/security-hub/forwarder.yaml` is the same for CloudFormation.
To forward only alerts of some priorities, change the filter pattern in `subscription-filter.json`: the template's
parameter `FilterPattern` shows one.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any, ClassVar

from labkit.aws import answer_or_none
from labkit.errors import StepError
from labkit.provision.alarms import Queue
from labkit.provision.iam import Role, RolePolicy
from labkit.provision.logs import LogGroup
from labkit.provision.parts import TAGS, Part, RequestPart
from labkit.provision.shared import SharedPart, form_in_class
from labkit.provision.steps import Step
from labkit.provision.templates import template
from labkit.target import Target
from labkit.waiting import poll

DEAD_LETTER_DAYS = 14
"""How long a dead letter is kept: the longest that SQS keeps anything."""
_PROPAGATION_SECONDS = 60.0  # the longest that IAM takes to make a role or policy known to every service


def function_name(target: Target) -> str:
    """Name of the function, of its role and of the subscription filter that invokes it."""
    return f"{target.settings.prefix}-forwarder"


def dead_letter_queue(target: Target) -> str:
    """Name of the queue for alerts that can't become findings."""
    return f"{target.settings.prefix}-dead-letters"


def dead_letter_queue_url(target: Target) -> str:
    """The queue's URL, whether or not the queue is there."""
    partition, account = target.aws.identity.partition, target.aws.identity.account_id
    suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    return f"https://sqs.{target.settings.region}.{suffix}/{account}/{dead_letter_queue(target)}"


def package() -> bytes:
    """The deployment package: a ZIP file with forwarder.py, the same bytes whenever and wherever it is made."""
    code = resources.files("labkit").joinpath("respond", "forwarder.py").read_bytes()
    member = zipfile.ZipInfo("forwarder.py")  # at ZIP's first moment, 1980-01-01
    member.external_attr = 0o644 << 16  # readable for the user that Lambda runs it as
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(member, code)
    return data.getvalue()


def _document(name: str, target: Target) -> dict[str, Any]:
    document: dict[str, Any] = template(target, name, dead_letter_queue_url=dead_letter_queue_url(target))
    return document


# Errors of services that don't know yet of a role, policy or permission created a moment ago.
_NOT_YET = (
    "cannot be assumed by Lambda",
    "execution role does not have permissions",
    "Could not execute the lambda function",
)


def _once_known(call: Callable[[], Any], label: str) -> Any:
    """Repeats a call until the service knows of what was created a moment ago.

    Raises botocore's ClientError if it fails for another reason, or still fails in the end.
    """
    from botocore.exceptions import ClientError

    refused: list[ClientError] = []

    def attempt() -> Any:
        try:
            return call()
        except ClientError as error:
            if not any(complaint in str(error) for complaint in _NOT_YET):
                raise
            refused[:] = [error]
            return None

    answer = poll(attempt, label, _PROPAGATION_SECONDS)
    if answer is None:
        raise refused[0]
    return answer


@dataclass(frozen=True)
class Function(RequestPart):
    """`request` is as CreateFunction takes it, but for the code."""

    kind: str = "Lambda function"
    name_key: ClassVar[str] = "FunctionName"

    def find(self, target: Target) -> Any:
        return answer_or_none(target.aws.client("lambda").get_function, FunctionName=self.name)

    def describe(self, found: Any) -> str:
        return str(found["Configuration"].get("State", "Active"))

    def tags(self, target: Target, found: Any) -> Any:
        return found.get("Tags", {})

    def matches(self, target: Target, found: Any) -> bool:
        return self._has_code(found) and self._has_settings(found)

    def _has_code(self, found: Any) -> bool:
        there, digest = found["Configuration"], base64.b64encode(hashlib.sha256(package()).digest()).decode()
        return (there["CodeSha256"], there.get("Architectures")) == (digest, self.request["Architectures"])

    def _has_settings(self, found: Any) -> bool:
        return all(found["Configuration"].get(key) == value for key, value in self._settings.items())

    @property
    def _settings(self) -> dict[str, Any]:
        return {key: value for key, value in self.request.items() if key != "Architectures"}

    def create(self, target: Target) -> None:
        create = target.aws.client("lambda").create_function
        self._once_role_known(create, **self.request, Code={"ZipFile": package()}, Tags=TAGS, PackageType="Zip")
        self._settle(target, "function_active_v2")

    def update(self, target: Target, found: Any) -> None:
        client = target.aws.client("lambda")
        if not self._has_settings(found):
            self._once_role_known(client.update_function_configuration, **self._settings)
            self._settle(target, "function_updated_v2")
        if not self._has_code(found):
            architectures = self.request["Architectures"]
            client.update_function_code(FunctionName=self.name, ZipFile=package(), Architectures=architectures)
            self._settle(target, "function_updated_v2")

    def _once_role_known(self, call: Callable[..., Any], **request: Any) -> None:
        _once_known(partial(call, **request), f"role {self.name} to be known to Lambda")

    def _settle(self, target: Target, waiter: Any) -> None:
        from botocore.exceptions import WaiterError

        try:
            target.aws.client("lambda").get_waiter(waiter).wait(FunctionName=self.name)
        except WaiterError as error:
            there = (self.find(target) or {}).get("Configuration", {})
            reason = there.get("StateReason") or there.get("LastUpdateStatusReason") or error
            raise StepError(f"Function {self.name} did not become ready: {reason}", hint="Apply this again.") from error

    def delete(self, target: Target, found: Any) -> None:
        target.aws.client("lambda").delete_function(FunctionName=self.name)


@dataclass(frozen=True)
class EventInvokeConfig(RequestPart):
    """How often and how long Lambda retries what failed: a setting of the function."""

    kind: str = "event invoke config"
    name_key: ClassVar[str] = "FunctionName"

    def find(self, target: Target) -> Any:
        get = target.aws.client("lambda").get_function_event_invoke_config
        answer = answer_or_none(get, FunctionName=self.name)
        return answer and {**answer, "FunctionName": self.name}

    def describe(self, found: Any) -> str:
        return f"{found.get('MaximumRetryAttempts', 2)} retries"

    def create(self, target: Target) -> None:
        target.aws.client("lambda").put_function_event_invoke_config(**self.request)

    def delete(self, target: Target, found: Any) -> None:
        target.aws.client("lambda").delete_function_event_invoke_config(FunctionName=self.name)


@dataclass(frozen=True)
class Permission(RequestPart):
    """A statement of the function's policy: CloudWatch Logs may invoke it for one log group."""

    kind: str = "permission"
    name_key: ClassVar[str] = "StatementId"

    @property
    def _function(self) -> str:
        return str(self.request["FunctionName"])

    def find(self, target: Target) -> Any:
        answer = answer_or_none(target.aws.client("lambda").get_policy, FunctionName=self._function)
        statements = json.loads(answer["Policy"])["Statement"] if answer else []
        return next((statement for statement in statements if statement["Sid"] == self.name), None)

    def matches(self, target: Target, found: Any) -> bool:
        conditions = found.get("Condition", {})
        return bool(
            found["Action"] == self.request["Action"]
            and found["Principal"] == {"Service": self.request["Principal"]}
            and conditions.get("ArnLike") == {"AWS:SourceArn": self.request["SourceArn"]}
            and conditions.get("StringEquals") == {"AWS:SourceAccount": self.request["SourceAccount"]}
        )

    def create(self, target: Target) -> None:
        target.aws.client("lambda").add_permission(**self.request)

    def update(self, target: Target, found: Any) -> None:
        self.delete(target, found)
        self.create(target)

    def delete(self, target: Target, found: Any) -> None:
        target.aws.client("lambda").remove_permission(FunctionName=self._function, StatementId=self.name)


@dataclass(frozen=True)
class SubscriptionFilter(RequestPart):
    kind: str = "subscription filter"
    name_key: ClassVar[str] = "filterName"

    def _all(self, target: Target) -> list[Any]:
        pages = target.aws.client("logs").get_paginator("describe_subscription_filters")
        # None: no log group, and so no filters
        answer = answer_or_none(pages.paginate(logGroupName=self.request["logGroupName"]).build_full_result)
        return list(answer["subscriptionFilters"]) if answer else []

    def find(self, target: Target) -> Any:
        return next((found for found in self._all(target) if found["filterName"] == self.name), None)

    def is_owned(self, target: Target, found: Any) -> bool:
        return bool(found["destinationArn"] == self.request["destinationArn"])

    def create(self, target: Target) -> None:
        logs = target.aws.client("logs")
        try:
            put = partial(logs.put_subscription_filter, **self.request)
            _once_known(put, "CloudWatch Logs to be let in by the function")
        except logs.exceptions.LimitExceededException as error:
            others = ", ".join(other["filterName"] for other in self._all(target))
            raise StepError(
                f"Log group {self.request['logGroupName']} has as many subscription filters as it may have: {others}.",
                hint="Delete one that nothing needs (`aws logs delete-subscription-filter`), then apply this again.",
            ) from error

    def delete(self, target: Target, found: Any) -> None:
        target.aws.client("logs").delete_subscription_filter(
            logGroupName=self.request["logGroupName"], filterName=self.name
        )


_QUEUE_ATTRIBUTES = {"MessageRetentionPeriod": str(DEAD_LETTER_DAYS * 86_400)}
_DESCRIPTION = "Imports findings, sends dead letters and writes the log of the function that forwards Falco's alerts"
_POLICY_NAME = "forward-falco-alerts"


def parts(target: Target) -> list[Part]:
    name = function_name(target)
    if target.settings.attendee:
        # One for all of a class: a log group has two subscriptions, and a role is the account's.
        shared = SharedPart("subscription", f"{target.settings.class_prefix}-forwarder", _shared, "--findings")
        return [shared, Queue(dead_letter_queue(target), _QUEUE_ATTRIBUTES)]
    return [
        Queue(dead_letter_queue(target), _QUEUE_ATTRIBUTES),
        LogGroup(function_log_group(target), target.settings.retention_days),
        Role(name, partial(_document, "iam/forwarder-trust"), _DESCRIPTION),
        RolePolicy(name, _POLICY_NAME, partial(_document, "iam/forwarder-permissions")),
        Function(_document("security-hub/function", target)),
        EventInvokeConfig(_document("security-hub/event-invoke-config", target)),
        Permission(_document("security-hub/permission", target)),
        SubscriptionFilter(_document("security-hub/subscription-filter", target)),
    ]


def _shared(target: Target) -> str:
    logs, settings = target.aws.client("logs"), target.settings
    answer = answer_or_none(logs.describe_subscription_filters, logGroupName=settings.log_group)
    names = [found["filterName"] for found in answer["subscriptionFilters"]] if answer else []
    return "there" if f"{settings.class_prefix}-forwarder" in names else ""


def function_log_group(target: Target) -> str:
    """Name of the function's log group."""
    return f"/aws/lambda/{function_name(target)}"


def _values(target: Target) -> dict[str, Any]:
    return {"queue_attributes": _QUEUE_ATTRIBUTES, "dead_letter_queue_url": dead_letter_queue_url(target)}


STEPS = [
    Step(
        "findings-forwarder",
        "A function that makes a finding of each alert",
        ("log-group", "security-hub"),
        parts,
        _values,
        form=form_in_class,
        allowed=(
            *("Forwarder", "ForwarderRunsWithItsRole", "RoleOfTheForwarder", "LogGroupOfTheForwarder"),
            *("LogGroupsByName", "QueueOfDeadLetters", "SubscriptionOfTheForwarder"),
        ),
    )
]
