"""What keeps pods from running is told in Kubernetes' words, as soon as it is known, by waits and by the status."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ekslab.state import Endpoints
from labkit import Lab
from labkit.errors import StepError
from labkit.kube.objects import rollout_unmet
from labkit.kube.rollout import Patience, pod_problems, wait_rollout
from labkit.provision.steps import STEPS

LONG = 100.0  # seconds; the tests' own limit is close to it, so waiting for all of it fails

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    return Lab.connect(home=new_lab().home, root=workshop, timeout=LONG)


@contextmanager
def restricted(lab: Lab, namespace: str) -> Iterator[None]:
    """PodSecurity lets no pod of the workshop into the namespace."""
    path = lab.kube.path("v1", "Namespace", "", namespace)

    def enforce(level: str | None) -> None:
        body = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}}
        lab.kube.request("PATCH", path, body=body, content_type="application/merge-patch+json")

    enforce("restricted")
    try:
        yield
    finally:
        enforce(None)


@contextmanager
def cordoned(lab: Lab) -> Iterator[None]:
    def cordon(on: bool) -> None:
        for node in lab.kube.list("Node"):
            path = lab.kube.path("v1", "Node", "", node["metadata"]["name"])
            body = {"spec": {"unschedulable": on}}
            lab.kube.request("PATCH", path, body=body, content_type="application/merge-patch+json")

    cordon(True)
    try:
        yield
    finally:
        cordon(False)


def states(lab: Lab) -> dict[str, tuple[str, str]]:
    return {step: (state, what) for step, state, what in lab.status().rows}


def test_pods_that_admission_refuses(lab: Lab) -> None:
    with restricted(lab, "default"), pytest.raises(StepError, match="violates PodSecurity") as caught:
        lab.apply("nginx")
    assert "Step nginx: Deployment default/nginx did not roll out: 0 of 1 pods" in caught.value.message
    assert 'is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation' in caught.value.message
    lab.kube.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "falco"}}])
    with restricted(lab, "falco"), pytest.raises(StepError, match="violates PodSecurity") as caught:
        lab.apply("falco")
    assert "Step falco: DaemonSet falco/falco did not roll out: 0 of 2 pods" in caught.value.message
    assert "a pod could not be made: FailedCreate: pods" in caught.value.message
    assert "violates PodSecurity" in caught.value.message
    lab.apply("falco")  # what was refused once is no reason to give up later
    lab.apply("nginx")
    lab.teardown()
    lab.kube.delete([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "falco"}}])


def test_pods_that_no_node_takes(lab: Lab) -> None:
    with cordoned(lab):
        for step, what in (
            ("nginx", "Deployment default/nginx did not roll out"),
            ("canary", "Pod falco/canary did not end: its phase is Pending"),
        ):
            with pytest.raises(StepError, match=f"^Step {step}: {what}") as caught:
                lab.apply(step)
            assert "Unschedulable: 0/2 nodes are available: 2 node(s) were unschedulable." in caught.value.message
        state, what = states(lab)["nginx"]
        assert state == "not ready"
        assert "0 of 1 pods are ready; The nodes are cordoned: they take no new pods. pod nginx-" in what
    lab.ensure("nginx", "canary")
    assert states(lab)["nginx"][0] == states(lab)["canary"][0] == "applied"
    lab.teardown()


def test_a_node_that_is_on_its_way_is_waited_for(lab: Lab) -> None:
    with cordoned(lab):
        with pytest.raises(StepError, match="Deployment default/nginx did not roll out"):
            lab.apply("nginx")
        (pod,) = lab.kube.list("Pod", "default")
        assert pod_problems(lab.kube, pod)
        meta = {key: pod["metadata"][key] for key in ("name", "namespace", "uid")}
        event = {
            "metadata": {"name": "coming"},
            "involvedObject": {"kind": "Pod", "apiVersion": "v1", **meta},
            "reason": "TriggeredScaleUp",
            "message": "pod triggered scale-up",
            "type": "Normal",
        }
        lab.kube.request("POST", lab.kube.path("v1", "Event", "default"), body=event)
        (problem,) = pod_problems(lab.kube, pod)
        assert problem.cause is not None
        assert (problem.cause.name, problem.cause.ends) == ("node-is-coming", "never")
    lab.teardown()


def test_an_image_that_is_not_there(lab: Lab) -> None:
    lab.apply("nginx")
    path = lab.kube.path("apps/v1", "Deployment", "default", "nginx")
    image = {"spec": {"template": {"spec": {"containers": [{"name": "nginx", "image": "nginx:no-such-tag"}]}}}}
    lab.kube.request("PATCH", path, body=image, content_type="application/strategic-merge-patch+json")
    with pytest.raises(StepError, match=r"(ErrImagePull|ImagePullBackOff).*no-such-tag"):
        wait_rollout(lab.kube, "Deployment", "nginx", "default", timeout=LONG)
    state, what = states(lab)["nginx"]
    assert state == "not ready"
    assert "The registry doesn't have this image" in what
    lab.undo("nginx")


@pytest.mark.in_order
def test_a_rule_that_falco_refuses_is_told_at_once_and_mended_by_the_right_one(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # as patient as ever
    typo = tmp_path / "typo.yaml"
    text = (lab.settings.root / "custom-rules/whoami.yaml").read_text()
    typo.write_text(text.replace("proc.name = whoami", "proc.nmae = whoami"))
    seen: list[Any] = []
    original = Patience.ended

    def ended(self: Patience, problems: Any, pods: Any) -> bool:
        seen.extend(problems)
        return original(self, problems, pods)

    monkeypatch.setattr(Patience, "ended", ended)
    with pytest.raises(StepError, match=r"(?s)Step custom-rules: DaemonSet falco/falco did not.*LOAD_ERR.*proc\.nmae"):
        lab.apply("custom-rules", files=[typo])
    assert seen[-1].reason == "CrashLoopBackOff"
    assert len(seen) < 5  # told by the first looks at a pod that ended for it
    state, what = states(lab)["falco"]
    assert state == "not ready"
    assert "Falco refuses a rules file" in what
    lab.apply("custom-rules", files=["custom-rules/whoami.yaml"])
    assert states(lab)["falco"][0] == states(lab)["custom-rules"][0] == "applied"


@pytest.mark.in_order
def test_a_step_asks_helm_once_what_is_there_and_an_undone_one_has_been_reloaded_without(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []
    original = lab.helm._run

    def run(*arguments: str, **options: Any) -> str:
        runs.append(" ".join(arguments[:2] if arguments[0] == "get" else arguments[:1]))
        return original(*arguments, **options)

    monkeypatch.setattr(lab.helm, "_run", run)
    assert lab.apply("custom-rules").action == "unchanged"
    assert runs == ["history", "get values"]  # also for the step `falco`, which it needs
    runs.clear()
    assert lab.undo("custom-rules").action == "removed"
    assert runs == ["history", "get values", "history", "upgrade"]
    daemon_set = lab.kube.get("DaemonSet", "falco", "falco")
    assert daemon_set is not None
    assert rollout_unmet(daemon_set) == ""
    assert "Whoami run in container" not in set(lab.falco_rules()["rule"])
    runs.clear()
    assert lab.apply("falco").action == "unchanged"
    assert runs == ["history", "get values"]
    lab.teardown()


def test_a_cluster_without_nodes(new_lab: Callable[..., Endpoints], workshop: Path) -> None:
    lab = Lab.connect(home=new_lab().home, root=workshop, timeout=LONG)
    assert STEPS["falco"].status(lab.target).state == "absent"
    for node in lab.kube.list("Node"):
        lab.kube.request("DELETE", lab.kube.path("v1", "Node", "", node["metadata"]["name"]))
    with pytest.raises(StepError, match="DaemonSet falco/falco runs nowhere: the cluster has no nodes"):
        lab.apply("falco")
    assert states(lab)["falco"] == ("not ready", "no node takes its pods")
    with pytest.raises(StepError, match="Unschedulable: no nodes available to schedule pods"):
        lab.apply("nginx")
