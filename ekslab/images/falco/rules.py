"""Reads the rule files that the settings name, and makes the engine with these rules."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ekslab.images.falco.config import Settings, rules_files
from ekslab.images.falco.options import FatalError, Options
from ekslab.node import Process

# The rule engine is imported when a Falco starts: the lab is up sooner without it.
if TYPE_CHECKING:
    from falcorules import Engine, Report


def make_engine(settings: Settings, hostname: str) -> Engine:
    """The engine that the settings ask for. Raises `FatalError` for what the lab doesn't emulate."""
    from falcorules import Engine, RuleError

    texts: list[str] = []
    fields: dict[str, str] = {}
    suggested = False
    for entry in settings.get("append_output") or []:
        if entry.get("match"):
            raise FatalError("[embedded lab] append_output with `match` isn't emulated: append to all rules")
        suggested = suggested or bool(entry.get("suggested_output"))
        if entry.get("extra_output"):
            texts.append(str(entry["extra_output"]))
        for extra in entry.get("extra_fields") or []:
            fields |= extra if isinstance(extra, dict) else {extra: f"%{extra}"}
    if settings.get("static_fields"):
        raise FatalError("[embedded lab] static_fields aren't emulated: use append_output with extra_fields")
    properties = [
        name
        for name, default in (("output", True), ("message", False), ("output_fields", True), ("tags", True))
        if settings.flag(f"json_include_{name}_property", default)
    ]
    try:
        return Engine(
            matching=settings.get("rule_matching", "first"),
            priority=str(settings.get("priority", "debug")),
            suggested_output=suggested,
            append_output=texts,
            hostname=hostname,
            extra_fields=fields,
            properties=properties,
            time_iso_8601=settings.flag("time_format_iso_8601"),
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
    paths = [*(name for name, _ in settings.files), *(options.rules or rules_files(p, settings))]
    return {path: p.read_text(path) for path in paths}


async def load_rules(p: Process, options: Options, settings: Settings, hostname: str) -> Loaded:
    """The engine with the rules that the settings name. Raises `FatalError` for settings that can't be used."""
    from falcorules import LoadError, RuleError

    paths = options.rules or rules_files(p, settings)
    if not paths:
        raise FatalError(
            "You must specify at least one rules file/directory via a command line argument "
            "or in the configuration file"
        )
    texts = read_files(p, options, settings)
    engine = make_engine(settings, hostname)
    try:
        # In a thread: it takes some tenths of a second, and everyone else in the lab would wait.
        report = await asyncio.to_thread(engine.load, [(path, texts[path]) for path in paths])
    except LoadError as error:
        report = error.report
    refusal = next((str(file).rstrip("\n") for file in report.files if file.errors), report.refused)
    if not refusal and not has_container_plugin(settings):
        for alternatives in engine.required_plugins:
            if any(name == "container" for name, _ in alternatives):
                wanted = ", or ".join(f"{name} (>= {version})" for name, version in alternatives)
                refusal = f"Plugin requirement not satisfied, must load one of: {wanted}"
    if not refusal:
        try:
            engine.select(settings.get("rules") or [])
        except RuleError as error:
            raise FatalError(error.message) from error
    return Loaded(settings, texts, engine, report, refusal)


def has_container_plugin(settings: Settings) -> bool:
    return "container" in (settings.get("load_plugins") or [])
