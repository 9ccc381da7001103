"""falco.yaml: whether Falco takes it, how it departs from the schema, and in which words."""

from __future__ import annotations

import copy
import posixpath
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, cast

import yaml

from ekslab.helm import chart
from ekslab.images.falco.config import AbortError, ConfigError, load
from ekslab.node import Process
from tests.beside.__main__ import Compared

RULE = "- rule: R\n  desc: d\n  condition: evt.type = openat\n  output: o\n  priority: INFO\n"
VALUES = (
    *("maybe", "", "true", "5", -1, 0, 1, 1.5, True, False, None, [], {}, ["x"], {"a": 1}, "HIGH", "info", "Warning"),
    *("ebpf", "nodriver", "second", "all", "1h", "0x10", 99999999999, "yes", "a b", "é", "10ms", [1, 2], [["a"]]),
)


class Disk:
    """The files that the settings name, as far as a reader of settings asks for them."""

    env: dict[str, str] = {}  # noqa: RUF012

    def read_bytes(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def isdir(self, path: str) -> bool:
        return Path(path).is_dir()

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def listdir(self, path: str) -> list[str]:
        return [posixpath.basename(str(one)) for one in Path(path).iterdir()]


def defaults(rules: Path) -> dict[str, Any]:
    """The chart's default settings, with a rule file that there is and without plugins."""
    objects = chart.render("falco", "falco", {"driver": {"kind": "modern_ebpf"}}, warn=print)
    text = next(o["data"]["falco.yaml"] for o in objects if "falco.yaml" in o.get("data", {}))
    loaded: dict[str, Any] = yaml.safe_load(text)
    loaded.pop("config_files", None)
    return {**loaded, "rules_files": [str(rules)], "load_plugins": [], "log_stderr": True, "log_level": "info"}


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from places(inner, (*at, key))


def mutated(random: Random, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with one of their values dropped, replaced, or with something added to it."""
    changed = copy.deepcopy(settings)
    *path, last = random.choice(list(places(settings)))
    at: Any = changed
    for key in path:
        at = at[key]
    draw = random.random()
    if draw < 0.1:
        del at[last]
    elif draw < 0.2 and isinstance(at[last], dict):
        at[last]["unknown"] = random.choice(VALUES)
    elif draw < 0.25 and isinstance(at[last], list):
        at[last].append(random.choice(VALUES))
    else:
        at[last] = random.choice(VALUES)
    return changed


def compared(falco: list[str], inputs: int, seed: int) -> Iterator[Compared]:
    """Each answer is (error, outcome of the schema's check): the outcome where it is taken and its log is on."""
    with tempfile.TemporaryDirectory() as folder:
        rules, file = Path(folder, "rules.yaml"), Path(folder, "falco.yaml")
        rules.write_text(RULE)
        settings = defaults(rules)
        for number in range(inputs):
            changed = mutated(Random(f"{seed}/{number}"), settings)
            text = yaml.safe_dump(changed, sort_keys=False, allow_unicode=True)
            file.write_text(text)
            real, here = _real(falco, file), _here(file)
            if real == ("", None):  # its log is switched off
                here = (here[0], None)
            place = next((f"{a!r} in place of {b!r}" for a, b in _changes(changed, settings)), "")
            yield Compared(f"{seed}/{number}, {place}", list(real), list(here))


def _changes(changed: Any, settings: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(changed, dict) and isinstance(settings, dict):
        for key in dict.fromkeys([*changed, *settings]):
            if changed.get(key) != settings.get(key):
                inner = list(_changes(changed.get(key), settings.get(key)))
                yield (
                    ({key: inner[0][0]}, {key: inner[0][1]}) if inner else ({key: changed.get(key)}, settings.get(key))
                )
    elif changed != settings:
        yield changed, settings


def _real(falco: list[str], file: Path) -> tuple[str, str | None]:
    command = [*falco, "-c", str(file), "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120, check=False)
    said = done.stdout + done.stderr
    errors = re.findall(r"(?m)^(?:.*?: )?Error: (.*)$", said) if done.returncode else []
    outcomes = re.findall(rf"{re.escape(str(file))} \| schema validation: (.*)", said)
    return (errors[-1].strip() if errors else "", None if errors else outcomes[-1] if outcomes else None)


def _here(file: Path) -> tuple[str, str | None]:
    try:
        settings = load(cast(Process, Disk()), str(file), ())
    except (ConfigError, AbortError) as error:
        return str(error).strip(), None
    return "", dict(settings.files)[str(file)]
