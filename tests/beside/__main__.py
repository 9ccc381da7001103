"""Compares the project with real programs on generated inputs. Prints what differs, and exits with 1 if anything does.

    python -m tests.beside rules --falco "falco -c falco.yaml" --inputs 2000
    python -m tests.beside settings --falco falco --inputs 500
    python -m tests.beside chart --helm helm --chart charts/falco --inputs 500
    python -m tests.beside objects --server https://127.0.0.1:6443 --token admin --inputs 1000

For a new version of one of them. It isn't one of the tests, which need none of these programs. The settings' Falco
needs `engine.kind: nodriver` to work (any build does), the rules' one the container plugin; the API server needs the
namespace and service account `default`. Nothing is stored there: objects are posted with `dryRun=All`.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

WIDTH = 600  # characters shown of an answer


@dataclass(frozen=True)
class Compared:
    """What the real program and the project answer to an input; `name` finds the input again."""

    name: str
    real: Any
    here: Any


def parts(answer: Any, at: str = "") -> dict[str, Any]:
    """The leaves of nested objects and lists by their path."""
    if isinstance(answer, dict) and answer:
        return {path: leaf for name, value in answer.items() for path, leaf in parts(value, f"{at}.{name}").items()}
    if isinstance(answer, list) and answer:
        return {path: leaf for i, value in enumerate(answer) for path, leaf in parts(value, f"{at}[{i}]").items()}
    return {at: answer}


def difference(compared: Compared) -> list[str]:
    """A line for each part that differs, with both answers."""
    real, here = parts(compared.real), parts(compared.here)
    return [
        f"{path or 'answer'}\n      real {_short(real.get(path))}\n      here {_short(here.get(path))}"
        for path in dict.fromkeys([*real, *here])
        if real.get(path) != here.get(path)
    ]


def _short(answer: Any) -> str:
    text = json.dumps(answer, ensure_ascii=False)
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}..."


def report(results: Iterable[Compared]) -> int:
    """Prints the differences, those of the same kind once. Returns how many inputs differ."""
    groups: dict[str, list[tuple[str, list[str]]]] = {}
    inputs = 0
    for compared in results:
        inputs += 1
        if lines := difference(compared):
            kind = re.sub(r"""\d+|'[^']*'|"[^"]*\"""", "#", lines[0])[:150]
            groups.setdefault(kind, []).append((compared.name, lines))
    for found in sorted(groups.values(), key=len, reverse=True):
        name, lines = found[0]
        print(f"{len(found)} times, first in {name}:")
        print("\n".join(f"   {line}" for line in lines[:4]))
    differing = sum(map(len, groups.values()))
    print(f"{inputs} inputs, {differing} differ, in {len(groups)} kinds")
    return differing


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rules", "settings", "chart", "objects"])
    parser.add_argument("--falco", help="the command of a real Falco, with options that it always takes")
    parser.add_argument("--helm", help="the command of a real Helm")
    parser.add_argument("--chart", help="the folder of Falco's chart, with its subcharts in charts/")
    parser.add_argument("--server", help="the URL of a real kube-apiserver")
    parser.add_argument("--token", help="a bearer token of it that may create everything")
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.what == "objects":
        from tests.beside import objects

        if not (options.server and options.token):
            parser.error("objects needs --server and --token")
        return bool(report(objects.compared(options.server, options.token, options.inputs, options.seed)))
    if options.what == "chart":
        from tests.beside import chart

        if not (options.helm and options.chart):
            parser.error("chart needs --helm and --chart")
        return bool(report(chart.compared(shlex.split(options.helm), options.chart, options.inputs, options.seed)))
    if not options.falco:
        parser.error(f"{options.what} needs --falco")
    from tests.beside import rules, settings

    falco = shlex.split(options.falco)
    module = rules if options.what == "rules" else settings
    return bool(report(module.compared(falco, options.inputs, options.seed)))


if __name__ == "__main__":
    sys.exit(main())
