"""kubectl, as people type it."""

from __future__ import annotations

import json
import os
import re

import pytest
import requests

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: toolbox:1
        ports: [{containerPort: 80}]
        env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        volumeMounts: [{name: config, mountPath: /config}]
      volumes:
      - name: config
        configMap: {name: web}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {greeting: hello}
"""


@pytest.fixture
def web(kubectl):
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    kubectl("rollout", "status", "deploy/web", "--timeout=10s")
    return kubectl


def test_applying_twice_says_unchanged_and_there_is_no_difference(web):
    said = web("apply", "-f", "-", stdin=MANIFEST).splitlines()
    assert said == ["deployment.apps/web unchanged", "service/web unchanged", "configmap/web unchanged"]
    assert web.run("diff", "-f", "-", stdin=MANIFEST).stdout == ""


def test_applying_a_change_configures_and_diff_shows_it(web):
    changed = MANIFEST.replace("replicas: 2", "replicas: 1").replace("hello", "goodbye")
    difference = web.run("diff", "-f", "-", stdin=changed, check=False)
    assert difference.returncode == 1
    assert "-  replicas: 2" in difference.stdout
    assert "+  replicas: 1" in difference.stdout
    said = web("apply", "-f", "-", stdin=changed).splitlines()
    assert said == ["deployment.apps/web configured", "service/web unchanged", "configmap/web configured"]


def test_server_side_apply_and_its_conflict(web):
    assert "serverside-applied" in web("apply", "--server-side", "-f", "-", stdin=MANIFEST)
    other = MANIFEST.replace("replicas: 2", "replicas: 3")
    refused = web.run("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=other, check=False)
    assert 'conflict with "kubectl" using apps/v1: .spec.replicas' in refused.stderr
    web("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", stdin=other)
    assert web("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "3"


def test_get_prints_the_usual_columns(web):
    header, row = web("get", "deploy").splitlines()
    assert header.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split()[:4] == ["web", "2/2", "2", "2"]
    header, *rows = web("get", "pods", "-o", "wide").splitlines()
    assert header.split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert [row.split()[1:4] for row in rows] == [["1/1", "Running", "0"]] * 2
    assert json.loads(web("get", "deploy", "web", "-o", "json"))["kind"] == "Deployment"
    assert "kind: Deployment" in web("get", "deploy", "web", "-o", "yaml")
    assert "replicaset.apps/web-" in web("get", "all")
    header = web("get", "nodes", "-o", "wide").splitlines()[0]
    assert "KERNEL-VERSION" in header
    assert "CONTAINER-RUNTIME" in header


def test_describe(web):
    text = web("describe", "deploy", "web")
    assert "2 desired | 2 updated | 2 total | 2 available | 0 unavailable" in text
    assert "ScalingReplicaSet" in text
    text = web("describe", "pod", "-l", "app=web")
    for part in ("Controlled By:  ReplicaSet/web-", "Container ID:   containerd://", "Container started"):
        assert part in text
    text = web("describe", "node", "ip-10-0-1-10.ec2.internal")
    assert "Amazon Linux 2023" in text
    assert "web-" in text
    assert "Name:                default" in web("describe", "sa", "default")
    assert re.search(r"Endpoints: +10\.0\.\d\.\d+:80,10\.0\.\d\.\d+:80", web("describe", "svc", "web"))


def test_rollouts(web):
    web("set", "image", "deploy/web", "web=toolbox:2")
    assert "successfully rolled out" in web("rollout", "status", "deploy/web", "--timeout=10s")
    web("rollout", "restart", "deploy/web")
    web("rollout", "status", "deploy/web", "--timeout=10s")
    assert [line.split()[0] for line in web("rollout", "history", "deploy/web").splitlines()[2:5]] == ["1", "2", "3"]
    web("rollout", "undo", "deploy/web", "--to-revision=1")
    web("rollout", "status", "deploy/web", "--timeout=10s")
    image = web("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
    assert image == "toolbox:1"


def test_a_daemon_set_rolls_back(kubectl):
    manifest = MANIFEST.partition("---")[0].replace("Deployment", "DaemonSet").replace("  replicas: 2\n", "")
    manifest = manifest.replace("configMap: {name: web}", "emptyDir: {}")
    kubectl("apply", "-f", "-", stdin=manifest)
    kubectl("rollout", "status", "ds/web", "--timeout=10s")
    kubectl("apply", "-f", "-", stdin=manifest.replace("toolbox:1", "toolbox:2"))
    kubectl("rollout", "status", "ds/web", "--timeout=10s")
    kubectl("rollout", "undo", "ds/web")
    kubectl("rollout", "status", "ds/web", "--timeout=10s")
    assert kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}") == "toolbox:1 toolbox:1"


def test_scale_label_annotate_patch(web):
    web("scale", "deploy/web", "--replicas=3")
    web("wait", "--for=jsonpath={.status.availableReplicas}=3", "deploy/web", "--timeout=10s")
    web("label", "deploy", "web", "tier=front")
    web("annotate", "deploy", "web", "note=seen")
    assert web("get", "deploy", "-l", "tier=front", "-o", "name").strip() == "deployment.apps/web"
    web("label", "deploy", "web", "tier-")
    assert web("get", "deploy", "-l", "tier=front", "-o", "name") == ""
    web("patch", "svc", "web", "--type=json", "-p", '[{"op":"add","path":"/spec/ports/0/name","value":"http"}]')
    assert web("get", "svc", "web", "-o", "jsonpath={.spec.ports[0].name}") == "http"


def test_exec_without_a_terminal(web):
    assert "KUBERNETES_SERVICE_HOST=10.100.0.1" in web("exec", "deploy/web", "--", "env")
    assert web("exec", "-i", "deploy/web", "--", "cat", stdin="some input") == "some input"
    assert web("exec", "deploy/web", "--", "tty") == "not a tty\n"
    failed = web.run("exec", "deploy/web", "--", "exit", "5", check=False)
    assert failed.returncode == 5
    assert failed.stderr.endswith("command terminated with exit code 5\n")
    missing = web.run("exec", "deploy/web", "--", "nosuch", check=False)
    assert 'exec: "nosuch": executable file not found in $PATH' in missing.stderr


def test_exec_over_spdy_as_clients_before_1_31_do_it(web, monkeypatch):
    monkeypatch.setitem(web._environment, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
    test_exec_without_a_terminal(web)
    test_exec_with_a_terminal(web)


def test_exec_with_a_terminal(web):
    assert "not a tty" not in web.terminal("exec -it deploy/web -- tty")


def test_logs(web):
    assert web("logs", "deploy/web") == "serving\n"
    assert web("logs", "-l", "app=web", "--tail=1").splitlines() == ["serving", "serving"]


@pytest.mark.parametrize(
    ("level", "said"),
    [("warn", 'Warning: unknown field "nosuch"\n'), ("ignore", ""), ("false", ""), ("strict", None)],
)
def test_validation_says_what_it_was_asked_to_say(kubectl, level, said):
    wrong = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\nnosuch: 1\n"
    done = kubectl.run("apply", f"--validate={level}", "-f", "-", stdin=wrong, check=said is not None)
    if said is not None:
        assert (done.stdout, done.stderr) == ("configmap/c created\n", said)
    else:
        assert 'strict decoding error: unknown field "nosuch"' in done.stderr
    right = kubectl.run("apply", f"--validate={level}", "-f", "-", stdin=wrong.replace("nosuch: 1\n", ""))
    assert right.stderr == ""


@pytest.fixture
def nginx(kubectl):
    kubectl("run", "nginx", "--image=nginx")
    kubectl("wait", "--for=condition=Ready", "pod/nginx", "--timeout=10s")
    return kubectl


def test_cp_there_and_back(nginx, tmp_path):
    source = tmp_path / "a folder"
    (source / "sub").mkdir(parents=True)
    (source / "a file.txt").write_text("text\n")
    (source / "sub" / "large").write_bytes(os.urandom(3_000_000))
    nginx("cp", str(source), "nginx:/tmp/folder")
    listed = nginx("exec", "nginx", "--", "ls", "/tmp/folder", "/tmp/folder/sub")
    assert listed.split("\n") == ["/tmp/folder:", "a file.txt", "sub", "", "/tmp/folder/sub:", "large", ""]
    back = nginx("cp", "nginx:/tmp/folder", str(tmp_path / "back"))
    assert back == "tar: Removing leading `/' from member names\n"
    for name in ("a file.txt", "sub/large"):
        assert (tmp_path / "back" / name).read_bytes() == (source / name).read_bytes()
    nginx("cp", "nginx:/tmp/folder/a file.txt", str(tmp_path / "one file"))
    assert (tmp_path / "one file").read_text() == "text\n"
    nginx("cp", "nginx:/tmp/folder/sub/large", str(tmp_path / "large"), "--retries=3")
    assert (tmp_path / "large").read_bytes() == (source / "sub" / "large").read_bytes()
    nginx("cp", str(tmp_path / "one file"), "nginx:/usr/share/nginx/html", "-c", "nginx", "--no-preserve")
    assert nginx("exec", "nginx", "--", "cat", "/usr/share/nginx/html/one file") == "text\n"


def test_cp_says_what_tar_says(nginx, tmp_path):
    missing = nginx.run("cp", "nginx:/nosuch", str(tmp_path / "x"), check=False)
    assert "tar: /nosuch: Cannot stat: No such file or directory" in missing.stdout
    (tmp_path / "file").write_text("x")
    refused = nginx.run("cp", str(tmp_path / "file"), "nginx:/nosuch/file", check=False)
    assert "tar: /nosuch: Cannot open: No such file or directory" in refused.stderr
    assert refused.returncode != 0


def test_cp_without_tar_says_so(web, tmp_path):
    (tmp_path / "file").write_text("x")
    pod = web("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    refused = web.run("cp", str(tmp_path / "file"), f"{pod}:/tmp/file", check=False)
    assert 'exec: "tar": executable file not found in $PATH' in refused.stderr


def test_explain(kubectl):
    shown = kubectl("explain", "pod.spec.restartPolicy")
    assert shown.startswith("KIND:       Pod\nVERSION:    v1\n\nFIELD: restartPolicy <string>\nENUM:\n    Always\n")
    assert "Restart policy for all containers within the pod." in shown
    shown = kubectl("explain", "deploy.spec.template.spec.containers")
    assert "GROUP:      apps" in shown
    assert "name\t<string> -required-" in shown
    assert "resources\t<ResourceRequirements>" in shown
    assert "limits\t<map[string]Quantity>" in kubectl("explain", "pod", "--recursive")
    wrong = kubectl.run("explain", "pod.spec.nosuch", check=False)
    assert wrong.stderr == 'error: field "nosuch" does not exist\n'


def test_apply_merges_lists_by_their_keys(web):
    """kubectl computes its patch by the OpenAPI document: what others have added to a list stays."""
    web("set", "env", "deploy/web", "ADDED=1")
    less = MANIFEST.replace("env: [{name: NODE", "env: [{name: OTHER")
    web("apply", "-f", "-", stdin=less)
    names = web("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env[*].name}")
    assert sorted(names.split()) == ["ADDED", "OTHER"]


@pytest.mark.parametrize("over", ["websockets", "spdy"])
def test_port_forward(web, over):
    with web.started(
        "port-forward", "svc/web", "0:80", KUBECTL_PORT_FORWARD_WEBSOCKETS=str(over == "websockets")
    ) as run:
        port = re.search(r"127\.0\.0\.1:(\d+) -> 80", run.line("Forwarding from 127.0.0.1"))[1]
        for _ in range(3):
            assert "hello from web-" in requests.get(f"http://127.0.0.1:{port}/", timeout=10).text
        run.line(f"Handling connection for {port}")
        run.interrupt()
        assert run.ended() == 0


def test_port_forward_to_a_closed_port_ends_as_it_does_in_a_cluster(web):
    with web.started("port-forward", "deploy/web", "0:81") as run:
        port = re.search(r"127\.0\.0\.1:(\d+) -> 81", run.line("Forwarding from 127.0.0.1"))[1]
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://127.0.0.1:{port}/", timeout=10)
        assert "connect: connection refused" in run.line("an error occurred forwarding")
        run.line("error: lost connection to pod")
        assert run.ended() == 1


def test_run_wait_delete(kubectl):
    kubectl("run", "one", "--image=toolbox:1")
    kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=10s")
    assert kubectl("delete", "pod", "one").startswith('pod "one" deleted')
    assert (
        kubectl.run("get", "pod", "one", check=False).stderr == 'Error from server (NotFound): pods "one" not found\n'
    )


def test_what_may_i_do(kubectl):
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    refused = kubectl.run("auth", "can-i", "create", "pods", "--as=system:serviceaccount:default:default", check=False)
    assert refused.stdout == "no\n"
    assert "kubernetes-admin" in kubectl("auth", "whoami")


def test_creating_things_by_command(kubectl):
    kubectl("create", "configmap", "c", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={kubectl._namespace}:robot")
    account = f"system:serviceaccount:{kubectl._namespace}:robot"
    assert kubectl("auth", "can-i", "list", "pods", f"--as={account}") == "yes\n"
    assert kubectl("create", "token", "robot").startswith("eyJ")
    kubectl("create", "deployment", "d", "--image=toolbox:1")
    kubectl("expose", "deployment", "d", "--port=80")
    assert kubectl("get", "svc", "d", "-o", "jsonpath={.spec.selector.app}") == "d"


def test_a_pod_that_breaks_the_namespace_s_level_is_refused(kubectl):
    kubectl("label", "ns", kubectl._namespace, "pod-security.kubernetes.io/enforce=restricted")
    refused = kubectl.run("run", "one", "--image=toolbox:1", check=False)
    assert (
        'pods "one" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation' in refused.stderr
    )
    warned = kubectl.run("create", "deployment", "d", "--image=toolbox:1")
    assert 'Warning: would violate PodSecurity "restricted:latest"' in warned.stderr


def test_cordon(kubectl):
    node = "ip-10-0-1-10.ec2.internal"
    kubectl("cordon", node)
    try:
        assert "Ready,SchedulingDisabled" in kubectl("get", "node", node)
        assert "node.kubernetes.io/unschedulable:NoSchedule" in kubectl("describe", "node", node)
        for name in ("a", "b"):
            kubectl("run", name, "--image=toolbox:1")
        kubectl("wait", "--for=condition=Ready", "pod/a", "pod/b", "--timeout=10s")
        nodes = kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}").split()
        assert nodes == ["ip-10-0-2-20.ec2.internal"] * 2
    finally:
        kubectl("uncordon", node)
    assert "unschedulable" not in kubectl("get", "node", node, "-o", "yaml")


def test_what_is_not_emulated_is_named(kubectl):
    kubectl("run", "one", "--image=toolbox:1")
    kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=10s")
    refused = kubectl.run("get", "--raw", "/api/v1/nodes/ip-10-0-1-10.ec2.internal/proxy/stats", check=False)
    assert refused.returncode == 1
    assert "the embedded cluster doesn't emulate nodes/proxy" in refused.stderr
    manifest = MANIFEST.partition("---")[0].replace("Deployment", "StatefulSet")
    for command in (("apply", "-f", "-"), ("apply", "--server-side", "-f", "-"), ("create", "-f", "-")):
        refused = kubectl.run(*command, stdin=manifest, check=False)
        assert "the embedded cluster doesn't emulate statefulsets.apps" in refused.stderr
    assert kubectl.run("get", "sts").stderr.startswith("No resources found")
    refused = kubectl.run("create", "cronjob", "c", "--image=toolbox:1", "--schedule=* * * * *", check=False)
    assert refused.stderr == "error: failed to create cronjob: the embedded cluster doesn't emulate cronjobs.batch\n"
    assert "The embedded cluster doesn't emulate statefulsets.apps." in kubectl("explain", "sts")


def test_top(web):
    header, *rows = web("top", "pod", "--containers").splitlines()
    assert header.split() == ["POD", "NAME", "CPU(cores)", "MEMORY(bytes)"]
    assert len(rows) == 2
    assert all(re.fullmatch(r"web-\S+ +web +\d+m +\d+Mi *", row) for row in rows)
    header, *rows = web("top", "node").splitlines()
    assert header.split() == ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]
    assert len(rows) == 2


def test_debug_a_pod(kubectl):
    kubectl("run", "one", "--image=toolbox:1")
    kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=10s")
    shown = kubectl.terminal("debug one -it --image=toolbox:1 --target=one --profile=general -c d -- tty")
    assert "not a tty" not in shown
    kubectl("wait", "--for=jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=0", "pod/one")
    started = "jsonpath={.items[?(@.reason=='Started')].involvedObject.fieldPath}"
    assert kubectl("get", "events", "-o", started).split() == ["spec.containers{one}", "spec.ephemeralContainers{d}"]
    assert kubectl("logs", "one", "-c", "d").strip() in shown
    waits = kubectl.run("debug", "one", "--image=busybox", "-c", "e", "--profile=general", "--attach=false")
    assert waits.returncode == 0
    message = "jsonpath={.status.ephemeralContainerStatuses[1].state.waiting.reason}=ImagePullBackOff"
    kubectl("wait", f"--for={message}", "pod/one", "--timeout=10s")
    assert "the embedded lab has no such image and reaches no registry" in kubectl("describe", "pod", "one")


def test_debug_a_copy_and_a_node(kubectl):
    kubectl("run", "one", "--image=toolbox:1")
    kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=10s")
    kubectl("debug", "one", "--copy-to=two", "--image=toolbox:1", "-c", "d", "--profile=general", "--", "env")
    kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/two", "--timeout=10s")
    assert kubectl("get", "pod", "two", "-o", "jsonpath={.spec.shareProcessNamespace}") == "true"
    node = "ip-10-0-1-10.ec2.internal"
    said = kubectl(
        "debug", f"node/{node}", "--image=toolbox:1", "--profile=sysadmin", "--", "cat", "/host/etc/hostname"
    )
    pod = re.search(r"node-debugger-\S+", said)[0]
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{pod}", "--timeout=10s")
    assert kubectl("logs", pod).strip() == node


def test_input_is_attached_without_a_terminal(kubectl):
    said = kubectl(
        "run", "one", "-i", "--rm", "--restart=Never", "--image=toolbox:1", "--command", "--", "cat", stdin="a line\n"
    )
    assert "a line" in said
    assert 'pod "one" deleted' in said
