"""The falco program: runs until SIGTERM, or validates (`-V`) or lists (`-L`) rules."""

from __future__ import annotations

import asyncio
import json
import signal

from ekslab import versions
from ekslab.images.falco.config import DEFAULT_FILE, AbortError, ConfigError, load
from ekslab.images.falco.daemon import Daemon
from ekslab.images.falco.options import FatalError, Options, parse_options
from ekslab.images.falco.rules import load_rules
from ekslab.node import Process, program


@program("falco")
async def falco(p: Process) -> int:
    """Runs with the options in `options.py`."""
    try:
        options = parse_options(p.argv[1:])
        if options.config != DEFAULT_FILE and not p.exists(options.config):
            raise FatalError(f"Could not find configuration file at {options.config}")
        if options.version:
            return _version(p)
        if not p.exists(options.config):
            raise FatalError(f"You must create a config file at {DEFAULT_FILE} or by passing -c")
        if options.validate:
            return await _validate(p, options)
        if options.list_rules:
            return await _list_rules(p, options)
        return await Daemon(p, options).run()
    except ConfigError as error:
        p.stderr.write(f"{error.before}\nError: {error}\n" if error.before else f"Error: {error}\n")
    except FatalError as error:
        p.stderr.write(f"Error: {error}\n")
    except AbortError as error:
        p.stderr.write(f"{error}\n")
        return 128 + signal.SIGABRT
    return 1


def _version(p: Process) -> int:
    p.print(f"Falco version: {versions.FALCO}")
    p.print("Libs version:  0.25.4")
    p.print(f"Engine:        {versions.FALCO_ENGINE}")
    p.print("Driver:        modern_ebpf (built in)")
    return 0


async def _validate(p: Process, options: Options) -> int:
    from falcorules import check

    settings = load(p, options.config, options.settings)
    files = []
    for path in options.validate:
        try:
            files.append((path, p.read_text(path)))
        except OSError as error:
            raise FatalError(f"Could not open file {path} for reading") from error
    report = await asyncio.to_thread(check, files)
    if report.refused:
        p.stderr.write(f"{report.said}\n")
        return 128 + signal.SIGABRT if report.crash == "abort" else 1
    summary = str(report).rstrip("\n")
    p.print(report.to_json() if settings["json_output"] else summary)
    if not report.successful:
        raise FatalError(summary)
    return 0


def _wrapped(text: str) -> str:
    """Words in lines of less than 60 characters, a blank after each, under a column of names."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > 59:
            lines.append("")
        lines[-1] += f"{word} "
    return f"\n{'':51}".join(lines)


async def _list_rules(p: Process, options: Options) -> int:
    """`falco -L`: each loaded rule and its description; in full with `-o json_output=true`."""
    from falcorules.ast import canonical

    settings = load(p, options.config, options.settings)
    loaded = await load_rules(p, options, settings, "")
    if loaded.refusal:
        raise FatalError(loaded.refusal)
    engine = loaded.engine
    active = set(engine.active)
    if not settings["json_output"]:
        for name, description in (("Rule", "Description"), ("----", "-----------")):
            p.print(f"{name:<50} {description}")
        for rule in engine.rules:
            p.print(f"{rule.name:<50} {_wrapped(rule.description)}\n")
        return 0
    infos = [
        {
            "condition": rule.written_condition,
            "description": rule.description.strip(),
            "enabled": rule in active,
            "name": rule.name,
            "output": rule.written_output,
            "priority": rule.priority,
            "source": rule.source,
            "tags": list(rule.tags),
        }
        for rule in engine.rules
    ]
    details = [
        {
            "condition_compiled": canonical(rule.condition),
            # Falco evaluates every rule for asynchronous events, whatever the condition says of types.
            "events": sorted({*rule.event_types, "asyncevent"}),
            "macros": list(rule.macros),
            "output_compiled": rule.output,
        }
        for rule in engine.rules
    ]
    rules = [{"details": more, "info": info} for more, info in zip(details, infos, strict=True)]
    p.print(json.dumps({"required_engine_version": versions.FALCO_ENGINE, "rules": rules}))
    return 0
