"""Deployments, ReplicaSets and DaemonSets make pods, keep them, renew them, and take them away."""

from __future__ import annotations

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException


@pytest.fixture
def deploy(apps, namespace, workload, eventually):
    def make(**spec):
        apps.create_namespaced_deployment(namespace, workload("Deployment", "web", **spec))
        return settled(apps, namespace, eventually)

    return make


def settled(apps, namespace, eventually, name="web"):
    """The deployment once its rollout is complete."""

    def complete():
        found = apps.read_namespaced_deployment(name, namespace)
        status, wanted = found.status, found.spec.replicas
        counts = (status.replicas or 0, status.updated_replicas or 0, status.available_replicas or 0)
        return found if status.observed_generation == found.metadata.generation and counts == (wanted,) * 3 else None

    return eventually(complete)


def pods(core, namespace, selector="app=web"):
    found = core.list_namespaced_pod(namespace, label_selector=selector).items
    return [pod for pod in found if not pod.metadata.deletion_timestamp]


def test_a_deployment_makes_pods_that_run(deploy, core, namespace):
    found = deploy(replicas=3)
    assert {c.type: (c.status, c.reason) for c in found.status.conditions} == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    running = pods(core, namespace)
    assert [pod.status.phase for pod in running] == ["Running"] * 3
    assert {pod.spec.node_name for pod in running} == {"ip-10-0-1-10.ec2.internal", "ip-10-0-2-20.ec2.internal"}
    assert len({pod.status.pod_ip for pod in running}) == 3


def test_a_new_image_rolls_out_in_a_new_replica_set(deploy, apps, core, namespace, eventually):
    deploy(replicas=2)
    change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "toolbox:2"}]}}}}
    apps.patch_namespaced_deployment("web", namespace, change)
    found = settled(apps, namespace, eventually)
    assert found.metadata.annotations["deployment.kubernetes.io/revision"] == "2"
    eventually(lambda: {p.spec.containers[0].image for p in pods(core, namespace)} == {"toolbox:2"})
    sizes = {
        s.metadata.annotations["deployment.kubernetes.io/revision"]: s.spec.replicas
        for s in apps.list_namespaced_replica_set(namespace).items
    }
    assert sizes == {"1": 0, "2": 2}


def test_a_bad_image_leaves_the_old_pods_serving(deploy, apps, core, namespace, eventually):
    deploy(replicas=2)
    change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "nosuch:9"}]}}}}
    apps.patch_namespaced_deployment("web", namespace, change)

    def stuck():
        states = [p.status.container_statuses[0].state for p in pods(core, namespace) if p.status.container_statuses]
        return [s for s in states if s.waiting and s.waiting.reason in ("ErrImagePull", "ImagePullBackOff")]

    eventually(stuck)
    found = apps.read_namespaced_deployment("web", namespace)
    assert found.status.available_replicas == 2
    assert found.status.unavailable_replicas == 1


def test_going_back_to_an_old_template_reuses_its_replica_set(deploy, apps, namespace, eventually):
    before = deploy(replicas=1)
    for image in ("toolbox:2", "toolbox:1"):
        change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}}
        apps.patch_namespaced_deployment("web", namespace, change)
        after = settled(apps, namespace, eventually)
    assert before.metadata.annotations["deployment.kubernetes.io/revision"] == "1"
    assert after.metadata.annotations["deployment.kubernetes.io/revision"] == "3"
    assert len(apps.list_namespaced_replica_set(namespace).items) == 2


def test_recreate_has_never_both_versions(deploy, apps, core, namespace, eventually):
    deploy(replicas=2, strategy={"type": "Recreate"})
    change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "toolbox:2"}]}}}}
    apps.patch_namespaced_deployment("web", namespace, change)
    settled(apps, namespace, eventually)
    assert {p.spec.containers[0].image for p in pods(core, namespace)} == {"toolbox:2"}


def test_scale_by_the_subresource(deploy, apps, core, namespace, eventually):
    deploy(replicas=1)
    scale = apps.read_namespaced_deployment_scale("web", namespace)
    assert (scale.spec.replicas, scale.status.selector) == (1, "app=web")
    assert (scale.api_version, scale.kind, scale.metadata.name) == ("autoscaling/v1", "Scale", "web")
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 3}})
    settled(apps, namespace, eventually)
    assert len(pods(core, namespace)) == 3
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 0}})
    eventually(lambda: not core.list_namespaced_pod(namespace).items)


def test_a_deleted_pod_is_replaced(deploy, core, namespace, eventually):
    deploy(replicas=1)
    (first,) = pods(core, namespace)
    core.delete_namespaced_pod(first.metadata.name, namespace)

    def replaced():
        names = [p.metadata.name for p in pods(core, namespace) if p.status.phase == "Running"]
        return names and names != [first.metadata.name]

    eventually(replaced)


def test_deleting_a_deployment_takes_its_pods(deploy, apps, core, namespace, eventually):
    deploy(replicas=2)
    apps.delete_namespaced_deployment("web", namespace)
    eventually(lambda: not core.list_namespaced_pod(namespace).items)
    assert apps.list_namespaced_replica_set(namespace).items == []


def test_foreground_deletion_waits_for_the_pods(deploy, apps, core, namespace, eventually):
    deploy(replicas=1)
    apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground")

    def gone():
        try:
            apps.read_namespaced_deployment("web", namespace)
        except ApiException as error:
            return error.status == 404
        return False

    eventually(gone)
    assert core.list_namespaced_pod(namespace).items == []


def test_orphaned_pods_stay_and_are_adopted_again(deploy, apps, core, namespace, workload, eventually):
    deploy(replicas=1)
    (pod,) = pods(core, namespace)
    apps.delete_namespaced_deployment("web", namespace, propagation_policy="Orphan")
    eventually(lambda: not apps.list_namespaced_replica_set(namespace).items[0].metadata.owner_references)
    apps.create_namespaced_deployment(namespace, workload("Deployment", "web", replicas=1))
    settled(apps, namespace, eventually)
    assert [p.metadata.name for p in pods(core, namespace)] == [pod.metadata.name]


def test_scaling_is_told_in_events(deploy, core, namespace, eventually):
    deploy(replicas=2)
    messages = {e.reason: e.message for e in core.list_namespaced_event(namespace).items}
    assert messages["ScalingReplicaSet"].startswith("Scaled up replica set web-")
    assert messages["SuccessfulCreate"].startswith("Created pod: web-")
    assert messages["Scheduled"].startswith(f"Successfully assigned {namespace}/web-")
    assert messages["Started"] == "Container started"


@pytest.fixture
def daemons(apps, namespace, workload, eventually):
    def make(wanted=2, **spec):
        apps.create_namespaced_daemon_set(namespace, workload("DaemonSet", "daemon", **spec))
        return eventually(lambda: daemon_status(apps, namespace, wanted))

    return make


def daemon_status(apps, namespace, wanted):
    found = apps.read_namespaced_daemon_set("daemon", namespace)
    status = found.status
    counts = (status.desired_number_scheduled, status.updated_number_scheduled or 0, status.number_available or 0)
    fits = counts == (wanted,) * 3 and status.observed_generation == found.metadata.generation
    return found if fits else None


def test_a_daemon_set_has_a_pod_on_every_node(daemons, core, namespace):
    daemons()
    found = pods(core, namespace, "app=daemon")
    assert sorted(pod.spec.node_name for pod in found) == ["ip-10-0-1-10.ec2.internal", "ip-10-0-2-20.ec2.internal"]


def test_a_daemon_set_follows_its_node_selector(daemons, core, namespace):
    daemons(1, pod={"nodeSelector": {"kubernetes.io/hostname": "ip-10-0-2-20.ec2.internal"}})
    assert [p.spec.node_name for p in pods(core, namespace, "app=daemon")] == ["ip-10-0-2-20.ec2.internal"]


def test_a_daemon_set_stays_off_a_tainted_node_unless_it_tolerates(daemons, apps, core, namespace, eventually):
    node = "ip-10-0-1-10.ec2.internal"
    core.patch_node(node, {"spec": {"taints": [{"key": "only", "value": "x", "effect": "NoSchedule"}]}})
    try:
        daemons(1)
        tolerations = [{"key": "only", "operator": "Exists"}]
        change = {"spec": {"template": {"spec": {"tolerations": tolerations}}}}
        apps.patch_namespaced_daemon_set("daemon", namespace, change)
        eventually(lambda: daemon_status(apps, namespace, 2))
    finally:
        core.patch_node(node, {"spec": {"taints": None}})


def test_a_daemon_set_renews_its_pods(daemons, apps, core, namespace, eventually):
    daemons()
    before = {p.metadata.uid for p in pods(core, namespace, "app=daemon")}
    change = {"spec": {"template": {"metadata": {"annotations": {"checksum": "2"}}}}}
    apps.patch_namespaced_daemon_set("daemon", namespace, change)
    eventually(lambda: daemon_status(apps, namespace, 2))
    after = {p.metadata.uid for p in pods(core, namespace, "app=daemon")}
    assert before.isdisjoint(after)
    assert {rev.revision for rev in apps.list_namespaced_controller_revision(namespace).items} == {1, 2}


def test_on_delete_waits_until_somebody_deletes_the_pod(daemons, apps, core, namespace, eventually):
    daemons(updateStrategy={"type": "OnDelete"})
    before = {p.metadata.name for p in pods(core, namespace, "app=daemon")}
    change = {"spec": {"template": {"metadata": {"annotations": {"checksum": "2"}}}}}
    apps.patch_namespaced_daemon_set("daemon", namespace, change)

    def seen():
        status = apps.read_namespaced_daemon_set("daemon", namespace).status
        return status.updated_number_scheduled in (None, 0)

    eventually(seen)
    assert {p.metadata.name for p in pods(core, namespace, "app=daemon")} == before
    for name in before:
        core.delete_namespaced_pod(name, namespace)
    eventually(lambda: daemon_status(apps, namespace, 2))


def _job(*command, **spec):
    container = {"name": "main", "image": "toolbox:1", "command": list(command)}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {"metadata": {"name": "once"}, "spec": {"template": template, **spec}}


def test_a_job_runs_to_its_completions(api, core, namespace, eventually):
    batch = client.BatchV1Api(api)
    batch.create_namespaced_job(namespace, _job("exit", "0", completions=3, parallelism=2))
    status = eventually(lambda: _finished(batch, namespace))
    assert status.succeeded == 3
    assert status.conditions[0].type == "Complete"
    assert len(core.list_namespaced_pod(namespace, label_selector="job-name=once").items) == 3


def test_a_job_gives_up_after_its_limit(api, namespace, eventually):
    batch = client.BatchV1Api(api)
    batch.create_namespaced_job(namespace, _job("exit", "1", backoffLimit=2))
    status = eventually(lambda: _finished(batch, namespace))
    assert (status.failed, status.conditions[0].reason) == (3, "BackoffLimitExceeded")


def test_a_finished_job_is_deleted_after_its_time_to_live(api, core, namespace, eventually):
    batch = client.BatchV1Api(api)
    batch.create_namespaced_job(namespace, _job("exit", "0", ttlSecondsAfterFinished=0))
    eventually(lambda: not batch.list_namespaced_job(namespace).items)
    eventually(lambda: not core.list_namespaced_pod(namespace).items)


def _finished(batch, namespace):
    status = batch.read_namespaced_job("once", namespace).status
    return status if status.conditions else None


def test_pods_that_are_refused_are_reported_and_made_once_they_may_be(apps, core, namespace, workload, eventually):
    level = "pod-security.kubernetes.io/enforce"
    core.patch_namespace(namespace, {"metadata": {"labels": {level: "restricted"}}})
    apps.create_namespaced_deployment(namespace, workload("Deployment", "web", replicas=1))

    def told():
        return [e for e in core.list_namespaced_event(namespace).items if e.reason == "FailedCreate"]

    (event,) = eventually(told)
    assert event.message.startswith('Error creating: pods "web-')
    assert 'violates PodSecurity "restricted:latest"' in event.message
    conditions = {c.type: c.reason for c in apps.read_namespaced_deployment("web", namespace).status.conditions}
    assert conditions["ReplicaFailure"] == "FailedCreate"
    core.patch_namespace(namespace, {"metadata": {"labels": {level: None}}})
    settled(apps, namespace, eventually)
    (pod,) = pods(core, namespace)
    assert f'"{pod.metadata.name}"' in event.message
