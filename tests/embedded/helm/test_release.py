"""Releases on a running lab: installed, upgraded, rolled, read back, removed."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from labkit.embedded.helm import Helm
from labkit.embedded.helm.__main__ import helm as command_line
from labkit.embedded.state import Endpoints
from labkit.errors import StepError
from labkit.provision.kube import Kube

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
    assert '"falcosecurity" has been added' in run(endpoints, "repo", "add", "falcosecurity", "https://x").output
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
        "labkit.embedded.helm",
        "status",
        "nope",
        "--kubeconfig",
        str(endpoints.kubeconfig),
    ]
    gone = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (gone.returncode, gone.stderr.strip()) == (1, "Error: release: not found")
