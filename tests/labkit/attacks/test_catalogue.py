"""One policy over every entry of the catalogue."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from falcorules.rulesets import DATA, TIERS
from labkit.alerts import PRIORITIES
from labkit.alerts.mitre import TACTICS, TECHNIQUE
from labkit.attacks import Attack, catalogue, find
from labkit.attacks.pods import LABELS
from labkit.errors import LabError
from labkit.kube.objects import LAB_LABELS
from labkit.versions import pinned

ROOT = Path(__file__).parents[3]
PODS = ROOT / "labkit/attacks/pods"


def rules_of(*files: Path) -> dict[str, dict[str, object]]:
    return {item["rule"]: item for file in files for item in yaml.safe_load(file.read_text()) if "rule" in item}


@pytest.fixture(scope="module")
def rules() -> dict[str, dict[str, object]]:
    """The lab's rules of all tiers and the workshop's own, by name; each with its `tier`."""
    values = yaml.safe_load((ROOT / "custom-rules/whoami.yaml").read_text())
    own = {item["rule"]: item for text in values["customRules"].values() for item in yaml.safe_load(text)}
    found = {tier: rules_of(DATA / file) for tier, file in TIERS.items()} | {"custom": own}
    return {name: {**rule, "tier": tier} for tier, rules in found.items() for name, rule in rules.items()}


ALL = catalogue()
entries = pytest.mark.parametrize("attack", ALL, ids=lambda a: a.name)
alerting = pytest.mark.parametrize("attack", [a for a in ALL if not a.is_control], ids=lambda a: a.name)


def test_names_are_unique() -> None:
    assert len({a.name for a in ALL}) == len(ALL)


def test_the_catalogue_has_attacks_on_most_rules_that_a_pod_can_trip(rules: dict[str, dict[str, object]]) -> None:
    assert len(ALL) >= 70
    assert sum(a.is_control for a in ALL) >= 4
    for tier, least in (("stable", 23), ("incubating", 25), ("sandbox", 20)):
        assert len({a.rule for a in ALL.of(tier)}) >= least  # type: ignore[arg-type]
    without = {name for name in rules if name not in {a.rule for a in ALL}}
    assert without == {
        "Read sensitive file trusted after startup",  # a server has to have run for 5 s
        "Disallowed SSH Connection Non Standard Port",  # it leaves the pod
        "Unexpected UDP Traffic",  # the lab's network has none
        # Another rule alerts for the same event before they do.
        *("Contact cloud metadata service from container", "Network Tool Executed During NPM Package Install"),
    }


@entries
def test_an_entry_is_complete(attack: Attack) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", attack.name)
    assert attack.name.startswith("control-") == attack.is_control
    assert attack.title[0].isupper()
    assert not attack.title.endswith(".")
    assert attack.why.endswith(".")
    assert attack.argv
    assert attack.argv[0] in attack.needs
    assert attack.eks.endswith(".")
    assert attack.embedded.endswith(".")
    assert (attack.benign is None) == attack.is_control
    assert not attack.pod or (PODS / f"{attack.pod}.yaml").is_file()
    assert (attack.stdin is not None) <= attack.tty


@alerting
def test_a_twin_is_another_command_that_says_why_it_is_silent(attack: Attack) -> None:
    twin = attack.twin
    assert (twin.argv, twin.tty, twin.pod) != (attack.argv, attack.tty, attack.pod)
    assert twin.is_control
    assert twin.why.endswith(".")
    assert twin.why != attack.why
    assert set(twin.also) <= {"Launch Sensitive Mount Container"}


def test_twins_are_a_table_with_a_reason_each() -> None:
    text = repr(catalogue().twins)
    assert text.startswith("71 benign twins")
    assert "cat /etc/passwd" in text
    assert "/etc/passwd isn't one of the sensitive files." in text
    assert len(text.splitlines()) == 72


def test_a_control_has_no_twin() -> None:
    with pytest.raises(LabError, match="control-read-passwd has no benign twin"):
        _ = find("control-read-passwd").twin


@pytest.mark.parametrize("file", sorted(PODS.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_pod_of_an_attacks_own_ends_by_itself_and_is_known_to_teardown_and_audit(file: Path) -> None:
    pod = yaml.safe_load(file.read_text())
    assert pod["metadata"]["labels"].items() >= {**LABELS, **LAB_LABELS}.items()
    assert pod["spec"]["activeDeadlineSeconds"] <= 600
    assert pod["spec"]["containers"][0]["image"] == f"{pinned()['nginx']['image']}:{pinned()['nginx']['version']}"


@pytest.mark.parametrize(
    "attack", [*ALL, *(attack.twin for attack in ALL if not attack.is_control)], ids=lambda a: a.name
)
def test_an_entry_leaves_nothing_behind(attack: Attack) -> None:
    made = [
        word
        for word in " ".join(attack.argv).replace(";", " ").split()
        if word.startswith(("/tmp", "/dev/shm", "/var/log", "/home", "/usr/bin/labkit"))
    ]
    assert all("{run}" in word for word in made)
    assert bool(made) <= bool(attack.cleanup)
    assert all(word in ("rm", "-f", "-rf", "rmdir", "sh", "-c") or "{run}" in word for word in attack.cleanup) or (
        attack.cleanup[-1] == "/root/.cache"
    )


@alerting
def test_an_attack_names_a_rule_that_is_there_as_the_rule_describes_itself(
    attack: Attack, rules: dict[str, dict[str, object]]
) -> None:
    rule = rules[str(attack.rule)]
    assert attack.tier == rule["tier"]
    assert set(attack.also) <= rules.keys()
    priority = str(rule["priority"]).capitalize()
    assert attack.priority in PRIORITIES
    assert attack.priority == {"Info": "Informational"}.get(priority, priority)
    tags = rule["tags"]
    assert isinstance(tags, list)
    assert attack.tactic in tags
    assert attack.technique in tags
    assert attack.tactic.removeprefix("mitre_").replace("_", " ").title().replace(" And ", " and ") in TACTICS
    assert TECHNIQUE.fullmatch(attack.technique)


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(LabError, match="no attack called 'read-shado'") as caught:
        find("read-shado")
    assert "read-shadow" in caught.value.hint
    with pytest.raises(LabError) as caught:
        find("nope")
    assert caught.value.hint == "labkit.attacks.catalogue() shows all."  # none is like it


def test_the_catalogue_shows_itself_as_a_table() -> None:
    assert "sh -c \"echo 'echo hello' > /dev/shm/labkit-RUN; sh /dev/shm/labkit-RUN\"" in repr(catalogue())
    html = catalogue()._repr_html_()
    assert html.count("<tr>") == len(catalogue()) + 1
    assert "&gt; /var/log/labkit-RUN.log" in html


@entries
def test_a_command_as_typed_is_what_is_run(attack: Attack) -> None:
    assert shlex.split(attack.command) == [word.replace("{run}", "RUN") for word in attack.argv]
