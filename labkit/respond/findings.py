"""Security Hub findings of alerts: makes, imports, reads, resolves and archives them.

The mapping from an alert to a finding is in `labkit.respond.forwarder`, which also runs as a Lambda function: an alert
has the same finding, from any importer.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.alerts.frame import ALERT, DELIVERY
from labkit.alerts.times import column
from labkit.aws import refusal, translated_errors
from labkit.calls import SecurityHubClient, SqsClient, checked, short_repr
from labkit.errors import AlertTimeoutError, LabError, TargetError
from labkit.respond import forwarder
from labkit.respond.forwarder import Alert, Failure, Finding
from labkit.respond.queues import receive_all
from labkit.show import AsTable, Table, counted
from labkit.waiting import poll

if TYPE_CHECKING:
    from mypy_boto3_securityhub.literals import WorkflowStatusType
    from mypy_boto3_securityhub.type_defs import AwsSecurityFindingIdentifierTypeDef

    from labkit.alerts.diagnose import Link
    from labkit.target import Target

SEVERITY = pd.CategoricalDtype(["INFORMATIONAL", "LOW", "MEDIUM", "HIGH", "CRITICAL"], ordered=True)
"""Security Hub's severities, least severe first."""
MAX_NAMED = 20  # values of one attribute in a GetFindings call
MAX_BATCH = 100  # findings in a BatchUpdateFindings call

# Attributes that Security Hub adds or that only investigators change: a provider doesn't send them again.
_NOT_THE_PROVIDERS = (
    *("Region", "Severity", "Types", "Confidence", "Criticality", "RelatedFindings", "ProcessedAt", "AwsAccountName"),
    *("Workflow", "WorkflowState", "Note", "UserDefinedFields", "VerificationState"),
)

# Making findings


@checked
def origin(target: Target) -> dict[str, str]:
    """Account, region, partition and cluster of a lab's alerts: arguments of `to_findings`, `to_asff` and `to_ocsf`.

    `target` is `lab.target`.
    """
    identity = target.aws.identity
    return {
        "account_id": identity.account_id,
        "region": target.settings.region,
        "partition": identity.partition,
        "cluster": target.settings.cluster,
    }


@checked
def to_alerts(df: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame of `labkit.alerts.read` as alerts in Falco's JSON form.

    Fields without a value are left out. A field whose values are lists is text in a frame, and stays text.
    """
    alerts = []
    for row in df.to_dict("records"):
        fields = {
            str(name): value
            for name, value in row.items()
            if name not in DELIVERY and (isinstance(value, tuple | list) or not pd.isna(value))
        }
        alert = {name: fields.pop(name) for name in ALERT if name in fields}
        if "time" in alert:
            utc = alert["time"].tz_convert("UTC").tz_localize(None)
            alert["time"] = f"{utc.isoformat(timespec='nanoseconds')}Z"
        if "tags" in alert:
            alert["tags"] = list(alert["tags"])
        alert["output_fields"] = {name.removeprefix("output_fields."): value for name, value in fields.items()}
        alerts.append(alert)
    return alerts


@dataclass(frozen=True)
class Refused:
    """An alert that has no finding."""

    number: int
    """Its number among the alerts, from 0."""
    reason: str


class Findings(list[Finding]):
    """Findings, and in `refused` the alerts that have none."""

    refused: tuple[Refused, ...] = ()


@checked
def to_findings(
    alerts: pd.DataFrame | Iterable[Alert],
    *,
    account_id: str,
    region: str,
    partition: str = "aws",
    cluster: str = "",
    severities: Mapping[str, str] | None = None,
) -> Findings:
    """The findings of alerts (a frame of `labkit.alerts.read`, or alerts as Falco writes them), in their order.

    `**origin(lab.target)` gives the account and where it is. `severities` maps priorities to labels (default:
    `forwarder.SEVERITIES`). An alert that can't have a finding is left out; `refused` has its number and the reason.
    Raises `LabError` for a label that Security Hub doesn't have.
    """
    labels = {priority.lower(): label for priority, label in (severities or {}).items()}
    if odd := sorted(set(labels.values()) - set(SEVERITY.categories), key=str):
        hint = f"There are: {', '.join(SEVERITY.categories)}."
        raise LabError(f"{short_repr(odd[0])} is no severity of Security Hub.", hint=hint)
    framed = isinstance(alerts, pd.DataFrame)
    findings = Findings()
    refused: list[Refused] = []
    for number, alert in enumerate(to_alerts(alerts) if isinstance(alerts, pd.DataFrame) else alerts):
        try:
            if framed and alert.get("time", "") <= _EPOCH:
                raise ValueError(_NO_TIME)
            found = forwarder.to_asff(alert, account_id=account_id, region=region, partition=partition, cluster=cluster)
            severity = found["FindingProviderFields"]["Severity"]
            severity["Label"] = labels.get(str(severity.get("Original")).lower(), severity["Label"])
            findings.append(found)
        except ValueError as error:
            refused.append(Refused(number, str(error)))
    findings.refused = tuple(refused)
    return findings


# A frame can't hold every time. The function reads the alert's text, and may have made a finding with that time.
_EPOCH = "1970-01-01T00:00:00.000000000Z"
_NO_TIME = "the frame has no time of it from 1970 to 2262 (the alert itself may: labkit.alerts.parse(message))"

# Importing and reading them


@dataclass(frozen=True, repr=False)
class Report(AsTable):
    """The results of findings that were sent to Security Hub; displayed as a table. `failed` and `refused` say why."""

    imported: tuple[str, ...]
    """Ids of new findings."""
    updated: tuple[str, ...]
    """Ids of findings that Security Hub had with an earlier UpdatedAt."""
    unchanged: tuple[str, ...]
    """Ids of findings that Security Hub had already: sending them again changed nothing."""
    failed: tuple[Failure, ...]
    refused: tuple[Refused, ...] = ()
    """Alerts without a finding: nothing of them was sent."""

    def _table(self) -> Table:
        counts = [("imported", self.imported), ("updated", self.updated), ("unchanged", self.unchanged)]
        rows = [(str(len(ids)), what, "") for what, ids in counts if ids]
        reasons = Counter(("failed", f"{failure.code}: {failure.message}") for failure in self.failed)
        reasons.update(("no finding", one.reason) for one in self.refused)
        rows += [(str(count), what, reason) for (what, reason), count in reasons.items()]
        total = len(self.imported) + len(self.updated) + len(self.unchanged) + len(self.failed)
        return Table(f"Sent to Security Hub: {total}", ("findings", "result", "reason"), tuple(rows))


@checked
def import_findings(client: SecurityHubClient, findings: Iterable[Finding]) -> Report:
    """Imports any number of findings (BatchImportFindings) and reports the result of each.

    `client` is `boto3.client("securityhub")`. The report has the alerts that `to_findings` refused, too. Raises
    `LabError` if Security Hub is off, `TargetError` if this identity may not import or Security Hub stays too busy.
    """
    refused = findings.refused if isinstance(findings, Findings) else ()
    sent = {finding["Id"]: finding for finding in findings}
    with _hub_errors():
        before = {found["Id"]: found["UpdatedAt"] for found in _by_id(client, list(sent))}
        outcome = forwarder.import_findings(client, sent.values())

    def is_later(id_: str) -> bool:
        return datetime.fromisoformat(sent[id_]["UpdatedAt"]) > datetime.fromisoformat(before[id_])

    new = tuple(id_ for id_ in outcome.ids if id_ not in before)
    updated = tuple(id_ for id_ in outcome.ids if id_ in before and is_later(id_))
    unchanged = tuple(id_ for id_ in outcome.ids if id_ in before and not is_later(id_))
    return Report(new, updated, unchanged, tuple(outcome.failed), refused)


@checked
def read(
    client: SecurityHubClient, cluster: str, namespace: str = "", *, filters: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """The findings of a cluster's alerts, or of those in a namespace, as a frame, one row each, oldest first.

    `client` is `boto3.client("securityhub")`; `filters` are further ones of GetFindings, such as `{"SeverityLabel":
    [{"Value": "HIGH", "Comparison": "EQUALS"}]}`. Columns: `id` string; `created`, `updated` datetime64[ns, UTC],
    missing where nanoseconds can't hold them (before 1677-09-22, after 2262-04-11); `severity` categorical, ordered
    from INFORMATIONAL to CRITICAL; `rule`, `priority`, `title` string; `types` and `resources` (types of resources)
    tuples; `workflow` (NEW, NOTIFIED, RESOLVED, SUPPRESSED) and `record` (ACTIVE, ARCHIVED) string. No findings give an
    empty frame of the same columns and dtypes. Raises `LabError` if Security Hub is off.
    """
    with _hub_errors():
        found = list(_findings(client, {**_of(cluster, namespace), **(filters or {})}))
    rows = [
        (
            finding["Id"],
            finding["CreatedAt"],
            finding["UpdatedAt"],
            finding.get("Severity", {}).get("Label"),
            finding.get("ProductFields", {}).get("falco/rule"),
            finding.get("ProductFields", {}).get("falco/priority"),
            finding["Title"],
            tuple(finding.get("Types", ())),
            tuple(resource["Type"] for resource in finding["Resources"]),
            finding.get("Workflow", {}).get("Status"),
            finding.get("RecordState"),
        )
        for finding in found
    ]
    dtypes: dict[str, Any] = {
        "id": "string",
        "created": "datetime64[ns, UTC]",
        "updated": "datetime64[ns, UTC]",
        "severity": SEVERITY,
        **dict.fromkeys(("rule", "priority", "title"), "string"),
        **dict.fromkeys(("types", "resources"), "object"),
        **dict.fromkeys(("workflow", "record"), "string"),
    }
    df = pd.DataFrame(rows, columns=list(dtypes))
    for name in ("created", "updated"):
        df[name] = column(df[name])
    return df.astype(dtypes).sort_values(["created", "id"], kind="stable").reset_index(drop=True)


@checked
def wait_for(
    client: SecurityHubClient,
    ids: Sequence[str],
    *,
    where: Mapping[str, Any] | None = None,
    timeout: float,
    why: Callable[[], Link] | None = None,
) -> list[Finding]:
    """Findings by their Ids, in that order and as GetFindings returns them, as soon as all are there.

    `client` is `boto3.client("securityhub")`. `where` are values that they must have, such as `{"RecordState":
    "ARCHIVED"}`. Security Hub may take some seconds to return what it has imported. Raises `AlertTimeoutError` with the
    missing Ids after `timeout` seconds, and with the broken link that `why` finds; `Lab.wait_for_findings` passes a
    `why` for the forwarder.
    """
    found: dict[str, Finding] = {}
    seen: set[str] = set()

    def all_found() -> bool | None:
        with _hub_errors():
            there = list(_by_id(client, [id_ for id_ in ids if id_ not in found]))
        seen.update(f["Id"] for f in there)
        found.update({f["Id"]: f for f in there if all(f.get(name) == value for name, value in (where or {}).items())})
        return len(found) == len(set(ids)) or None

    if poll(all_found, f"{counted(len(set(ids)), 'finding')} in Security Hub", timeout) is None:
        missing = [id_ for id_ in dict.fromkeys(ids) if id_ not in found]
        message = (
            f"{len(missing)} of {counted(len(set(ids)), 'finding')} {'is' if len(missing) == 1 else 'are'} not in "
            f"Security Hub"
            f"{f' with {dict(where)}' if where else ''} after {timeout:g} s: {missing[0]}"
            f"{', ...' if len(missing) > 1 else ''}"
        )
        if seen.issuperset(missing):
            raise AlertTimeoutError(message, hint="They are there, but with other values.")
        if why is None:
            raise AlertTimeoutError(message, hint="lab.wait_for_findings(ids) looks for the link that is broken.")
        link = why()
        raise AlertTimeoutError(f"{message}. Broken link: {link.name}. {link.finding}", hint=link.hint)
    return [found[id_] for id_ in ids]


# Closing them


@checked
def resolve(
    client: SecurityHubClient, ids: Iterable[str], *, note: str, by: str, status: WorkflowStatusType = "RESOLVED"
) -> Report:
    """Sets the workflow status of findings, with a note, as an investigator does (BatchUpdateFindings).

    `client` is `boto3.client("securityhub")`, `by` the investigator's name. `status` is NEW, NOTIFIED, RESOLVED or
    SUPPRESSED. The report has the Ids as `updated`; an Id without a finding is in `failed`.
    """
    wanted = list(ids)
    done: list[str] = []
    failed: list[Failure] = []
    with _hub_errors():
        known: dict[str, AwsSecurityFindingIdentifierTypeDef] = {
            found["Id"]: {"Id": found["Id"], "ProductArn": found["ProductArn"]} for found in _by_id(client, wanted)
        }
        for identifiers in forwarder.batches(known.values(), MAX_BATCH, forwarder.MAX_BATCH_BYTES):
            answer = client.batch_update_findings(
                FindingIdentifiers=identifiers, Workflow={"Status": status}, Note={"Text": note, "UpdatedBy": by}
            )
            done += [identifier["Id"] for identifier in answer["ProcessedFindings"]]
            failed += [
                Failure(one["FindingIdentifier"]["Id"], one["ErrorCode"], one["ErrorMessage"])
                for one in answer["UnprocessedFindings"]
            ]
    missing = sorted(set(wanted) - set(known))
    failed += [Failure(id_, "FindingNotFound", "There is no such finding.") for id_ in missing]
    return Report((), tuple(done), (), tuple(failed))


@checked
def active(client: SecurityHubClient, cluster: str, namespace: str = "") -> Iterator[Finding]:
    """The findings of a cluster's or a namespace's alerts that aren't archived, as GetFindings returns them."""
    state = [{"Value": "ACTIVE", "Comparison": "EQUALS"}]
    return _findings(client, {**_of(cluster, namespace), "RecordState": state})


@checked
def archive(client: SecurityHubClient, cluster: str, namespace: str = "") -> Report:
    """Archives the active findings of a cluster's alerts, or of those in a namespace.

    A provider does that by importing them once more, with another RecordState and a later UpdatedAt. Findings can't be
    deleted; Security Hub drops them 90 days after their last update. Raises `LabError` if Security Hub is off.
    """
    findings: list[Finding] = []
    last: list[Failure] = []
    with _hub_errors():
        for finding in active(client, cluster, namespace):
            try:
                findings.append(_archived(finding))
            except OverflowError:
                last.append(Failure(finding["Id"], "NoLaterTime", f"No time is later than {finding['UpdatedAt']}."))
        outcome = forwarder.import_findings(client, findings)
    return Report((), tuple(outcome.ids), (), (*outcome.failed, *last))


def _archived(finding: Finding) -> Finding:
    own = {name: value for name, value in finding.items() if name not in _NOT_THE_PROVIDERS}
    fields = own.get("ProductFields", {})
    own["ProductFields"] = {name: value for name, value in fields.items() if not name.startswith("aws/securityhub/")}
    # Later than the last update, even if a node's clock was ahead.
    now = max(datetime.now(UTC), datetime.fromisoformat(finding["UpdatedAt"]) + timedelta(microseconds=1))
    updated = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {**own, "RecordState": "ARCHIVED", "UpdatedAt": updated}


# Deliveries and dead letters


@checked
def delivery(events: Iterable[Mapping[str, Any]], *, account_id: str, log_group: str) -> dict[str, Any]:
    """The event with which a subscription of `log_group` invokes a function, for replays.

    `events` are log events of one stream, as FilterLogEvents returns them. Source: CloudWatch Logs User Guide, "Log
    group-level subscription filters".
    """
    found = list(events)
    batch = {
        "messageType": "DATA_MESSAGE",
        "owner": account_id,
        "logGroup": log_group,
        "logStream": found[0].get("logStreamName", "") if found else "",
        "subscriptionFilters": [],
        "logEvents": [
            {"id": event["eventId"], "timestamp": event["timestamp"], "message": event["message"]} for event in found
        ],
    }
    return {"awslogs": {"data": base64.b64encode(gzip.compress(json.dumps(batch).encode())).decode()}}


@checked
def deliver(target: Target, function: str, events: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Calls the forwarder with log events as the log group's subscription does; what became of how many.

    `target` is `lab.target`. An attendee of a class, who may not call the class's function, runs its code here, with
    credentials and a dead-letter queue of their own.
    """
    about = origin(target)
    batch = delivery(events, account_id=about["account_id"], log_group=target.settings.log_group)
    with translated_errors(target.aws.hint):
        if target.settings.attendee:
            queue = target.aws.client("sqs").get_queue_url(QueueName=f"{target.settings.prefix}-dead-letters")
            client: Any = target.aws.client
            return forwarder.forward(forwarder.unpacked(batch), client, queue=queue["QueueUrl"], **about)
        answer = target.aws.client("lambda").invoke(FunctionName=function, Payload=json.dumps(batch))
        done: dict[str, int] = json.loads(answer["Payload"].read())
        return done


@checked
def dead_letters(client: SqsClient, queue_url: str, *, at_least: int = 1, timeout: float) -> pd.DataFrame:
    """The dead letters in the forwarder's queue. They are taken out of it; waits up to `timeout` s for `at_least`.

    `client` is `boto3.client("sqs")`. Columns, all string: `reason`, `message` (of the log event), `event_id`,
    `log_group`, `log_stream`. Lambda's own letters (deliveries that failed on every attempt) have their text as
    `message` and Lambda's error as `reason`. Duplicates are left out. Raises `TargetError` if there is no such queue.
    """
    rows = [_letter(message) for message in receive_all(client, queue_url, at_least=at_least, timeout=timeout)]
    columns = ["reason", "message", "event_id", "log_group", "log_stream"]
    return pd.DataFrame(rows, columns=columns, dtype="string").drop_duplicates().reset_index(drop=True)


@checked
def newest_dead_letter(client: SqsClient, queue_url: str) -> tuple[pd.Timestamp, str] | None:
    """Time (UTC) and reason of the newest dead letter, None if there is none. All letters stay in the queue.

    `client` is `boto3.client("sqs")`. SQS returns ten messages at most: it is the newest of these.
    """
    with translated_errors():
        messages = client.receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=0,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp"],
        ).get("Messages", [])
    letters = [
        (pd.Timestamp(int(m["Attributes"]["SentTimestamp"]), unit="ms", tz="UTC"), _letter(m)[0]) for m in messages
    ]
    return max(letters, default=None)


def _letter(message: Mapping[str, Any]) -> tuple[Any, ...]:
    try:
        letter = json.loads(message["Body"])
        event = letter["logEvent"]
        return letter["reason"], event["message"], event["id"], letter["logGroup"], letter["logStream"]
    except (ValueError, KeyError, TypeError, RecursionError):
        reason = message.get("MessageAttributes", {}).get("ErrorMessage", {}).get("StringValue", "")
        return reason, message["Body"], None, None, None


# Calls


@contextmanager
def _hub_errors() -> Iterator[None]:
    """Turns boto3's errors into `TargetError`, and the one that Security Hub is off into a `LabError` with the step."""
    try:
        with translated_errors():
            yield
    except TargetError as error:
        if refusal(error)[0] != "InvalidAccessException":
            raise
        raise LabError(
            "Security Hub CSPM is off in this region.",
            hint='lab.apply("security-hub") enables it, without any standards.',
        ) from error.__cause__


def _of(cluster: str, namespace: str) -> dict[str, Any]:
    return {"Id": [{"Value": forwarder.id_prefix(cluster, namespace), "Comparison": "PREFIX"}]}


def _findings(client: SecurityHubClient, filters: Any) -> Iterator[Finding]:
    for page in client.get_paginator("get_findings").paginate(Filters=filters, PaginationConfig={"PageSize": 100}):
        yield from map(dict, page["Findings"])


def _by_id(client: SecurityHubClient, ids: Sequence[str]) -> Iterator[Finding]:
    for start in range(0, len(ids), MAX_NAMED):
        named = [{"Value": id_, "Comparison": "EQUALS"} for id_ in ids[start : start + MAX_NAMED]]
        yield from _findings(client, {"Id": named})
