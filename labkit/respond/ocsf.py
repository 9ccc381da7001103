"""Alerts as detection findings of the Open Cybersecurity Schema Framework (OCSF), for a data lake.

Security Hub CSPM takes findings in its own format only (`labkit.respond.findings`). Amazon Security Lake and others
take OCSF: a custom source of Security Lake writes such events to S3 as Parquet. Source: schema.ocsf.io, version 1.5.0,
class `detection_finding` with the profiles `cloud` and `container`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from labkit.alerts.mitre import TACTICS, TECHNIQUE, tactics_of
from labkit.calls import checked
from labkit.respond import forwarder
from labkit.respond.forwarder import Alert

VERSION = "1.5.0"
_CLASS, _CREATE = 2004, 1
_SEVERITIES = ("UNKNOWN", "INFORMATIONAL", "LOW", "MEDIUM", "HIGH", "CRITICAL")  # by their severity_id
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@checked
def to_ocsf(
    alert: Alert,
    *,
    account_id: str,
    region: str,
    partition: str = "aws",
    cluster: str = "",
    logged_ms: int | None = None,
) -> dict[str, Any]:
    """The detection finding of an alert. Times are in ms since the epoch.

    Arguments as for `forwarder.to_asff`; `finding_info.uid` is the Id of its finding, which joins the two. The severity
    is that of the finding; a priority that Falco doesn't have is `Other` (99) with its own name, none is `Unknown` (0).
    Raises ValueError as `to_asff` does.
    """
    origin = {"account_id": account_id, "region": region, "cluster": cluster}
    finding = forwarder.to_asff(alert, **origin, partition=partition, logged_ms=logged_ms)
    fields = forwarder.fields_of(alert)
    moment = forwarder.time_of(alert, logged_ms) // 1_000_000
    rule, output = str(alert["rule"]), forwarder.text_of(alert.get("output"))
    hostname = forwarder.text_of(alert.get("hostname"))
    source = forwarder.text_of(alert.get("source"))
    stamp = alert.get("time")
    event: dict[str, Any] = {
        "class_uid": _CLASS,
        "class_name": "Detection Finding",
        "category_uid": 2,
        "category_name": "Findings",
        "activity_id": _CREATE,
        "activity_name": "Create",
        "type_uid": _CLASS * 100 + _CREATE,
        "type_name": "Detection Finding: Create",
        **_severity(forwarder.text_of(alert.get("priority"))),
        "status_id": 1,
        "status": "New",
        "time": moment,
        "message": output or rule,
        "is_alert": True,
        "metadata": {
            "version": VERSION,
            "product": {"name": "Falco", "vendor_name": "The Falco Project"},
            "profiles": ["cloud", "container"],
            "uid": finding["Id"],
            **({"original_time": stamp} if isinstance(stamp, str) else {}),
        },
        "finding_info": {
            "uid": finding["Id"],
            "title": finding["Title"],
            "desc": output or rule,
            "types": finding["FindingProviderFields"]["Types"],
            "analytic": {"name": rule, "type_id": 1, "type": "Rule"},
            "attacks": _attacks(alert),
            "created_time": moment,
            "first_seen_time": moment,
            "last_seen_time": moment,
            **({"data_sources": [source]} if source else {}),
        },
        "cloud": {
            "provider": "AWS",
            "account": {"uid": account_id, "type_id": 10, "type": "AWS Account"},
            "region": region,
            "cloud_partition": partition,
        },
        "resources": [_resource(resource) for resource in finding["Resources"]],
        "evidences": [_evidence(fields, hostname)],
    }
    # Without lone surrogates, which JSON can escape but UTF-8 can't encode.
    readable: dict[str, Any] = json.loads(re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(event, ensure_ascii=False)))
    return readable


def _severity(priority: str) -> dict[str, Any]:
    label = forwarder.PRIORITIES.get(priority.strip().lower()) if priority.strip() else "UNKNOWN"
    if label is None:
        return {"severity_id": 99, "severity": priority}
    return {"severity_id": _SEVERITIES.index(label), "severity": label.capitalize()}


def _attacks(alert: Alert) -> list[dict[str, Any]]:
    """ATT&CK's tactics and techniques; paired if there is exactly one tactic."""
    tags = forwarder.tags_of(alert)
    tactics = [{"name": name, "uid": TACTICS[name]} for name in dict.fromkeys(tactics_of(tags))]
    techniques = [{"uid": tag} for tag in dict.fromkeys(tags) if TECHNIQUE.fullmatch(tag) and not tag.startswith("TA")]
    if len(tactics) == 1 and techniques:
        return [{"tactic": tactics[0], **_technique(technique)} for technique in techniques]
    return [*({"tactic": tactic} for tactic in tactics), *map(_technique, techniques)]


def _technique(technique: dict[str, str]) -> dict[str, Any]:
    whole, _, part = technique["uid"].partition(".")
    return {"technique": {"uid": whole}, **({"sub_technique": technique} if part else {})}


def _resource(resource: dict[str, Any]) -> dict[str, Any]:
    """A resource in OCSF's form, made from one in Security Hub's."""
    made = {"uid": resource["Id"], "type": resource["Type"], "region": resource["Region"]}
    if "Partition" in resource:
        made["cloud_partition"] = resource["Partition"]
    details: dict[str, Any] = resource.get("Details", {})
    known = details.get("Other", {})
    if known:
        made["type"] = known["kind"]
    described: dict[str, Any] = next(iter(details.values())) if details else {}
    name = known.get("k8s.pod.name") or known.get("hostname") or described.get("Name")
    return {**made, **_known(name=name, namespace=known.get("k8s.ns.name"))}


def _evidence(fields: dict[str, str], hostname: str) -> dict[str, Any]:
    """All output fields as `data`, and those that OCSF has attributes for."""
    path, container = fields.get("fd.name", ""), forwarder.container_of(fields)
    unknown = {"type_id": 0, "type": "Unknown"}
    return {
        "data": dict(fields),
        **_known(
            device={"hostname": hostname, **unknown} if hostname.strip() else None,
            user=_known(name=fields.get("user.name"), uid=fields.get("user.uid")) if "user.name" in fields else None,
            container=_container(fields, container) if container else None,
            process=_process(fields),
            file={"name": path.rpartition("/")[2] or path, "path": path, **unknown} if path.startswith("/") else None,
        ),
    }


def _container(fields: dict[str, str], id_: str) -> dict[str, Any]:
    image_id = fields.get("container.image.digest") or fields.get("container.image.id")
    repository, tag = fields.get("container.image.repository"), fields.get("container.image.tag")
    pod = fields.get("k8s.pod.uid", "")
    return _known(
        uid=id_,
        name=fields.get("container.name"),
        runtime=fields.get("container.type"),
        pod_uuid=pod if _UUID.fullmatch(pod) else None,
        orchestrator="Kubernetes" if "k8s.pod.name" in fields else None,
        image=_known(uid=image_id, name=repository, tag=tag) if image_id else None,  # OCSF has none without an id
    )


def _process(fields: dict[str, str]) -> dict[str, Any]:
    """The process, if the alert has its id, which OCSF requires. Otherwise `data` has the fields."""
    pid, parent = fields.get("proc.pid", ""), fields.get("proc.ppid", "")
    if not _is_pid(pid):
        return {}
    return {
        "pid": int(pid),
        **_known(
            name=fields.get("proc.name"),
            path=fields.get("proc.exepath"),
            cmd_line=fields.get("proc.cmdline"),
            parent_process={"pid": int(parent), **_known(name=fields.get("proc.pname"))} if _is_pid(parent) else None,
        ),
    }


def _known(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _is_pid(text: str) -> bool:
    return re.fullmatch(r"\d{1,10}", text, re.ASCII) is not None
