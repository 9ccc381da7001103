"""Pods become containers: environment, volumes, identity, probes, restarts, ends."""

from __future__ import annotations

import jwt
import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

from ekslab.kubernetes.objects.resources import PODS


@pytest.fixture
def run(core, namespace, pod_manifest, eventually):
    """Makes a pod and waits for a phase; gives it back."""

    def make(name, *command, phase="Running", **spec):
        core.create_namespaced_pod(namespace, pod_manifest(name, *command, **spec))

        def reached():
            pod = core.read_namespaced_pod(name, namespace)
            return pod if pod.status.phase == phase else None

        return eventually(reached)

    return make


@pytest.fixture
def output(run, core, namespace, eventually):
    """Runs a command to its end in a pod; gives back what it printed."""

    def make(name, *command, **spec):
        run(name, *command, phase="Succeeded", restartPolicy="Never", **spec)
        return core.read_namespaced_pod_log(name, namespace)

    return make


def test_status_tells_what_a_cluster_tells(run):
    pod = run("plain")
    status = pod.status
    (container,) = status.container_statuses
    assert container.container_id.startswith("containerd://")
    assert container.image_id.startswith("docker.io/library/toolbox@sha256:")
    assert container.ready
    assert container.started
    assert {c.type: c.status for c in status.conditions} == dict.fromkeys(
        ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"), "True"
    )
    assert status.host_ip in ("10.0.1.10", "10.0.2.20")
    assert status.pod_ip.startswith(status.host_ip.rpartition(".")[0])
    assert status.qos_class == "BestEffort"
    assert pod.spec.service_account_name == "default"
    assert {t.key for t in pod.spec.tolerations} == {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    }


def test_environment(output, core, namespace):
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "c"}, "data": {"A": "1", "B": "2"}})
    core.create_namespaced_secret(namespace, {"metadata": {"name": "s"}, "stringData": {"password": "hidden"}})
    env = [
        {"name": "PLAIN", "value": "x"},
        {"name": "EXPANDED", "value": "$(PLAIN)-$(NODE)-$$(PLAIN)-$(UNKNOWN)"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "AFTER", "value": "on $(POD)"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['missing']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "A"}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "no", "optional": True}}},
    ]
    container = {"env": env, "envFrom": [{"prefix": "C_", "configMapRef": {"name": "c"}}]}
    printed = dict(line.split("=", 1) for line in output("e", "env", container=container).splitlines())
    assert printed["EXPANDED"] == "x-$(NODE)-$(PLAIN)-$(UNKNOWN)"
    assert printed["NODE"].endswith(".ec2.internal")
    assert printed["POD"] == "e"
    assert printed["IP"].startswith("10.0.")
    assert (printed["KEY"], printed["SECRET"], printed["C_A"], printed["C_B"]) == ("1", "hidden", "1", "2")
    assert "NONE" not in printed
    assert printed["KUBERNETES_SERVICE_HOST"] == "10.100.0.1"
    assert printed["HOSTNAME"] == "e"


def test_volumes(output, core, namespace):
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "c"}, "data": {"a": "one ", "b": "two "}})
    core.create_namespaced_secret(namespace, {"metadata": {"name": "s"}, "stringData": {"k": "three "}})
    volumes = [
        {"name": "c", "configMap": {"name": "c", "items": [{"key": "b", "path": "deep/b.txt"}]}},
        {"name": "s", "secret": {"secretName": "s"}},
        {"name": "e", "emptyDir": {}},
        {"name": "h", "hostPath": {"path": "/etc/os-release", "type": "File"}},
        {"name": "d", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]
    mounts = [
        {"name": "c", "mountPath": "/c"},
        {"name": "c", "mountPath": "/single", "subPath": "deep/b.txt"},
        {"name": "s", "mountPath": "/s"},
        {"name": "e", "mountPath": "/e"},
        {"name": "h", "mountPath": "/h"},
        {"name": "d", "mountPath": "/d"},
    ]
    text = output(
        "v",
        "cat", "/c/deep/b.txt", "/single", "/s/k", "/d/name", "/h",
        volumes=volumes, container={"volumeMounts": mounts},
    )  # fmt: skip
    assert text.startswith('two two three vNAME="Amazon Linux"')


def test_a_changed_config_map_shows_up_in_the_container(run, core, namespace, running, eventually):
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "c"}, "data": {"k": "old"}})
    pod = run(
        "live",
        volumes=[{"name": "c", "configMap": {"name": "c"}}],
        container={"volumeMounts": [{"name": "c", "mountPath": "/c"}]},
    )
    kubelet = running.cluster.kubelets[pod.spec.node_name]
    stored = running.cluster.store.get(PODS, namespace, "live")
    files = kubelet.container(stored, "main").filesystem
    assert files.read_text("/c/k") == "old"
    core.patch_namespaced_config_map("c", namespace, {"data": {"k": "new", "more": "x"}})
    eventually(lambda: files.read_text("/c/k") == "new" and files.exists("/c/more"))


def test_a_missing_config_map_holds_the_pod_until_it_is_there(core, namespace, pod_manifest, eventually):
    spec = pod_manifest(
        "waits",
        volumes=[{"name": "c", "configMap": {"name": "later"}}],
        container={"volumeMounts": [{"name": "c", "mountPath": "/c"}]},
    )
    core.create_namespaced_pod(namespace, spec)
    message = 'MountVolume.SetUp failed for volume "c" : configmap "later" not found'
    eventually(lambda: message in [e.message for e in core.list_namespaced_event(namespace).items])
    assert core.read_namespaced_pod("waits", namespace).status.phase == "Pending"
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "later"}})
    eventually(lambda: core.read_namespaced_pod("waits", namespace).status.phase == "Running")


def test_a_missing_secret_in_the_environment_is_a_config_error(core, namespace, pod_manifest, eventually):
    env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "later", "key": "k"}}}]
    core.create_namespaced_pod(namespace, pod_manifest("e", container={"env": env}))
    waiting = eventually(lambda: _waiting(core, namespace, "e", "CreateContainerConfigError"))
    assert waiting.message == 'secret "later" not found'


def _waiting(core, namespace, name, reason):
    statuses = core.read_namespaced_pod(name, namespace).status.container_statuses or []
    return next((s.state.waiting for s in statuses if s.state.waiting and s.state.waiting.reason == reason), None)


def test_the_api_token_is_mounted_and_valid(output, running, namespace):
    token = output("t", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token").strip()
    claims = running.issuer.verify(token, audience="https://kubernetes.default.svc")
    assert claims["sub"] == f"system:serviceaccount:{namespace}:default"
    assert claims["kubernetes.io"]["pod"]["name"] == "t"


def test_a_role_annotation_gives_the_pod_its_identity(output, core, namespace):
    role = "arn:aws:iam::111122223333:role/shipper"
    account = {"metadata": {"name": "shipper", "annotations": {"eks.amazonaws.com/role-arn": role}}}
    core.create_namespaced_service_account(namespace, account)
    printed = output("irsa", "env", serviceAccountName="shipper")
    variables = dict(line.split("=", 1) for line in printed.splitlines())
    assert variables["AWS_ROLE_ARN"] == role
    assert variables["AWS_REGION"] == variables["AWS_DEFAULT_REGION"] == "us-east-1"
    assert variables["AWS_STS_REGIONAL_ENDPOINTS"] == "regional"
    path = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"
    assert variables["AWS_WEB_IDENTITY_TOKEN_FILE"] == path
    token = output("irsa2", "cat", path, serviceAccountName="shipper").strip()
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["aud"] == ["sts.amazonaws.com"]
    assert claims["exp"] - claims["iat"] == 86400
    pod = core.read_namespaced_pod("irsa", namespace)
    assert pod.spec.volumes[0].name == "aws-iam-token"


def test_an_unknown_service_account_is_refused(core, namespace, pod_manifest):
    with pytest.raises(ApiException) as error:
        core.create_namespaced_pod(namespace, pod_manifest("x", serviceAccountName="nobody"))
    assert error.value.status == 403
    assert 'serviceaccount \\"nobody\\" not found' in error.value.body


def test_init_containers_run_first_one_by_one(output, core, namespace):
    inits = [
        {
            "name": name,
            "image": "toolbox:1",
            "command": ["touch", f"/shared/{name}"],
            "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
        }
        for name in ("first", "second")
    ]
    text = output(
        "i",
        "ls", "/shared",
        initContainers=inits,
        volumes=[{"name": "shared", "emptyDir": {}}],
        container={"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]},
    )  # fmt: skip
    assert text.split() == ["first", "second"]
    statuses = core.read_namespaced_pod("i", namespace).status.init_container_statuses
    assert [s.state.terminated.reason for s in statuses] == ["Completed", "Completed"]


def test_a_failing_init_container_keeps_the_pod_from_starting(run, core, namespace, eventually):
    inits = [{"name": "bad", "image": "toolbox:1", "command": ["exit", "1"]}]
    run("i", phase="Pending", initContainers=inits)

    def restarted():
        (status,) = core.read_namespaced_pod("i", namespace).status.init_container_statuses
        return status.restart_count >= 1

    eventually(restarted)
    assert core.read_namespaced_pod("i", namespace).status.phase == "Pending"


def test_a_container_that_ends_is_restarted_ever_later(core, namespace, pod_manifest, eventually):
    core.create_namespaced_pod(namespace, pod_manifest("crash", "exit", "3"))
    waiting = eventually(lambda: _waiting(core, namespace, "crash", "CrashLoopBackOff"))
    assert waiting.message.startswith("back-off 1s restarting failed container=main pod=crash_")
    pod = core.read_namespaced_pod("crash", namespace)
    (status,) = pod.status.container_statuses
    assert status.restart_count >= 1
    assert status.last_state.terminated.exit_code == 3
    assert pod.status.phase == "Running"
    events = {e.reason: e for e in core.list_namespaced_event(namespace).items}
    assert events["BackOff"].type == "Warning"
    assert "about to exit" in core.read_namespaced_pod_log("crash", namespace, previous=True)


def test_restart_policies(run):
    ended = run("ok", "exit", "0", phase="Succeeded", restartPolicy="OnFailure")
    assert ended.status.container_statuses[0].state.terminated.reason == "Completed"
    failed = run("bad", "exit", "7", phase="Failed", restartPolicy="Never")
    assert failed.status.container_statuses[0].state.terminated.exit_code == 7


def test_an_unknown_image_is_reported_as_on_a_cluster(core, namespace, pod_manifest, eventually):
    core.create_namespaced_pod(namespace, pod_manifest("bad", container={"image": "nosuch/image:9"}))
    waiting = eventually(lambda: _waiting(core, namespace, "bad", "ImagePullBackOff"))
    assert waiting.message.startswith(
        'Back-off pulling image "nosuch/image:9": ErrImagePull: failed to pull and unpack'
    )
    assert waiting.message.endswith(
        "the embedded lab has no such image and reaches no registry: it has only nginx, toolbox"
    )
    messages = [e.message for e in core.list_namespaced_event(namespace).items]
    assert 'Pulling image "nosuch/image:9"' in messages
    assert "Error: ErrImagePull" in messages
    assert 'Back-off pulling image "nosuch/image:9"' in messages
    assert any(message.startswith('Failed to pull image "nosuch/image:9": ') for message in messages)


def test_an_unknown_tag_is_not_found_and_the_tags_are_named(core, namespace, pod_manifest, eventually):
    core.create_namespaced_pod(namespace, pod_manifest("bad", container={"image": "toolbox:9"}))
    waiting = eventually(lambda: _waiting(core, namespace, "bad", "ImagePullBackOff"))
    assert waiting.message.endswith(
        "docker.io/library/toolbox:9: not found: of this image the embedded lab has only 1, 2, latest"
    )


def test_the_events_of_a_start_are_the_kubelet_s(run, core, namespace):
    run("plain")
    core.delete_namespaced_pod("plain", namespace)
    said = {(e.reason, e.message) for e in core.list_namespaced_event(namespace).items}
    assert {("Created", "Container created"), ("Started", "Container started")} <= said
    assert said & {
        ("Pulled", 'Container image "toolbox:1" already present on machine and can be accessed by the pod'),
        ("Pulling", 'Pulling image "toolbox:1"'),
    }


def test_a_command_that_is_not_there_is_a_start_error(core, namespace, pod_manifest, eventually):
    core.create_namespaced_pod(namespace, pod_manifest("nocmd", "nosuchprogram", restartPolicy="Never"))
    eventually(lambda: core.read_namespaced_pod("nocmd", namespace).status.phase == "Failed")
    terminated = core.read_namespaced_pod("nocmd", namespace).status.container_statuses[0].state.terminated
    assert (terminated.reason, terminated.exit_code) == ("StartError", 128)
    assert "executable file not found in $PATH" in terminated.message


def test_readiness_follows_the_probe(run, core, namespace, eventually):
    probe = {"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1}
    run("slow", container={"readinessProbe": probe})
    eventually(lambda: _reasons(core, namespace) >= {"Unhealthy"})
    pod = core.read_namespaced_pod("slow", namespace)
    assert not pod.status.container_statuses[0].ready
    assert {c.type: c.message for c in pod.status.conditions}["Ready"] == "containers with unready status: [main]"
    stream(
        core.connect_get_namespaced_pod_exec, "slow", namespace, command=["touch", "/tmp/ready"],
        stdout=True, stderr=True,
    )  # fmt: skip
    eventually(lambda: core.read_namespaced_pod("slow", namespace).status.container_statuses[0].ready)


def _reasons(core, namespace):
    return {event.reason for event in core.list_namespaced_event(namespace).items}


def test_an_http_probe_asks_the_server(run, core, namespace, eventually):
    fine = {"httpGet": {"path": "/", "port": 80}}
    run("good", container={"readinessProbe": fine})
    eventually(lambda: core.read_namespaced_pod("good", namespace).status.container_statuses[0].ready)
    broken = {"httpGet": {"path": "/broken", "port": 80}, "periodSeconds": 1, "failureThreshold": 1}
    run("sick", container={"livenessProbe": broken})
    eventually(lambda: core.read_namespaced_pod("sick", namespace).status.container_statuses[0].restart_count >= 1)
    messages = [e.message for e in core.list_namespaced_event(namespace).items]
    assert "Liveness probe failed: HTTP probe failed with statuscode: 500" in messages
    assert "Container main failed liveness probe, will be restarted" in messages


def test_a_probe_does_not_miss_a_program_that_is_just_starting(run, core, namespace, eventually):
    probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 60}
    starting = {"env": [{"name": "START_SECONDS", "value": "0.4"}]}
    run("starting", container={**starting, "startupProbe": probe, "readinessProbe": probe})
    eventually(lambda: core.read_namespaced_pod("starting", namespace).status.container_statuses[0].ready)
    assert "Unhealthy" not in _reasons(core, namespace)


def test_a_pod_that_fits_nowhere_stays_pending(core, namespace, pod_manifest, eventually):
    core.create_namespaced_pod(namespace, pod_manifest("nowhere", nodeSelector={"no": "such"}))
    message = (
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. "
        "no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )
    eventually(lambda: message in [e.message for e in core.list_namespaced_event(namespace).items])
    two = {"kubernetes.io/hostname": "ip-10-0-2-20.ec2.internal"}
    large = {"resources": {"requests": {"cpu": "3"}}}
    core.create_namespaced_pod(namespace, pod_manifest("large", nodeSelector=two, container=large))
    reasons = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector. "

    def said():
        return [e for e in core.list_namespaced_event(namespace).items if e.message.startswith(reasons)]

    eventually(said)
    assert said()[0].message.endswith("2 Preemption is not helpful for scheduling.")  # larger than the node
    condition = core.read_namespaced_pod("large", namespace).status.conditions[0]
    assert (condition.type, condition.status, condition.reason) == ("PodScheduled", "False", "Unschedulable")


def test_a_service_leads_to_its_ready_pods(run, output, api, core, namespace, eventually):
    body = {
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 8080, "targetPort": 80}]},
    }
    core.create_namespaced_service(namespace, body)
    slices = client.DiscoveryV1Api(api)
    eventually(lambda: slices.list_namespaced_endpoint_slice(namespace).items)
    run("server")
    core.patch_namespaced_pod("server", namespace, {"metadata": {"labels": {"app": "web"}}})

    def addresses():
        found = core.read_namespaced_endpoints("web", namespace).subsets
        return found and found[0].addresses

    (address,) = eventually(addresses)
    assert address.target_ref.name == "server"
    url = f"http://web.{namespace}.svc.cluster.local:8080/"
    assert output("caller", "fetch", url).strip() == "200 hello from server"
    run("another")
    core.patch_namespaced_pod("another", namespace, {"metadata": {"labels": {"app": "web"}}})
    eventually(lambda: len(addresses()) == 2)
    answers = {output(f"caller{number}", "fetch", url).strip() for number in range(2)}
    assert answers == {"200 hello from server", "200 hello from another"}


def test_a_pod_reaches_the_api_with_its_token(output, core, namespace):
    answer = output("curious", "fetch", f"https://kubernetes.default.svc/api/v1/namespaces/{namespace}/pods")
    assert answer.startswith("403 ")
    assert f'User \\"system:serviceaccount:{namespace}:default\\" cannot list resource \\"pods\\"' in answer


def test_a_deleted_pod_says_it_stops(run, core, namespace, eventually):
    run("ends")
    core.delete_namespaced_pod("ends", namespace)
    eventually(lambda: not core.list_namespaced_pod(namespace).items)
    assert "Stopping container main" in [e.message for e in core.list_namespaced_event(namespace).items]


def test_pod_security_refuses_in_its_own_words(core, namespace, pod_manifest):
    core.patch_namespace(namespace, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}})
    spec = pod_manifest(
        "evil",
        volumes=[{"name": "root", "hostPath": {"path": "/"}}],
        container={"securityContext": {"privileged": True}},
    )
    with pytest.raises(ApiException) as error:
        core.create_namespaced_pod(namespace, spec)
    assert error.value.status == 403
    assert (
        'pods \\"evil\\" is forbidden: violates PodSecurity \\"baseline:latest\\": '
        'hostPath volumes (volume \\"root\\"), '
        'privileged (container \\"main\\" must not set securityContext.privileged=true)'
    ) in error.value.body


def test_modes_of_mounted_files(run, core, namespace, running):
    core.create_namespaced_secret(namespace, {"metadata": {"name": "s"}, "stringData": {"k": "x"}})
    pod = run(
        "modes",
        volumes=[{"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}}],
        container={"volumeMounts": [{"name": "s", "mountPath": "/s"}]},
    )
    stored = running.cluster.store.get(PODS, namespace, "modes")
    files = running.cluster.kubelets[pod.spec.node_name].container(stored, "main").filesystem
    assert files.walk("/s/k").need("/s/k").stat().mode & 0o777 == 0o400
