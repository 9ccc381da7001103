"""Rule files inside a values file of the Falco chart (`customRules`), which the chart mounts into Falco's `rules.d`."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from falcorules.arguments import checked, shown
from falcorules.errors import RuleError
from falcorules.files import is_rules_file, read

_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


@checked
def from_values(path: Path | str) -> list[tuple[str, str]]:
    """Names and texts of the rule files under `customRules`, in the order in which Falco loads them.

    `check` and `Engine.load` take them. Raises RuleError if the file isn't a values file, if it has no rules, and for a
    name that a ConfigMap can't have or whose file Falco doesn't read.
    """
    path = Path(path)
    try:
        document = _document(path)
    except OSError as error:
        raise RuleError(f"{path} can't be read: {error.strerror}", hint="It is a values file for the chart.") from error
    rules = document.get("customRules") if isinstance(document, dict) else None
    if not isinstance(rules, dict) or not rules or not all(isinstance(text, str) for text in rules.values()):
        raise RuleError(
            f"{path} has no rules for the Falco chart.",
            hint="Put them under `customRules:`, as a file name and a block of text (`lab.yaml: |-`).",
        )
    files = sorted((str(name), text) for name, text in rules.items())
    for name, _ in files:
        if not _CONFIG_KEY.fullmatch(name) or name == "." or name.startswith(".."):
            raise RuleError(
                f"{path} has rules under {shown(name)}, which Kubernetes refuses: it isn't a valid key of a ConfigMap.",
                hint="A key has at most 253 letters, digits, '-', '_' and '.', as in `lab.yaml`.",
            )
        if not is_rules_file(name):
            raise RuleError(
                f"{path} has rules under {shown(name)}, which Falco never reads: in rules.d it looks for *.yaml and "
                "*.yml only.",
                hint=f"Call it `{name.rpartition('.')[0] or name}.yaml`.",
            )
    return files


def is_values_file(path: Path) -> bool:
    """Whether a file looks like a values file that holds rules."""
    try:
        document = _document(path)
    except (OSError, RuleError):
        return False
    return isinstance(document, dict) and "customRules" in document


def _document(path: Path) -> object:
    try:
        return yaml.safe_load(read(path).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RuleError(f"{path} is not text in UTF-8.", hint="Save it as UTF-8.") from error
    except RecursionError as error:
        raise RuleError(f"{path} is nested too deeply.", hint="Look for brackets that are never closed.") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or a number out of range
        raise RuleError(f"{path} is not YAML: {error}", hint="Correct the file; indentation counts.") from error
