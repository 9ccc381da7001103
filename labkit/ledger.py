"""The ledger: which resources the lab made and which it found, so that undoing deletes only its own.

One JSON file per target in the state folder. Several notebooks and commands may write it at the same time: each change
is made under a lock and replaces the file as a whole.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from labkit.errors import LabError
from labkit.files import make_private


@dataclass(frozen=True)
class Record:
    """A resource that a step answers for."""

    step: str
    kind: str
    """What it is in words, e.g. `IAM role`, `ConfigMap`."""
    name: str
    made: bool
    """True if the lab made it; False if it was there before and stays when the step is undone."""
    details: dict[str, Any] = field(default_factory=dict)
    begun: bool = False
    """True from before it is made until that has succeeded: if interrupted, its mark tells whose it is."""

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.step, self.kind, self.name)


def discard(path: Path) -> list[str]:
    """Deletes the ledger file of a lab that has ended. Returns the steps that it had records of, if it is readable."""
    try:
        steps = list(dict.fromkeys(str(record["step"]) for record in json.loads(path.read_bytes())["records"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        steps = []
    path.unlink(missing_ok=True)
    return steps


class Ledger:
    """Records of one target, in the order in which they were made."""

    def __init__(self, path: Path, *, lab: str = "") -> None:
        """`lab` identifies what the records are about; records of another lab in the same file are dropped."""
        self.path = path
        self.lab = lab

    def records(self, step: str | None = None) -> list[Record]:
        """All records, or those of one step; oldest first."""
        return [record for record in self._read() if step in (None, record.step)]

    def find(self, step: str, kind: str, name: str) -> Record | None:
        return next((record for record in self._read() if record.key == (step, kind, name)), None)

    def write(self, record: Record) -> None:
        """Adds the record, or replaces the one of the same step, kind and name in its place."""
        with self._changed() as records:
            for index, known in enumerate(records):
                if known.key == record.key:
                    records[index] = record
                    return
            records.append(record)

    def forget(self, step: str, kind: str, name: str) -> None:
        """Removes the record, if there is one."""
        with self._changed() as records:
            records[:] = [record for record in records if record.key != (step, kind, name)]

    def _read(self) -> list[Record]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        try:
            document = json.loads(text)
            if document["lab"] != self.lab:
                return []
            return [Record(**record) for record in document["records"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise LabError(
                f"The ledger {self.path} can't be read: {error}.",
                hint="Move the file away. What the lab made carries its tag, so teardown and audit still find it.",
            ) from error

    @contextmanager
    def _changed(self) -> Iterator[list[Record]]:
        make_private(self.path.parent)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self._read()
            records = list(before)
            yield records
            if records != before or not self.path.exists():
                self._replace(records)

    def _replace(self, records: list[Record]) -> None:
        document = {"lab": self.lab, "records": [asdict(record) for record in records]}
        # Only the holder of the lock writes it: what a killed process left is overwritten.
        temporary = self.path.with_name(f".{self.path.name}.new")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)
