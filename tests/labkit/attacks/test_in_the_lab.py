"""Every attack and every control, in a pod of the embedded lab, from the command to the alert in CloudWatch Logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ekslab.state import Endpoints
from labkit.alerts.diagnose import rule_state
from labkit.attacks import Attack, Outcomes, catalogue, find, run
from labkit.attacks.pods import attack_pod, remove_left, start
from labkit.errors import StepError
from labkit.lab import Lab
from labkit.waiting import poll


@pytest.fixture(scope="module")
def home(embedded: Endpoints) -> Path:
    return embedded.home


@pytest.fixture(scope="module")
def lab(home: Path, workshop: Path) -> Lab:
    lab = Lab.connect(home=home, root=workshop, rule_tiers="incubating,sandbox")
    lab.ensure("fluent-bit", "falco", "nginx", "custom-rules")
    return lab


# `test_in_a_node.py` has all of them; here are those that the chapters run, and some of the other tiers.
RUN = [a for number, a in enumerate(catalogue()) if a.tier in ("", "custom", "stable") or a.pod or number % 5 == 0]


@pytest.fixture(scope="module")
def outcomes(lab: Lab) -> Outcomes:
    return lab.attack(*RUN)


@pytest.mark.parametrize("attack", RUN, ids=lambda a: a.name)
def test_what_was_expected_is_seen(outcomes: Outcomes, attack: Attack) -> None:
    outcome = outcomes[attack.name]
    assert outcome.passed, outcome.problem
    assert outcome.exit_code == (1 if attack.argv[0] == "grep" else 0), outcome.stderr  # grep has found nothing
    if not attack.is_control:
        alert = outcome.alert
        assert alert["rule"] == attack.rule
        assert alert["priority"] == attack.priority
        assert {attack.tactic, attack.technique} <= set(alert["tags"])
        assert alert["k8s.ns.name"] == "default"
        assert f"[{attack.priority}] {attack.rule}" in repr(outcome)
        assert "container and pod" in outcome._repr_html_()


def test_twins_are_silent_and_pods_of_attacks_are_gone(lab: Lab) -> None:
    outcomes = lab.attack("start-privileged-pod", "cron-job", "release-agent", benign=True)
    assert [(outcome.passed, outcome.seen) for outcome in outcomes.values()] == [(True, ())] * 3
    assert "3 of 3 as expected" in repr(outcomes)
    assert lab.kube.list("Pod", labels="app=labkit-attack") == []


def test_a_pod_that_is_refused_is_an_outcome(lab: Lab) -> None:
    label = {"pod-security.kubernetes.io/enforce": "baseline"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": label}}
    lab.kube.apply_one(namespace)
    try:
        outcome = lab.attack("start-privileged-pod")["start-privileged-pod"]
    finally:
        namespace["metadata"] = {"name": "default"}
        lab.kube.apply_one(namespace)
    assert "violates PodSecurity" in outcome.problem
    assert outcome.exit_code is None


def test_a_pod_of_a_run_that_was_killed_is_found_by_the_audit_and_taken_by_the_teardown(lab: Lab) -> None:
    pod = attack_pod(find("start-capable-pod"), "r1x2y3", "default")
    start(lab.target, pod)
    assert f"default/{pod['metadata']['name']}" in {item.name for item in lab.audit().left if item.kind == "Pod"}
    remove_left(lab.target)  # the teardown's
    assert lab.kube.list("Pod", labels="app=labkit-attack") == []


def test_a_second_falco_in_the_cluster_is_refused_before_anything_is_changed(lab: Lab) -> None:
    labels = {"app": "second"}
    spec = {
        "containers": [{"name": "falco", "image": "docker.io/falcosecurity/falco:0.44.1", "command": ["sleep", "9"]}]
    }
    second = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "runtime-security", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {**spec, "nodeSelector": {"no": "node"}}},
        },
    }
    lab.kube.apply_one(second)
    try:
        with pytest.raises(StepError, match="DaemonSet default/runtime-security runs Falco already"):
            lab.apply("falco")
    finally:
        lab.kube.delete_one(second)
    assert lab.apply("falco").action == "unchanged"


def test_each_attack_of_several_has_its_own_alert(lab: Lab) -> None:
    outcomes = lab.attack("read-shadow", "search-aws-credentials", "symlink-shadow", "search-private-keys")
    assert all(outcome.passed for outcome in outcomes.values()), outcomes
    for outcome in outcomes.values():
        assert outcome.alert["proc.cmdline"] == " ".join(outcome.argv)


def test_an_attack_whose_rule_is_not_loaded_is_not_run_and_says_what_to_apply(lab: Lab) -> None:
    lab.undo("custom-rules")
    try:
        assert rule_state(lab.target, "Whoami run in container") == "unknown"
        outcome = lab.attack("whoami")["whoami"]
    finally:
        lab.apply("custom-rules")
    assert outcome.problem == 'Falco has not loaded its rule: lab.apply("custom-rules") ships it'
    assert outcome.exit_code is None


def test_nothing_is_left_in_the_pod(lab: Lab) -> None:
    left = lab.exec("deploy/nginx", "sh", "-c", "ls -d /tmp/labkit* /dev/shm/labkit* /var/log/labkit*").stdout
    assert left == ""


LABKIT = [sys.executable, "-m", "labkit.cli"]


@pytest.fixture
def environ(home: Path, workshop: Path) -> dict[str, str]:
    """What makes the `labkit` command use this lab."""
    return {**os.environ, "LABKIT_HOME": str(home), "LABKIT_ROOT": str(workshop)}


@pytest.fixture
def labkit(environ: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the `labkit` command."""

    def command(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*LABKIT, *arguments], env=environ, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    return command


Labkit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.usefixtures("lab")
def test_exec_passes_on_output_and_exit_code(labkit: Labkit) -> None:
    done = labkit("exec", "deploy/nginx", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)
    done = labkit("exec", "--tty", "--stdin", "tty\nexit\n", "deploy/nginx", "--", "bash")
    assert "/dev/pts/" in done.stdout
    done = labkit("exec", "deploy/nowhere", "--", "id")
    assert done.returncode == 1
    assert "nowhere" in done.stderr


@pytest.mark.usefixtures("lab")
def test_exec_takes_kubectls_options(labkit: Labkit) -> None:
    for words in (
        ["-i", "deploy/nginx"],
        ["-it", "deploy/nginx"],
        ["deploy/nginx", "-i", "-t"],
        ["deploy/nginx", "-it"],
    ):
        # With a pipe for input there is no terminal to give, as kubectl has it.
        done = labkit("exec", *words, "--", "sh", "-c", "cat; exit 3", stdin="from here\n")
        assert (done.stdout, done.returncode) == ("from here\n", 3), done.stderr
    assert "/dev/pts/" in labkit("exec", "-t", "deploy/nginx", "--", "tty").stdout
    assert labkit("exec", "deploy/nginx", "head", "-c", "4", "/etc/os-release").stdout == "PRET"  # head's option
    assert "Usage" in labkit("exec", "-h").stdout
    for words, said in (
        (["-i", "--stdin", "a", "deploy/nginx", "--", "cat"], "leave one of them out"),
        (["deploy/nginx", "-t", "tty"], "-t is no program: write `--` before the program, or options first."),
    ):
        done = labkit("exec", *words)
        assert done.returncode == 2
        assert said in done.stderr


@pytest.mark.usefixtures("lab")
def test_attack_run_takes_names_or_all_of_some_tiers(labkit: Labkit) -> None:
    assert labkit("attack", "run").returncode == 2
    assert labkit("attack", "run", "read-shadow", "--all").returncode == 2
    assert labkit("attack", "run", "read-shadow", "--tier", "stable").returncode == 2
    done = labkit("attack", "run", "--all", "--tier", "control")
    assert done.returncode == 0, done.stderr
    assert "4 of 4 as expected" in done.stderr
    done = labkit("attack", "run", "read-shadow", "--benign")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "no alert" in done.stderr


@pytest.mark.usefixtures("lab")
def test_attack_run_prints_the_alert(labkit: Labkit) -> None:
    done = labkit("attack", "run", "read-shadow")
    assert done.returncode == 0, done.stderr
    assert "file=/etc/shadow" in done.stdout
    assert "1 of 1 as expected" in done.stderr
    assert labkit("attack", "run", "nonsense").returncode == 1


def test_attack_list_is_the_catalogue(labkit: Labkit) -> None:
    listed = json.loads(labkit("attack", "list", "--json").stdout)
    assert [entry["name"] for entry in listed] == [attack.name for attack in catalogue()]
    assert {entry["benign"]["why"] for entry in listed if entry["rule"]} == {
        attack.twin.why for attack in catalogue() if not attack.is_control
    }
    assert "read-shadow" in labkit("attack", "list").stdout
    assert "isn't one of the sensitive files" in labkit("attack", "list", "--benign").stdout


@pytest.mark.usefixtures("lab")
def test_alerts_are_read_back(labkit: Labkit) -> None:
    done = labkit("alerts", "--format", "jsonl", "--rule", "Read sensitive file untrusted")
    rules = {json.loads(line)["rule"] for line in done.stdout.splitlines()}
    assert rules == {"Read sensitive file untrusted"}


def test_alerts_are_followed_until_ctrl_c(lab: Lab, environ: dict[str, str]) -> None:
    argv = [*LABKIT, "alerts", "--follow", "--format", "jsonl", "--since", "now", "--rule", "Find AWS Credentials"]
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert following.stderr is not None
        assert "Following" in following.stderr.readline()
        assert run(lab, "search-aws-credentials")["search-aws-credentials"].passed
        assert json.loads(following.stdout.readline())["rule"] == "Find AWS Credentials"
        following.send_signal(signal.SIGINT)
        assert following.wait(60) == 0


def test_one_ctrl_c_ends_all_attacks_and_shows_what_was_seen(lab: Lab, environ: dict[str, str]) -> None:
    since = lab.kube.now()
    names = ["symlink-shadow", "control-read-passwd", "search-private-keys"]
    argv = [*LABKIT, "attack", "run", "--timeout", "2m", *names]
    with subprocess.Popen(
        argv,
        env={**environ, "LABKIT_LOG_GROUP": "where-nothing-arrives"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        pods = [pod["metadata"]["name"] for pod in lab.kube.list("Pod", "falco", labels="app.kubernetes.io/name=falco")]

        def alerted() -> bool | None:
            logs = (lab.kube.logs(pod, "falco", container="falco", since=since) for pod in pods)
            return any("ln -s /etc/shadow" in log for log in logs) or None

        assert poll(alerted, "the first attack", 30)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "0 of 3 as expected; interrupted, 2 not run" in said
    assert "NOT as expected" not in said
    assert lab.exec("deploy/nginx", "sh", "-c", "ls -d /tmp/labkit*").stdout == ""  # it has tidied up
