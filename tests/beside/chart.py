"""Falco's chart: the objects that Helm renders for values, or what it says, and the stand-in's."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from random import Random
from typing import Any

import yaml

from ekslab import versions
from ekslab.helm import chart
from ekslab.helm.errors import HelmError
from ekslab.helm.values import read
from tests.beside.__main__ import Compared

VALUES = (
    "null",
    '"x"',
    "5",
    "true",
    "false",
    "[]",
    "{}",
    '["a"]',
    '{"a":"b"}',
    '""',
    '"9000"',
    '[{"name":"a"}]',
    "1.5",
)
# Subcharts and pictures that the stand-in refuses by name.
REFUSED = ("falcosidekick", "responseActions", "falco-talon", "grafana", "collectors.kubernetes")


def compared(helm: list[str], path: str, inputs: int, seed: int) -> Iterator[Compared]:
    """Each input sets one to three values; `path` is the chart's folder, whose subcharts are in `charts/`."""
    keys = [key for key in _keys(chart.defaults()) if not key.startswith(REFUSED)]
    for number in range(inputs):
        random = Random(f"{seed}/{number}")
        chosen = random.sample(keys, random.randint(1, 3))
        settings = ",".join(f"{key}={random.choice(VALUES)}" for key in chosen)
        kind = random.choice(("modern_ebpf", "auto", "kmod"))
        options = ["--set-json", f'driver.kind="{kind}",{settings}']
        yield Compared(options[1], real(helm, path, options), here(options[1]))


def _keys(values: dict[str, Any], under: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield under + key
        if isinstance(value, dict):
            yield from _keys(value, f"{under}{key}.")


def real(helm: list[str], path: str, options: list[str]) -> Any:
    command = [*helm, "template", "falco", path, "--namespace", "falco", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        return _error(done.stderr.partition("Error: ")[2].partition("\n\nUse --debug")[0])
    return _by_name([item for item in yaml.safe_load_all(done.stdout) if item])


def here(settings: str) -> Any:
    try:
        return _by_name(chart.render("falco", "falco", read([], json_settings=[settings]), warn=lambda text: None))
    except HelmError as error:
        return _error(str(error))
    except Exception as error:  # is a fault of ours, as any difference is
        return f"{type(error).__name__}: {error}"


def _error(text: str) -> str:
    """An error without the line of a text that differs, as templates' blanks and comments do."""
    return re.sub(r"yaml: line \d+: ", "yaml: ", text.strip())


def _by_name(objects: list[Any]) -> Any:
    """Objects by kind and name. YAML in texts counts as what it says, and checksums don't count."""
    found = {}
    for item in json.loads(json.dumps(objects)):
        for name, text in (item.get("data") or {}).items():
            if name.endswith(".yaml"):
                item["data"][name] = yaml.safe_load(text)
        template = (item.get("spec") or {}).get("template") or {"metadata": {}}
        annotations = template["metadata"].get("annotations") or {}
        annotations.update({key: versions.FALCO_CHART for key in annotations if key.startswith("checksum")})
        found[f"{item['kind']} {item['metadata']['name']}"] = item
    return found
