"""One policy over every entry of the catalogue."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from labkit.alerts import PRIORITIES
from labkit.alerts.mitre import TACTICS, TECHNIQUE
from labkit.attacks import Attack, catalogue, find
from labkit.errors import LabError

ROOT = Path(__file__).parents[3]
STABLE_RULES = {
    "Clear Log Activities",
    "Contact K8S API Server From Container",
    "Create Hardlink Over Sensitive Files",
    "Create Symlink Over Sensitive Files",
    "Debugfs Launched in Privileged Container",
    "Detect release_agent File Container Escapes",
    "Directory traversal monitored file read",
    "Disallowed SSH Connection Non Standard Port",
    "Drop and execute new binary in container",
    "Execution from /dev/shm",
    "Fileless execution via memfd_create",
    "Find AWS Credentials",
    "Linux Kernel Module Injection Detected",
    "Netcat Remote Code Execution in Container",
    "PTRACE anti-debug attempt",
    "PTRACE attached to process",
    "Packet socket created in container",
    "Read sensitive file trusted after startup",
    "Read sensitive file untrusted",
    "Redirect STDOUT/STDIN to Network Connection in Container",
    "Remove Bulk Data from Disk",
    "Run shell untrusted",
    "Search Private Keys or Passwords",
    "System user interactive",
    "Terminal shell in container",
}


def rules_of(*files: Path) -> dict[str, dict[str, object]]:
    return {item["rule"]: item for file in files for item in yaml.safe_load(file.read_text()) if "rule" in item}


@pytest.fixture(scope="module")
def rules() -> dict[str, dict[str, object]]:
    """The lab's default rules and the workshop's own, by name."""
    defaults = rules_of(ROOT / "falcorules/data/falco_rules.yaml")
    values = yaml.safe_load((ROOT / "custom-rules/whoami.yaml").read_text())
    own = {item["rule"]: item for text in values["customRules"].values() for item in yaml.safe_load(text)}
    return {**defaults, **own}


ALL = catalogue()
entries = pytest.mark.parametrize("attack", ALL, ids=lambda a: a.name)
alerting = pytest.mark.parametrize("attack", [a for a in ALL if not a.is_control], ids=lambda a: a.name)


def test_names_are_unique() -> None:
    assert len({a.name for a in ALL}) == len(ALL)


def test_there_are_attacks_on_half_of_the_stable_rules_and_controls() -> None:
    assert len({a.rule for a in ALL} & STABLE_RULES) > len(STABLE_RULES) / 2
    assert sum(a.is_control for a in ALL) >= 2


@entries
def test_an_entry_is_complete(attack: Attack) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", attack.name)
    assert attack.name.startswith("control-") == attack.is_control
    assert attack.title[0].isupper()
    assert not attack.title.endswith(".")
    assert attack.why.endswith(".")
    assert attack.argv
    assert attack.argv[0] in attack.needs
    assert (attack.stdin is not None) <= attack.tty


@entries
def test_an_entry_leaves_nothing_behind(attack: Attack) -> None:
    made = [
        word
        for word in " ".join(attack.argv).replace(";", " ").split()
        if word.startswith(("/tmp", "/dev/shm", "/var"))
    ]
    assert all("{run}" in word for word in made)
    assert bool(made) <= bool(attack.cleanup)


@alerting
def test_an_attack_names_a_rule_that_is_there_as_the_rule_describes_itself(
    attack: Attack, rules: dict[str, dict[str, object]]
) -> None:
    assert attack.tier == ("stable" if attack.rule in STABLE_RULES else "custom")
    assert set(attack.also) <= STABLE_RULES
    rule = rules[str(attack.rule)]
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


def test_the_catalogue_shows_itself_as_a_table() -> None:
    assert "sh -c \"echo 'echo hello' > /dev/shm/labkit-RUN; sh /dev/shm/labkit-RUN\"" in repr(catalogue())
    html = catalogue()._repr_html_()
    assert html.count("<tr>") == len(catalogue()) + 1
    assert "&gt; /var/log/labkit-RUN.log" in html


@entries
def test_a_command_as_typed_is_what_is_run(attack: Attack) -> None:
    assert shlex.split(attack.command) == [word.replace("{run}", "RUN") for word in attack.argv]
