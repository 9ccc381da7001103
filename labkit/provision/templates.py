"""Templates of `manifests/`: JSON and shell commands with `${placeholders}` for account, region and names."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from labkit.errors import LabError, StepError
from labkit.target import Target


def template(target: Target, name: str, **values: Any) -> Any:
    """The template `manifests/<name>.json` with the lab's account, region and names, and `values`, filled in.

    For an attendee of a class, `cloudwatch/alarms` and `cloudwatch/dashboard` are those in `manifests/class/`: all
    attendees share their metrics, and each has a value of the dimension `Namespace`.
    Raises `StepError` if the file can't be read, isn't JSON or has a placeholder that nothing fills in.
    """
    if target.settings.attendee and name in _OF_CLASS:
        name = name.replace("cloudwatch/", "class/")
    return fill(target.settings.root / "manifests" / f"{name}.json", _Names(target, values))


def commands(target: Target, name: str, **values: Any) -> str:
    """The shell commands `manifests/commands/<name>.sh`, filled in like `template`. Raises `StepError`.

    `${iam/forwarder-trust}` is a template as one word of the shell. A command with `${cloudwatch/alarms[*]}` or
    `${cloudwatch/alarms[*].AlarmName}` is repeated for each item of that template.
    """
    path = target.settings.root / "manifests" / "commands" / f"{name}.sh"
    text = _fill(path, _Names(target, values)).rstrip("\n")
    lines: list[str] = []
    for command in re.split(r"(?<!\\)\n", text):
        items = re.search(r"\$\{([\w/-]+)\[\*\]", command)
        count = len(template(target, items[1], **values)) if items else 1
        lines += [command.replace("[*]", f"[{item}]") for item in range(count)]

    def document(found: re.Match[str]) -> str:
        value = template(target, found["name"], **values)
        value = value[int(found["item"])] if found["item"] else value
        return _word(value[found["key"]] if found["key"] else value)

    reference = r"\$\{(?P<name>[\w-]+/[\w-]+)(\[(?P<item>\d+)\])?(\.(?P<key>\w+))?\}"
    return re.sub(reference, document, "\n".join(lines))


class _Names(dict[str, Any]):
    """The names of the settings and other values. AWS is asked for the account only if a template names it."""

    def __init__(self, target: Target, values: dict[str, Any]) -> None:
        super().__init__({name: str(getattr(target.settings, name)) for name in _SETTINGS} | values)
        self._target = target

    def __missing__(self, name: str) -> str:
        if name not in ("partition", "account_id"):
            raise KeyError(name)
        return str(getattr(self._target.aws.identity, name))


_OF_CLASS = ("cloudwatch/alarms", "cloudwatch/dashboard")
_SETTINGS = (
    "region",
    "cluster",
    "log_group",
    "retention_days",
    "prefix",
    "class_prefix",
    "role_name",
    "app_namespace",
    "falco_namespace",
    "logging_namespace",
)


# What a placeholder stands for; shell variables of containers and of CloudFormation aren't among them.
_MEANINGS = {
    "partition": "the partition of AWS that the account is in (aws, aws-cn, aws-us-gov)",
    "account_id": "the account's number",
    "region": "the AWS region",
    "cluster": "the EKS cluster's name",
    "log_group": "the log group of the alerts",
    "retention_days": "days for which the log group keeps them",
    "prefix": "what the names of the workshop's resources begin with",
    "principal": "who may assume an attendee's role",
    "class_prefix": "what the names of a class's resources begin with",
    "role_name": "Fluent Bit's IAM role",
    "app_namespace": "the application's namespace",
    "falco_namespace": "Falco's namespace",
    "logging_namespace": "Fluent Bit's namespace",
    "oidc_provider": "the cluster's OIDC issuer, without https://",
    "namespace": "the namespace of the service account",
    "service_account": "the service account that may take the role on",
    "dead_letter_queue_url": "the queue for what the function couldn't deliver",
}


def placeholders(target: Target, text: str, **values: Any) -> tuple[tuple[str, str, str], ...]:
    """Each placeholder of a text: `${name}`, what it stands for, and its value here (empty if that isn't known yet)."""
    names = _Names(target, values)
    rows = []
    for name in dict.fromkeys(re.findall(r"\$\{(\w+)\}", text)):
        if name in _MEANINGS:
            value = ""
            with suppress(KeyError, LabError):
                value = _text(names[name])
            rows.append((f"${{{name}}}", _MEANINGS[name], value))
    return tuple(rows)


def fill(path: Path, values: Mapping[str, Any]) -> Any:
    """A JSON template with its `${placeholders}` replaced. Raises `StepError` for one that has no value."""
    text = _fill(path, values)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StepError(f"{path} is not a valid template: {error}.", hint="Correct the file.") from error


def _fill(path: Path, values: Mapping[str, Any]) -> str:
    """The file's text with its `${placeholders}` replaced by values, or by what they return if they are functions."""
    try:
        # Not string.Template: `$.rule` is a selector of a filter pattern, and stays as it is.
        return re.sub(
            r"\$\{(\w+)\}",
            lambda found: _text(values[found[1]]),
            path.read_text(encoding="utf-8"),
        )
    except KeyError as error:
        raise StepError(
            f"{path} has a placeholder ${{{error.args[0]}}} that nothing fills in.",
            hint=f"Use one of: account_id, partition, {', '.join(values)}.",
        ) from error
    except OSError as error:
        raise StepError(
            f"{path} can't be read: {error.strerror}.", hint="Run from the workshop's folder, or set LABKIT_ROOT."
        ) from error
    except ValueError as error:  # not UTF-8
        raise StepError(f"{path} is not a valid template: {error}.", hint="Correct the file.") from error


def _text(value: Any) -> str:
    value = value() if callable(value) else value
    return value if isinstance(value, str) else _word(value)


def _word(value: Any) -> str:
    """A value as one word of a shell command: text as it is, anything else as JSON."""
    return shlex.quote(value if isinstance(value, str) else json.dumps(value))
