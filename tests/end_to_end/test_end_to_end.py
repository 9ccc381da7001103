"""The whole way of an alert, with plain clients: boto3, the official Kubernetes client, kubectl; and how it breaks."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from kubernetes import client, config
from kubernetes.stream import stream

from ekslab.state import Endpoints
from labkit import Lab

GROUP = "falco"


@pytest.fixture(scope="module")
def endpoints(new_lab: Callable[..., Endpoints]) -> Endpoints:
    return new_lab()


@pytest.fixture(scope="module")
def lab(endpoints: Endpoints, workshop: Path) -> Lab:
    connected = Lab.connect(home=endpoints.home, root=workshop)
    connected.ensure("fluent-bit", "falco", "nginx")
    return connected


@pytest.fixture(scope="module")
def logs(endpoints: Endpoints, lab: Lab) -> Any:
    return _aws(endpoints, "logs")


@pytest.fixture(scope="module")
def core(endpoints: Endpoints, lab: Lab) -> Iterator[client.CoreV1Api]:
    configuration = client.Configuration()
    config.load_kube_config(str(endpoints.kubeconfig), client_configuration=configuration)
    with client.ApiClient(configuration) as api:
        yield client.CoreV1Api(api)


@pytest.fixture
def kubectl(endpoints: Endpoints, lab: Lab) -> Callable[..., str]:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not on the PATH")

    def run(*arguments: str, stdin: str | None = None) -> str:
        command = [program, "--kubeconfig", str(endpoints.kubeconfig), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout

    return run


def _aws(endpoints: Endpoints, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoints.aws_url,
        region_name=endpoints.region,
        aws_access_key_id=endpoints.access_key_id,
        aws_secret_access_key=endpoints.secret_access_key,
    )


def _eventually(what: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true answer of `what`; fails if there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)
    return answer


def _alerts(logs: Any, since: int) -> list[dict[str, Any]]:
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=GROUP, startTime=since)
    return [json.loads(event["message"]) for page in pages for event in page["events"]]


def _now() -> int:
    return time.time_ns() // 1_000_000


def _nginx(core: client.CoreV1Api) -> str:
    name: str = core.list_namespaced_pod("default", label_selector="app=nginx").items[0].metadata.name
    return name


def _exec(core: client.CoreV1Api, pod: str, *command: str, tty: bool = False) -> str:
    output: str = stream(
        core.connect_get_namespaced_pod_exec,
        pod,
        "default",
        command=list(command),
        stdin=False,
        stdout=True,
        stderr=not tty,
        tty=tty,
    )
    return output


def _fluent_bit_log(core: client.CoreV1Api, since: datetime) -> str:
    seconds = int((datetime.now(UTC) - since).total_seconds()) + 1
    pods = core.list_namespaced_pod("logging").items
    texts = []
    for pod in pods:
        try:
            texts.append(core.read_namespaced_pod_log(pod.metadata.name, "logging", since_seconds=seconds))
        except client.ApiException as error:
            if error.status not in (400, 404):  # not started yet; deleted meanwhile
                raise
    return "".join(texts)


def test_a_shell_with_a_terminal_alerts_and_one_without_does_not(core: client.CoreV1Api, logs: Any) -> None:
    pod = _nginx(core)
    since = _now()
    assert "uid=0(root)" in _exec(core, pod, "bash", "-c", "id")
    assert "uid=0(root)" in _exec(core, pod, "bash", "-c", "id; exit", tty=True)
    alerts = _eventually(lambda: _alerts(logs, since))
    assert [alert["rule"] for alert in alerts] == ["Terminal shell in container"]
    fields = alerts[0]["output_fields"]
    assert fields["k8s.pod.name"] == pod
    assert fields["proc.tty"] == 34816
    assert fields["proc.cmdline"] == "bash -c id; exit"


def test_the_alert_is_falcos_line_unchanged(core: client.CoreV1Api, logs: Any) -> None:
    pod = _nginx(core)
    since = _now()
    _exec(core, pod, "cat", "/etc/shadow")
    event = _eventually(lambda: logs.filter_log_events(logGroupName=GROUP, startTime=since)["events"])[0]
    node = core.read_namespaced_pod(pod, "default").spec.node_name
    falco = core.list_namespaced_pod("falco", field_selector=f"spec.nodeName={node}").items[0].metadata.name
    lines = core.read_namespaced_pod_log(falco, "falco", container="falco").splitlines()
    assert event["message"] in lines
    assert event["logStreamName"] == "alerts"
    found = logs.filter_log_events(
        logGroupName=GROUP, startTime=since, filterPattern='{ $.rule = "Read sensitive file untrusted" }'
    )
    assert [e["eventId"] for e in found["events"]] == [event["eventId"]]
    other = logs.filter_log_events(logGroupName=GROUP, startTime=since, filterPattern='{ $.priority = "Critical" }')
    assert other["events"] == []


def test_kubectl_takes_the_workshops_own_manifests(kubectl: Callable[..., str], workshop: Path) -> None:
    for folder in ("nginx", "fluent-bit"):
        kubectl("apply", "-f", str(workshop / "manifests" / folder))
        again = kubectl("apply", "-f", str(workshop / "manifests" / folder))
        assert "created" not in again
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/nginx", "--timeout=30s")
    assert "nginx" in kubectl("get", "pods")
    assert "Container started" in kubectl("describe", "pods", "-l", "app=nginx")
    assert kubectl("exec", "deploy/nginx", "--", "cat", "/etc/hostname").startswith("nginx-")
    assert kubectl("exec", "-i", "deploy/nginx", "--", "cat", stdin="from here\n") == "from here\n"


def test_without_its_policy_fluent_bit_is_refused_and_keeps_what_it_has(
    endpoints: Endpoints, lab: Lab, core: client.CoreV1Api, logs: Any
) -> None:
    iam = _aws(endpoints, "iam")
    role = lab.settings.role_name
    name = iam.list_role_policies(RoleName=role)["PolicyNames"][0]
    document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    pod = _nginx(core)

    iam.delete_role_policy(RoleName=role, PolicyName=name)
    since, before = _now(), datetime.now(UTC)
    for _ in range(3):
        _exec(core, pod, "cat", "/etc/shadow")
    _eventually(lambda: "AccessDenied" in _fluent_bit_log(core, before))
    assert "logs:PutLogEvents" in _fluent_bit_log(core, before)
    assert _alerts(logs, since) == []

    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
    delivered = _eventually(lambda: (found := _alerts(logs, since)) and len(found) >= 3 and found)
    assert [alert["rule"] for alert in delivered] == ["Read sensitive file untrusted"] * 3


def test_without_its_annotation_fluent_bit_does_not_start(lab: Lab, core: client.CoreV1Api, logs: Any) -> None:
    """EKS then gives the pod neither a role nor a region, and the output plugin needs one."""
    annotation = "eks.amazonaws.com/role-arn"
    arn = core.read_namespaced_service_account("fluent-bit", "logging").metadata.annotations[annotation]
    core.patch_namespaced_service_account("fluent-bit", "logging", {"metadata": {"annotations": {annotation: None}}})
    before = datetime.now(UTC)
    try:
        core.delete_collection_namespaced_pod("logging")
        _eventually(lambda: "'region' is a required field" in _fluent_bit_log(core, before))
        names = {v.name for v in core.list_namespaced_pod("logging").items[0].spec.containers[0].env or []}
        assert "AWS_ROLE_ARN" not in names
        _eventually(lambda: "CrashLoopBackOff" in str(core.list_namespaced_pod("logging").items[0].status))
        since = _now()
        _exec(core, _nginx(core), "cat", "/etc/shadow")
    finally:
        core.patch_namespaced_service_account("fluent-bit", "logging", {"metadata": {"annotations": {annotation: arn}}})
        core.delete_collection_namespaced_pod("logging")
        _eventually(lambda: _running(core, "logging", 2))
    assert [alert["rule"] for alert in _eventually(lambda: _alerts(logs, since))] == ["Read sensitive file untrusted"]


def _running(core: client.CoreV1Api, namespace: str, count: int) -> bool:
    pods = core.list_namespaced_pod(namespace).items
    ready = [
        p
        for p in pods
        if p.metadata.deletion_timestamp is None and all(s.ready for s in p.status.container_statuses or [])
    ]
    return len(pods) == len(ready) == count


def test_an_image_that_is_nowhere_shows_as_on_a_cluster(core: client.CoreV1Api) -> None:
    spec = {"containers": [{"name": "web", "image": "docker.io/library/nginx:9.99-misspelt"}]}
    core.create_namespaced_pod("default", {"metadata": {"name": "typo"}, "spec": spec})
    try:
        waiting = _eventually(
            lambda: [
                status.state.waiting
                for status in core.read_namespaced_pod("typo", "default").status.container_statuses or []
                if status.state.waiting and status.state.waiting.reason == "ImagePullBackOff"
            ]
        )[0]
        assert "nginx:9.99-misspelt" in waiting.message
        events = core.list_namespaced_event("default", field_selector="involvedObject.name=typo").items
        assert {"Scheduled", "Pulling", "Failed"} <= {event.reason for event in events}
    finally:
        core.delete_namespaced_pod("typo", "default", grace_period_seconds=0)


def test_a_persons_own_aws_settings_and_proxy_do_not_get_in_the_way(
    endpoints: Endpoints, lab: Lab, workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_PROFILE": "corp",
        "AWS_SESSION_TOKEN": "of-another-account",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "example.com")
    connected = Lab.connect(home=endpoints.home, root=workshop)
    assert connected.aws.client("sts").get_caller_identity()["Account"] == endpoints.account_id
    assert "uid=0" in connected.exec("deploy/nginx", "id").stdout


def test_what_is_typed_in_a_pod_runs_nowhere_else(core: client.CoreV1Api, tmp_path: Path) -> None:
    target = tmp_path / "written-by-the-pod"
    pod = _nginx(core)
    _exec(core, pod, "sh", "-c", f"mkdir -p {tmp_path} && echo x > {target}; cat {target}")
    assert not target.exists()
    assert "No such file" in _exec(core, pod, "cat", str(Path(__file__)))
