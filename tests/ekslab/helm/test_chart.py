"""The chart, as the stand-in renders it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ekslab.helm import chart
from ekslab.helm.errors import HelmError
from ekslab.helm.values import coalesce, merge, read
from ekslab.images import registry
from ekslab.kubernetes.objects.pod_security import violations

ROOT = Path(__file__).parents[3]
VALUES = ROOT / "manifests/falco/values.yaml"


def render(values: dict[str, Any]) -> dict[tuple[str, str], Any]:
    objects = chart.render("falco", "falco", values, warn=lambda text: None)
    return {(item["kind"], item["metadata"]["name"]): item for item in objects}


def pod(values: dict[str, Any]) -> Any:
    return render(values)["DaemonSet", "falco"]["spec"]["template"]


def settings(values: dict[str, Any]) -> Any:
    return yaml.safe_load(render(values)["ConfigMap", "falco"]["data"]["falco.yaml"])


def test_the_workshops_values_render_the_charts_objects() -> None:
    assert sorted(render(read([VALUES]))) == [
        ("ConfigMap", "falco"),
        ("ConfigMap", "falco-falcoctl"),
        ("DaemonSet", "falco"),
        ("ServiceAccount", "falco"),
    ]
    assert {("Role", "falco"), ("RoleBinding", "falco")} <= set(render({"driver": {"kind": "auto"}}))


def test_values_reach_falco() -> None:
    values = read([VALUES])
    assert settings(values)["json_output"] is True
    assert settings(values)["engine"]["kind"] == "modern_ebpf"
    container = pod(values)["spec"]["containers"][0]
    assert (container["name"], container["tty"]) == ("falco", True)
    assert container["image"] == "docker.io/falcosecurity/falco:0.44.1"
    assert [c["name"] for c in pod(values)["spec"]["initContainers"]] == ["falcoctl-artifact-install"]


def test_the_charts_defaults_are_those_that_surprise() -> None:
    assert settings({})["json_output"] is False
    spec = pod({})["spec"]
    assert spec["containers"][0]["tty"] is False
    assert [c["name"] for c in spec["containers"]] == ["falco", "falcoctl-artifact-follow"]
    assert [c["name"] for c in spec["initContainers"]] == ["falco-driver-loader", "falcoctl-artifact-install"]


def test_custom_rules_become_files_and_roll_the_pods() -> None:
    custom = {"customRules": {"mine.yaml": "- rule: x\n"}}
    rendered = render(custom)
    assert rendered["ConfigMap", "falco-rules"]["data"] == {"mine.yaml": "- rule: x"}
    mounts = {mount["mountPath"]: mount["name"] for mount in pod(custom)["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["/etc/falco/rules.d"] == "rules-volume"
    changed = {"customRules": {"mine.yaml": "- rule: y\n"}}
    key = "checksum/rules"
    assert pod(custom)["metadata"]["annotations"][key] != pod(changed)["metadata"]["annotations"][key]
    assert pod(custom)["metadata"]["annotations"] == pod(dict(custom))["metadata"]["annotations"]


@pytest.mark.parametrize("values", [{}, read([VALUES]), {"driver": {"kind": "kmod"}}], ids=["defaults", "ours", "kmod"])
def test_the_labs_registry_has_every_image_of_the_chart(values: dict[str, Any]) -> None:
    spec = pod(values)["spec"]
    containers = [*spec["containers"], *spec["initContainers"]]
    assert containers
    for container in containers:
        assert registry().resolve(container["image"]).tags[0] in container["image"]


def test_every_mount_has_its_volume() -> None:
    for values in ({}, read([VALUES]), {"customRules": {"a.yaml": "- macro: x"}}, {"driver": {"kind": "kmod"}}):
        spec = pod(values)["spec"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        used = {m["name"] for c in (*spec["containers"], *spec["initContainers"]) for m in c["volumeMounts"]}
        assert used == volumes


def test_rules_that_are_not_a_block_of_text_are_refused_as_by_helm() -> None:
    with pytest.raises(HelmError, match=r"wrong type for value; expected string; got \[\]interface \{\}"):
        render({"customRules": {"mine.yaml": [{"rule": "x"}]}})


def test_a_list_of_rules_under_custom_rules_is_refused_as_by_helm() -> None:
    with pytest.raises(HelmError, match=r"12:21: .* expected string; got map\[string\]interface \{\}"):
        render({"customRules": [{"rule": "x"}]})
    with pytest.raises(HelmError, match="range can't iterate over a"):
        render({"customRules": "a"})


RENDERINGS: dict[str, str] = json.loads((Path(__file__).parent / "data" / "renderings.json").read_text())


@pytest.mark.parametrize("settings", RENDERINGS)
def test_values_render_as_by_a_real_helm(settings: str) -> None:
    """Helm 3.18 has rendered the chart with these settings and modern_ebpf: a digest of its objects, or its error."""
    values = read([], ["driver.kind=modern_ebpf", *([settings] if settings else [])])
    try:
        found = digest(chart.render("falco", "falco", values, warn=lambda text: None))
    except HelmError as error:
        found = str(error)
    assert found == RENDERINGS[settings]


def digest(objects: list[dict[str, Any]]) -> str:
    """A digest of objects, in which YAML in texts counts as what it says, and checksums don't count."""
    compared = json.loads(json.dumps(objects))
    for item in compared:
        for name, text in (item.get("data") or {}).items():
            if name.endswith(".yaml"):
                item["data"][name] = yaml.safe_load(text)
        template = (item.get("spec") or {}).get("template") or {"metadata": {}}
        annotations = template["metadata"].get("annotations") or {}
        annotations.update({key: "x" for key in annotations if key.startswith("checksum")})
    compared.sort(key=lambda item: (item["kind"], str(item["metadata"]["name"])))
    return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()[:16]


def test_templates_in_values_are_evaluated() -> None:
    values = {"extra": {"env": [{"name": "WHERE", "value": "{{ .Release.Namespace }}/{{ .Values.driver.kind }}"}]}}
    assert {"name": "WHERE", "value": "falco/auto"} in pod(values)["spec"]["containers"][0]["env"]
    with pytest.raises(HelmError, match="doesn't evaluate"):
        render({"extra": {"env": [{"name": "A", "value": '{{ include "x" . }}'}]}})


def test_notes_warn_of_what_is_ignored() -> None:
    values = {"driver": {"kind": "modern-bpf"}, "collectors": {"docker": {}}, "falco": {"load_plugins": ["json"]}}
    notes = chart.rendered("falco", "falco", values | {"falco": {"load_plugins": ["json"]}}, warn=print)[1]
    for said in ('The driver kind: "modern-bpf" is an alias', " - collectors.docker", "install.refs: [json]"):
        assert said in notes


def test_warnings_are_helms() -> None:
    warnings: list[str] = []
    values = {"tty": {"a": 1}, "falco": {"webserver": False, "priority": {"a": 1}}, "controller": {"labels": {"a": 1}}}
    coalesce(values, chart.defaults(), warn=warnings.append, path="falco")
    assert [text.partition(" (")[0] for text in warnings] == [
        "warning: skipped value for falco.tty: Not a table.",
        "warning: destination for falco.falco.priority is a table. Ignoring non-table value",
        "warning: cannot overwrite table with non table for falco.falco.webserver",
    ]


def test_an_unsupported_driver_is_refused() -> None:
    with pytest.raises(HelmError, match='unsupported driver kind: "bpf"'):
        render({"driver": {"kind": "bpf"}})


@pytest.mark.parametrize("values", [{"driver": {"kind": "ebpf"}}, {"falco": {"grpc": {"enabled": True}}}])
def test_what_the_chart_has_no_longer_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(HelmError, match=r"no longer supported: .* See BREAKING-CHANGES\.md"):
        render(values)


def test_what_the_lab_cannot_run_is_refused_by_name() -> None:
    with pytest.raises(HelmError, match="does not emulate falcosidekick"):
        render({"falcosidekick": {"enabled": True}})


def test_only_the_pinned_chart_is_found() -> None:
    for version in ("9.1.0", "", "9.x", "^9.0.0", "~9.1", ">=9"):
        chart.locate("falcosecurity/falco", version)
    chart.locate("falco", "9.1.0", "https://falcosecurity.github.io/charts")
    with pytest.raises(HelmError, match=r"no chart version found for falco-8\.0\.0"):
        chart.locate("falcosecurity/falco", "8.0.0")
    with pytest.raises(HelmError, match="repo bitnami not found"):
        chart.locate("bitnami/nginx", "1.0.0")


def test_values_files_are_merged_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("tty: true\nfalco: {json_output: true, priority: debug}\n")
    (tmp_path / "b.yaml").write_text("falco: {priority: notice}\n")
    merged = read([tmp_path / "a.yaml", tmp_path / "b.yaml"], ["falco.tags={a,b}", "tty=false"])
    assert merged == {"tty": False, "falco": {"json_output": True, "priority": "notice", "tags": ["a", "b"]}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- rule: x\n", "cannot unmarshal array into Go value of type map"),
        ("- rule: a\n      desc: b\n", "yaml: line 2: mapping values are not allowed in this context"),
    ],
)
def test_a_file_that_is_no_map_is_refused_in_helms_words(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "custom-rules.yaml"
    file.write_text(text)
    with pytest.raises(HelmError, match="failed to parse") as refused:
        read([file])
    assert said in str(refused.value)


def test_null_takes_a_default_away() -> None:
    assert coalesce({"a": None, "b": {"c": 1}}, {"a": 1, "b": {"d": 2}}, warn=print, path="x") == {
        "b": {"c": 1, "d": 2}
    }


def test_merging_leaves_its_arguments_alone() -> None:
    under, over = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merge(under, over) == {"a": {"b": 1, "c": 2}}
    assert (under, over) == ({"a": {"b": 1}}, {"a": {"c": 2}})


MANIFESTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "workshop": merge(read([VALUES]), read([ROOT / "custom-rules/whoami.yaml"])),
    "kmod-own-account": {
        "driver": {"kind": "kmod"},
        "serviceAccount": {"create": False},
        "fullnameOverride": "watch",
        "namespaceOverride": "security",
    },
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_manifest_is_the_recorded_one(name: str) -> None:
    """The whole text is pinned: an object or field that changes by accident is noticed."""
    objects = chart.render("falco", "falco", MANIFESTS[name], warn=lambda text: None)
    assert chart.manifest(objects) == (Path(__file__).parent / "data" / f"{name}.yaml").read_text()


def test_least_privileges_are_four_capabilities_that_pod_security_still_refuses() -> None:
    """What the workshop's setting turns on: no privileged container, the folders of the node as before."""
    template = pod(merge(read([VALUES]), read([VALUES.parent / "least-privileged.yaml"])))
    container = template["spec"]["containers"][0]
    assert container["securityContext"] == {"capabilities": {"add": ["BPF", "SYS_RESOURCE", "PERFMON", "SYS_PTRACE"]}}
    assert template["metadata"]["annotations"]["container.apparmor.security.beta.kubernetes.io/falco"] == "unconfined"
    said = " ".join(violations(template["spec"], "baseline", template["metadata"]["annotations"], is_pod=False))
    assert "forbidden AppArmor profile (annotation" in said
    assert "hostPath volumes" in said
    assert '"BPF", "PERFMON", "SYS_PTRACE", "SYS_RESOURCE"' in said
    assert "privileged" not in said
