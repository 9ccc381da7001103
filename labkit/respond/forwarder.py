"""The Lambda function that imports the alerts of a log group's subscription into Security Hub as findings.

This file is the whole function: it is deployed unchanged and needs only boto3. `to_asff` maps an alert to a finding;
`labkit.respond.findings` uses it, too. `handler` is the function's entry point. Its environment: `LABKIT_CLUSTER`, the
EKS cluster's name, and `LABKIT_DEAD_LETTER_QUEUE_URL`, the SQS queue for messages that can't become findings.

Sources: botocore's description of `securityhub`; the AWS Security Hub User Guide, "AWS Security Finding
Format", "Types taxonomy for ASFF" and "BatchImportFindings for finding providers".
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

Alert = Mapping[str, Any]
"""What Falco writes: `time`, `rule`, `priority`, `source`, `hostname`, `output`, `tags`, `output_fields`."""
Finding = dict[str, Any]
"""A finding in the AWS Security Finding Format."""
_T = TypeVar("_T")

SEVERITIES = {
    "Emergency": "CRITICAL",
    "Alert": "CRITICAL",
    "Critical": "CRITICAL",
    "Error": "HIGH",
    "Warning": "MEDIUM",
    "Notice": "LOW",
    "Informational": "INFORMATIONAL",
    "Debug": "INFORMATIONAL",
}
"""Falco's priority -> the finding's severity. In Security Hub LOW needs no action on its own, MEDIUM needs action, HIGH
is urgent and CRITICAL needs action at once."""
OTHER_SEVERITY = "MEDIUM"
"""The severity of a priority that Falco doesn't have."""
PRIORITIES = {name.lower(): label for name, label in {**SEVERITIES, "Info": "INFORMATIONAL"}.items()}

# The tag of a tactic -> a type of the taxonomy, in which exfiltration and impact are effects.
_TYPES = {
    f"mitre_{name.lower().replace(' ', '_')}": f"TTPs/{name}"
    for name in (
        *("Reconnaissance", "Resource Development", "Initial Access", "Execution", "Persistence", "Discovery"),
        *("Privilege Escalation", "Defense Evasion", "Credential Access", "Lateral Movement", "Collection"),
        "Command and Control",
    )
} | {"mitre_exfiltration": "Effects/Data Exfiltration", "mitre_impact": "Effects"}
_TECHNIQUE = re.compile(r"T\d{4}(?:\.\d{3})?")

# Security Hub's limits: characters of a text, entries of a map, findings and bytes of a request.
MAX_TITLE = 256
MAX_DESCRIPTION = 1024
MAX_FIELDS = 50
MAX_BATCH = 100
MAX_BATCH_BYTES = 6_000_000
MAX_FINDING_BYTES = 240_000
# A queue takes messages of at least 256 KiB.
_MAX_LETTER_BYTES = 250_000

_PARTITIONS = ("aws", "aws-cn", "aws-us-gov", "aws-us-iso", "aws-us-iso-b")
# Characters that are written as escapes: `.` in Security Hub's patterns doesn't match line ends, and control characters
# and lone surrogates are no text.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_ISO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)")
_CRI = re.compile(r"\d{4}-\d\d-\d\dT\S+ (?:stdout|stderr) [FP] ")
# EKS can name its nodes by their instance: "i-0123456789abcdef0.us-east-2.compute.internal".
_INSTANCE = re.compile(r"(i-[0-9a-f]{8,17})(?:\.|$)")
_SECOND = 1_000_000_000  # nanoseconds
_LAST = 253_402_300_800 * _SECOND  # the year 10000


def alert_of(message: str) -> dict[str, Any]:
    """The alert in a log event's message: Falco's JSON line, bare or in a log shipper's record.

    Raises ValueError with the reason if there is none.
    """
    text = message
    for _ in range(4):  # a record in a record in a CRI line: no shipper goes deeper
        text = text.strip()
        if cri := _CRI.match(text):
            text = text[cri.end() :]
        if not text.startswith("{"):
            raise ValueError("the message is no JSON object")
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the message is no JSON that can be read: {error}") from None
        while "rule" not in record:
            inner = next((record[key] for key in ("log_processed", "data") if isinstance(record.get(key), dict)), None)
            if inner is None:
                break
            record = inner
        if isinstance(record.get("rule"), str) and ("output" in record or "output_fields" in record):
            return dict(record)
        text = next((record[key] for key in ("log", "message") if isinstance(record.get(key), str)), "")
        if not text:
            break
    raise ValueError("the message names no rule, so it is no alert of Falco")


def to_asff(
    alert: Alert,
    *,
    account_id: str,
    region: str,
    partition: str = "aws",
    cluster: str = "",
    logged_ms: int | None = None,
) -> Finding:
    """The finding of an alert, in the AWS Security Finding Format. The same alert always gives the same finding.

    `cluster` is the EKS cluster's name. `logged_ms`, the time of the log event (ms since the epoch), is used for an
    alert without a time. The finding has only resources and fields that the alert names. Texts that are too long for
    Security Hub end in a mark with their length. If there are too many fields, those about processes, users, files and
    containers come first. Times are the event's own, also if the node's clock was ahead.

    Raises ValueError if the alert names no rule or has no time.
    """
    rule = alert.get("rule")
    if not isinstance(rule, str) or not rule.strip():
        raise ValueError("the alert names no rule")
    moment = time_of(alert, logged_ms)
    fields = fields_of(alert)
    when = _iso(moment)
    hostname, priority = text_of(alert.get("hostname")), text_of(alert.get("priority"))
    resources = resources_of(
        fields, hostname, account_id=account_id, region=region, partition=partition, cluster=cluster
    )
    pod, container = fields.get("k8s.pod.name"), container_of(fields)
    where = "/".join(filter(None, [fields.get("k8s.ns.name"), pod])) if pod else container or hostname
    finding: Finding = {
        "SchemaVersion": "2018-10-08",
        "Id": finding_id(alert, account_id=account_id, region=region, cluster=cluster, logged_ms=logged_ms),
        "ProductArn": f"arn:{partition}:securityhub:{region}:{account_id}:product/{account_id}/default",
        "ProductName": "Falco",
        "CompanyName": "The Falco Project",
        "GeneratorId": _cut(f"falco/{rule}", 512),
        "AwsAccountId": account_id,
        "CreatedAt": when,
        "UpdatedAt": when,
        "FirstObservedAt": when,
        "LastObservedAt": when,
        "Title": _cut(f"{rule}: {where}" if where else rule, MAX_TITLE),
        "Description": _cut(text_of(alert.get("output")) or rule, MAX_DESCRIPTION),
        "FindingProviderFields": {
            "Severity": _severity(priority),
            "Types": types_of(alert),
        },
        "Resources": resources,
        "RecordState": "ACTIVE",
    }
    process = _process(fields)
    if process:
        finding["Process"] = process
    about = {
        "falco/rule": rule,
        "falco/priority": priority,
        "falco/source": text_of(alert.get("source")),
        "falco/time": f"{when[:19]}.{moment % _SECOND:09}Z",
        "falco/hostname": hostname,
        "falco/cluster": cluster,
        "falco/tags": ", ".join(tags_of(alert)),
        "falco/techniques": ", ".join(techniques_of(alert)),
    }
    room = MAX_FINDING_BYTES - len(json.dumps(finding)) - 100
    finding["ProductFields"] = _product_fields(about, fields, room)
    return finding


def finding_id(alert: Alert, *, account_id: str, region: str, cluster: str = "", logged_ms: int | None = None) -> str:
    """The finding's Id: `falco/CLUSTER/NAMESPACE/` and a hash of the alert's identity.

    The identity is account, region, cluster, host and source, the rule, the time in nanoseconds, output and fields. It
    doesn't depend on the delivery: a retry or a replay has the Id of the first delivery.
    """
    identity = [
        *(account_id, region, cluster, text_of(alert.get("hostname")), text_of(alert.get("source"))),
        *(text_of(alert.get("rule")), str(time_of(alert, logged_ms)), text_of(alert.get("output"))),
        *sorted(fields_of(alert).items()),
    ]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    namespace = _cut(fields_of(alert).get("k8s.ns.name") or "-", 100)
    return _cut(f"{id_prefix(cluster, namespace)}{digest}", 512)


def id_prefix(cluster: str, namespace: str = "") -> str:
    """The prefix of the Ids of a cluster's findings, or of those of pods in a namespace (`-`: of the nodes)."""
    return f"falco/{_cut(cluster, 200) or '-'}/{f'{namespace}/' if namespace else ''}"


def types_of(alert: Alert) -> list[str]:
    """The finding's types (`namespace/category/classifier`), from the ATT&CK tactics among the alert's tags.

    The classifier is the technique if there is exactly one tactic. Without a tactic the type is an unusual behavior, of
    a container if the alert has one.
    """
    types = list(dict.fromkeys(_TYPES[tag] for tag in tags_of(alert) if tag in _TYPES))
    techniques = techniques_of(alert)
    if len(types) == 1 and types[0].count("/") == 1 and techniques:
        types = [f"{types[0]}/{technique}" for technique in techniques]
    if not types:
        types = ["Unusual Behaviors/Container" if container_of(fields_of(alert)) else "Unusual Behaviors"]
    return types[:MAX_FIELDS]


def techniques_of(alert: Alert) -> list[str]:
    """The ATT&CK techniques among the alert's tags, such as `T1059`."""
    return [tag for tag in dict.fromkeys(tags_of(alert)) if _TECHNIQUE.fullmatch(tag)]


def _severity(priority: str) -> dict[str, str]:
    return _texts({"Label": PRIORITIES.get(priority.strip().lower(), OTHER_SEVERITY), "Original": priority}, 64)


def tags_of(alert: Alert) -> list[str]:
    """The alert's tags, as text."""
    tags = alert.get("tags")
    return [text_of(tag) for tag in tags if text_of(tag).strip()] if isinstance(tags, list | tuple) else []


def fields_of(alert: Alert) -> dict[str, str]:
    """The alert's output fields that have a value, as text."""
    fields = alert.get("output_fields")
    if not isinstance(fields, Mapping):
        return {}
    texts = {text_of(name): text_of(value) for name, value in fields.items()}
    return {name: text for name, text in texts.items() if name.strip() and text.strip() and text != "<NA>"}


def text_of(value: Any) -> str:
    """A value as text; empty for none."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 3.0 and 3 are the same number, and both are what a shipper may make of Falco's
    return json.dumps(value, sort_keys=True, default=str) if isinstance(value, dict | list | tuple) else str(value)


def _cut(text: str, most: int) -> str:
    """At most `most` characters, all of them printable; a longer text ends in a mark with its length."""
    if len(text) <= most and text.isascii() and text.isprintable():
        return text.strip()  # by far the usual case
    clean = _UNPRINTABLE.sub(_escaped, text[: most + 1]).strip()
    if len(text) <= most and len(clean) <= most:
        return clean
    mark = f"… [{len(text)} characters]"
    return clean[: most - len(mark)].rstrip() + mark if most > len(mark) else clean[:most]


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def time_of(alert: Alert, logged_ms: int | None) -> int:
    """The alert's time in ns since the epoch: `time`, else the field `evt.time`, else the time of the log event."""
    fields = alert.get("output_fields")
    raw = fields.get("evt.time") if isinstance(fields, Mapping) else None
    for candidate in (moment_of(alert.get("time")), raw, None if logged_ms is None else logged_ms * 1_000_000):
        if isinstance(candidate, int) and not isinstance(candidate, bool) and 0 < candidate < _LAST:
            return candidate
    raise ValueError("nothing tells the time of the alert")


def moment_of(stamp: Any) -> int | None:
    """A time as Falco writes it (ISO 8601 with its zone), in ns since the epoch; None for anything else."""
    found = _ISO.fullmatch(stamp.strip()) if isinstance(stamp, str) else None
    if found is None:
        return None
    try:
        seconds = int(datetime.fromisoformat(f"{found[1]}{found[3]}").timestamp())
    except ValueError:
        return None
    return seconds * _SECOND + int((found[2] or "").ljust(9, "0"))


def _iso(nanoseconds: int) -> str:
    """ISO 8601 with milliseconds, as in Security Hub's examples."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=nanoseconds // 1_000_000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def container_of(fields: Mapping[str, str]) -> str:
    """The container's id; empty on the host, for which Falco writes `host`."""
    id_ = fields.get("container.id", "")
    return "" if id_ == "host" else id_


def resources_of(
    fields: Mapping[str, str], hostname: str, *, account_id: str, region: str, partition: str, cluster: str
) -> list[dict[str, Any]]:
    """The resources of an alert: container, pod, node and cluster, or else the account."""
    here = {"Region": region, **({"Partition": partition} if partition in _PARTITIONS else {})}
    resources: list[dict[str, Any]] = []
    if container := container_of(fields):
        image, tag = fields.get("container.image.repository"), fields.get("container.image.tag")
        started = fields.get("container.start_ts", "")
        known = {
            "Name": fields.get("container.name"),
            "ImageName": f"{image}:{tag}" if image and tag else image,
            "ImageId": fields.get("container.image.digest") or fields.get("container.image.id"),
            "ContainerRuntime": fields.get("container.type"),
            "LaunchedAt": _iso(int(started)) if re.fullmatch(r"[1-9]\d{15,18}", started) else None,
        }
        details: dict[str, Any] = {**_texts(known, 512)}
        privileged = fields.get("container.privileged", "").lower()
        if privileged in ("true", "false"):
            details["Privileged"] = privileged == "true"
        resources.append({"Type": "Container", "Id": _cut(container, 512), **here})
        if details:
            resources[-1]["Details"] = {"Container": details}
    if pod := fields.get("k8s.pod.name"):
        namespace = fields.get("k8s.ns.name")
        known = {"kind": "Pod", **{k: v for k, v in fields.items() if k in _POD_FIELDS}}
        id_ = "/".join(filter(None, [cluster, namespace, pod]))
        resources.append({"Type": "Other", "Id": _cut(id_, 512), **here, "Details": {"Other": _texts(known)}})
    if instance := _INSTANCE.match(hostname):
        arn = f"arn:{partition}:ec2:{region}:{account_id}:instance/{instance[1]}"
        resources.append({"Type": "AwsEc2Instance", "Id": arn, **here})
    elif hostname.strip():
        known = {"kind": "Host", "hostname": hostname}
        resources.append({"Type": "Other", "Id": _cut(hostname, 512), **here, "Details": {"Other": _texts(known)}})
    if cluster:
        arn = f"arn:{partition}:eks:{region}:{account_id}:cluster/{cluster}"
        details = {"AwsEksCluster": {"Name": cluster, "Arn": arn}}
        resources.append({"Type": "AwsEksCluster", "Id": arn, **here, "Details": details})
    return [resource for resource in resources if resource["Id"]] or [
        {"Type": "AwsAccount", "Id": f"AWS::::Account:{account_id}", **here}
    ]


_POD_FIELDS = ("k8s.ns.name", "k8s.pod.name", "k8s.pod.uid", "k8s.deployment.name", "k8s.rs.name", "k8s.pod.labels")


def _texts(known: Mapping[str, str | None], most: int = 1024) -> dict[str, str]:
    clean = {name: _cut(value or "", most) for name, value in known.items()}
    return {name: value for name, value in clean.items() if value}


def _process(fields: Mapping[str, str]) -> dict[str, Any]:
    name, path = fields.get("proc.name"), fields.get("proc.exepath")
    process: dict[str, Any] = {**_texts({"Name": name}, 64), **_texts({"Path": path}, 512)}
    for key, source in (("Pid", "proc.pid"), ("ParentPid", "proc.ppid")):
        if re.fullmatch(r"\d{1,10}", fields.get(source, ""), re.ASCII) and int(fields[source]) < 2**31:
            process[key] = int(fields[source])
    return process


_FIRST = ("proc.", "user.", "fd.", "container.", "k8s.", "evt.", "group.")


def _product_fields(about: Mapping[str, str], fields: Mapping[str, str], room: int) -> dict[str, str]:
    """ProductFields, as many as fit into `room` bytes: `about` the alert, then its output fields by name."""
    ordered = sorted(fields.items(), key=lambda item: (not item[0].startswith(_FIRST), item[0]))
    chosen: dict[str, str] = {}
    left_out = 0
    for key, value in [*about.items(), *((f"falco/{name}", value) for name, value in ordered)]:
        key, value = _cut(key, 128), _cut(value, 2048)
        if not value:
            continue
        size = len(json.dumps(key)) + len(json.dumps(value)) + 4
        if key in chosen or len(chosen) == MAX_FIELDS - 1 or size > room:  # the last one is `left_out`
            left_out += 1
            continue
        chosen[key] = value
        room -= size
    if left_out:
        chosen["falco/left_out"] = f"{left_out} more field{'' if left_out == 1 else 's'}"
    return chosen


@dataclass(frozen=True)
class Failure:
    """A finding that Security Hub didn't take."""

    id: str
    code: str
    message: str

    @property
    def invalid(self) -> bool:
        """Whether the finding itself is at fault: sent again, it would fail again."""
        return self.code.startswith(("InvalidInput", "Validation", "Serialization"))


@dataclass
class Imported:
    """The Ids of the findings that Security Hub took, and the failures."""

    ids: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def import_findings(client: Any, findings: Iterable[Finding]) -> Imported:
    """Imports findings in batches of BatchImportFindings and collects the result of each finding.

    A batch that is refused as a whole is halved until the finding at fault is alone. Of findings with the same Id the
    first is sent. Raises botocore's ClientError if all would fail (no permission, too many requests).
    """
    from botocore.exceptions import ClientError

    outcome = Imported()
    distinct = list({finding["Id"]: finding for finding in reversed(list(findings))}.values())[::-1]
    pending = list(batches(distinct, MAX_BATCH, MAX_BATCH_BYTES))
    while pending:
        batch = pending.pop(0)
        try:
            answer = client.batch_import_findings(Findings=batch)
            refused = [Failure(one["Id"], one["ErrorCode"], one["ErrorMessage"]) for one in answer["FailedFindings"]]
        except ClientError as error:
            problem, status = error.response["Error"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            code = "InvalidInput: the request is too large" if status == 413 else problem["Code"]
            refused = [Failure(finding["Id"], code, problem["Message"]) for finding in batch]
            if not refused[0].invalid:
                raise
            if len(batch) > 1:
                middle = len(batch) // 2
                pending[:0] = [batch[:middle], batch[middle:]]
                continue
        failed = {failure.id for failure in refused}
        outcome.ids += [finding["Id"] for finding in batch if finding["Id"] not in failed]
        outcome.failed += refused
    return outcome


def batches(items: Iterable[_T], most: int, most_bytes: int) -> Iterator[list[_T]]:
    """Lists of at most `most` items and `most_bytes` as JSON; a larger item is alone in its list."""
    batch: list[_T] = []
    size = 0
    for item in items:
        own = len(json.dumps(item, default=str)) + 2
        if batch and (len(batch) == most or size + own > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += own
    if batch:
        yield batch


def handler(event: Mapping[str, Any], context: Any) -> dict[str, int]:
    """Forwards one delivery of a CloudWatch Logs subscription to Security Hub; returns how many events became what.

    An alert's finding has the same Id on each delivery, so a delivery that is repeated makes no second finding. Log
    events that are no alerts and findings that Security Hub calls invalid go to the dead-letter queue with the reason,
    after the other findings are imported. Raises RuntimeError if some of those weren't imported: Lambda then tries the
    delivery again.
    """
    delivery = unpacked(event)
    if delivery.get("messageType") == "CONTROL_MESSAGE":  # CloudWatch Logs checks that the function answers
        return {"events": 0, "findings": 0, "dead_letters": 0}
    _, partition, _, region, account_id = context.invoked_function_arn.split(":")[:5]
    return forward(
        delivery,
        partial(_client, region=region),
        queue=os.environ.get("LABKIT_DEAD_LETTER_QUEUE_URL", ""),
        account_id=account_id,
        region=region,
        partition=partition,
        cluster=os.environ.get("LABKIT_CLUSTER", ""),
    )


def forward(
    delivery: Mapping[str, Any], client: Callable[[str], Any], *, queue: str, cluster: str, **origin: str
) -> dict[str, int]:
    """What `handler` does with a delivery that is unpacked; `client` makes a boto3 client, `queue` is a URL."""
    findings: dict[str, Finding] = {}
    sources: dict[str, list[Mapping[str, Any]]] = {}
    poison: list[tuple[Mapping[str, Any], str]] = []
    events = delivery.get("logEvents", ())
    for log_event in events:
        try:
            alert = alert_of(str(log_event.get("message", "")))
            finding = to_asff(alert, **origin, cluster=cluster, logged_ms=log_event.get("timestamp"))
        except (ValueError, RecursionError) as error:
            poison.append((log_event, str(error)))
            continue
        findings.setdefault(finding["Id"], finding)
        sources.setdefault(finding["Id"], []).append(log_event)
    outcome = import_findings(client("securityhub"), findings.values()) if findings else Imported()
    retry = [failure for failure in outcome.failed if not failure.invalid]
    if retry:
        first = f"{retry[0].code}: {retry[0].message}"
        raise RuntimeError(f"Security Hub did not take {len(retry)} of {len(findings)} findings; {first}")
    for failure in outcome.failed:
        poison += [(log_event, f"{failure.code}: {failure.message}") for log_event in sources[failure.id]]
    if poison:
        _send_dead_letters(poison, delivery, client, queue)
    summary = {"events": len(events), "findings": len(outcome.ids), "dead_letters": len(poison)}
    print(json.dumps(summary))
    return summary


def unpacked(event: Mapping[str, Any]) -> dict[str, Any]:
    try:
        delivery = json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
        if not isinstance(delivery, dict):
            raise TypeError("it is no JSON object")
    except (KeyError, TypeError, ValueError, OSError, EOFError) as error:
        raise ValueError(f"This event is no delivery of a CloudWatch Logs subscription: {error!r}") from error
    return delivery


def _send_dead_letters(
    poison: Sequence[tuple[Mapping[str, Any], str]],
    delivery: Mapping[str, Any],
    client: Callable[[str], Any],
    queue: str,
) -> None:
    """Sends log events that can't become findings to the dead-letter queue, each with the reason and its stream."""
    if not queue:
        raise RuntimeError(
            f"{len(poison)} log events can't become findings ({poison[0][1]}), and there is no queue for them: "
            "LABKIT_DEAD_LETTER_QUEUE_URL is not set"
        )
    origin = {name: delivery.get(name) for name in ("logGroup", "logStream")}
    letters = [_letter(event, {"reason": _cut(reason, MAX_DESCRIPTION), **origin}) for event, reason in poison]
    sqs = client("sqs")
    for batch in batches(letters, 10, _MAX_LETTER_BYTES):
        entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(batch)]
        failed = sqs.send_message_batch(QueueUrl=queue, Entries=entries).get("Failed", ())
        if failed:
            raise RuntimeError(f"The dead-letter queue did not take {len(failed)} letters: {failed[0].get('Message')}")


def _letter(event: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """A dead letter as JSON. A message too long for the queue is cut; the log group has all of it."""
    message = str(event.get("message", ""))
    kept = len(message)
    while True:
        log_event = {"id": event.get("id"), "timestamp": event.get("timestamp"), "message": message[:kept]}
        if kept < len(message):
            log_event["characters"] = len(message)
        body = json.dumps({**about, "logEvent": log_event})
        if len(json.dumps(body)) < _MAX_LETTER_BYTES or not kept:
            return body
        kept //= 2


_clients: dict[tuple[str, str], Any] = {}


def _client(service: str, region: str) -> Any:
    if (service, region) not in _clients:
        import boto3
        from botocore.config import Config

        config = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5, read_timeout=20)
        session = boto3.Session(region_name=region)  # not the default session, which caches credentials
        _clients[service, region] = session.client(service, config=config)  # type: ignore[call-overload]
    return _clients[service, region]
