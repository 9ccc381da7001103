"""Whatever is interrupted converges: run again, it is as if nothing had happened.

Commands are stopped right after each request that changes something: by an interrupt (as Ctrl-C does) or by their
process's end (as SIGKILL does).
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner
from urllib3.connectionpool import HTTPConnectionPool

from ekslab.helm import storage
from ekslab.helm.cli import helm as command_line
from ekslab.helm.cluster import Cluster
from ekslab.state import Endpoints
from labkit import Lab
from labkit.errors import LabError, StepError, StoppedError
from labkit.helm import Helm, _helm_process
from labkit.kube import Kube
from labkit.provision.steps import STEPS
from labkit.waiting import poll

# What POST and the like do without changing anything, by the operation's name or the path.
READS = re.compile(r"^(Describe|List|Get|Filter|Lookup|BatchGet|Simulate|AssumeRole)|accessreviews|/token$|dryRun")


def operation(method: str, url: str, body: Any, headers: Any) -> str:
    """Name of what a request changes; empty if it changes nothing."""
    if method in ("GET", "HEAD"):
        return ""
    target = headers.get("X-Amz-Target", "")
    target = target.decode() if isinstance(target, bytes) else target
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    action = re.search(r"(?:^|&)Action=(\w+)", text)
    name = target.rpartition(".")[2] or (action[1] if action else "")
    path = url.split("?")[0]
    if not name and (found := re.search(r"/operation/(\w+)", path)):
        name = found[1]
    if READS.search(name or url):
        return ""
    return f"{method} {path} {name}".strip()


@contextmanager
def stopping(stop: Callable[[str], None]) -> Iterator[None]:
    """Calls `stop` with the name of each changing request, as soon as it has been answered."""
    original = HTTPConnectionPool.urlopen

    def urlopen(
        pool: Any, method: str, url: str, body: Any = None, headers: Any = None, *args: Any, **more: Any
    ) -> Any:
        answer = original(pool, method, url, body, headers, *args, **more)
        name = operation(method, url, body, headers)
        if name and answer.status < 400:
            stop(name)
        return answer

    with patch.object(HTTPConnectionPool, "urlopen", urlopen), stopping_helm(stop):
        yield


class HelmKilled(BaseException):
    """Ends the stand-in for Helm as SIGKILL does."""


@contextmanager
def stopping_helm(stop: Callable[[str], None]) -> Iterator[None]:
    """Calls `stop` after each change that Helm makes. An interrupt kills Helm, too."""
    original = Cluster.request

    def request(cluster: Cluster, method: str, path: str, **more: Any) -> Any:
        answer = original(cluster, method, path, **more)
        if method != "GET":
            try:
                stop(f"helm: {method} {path}")
            except KeyboardInterrupt:
                raise HelmKilled from None
        return answer

    with patch.object(Cluster, "request", request):
        yield


@pytest.fixture
def helm_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the stand-in for Helm in this process, where it can be stopped after any of its requests."""

    def finish(argv: Sequence[str], deadline: float, *, keep: Sequence[int]) -> subprocess.CompletedProcess[str]:
        assert list(argv[1:3]) == ["-m", "ekslab.helm"]
        try:
            done = CliRunner().invoke(command_line, argv[3:])
        except HelmKilled:
            raise KeyboardInterrupt from None
        error = f"Error: {done.exception}" if done.exception else ""
        return subprocess.CompletedProcess(argv, done.exit_code, done.stdout, error)

    monkeypatch.setattr("labkit.helm._finish", finish)


def interrupted(point: int, work: Callable[[], object]) -> bool:
    """Does the work up to its `point`-th change, where Ctrl-C is pressed. False if it has fewer."""
    count = 0

    def stop(name: str) -> None:
        nonlocal count
        count += 1
        if count == point:
            raise KeyboardInterrupt

    with stopping(stop):
        try:
            work()
        except (KeyboardInterrupt, LabError):
            assert count >= point
    return count >= point


STRIDE = 6  # interrupts are tried after every single change; this costs more


def killed(work: Callable[[], object], seen: set[str]) -> set[str]:
    """Does the work in a process that ends after some changes of kinds not in `seen`: these, or none if it was done."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        new: list[str] = []

        def stop(name: str) -> None:
            if name not in seen and name not in new:
                new.append(name)
                if len(new) == STRIDE:
                    os.write(writer, "\n".join(new).encode())
                    os._exit(137)  # nothing is tidied up, as with SIGKILL

        try:
            with stopping(stop):
                work()
        except BaseException as error:
            os.write(2, f"{error}\n".encode())
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        names = set(said.read().splitlines())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == (137 if names else 0)
    return names


@pytest.fixture(scope="module")
def home(new_lab: Callable[..., Endpoints]) -> Path:
    return new_lab().home


@pytest.fixture(scope="module")
def lab(home: Path, workshop: Path) -> Lab:
    return Lab.connect(home=home, root=workshop)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a real cluster: that no Helm works on a release can't be seen, only what was begun here is known."""
    always = property(lambda helm: True, lambda helm, value: None)
    monkeypatch.setattr(Helm, "shared", always, raising=False)


@pytest.mark.usefixtures("shared", "helm_in_this_process")
@pytest.mark.parametrize("step", STEPS.ORDER)
def test_a_step_that_is_interrupted_after_any_change_is_applied_and_undone_by_running_it_again(
    lab: Lab, step: str
) -> None:
    needed = [need.name for need in STEPS.with_needs([step])][:-1]
    if needed:
        lab.ensure(*needed)
    for point in itertools.count(1):
        applying = interrupted(point, partial(STEPS[step].apply, lab.target))
        STEPS[step].apply(lab.target)
        assert STEPS[step].status(lab.target).state == "applied"
        assert STEPS[step].apply(lab.target).action == "unchanged"
        undoing = interrupted(point, partial(lab.undo, step))
        lab.undo(step)
        assert STEPS[step].status(lab.target).state == "absent"
        assert lab.ledger.records(step) == []
        if not (applying or undoing):
            break
    assert point > 1


def world(lab: Lab) -> dict[str, Any]:
    """What there is in the account and the cluster, without what changes by itself."""
    iam, logs = lab.aws.client("iam"), lab.aws.client("logs")
    kinds = [("v1", "Namespace"), ("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "ServiceAccount"), ("v1", "Service")]
    kinds += [("apps/v1", "Deployment"), ("apps/v1", "DaemonSet"), ("v1", "Pod")]
    return {
        "roles": [role["RoleName"] for role in iam.list_roles()["Roles"]],
        "providers": iam.list_open_id_connect_providers()["OpenIDConnectProviderList"],
        "groups": logs.describe_log_groups()["logGroups"],
        "queues": lab.aws.client("sqs").list_queues().get("QueueUrls", []),
        "topics": lab.aws.client("sns").list_topics()["Topics"],
        "alarms": [alarm["AlarmName"] for alarm in lab.aws.client("cloudwatch").describe_alarms()["MetricAlarms"]],
        "functions": [f["FunctionName"] for f in lab.aws.client("lambda").list_functions()["Functions"]],
        **{
            kind: [
                (item["metadata"].get("namespace"), item["metadata"]["name"], item["metadata"].get("labels"))
                for item in lab.kube.list(kind, api_version=version)
            ]
            for version, kind in kinds
        },
    }


@pytest.mark.usefixtures("shared", "helm_in_this_process")
def test_all_of_it_killed_again_and_again_converges_and_leaves_what_was_there(
    lab: Lab, home: Path, workshop: Path
) -> None:
    lab.teardown()  # what tests before this one left in place
    connect = partial(Lab.connect, home=home, root=workshop, prefix="killed")
    lab = connect()
    issuer = lab.cluster["identity"]["oidc"]["issuer"]
    lab.aws.client("iam").create_open_id_connect_provider(Url=issuer, ClientIDList=["sts.amazonaws.com"])
    lab.aws.client("sns").create_topic(Name="killed-by-somebody")
    lab.kube.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "logging", "labels": {"a": "b"}}}])
    before = world(lab)

    def connected(command: str) -> None:
        getattr(connect(), command)()  # a process has connections of its own

    for command in ("ensure", "teardown"):
        seen: set[str] = set()
        while names := killed(partial(connected, command), seen):
            seen |= names
        assert len(seen) > 20
        if command == "ensure":
            assert {state for _, state, _ in lab.status().rows} == {"applied"}
    assert world(lab) == before
    assert not any(record.made for record in lab.ledger.records())
    assert [left.name for left in lab.audit().left] == ["killed-by-somebody"]


# Helm's releases


@pytest.fixture
def pending(lab: Lab) -> Iterator[Callable[[], None]]:
    """Leaves Falco's release as a `helm upgrade` does that is killed after its first request."""
    lab.undo("falco")  # the release's history begins anew
    lab.ensure("falco")

    def leave() -> None:
        cluster = Cluster(str(lab.kube.kubeconfig))
        last = storage.revisions(cluster, "falco", "falco")[-1]
        now = lab.kube.now().isoformat()
        left = replace(last, version=last.version + 1, status="pending-upgrade", last_deployed=now)
        storage.create(cluster, left)

    yield leave
    lab.undo("falco")


def test_a_pending_release_of_a_helm_that_is_gone_is_rolled_back_and_that_is_said(
    lab: Lab, pending: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    pending()
    assert lab.apply("falco").action == "updated"
    assert "left pending-upgrade (revision 2) by an interrupted call: rolling it back to revision 1" in (
        capsys.readouterr().err
    )
    assert [r.status for r in lab.helm.history("falco", "falco")][-1] == "deployed"
    pending()
    assert lab.undo("falco").action == "removed"
    assert lab.helm.status("falco", "falco") is None


def test_a_pending_release_on_which_somebody_may_work_is_left_alone_until_it_is_old(
    lab: Lab, pending: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pending()
    code = "import sys; sys.stdin.readline()"
    with subprocess.Popen(["helm", "-c", code, "upgrade", "falco"], executable=sys.executable, stdin=-1) as helm:
        with pytest.raises(StepError, match=f"is pending-upgrade: process {helm.pid} works on it"):
            lab.apply("falco")
        helm.communicate(b"\n")
    for elsewhere in (["--kubeconfig", "/another"], ["KUBECONFIG"]):
        environ = os.environ | ({"KUBECONFIG": "/another"} if elsewhere == ["KUBECONFIG"] else {})
        words = ["helm", "-c", code, "upgrade", "falco", *elsewhere]
        with subprocess.Popen(words, executable=sys.executable, stdin=-1, env=environ) as helm:
            assert _helm_process("falco", lab.kube.kubeconfig) == 0
            assert _helm_process("falco", Path("/another")) == helm.pid
            helm.communicate(b"\n")
    monkeypatch.setattr(lab.helm, "shared", True)
    with pytest.raises(StepError, match="s ago: another computer may be working on it") as caught:
        lab.apply("falco")
    assert "run this again in" in caught.value.hint
    monkeypatch.setattr(lab.helm, "patience", 0.0)
    assert lab.apply("falco").action == "updated"


def test_two_that_work_on_a_release_wait_for_each_other(
    lab: Lab, pending: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    monkeypatch.setattr(lab.helm, "patience", 0.3)
    lock = str(lab.settings.home / "helm.lock")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, lock], stdin=pipe, stdout=pipe) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(StepError, match="Another command or notebook has been working on Helm release falco"):
            lab.apply("custom-rules")
        other.communicate(b"\n")
    assert lab.apply("custom-rules").action == "created"
    lab.undo("custom-rules")


def test_ctrl_c_during_a_rollout_leaves_nothing_that_the_next_call_stumbles_over(lab: Lab) -> None:
    nodes = [lab.kube.path("v1", "Node", "", node["metadata"]["name"]) for node in lab.kube.list("Node")]

    def cordon(on: bool) -> None:
        for path in nodes:
            body = {"spec": {"unschedulable": on}}
            lab.kube.request("PATCH", path, body=body, content_type="application/merge-patch+json")

    def press() -> None:
        kube = Kube(kubeconfig=lab.kube.kubeconfig)
        poll(lambda: kube.list("Pod", "default", labels="app=nginx") or None, "a pod", 30)
        os.kill(os.getpid(), signal.SIGINT)

    cordon(True)
    try:
        thread = threading.Thread(target=press)
        thread.start()
        with pytest.raises(
            StoppedError, match="Step nginx: Stopped waiting for the rollout of Deployment default/nginx"
        ):
            lab.apply("nginx")
        thread.join()
    finally:
        cordon(False)
    lab.apply("nginx")
    assert STEPS["nginx"].status(lab.target).state == "applied"
    lab.undo("nginx")
