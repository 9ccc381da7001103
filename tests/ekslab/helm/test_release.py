"""Releases on a running lab: installed, upgraded, rolled back, interrupted, read, removed."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ekslab import versions
from ekslab.client import Endpoints
from ekslab.helm import chart
from ekslab.helm.cli import helm as command_line
from ekslab.helm.cluster import Cluster
from ekslab.helm.errors import HelmError
from ekslab.helm.storage import revisions, update

ROOT = Path(__file__).parents[3]
VALUES = ROOT / "manifests/falco/values.yaml"
WHOAMI = ROOT / "custom-rules/whoami.yaml"
CHART = ("falco", "falcosecurity/falco")
DAEMONSET = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"namespace": "falco", "name": "falco"}}


@pytest.fixture(scope="module")
def endpoints(new_lab: Callable[..., Endpoints]) -> Endpoints:
    return new_lab()


class Helm:
    """Calls of `helm ... -n falco`, in this process. A refusal is raised as `HelmError`."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._where = ["--kubeconfig", str(endpoints.kubeconfig), "--namespace", "falco"]

    def __call__(self, *words: str) -> str:
        result = CliRunner().invoke(command_line, [*words, *self._where])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--output", "json"))

    def install(self, *values: Path, more: tuple[str, ...] = ("--wait",)) -> Any:
        files = [word for file in values for word in ("--values", str(file))]
        return self.json("upgrade", "--install", *CHART, "--create-namespace", *files, *more)

    @property
    def history(self) -> list[tuple[int, str]]:
        return [(row["revision"], row["status"]) for row in self.json("history", "falco")]


@pytest.fixture
def helm(endpoints: Endpoints) -> Iterator[Helm]:
    helm = Helm(endpoints)
    yield helm
    helm("uninstall", "falco", "--ignore-not-found")


@pytest.fixture
def cluster(endpoints: Endpoints) -> Cluster:
    return Cluster(str(endpoints.kubeconfig))


def names(cluster: Cluster, kind: str) -> list[str]:
    return [item["metadata"]["name"] for item in cluster.list("v1", kind, "falco")]


def daemonset(cluster: Cluster) -> Any:
    found = cluster.find(DAEMONSET)
    assert found is not None
    return found


def test_installing_rolls_out_falco_on_every_node(helm: Helm, cluster: Cluster) -> None:
    release = helm.install(VALUES)
    assert (release["version"], release["info"]["status"]) == (1, "deployed")
    status = daemonset(cluster)["status"]
    assert status["numberReady"] == status["desiredNumberScheduled"] == len(cluster.list("v1", "Node")) == 2
    (listed,) = helm.json("list")
    assert (listed["name"], listed["chart"], listed["app_version"]) == ("falco", "falco-9.1.0", "0.44.1")


def test_a_changed_values_file_rolls_the_pods_and_an_unchanged_one_does_not(helm: Helm, cluster: Cluster) -> None:
    helm.install(VALUES)
    first = set(names(cluster, "Pod"))
    assert len(first) == 2
    assert helm.install(VALUES)["version"] == 2
    assert set(names(cluster, "Pod")) == first
    helm.install(VALUES, WHOAMI)
    assert first.isdisjoint(names(cluster, "Pod"))
    assert helm.history == [(1, "superseded"), (2, "superseded"), (3, "deployed")]


def test_earlier_values_are_kept_only_when_asked(helm: Helm, cluster: Cluster) -> None:
    helm.install(VALUES, WHOAMI)
    helm.install(WHOAMI, more=("--reuse-values",))
    assert helm.json("get", "values", "falco")["tty"] is True
    helm.install(WHOAMI, more=("--reuse-values", "--reset-values"))
    assert "tty" not in helm.json("get", "values", "falco")
    assert daemonset(cluster)["spec"]["template"]["spec"]["containers"][0]["tty"] is False  # the chart's default
    helm.install(VALUES)
    assert "falco-rules" not in names(cluster, "ConfigMap")


def test_a_rule_that_falco_refuses_makes_the_upgrade_fail(helm: Helm, cluster: Cluster, refused_rule: Path) -> None:
    helm.install(VALUES)
    with pytest.raises(HelmError) as caught:
        helm.install(VALUES, refused_rule, more=("--wait", "--timeout", "3s"))
    reason = "resource DaemonSet/falco/falco not ready. status: InProgress, message: Updated: 1/2"
    assert str(caught.value) == f"UPGRADE FAILED: {reason}: context deadline exceeded"
    last = helm.json("history", "falco")[-1]
    assert (last["status"], last["description"]) == (
        "failed",
        f'Upgrade "falco" failed: {reason}: context deadline exceeded',
    )
    assert helm.history == [(1, "deployed"), (2, "failed")]
    helm.install(VALUES)
    assert helm.history == [(1, "superseded"), (2, "failed"), (3, "deployed")]


@pytest.fixture
def refused_rule(tmp_path: Path) -> Path:
    file = tmp_path / "bad.yaml"
    file.write_text("customRules:\n  bad.yaml: |-\n    - rule: x\n      condition: proc.nope = 1\n")
    return file


def test_the_charts_defaults_run_too(helm: Helm, cluster: Cluster) -> None:
    helm.install()
    pod = cluster.list("v1", "Pod", "falco")[0]
    assert [c["name"] for c in pod["spec"]["containers"]] == ["falco", "falcoctl-artifact-follow"]


def test_uninstalling_leaves_nothing_but_the_namespace(helm: Helm, cluster: Cluster) -> None:
    helm.install(VALUES, WHOAMI)
    assert helm("uninstall", "falco", "--dry-run") == 'release "falco" uninstalled\n'
    assert helm.history == [(1, "deployed")]
    assert helm("uninstall", "falco") == 'release "falco" uninstalled\n'
    with pytest.raises(HelmError, match="uninstall: Release not loaded: falco: release: not found"):
        helm("uninstall", "falco")
    assert helm.json("list", "--all") == []
    kinds = ("Pod", "ConfigMap", "Secret", "ServiceAccount")
    assert {kind: names(cluster, kind) for kind in kinds} == {
        **{"Pod": [], "ConfigMap": ["kube-root-ca.crt"], "Secret": [], "ServiceAccount": ["default"]}
    }
    assert cluster.find(DAEMONSET) is None


def test_an_object_that_a_finalizer_holds_is_named(helm: Helm, cluster: Cluster) -> None:
    helm.install(VALUES)
    path = "/api/v1/namespaces/falco/configmaps/falco"

    def hold(finalizers: list[str]) -> None:
        body = {"metadata": {"finalizers": finalizers}}
        cluster.request("PATCH", path, body=body, content_type="application/merge-patch+json")

    hold(["example.com/hold"])
    with pytest.raises(HelmError, match="resource ConfigMap/falco/falco still exists") as caught:
        helm("uninstall", "falco", "--timeout", "1s")
    assert "context deadline exceeded" in str(caught.value)
    assert helm.history == [(1, "uninstalling")]
    with pytest.raises(HelmError, match='UPGRADE FAILED: "falco" has no deployed releases'):
        helm.install(VALUES)
    hold([])


def test_releases_are_stored_as_helm_stores_them(helm: Helm, cluster: Cluster) -> None:
    helm.install(VALUES, more=("--labels", "team=blue,stage=test"))
    secret = cluster.request("GET", "/api/v1/namespaces/falco/secrets/sh.helm.release.v1.falco.v1")
    assert secret["type"] == "helm.sh/release.v1"
    labels = secret["metadata"]["labels"]
    assert abs(int(labels.pop("modifiedAt")) - time.time()) < 60
    assert labels == {
        **{"name": "falco", "owner": "helm", "status": "deployed", "version": "1", "team": "blue", "stage": "test"}
    }
    release = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))))
    assert release["chart"]["metadata"]["version"] == "9.1.0"
    assert release["info"]["status"] == "deployed"
    assert release["config"] == yaml.safe_load(VALUES.read_text())
    kinds = [item["kind"] for item in yaml.safe_load_all(release["manifest"])]
    assert kinds == ["ServiceAccount", "ConfigMap", "ConfigMap", "DaemonSet"]
    assert "# Source: falco/templates/daemonset.yaml" in release["manifest"]
    assert [row["name"] for row in helm.json("list", "--selector", "team=blue")] == ["falco"]
    assert helm.json("list", "--selector", "team=red") == []
    helm.install(VALUES, more=("--labels", "team=red"))
    assert [row["revision"] for row in helm.json("list", "--selector", "team=red,stage=test")] == ["2"]


def test_ten_revisions_are_kept(helm: Helm) -> None:
    for _ in range(12):
        helm.install(VALUES, more=())
    assert helm.history == [*((number, "superseded") for number in range(3, 12)), (12, "deployed")]


def test_fields_of_others_stay_and_fields_that_the_chart_no_longer_sets_go(helm: Helm, cluster: Cluster) -> None:
    helm.install(VALUES, WHOAMI)
    path = "/apis/apps/v1/namespaces/falco/daemonsets/falco"
    fields = daemonset(cluster)["metadata"]["managedFields"]
    # As Helm 3 leaves them, which updates instead of applying.
    updated = [entry | ({"operation": "Update"} if entry["manager"] == "helm" else {}) for entry in fields]
    body = {"metadata": {"managedFields": updated, "annotations": {"note": "mine"}}}
    cluster.request("PATCH", path, body=body, content_type="application/merge-patch+json")
    helm.install(VALUES)
    found = daemonset(cluster)
    assert "rules-volume" not in {volume["name"] for volume in found["spec"]["template"]["spec"]["volumes"]}
    assert found["metadata"]["annotations"]["note"] == "mine"
    assert found["metadata"]["annotations"]["meta.helm.sh/release-name"] == "falco"


def test_refusals_are_in_helms_words(helm: Helm, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("- rule: x\n")
    with pytest.raises(HelmError, match=r"failed to parse .* cannot unmarshal array into Go value"):
        helm.install(file)
    with pytest.raises(HelmError, match=r"chart \"falco\" matching 1.0.0 not found .* no chart version found"):
        helm.install(more=("--version", "1.0.0"))
    with pytest.raises(HelmError, match='UPGRADE FAILED: "falco" has no deployed releases'):
        helm("upgrade", *CHART)
    helm.install(VALUES, more=())
    with pytest.raises(HelmError, match="INSTALLATION FAILED: cannot re-use a name that is still in use"):
        helm("install", *CHART)
    with pytest.raises(HelmError, match=r"UPGRADE FAILED: .*falcosidekick"):
        helm("upgrade", *CHART, "--set", "falcosidekick.enabled=true")


def test_installing_says_what_helm_says(helm: Helm) -> None:
    done = helm("install", *CHART, "-f", str(VALUES), "--create-namespace", "--set-json", 'podLabels={"a":"b"}')
    assert done.startswith("NAME: falco\nLAST DEPLOYED: ")
    assert re.search(
        r"LAST DEPLOYED: \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\nNAMESPACE: falco\nSTATUS: deployed\n", done
    )
    assert "DESCRIPTION: Install complete\nTEST SUITE: None\nNOTES:\nFalco agents" in done
    helm("uninstall", "falco")
    for settings, said in (
        ("serviceMonitor.create=true", "resource mapping not found for name: .*\nensure CRDs are installed first"),
        ("driver.kind=ebpf", r"execution error at \(falco/templates/daemonset\.yaml:21:8\): The following chart"),
        (
            "driver.kind=ebpf,controller.kind=deployment",
            r"execution error at \(falco/templates/deployment\.yaml:25:8\)",
        ),
        ("driver.kind=ebpf,controller.kind=none", r"execution error at \(falco/templates/configmap\.yaml:10:8\)"),
        ("healthChecks=null", "nil pointer evaluating interface {}.startupProbe"),
    ):
        with pytest.raises(HelmError, match=f"INSTALLATION FAILED: (?s:.*){said}"):
            helm("install", *CHART, "--set", settings)


def test_falco_runs_as_a_deployment_too(helm: Helm, cluster: Cluster) -> None:
    values = ("--set", "controller.kind=deployment,controller.deployment.replicas=2")
    helm("install", *CHART, "-f", str(VALUES), "--create-namespace", *values, "--wait")
    (deployment,) = cluster.list("apps/v1", "Deployment", "falco")
    assert deployment["status"]["availableReplicas"] == 2


def test_a_release_has_all_that_a_real_helm_upgrades_it_with(helm: Helm, cluster: Cluster) -> None:
    helm.install(VALUES)
    (secret,) = cluster.list("v1", "Secret", "falco", labels="owner=helm")
    stored = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))))
    assert stored["chart"]["values"] == chart.defaults()
    for key in (
        "scc",
        "grafana.dashboards.configMaps",
        "metrics.service.ports",
        "falco.capture",
        "serviceMonitor.path",
    ):
        value = stored["chart"]["values"]
        for part in key.split("."):
            value = value[part]


def test_helms_command_line(helm: Helm) -> None:
    repo = CliRunner().invoke(command_line, ["repo", "add", "falcosecurity", versions.FALCO_CHART_REPOSITORY])
    assert repo.output == '"falcosecurity" has been added to your repositories\n'
    done = helm("upgrade", "--install", *CHART, "--version", "9.1.0", "-f", str(VALUES), "--create-namespace")
    assert 'Release "falco" does not exist. Installing it now.' in done
    assert "STATUS: deployed\nREVISION: 1\nDESCRIPTION: Install complete\n" in helm("status", "falco")
    assert "kind: DaemonSet" in helm("get", "manifest", "falco")
    assert helm.json("get", "values", "falco", "--all")["controller"]["kind"] == "daemonset"
    assert "has been upgraded. Happy Helming!\nNAME: falco" in helm("upgrade", *CHART, "-f", str(VALUES))


def test_the_command_fails_as_helm_does(endpoints: Endpoints) -> None:
    command = [*endpoints.helm, "status", "nope", "--kubeconfig", str(endpoints.kubeconfig)]
    gone = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (gone.returncode, gone.stdout, gone.stderr) == (1, "", "Error: release: not found\n")


def test_a_cluster_that_does_not_answer_is_named(endpoints: Endpoints, tmp_path: Path) -> None:
    document = json.loads(endpoints.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (tmp_path / "config").write_text(json.dumps(document))
    with pytest.raises(HelmError, match=r"^Kubernetes cluster unreachable: https://127.0.0.1:9: .*refused"):
        Cluster(str(tmp_path / "config")).list("v1", "Node")


def test_a_kubeconfig_in_yaml_with_a_credential_plugin_is_understood(endpoints: Endpoints, tmp_path: Path) -> None:
    document = json.loads(endpoints.kubeconfig.read_text())
    code = "import json, os; print(json.dumps({'status': {'token': os.environ['TOKEN']}}))"
    plugin = {"command": sys.executable, "args": ["-c", code], "env": [{"name": "TOKEN", "value": "x"}]}
    token = document["users"][0]["user"]["token"]
    document["users"][0]["user"] = {"exec": plugin}
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(HelmError, match="Unauthorized"):
        Cluster(str(file)).list("v1", "Node")
    plugin["env"][0]["value"] = token  # type: ignore[index]
    file.write_text(yaml.safe_dump(document))
    assert len(Cluster(str(file)).list("v1", "Node")) == 2


def test_a_release_is_rolled_back(helm: Helm, cluster: Cluster) -> None:
    helm.install(VALUES)
    helm.install(VALUES, WHOAMI)
    assert helm("rollback", "falco", "--wait") == "Rollback was a success! Happy Helming!\n"
    assert "falco-rules" not in names(cluster, "ConfigMap")
    latest = helm.json("history", "falco")[-1]
    assert (latest["revision"], latest["status"], latest["description"]) == (3, "deployed", "Rollback to 1")
    assert helm.history == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert "whoami.yaml" in helm("get", "values", "falco", "--revision", "2")
    assert "whoami.yaml" not in helm("get", "values", "falco")
    with pytest.raises(HelmError, match="release has no 9 version"):
        helm("rollback", "falco", "9")
    with pytest.raises(HelmError, match="release: not found"):
        helm("rollback", "nope")


def test_an_interrupt_is_told_as_one_whatever_it_arrived_in(helm: Helm, monkeypatch: pytest.MonkeyPatch) -> None:
    helm.install(VALUES)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt("encoding with 'idna' codec failed (KeyboardInterrupt: )")

    monkeypatch.setattr(Cluster, "wait_ready", interrupted)
    with pytest.raises(HelmError, match=r"^UPGRADE FAILED: context canceled$"):
        helm("upgrade", *CHART, "-f", str(VALUES), "--wait")
    assert helm.history[-1] == (2, "failed")


def test_a_rollback_that_fails_is_kept_as_failed(helm: Helm, refused_rule: Path) -> None:
    helm.install(VALUES, refused_rule, more=())
    helm.install(VALUES)
    with pytest.raises(HelmError, match=r"^resource DaemonSet/falco/falco not ready"):
        helm("rollback", "falco", "1", "--wait", "--timeout", "1s")
    assert helm.history == [(1, "superseded"), (2, "superseded"), (3, "failed")]


def test_an_interrupted_release_is_freed_by_rolling_back(helm: Helm, cluster: Cluster) -> None:
    helm.install(VALUES)
    helm.install(VALUES, WHOAMI)
    update(cluster, replace(revisions(cluster, "falco", "falco")[-1], status="pending-upgrade"))
    with pytest.raises(HelmError, match=r"UPGRADE FAILED: another operation .* is in progress"):
        helm("upgrade", *CHART, "-f", str(VALUES))
    helm("rollback", "falco")
    helm("upgrade", *CHART, "-f", str(VALUES))
    assert helm.history[-1] == (4, "deployed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_helm_that_is_interrupted_marks_the_release_as_failed(
    helm: Helm, endpoints: Endpoints, cluster: Cluster, refused_rule: Path, number: signal.Signals
) -> None:
    helm.install(VALUES)
    where = ("--kubeconfig", str(endpoints.kubeconfig), "--namespace", "falco")
    command = [*endpoints.helm, "upgrade", *CHART, "--values", str(refused_rule), "--wait", *where]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        generation = daemonset(cluster)["metadata"]["generation"]
        cluster.wait(
            lambda: "" if daemonset(cluster)["metadata"]["generation"] > generation else "not applied",
            "falco",
            time.monotonic() + 30,
        )
        process.send_signal(number)
        _, said = process.communicate(timeout=10)
    assert (process.returncode, said) == (1, "Error: UPGRADE FAILED: context canceled\n")
    last = helm.json("history", "falco")[-1]
    assert (last["status"], last["description"]) == ("failed", 'Upgrade "falco" failed: context canceled')


def test_a_failed_atomic_upgrade_leaves_what_was_there(helm: Helm, refused_rule: Path) -> None:
    with pytest.raises(HelmError, match="has been uninstalled due to rollback-on-failure"):
        helm.install(VALUES, refused_rule, more=("--atomic", "--timeout", "1s"))
    assert helm.json("list") == []
    helm.install(VALUES)
    with pytest.raises(HelmError, match=r"UPGRADE FAILED: release falco failed, and has been rolled back .* not ready"):
        helm.install(VALUES, refused_rule, more=("--atomic", "--timeout", "5s"))
    assert helm.history == [(1, "superseded"), (2, "failed"), (3, "deployed")]
    assert "customRules" not in helm.json("get", "values", "falco")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("helm foo", 'Error: unknown command "foo" for "helm"'),
        ("helm upgrad x", 'Error: unknown command "upgrad" for "helm"\n\nDid you mean this?\n\tupgrade'),
        ("helm upgrade falco", 'Error: "helm upgrade" requires 2 arguments'),
        ("helm upgrade a b --foo", "Error: unknown flag: --foo"),
        ("helm upgrade a b --timeout", "Error: flag needs an argument: --timeout"),
        (
            "helm upgrade a b --post-renderer x",
            "stand-in for Helm doesn't have the flag --post-renderer of `helm upgrade`.\nWhat",
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
    environment = endpoints.environment() | {"PATH": f"{endpoints.programs}:{path}"}
    return subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=False)
