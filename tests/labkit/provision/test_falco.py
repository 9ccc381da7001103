"""Falco's release: its values, as Helm merges them, whose it is, when it is upgraded, and the commands shown for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from falcorules.rulesets import RELEASES, TIERS
from labkit.errors import StepError
from labkit.helm import Release
from labkit.kube.rollout import Problem
from labkit.ledger import Ledger, Record
from labkit.provision import falco
from labkit.provision.falco import (
    FalcoRelease,
    artifacts,
    chosen_values,
    helm_command,
    is_workshops,
    lock_file,
    merged_values,
    values_files,
)
from labkit.settings import Settings
from labkit.versions import pinned


def test_maps_merge_and_everything_else_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("tty: true\nfalco: {json_output: true, files: [a, b]}\nempty: {x: 1}\n")
    (tmp_path / "b.yaml").write_text("falco: {files: [c]}\nempty: null\ncustomRules: {r.yaml: text}\n")
    assert merged_values([tmp_path / "a.yaml", tmp_path / "b.yaml"]) == {
        "tty": True,
        "falco": {"json_output": True, "files": ["c"]},
        "customRules": {"r.yaml": "text"},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- rule: x", "is a list at its top; Helm takes a map"),
        ("a: b: c", "is not YAML"),
        ("a: 2001-99-99", "is not YAML"),
        ("[" * 5_000, "is nested too deeply"),
        ("a: 1\n---\nb: 2\n", "is several documents at its top"),
        ("x: " + "y" * (1 << 20), "it is larger than 1 MiB"),
    ],
)
def test_a_values_file_that_helm_would_refuse_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "v.yaml").write_text(text)
    with pytest.raises(StepError, match=said) as caught:
        merged_values([tmp_path / "v.yaml"])
    assert caught.value.hint


def test_the_command_shown_can_be_copied(workshop: Path) -> None:
    lab: Any = SimpleNamespace(settings=Settings.load(environ={}, root=workshop))
    shown = helm_command(lab, [workshop / "manifests/falco/values.yaml", workshop / "custom-rules/whoami.yaml"])
    assert shown.splitlines()[0] == "helm upgrade --install falco falco \\"
    assert "--values manifests/falco/values.yaml" in shown
    assert "--values custom-rules/whoami.yaml" in shown
    assert "--version 9.1.0" in shown


class Cluster:
    """Answers of Helm and of the API server to the release's part, and what they were asked to do."""

    def __init__(self, workshop: Path, tmp_path: Path) -> None:
        self.settings = Settings.load(environ={}, root=workshop)
        self.ledger = Ledger(tmp_path / "ledger.json")
        self.helm = self.kube = self
        self.release: Release | None = None
        self.values: dict[str, Any] = {}
        self.secrets: Sequence[Any] = []
        self.daemon_sets: Sequence[Any] = []
        self.objects: dict[str, dict[str, Any]] = {}
        self.upgrades: Any = []
        self.rollouts: Any = []

    def status(self, release: str, namespace: str) -> Release | None:
        assert (release, namespace) == ("falco", "ns")
        return self.release

    def get_values(self, release: str, namespace: str) -> dict[str, Any]:
        return self.values

    def upgrade_install(self, release: str, chart: str, **options: Any) -> None:
        self.upgrades.append(options)

    def get(self, kind: str, name: str, namespace: str = "") -> dict[str, Any] | None:
        return self.objects.get(kind)

    def list(self, kind: str, namespace: str = "", *, labels: str = "") -> Sequence[Any]:
        if kind == "DaemonSet":
            return self.daemon_sets
        if kind == "Node":
            return []
        assert (kind, namespace) == ("Secret", "ns")
        assert labels == "owner=helm,name=falco,app.kubernetes.io/managed-by=labkit"
        return self.secrets


@pytest.fixture
def target(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    cluster = Cluster(workshop, tmp_path)
    monkeypatch.setattr(falco, "wait_rollout", lambda *which, **options: cluster.rollouts.append((which[1:], options)))
    return cluster


@pytest.fixture
def part(tmp_path: Path) -> FalcoRelease:
    (tmp_path / "values.yaml").write_text("tty: true\n")
    return FalcoRelease("ns", (tmp_path / "values.yaml",))


VERSION = pinned()["falco"]["chart"]["version"]
DEPLOYED = Release("falco", "ns", 3, "deployed", "falco", VERSION, "0.44.1")


def test_the_state_of_a_release_and_what_is_wrong_with_it(target: Any, part: FalcoRelease) -> None:
    assert part.state(target) == ""
    target.release = replace(DEPLOYED, status="failed")
    assert part.state(target) == "revision 3, failed"
    failed = "Helm release falco is failed: its last operation ended with an error; applying the step again puts it"
    assert part.fault(target, target.release) == f"{failed} right"
    for status in ("pending-install", "pending-upgrade", "pending-rollback", "uninstalling"):
        said = part.fault(target, replace(DEPLOYED, status=status))
        assert said.startswith(f"Helm release falco is {status}: a Helm call works on it, or was interrupted;")
    target.release = DEPLOYED
    assert part.fault(target, target.release) == "There is no DaemonSet ns/falco"
    status = {"desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberReady": 1}
    target.objects["DaemonSet"] = {"kind": "DaemonSet", "metadata": {}, "status": status}
    assert part.fault(target, target.release) == ""


def test_a_release_of_another_chart_with_this_name_is_left_alone(target: Any, part: FalcoRelease) -> None:
    with pytest.raises(StepError, match=r"release falco in namespace ns is of another chart, postgresql\.") as caught:
        part.apply(target, replace(DEPLOYED, chart="postgresql"), owned=True)
    assert "LABKIT_FALCO_NAMESPACE" in caught.value.hint
    assert target.upgrades == []


def test_a_new_release_gets_the_labs_label(target: Any, part: FalcoRelease) -> None:
    assert part.apply(target, target.release, owned=True) == "created"
    (upgrade,) = target.upgrades
    assert upgrade == {
        "version": VERSION,
        "namespace": "ns",
        "values": part.values,
        "wait": False,
        "labels": {"app.kubernetes.io/managed-by": "labkit"},
    }
    waited = {"timeout": target.settings.timeout, "hopeless": falco._has_wrong_rules}
    assert target.rollouts == [(("DaemonSet", "falco", "ns"), waited)]


@pytest.mark.parametrize("changed", [{"status": "failed"}, {"version": "1.0.0"}, {}])
def test_a_release_is_upgraded_if_it_is_not_as_it_should_be(
    target: Any, part: FalcoRelease, changed: dict[str, Any]
) -> None:
    target.release, target.values = DEPLOYED, {"tty": True}
    target.objects["Namespace"] = {"metadata": {"labels": {"app.kubernetes.io/part-of": "falco-workshop"}}}
    assert part.apply(target, target.release, owned=True) == "unchanged"
    assert (target.upgrades, len(target.rollouts)) == ([], 1)  # it may be another's upgrade that is under way
    target.release = replace(DEPLOYED, **changed)
    target.values = {"tty": bool(changed)}
    assert part.apply(target, target.release, owned=True) == "updated"
    assert [upgrade["labels"] for upgrade in target.upgrades] == [None]
    target.secrets = ["one"]  # a release that has the lab's label keeps it
    assert part.apply(target, target.release, owned=True) == "updated"
    assert target.upgrades[-1]["labels"]


def test_a_foreign_release_is_not_touched(target: Any, part: FalcoRelease) -> None:
    target.release = DEPLOYED
    with pytest.raises(StepError, match="did not install is in namespace ns") as caught:
        part.apply(target, target.release, owned=True)
    assert "`helm uninstall falco --namespace ns`" in caught.value.hint
    assert target.upgrades == []


def test_what_makes_a_release_the_workshops(target: Any) -> None:
    assert not is_workshops(target, "ns")
    for labels in ({"app.kubernetes.io/managed-by": "labkit"}, {"app.kubernetes.io/part-of": "falco-workshop"}):
        target.objects["Namespace"] = {"metadata": {"labels": labels}}
        assert is_workshops(target, "ns")
    target.objects.clear()
    target.secrets = ["one"]
    assert is_workshops(target, "ns")
    target.secrets = []
    target.ledger.write(Record("falco", "Helm release", "falco", made=False))
    assert not is_workshops(target, "ns")
    target.ledger.write(Record("falco", "Helm release", "falco", made=True))
    assert is_workshops(target, "ns")


def test_only_a_rule_that_falco_does_not_load_at_its_second_try_makes_waiting_hopeless() -> None:
    wrong = Problem("p", "falco", "CrashLoopBackOff", "", log="Error: LOAD_ERR_VALIDATE\n")
    assert falco._has_wrong_rules(wrong)
    for other in ({"container": "init"}, {"reason": "Error"}, {"log": "killed"}):
        assert not falco._has_wrong_rules(replace(wrong, **other))


def test_rules_that_were_shipped_and_are_still_there_are_among_the_values(target: Any, tmp_path: Path) -> None:
    kept, gone = tmp_path / "kept.yaml", tmp_path / "gone.yaml"
    kept.write_text("")
    target.ledger.write(Record("custom-rules", "x", "y", made=True, details={"files": [str(kept), str(gone)]}))
    target.ledger.write(Record("custom-rules", "x", "z", made=True))
    target.ledger.write(Record("falco", "x", "y", made=True, details={"files": [str(tmp_path / "kept.yaml")]}))
    assert falco.shipped_rules(target) == [kept]
    (step,) = falco.STEPS
    namespace, release = step.parts(target)
    assert (namespace.kind, release.kind) == ("Namespace", "Helm release")
    assert isinstance(release, FalcoRelease)
    assert release.values == (target.settings.root / "manifests/falco/values.yaml", kept)
    lines = step.cli(target).splitlines()
    assert f"    --values {kept} \\" in lines or f"    --values {kept}" in lines
    assert "kubectl apply -f manifests/falco/namespace.yaml" in lines
    assert lines[-1] == "kubectl -n falco rollout status daemonset/falco --timeout=5m"
    assert step.undo_cli(target).splitlines() == [
        "helm uninstall falco --namespace falco --wait --ignore-not-found",
        "kubectl delete namespace falco --ignore-not-found",
    ]


def test_an_empty_values_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: {b: {c: 1, d: 2}}\n")
    (tmp_path / "b.yaml").write_text("")
    (tmp_path / "c.yaml").write_text("a: {b: {c: 3, d: null}, e: null}\n")
    files = [tmp_path / f"{name}.yaml" for name in "abc"]
    assert merged_values(files[:2]) == {"a": {"b": {"c": 1, "d": 2}}}
    assert merged_values(files) == {"a": {"b": {"c": 3}}}
    assert merged_values([]) == {}


def daemon_set(name: str, image: str, **meta: Any) -> dict[str, Any]:
    spec = {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}
    return {"metadata": {"namespace": "ns", "name": name, **meta}, "spec": spec}


@pytest.mark.parametrize(
    ("item", "by"),
    [
        (daemon_set("mine", "public.ecr.aws/falcosecurity/falco:0.43.0"), "by no Helm release"),
        (daemon_set("a", "f/falco@sha256:0", annotations={"meta.helm.sh/release-name": "sec"}), "by Helm release sec"),
        (daemon_set("a", "x/falco-no-driver:1", ownerReferences=[{"kind": "Falco"}]), "by the operator (Falco)"),
        (daemon_set("falco", "falcosecurity/falco:0.44.1", namespace="other"), "other/falco runs Falco already"),
    ],
)
def test_a_second_falco_on_the_nodes_is_refused(target: Any, part: FalcoRelease, item: dict[str, Any], by: str) -> None:
    target.daemon_sets = [daemon_set("falco", "falcosecurity/falco:0.44.1"), item]
    with pytest.raises(StepError, match="runs Falco already") as caught:
        part.apply(target, None, owned=True)
    assert by in caught.value.message
    assert "each alert comes twice" in caught.value.hint
    assert not target.upgrades


@pytest.mark.parametrize("image", ["falcosecurity/falcosidekick:2", "falcosecurity/falcoctl:0.13.0", "x/notfalco:1"])
def test_what_belongs_to_falco_and_isnt_one_is_no_second_falco(target: Any, part: FalcoRelease, image: str) -> None:
    target.daemon_sets = [daemon_set("a", image)]
    assert part.apply(target, None, owned=True) == "created"


@pytest.mark.parametrize("version", ["9.1.1", "9.10.0", "10.0.0"])
def test_a_release_of_a_newer_chart_isnt_put_back(target: Any, part: FalcoRelease, version: str) -> None:
    target.ledger.write(Record(falco.STEP, part.kind, part.name, made=True))
    with pytest.raises(StepError, match=f"has chart {version}") as caught:
        part.apply(target, replace(DEPLOYED, version=version), owned=True)
    assert "helm uninstall falco -n ns" in caught.value.hint
    assert not target.upgrades


def test_what_an_upgrade_changes_is_said_before(
    target: Any, part: FalcoRelease, capsys: pytest.CaptureFixture[str]
) -> None:
    target.ledger.write(Record(falco.STEP, part.kind, part.name, made=True))
    target.values = {"tty": False, "falco": {"priority": "error"}, "customRules": {"own.yaml": "- rule: x"}}
    target.upgrade_install = lambda *names, **options: target.upgrades.append(capsys.readouterr().err)
    assert part.apply(target, replace(DEPLOYED, version="9.0.0"), owned=True) == "updated"
    [said] = target.upgrades
    assert said.splitlines() == [
        "Falco's release is upgraded. 0 values kept; this changes:",
        "  chart: 9.0.0 -> 9.1.0",
        "  customRules.own.yaml: a rule file -> no file",
        "  falco.priority: 'error' -> the chart's default",
        "  tty: False -> True",
    ]


@pytest.mark.parametrize(
    ("settings", "names", "refs"),
    [
        ({}, ["values"], ["falco-rules:5.1.0"]),
        ({"falco_privileges": "least"}, ["values", "least-privileged"], ["falco-rules:5.1.0"]),
        (
            {"rule_tiers": "incubating,sandbox"},
            ["values", "rules-incubating-sandbox"],
            ["falco-rules:5.1.0", "falco-incubating-rules:6.0.1", "falco-sandbox-rules:6.1.0"],
        ),
    ],
)
def test_settings_choose_values_files(
    workshop: Path, settings: dict[str, Any], names: list[str], refs: list[str]
) -> None:
    files = chosen_values(Settings.load(environ={}, root=workshop, **settings))
    assert [file.stem for file in files] == names
    assert artifacts(files) == refs


@pytest.mark.parametrize("tiers", ["incubating", "sandbox", "incubating,sandbox"])
def test_a_tier_is_fetched_and_loaded_in_the_order_of_tiers(workshop: Path, tiers: str) -> None:
    files = chosen_values(Settings.load(environ={}, root=workshop, rule_tiers=tiers))
    wanted = ["stable", *tiers.split(",")]
    assert merged_values(files)["falco"]["rules_files"] == [
        *(f"/etc/falco/{TIERS[tier]}" for tier in wanted),
        "/etc/falco/falco_rules.local.yaml",
        "/etc/falco/rules.d",
    ]
    releases = [RELEASES[TIERS[tier]].rpartition("-") for tier in wanted]
    assert artifacts(files) == [f"{name}:{version}" for name, _, version in releases]


def test_digests_count_on_a_real_cluster_and_for_the_same_tiers_only(
    target: Any, workshop: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"environ": {}, "root": workshop, "home": tmp_path / "home"}
    target.settings = Settings.load(target="eks", **options)
    lock = lock_file(target.settings)
    lock.parent.mkdir()
    lock.write_text("falcoctl: {config: {artifact: {install: {refs: ['falco-rules@sha256:0']}}}}\n")
    assert artifacts(values_files(target)) == ["falco-rules@sha256:0"]
    target.settings = Settings.load(target="eks", rule_tiers="sandbox", **options)
    with pytest.raises(StepError, match="digests of falco-rules, and the settings ask for falco-rules, falco-sandbox"):
        values_files(target)
    target.settings = Settings.load(**options)
    assert artifacts(values_files(target)) == ["falco-rules:5.1.0"]


def test_a_class_keeps_the_tiers_and_reads_its_attendees_rules_last(
    target: Any, workshop: Path, tmp_path: Path
) -> None:
    target.settings = Settings.load(environ={}, root=workshop, home=tmp_path, rule_tiers="incubating,sandbox")
    target.ledger.write(Record("class", "class", "falco-workshop", made=True))
    merged = merged_values(values_files(target))
    assert merged["falco"]["rules_files"] == [
        *(f"/etc/falco/{file}" for file in TIERS.values()),
        *("/etc/falco/falco_rules.local.yaml", "/etc/falco/rules.d", "/etc/falco/attendees"),
    ]
    assert merged["falco"]["watch_config_files"] is True
