"""The manifests, values, policies and custom rules are right for a real cluster and agree with the pinned versions."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ekslab.helm import chart
from falcorules import Engine, RecordedEvent, check
from labkit.versions import pinned

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "manifests"
STABLE = ROOT / "falcorules/data/falco_rules.yaml"
OBJECTS = [
    (path, item)
    for folder in ("fluent-bit", "nginx")
    for path in sorted((MANIFESTS / folder).glob("*.yaml"))
    for item in yaml.safe_load_all(path.read_text())
]


def one(kind: str, name: str) -> Any:
    (found,) = [item for _, item in OBJECTS if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def rules_of(path: Path) -> list[tuple[str, str]]:
    """A values file's custom rules as (file name, text)."""
    return list(yaml.safe_load(path.read_text())["customRules"].items())


@pytest.mark.parametrize(("path", "item"), OBJECTS, ids=lambda value: value.name if isinstance(value, Path) else None)
def test_every_object_says_where_it_belongs(path: Path, item: Any) -> None:
    assert item["apiVersion"]
    assert item["metadata"]["labels"]["app.kubernetes.io/part-of"] == "falco-workshop"
    assert item["kind"] == "Namespace" or item["metadata"]["namespace"] in ("logging", "default")


def test_images_are_the_pinned_ones() -> None:
    shipper = one("DaemonSet", "fluent-bit")["spec"]["template"]["spec"]["containers"][0]
    web = one("Deployment", "nginx")["spec"]["template"]["spec"]["containers"][0]
    versions = pinned()
    assert shipper["image"] == f"{versions['fluent_bit']['image']}:{versions['fluent_bit']['version']}"
    assert web["image"] == f"{versions['nginx']['image']}:{versions['nginx']['version']}"


def test_selectors_select_their_own_pods() -> None:
    for kind, name in (("DaemonSet", "fluent-bit"), ("Deployment", "nginx")):
        spec = one(kind, name)["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
    pods = one("Deployment", "nginx")["spec"]["template"]["metadata"]["labels"]
    assert one("Service", "nginx")["spec"]["selector"].items() <= pods.items()


def test_fluent_bit_ships_falcos_json_unchanged_and_loses_nothing() -> None:
    config = yaml.safe_load(one("ConfigMap", "fluent-bit")["data"]["fluent-bit.yaml"])
    (tail,), (grep,), (output,) = (config["pipeline"][kind] for kind in ("inputs", "filters", "outputs"))
    assert tail["path"] == "/var/log/containers/*_falco_falco-*.log"
    assert tail["storage.type"] == "filesystem"
    assert re.search(grep["regex"].split(" ", 1)[1], '{"rule":')
    assert output["log_key"] == "log"
    assert output["retry_limit"] == "no_limits"
    assert output["region"] == "${AWS_REGION}"
    assert config["service"]["scheduler.base"] < config["service"]["scheduler.cap"]


def test_fluent_bits_state_is_on_a_volume_and_its_logs_are_reachable() -> None:
    config = yaml.safe_load(one("ConfigMap", "fluent-bit")["data"]["fluent-bit.yaml"])
    pod = one("DaemonSet", "fluent-bit")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    for path in (config["service"]["storage.path"], config["pipeline"]["inputs"][0]["db"]):
        assert path.startswith(mounts["state"])
    assert mounts["var-log"] == "/var/log"  # links in /var/log/containers lead to /var/log/pods
    assert container["args"] == [f"--config={mounts['config']}/fluent-bit.yaml"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_role_may_write_to_one_log_group_and_is_for_one_service_account() -> None:
    permissions = json.loads((MANIFESTS / "iam/fluent-bit-permissions.json").read_text())
    trust = json.loads((MANIFESTS / "iam/fluent-bit-trust.json").read_text())
    (statement,) = permissions["Statement"]
    assert sorted(statement["Action"]) == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert statement["Resource"] == ["arn:${partition}:logs:${region}:${account_id}:log-group:${log_group}:*"]
    (trusted,) = trust["Statement"]
    assert trusted["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert set(trusted["Condition"]["StringEquals"]) == {"${oidc_provider}:aud", "${oidc_provider}:sub"}


def test_falcos_values_are_what_the_pipeline_relies_on() -> None:
    values = yaml.safe_load((MANIFESTS / "falco/values.yaml").read_text())
    assert values["tty"] is True
    assert values["falco"]["json_output"] is True
    assert values["falco"]["buffered_outputs"] is False
    assert values["driver"]["kind"] == "modern_ebpf"
    assert values["falcoctl"]["artifact"]["follow"]["enabled"] is False
    assert "customRules" not in values


def test_the_falco_namespace_admits_privileged_pods() -> None:
    namespace = yaml.safe_load((MANIFESTS / "falco/namespace.yaml").read_text())
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"


def test_the_cluster_has_nodes_that_falco_runs_on() -> None:
    cluster = yaml.safe_load((MANIFESTS / "eks/cluster.yaml").read_text())
    assert cluster["metadata"]["name"] == "falco-workshop"
    assert cluster["iam"]["withOIDC"] is True
    assert {group["amiFamily"] for group in cluster["managedNodeGroups"]} == {"AmazonLinux2023"}
    assert "fargateProfiles" not in cluster


def test_the_custom_rule_loads_after_the_stable_ones() -> None:
    report = check([STABLE, *rules_of(ROOT / "custom-rules" / "whoami.yaml")])
    assert report.successful
    assert report.warnings == []


def test_the_first_attempts_fail_where_the_readme_says() -> None:
    broken = ROOT / "custom-rules/broken"
    with pytest.raises(yaml.YAMLError, match="mapping values are not allowed here"):
        yaml.safe_load((broken / "1-as-printed.yaml").read_text())
    assert isinstance(yaml.safe_load((broken / "2-indented.yaml").read_text()), list)
    report = check([STABLE, broken / "2-indented.yaml"])
    assert report.successful
    assert {problem.code for problem in report.warnings} == {"LOAD_DEPRECATED_ITEM"}
    ignored = yaml.safe_load((broken / "3-under-a-key.yaml").read_text())
    objects = chart.render("falco", "falco", ignored, warn=print)
    assert "falco-rules" not in {item["metadata"]["name"] for item in objects}


def alerts_of(name: str, event: dict[str, Any]) -> list[str]:
    engine = Engine()
    engine.load([STABLE, *rules_of(ROOT / "custom-rules" / name)])
    return [
        alert.rule for alert in engine.process(RecordedEvent({"evt.num": 1, "container.id": "6c87814e33bb"} | event))
    ]


def test_the_whoami_rule_fires_on_whoami_in_a_container() -> None:
    whoami = {"evt.type": "execve", "proc.name": "whoami"}
    assert alerts_of("whoami.yaml", whoami) == ["Whoami run in container"]
    assert alerts_of("whoami.yaml", whoami | {"container.id": "host"}) == []
    assert alerts_of("whoami.yaml", whoami | {"proc.name": "locate"}) == []


def test_the_pods_of_fluent_bit_have_the_checksum_of_its_configuration() -> None:
    """For those who apply by hand: with the right checksum, `kubectl apply` replaces the pods after a change."""
    template = one("DaemonSet", "fluent-bit")["spec"]["template"]
    text = (MANIFESTS / "fluent-bit/20-configmap.yaml").read_bytes()
    assert template["metadata"]["annotations"]["checksum/config"] == hashlib.sha256(text).hexdigest(), (
        "write the sha256sum of 20-configmap.yaml into 30-daemonset.yaml"
    )


def test_fluent_bit_stays_on_a_full_node_and_shows_its_metrics() -> None:
    template = one("DaemonSet", "fluent-bit")["spec"]["template"]
    (container,) = template["spec"]["containers"]
    annotations = template["metadata"]["annotations"]
    config = yaml.safe_load(one("ConfigMap", "fluent-bit")["data"]["fluent-bit.yaml"])
    assert template["spec"]["priorityClassName"] == "system-node-critical"
    assert annotations["prometheus.io/path"] == "/api/v2/metrics/prometheus"
    assert int(annotations["prometheus.io/port"]) == config["service"]["http_port"]
    # health_check would make nothing better: its counters don't move while there is no limit of retries.
    assert "health_check" not in config["service"]
    assert config["pipeline"]["outputs"][0]["retry_limit"] == "no_limits"
    assert {container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")} == {"/"}


def test_fluent_bit_waits_between_retries_and_for_answers_as_was_measured_best() -> None:
    config = yaml.safe_load(one("ConfigMap", "fluent-bit")["data"]["fluent-bit.yaml"])
    service, (output,) = config["service"], config["pipeline"]["outputs"]
    assert (service["flush"], service["scheduler.base"], service["scheduler.cap"]) == (1, 5, 20)
    assert output["net.io_timeout"] == 30
