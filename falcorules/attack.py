"""MITRE ATT&CK in rules' tags: its tactics in the order of an intrusion, and the form of a technique's id."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Enterprise matrix, left to right. Falco writes them as tags: "mitre_credential_access".
TACTICS = {
    "Reconnaissance": "TA0043",
    "Resource Development": "TA0042",
    "Initial Access": "TA0001",
    "Execution": "TA0002",
    "Persistence": "TA0003",
    "Privilege Escalation": "TA0004",
    "Defense Evasion": "TA0005",
    "Credential Access": "TA0006",
    "Discovery": "TA0007",
    "Lateral Movement": "TA0008",
    "Collection": "TA0009",
    "Command and Control": "TA0011",
    "Exfiltration": "TA0010",
    "Impact": "TA0040",
}

TECHNIQUE = re.compile(r"T\d{4}(?:\.\d{3})?|TA\d{4}")
"""A technique, a sub-technique or (in a few of Falco's rules) a tactic, by its id."""

_BY_TAG = {f"mitre_{name.lower().replace(' ', '_')}": name for name in TACTICS}


def tactics_of(tags: Iterable[str]) -> list[str]:
    """Names of the tactics that `tags` name, in the order of the tags."""
    return [_BY_TAG[tag] for tag in tags if tag in _BY_TAG]
