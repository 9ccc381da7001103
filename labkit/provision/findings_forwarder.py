"""Step `findings-forwarder`: a function that makes a Security Hub finding of each alert that comes to the log group.

What it consists of is `manifests/security-hub/*.json`, in the forms of the AWS calls that make it, with policies from
`manifests/iam/`; its code is the one file `labkit/respond/forwarder.py`. `manifests/security-hub/forwarder.yaml` is the
same as a CloudFormation template. To forward alerts from some priority on only, change the filter pattern in
`subscription-filter.json`, to that which the template's parameter `FilterPattern` shows.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shlex
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import resources
from typing import Any

from labkit.alerts.diagnose import Link
from labkit.aws import describe_log_group, translated_errors
from labkit.errors import StepError
from labkit.provision.alarms import Queue, queue_url
from labkit.provision.iam import Role, RolePolicy
from labkit.provision.logs import LogGroup
from labkit.provision.manifests import in_the_workshop
from labkit.provision.steps import TAG, Part, Step
from labkit.provision.templates import template
from labkit.target import Target
from labkit.waiting import poll

DEAD_LETTER_DAYS = 14
"""How long a dead letter is kept: the longest that SQS keeps anything."""
_PROPAGATION_SECONDS = 60.0  # that IAM takes at most to let every service know of a role or policy


def function_name(target: Target) -> str:
    """Name of the function, of its role and of the subscription filter that invokes it."""
    return f"{target.settings.prefix}-forwarder"


def dead_letter_queue(target: Target) -> str:
    """Name of the queue in which ends what can't become a finding."""
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


def _foreign(what: str) -> StepError:
    return StepError(
        f"There is {what} that the lab didn't make, and it isn't what the workshop needs.",
        hint="Choose another prefix for the workshop's names (LABKIT_PREFIX), or delete it if nothing uses it.",
    )


# What services say that haven't heard yet of a role, its policy or a permission that was made a moment ago.
_NOT_YET = (
    "cannot be assumed by Lambda",
    "execution role does not have permissions",
    "Could not execute the lambda function",
)


def _once_known(call: Callable[[], Any], label: str) -> Any:
    """Calls until the service has heard of what was made a moment ago.

    Raises botocore's ClientError if it says something else, or goes on to say it.
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
class Function:
    request: Mapping[str, Any] = field(hash=False)
    """As CreateFunction takes it, but for the code."""
    kind: str = "Lambda function"

    @property
    def name(self) -> str:
        return str(self.request["FunctionName"])

    def _get(self, target: Target) -> dict[str, Any] | None:
        client = target.aws.client("lambda")
        try:
            return dict(client.get_function(FunctionName=self.name))
        except client.exceptions.ResourceNotFoundException:
            return None

    def state(self, target: Target) -> str:
        found = self._get(target)
        return "" if found is None else str(found["Configuration"].get("State", "Active"))

    def ours(self, target: Target) -> bool:
        found = self._get(target)
        return found is not None and found.get("Tags", {}).get(TAG[0]) == TAG[1]

    def apply(self, target: Target, *, mine: bool) -> str:
        client, found, code = target.aws.client("lambda"), self._get(target), package()
        settings = {key: value for key, value in self.request.items() if key != "Architectures"}
        if found is None:
            create = partial(
                client.create_function, **self.request, Code={"ZipFile": code}, Tags=dict([TAG]), PackageType="Zip"
            )
            _once_known(create, f"role {self.name} to be known to Lambda")
            self._settle(target, "function_active_v2")
            return "created"
        there = found["Configuration"]
        new_code = there["CodeSha256"] != base64.b64encode(hashlib.sha256(code).digest()).decode()
        new_code |= there.get("Architectures") != self.request["Architectures"]
        new_settings = any(there.get(key) != value for key, value in settings.items())
        if not (new_code or new_settings):
            return "unchanged"
        if not mine:
            raise _foreign(f"a Lambda function {self.name}")
        if new_settings:
            update = partial(client.update_function_configuration, **settings)
            _once_known(update, f"role {self.name} to be known to Lambda")
            self._settle(target, "function_updated_v2")
        if new_code:
            architectures = self.request["Architectures"]
            client.update_function_code(FunctionName=self.name, ZipFile=code, Architectures=architectures)
            self._settle(target, "function_updated_v2")
        return "updated"

    def _settle(self, target: Target, waiter: str) -> None:
        from botocore.exceptions import WaiterError

        try:
            target.aws.client("lambda").get_waiter(waiter).wait(FunctionName=self.name)
        except WaiterError as error:
            there = (self._get(target) or {}).get("Configuration", {})
            reason = there.get("StateReason") or there.get("LastUpdateStatusReason") or error
            raise StepError(f"Function {self.name} did not become ready: {reason}", hint="Apply this again.") from error

    def delete(self, target: Target) -> bool:
        client = target.aws.client("lambda")
        try:
            client.delete_function(FunctionName=self.name)
        except client.exceptions.ResourceNotFoundException:
            return False
        return True


@dataclass(frozen=True)
class EventInvokeConfig:
    """How often and how long Lambda tries again what failed."""

    request: Mapping[str, Any] = field(hash=False)
    kind: str = "event invoke config"

    @property
    def name(self) -> str:
        return str(self.request["FunctionName"])

    def _get(self, target: Target) -> dict[str, Any] | None:
        client = target.aws.client("lambda")
        try:
            return dict(client.get_function_event_invoke_config(FunctionName=self.name))
        except client.exceptions.ResourceNotFoundException:
            return None

    def state(self, target: Target) -> str:
        found = self._get(target)
        return "" if found is None else f"{found.get('MaximumRetryAttempts', 2)} retries"

    def ours(self, target: Target) -> bool:
        return True  # it is a setting of the function

    def apply(self, target: Target, *, mine: bool) -> str:
        found = self._get(target)
        if found is not None and all(found.get(key) == self.request[key] for key in self.request.keys() - _NAME):
            return "unchanged"
        if not mine:
            raise _foreign(f"a setting of retries of function {self.name}")
        target.aws.client("lambda").put_function_event_invoke_config(**self.request)
        return "created" if found is None else "updated"

    def delete(self, target: Target) -> bool:
        if self._get(target) is None:
            return False
        target.aws.client("lambda").delete_function_event_invoke_config(FunctionName=self.name)
        return True


_NAME = {"FunctionName"}


@dataclass(frozen=True)
class Permission:
    """A statement of the function's policy: CloudWatch Logs may invoke it for one log group."""

    request: Mapping[str, Any] = field(hash=False)
    kind: str = "permission"

    @property
    def name(self) -> str:
        return str(self.request["StatementId"])

    @property
    def _function(self) -> str:
        return str(self.request["FunctionName"])

    def _get(self, target: Target) -> dict[str, Any] | None:
        client = target.aws.client("lambda")
        try:
            policy = json.loads(client.get_policy(FunctionName=self._function)["Policy"])
        except client.exceptions.ResourceNotFoundException:
            return None
        return next((dict(statement) for statement in policy["Statement"] if statement["Sid"] == self.name), None)

    def _holds(self, statement: Mapping[str, Any]) -> bool:
        conditions = statement.get("Condition", {})
        return bool(
            statement["Action"] == self.request["Action"]
            and statement["Principal"] == {"Service": self.request["Principal"]}
            and conditions.get("ArnLike") == {"AWS:SourceArn": self.request["SourceArn"]}
            and conditions.get("StringEquals") == {"AWS:SourceAccount": self.request["SourceAccount"]}
        )

    def state(self, target: Target) -> str:
        return "there" if self._get(target) else ""

    def fits(self, target: Target) -> bool:
        found = self._get(target)
        return found is not None and self._holds(found)

    def ours(self, target: Target) -> bool:
        return True  # it is a part of the function

    def apply(self, target: Target, *, mine: bool) -> str:
        client, found = target.aws.client("lambda"), self._get(target)
        if found is not None:
            if self._holds(found):
                return "unchanged"
            client.remove_permission(FunctionName=self._function, StatementId=self.name)
        client.add_permission(**self.request)
        return "created" if found is None else "updated"

    def delete(self, target: Target) -> bool:
        if self._get(target) is None:
            return False
        target.aws.client("lambda").remove_permission(FunctionName=self._function, StatementId=self.name)
        return True


@dataclass(frozen=True)
class SubscriptionFilter:
    request: Mapping[str, Any] = field(hash=False)
    kind: str = "subscription filter"

    @property
    def name(self) -> str:
        return str(self.request["filterName"])

    def _all(self, target: Target) -> list[dict[str, Any]]:
        logs = target.aws.client("logs")
        pages = logs.get_paginator("describe_subscription_filters").paginate(logGroupName=self.request["logGroupName"])
        try:
            return [dict(found) for page in pages for found in page["subscriptionFilters"]]
        except logs.exceptions.ResourceNotFoundException:
            return []  # no group, and so no filter

    def _get(self, target: Target) -> dict[str, Any] | None:
        return next((found for found in self._all(target) if found["filterName"] == self.name), None)

    def state(self, target: Target) -> str:
        return "there" if self._get(target) else ""

    def ours(self, target: Target) -> bool:
        return bool((self._get(target) or {}).get("destinationArn") == self.request["destinationArn"])

    def _holds(self, found: Mapping[str, Any]) -> bool:
        return all(found.get(key) == value for key, value in self.request.items())

    def fits(self, target: Target) -> bool:
        return self._holds(self._get(target) or {})

    def apply(self, target: Target, *, mine: bool) -> str:
        logs, found = target.aws.client("logs"), self._get(target)
        if found is not None and self._holds(found):
            return "unchanged"
        if not mine:
            raise _foreign(f"a subscription filter {self.name} of log group {self.request['logGroupName']}")
        try:
            put = partial(logs.put_subscription_filter, **self.request)
            _once_known(put, "CloudWatch Logs to be let in by the function")
        except logs.exceptions.LimitExceededException as error:
            others = ", ".join(other["filterName"] for other in self._all(target))
            raise StepError(
                f"Log group {self.request['logGroupName']} has as many subscription filters as it may have: {others}.",
                hint="Delete one that nothing needs (`aws logs delete-subscription-filter`), then apply this again.",
            ) from error
        return "created" if found is None else "updated"

    def delete(self, target: Target) -> bool:
        if self._get(target) is None:
            return False
        where = {"logGroupName": self.request["logGroupName"], "filterName": self.name}
        target.aws.client("logs").delete_subscription_filter(**where)
        return True


def _queue_attributes() -> dict[str, str]:
    return {"MessageRetentionPeriod": str(DEAD_LETTER_DAYS * 86_400)}


_DESCRIPTION = "Imports findings, sends dead letters and writes the log of the function that forwards Falco's alerts"
_POLICY_NAME = "forward-falco-alerts"


def _parts(target: Target) -> list[Part]:
    name = function_name(target)
    return [
        Queue(dead_letter_queue(target), _queue_attributes()),
        LogGroup(_log_group(target), target.settings.retention_days),
        Role(name, partial(_document, "iam/forwarder-trust"), _DESCRIPTION),
        RolePolicy(name, _POLICY_NAME, partial(_document, "iam/forwarder-permissions")),
        Function(_document("security-hub/function", target)),
        EventInvokeConfig(_document("security-hub/event-invoke-config", target)),
        Permission(_document("security-hub/permission", target)),
        SubscriptionFilter(_document("security-hub/subscription-filter", target)),
    ]


def broken_link(target: Target) -> Link:
    """What keeps alerts in the log group from becoming findings: parts that aren't as they should be, and what failed.

    The parts are looked at in the order in which an alert meets them; dead letters are read and stay where they are.
    """
    with translated_errors(target.aws.hint):
        faults = [fault for part in reversed(_parts(target)) if (fault := _fault(target, part))]
        failures = [failure for look in (_newest_letter, _newest_error) if (failure := look(target))]
    if faults:
        hint = 'lab.apply("findings-forwarder") puts that right; then trigger the alert again, or import its finding.'
    elif failures:
        hint = f"Correct what it names. `aws logs tail {_log_group(target)}` shows the rest of the function's log."
    else:
        failures = ["All of the forwarder is in place, and it reports no failure."]
        hint = "Is the alert in lab.alerts(), and is it newer than the subscription? Then wait again: it may be slow."
    return Link("forwarder", " ".join(faults + failures), hint)


def _fault(target: Target, part: Part) -> str:
    if not part.state(target):
        return f"There is no {part.kind} {part.name}."
    fits = getattr(part, "fits", None)
    return "" if fits is None or fits(target) else f"The {part.kind} {part.name} isn't as the step makes it."


def _newest_letter(target: Target) -> str:
    from labkit.respond.findings import newest_dead_letter

    url = queue_url(target, dead_letter_queue(target))
    found = newest_dead_letter(target.aws.client("sqs"), url) if url else None
    return f"Newest dead letter ({found[0]:{_MOMENT}}): {found[1]}" if found else ""


def _newest_error(target: Target) -> str:
    from labkit.alerts import events

    if describe_log_group(target.aws, _log_group(target)) is None:
        return ""
    found = events(target.aws.client("logs"), _log_group(target), "1h", filter_pattern=_ERRORS)
    newest = max(found, key=lambda event: event["timestamp"], default=None)
    if newest is None:
        return ""
    moment = datetime.fromtimestamp(newest["timestamp"] / 1000, UTC)
    return f"Newest error in the function's log ({moment:{_MOMENT}}): {newest['message'].splitlines()[0]}"


_MOMENT = "%Y-%m-%d %H:%M:%S UTC"
# What Lambda's Python runtime writes of an exception, and Lambda itself of a function that took too long or crashed.
_ERRORS = '?"[ERROR]" ?"Task timed out" ?"Runtime.ExitError"'


def _log_group(target: Target) -> str:
    return f"/aws/lambda/{function_name(target)}"


def _cli(target: Target) -> str:
    name, queue = function_name(target), dead_letter_queue(target)
    trust, permissions = (_quoted(f"iam/forwarder-{part}", target) for part in ("trust", "permissions"))
    group = _log_group(target)
    return in_the_workshop(
        f"aws sqs create-queue --queue-name {queue} --tags {TAG[0]}={TAG[1]} \\\n"
        f"    --attributes {shlex.quote(json.dumps(_queue_attributes()))}\n"
        f"aws logs create-log-group --log-group-name {group} --tags {TAG[0]}={TAG[1]}\n"
        f"aws logs put-retention-policy --log-group-name {group} --retention-in-days {target.settings.retention_days}\n"
        f"aws iam create-role --role-name {name} --tags Key={TAG[0]},Value={TAG[1]} \\\n"
        f"    --assume-role-policy-document {trust}\n"
        f"aws iam put-role-policy --role-name {name} --policy-name {_POLICY_NAME} \\\n"
        f"    --policy-document {permissions}\n"
        "python3 -m zipfile -c forwarder.zip labkit/respond/forwarder.py\n"
        f"aws lambda create-function --zip-file fileb://forwarder.zip --tags {TAG[0]}={TAG[1]} \\\n"
        f"    --cli-input-json {_quoted('security-hub/function', target)}\n"
        "rm forwarder.zip\n"
        f"aws lambda wait function-active-v2 --function-name {name}\n"
        "aws lambda put-function-event-invoke-config \\\n"
        f"    --cli-input-json {_quoted('security-hub/event-invoke-config', target)}\n"
        f"aws lambda add-permission --cli-input-json {_quoted('security-hub/permission', target)}\n"
        "aws logs put-subscription-filter \\\n"
        f"    --cli-input-json {_quoted('security-hub/subscription-filter', target)}"
    )


def _quoted(name: str, target: Target) -> str:
    return shlex.quote(json.dumps(_document(name, target)))


def _undo_cli(target: Target) -> str:
    name, group = function_name(target), target.settings.log_group
    return (
        f"aws logs delete-subscription-filter --log-group-name {group} --filter-name {name}\n"
        f"aws lambda delete-function --function-name {name}  # and its permission and settings\n"
        f"aws iam delete-role-policy --role-name {name} --policy-name {_POLICY_NAME}\n"
        f"aws iam delete-role --role-name {name}\n"
        f"aws logs delete-log-group --log-group-name {_log_group(target)}\n"
        f"aws sqs delete-queue --queue-url {dead_letter_queue_url(target)}"
    )


STEPS = [
    Step(
        "findings-forwarder",
        "A function that makes a finding of each alert",
        ("log-group", "security-hub"),
        _parts,
        _cli,
        _undo_cli,
    )
]
