"""Rules of the running Falco: those it has loaded, and its default rule file."""

from __future__ import annotations

import json
import re
from typing import Any

import pandas as pd

from labkit.errors import StepError
from labkit.target import Target

DEFAULT_RULES = "/etc/falco/falco_rules.yaml"
LOADED = "falco-loaded"
"""ConfigMap in Falco's namespace, for attendees, who can't run commands in Falco's pods: what `falco -L` prints
(`rules.json`), and the default rules (`falco_rules.yaml`)."""
ATTENDEES = "falco-attendees"
"""ConfigMap in Falco's namespace with the rules of each attendee that a shared Falco has loaded."""
_OF_ATTENDEE = re.compile(r" \(attendee-[a-z0-9]+\)$")
_COLUMNS = ("rule", "priority", "source", "enabled", "tags", "description", "condition")


def loaded_rules(target: Target) -> pd.DataFrame:
    """See `Lab.falco_rules`. Columns: `rule`, `priority`, `source`, `enabled`, `tags`, `description`, `condition`."""
    if target.settings.attendee:
        shared = _listed(target, _published(target, "rules.json"))
        rules = [*(rule for rule in shared if not _OF_ATTENDEE.search(rule["name"])), *_own(target)]
    else:
        rules = _listed(target, listing(target))
    frame = pd.DataFrame(rules).rename(columns={"name": "rule"})
    return frame[[column for column in _COLUMNS if column in frame]]


def listing(target: Target) -> str:
    """What a running Falco prints of its rules, as JSON."""
    return _run(target, ["falco", "-L", "-o", "json_output=true"])


def _listed(target: Target, printed: str) -> list[dict[str, Any]]:
    if "{" not in printed:
        raise _unusable(target, printed)
    return [rule["info"] for rule in json.loads(printed[printed.index("{") :])["rules"]]


def _published(target: Target, key: str) -> str:
    namespace = target.settings.falco_namespace
    found = target.kube.get("ConfigMap", LOADED, namespace) or {}
    text = (found.get("data") or {}).get(key)
    if not text:
        raise StepError(
            f"The class's Falco hasn't published its rules: there is no {key} in ConfigMap {namespace}/{LOADED}.",
            hint="Tell the instructor: `labkit class up` writes it.",
        )
    return str(text)


def _own(target: Target) -> list[dict[str, Any]]:
    """The attendee's own rules that the shared Falco has loaded."""
    import yaml

    found = target.kube.get("ConfigMap", ATTENDEES, target.settings.falco_namespace) or {}
    rules = yaml.safe_load((found.get("data") or {}).get(f"{target.settings.scope}.yaml") or "[]")
    return [
        {
            "name": rule["rule"],
            "description": rule["desc"],
            "condition": rule["condition"],
            "priority": rule["priority"],
            "source": "syscall",
            "enabled": rule.get("enabled", True),
            "tags": rule["tags"],
        }
        for rule in rules
    ]


def default_rules(target: Target) -> tuple[str, str]:
    """See `Lab.default_rules`."""
    name = DEFAULT_RULES.rpartition("/")[2]
    return name, _published(target, name) if target.settings.attendee else _run(target, ["cat", DEFAULT_RULES])


def _run(target: Target, argv: list[str]) -> str:
    result = target.kube.exec("ds/falco", argv, namespace=target.settings.falco_namespace, container="falco")
    if result.exit_code != 0:
        raise _unusable(target, result.stderr or result.stdout)
    return result.stdout


def _unusable(target: Target, printed: str) -> StepError:
    return StepError(
        f"Falco does not say which rules it has: {printed.strip()}",
        hint=f"`kubectl -n {target.settings.falco_namespace} logs ds/falco -c falco` says how it is.",
    )
