"""Security Hub findings of alerts: alerts come in and are imported as findings, which come back as a frame.

The mapping itself is in `labkit.respond.forwarder`, which runs as a Lambda function too: an alert has one finding,
whoever imports it.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.alerts.frame import ALERT, DELIVERY
from labkit.alerts.times import column
from labkit.aws import translated_errors
from labkit.errors import AlertTimeoutError, LabError
from labkit.respond import forwarder
from labkit.respond.forwarder import Alert, Failure, Finding
from labkit.show import Table, counted

if TYPE_CHECKING:
    from labkit.alerts.diagnose import Link
    from labkit.target import Target

SEVERITY = pd.CategoricalDtype(["INFORMATIONAL", "LOW", "MEDIUM", "HIGH", "CRITICAL"], ordered=True)
"""Security Hub's severities, least severe first."""
MAX_NAMED = 20  # values of one attribute in a GetFindings call
MAX_BATCH = 100  # findings in a BatchUpdateFindings call

_HINT = "Is the embedded lab running (`labkit status`)? On EKS: check network, region and credentials."
# What Security Hub adds to a finding, and what only investigators change: none of it is the provider's to send again.
_NOT_THE_PROVIDERS = (
    *("Region", "Severity", "Types", "Confidence", "Criticality", "RelatedFindings", "ProcessedAt", "AwsAccountName"),
    *("Workflow", "WorkflowState", "Note", "UserDefinedFields", "VerificationState"),
)


def place(lab: Target) -> dict[str, str]:
    """Where a lab's alerts are raised, as `to_findings`, `to_asff` and `to_ocsf` take it: account, region, cluster."""
    identity = lab.aws.identity
    return {
        "account_id": identity.account_id,
        "region": lab.settings.region,
        "partition": identity.partition,
        "cluster": lab.settings.cluster,
    }


def to_alerts(df: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame of `labkit.alerts.read` as alerts, in Falco's form again.

    Fields without a value are left out. A field whose values are lists is text in a frame, and stays text.
    """
    fields = [name for name in df.columns if name not in ALERT and name not in DELIVERY]
    alerts = []
    for row in df.to_dict("records"):
        known = {name: row[name] for name in ALERT if name in row and _is_known(row[name])}
        if "time" in known:
            known["time"] = _exact(known["time"])
        if "tags" in known:
            known["tags"] = list(known["tags"])
        known["output_fields"] = {
            name.removeprefix("output_fields."): row[name] for name in fields if _is_known(row[name])
        }
        alerts.append(known)
    return alerts


def _is_known(value: Any) -> bool:
    return isinstance(value, tuple | list) or not pd.isna(value)


def _exact(moment: pd.Timestamp) -> str:
    return f"{moment.tz_convert('UTC'):%Y-%m-%dT%H:%M:%S}.{moment.microsecond * 1000 + moment.nanosecond:09}Z"


def to_findings(
    alerts: pd.DataFrame | Iterable[Alert],
    *,
    account_id: str,
    region: str,
    partition: str = "aws",
    cluster: str = "",
) -> Findings:
    """The findings of alerts (a frame of `labkit.alerts.read`, or alerts as Falco writes them), in their order.

    `**place(lab)` gives the other arguments. As in the function, an alert that has no finding doesn't keep the others
    from theirs: it is left out, and `refused` has its number (from 0) and the reason.
    """
    framed = isinstance(alerts, pd.DataFrame)
    findings = Findings()
    refused: list[Refused] = []
    for number, alert in enumerate(to_alerts(alerts) if isinstance(alerts, pd.DataFrame) else alerts):
        try:
            if framed and alert.get("time", "") <= _EPOCH:
                raise ValueError(_NO_TIME)
            found = forwarder.to_asff(alert, account_id=account_id, region=region, partition=partition, cluster=cluster)
            findings.append(found)
        except ValueError as error:
            refused.append(Refused(number, str(error)))
    findings.refused = tuple(refused)
    return findings


# The function knows the alert's text, and may have made a finding with a time that this frame doesn't have.
_EPOCH = "1970-01-01T00:00:00.000000000Z"
_NO_TIME = "the frame has no time of it from 1970 to 2262 (the alert itself may: labkit.alerts.parse(message))"


@dataclass(frozen=True)
class Refused:
    """An alert that has no finding."""

    number: int
    """Which of the alerts, from 0."""
    reason: str


class Findings(list[Finding]):
    """Findings, and the alerts that have none."""

    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True)
class Report:
    """What became of findings that were sent to Security Hub; shown as a table. `failed` and `refused` tell why."""

    imported: tuple[str, ...]
    """Ids of those that are new."""
    updated: tuple[str, ...]
    """Ids of those that were there with an earlier UpdatedAt."""
    unchanged: tuple[str, ...]
    """Ids of those that were there as they are: sending them again changed nothing."""
    failed: tuple[Failure, ...]
    refused: tuple[Refused, ...] = ()
    """Alerts without a finding, of which nothing was sent."""

    @property
    def _table(self) -> Table:
        counts = [("imported", self.imported), ("updated", self.updated), ("unchanged", self.unchanged)]
        rows = [(str(len(ids)), what, "") for what, ids in counts if ids]
        reasons = Counter(f"{failure.code}: {failure.message}" for failure in self.failed)
        rows += [(str(count), "failed", reason) for reason, count in reasons.most_common()]
        unmade = Counter(one.reason for one in self.refused)
        rows += [(str(count), "no finding", reason) for reason, count in unmade.most_common()]
        total = len(self.imported) + len(self.updated) + len(self.unchanged) + len(self.failed)
        return Table(f"Sent to Security Hub: {total}", ("findings", "result", "reason"), tuple(rows))

    def __repr__(self) -> str:
        return repr(self._table)

    def _repr_html_(self) -> str:
        return self._table._repr_html_()


def import_findings(client: Any, findings: Iterable[Finding], *, attempts: int = 5, pause: float = 0.5) -> Report:
    """Imports findings, as many as there are, and tells of each what became of it.

    `client` is `boto3.client("securityhub")`. What Security Hub is too busy for is sent again (`attempts`, `pause` in
    seconds: see `forwarder.import_findings`). What `to_findings` refused is in the report, too. Raises `LabError` if
    Security Hub is off, `TargetError` if this identity may not import.
    """
    refused = findings.refused if isinstance(findings, Findings) else ()
    sent = {finding["Id"]: finding for finding in findings}
    with translated_errors(_HINT), _switched_on():
        before = {found["Id"]: found["UpdatedAt"] for found in _by_id(client, list(sent))}
        outcome = forwarder.import_findings(client, sent.values(), attempts=attempts, pause=pause)
    new = [id_ for id_ in outcome.ids if id_ not in before]
    later = [
        id_
        for id_ in outcome.ids
        if id_ in before and datetime.fromisoformat(sent[id_]["UpdatedAt"]) > datetime.fromisoformat(before[id_])
    ]
    same = [id_ for id_ in outcome.ids if id_ in before and id_ not in set(later)]
    return Report(tuple(new), tuple(later), tuple(same), tuple(outcome.failed), refused)


def read(client: Any, cluster: str, *, filters: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """The findings of a cluster's alerts as a frame, one row each, oldest first.

    `client` is `boto3.client("securityhub")`; `filters` are further ones of GetFindings, such as `{"SeverityLabel":
    [{"Value": "HIGH", "Comparison": "EQUALS"}]}`. Columns: `id` string; `created`, `updated` datetime64[ns, UTC],
    missing where nanoseconds can't hold them (before 1677-09-22, after 2262-04-11); `severity` categorical, ordered
    from INFORMATIONAL to CRITICAL; `rule`, `priority`, `title` string; `types` and `resources` (types of resources)
    tuples; `workflow` (NEW, NOTIFIED, RESOLVED, SUPPRESSED) and `record` (ACTIVE, ARCHIVED) string. No findings give an
    empty frame of the same columns and dtypes. Raises `LabError` if Security Hub is off.
    """
    with translated_errors(_HINT), _switched_on():
        found = list(_findings(client, {**_of(cluster), **(filters or {})}))
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
    kinds: dict[str, Any] = {
        "id": "string",
        "created": "datetime64[ns, UTC]",
        "updated": "datetime64[ns, UTC]",
        "severity": SEVERITY,
        **dict.fromkeys(("rule", "priority", "title"), "string"),
        **dict.fromkeys(("types", "resources"), "object"),
        **dict.fromkeys(("workflow", "record"), "string"),
    }
    df = pd.DataFrame(rows, columns=list(kinds))
    for name in ("created", "updated"):
        df[name] = column(df[name])
    return df.astype(kinds).sort_values(["created", "id"], kind="stable").reset_index(drop=True)


def wait_for(
    client: Any,
    ids: Sequence[str],
    *,
    where: Mapping[str, Any] | None = None,
    timeout: float,
    why: Callable[[], Link] | None = None,
) -> list[Finding]:
    """Findings as Security Hub has them, by their Ids and in that order, as soon as all are there.

    `where` are values that they must have, too, such as `{"RecordState": "ARCHIVED"}`. Security Hub may take some
    seconds to show what it has taken. Raises `AlertTimeoutError` that names the missing after `timeout` seconds, with
    the broken link that `why` finds; `Lab.wait_for_findings` brings one that knows the forwarder.
    """
    from labkit.waiting import poll

    found: dict[str, Finding] = {}
    seen: set[str] = set()

    def look() -> bool | None:
        with translated_errors(_HINT), _switched_on():
            there = list(_by_id(client, [id_ for id_ in ids if id_ not in found]))
        seen.update(f["Id"] for f in there)
        found.update({f["Id"]: f for f in there if all(f.get(name) == value for name, value in (where or {}).items())})
        return len(found) == len(set(ids)) or None

    if poll(look, f"{counted(len(set(ids)), 'finding')} in Security Hub", timeout) is None:
        missing = [id_ for id_ in ids if id_ not in found]
        how = f" with {dict(where)}" if where else ""
        message = (
            f"{len(missing)} of {len(set(ids))} findings are not in Security Hub{how} after {timeout:g} s: {missing[0]}"
            f"{', ...' if len(missing) > 1 else ''}"
        )
        if seen.issuperset(missing):
            raise AlertTimeoutError(message, hint="They are there, but with other values.")
        if why is None:
            raise AlertTimeoutError(message, hint="lab.wait_for_findings(ids) looks for the link that is broken.")
        link = why()
        raise AlertTimeoutError(f"{message}. Broken link: {link.name}. {link.finding}", hint=link.hint)
    return [found[id_] for id_ in ids]


def resolve(client: Any, ids: Iterable[str], *, note: str, by: str, status: str = "RESOLVED") -> Report:
    """Sets findings' workflow status with a note, as somebody does who has looked into them (BatchUpdateFindings).

    `client` is `boto3.client("securityhub")`, `by` who it was. `status` is NEW, NOTIFIED, RESOLVED or SUPPRESSED.
    """
    done: list[str] = []
    failed: list[Failure] = []
    with translated_errors(_HINT), _switched_on():
        known = [{"Id": found["Id"], "ProductArn": found["ProductArn"]} for found in _by_id(client, list(ids))]
        for start in range(0, len(known), MAX_BATCH):
            answer = client.batch_update_findings(
                FindingIdentifiers=known[start : start + MAX_BATCH],
                Workflow={"Status": status},
                Note={"Text": note, "UpdatedBy": by},
            )
            done += [identifier["Id"] for identifier in answer["ProcessedFindings"]]
            failed += [
                Failure(one["FindingIdentifier"]["Id"], one["ErrorCode"], one["ErrorMessage"])
                for one in answer["UnprocessedFindings"]
            ]
    missing = set(ids) - {identifier["Id"] for identifier in known}
    failed += [Failure(id_, "FindingNotFound", "There is no such finding.") for id_ in sorted(missing)]
    return Report((), tuple(done), (), tuple(failed))


def active(client: Any, cluster: str) -> Iterator[Finding]:
    """The findings of a cluster's alerts that aren't archived, as Security Hub has them, page by page."""
    current = {"RecordState": [{"Value": "ACTIVE", "Comparison": "EQUALS"}]}
    return _findings(client, {**_of(cluster), **current})


def archive(client: Any, cluster: str) -> Report:
    """Archives the findings of a cluster's alerts: what they are about is over.

    A provider does that by importing them once more, with another RecordState and a later UpdatedAt. Findings can't be
    deleted; Security Hub drops them 90 days after their last update.
    """
    findings: list[Finding] = []
    last: list[Failure] = []
    with translated_errors(_HINT), _switched_on():
        for finding in active(client, cluster):
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


@contextmanager
def _switched_on() -> Iterator[None]:
    """Turns Security Hub's word for being off into an error that says what to do."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidAccessException":
            raise
        raise LabError(
            "Security Hub CSPM is off in this region.",
            hint='lab.apply("security-hub") enables it, without any standards.',
        ) from error


def delivery(events: Iterable[Mapping[str, Any]], *, account_id: str, log_group: str) -> dict[str, Any]:
    """The event with which a subscription of `log_group` delivers log events (of FilterLogEvents, of one stream).

    A function that gets it can't tell it from the first delivery: what a replay is tried with. Source: CloudWatch Logs
    User Guide, "Log group-level subscription filters".
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


def dead_letters(client: Any, queue_url: str, *, at_least: int = 1, timeout: float) -> pd.DataFrame:
    """The dead letters in the forwarder's queue, taken out of it: waits until there are `at_least` so many.

    After `timeout` seconds it is content with what there is. `client` is `boto3.client("sqs")`. Columns, all string:
    `reason`, `message` (of the log event), `event_id`, `log_group`, `log_stream`. A letter that isn't the forwarder's
    own (Lambda puts deliveries there that failed to the end) has its text as `message`, and as `reason` what Lambda
    says. SQS delivers at least once: what was delivered twice is one row.
    """
    deadline = time.monotonic() + timeout
    rows: list[tuple[Any, ...]] = []
    while True:
        left = deadline - time.monotonic()
        with translated_errors(_HINT):
            messages = client.receive_message(
                QueueUrl=queue_url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=0 if len(rows) >= at_least else max(0, min(20, math.ceil(left))),
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            for message in messages:
                rows.append(_letter(message))
                client.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        if not messages and (len(rows) >= at_least or left <= 0):
            break
    columns = ["reason", "message", "event_id", "log_group", "log_stream"]
    return pd.DataFrame(rows, columns=columns, dtype="string").drop_duplicates().reset_index(drop=True)


def newest_dead_letter(client: Any, queue_url: str) -> tuple[pd.Timestamp, str] | None:
    """When the newest dead letter came, and its reason; None if there is none. They all stay in the queue.

    `client` is `boto3.client("sqs")`. It is the newest of those that SQS shows at once, ten at most.
    """
    with translated_errors(_HINT):
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
        said = message.get("MessageAttributes", {}).get("ErrorMessage", {}).get("StringValue", "")
        return said, message["Body"], None, None, None


def _of(cluster: str) -> dict[str, Any]:
    return {"Id": [{"Value": forwarder.id_prefix(cluster), "Comparison": "PREFIX"}]}


def _findings(client: Any, filters: Mapping[str, Any]) -> Iterator[Finding]:
    for page in client.get_paginator("get_findings").paginate(Filters=filters, MaxResults=100):
        yield from page["Findings"]


def _by_id(client: Any, ids: Sequence[str]) -> Iterator[Finding]:
    for start in range(0, len(ids), MAX_NAMED):
        named = [{"Value": id_, "Comparison": "EQUALS"} for id_ in ids[start : start + MAX_NAMED]]
        yield from _findings(client, {"Id": named})
