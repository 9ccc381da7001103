"""Parses and checks a YAML configuration of Fluent Bit.

Values stay strings, as in Fluent Bit, where `on`, `0.2` and `16M` get their meaning from the property they are for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import yaml

# libyaml, where it is there: Fluent Bit uses it, and its messages differ from those of the one in Python.
_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

KINDS = ("inputs", "filters", "outputs")
_NOT_EMULATED = {
    "includes", "parsers", "multiline_parsers", "plugins", "upstream_servers", "stream_processor", "extensions",
}  # fmt: skip


class ConfigError(Exception):
    """The configuration is refused. Its lines are what Fluent Bit, or the lab, says about that: (level, text).

    `code` is what the program ends with: 1 for a file that isn't understood, 255 for a plugin that can't be started.
    """

    def __init__(self, *lines: tuple[str, str], code: int = 255) -> None:
        super().__init__(lines[0][1])
        self.lines = lines
        self.code = code


@dataclass
class Section:
    """One plugin's properties. Names are lower case; a property given more than once has several values."""

    kind: str
    plugin: str
    instance: str
    """Such as `tail.0`."""
    properties: dict[str, list[str]] = field(default_factory=dict)

    def all(self, name: str) -> list[str]:
        return self.properties.get(name, [])

    def get(self, name: str, default: str = "") -> str:
        values = self.properties.get(name)
        return values[-1] if values else default

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.get(name)
        return parse_bool(value) if value else default

    @property
    def label(self) -> str:
        """How log lines name it: `input:tail:tail.0`."""
        return f"{self.kind[:-1]}:{self.plugin}:{self.get('alias') or self.instance}"


@dataclass
class Config:
    service: dict[str, str]
    inputs: list[Section]
    filters: list[Section]
    outputs: list[Section]
    warnings: list[str]
    """Variables that are used and not set."""


@cache
def catalogue() -> dict[str, Any]:
    """The parsed `plugins.yaml`."""
    text = resources.files(__package__).joinpath("plugins.yaml").read_text(encoding="utf-8")
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    table: dict[str, Any] = yaml.load(text, loader)
    return table


def parse_bool(value: str) -> bool:
    """Raises `ValueError` for anything but true/on/yes and false/off/no."""
    word = value.lower()
    if word in ("true", "on", "yes"):
        return True
    if word in ("false", "off", "no"):
        return False
    raise ValueError(value)


def parse_size(value: str) -> int:
    """Bytes: `16M` is 16,000,000 as in Fluent Bit. Raises `ValueError`."""
    match = re.fullmatch(r"(\d+)\s*([kmg]?)b?", value.strip().lower())
    if match is None:
        raise ValueError(value)
    return int(match[1]) * {"": 1, "k": 1000, "m": 1000_000, "g": 1000_000_000}[match[2]]


def parse_seconds(value: str) -> float:
    """Seconds: `30`, `30s`, `5m`. Raises `ValueError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", value.strip().lower())
    if match is None:
        raise ValueError(value)
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}[match[2]]


def parse(text: str, env: Mapping[str, str], *, path: str = "fluent-bit.yaml") -> Config:
    """The configuration in `text`, variables replaced. Raises `ConfigError`."""
    try:
        document = yaml.load(text, Loader=_LOADER) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line, mark.column) if mark else (0, 0)
        problem = (getattr(error, "problem", None) or "cannot be read").replace(
            "allowed here", "allowed in this context"
        )
        lines = [f"[config] invalid YAML in file {path} at line {line + 1}, column {column + 1}: {problem}"]
        if line:
            lines.append(f"[config] hint: check line {line} (above) for missing ':' or incorrect indentation")
        raise _refused(*lines) from error
    if not isinstance(document, dict):
        raise _refused(
            f'[config] YAML error found in file "{path}": the document is not a map of sections', "yaml error"
        )
    for name in document:
        if name in _NOT_EMULATED:
            raise _lab(f"section '{name}' exists in Fluent Bit, but the embedded lab doesn't emulate it")
    variables = dict(env) | {str(k): str(v) for k, v in _map(document, "env").items()}
    warnings: list[str] = []
    pipeline = _map(document, "pipeline")
    for name in pipeline:
        if name not in KINDS:
            said = f"the pipeline component '{name}' is not valid. Try one of these values: "
            said += "customs, inputs, filters or outputs."
            raise _refused(f'[config] YAML error found in file "{path}": {said}', "yaml error")
    sections = {kind: _sections(kind, pipeline.get(kind) or [], variables, warnings) for kind in KINDS}
    service = {str(k).lower(): _translate(str(v), variables, warnings) for k, v in _map(document, "service").items()}
    return Config(service, sections["inputs"], sections["filters"], sections["outputs"], list(dict.fromkeys(warnings)))


def check(config: Config) -> None:
    """Checks names of properties, which Fluent Bit does when it starts and not in a dry run. Raises `ConfigError`."""
    for name in config.service:
        # A name it doesn't know makes no difference to Fluent Bit here.
        if name in catalogue()["service"]["known"]:
            raise _lab(f"service property '{name}' exists in Fluent Bit, but the embedded lab doesn't emulate it")
    for section in (*config.inputs, *config.filters, *config.outputs):
        _check_properties(section)


def _map(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name) or {}
    if not isinstance(value, dict):
        raise _refused(f"[config] section '{name}' must be a map", "yaml error")
    return value


def _translate(value: str, variables: Mapping[str, str], warnings: list[str]) -> str:
    def replace(match: re.Match[str]) -> str:
        if match[1] not in variables:
            warnings.append(f"[env] variable ${{{match[1]}}} is used but not set")
        return variables.get(match[1], "")

    return re.sub(r"\$\{([^}]+)\}", replace, value)


def _sections(kind: str, entries: Any, variables: Mapping[str, str], warnings: list[str]) -> list[Section]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _refused(f"[config] '{kind}' must be a list of plugins", "yaml error")
    counts: dict[str, int] = {}
    found = []
    for entry in entries:
        given = {str(key).lower(): value for key, value in entry.items()}
        plugin = str(given.pop("name", "")).lower()
        if not plugin:
            raise _refused(f"[config] section '{kind[:-1]}' is missing the 'name' property")
        _check_plugin(kind, plugin)
        number = counts.get(plugin, 0)
        counts[plugin] = number + 1
        section = Section(kind, plugin, f"{plugin}.{number}")
        for name, value in given.items():
            values = value if isinstance(value, list) else [value]
            # A property whose value is empty once variables are replaced counts as not given.
            texts = [_translate(str(v), variables, warnings) for v in values if not isinstance(v, dict | list)]
            if len(texts) != len(values):
                raise _lab(
                    f"{plugin}: nested values of '{name}' exist in Fluent Bit, the embedded lab doesn't emulate them"
                )
            section.properties[name] = [text for text in texts if text]
        found.append(section)
    return found


def _check_plugin(kind: str, plugin: str) -> None:
    table = catalogue()
    if plugin in table[kind] and plugin != "common":
        return
    if plugin in table["exist"][kind]:
        emulated = ", ".join(sorted(name for name in table[kind] if name != "common"))
        raise _lab(
            f"{kind[:-1]} plugin '{plugin}' exists in Fluent Bit, but the embedded lab doesn't emulate it "
            f"(it emulates: {emulated})"
        )
    raise _refused(f"[config] section '{plugin}' tried to instance a plugin name that doesn't exist")


def _check_properties(section: Section) -> None:
    common, own = (catalogue()[section.kind][name] for name in ("common", section.plugin))
    for name in section.properties:
        if any(name in table[group] for table in (common, own) for group in ("emulated", "accepted")):
            continue
        if name in common["known"] or name in own["known"]:
            raise _lab(
                f"{section.plugin}: property '{name}' exists in Fluent Bit, but the embedded lab doesn't emulate it"
            )
        allowed = ", ".join(sorted(own["emulated"] + own["accepted"] + own["known"]))
        letter = {"inputs": "i", "filters": "F", "outputs": "o"}[section.kind]
        raise ConfigError(
            (
                "error",
                f"[config] {section.plugin}: unknown configuration property '{name}'. "
                f"The following properties are allowed: {allowed}.",
            ),
            ("help", f"try the command: /fluent-bit/bin/fluent-bit -{letter} {section.plugin} -h"),
            ("error", f"[engine] {section.kind[:-1]} initialization failed"),
        )


def _refused(*texts: str) -> ConfigError:
    lines = [("error", text) for text in (*texts, "configuration file contains errors, aborting.")]
    return ConfigError(*lines, code=1)


def _lab(text: str) -> ConfigError:
    return _refused(f"[embedded lab] {text}")
