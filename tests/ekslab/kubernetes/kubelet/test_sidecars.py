"""Containers beside others: sidecars, hooks of the lifecycle, ephemeral containers, input of containers."""

from __future__ import annotations

import pytest
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

from ekslab.kubernetes.objects.resources import PODS


@pytest.fixture
def run(core, namespace, pod_manifest, eventually):
    """Makes a pod and waits for a phase; gives it back."""

    def make(name, *command, phase="Running", **spec):
        core.create_namespaced_pod(namespace, pod_manifest(name, *command, **spec))
        return eventually(lambda: _in_phase(core, namespace, name, phase))

    return make


def _in_phase(core, namespace, name, phase):
    pod = core.read_namespaced_pod(name, namespace)
    return pod if pod.status.phase == phase else None


def _messages(core, namespace, reason):
    found = [event for event in core.list_namespaced_event(namespace).items if event.reason == reason]
    return [event.message for event in sorted(found, key=lambda event: event.metadata.name)]


def _sidecar(name="side", **spec):
    env = [{"name": "PORT", "value": "81"}]
    return {"name": name, "image": "toolbox:1", "restartPolicy": "Always", "env": env, **spec}


def _exec(core, namespace, pod, *command, container="main"):
    return stream(
        core.connect_get_namespaced_pod_exec, pod, namespace, container=container, command=list(command),
        stdout=True, stderr=True,
    )  # fmt: skip


def test_a_sidecar_starts_first_and_ends_last(run, core, namespace, eventually):
    sidecar = {
        "name": "side",
        "image": "toolbox:1",
        "restartPolicy": "Always",
        "env": [{"name": "PORT", "value": "81"}],
    }
    run("pair", initContainers=[sidecar])
    pod = core.read_namespaced_pod("pair", namespace)
    assert pod.status.init_container_statuses[0].state.running
    assert pod.status.container_statuses[0].ready
    run("ends", "exit", "0", phase="Succeeded", restartPolicy="Never", initContainers=[sidecar])
    core.delete_namespaced_pod("pair", namespace)
    eventually(lambda: [p.metadata.name for p in core.list_namespaced_pod(namespace).items] == ["ends"])


def test_a_failed_init_container_ends_the_sidecar(run, core, namespace, eventually):
    sidecar = {"name": "side", "image": "toolbox:1", "restartPolicy": "Always"}
    bad = {"name": "bad", "image": "toolbox:1", "command": ["exit", "2"]}
    pod = run("p", phase="Failed", restartPolicy="Never", initContainers=[sidecar, bad])
    states = {status.name: status.state for status in pod.status.init_container_statuses}
    assert states["bad"].terminated.exit_code == 2
    assert states["side"].terminated
    assert pod.status.container_statuses[0].state.waiting.reason == "PodInitializing"


def test_a_sidecar_is_waited_for_and_counts_for_readiness(run, core, namespace, eventually):
    ready = {"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1}
    started = {"exec": {"command": ["cat", "/tmp/started"]}, "periodSeconds": 1, "failureThreshold": 60}
    side = _sidecar(startupProbe=started, readinessProbe=ready)
    run("pair", phase="Pending", initContainers=[side])
    eventually(lambda: core.read_namespaced_pod("pair", namespace).status.init_container_statuses[0].state.running)
    pod = core.read_namespaced_pod("pair", namespace)
    conditions = {c.type: c for c in pod.status.conditions}
    assert conditions["Initialized"].message == "containers with incomplete status: [side]"
    assert pod.status.container_statuses[0].state.waiting.reason == "PodInitializing"
    _exec(core, namespace, "pair", "touch", "/tmp/started", container="side")
    eventually(lambda: core.read_namespaced_pod("pair", namespace).status.container_statuses[0].ready)
    conditions = {c.type: c for c in core.read_namespaced_pod("pair", namespace).status.conditions}
    assert conditions["Initialized"].status == "True"
    assert conditions["Ready"].message == "containers with unready status: [side]"
    _exec(core, namespace, "pair", "touch", "/tmp/ready", container="side")
    eventually(
        lambda: (
            {c.type: c.status for c in core.read_namespaced_pod("pair", namespace).status.conditions}["Ready"] == "True"
        )
    )


def test_a_sidecar_that_ends_is_restarted_whatever_the_pod_s_policy(run, core, namespace, running, eventually):
    pod = run("pair", restartPolicy="Never", initContainers=[_sidecar()])
    kubelet = running.cluster.kubelets[pod.spec.node_name]

    def end():
        container = kubelet.container(running.cluster.store.get(PODS, namespace, "pair"), "side")
        first = container and kubelet.node.kernel.first_process(container)
        if first:
            first.signal(15)

    running.call(end)
    eventually(lambda: core.read_namespaced_pod("pair", namespace).status.init_container_statuses[0].restart_count == 1)
    eventually(lambda: core.read_namespaced_pod("pair", namespace).status.init_container_statuses[0].started)
    running.call(end)
    eventually(lambda: core.read_namespaced_pod("pair", namespace).status.init_container_statuses[0].restart_count >= 2)
    assert core.read_namespaced_pod("pair", namespace).status.phase == "Running"


def test_a_sidecar_whose_probe_fails_is_restarted(run, core, namespace, eventually):
    probe = {"httpGet": {"path": "/broken", "port": 81}, "periodSeconds": 1, "failureThreshold": 1}
    run("pair", initContainers=[_sidecar(livenessProbe=probe)])
    eventually(lambda: core.read_namespaced_pod("pair", namespace).status.init_container_statuses[0].restart_count >= 1)
    assert "Init container side failed liveness probe" in _messages(core, namespace, "Killing")


def test_sidecars_end_after_the_others_the_last_one_first(run, core, namespace, running, eventually):
    run("trio", initContainers=[_sidecar("a", env=[{"name": "PORT", "value": "82"}]), _sidecar("b")])
    ended = []
    kubelets = running.cluster.kubelets.values()

    def watch():
        stored = running.cluster.store.get(PODS, namespace, "trio")
        for kubelet in kubelets:
            for name in ("a", "b", "main"):
                container = kubelet.container(stored, name)
                if container is not None:
                    finish = container.finish

                    def note(code, now, name=name, finish=finish):
                        ended.append(name)
                        finish(code, now)

                    container.finish = note

    running.call(watch)
    core.delete_namespaced_pod("trio", namespace)
    eventually(lambda: not core.list_namespaced_pod(namespace).items)
    assert ended == ["main", "b", "a"]
    assert sorted(_messages(core, namespace, "Killing")) == [f"Stopping container {n}" for n in ("a", "b", "main")]
    assert max(event.count for event in core.list_namespaced_event(namespace).items if event.reason == "Killing") == 1


def test_hooks_run_after_the_start_and_before_the_end(run, core, namespace, eventually):
    volumes = {"volumes": [{"name": "v", "hostPath": {"path": "/tmp/hooks", "type": "DirectoryOrCreate"}}]}
    mounts = [{"name": "v", "mountPath": "/v"}]
    hooks = {
        "postStart": {"exec": {"command": ["touch", "/v/started"]}},
        "preStop": {"exec": {"command": ["touch", "/v/stopped"]}},
    }
    pod = run("hooked", container={"lifecycle": hooks, "volumeMounts": mounts}, **volumes)
    eventually(lambda: "started" in _exec(core, namespace, "hooked", "ls", "/v"))
    run("looker", nodeName=pod.spec.node_name, container={"volumeMounts": mounts}, **volumes)
    core.delete_namespaced_pod("hooked", namespace)
    eventually(lambda: "stopped" in _exec(core, namespace, "looker", "ls", "/v"))


def test_hooks_that_fail_are_events(run, core, namespace, eventually):
    run("bad", container={"lifecycle": {"postStart": {"httpGet": {"path": "/", "port": 9}}}})
    eventually(lambda: _messages(core, namespace, "FailedPostStartHook") == ["PostStartHook failed"])
    assert "FailedPostStartHook" in _messages(core, namespace, "Killing")
    run("stops", container={"lifecycle": {"preStop": {"exec": {"command": ["exit", "3"]}}}})
    core.delete_namespaced_pod("stops", namespace)
    eventually(lambda: _messages(core, namespace, "FailedPreStopHook") == ["PreStopHook failed"])


def test_a_probe_of_a_port_without_that_name_is_an_error_and_no_failure(run, core, namespace, eventually):
    probe = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1}
    run("wrong", container={"livenessProbe": probe})
    message = 'Liveness probe errored and resulted in unknown state: strconv.Atoi: parsing "http": invalid syntax'
    eventually(lambda: message in _messages(core, namespace, "Unhealthy"))
    assert core.read_namespaced_pod("wrong", namespace).status.container_statuses[0].restart_count == 0


# Ephemeral containers


def _debug(core, namespace, pod, *containers):
    body = {"spec": {"ephemeralContainers": list(containers)}}
    return core.patch_namespaced_pod_ephemeralcontainers(pod, namespace, body)


def _ephemeral(core, namespace, pod, kind, number=0):
    statuses = core.read_namespaced_pod(pod, namespace).status.ephemeral_container_statuses
    return statuses and len(statuses) > number and getattr(statuses[number].state, kind)


def test_an_ephemeral_container_runs_once_beside_its_target(run, core, namespace, running, eventually):
    pod = run("web")
    made = _debug(core, namespace, "web", {"name": "d", "image": "toolbox:1", "targetContainerName": "main"})
    assert made.spec.ephemeral_containers[0].image_pull_policy == "IfNotPresent"
    eventually(
        lambda: _ephemeral(core, namespace, "web", "terminated")
    )  # port 80 is taken: it ends, and isn't restarted
    stored = running.cluster.store.get(PODS, namespace, "web")
    kubelet = running.cluster.kubelets[pod.spec.node_name]
    debugger, target = kubelet.container(stored, "d"), kubelet.container(stored, "main")
    assert debugger.pid_namespace is target.pid_namespace
    assert core.read_namespaced_pod("web", namespace).status.ephemeral_container_statuses[0].restart_count == 0
    paths = {e.involved_object.field_path for e in core.list_namespaced_event(namespace).items if e.reason == "Started"}
    assert paths == {"spec.containers{main}", "spec.ephemeralContainers{d}"}
    wait = {"name": "e", "image": "toolbox:1", "command": ["cat", "/proc/1/cmdline"], "targetContainerName": "main"}
    _debug(core, namespace, "web", wait)
    eventually(lambda: _ephemeral(core, namespace, "web", "terminated", 1))
    assert core.read_namespaced_pod_log("web", namespace, container="e").strip("\0\n") == "serve"
    core.delete_namespaced_pod("web", namespace)
    eventually(lambda: not core.list_namespaced_pod(namespace).items)


@pytest.mark.parametrize(
    ("container", "cause"),
    [
        ({"name": "main", "image": "toolbox:1"}, "spec.ephemeralContainers[0].name: Duplicate value"),
        ({"name": "d"}, "spec.ephemeralContainers[0].image: Required value"),
        (
            {"name": "d", "image": "toolbox:1", "env": [{"name": ""}]},
            "spec.ephemeralContainers[0].env[0].name: Required value",
        ),
        (
            {"name": "d", "image": "toolbox:1", "volumeMounts": [{"name": "no", "mountPath": "/x", "subPath": "y"}]},
            "spec.ephemeralContainers[0].volumeMounts[0].subPath: Forbidden: cannot be set for an Ephemeral Container",
        ),
        (
            {"name": "d", "image": "toolbox:1", "targetContainerName": "no"},
            'spec.ephemeralContainers[0].targetContainerName: Not found: \\"no\\"',
        ),
        (
            {"name": "d", "image": "toolbox:1", "livenessProbe": {"exec": {"command": ["x"]}}},
            "spec.ephemeralContainers[0].livenessProbe: Forbidden: cannot be set for an Ephemeral Container",
        ),
    ],
)
def test_wrong_ephemeral_containers_are_refused(run, core, namespace, container, cause):
    run("web")
    with pytest.raises(ApiException) as error:
        _debug(core, namespace, "web", container)
    assert error.value.status == 422
    assert cause in error.value.body


def test_pod_security_looks_at_ephemeral_containers(run, core, namespace):
    run("web")
    core.patch_namespace(namespace, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}})
    with pytest.raises(ApiException) as error:
        _debug(core, namespace, "web", {"name": "d", "image": "toolbox:1", "securityContext": {"privileged": True}})
    assert error.value.status == 403
    assert 'privileged (container \\"d\\" must not set securityContext.privileged=true)' in error.value.body


def test_ephemeral_containers_stay(run, core, namespace):
    run("web")
    _debug(core, namespace, "web", {"name": "d", "image": "toolbox:1"})
    with pytest.raises(ApiException) as error:
        _debug(core, namespace, "web", {"name": "d", "image": "toolbox:2"})
    assert 'existing ephemeral containers \\"d\\" may not be changed' in error.value.body
    pod = core.read_namespaced_pod_ephemeralcontainers("web", namespace)
    pod.metadata.resource_version = None
    pod.spec.ephemeral_containers = []
    with pytest.raises(ApiException) as error:
        core.replace_namespaced_pod_ephemeralcontainers("web", namespace, pod)
    assert 'existing ephemeral containers \\"d\\" may not be removed' in error.value.body


def test_processes_are_shared_where_the_pod_says_so(run, core, namespace, running):
    pod = run(
        "shared",
        shareProcessNamespace=True,
        initContainers=[_sidecar()],
    )
    stored = running.cluster.store.get(PODS, namespace, "shared")
    kubelet = running.cluster.kubelets[pod.spec.node_name]
    assert kubelet.container(stored, "side").pid_namespace is kubelet.container(stored, "main").pid_namespace
    with pytest.raises(ApiException):
        core.create_namespaced_pod(namespace, {})


# Input without a terminal


@pytest.mark.parametrize("once", [True, False])
def test_input_goes_to_the_container_s_own_process(run, core, namespace, eventually, once):
    run("echo", "cat", restartPolicy="Never", container={"stdin": True, "stdinOnce": once})

    def attach(text):
        streams = stream(
            core.connect_get_namespaced_pod_attach, "echo", namespace, stdin=True, stdout=True, _preload_content=False
        )
        streams.write_stdin(text)
        eventually(lambda: text in core.read_namespaced_pod_log("echo", namespace))
        streams.close()

    attach("first\n")
    if not once:
        attach("second\n")
        assert core.read_namespaced_pod("echo", namespace).status.phase == "Running"
        core.delete_namespaced_pod("echo", namespace, grace_period_seconds=0)
    else:
        eventually(lambda: _in_phase(core, namespace, "echo", "Succeeded"))
