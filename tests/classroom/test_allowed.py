"""What the chapters do is allowed to an attendee, and nothing is allowed that they don't do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from classroom import background
from labkit import Lab, alerts
from labkit.errors import AlertTimeoutError, StepError, TargetError
from labkit.kube.rollout import wait_rollout
from labkit.provision.own_rules import GATE, silence
from labkit.respond import findings, metrics
from tests.classroom.conftest import Attendee
from tests.policies import allowed

PREFIXES = {"monitoring": "cloudwatch"}
VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}
# Asked for by AWS with what is made with tags; needed when others have changed something, or a query is stopped; typed
# by attendees in chapters' blocks "by hand".
WITHOUT_A_CALL = {"cloudwatch:TagResource", "sns:TagResource", "sqs:TagQueue"}
FOR_MENDING = {"logs:StopQuery", "sns:SetTopicAttributes", "sqs:SetQueueAttributes"}

Right = tuple[str, str, str]
"""Where (`own`, `shared` for Falco's and Fluent Bit's namespaces, `cluster`), resource, verb."""
# At a terminal: kubectl get, describe, run, label, rollout status, logs, delete, exec (over a WebSocket, as lab.exec).
TYPED: set[Right] = {
    *(("own", resource, verb) for resource in ("pods", "services", "deployments") for verb in ("get", "list")),
    *(("own", "pods", verb) for verb in ("create", "patch", "delete")),
    *(("own", "pods/exec", verb) for verb in ("create", "get")),
    *(("own", "deployments", "watch"), ("own", "pods/log", "get")),
    *(("shared", "pods/log", "get"), ("shared", "daemonsets", "list"), ("cluster", "nodes", "get")),
    *(("own", "events", "list"), ("shared", "events", "list"), ("shared", "configmaps", "list")),
    ("shared", "serviceaccounts", "get"),
}
# What isn't gone at once is watched until it is.
WAITING: set[Right] = {("own", "configmaps", "watch"), ("own", "services", "watch")}


class Watched:
    """What an attendee calls: actions of AWS, and rights of the cluster."""

    def __init__(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lab = lab
        self.actions: set[str] = set()
        self.rights: set[Right] = set()
        for client in lab.aws._clients.values():
            client.meta.events.register("before-call", self._note)
        lab.aws.session.events.register("before-call", self._note)
        pool = lab.kube.client.rest_client.pool_manager
        original = pool.request

        def request(method: str, url: str, **named: Any) -> Any:
            self.rights |= rights(method, url, lab.settings.app_namespace)
            return original(method, url, **named)

        monkeypatch.setattr(pool, "request", request)

    def _note(self, model: Any, **_: Any) -> None:
        prefix = model.service_model.signing_name
        self.actions.add(f"{PREFIXES.get(prefix, prefix)}:{model.name.removesuffix('Batch')}")


def rights(method: str, url: str, own: str) -> set[Right]:
    """What RBAC is asked for a request."""
    parts = urlsplit(url)
    path, query = [part for part in parts.path.split("/") if part], dict(parse_qsl(parts.query))
    rest = path[2:] if path[0] == "api" else path[3:]
    if not rest:
        return set()  # discovery
    where = "cluster"
    if rest == ["namespaces", own]:
        where = "own"
    elif rest[0] == "namespaces" and len(rest) > 2:
        where, rest = ("own" if rest[1] == own else "shared"), rest[2:]
    resource = "/".join([rest[0], *rest[2:3]])
    reads = "get" if len(rest) > 1 else "watch" if query.get("watch") == "true" else "list"
    found = {(where, resource, VERBS.get(method, reads))}
    if method == "PATCH":  # server-side apply creates what isn't there
        found.add((where, resource, "create"))
    if resource == "pods/exec":
        found.add((where, resource, "create"))
    return found


def granted(workshop: Path) -> set[Right]:
    """What manifests/class/cluster.yaml gives."""
    places = {
        "falco-workshop-attendee": "own",
        "falco-workshop-attendees": "cluster",
        "falco-workshop-onlooker": "shared",
    }
    found = set()
    for item in yaml.safe_load_all((workshop / "manifests/class/cluster.yaml").read_text()):
        if item["kind"] == "ClusterRole":
            place = places[item["metadata"]["name"]]
            found |= {
                (place, resource, verb)
                for rule in item["rules"]
                for resource in rule["resources"]
                for verb in rule["verbs"]
            }
    return found


@pytest.fixture
def gate(instructor: Lab) -> Iterator[None]:
    background.start(instructor.target)
    kube, falco = instructor.kube, instructor.settings.falco_namespace
    is_open = lambda: not silence(instructor.target, kube.get("ConfigMap", GATE, falco)) or None  # noqa: E731
    instructor.wait_until(is_open, "the gate to open", timeout=60)
    yield
    background.stop(instructor.target)


def run_the_chapters(lab: Lab, workshop: Path) -> None:
    """What chapters 00 to 08 do, as an attendee."""
    start = datetime.now(UTC)
    lab.preflight()
    lab.ensure()
    states = {step: state for step, state, _ in lab.status().rows}
    assert set(states.values()) == {"applied"}, states
    group, prefix = lab.settings.log_group, lab.settings.prefix
    lab.wait_for_log("canary", timeout=20)
    outcomes = lab.attack("read-shadow", "terminal-shell", "drop-and-execute")
    assert all(outcome.passed for outcome in outcomes.values()), outcomes
    assert len(lab.falco_rules()) > 20
    assert lab.default_rules()[1]
    lab.exec("deploy/nginx", "whoami")
    assert lab.wait_for_alert("Whoami run in container", timeout=30)["k8s.ns.name"] == "attendee-07"
    see_failures(lab)
    df = lab.alerts(start)
    assert set(df["k8s.ns.name"]) == {"attendee-07"}
    logs, cloudwatch = lab.aws.client("logs"), lab.aws.client("cloudwatch")
    query = 'filter `output_fields.k8s.ns.name` = "attendee-07" | stats count(*) as alerts by rule'
    alerts.insights(logs, query, log_group=group, start=start)
    with lab.follow(timeout=20) as stream:
        lab.exec("deploy/nginx", "cat /etc/shadow")
        next(stream)
    arn = f"arn:aws:logs:{lab.settings.region}:{lab.aws.identity.account_id}:log-group:{group}"
    list(alerts.live_tail(logs, arn, timeout=0.5))
    logs.test_metric_filter(filterPattern='{ $.priority = "Critical" }', logEventMessages=["{}"])
    seen = lab.alerts("10m")
    lab.wait_for_counts(metrics.count(seen, "rule"), timeout=20)
    metrics.put(cloudwatch, prefix, metrics.metric_data("DeliveryLag", seen.falco.delays()["total"], seen["timestamp"]))
    cloudwatch.get_metric_statistics(
        Namespace=prefix,
        MetricName="DeliveryLag",
        StartTime=start - timedelta(minutes=1),
        EndTime=datetime.now(UTC) + timedelta(minutes=1),
        Period=60,
        ExtendedStatistics=["p50"],
    )
    cloudwatch.list_metrics(Namespace=prefix)
    alarm = f"{prefix}-critical-alert"
    lab.wait_for_alarm(alarm, timeout=30)
    assert alarm in set(lab.notifications(timeout=20)["alarm"])
    assert cloudwatch.describe_alarm_history(AlarmName=alarm)["AlarmHistoryItems"]
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="A drill begins.")
    assert {w.kind for w in lab.dashboard().widgets} == {"text", "metric", "alarm", "log"}
    hub = lab.aws.client("securityhub")
    batch = findings.to_findings(df, **findings.origin(lab.target))
    assert not findings.import_findings(hub, batch).failed
    assert len(findings.wait_for(hub, [finding["Id"] for finding in batch], timeout=20)) == len(batch)
    assert findings.resolve(hub, [batch[0]["Id"]], note="a drill", by="attendee").updated
    poison = {"eventId": "1", "timestamp": 1, "message": "no alert"}
    assert findings.deliver(lab.target, "", [poison])["dead_letters"] == 1
    iam, role = lab.aws.client("iam"), lab.settings.role_name
    iam.get_role(RoleName=role)
    iam.get_role_policy(RoleName=role, PolicyName="write-falco-alerts")
    lab.ledger.path.unlink()  # without it, tags tell whose what is there is
    lab.ensure("nginx", "alarms", "dashboard")
    assert not lab.audit().clean
    lab.teardown()
    assert lab.audit().clean, lab.audit()


def see_failures(lab: Lab) -> None:
    """What labkit looks at to say what is wrong: an alert that doesn't come, an image that isn't there."""
    with pytest.raises(AlertTimeoutError):
        lab.wait_for_alert("Terminal shell in container", since=datetime.now(UTC), timeout=0.5)
    with pytest.raises(TargetError, match="hands out alerts"), lab.record():
        raise AssertionError("the block has to be left out")
    path, kind = "/apis/apps/v1/namespaces/attendee-07/deployments/nginx", "application/strategic-merge-patch+json"
    for image in ("docker.io/library/nginx:none", "docker.io/library/nginx:1.29.3"):
        containers = {"containers": [{"name": "nginx", "image": image}]}
        lab.kube.request("PATCH", path, body={"spec": {"template": {"spec": containers}}}, content_type=kind)
        if image.endswith("none"):
            with pytest.raises(StepError, match="nginx:none"):
                wait_rollout(lab.kube, "Deployment", "nginx", "attendee-07", timeout=20)
    lab.apply("nginx")


def test_the_chapters_are_allowed_to_an_attendee_and_nothing_is_allowed_that_they_do_not_do(
    seven: Attendee, gate: None, workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(seven.lab, monkeypatch)
    run_the_chapters(seven.lab, workshop)
    spare = allowed("attendee-permissions", "attendee-findings") - watched.actions - WITHOUT_A_CALL - FOR_MENDING
    assert not spare, f"allowed by IAM, but never needed: {sorted(spare)}"
    unused = granted(workshop) - watched.rights - TYPED - WAITING
    assert not unused, f"allowed by RBAC, but never needed: {sorted(unused)}"
