"""The parts of the Kubernetes wrapper that need no cluster."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import ExecError, StepError, StoppedError, TargetError
from labkit.kube import Kube
from labkit.kube.exec import exit_code
from labkit.kube.objects import (
    API_VERSIONS,
    WORKLOADS,
    behaviour,
    has_labels,
    held_by,
    in_order,
    load_objects,
    requested,
    rollout_unmet,
    runs_nowhere,
)
from labkit.kube.rollout import Patience, Problem


def test_objects_are_created_in_dependency_order(workshop: Path) -> None:
    objects = list(load_objects([workshop / "manifests/nginx", workshop / "manifests/fluent-bit"]))
    kinds = [item["kind"] for item in in_order(objects)]
    assert kinds == ["Namespace", "ServiceAccount", "ConfigMap", "Service", "DaemonSet", "Deployment"]


def test_a_broken_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: b: c")
    with pytest.raises(StepError, match=r"bad\.yaml is not YAML"):
        list(load_objects([tmp_path]))
    (tmp_path / "bad.yaml").write_text("[" * 200_000)
    with pytest.raises(StepError, match=r"bad\.yaml is nested too deeply"):
        list(load_objects([tmp_path]))
    with pytest.raises(StepError, match="can't be read"):
        list(load_objects([tmp_path / "missing.yaml"]))


def workload(kind: str, generation: int, spec: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"generation": generation}, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("item", "unmet"),
    [
        (workload("Deployment", 2, {"replicas": 1}, {"observedGeneration": 1}), "the controller hasn't seen"),
        (
            workload("Deployment", 1, {"replicas": 2}, {"observedGeneration": 1, "updatedReplicas": 1, "replicas": 1}),
            "1 of 2 pods have been updated",
        ),
        (
            workload(
                "Deployment",
                1,
                {"replicas": 1},
                {"observedGeneration": 1, "updatedReplicas": 1, "replicas": 2, "readyReplicas": 2},
            ),
            "1 old pod",
        ),
        (
            workload(
                "DaemonSet",
                1,
                {},
                {
                    "observedGeneration": 1,
                    "desiredNumberScheduled": 2,
                    "updatedNumberScheduled": 2,
                    "numberReady": 1,
                },
            ),
            "1 of 2 pods are ready",
        ),
    ],
)
def test_what_a_rollout_waits_for(item: dict[str, Any], unmet: str) -> None:
    assert rollout_unmet(item).startswith(unmet)


def test_a_complete_rollout_waits_for_nothing() -> None:
    status = {"observedGeneration": 3, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberReady": 2}
    assert rollout_unmet(workload("DaemonSet", 3, {}, status)) == ""


def test_a_container_that_runs_between_two_crashes_is_not_well() -> None:
    crash = Problem("p", "c", "Error", "exit code 1")
    pod: dict[str, Any] = {"metadata": {"name": "p"}, "status": {}}
    limit = Patience(0.0)
    assert limit.ended([crash], [pod])
    patient = Patience(1000.0)
    assert not patient.ended([crash], [pod])
    patient.ended([], [pod])
    assert patient._since
    patient.ended([], [{**pod, "status": {"containerStatuses": [{"name": "c", "ready": True}]}}])
    assert not patient._since


def test_exit_codes_come_from_the_status_object() -> None:
    failed = {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}}
    assert exit_code({"status": "Success"}, ["x"]) == 0
    assert exit_code(failed, ["x"]) == 3
    with pytest.raises(ExecError, match="no such file"):
        exit_code({"status": "Failure", "message": "no such file"}, ["x"])


@pytest.mark.parametrize(("target", "said"), [("a/b/c/d", "names no pod"), ("deploy/", "names no pod")])
def test_a_target_that_means_no_pod_is_refused(target: str, said: str) -> None:
    with pytest.raises(ExecError, match=said):
        Kube().resolve(target)


def test_a_clock_that_differs_is_allowed_for() -> None:
    kube = Kube()
    sent = dt.datetime.now(dt.UTC)
    kube._note_clock(f"{sent:%a, %d %b %Y %H:%M:%S} GMT", sent)
    assert abs(kube.now() - dt.datetime.now(dt.UTC)) < dt.timedelta(seconds=0.1)
    assert abs(kube.now(latest=True) - dt.datetime.now(dt.UTC)) < dt.timedelta(seconds=0.1)
    behind = sent - dt.timedelta(seconds=90)
    kube._note_clock(f"{behind:%a, %d %b %Y %H:%M:%S} GMT", sent)
    # Never later than the cluster's clock: an alert raised from now on must not count as an old one.
    assert kube.now() <= dt.datetime.now(dt.UTC) - dt.timedelta(seconds=90)
    assert kube.now(latest=True) - kube.now() > dt.timedelta(seconds=0.9), "it was told in whole seconds"


def test_a_missing_kubeconfig_is_said(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="There is no kubeconfig"):
        Kube(kubeconfig=tmp_path / "none").request("GET", "/version")


def test_ctrl_c_while_waiting_is_two_plain_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    kube = Kube()
    monkeypatch.setattr(kube, "version", lambda path: "1")

    def unmet() -> str:
        raise KeyboardInterrupt

    with pytest.raises(StoppedError, match="Stopped waiting for the rollout") as caught:
        kube.wait(unmet, "/api/v1/pods", timeout=1, what="the rollout")
    assert caught.value.hint


def test_a_problem_names_its_pod_and_container_if_it_has_them() -> None:
    assert Problem("web-1", "nginx", "CrashLoopBackOff", "exit code 1").line == (
        "pod web-1, container nginx: CrashLoopBackOff: exit code 1"
    )
    assert Problem("web-1", "", "Unschedulable", "no node").line == "pod web-1: Unschedulable: no node"
    assert Problem("", "", "FailedCreate", "").line == "a pod could not be made: FailedCreate"
    assert str(Problem("p", "c", "Error", "", log="a\nb\n")).endswith("its log ends with:\n      a\n      b")


def test_pods_are_in_the_core_group_and_workloads_in_apps() -> None:
    assert API_VERSIONS == {
        "Pod": "v1",
        "Deployment": "apps/v1",
        "DaemonSet": "apps/v1",
        "StatefulSet": "apps/v1",
        "ReplicaSet": "apps/v1",
    }
    assert (WORKLOADS["po"], WORKLOADS["deployments"], WORKLOADS["ds"]) == ("Pod", "Deployment", "DaemonSet")


def test_what_was_requested_is_the_object_without_what_the_cluster_adds() -> None:
    item = {"kind": "ConfigMap", "metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "v"}}
    stored = {**item, "status": {"phase": "x"}}
    stored["metadata"] = {
        "name": "a",
        "labels": {"x": "y"},
        "resourceVersion": "7",
        "generation": 2,
        "managedFields": [],
    }
    assert requested(stored) == item
    assert behaviour(stored) == {"kind": "ConfigMap", "data": {"k": "v"}, "annotations": {}}


def test_labels_and_what_holds_an_object() -> None:
    item = {"kind": "Namespace", "metadata": {"name": "a", "labels": {"x": "y"}, "finalizers": ["orphan", "mine"]}}
    assert has_labels(item, {"x": "y"})
    assert not has_labels(item, {"x": "z"})
    assert not has_labels(None, {"x": "y"})
    assert held_by(item) == "finalizer mine"
    blocked = {"type": "NamespaceDeletionContentFailure", "status": "True", "message": "pods are left"}
    assert held_by({**item, "status": {"conditions": [blocked]}}) == "finalizer mine; pods are left"
    assert held_by({**item, "status": {"conditions": [{**blocked, "status": "False"}]}}) == "finalizer mine"
    alone = {**item, "metadata": {"name": "x"}, "spec": {"finalizers": ["kubernetes"]}}
    assert held_by(alone) == "no controller of the cluster has begun to empty it"


def test_a_daemon_set_without_nodes_runs_nowhere() -> None:
    assert runs_nowhere({"kind": "DaemonSet", "status": {"desiredNumberScheduled": 0}})
    assert runs_nowhere({"kind": "DaemonSet"})
    assert not runs_nowhere({"kind": "DaemonSet", "status": {"desiredNumberScheduled": 1}})
    assert not runs_nowhere({"kind": "Deployment", "status": {}})
