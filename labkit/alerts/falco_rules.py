"""Rules of the running Falco: those it has loaded, and its default rule file."""

from __future__ import annotations

import json

import pandas as pd

from labkit.errors import StepError
from labkit.target import Target

DEFAULT_RULES = "/etc/falco/falco_rules.yaml"
_COLUMNS = ("rule", "priority", "source", "enabled", "tags", "description", "condition")


def loaded_rules(target: Target) -> pd.DataFrame:
    """See `Lab.falco_rules`. Columns: `rule`, `priority`, `source`, `enabled`, `tags`, `description`, `condition`."""
    printed = _run(target, ["falco", "-L", "-o", "json_output=true"])
    if "{" not in printed:
        raise _unusable(target, printed)
    rules = [rule["info"] for rule in json.loads(printed[printed.index("{") :])["rules"]]
    frame = pd.DataFrame(rules).rename(columns={"name": "rule"})
    return frame[[column for column in _COLUMNS if column in frame]]


def default_rules(target: Target) -> tuple[str, str]:
    """See `Lab.default_rules`."""
    return DEFAULT_RULES.rpartition("/")[2], _run(target, ["cat", DEFAULT_RULES])


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
