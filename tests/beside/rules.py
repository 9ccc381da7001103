"""Rule files: the report of `falco -V` and the project's."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import falcorules
from tests.beside.__main__ import Compared
from tests.falcorules.fuzz import generated


def compared(falco: list[str], inputs: int, seed: int) -> Iterator[Compared]:
    """Reports on the files of `tests.falcorules.fuzz`, which finds one again by `--seed` and `--only`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "fuzz.yaml")
        for number in range(inputs):
            file.write_bytes(generated(Random(f"{seed}/{number}")))
            try:
                said = real(falco, file)
            except subprocess.TimeoutExpired:  # a condition that Falco expands without end
                continue
            yield Compared(f"{seed}/{number}", said, _named(falcorules.check([file]).to_dict(), file))


def real(falco: list[str], file: Path) -> Any:
    """The report of `falco -V` as JSON; None if it gives none, as when it dies. Raises TimeoutExpired after 10 s."""
    command = [*falco, "-o", "json_output=true", "-V", file.name]
    done = subprocess.run(command, cwd=file.parent, capture_output=True, timeout=10, check=False)
    start = done.stdout.find(b'{"falco_load_results"')
    return None if start < 0 else json.loads(done.stdout[start:].splitlines()[0])


def _named(report: Any, file: Path) -> Any:
    """The report with the file's name as it was given to Falco, which is that alone."""
    return json.loads(json.dumps(report).replace(json.dumps(str(file)), json.dumps(file.name)))
