"""What goes wrong on a real cluster, made in the embedded one: each failure is named in seconds, with its mend."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ekslab.state import Endpoints
from labkit import Lab
from labkit.alerts import arrival
from labkit.causes import Cause
from labkit.errors import LabError, StepError
from labkit.kube.rollout import problems, unwell, wait_rollout

SECONDS = 8.0
"""Within which each failure has to be named; the rollouts' own timeout is far beyond it."""
TIMEOUT = 100.0
MERGE = "application/merge-patch+json"

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    return Lab.connect(home=new_lab().home, root=workshop, timeout=TIMEOUT)


def patch(lab: Lab, api_version: str, kind: str, namespace: str, name: str, body: dict[str, Any]) -> None:
    lab.kube.request("PATCH", lab.kube.path(api_version, kind, namespace, name), body=body, content_type=MERGE)


def deployment(name: str = "w", **container: Any) -> dict[str, Any]:
    """A Deployment of one container; `pod` is the rest of the pods' spec."""
    pod = container.pop("pod", {})
    labels = {"app": name}
    spec = {"containers": [{"name": "c", "image": "nginx:1.29.3", **container}], **pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


@contextmanager
def applied(lab: Lab, *items: dict[str, Any]) -> Iterator[None]:
    lab.kube.apply(items)
    try:
        yield
    finally:
        lab.kube.delete(items)


def failure(lab: Lab, kind: str = "Deployment", name: str = "w", namespace: str = "default") -> StepError:
    """How waiting for a rollout fails, which it has to do in time."""
    begun = time.monotonic()
    with pytest.raises(StepError) as caught:
        wait_rollout(lab.kube, kind, name, namespace, timeout=TIMEOUT)
    assert time.monotonic() - begun < SECONDS
    assert "What is wrong: " in caught.value.message
    assert caught.value.hint
    return caught.value


def found(lab: Lab, until: str = "", kind: str = "Deployment", name: str = "w") -> Cause:
    """The cause of what keeps a workload's pods from being ready, once there is one (by that name)."""
    deadline = time.monotonic() + SECONDS
    seen: list[Any] = []
    while time.monotonic() < deadline:
        item = lab.kube.get(kind, name, "default")
        assert item is not None
        seen = [problem.cause for problem in problems(lab.kube, item, current=True)]
        if any(one is not None and one.name == until for one in seen):
            return next(one for one in seen if one is not None and one.name == until)
        time.sleep(0.1)
    raise AssertionError(f"{until} was not found: {seen}")


ROOT_CA = "kube-root-ca.crt"
EXECUTABLE = {"name": "v", "configMap": {"name": ROOT_CA, "defaultMode": 0o755}}
"""A volume with a file that is no program, though it may be executed."""
POD_FAILURES: list[tuple[str, dict[str, Any]]] = [
    ("image-not-found", {"image": "nginx:no-such-tag"}),
    ("image-not-found", {"image": "registry.example/other:1"}),
    ("image-denied", {"image": "registry.example/denied:1"}),
    ("image-denied", {"image": "registry.example/forbidden:1"}),
    ("image-credentials", {"image": "registry.example/no-credentials:1"}),
    ("image-credentials", {"image": "registry.example/unauthorized:1"}),
    ("image-rate-limit", {"image": "registry.example/rate-limit:1"}),
    ("image-platform", {"image": "registry.example/platform:1"}),
    ("image-certificate", {"image": "registry.example/certificate:1"}),
    ("image-disk", {"image": "registry.example/disk:1"}),
    ("image-name-service", {"image": "registry.example/no-name:1"}),
    ("image-network", {"image": "registry.example/no-route:1"}),
    ("image-network", {"image": "registry.example/unavailable:1"}),
    ("image-inspect", {"image": "registry.example/inspect:1"}),
    ("image-name", {"image": "NGINX:1"}),
    ("image-never", {"image": "nginx:1.29.3-never", "imagePullPolicy": "Never"}),
    ("program-missing", {"command": ["no-such-program"]}),
    ("architecture", {"command": ["/v/ca.crt"], "pod": {"volumes": [EXECUTABLE]}}),
    ("no-claim", {"pod": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "none"}}]}}),
    ("config-missing", {"envFrom": [{"configMapRef": {"name": "none"}}]}),
    ("config-missing", {"envFrom": [{"secretRef": {"name": "none"}}]}),
    ("config-key", {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": ROOT_CA, "key": "a"}}}]}),
    ("runs-as-root", {"securityContext": {"runAsNonRoot": True}}),
    ("crash", {"command": ["sh", "-c", "echo last words; exit 3"]}),
    ("command-not-found", {"command": ["sh", "-c", "no-such-program"]}),
    ("ends-by-itself", {"command": ["true"]}),
    ("no-room", {"resources": {"requests": {"cpu": "64"}}}),
    ("no-room", {"resources": {"requests": {"memory": "640Gi"}}}),
    ("node-affinity", {"pod": {"nodeSelector": {"disk": "none"}}}),
    ("mount-missing", {"pod": {"volumes": [{"name": "v", "configMap": {"name": "none"}}]}}),
    ("mount-host", {"pod": {"volumes": [{"name": "v", "hostPath": {"path": "/none", "type": "Directory"}}]}}),
    ("no-priority-class", {"pod": {"priorityClassName": "none"}}),
    ("no-service-account", {"pod": {"serviceAccountName": "none"}}),
    ("runtime-class", {"pod": {"runtimeClassName": "none"}}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "container"), POD_FAILURES, ids=[f"{number}-{name}" for number, (name, _) in enumerate(POD_FAILURES)]
)
def test_why_a_pod_does_not_run(lab: Lab, name: str, container: dict[str, Any]) -> None:
    container = copy.deepcopy(container)
    if volumes := container.get("pod", {}).get("volumes"):
        container["volumeMounts"] = [{"name": volume["name"], "mountPath": "/v"} for volume in volumes]
    with applied(lab, deployment(**container)):
        cause = found(lab, name)
        if cause.ends in ("now", "soon"):
            error = failure(lab)
            assert cause.what in error.message
            assert cause.mend in error.hint


def test_a_volume_that_nothing_provides(lab: Lab) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
    with applied(lab, claim, deployment(pod={"volumes": [volume]})):
        assert "EBS CSI driver" in found(lab, "unbound-volume").mend
        path = lab.kube.path("v1", "PersistentVolumeClaim", "default", "data")
        bound = {"status": {"phase": "Bound"}}
        lab.kube.request("PATCH", f"{path}/status", body=bound, content_type=MERGE)  # as a driver would
        assert "persistentVolumeClaim volumes don't exist in the embedded cluster" in failure(lab).message


def test_probes_that_fail_are_shown_and_only_those_that_end_a_container_end_the_wait(lab: Lab) -> None:
    probe = {"httpGet": {"path": "/nothing-there", "port": 80}, "periodSeconds": 1, "failureThreshold": 1}
    with applied(lab, deployment(readinessProbe=probe)):
        assert found(lab, "readiness").ends == "never"
        said = f"{unwell(lab.kube, lab.kube.get('Deployment', 'w', 'default') or {})}"
        assert "its readiness probe fails" in said
        assert "HTTP probe failed with statuscode: 404" in said
        with pytest.raises(StepError, match="its readiness probe fails"):
            wait_rollout(lab.kube, "Deployment", "w", "default", timeout=1.0)
    with applied(lab, deployment(livenessProbe=probe, readinessProbe=probe)):
        error = failure(lab)
        assert "its liveness probe fails" in error.message
        assert "startupProbe" in error.hint


def test_a_container_that_takes_more_memory_than_its_limit(lab: Lab) -> None:
    hungry = ["sh", "-c", "x=$(head -c 30000000 /dev/zero | tr '\\0' x); y=$x$x$x$x; sleep 100"]
    with applied(lab, deployment(command=hungry, resources={"limits": {"memory": "16Mi"}})):
        cause = found(lab, "out-of-memory")
    assert "limits.memory" in cause.mend


def test_nodes_that_are_cordoned_tainted_full_or_not_ready(lab: Lab) -> None:
    nodes = [node["metadata"]["name"] for node in lab.kube.list("Node")]

    def all_nodes(spec: dict[str, Any]) -> None:
        for name in nodes:
            patch(lab, "v1", "Node", "", name, {"spec": spec})

    with applied(lab, deployment()):
        wait_rollout(lab.kube, "Deployment", "w", "default", timeout=TIMEOUT)
        for name, spec, off in (
            ("cordoned", {"unschedulable": True}, {"unschedulable": None}),
            ("taint", {"taints": [{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}]}, {"taints": None}),
        ):
            all_nodes(spec)
            lab.kube.restart("Deployment", "w", "default")
            assert found(lab, name).what in failure(lab).message
            all_nodes(off)
        wait_rollout(lab.kube, "Deployment", "w", "default", timeout=TIMEOUT)


@contextmanager
def fault(lab: Lab, *nodes: str, **annotations: str) -> Iterator[None]:
    def annotate(values: dict[str, str | None]) -> None:
        body = {"metadata": {"annotations": {f"ekslab/{key}": value for key, value in values.items()}}}
        for node in nodes:
            patch(lab, "v1", "Node", "", node, body)

    annotate({**annotations})
    try:
        yield
    finally:
        annotate(dict.fromkeys(annotations))


def wait_ready(lab: Lab, wanted: str) -> None:
    def states() -> set[str]:
        conditions = [c for node in lab.kube.list("Node") for c in node["status"]["conditions"]]
        return {c["status"] for c in conditions if c["type"] == "Ready"}

    lab.wait_until(lambda: states() == {wanted} or None, f"nodes to be {wanted}", timeout=SECONDS)


def test_nodes_that_stop_answering_in_the_middle_of_a_rollout_and_come_back(lab: Lab) -> None:
    nodes = [node["metadata"]["name"] for node in lab.kube.list("Node")]
    slow = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    with applied(lab, deployment(readinessProbe=slow)):
        lab.wait_until(lambda: lab.kube.list("Pod", "default", labels="app=w") or None, "a pod", timeout=SECONDS)
        with fault(lab, *nodes, kubelet="stopped"):
            cause = found(lab, "node-silent")
            assert cause.ends == "slow"
            assert nodes[0] in cause.what or nodes[1] in cause.what
            assert "it was stopped (a spot interruption, a crash)" in failure(lab).message
            with pytest.raises(LabError, match="NodeStatusUnknown: Kubelet stopped posting node status"):
                lab.exec("deploy/w", "id")
        wait_ready(lab, "True")
        lab.wait_until(lambda: _touched(lab) or None, "the pod to be back", timeout=SECONDS)
        wait_rollout(lab.kube, "Deployment", "w", "default", timeout=TIMEOUT)
    with fault(lab, *nodes, kubelet="no-network"):
        wait_ready(lab, "False")
        with applied(lab, deployment()):
            assert found(lab, "taint-not-ready").what in failure(lab).message
    wait_ready(lab, "True")


def _touched(lab: Lab) -> bool:
    try:
        return lab.exec("deploy/w", "touch", "/tmp/ready").exit_code == 0
    except LabError:
        pods = lab.kube.list("Pod", "default", labels="app=w")
        try:
            return lab.exec(pods[0]["metadata"]["name"], "touch", "/tmp/ready").exit_code == 0
        except LabError:
            return False


def test_a_daemon_set_says_which_nodes_it_is_not_on(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [node["metadata"]["name"] for node in lab.kube.list("Node")]
    item = deployment()
    item["kind"] = "DaemonSet"
    with applied(lab, item), fault(lab, nodes[0], kubelet="no-network"):
        lab.wait_until(
            lambda: "cni plugin" in unwell(lab.kube, lab.kube.get("DaemonSet", "w", "default") or {}) or None,
            "the node to be missed",
            timeout=SECONDS,
        )
        wait_rollout(lab.kube, "DaemonSet", "w", "default", timeout=TIMEOUT)
        assert f"is rolled out, but not everywhere: node {nodes[0]} is not ready" in capsys.readouterr().err
    wait_ready(lab, "True")


@pytest.mark.parametrize(
    ("kernel", "cause"),
    [("no-btf", "has no BTF"), ("old", "is older than 5.8"), ("locked-down", "is locked down")],
)
def test_kernels_that_take_no_probe_of_falcos(
    lab: Lab, kernel: str, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "_DOUBT", 0.5)
    lab.ensure("falco", "log-group")
    nodes = [node["metadata"]["name"] for node in lab.kube.list("Node")]
    with fault(lab, *nodes, bpf=kernel):
        lab.kube.restart("DaemonSet", "falco", "falco")
        assert cause in failure(lab, "DaemonSet", "falco", "falco").message
        for pod in lab.kube.list("Pod", "falco"):
            lab.kube.delete_one({**pod, "apiVersion": "v1", "kind": "Pod"})
        begun = time.monotonic()
        with pytest.raises(LabError, match=rf"Broken link: event\. Falco isn't ready\. .*{cause}"):
            lab.wait_for_alert(timeout=TIMEOUT)
        assert time.monotonic() - begun < SECONDS
    lab.kube.restart("DaemonSet", "falco", "falco")
    wait_rollout(lab.kube, "DaemonSet", "falco", "falco", timeout=TIMEOUT)


@pytest.mark.parametrize("lacking", ["BPF", "SYS_RESOURCE", "PERFMON"])
def test_privileges_that_falco_lacks(lab: Lab, lacking: str) -> None:
    lab.ensure("falco")
    have = [name for name in ("BPF", "SYS_RESOURCE", "PERFMON", "SYS_PTRACE") if name != lacking]
    found = lab.kube.get("DaemonSet", "falco", "falco")
    assert found is not None
    spec = found["spec"]["template"]["spec"]
    for container in spec["containers"]:
        if container["name"] == "falco":
            container["securityContext"] = {"capabilities": {"add": have}, "privileged": False}
    patch(lab, "apps/v1", "DaemonSet", "falco", "falco", {"spec": {"template": {"spec": spec}}})
    error = failure(lab, "DaemonSet", "falco", "falco")
    assert "privileges" in error.message or "capability SYS_RESOURCE" in error.message
    assert "leastPrivileged" in error.hint
    lab.undo("falco")


def test_a_rollout_that_another_program_changes_or_deletes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    superseded = "was changed while its rollout was waited for, by labkit-restart at .*: this rollout is superseded"
    changes: list[tuple[Callable[[], object], str]] = [
        (lambda: lab.kube.restart("Deployment", "w", "default"), superseded),
        (lambda: lab.kube.delete_one(deployment()), "was deleted while it was waited for"),
    ]
    with applied(lab, deployment(readinessProbe={"exec": {"command": ["false"]}})):
        for change, said in changes:
            looks = iter([False, False, True])
            with monkeypatch.context() as patched:

                def wait(*_: Any, change: Callable[[], object] = change, looks: Iterator[bool] = looks) -> None:
                    time.sleep(0.1)
                    if next(looks, False):
                        change()

                patched.setattr(lab.kube, "until_change", wait)
                with pytest.raises(StepError, match=said):
                    wait_rollout(lab.kube, "Deployment", "w", "default", timeout=TIMEOUT)


def test_a_rollout_that_is_paused_or_past_its_deadline(lab: Lab) -> None:
    paused = deployment()
    paused["spec"]["paused"] = True
    with applied(lab, paused):
        assert "The rollout is paused" in failure(lab).message
    late = deployment(readinessProbe={"exec": {"command": ["false"]}})
    late["spec"]["progressDeadlineSeconds"] = 1
    late["spec"]["minReadySeconds"] = 0
    with applied(lab, late):
        assert "progressDeadlineSeconds" in failure(lab).message
    by_hand = deployment()
    by_hand["kind"], by_hand["spec"]["updateStrategy"] = "DaemonSet", {"type": "OnDelete"}
    with applied(lab, by_hand):
        wait_rollout(lab.kube, "DaemonSet", "w", "default", timeout=TIMEOUT)
        lab.kube.restart("DaemonSet", "w", "default")
        assert "OnDelete" in failure(lab, "DaemonSet").message


def test_a_pod_that_a_finalizer_keeps(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.kube.rollout._OVERDUE", 0.0)
    monkeypatch.setattr("labkit.kube.client.HELD_SECONDS", 0.5)
    item = {**deployment(pod={"terminationGracePeriodSeconds": 1}), "kind": "DaemonSet"}
    with applied(lab, item):
        wait_rollout(lab.kube, "DaemonSet", "w", "default", timeout=TIMEOUT)
        pod, *_ = lab.kube.list("Pod", "default", labels="app=w")
        name = pod["metadata"]["name"]
        try:
            patch(lab, "v1", "Pod", "default", name, {"metadata": {"finalizers": ["example.com/hold"]}})
            lab.kube.restart("DaemonSet", "w", "default")
            assert "finalizer example.com/hold keeps it" in failure(lab, "DaemonSet").message
            with pytest.raises(StepError, match=r"does not go: finalizer example.com/hold of pod"):
                lab.kube.delete_one(item)
            lab.kube.apply([item])
        finally:
            patch(lab, "v1", "Pod", "default", name, {"metadata": {"finalizers": None}})


def test_a_namespace_that_is_being_deleted_takes_nothing_new(lab: Lab) -> None:
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "going"}}
    held = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "held", "namespace": "going", "finalizers": ["example.com/hold"]},
    }
    lab.kube.apply([space, held])
    lab.kube.request("DELETE", lab.kube.path("v1", "Namespace", "", "going"))
    item = deployment()
    item["metadata"]["namespace"] = "going"
    with pytest.raises(StepError, match="because it is being terminated") as caught:
        lab.kube.apply([item])
    assert "kubectl get namespace going -o yaml" in caught.value.hint
    patch(lab, "v1", "ConfigMap", "going", "held", {"metadata": {"finalizers": None}})
    lab.kube.wait_gone({**space, "metadata": {"name": "going"}})


def webhook(kind: str = "Validating", **client: Any) -> dict[str, Any]:
    """A configuration that sends new pods of namespace `default` to one webhook, `gate.example.com`."""
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    only = {"matchLabels": {"kubernetes.io/metadata.name": "default"}}
    hook = {"name": "gate.example.com", "rules": [rule], "clientConfig": client, "namespaceSelector": only}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": "gate"},
        "webhooks": [{**hook, "sideEffects": "None", "admissionReviewVersions": ["v1"]}],
    }


@pytest.fixture(scope="module")
def gate(lab: Lab) -> Lab:
    """A lab in which a webhook's program runs, behind Service `gate` of namespace `gate`."""
    program = deployment("gate", image="registry.k8s.io/e2e-test-images/agnhost:2.53", args=["webhook"])
    program["metadata"]["namespace"] = "gate"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "gate", "namespace": "gate"},
        "spec": {"selector": {"app": "gate"}, "ports": [{"port": 443, "targetPort": 8444}]},
    }
    empty = {**service, "metadata": {"name": "empty", "namespace": "gate"}, "spec": {"ports": [{"port": 443}]}}
    closed = {**service, "metadata": {"name": "closed", "namespace": "gate"}}
    closed["spec"] = {"selector": {"app": "gate"}, "ports": [{"port": 443, "targetPort": 9999}]}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gate"}}
    lab.kube.apply([space, program, service, empty, closed])
    wait_rollout(lab.kube, "Deployment", "gate", "gate", timeout=TIMEOUT)
    return lab


@pytest.mark.parametrize(
    ("kind", "service", "path", "cause", "said"),
    [
        ("Validating", "gate", "/always-deny", "webhook-denied", "denied the request: this webhook denies all"),
        ("Mutating", "gate", "/always-deny", "webhook-denied", "denied the request: this webhook denies all"),
        ("Validating", "gate", "/always-allow-delay-5s", "webhook-unreachable", "context deadline exceeded"),
        ("Validating", "none", "/", "webhook-unreachable", 'service "none" not found'),
        ("Validating", "empty", "/", "webhook-unreachable", 'no endpoints available for service "empty"'),
        ("Mutating", "closed", "/", "webhook-unreachable", ":9999: connect: connection refused"),
    ],
)
def test_pods_that_an_admission_webhook_refuses_or_keeps(
    gate: Lab, kind: str, service: str, path: str, cause: str, said: str
) -> None:
    configuration = webhook(kind, service={"name": service, "namespace": "gate", "path": path})
    with applied(gate, configuration), applied(gate, deployment()):
        assert found(gate, cause).what in (message := failure(gate).message)
        assert said in message
        assert "gate.example.com" in message
        with applied(gate, {**deployment("d"), "kind": "DaemonSet"}):
            assert said in failure(gate, "DaemonSet", "d").message
        gate.kube.delete([configuration])
        wait_rollout(gate.kube, "Deployment", "w", "default", timeout=TIMEOUT)


def test_a_webhook_lets_through_what_it_does_not_mind(gate: Lab) -> None:
    configuration = webhook(service={"name": "gate", "namespace": "gate", "path": "/pods"})
    with applied(gate, configuration), applied(gate, deployment()):
        wait_rollout(gate.kube, "Deployment", "w", "default", timeout=TIMEOUT)


def test_quotas_and_limit_ranges(lab: Lab) -> None:
    meta = {"name": "small", "namespace": "default"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta}
    limits = {"apiVersion": "v1", "kind": "LimitRange", "metadata": meta}
    most = {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]}
    for refuser, cause, said in (
        ({**quota, "spec": {"hard": {"pods": "0"}}}, "quota", "pods=1 is asked for, pods=0 of pods=0 is in use"),
        ({**quota, "spec": {"hard": {"limits.cpu": "1"}}}, "quota-needs-limits", "every container to say limits.cpu"),
        ({**limits, "spec": most}, "limit-range", "maximum memory usage per Container is 64Mi"),
    ):  # fmt: skip
        big = deployment(resources={"limits": {"memory": "128Mi"}})
        with applied(lab, refuser, big):
            assert found(lab, cause)
            assert said in failure(lab).message


def test_a_node_that_is_drained_tainted_or_deleted_loses_its_pods_and_says_so(
    new_lab: Callable[..., Endpoints], workshop: Path
) -> None:
    lab = Lab.connect(home=new_lab().home, root=workshop, timeout=TIMEOUT)
    first, second = (node["metadata"]["name"] for node in lab.kube.list("Node"))

    def where() -> list[str]:
        pods = lab.kube.list("Pod", "default", labels="app=w")
        return [pod["spec"].get("nodeName", "") for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def is_on(*names: str) -> None:
        lab.wait_until(lambda: (where() and set(where()) <= set(names)) or None, f"pods on {names}", timeout=SECONDS)

    item = deployment(pod={"terminationGracePeriodSeconds": 1})
    item["spec"]["replicas"] = 2
    with applied(lab, item):
        wait_rollout(lab.kube, "Deployment", "w", "default", timeout=TIMEOUT)
        # kubectl drain
        patch(lab, "v1", "Node", "", first, {"spec": {"unschedulable": True}})
        for pod in lab.kube.list("Pod", "default", labels="app=w"):
            if pod["spec"]["nodeName"] == first:
                name = pod["metadata"]["name"]
                path = lab.kube.path("v1", "Pod", "default", name)
                lab.kube.request("POST", f"{path}/eviction", body={"metadata": {"name": name, "namespace": "default"}})
                (going,) = problems(lab.kube, {**(lab.kube.get("Pod", name, "default") or pod), "kind": "Pod"})
                assert (going.reason, going.cause and going.cause.name) == ("EvictionByEvictionAPI", "evicted")
        is_on(second)
        patch(lab, "v1", "Node", "", first, {"spec": {"unschedulable": None}})
        # a taint that evicts
        taint = {"key": "maintenance", "effect": "NoExecute"}
        patch(lab, "v1", "Node", "", second, {"spec": {"taints": [taint]}})
        is_on(first)
        assert lab.kube.list("Event", "default", fields="reason=TaintManagerEviction")
        patch(lab, "v1", "Node", "", second, {"spec": {"taints": None}})
        # kubectl delete node
        lab.kube.request("DELETE", lab.kube.path("v1", "Node", "", first))
        is_on(second)
        wait_rollout(lab.kube, "Deployment", "w", "default", timeout=TIMEOUT)
        lab.kube.request("DELETE", lab.kube.path("v1", "Node", "", second))
        error = failure(lab)
        assert "The cluster has no nodes" in error.message
