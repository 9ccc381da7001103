"""Reads the rule files that the settings name, and makes the engine with these rules."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ekslab.images.falco.config import AppendedOutput, Settings, rules_files
from ekslab.images.falco.options import FatalError, Options
from ekslab.node import Process

# The rule engine is imported when a Falco starts: the lab is up sooner without it.
if TYPE_CHECKING:
    from falcorules import Engine, Report


def make_engine(settings: Settings, hostname: str) -> Engine:
    """The engine that the settings ask for. Raises `FatalError` for what the lab doesn't emulate."""
    from falcorules import Engine, RuleError

    entries: list[AppendedOutput] = settings["append_output"]
    if any(any(entry.match.values()) for entry in entries):
        raise FatalError("[embedded lab] append_output with `match` isn't emulated: append to all rules")
    fields: dict[str, str] = {}
    for entry in entries:
        fields |= entry.fields
    if settings["static_fields"]:
        raise FatalError("[embedded lab] static_fields aren't emulated: use append_output with extra_fields")
    properties = [
        name for name in ("output", "message", "output_fields", "tags") if settings[f"json_include_{name}_property"]
    ]
    try:
        return Engine(
            matching=settings["rule_matching"].lower(),
            priority=settings["priority"].lower(),
            suggested_output=any(entry.suggested_output for entry in entries),
            append_output=[entry.extra_output for entry in entries if entry.extra_output],
            hostname=hostname,
            extra_fields=fields,
            properties=properties,
            time_iso_8601=settings["time_format_iso_8601"],
        )
    except RuleError as error:
        raise FatalError(error.message) from error


@dataclass(frozen=True)
class Loaded:
    """Settings and rules as they were read; with a `refusal`, the engine has no rules."""

    settings: Settings
    texts: dict[str, str]
    """Every file that was read, and what was in it."""
    engine: Engine
    report: Report
    refusal: str


def read_files(p: Process, options: Options, settings: Settings) -> dict[str, str]:
    """What is in the files of settings and rules. Raises `FatalError` for a rules file that can't be read."""
    texts = {name: p.read_text(name) for name, _ in settings.files}
    for path in rules_files(p, options.rules or settings["rules_files"]):
        try:
            texts[path] = p.read_text(path)
        except OSError as error:
            raise FatalError(f"Could not open file {path} for reading") from error
    return texts


async def load_rules(p: Process, options: Options, settings: Settings, hostname: str) -> Loaded:
    """The engine with the rules that the settings name. Raises `FatalError` for settings that can't be used."""
    from falcorules import LoadError, RuleError

    named = options.rules or settings["rules_files"]
    if not named:
        raise FatalError(
            "You must specify at least one rules file/directory via -r or a rules_file entry in falco.yaml"
        )
    paths = rules_files(p, named)
    texts = read_files(p, options, settings)
    engine = make_engine(settings, hostname)
    try:
        # In a thread: it takes some tenths of a second, and everyone else in the lab would wait.
        report = await asyncio.to_thread(engine.load, [(path, texts[path]) for path in paths])
    except LoadError as error:
        report = error.report
    errors = (str(file).rstrip("\n") for file in report.files if file.errors)
    refusal = report.refused if report.crash else next(errors, report.refused)
    if not refusal and not has_container_plugin(settings):
        for alternatives in engine.required_plugins:
            if any(name == "container" for name, _ in alternatives):
                wanted = ", or ".join(f"{name} (>= {version})" for name, version in alternatives)
                refusal = f"Plugin requirement not satisfied, must load one of: {wanted}"
    if not refusal:
        try:
            engine.select(settings["rules"])
        except RuleError as error:
            raise FatalError(error.message) from error
    return Loaded(settings, texts, engine, report, refusal)


def has_container_plugin(settings: Settings) -> bool:
    return any(plugin.own_name == "container" for plugin in settings["plugins"])
