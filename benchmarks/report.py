"""Tables of what was measured: printed, kept as JSON in `build/bench`, and read again for `docs/performance.md`."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "bench"

Cell: TypeAlias = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Rows of measured values under a title. The first column says what; numbers keep their full precision."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()

    def text(self) -> str:
        """For the terminal."""
        lines = [list(self.columns), *([shown(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        body = []
        for first, *others in lines:
            cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            body.append("  ".join([first.ljust(widths[0]), *cells]))
        return "\n".join([self.title, "", body[0], "-" * sum(widths, 2 * len(widths) - 2), *body[1:], *self.notes])

    def markdown(self) -> str:
        """For the document."""
        lines = [[shown(cell) for cell in row] for row in self.rows]
        head = [f"| {' | '.join(self.columns)} |", "|---" + "|--:" * (len(self.columns) - 1) + "|"]
        return "\n".join([*head, *(f"| {' | '.join(line)} |" for line in lines)])


@dataclass(frozen=True)
class Machine:
    """Where and when a part was measured. `load` is the one-minute load average at its beginning."""

    date: str
    processor: str
    cores: int
    memory_gb: int
    system: str
    python: str
    versions: dict[str, str]
    load: float

    @property
    def busy(self) -> bool:
        """Whether other programs ran, so that wall times say little."""
        return self.load > 0.5


@dataclass(frozen=True)
class Part:
    """What a part of the benchmark measured."""

    name: str
    machine: Machine
    tables: list[Table]

    def save(self, folder: Path = BUILD) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, name: str, folder: Path = BUILD) -> Part | None:
        """What was measured last; None if that part never ran."""
        file = folder / f"{name}.json"
        if not file.exists():
            return None
        found = json.loads(file.read_text())
        tables = [Table(**table) for table in found["tables"]]
        return cls(found["name"], Machine(**found["machine"]), tables)


def this_machine() -> Machine:
    """The machine as it is now."""
    names = ("pandas", "pyarrow", "numpy", "orjson", "boto3")
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions={name: version(name) for name in names},
        load=os.getloadavg()[0],
    )


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def shown(cell: Cell) -> str:
    """A value with three significant digits, thousands with commas; nothing for None."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{cell:,.0f}" if isinstance(cell, int) else f"{float(f'{cell:.3g}'):,.0f}"
    return f"{cell:.3g}" if abs(cell) >= 0.001 or not cell else f"{cell:.1g}"
