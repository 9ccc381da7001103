"""Runs the parts of the benchmark, prints their tables, and keeps them in `build/bench`.

python -m benchmarks [PART...] [--full] [--write] [--rules FILE]...
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import document, reading, windows, workshop
from benchmarks.report import BUILD, ROOT, Part

PARTS = ("import", "rules", "lab", "chapters", "reading", "windows")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures; asserts nothing.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"all of them, or some: {', '.join(PARTS)}")
    parser.add_argument("--full", action="store_true", help="a million alerts, too: two minutes more")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {document.FILE.relative_to(ROOT)}")
    parser.add_argument("--rules", type=Path, action="append", default=[], help="a rule file to load and replay, too")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: use {', '.join(PARTS)}")
    measure: dict[str, Callable[[], Part]] = {
        "import": workshop.imports,
        "rules": lambda: workshop.rules(options.rules),
        "lab": workshop.lab,
        "chapters": workshop.chapters,
        "reading": lambda: reading.measure(full=options.full),
        "windows": lambda: windows.measure(full=options.full),
    }
    measured: dict[str, Part] = {}
    failed: list[str] = []
    for name in options.parts or PARTS:
        started = time.monotonic()
        try:
            part = measured[name] = measure[name]()
        except Exception as error:
            failed.append(name)
            print(f"## {name} failed\n\n{error}\n", file=sys.stderr)
            continue
        part.save()
        print(f"## {name}: {time.monotonic() - started:.0f} s, load before {part.machine.load:.2f}\n", flush=True)
        print("\n\n".join(table.text() for table in part.tables), end="\n\n", flush=True)
    if options.write:
        document.write(measured)
    print(f"Kept as JSON in {BUILD.relative_to(ROOT)}.")
    if failed:
        sys.exit(f"Not measured: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
