"""Releases on a running lab: installed, upgraded, rolled, read back, removed."""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ekslab.helm import Helm
from ekslab.helm.__main__ import helm as command_line
from ekslab.helm.storage import revisions, save
from ekslab.state import Endpoints
from labkit.environment import embedded
from labkit.errors import StepError
from labkit.kube import Kube
from labkit.versions import pinned

ROOT = Path(__file__).parents[3]
VALUES = ROOT / "manifests/falco/values.yaml"
WHOAMI = ROOT / "custom-rules/whoami.yaml"
FALCO = {"version": "9.1.0", "namespace": "falco"}


@pytest.fixture(scope="module")
def endpoints(new_lab: Callable[..., Endpoints]) -> Endpoints:
    return new_lab()


@pytest.fixture
def helm(endpoints: Endpoints) -> Any:
    helm = Helm(kubeconfig=endpoints.kubeconfig)
    yield helm
    helm.uninstall("falco", "falco")


@pytest.fixture
def kube(endpoints: Endpoints) -> Kube:
    return Kube(kubeconfig=endpoints.kubeconfig)


def install(helm: Helm, *values: Path, **more: Any) -> Any:
    return helm.upgrade_install("falco", "falcosecurity/falco", values=values, **FALCO, **more)


def pods(kube: Kube) -> set[str]:
    return {pod["metadata"]["name"] for pod in kube.list("Pod", "falco", labels="app.kubernetes.io/name=falco")}


def test_installing_rolls_out_falco_on_every_node(helm: Helm, kube: Kube) -> None:
    release = install(helm, VALUES)
    assert (release.revision, release.status, release.chart, release.app_version) == (1, "deployed", "falco", "0.44.1")
    status = kube.get("DaemonSet", "falco", "falco")["status"]  # type: ignore[index]
    assert status["numberReady"] == status["desiredNumberScheduled"] == len(kube.list("Node"))
    assert helm.status("falco", "falco") == release


def test_a_changed_values_file_rolls_the_pods_and_an_unchanged_one_does_not(helm: Helm, kube: Kube) -> None:
    install(helm, VALUES)
    first = pods(kube)
    assert install(helm, VALUES).revision == 2
    assert pods(kube) == first
    install(helm, VALUES, WHOAMI)
    assert pods(kube).isdisjoint(first)
    assert [(r.revision, r.status) for r in helm.history("falco", "falco")] == [
        (1, "superseded"),
        (2, "superseded"),
        (3, "deployed"),
    ]


def test_earlier_values_are_kept_only_when_asked(helm: Helm, kube: Kube) -> None:
    install(helm, VALUES, WHOAMI)
    install(helm, WHOAMI, reuse_values=True)
    assert helm.get_values("falco", "falco")["tty"] is True
    install(helm, WHOAMI)
    assert "tty" not in helm.get_values("falco", "falco")
    pod = kube.get("DaemonSet", "falco", "falco")["spec"]["template"]["spec"]  # type: ignore[index]
    assert pod["containers"][0]["tty"] is False  # the chart's default is back
    install(helm, VALUES)
    assert kube.get("ConfigMap", "falco-rules", "falco") is None


def test_a_rule_falco_refuses_makes_the_upgrade_fail_with_a_reason(helm: Helm, kube: Kube, tmp_path: Path) -> None:
    install(helm, VALUES)
    bad = tmp_path / "bad.yaml"
    bad.write_text("customRules:\n  bad.yaml: |-\n    - rule: x\n      condition: proc.nope = 1\n")
    with pytest.raises(StepError, match="UPGRADE FAILED"):
        install(helm, VALUES, bad, timeout=4.0)
    assert helm.status("falco", "falco").status == "failed"  # type: ignore[union-attr]
    problems = kube.problems(kube.get("DaemonSet", "falco", "falco"))  # type: ignore[arg-type]
    assert {problem.reason for problem in problems} <= {"CrashLoopBackOff", "Error"}
    assert any("LOAD_ERR" in problem.log for problem in problems)
    assert install(helm, VALUES).status == "deployed"


def test_the_charts_defaults_run_too(helm: Helm, kube: Kube) -> None:
    install(helm)
    pod = kube.list("Pod", "falco", labels="app.kubernetes.io/name=falco")[0]
    assert [c["name"] for c in pod["spec"]["containers"]] == ["falco", "falcoctl-artifact-follow"]


def test_uninstalling_leaves_nothing_but_the_namespace(helm: Helm, kube: Kube) -> None:
    install(helm, VALUES, WHOAMI)
    assert helm.uninstall("falco", "falco") is True
    assert helm.uninstall("falco", "falco") is False
    assert helm.status("falco", "falco") is None
    assert pods(kube) == set()
    left = [item["metadata"]["name"] for kind in ("ConfigMap", "Secret") for item in kube.list(kind, "falco")]
    assert left == ["kube-root-ca.crt"]
    assert kube.get("ServiceAccount", "falco", "falco") is None


def test_releases_are_stored_as_helm_stores_them(helm: Helm, kube: Kube) -> None:
    install(helm, VALUES)
    secret = kube.get("Secret", "sh.helm.release.v1.falco.v1", "falco")
    assert secret is not None
    assert secret["type"] == "helm.sh/release.v1"
    labels = secret["metadata"]["labels"]
    assert {k: labels[k] for k in ("name", "owner", "status", "version")} == {
        "name": "falco",
        "owner": "helm",
        "status": "deployed",
        "version": "1",
    }
    release = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))))
    assert release["chart"]["metadata"]["version"] == "9.1.0"
    assert release["info"]["status"] == "deployed"
    assert "# Source: falco/templates/daemonset.yaml" in release["manifest"]


def test_refusals_say_what_to_do(helm: Helm, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("- rule: x\n")
    with pytest.raises(StepError, match="failed to parse") as refused:
        install(helm, file)
    assert "customRules" in refused.value.hint
    with pytest.raises(StepError, match="no chart version found"):
        helm.upgrade_install("falco", "falcosecurity/falco", version="1.0.0", namespace="falco")


def run(endpoints: Endpoints, *arguments: str) -> Result:
    words = list(arguments)
    if words[0] not in ("repo", "version"):
        words += ["--kubeconfig", str(endpoints.kubeconfig), "--namespace", "falco"]
    return CliRunner().invoke(command_line, words)


def test_helms_command_line(helm: Helm, endpoints: Endpoints) -> None:
    chart_repository = pinned()["falco"]["chart"]["repository"]
    assert '"falcosecurity" has been added' in run(endpoints, "repo", "add", "falcosecurity", chart_repository).output
    arguments = ["upgrade", "--install", "falco", "falcosecurity/falco", "--version", "9.1.0", "-f", str(VALUES)]
    done = run(endpoints, *arguments, "--create-namespace", "--wait", "--timeout", "60s")
    assert done.exit_code == 0, done.output
    assert 'Release "falco" does not exist. Installing it now.' in done.output
    (listed,) = json.loads(run(endpoints, "list", "-o", "json").output)
    assert (listed["name"], listed["chart"], listed["status"]) == ("falco", "falco-9.1.0", "deployed")
    assert json.loads(run(endpoints, "get", "values", "falco", "-o", "json").output)["tty"] is True
    assert "STATUS: deployed" in run(endpoints, "status", "falco").output
    assert 'release "falco" uninstalled' in run(endpoints, "uninstall", "falco", "--wait").output


def test_the_command_fails_as_helm_does(endpoints: Endpoints) -> None:
    command = [
        sys.executable,
        "-m",
        "ekslab.helm",
        "status",
        "nope",
        "--kubeconfig",
        str(endpoints.kubeconfig),
    ]
    gone = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (gone.returncode, gone.stderr.strip()) == (1, "Error: release: not found")


def test_a_release_is_rolled_back(helm: Helm, endpoints: Endpoints, kube: Kube) -> None:
    install(helm, VALUES)
    install(helm, VALUES, WHOAMI)
    assert run(endpoints, "rollback", "falco", "--wait").output == "Rollback was a success! Happy Helming!\n"
    assert kube.get("ConfigMap", "falco-rules", "falco") is None
    latest = json.loads(run(endpoints, "history", "falco", "-o", "json").output)[-1]
    assert (latest["revision"], latest["status"], latest["description"]) == (3, "deployed", "Rollback to 1")
    assert "whoami.yaml" in run(endpoints, "get", "values", "falco", "--revision", "2").output
    assert "whoami.yaml" not in run(endpoints, "get", "values", "falco").output
    refused = run(endpoints, "rollback", "falco", "9")
    assert str(refused.exception) == "release has no 9 version"


def test_an_interrupted_release_is_freed_by_rolling_back(helm: Helm, endpoints: Endpoints, kube: Kube) -> None:
    install(helm, VALUES)
    install(helm, VALUES, WHOAMI)
    last = revisions(kube, "falco", "falco")[-1]
    save(kube, replace(last, status="pending-upgrade"), 0)
    upgrade = ("upgrade", "falco", "falcosecurity/falco", "-f", str(VALUES))
    assert "another operation" in str(run(endpoints, *upgrade).exception)
    assert run(endpoints, "rollback", "falco").exit_code == 0
    assert run(endpoints, *upgrade).exit_code == 0


def test_what_helm_3_has_set_is_taken_away_again(helm: Helm, kube: Kube) -> None:
    install(helm, VALUES, WHOAMI)
    path = kube.path("apps/v1", "DaemonSet", "falco", "falco")
    fields = kube.request("GET", path)["metadata"]["managedFields"]
    updated = [entry | ({"operation": "Update"} if entry["manager"] == "helm" else {}) for entry in fields]
    body = {"metadata": {"managedFields": updated}}
    kube.request("PATCH", path, body=body, content_type="application/merge-patch+json")
    install(helm, VALUES)
    volumes = kube.request("GET", path)["spec"]["template"]["spec"]["volumes"]
    assert "rules-volume" not in {volume["name"] for volume in volumes}


def test_a_failed_atomic_upgrade_leaves_what_was_there(helm: Helm, endpoints: Endpoints, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("customRules:\n  bad.yaml: |-\n    - rule: x\n      condition: proc.nope = 1\n")
    upgrade = ("upgrade", "--install", "falco", "falcosecurity/falco", "--create-namespace", "--atomic")
    options = ("-f", str(VALUES), "-f", str(bad), "--timeout", "2s")
    assert "has been uninstalled" in str(run(endpoints, *upgrade, *options).exception)
    assert helm.status("falco", "falco") is None
    install(helm, VALUES)
    assert "has been rolled back" in str(run(endpoints, *upgrade, *options).exception)
    assert helm.status("falco", "falco").status == "deployed"  # type: ignore[union-attr]
    assert "customRules" not in helm.get_values("falco", "falco")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("helm foo", 'Error: unknown command "foo" for "helm"'),
        ("helm upgrad x", 'Error: unknown command "upgrad" for "helm"\n\nDid you mean this?\n\tupgrade'),
        ("helm upgrade falco", 'Error: "helm upgrade" requires 2 arguments'),
        ("helm upgrade a b --foo", "Error: unknown flag: --foo"),
        ("helm upgrade a b --timeout", "Error: flag needs an argument: --timeout"),
        (
            "helm upgrade a b --set-json x=1",
            "stand-in for Helm doesn't have the flag --set-json of `helm upgrade`.\nWhat",
        ),
        ("helm pull falcosecurity/falco", "stand-in for Helm doesn't have `helm pull`.\nWhat to do: install Helm"),
        ("helm get hooks falco", "stand-in for Helm doesn't have `helm get hooks`.\nWhat to do: install Helm"),
        ("helm repo add bitnami https://example.org", "is not a valid chart repository or cannot be reached"),
        ("helm -n falco status nope", "Error: release: not found"),
        ("KUBECONFIG=/dev/null helm list", "works on the lab's cluster only"),
    ],
)
def test_the_lab_has_a_helm_where_there_is_none(endpoints: Endpoints, line: str, said: str) -> None:
    done = in_a_shell(endpoints, line)
    assert done.returncode == 1
    assert done.stdout == ""
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_flags_of_all_commands_may_come_first_and_switches_have_values(helm: Helm, endpoints: Endpoints) -> None:
    done = in_a_shell(
        endpoints,
        f"""set -e
        helm repo add falcosecurity https://falcosecurity.github.io/charts
        helm repo update
        helm search repo falco
        helm -n falco upgrade --install=true falco falcosecurity/falco --create-namespace -f {VALUES} --wait=watcher
        helm --namespace=falco ls --short
        helm -n falco upgrade falco falcosecurity/falco --dry-run=client --set-string tty=true | grep 'tty: '
        helm get | head -1""",
    )
    assert (done.returncode, done.stderr) == (0, "")
    for said in ("falcosecurity/falco\t9.1.0", "STATUS: deployed", "\nfalco\n", "tty: true", "Usage: helm get"):
        assert said in done.stdout


def test_a_helm_of_ones_own_is_used(endpoints: Endpoints, tmp_path: Path) -> None:
    own = tmp_path / "helm"
    own.write_text('#!/bin/sh\necho "my own, with $*"\n')
    own.chmod(0o755)
    assert in_a_shell(endpoints, "helm list", path=str(tmp_path)).stdout == "my own, with list\n"


def in_a_shell(endpoints: Endpoints, line: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """A line in a shell with the lab's environment, where nothing but `path` and the system's folders have programs."""
    path = os.pathsep.join([*filter(None, [path]), "/usr/bin", "/bin"])
    environment = embedded(endpoints.environment()).of_process({"PATH": path})
    return subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=False)
