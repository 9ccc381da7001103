"""Falco's settings: merges `falco.yaml`, the files it includes and `-o` options."""

from __future__ import annotations

import copy
import functools
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from ekslab.node import Process

DEFAULT_FILE = "/etc/falco/falco.yaml"

# The top-level keys of falco.yaml in 0.44; others fail its schema validation, which Falco reports and survives.
_KEYS = {
    "config_files", "watch_config_files", "rules_files", "rules_file", "rules", "engine", "capture", "load_plugins",
    "plugins", "plugins_hostinfo", "time_format_iso_8601", "buffer_format_base64", "priority", "json_output",
    "json_include_output_property", "json_include_message_property", "json_include_output_fields_property",
    "json_include_tags_property", "buffered_outputs", "rule_matching", "outputs_queue", "append_output",
    "static_fields", "stdout_output", "syslog_output", "file_output", "http_output", "program_output", "webserver",
    "log_stderr", "log_syslog", "log_level", "libs_logger", "output_timeout", "syscall_event_timeouts",
    "syscall_event_drops", "metrics", "base_syscalls", "falco_libs", "grpc", "grpc_output",
}  # fmt: skip


class ConfigError(Exception):
    """The configuration can't be used; the text is what Falco prints after `Error: `."""


@dataclass
class Settings:
    values: dict[str, Any] = field(default_factory=dict)
    files: list[tuple[str, str]] = field(default_factory=list)
    """Each file that was read, and the outcome of its schema validation."""

    def get(self, dotted: str, default: Any = None) -> Any:
        """The value at a path such as `webserver.listen_port`."""
        value: Any = self.values
        for part in dotted.split("."):
            if not isinstance(value, dict) or part not in value:
                return default
            value = value[part]
        return value

    def flag(self, dotted: str, default: bool = False) -> bool:
        value = self.get(dotted, default)
        return value.lower() == "true" if isinstance(value, str) else bool(value)


def load(process: Process, path: str, options: Sequence[str]) -> Settings:
    """Reads `path`, then what `config_files` names, then applies `key=value` options. Raises `ConfigError`."""
    settings = Settings()
    included = []
    for file in (path, *_included(process, settings, path)):
        included.append(file)
        values = _read(process, file)
        unknown = sorted(set(values) - _KEYS)
        outcome = "ok"
        if unknown:
            outcome = (
                "failed for <root>: Object contains a property that could not be validated using 'properties' or "
                f"'additionalProperties' constraints: '{unknown[0]}'."
            )
        settings.files.append((file, outcome))
        settings.values = _merge(settings.values, values) if file != path else values
    for option in options:
        _set(settings.values, option)
    if "rules_file" in settings.values and "rules_files" in settings.values:
        raise ConfigError("Error reading config file (" + path + "): both 'rules_files' and 'rules_file' keys set")
    return settings


def rules_files(process: Process, settings: Settings) -> list[str]:
    """The files of rules in the order in which they are read; a folder stands for its YAML files, by name."""
    found = []
    named = settings.get("rules_files") or settings.get("rules_file") or []
    for entry in [named] if isinstance(named, str) else named:
        if process.isdir(entry):
            # A mounted ConfigMap has hidden folders beside its files.
            names = sorted(name for name in process.listdir(entry) if not name.startswith("."))
            found += [posixpath.join(entry, name) for name in names if name.endswith((".yaml", ".yml"))]
        elif process.exists(entry) and entry.endswith((".yaml", ".yml")):
            found.append(entry)
    return found


def _included(process: Process, settings: Settings, path: str) -> list[str]:
    first = _read(process, path)
    files: list[str] = []
    for entry in first.get("config_files") or []:
        name = entry["path"] if isinstance(entry, dict) else entry
        if process.isdir(name):
            files += [posixpath.join(name, f) for f in sorted(process.listdir(name)) if f.endswith((".yaml", ".yml"))]
        elif process.exists(name):
            files.append(name)
    return files


def _read(process: Process, path: str) -> dict[str, Any]:
    try:
        text = process.read_text(path)
    except OSError as error:
        raise ConfigError(
            "You must create a config file at /etc/falco/falco.yaml or by passing -c"
            if path == DEFAULT_FILE
            else f"Could not read config file {path}: {error.strerror}"
        ) from error
    try:
        values = copy.deepcopy(_parsed(text)) or {}
    except (yaml.YAMLError, ValueError) as error:  # ValueError: dates and numbers that don't exist
        raise ConfigError(f"Error reading config file ({path}): {error}") from error
    except RecursionError as error:
        raise ConfigError(f"Error reading config file ({path}): nested too deeply") from error
    if not isinstance(values, dict):
        raise ConfigError(f"Error reading config file ({path}): not a map of settings")
    return values


@functools.lru_cache(maxsize=8)
def _parsed(text: str) -> Any:
    """Parses YAML once: the Falco of each node reads the same. (libyaml, which is quicker, crashes on deep nesting.)"""
    return yaml.safe_load(text)


def _merge(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Falco's default strategy, `append`: lists grow, anything else is replaced, maps are merged."""
    merged = dict(base)
    for key, value in more.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            merged[key] = [*old, *value]
        else:
            merged[key] = value
    return merged


def _set(values: dict[str, Any], option: str) -> None:
    key, separator, text = option.partition("=")
    if not separator:
        raise ConfigError(f'Error parsing config option "{option}". Must be of the form key=val or key.subkey=val')
    *parents, last = key.split(".")
    for part in parents:
        values = values.setdefault(part, {})
    values[last] = yaml.safe_load(text)
