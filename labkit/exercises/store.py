"""The file in the state folder that keeps which exercises are solved and which checkpoints are reached."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from labkit.files import make_private
from labkit.settings import Settings


class Progress:
    """What has been done. Several notebooks may write it at the same time."""

    def __init__(self, settings: Settings) -> None:
        """The file is `progress.json` in the state folder, or the one that `LABKIT_PROGRESS` names."""
        self.path = Path(os.environ.get("LABKIT_PROGRESS") or settings.state / "progress.json")

    def solved(self, exercise: str) -> bool:
        return bool(self._read().get(exercise, {}).get("solved"))

    def hints(self, exercise: str) -> int:
        return int(self._read().get(exercise, {}).get("hints", 0))

    def all(self) -> dict[str, dict[str, Any]]:
        """Everything that is kept, by exercise and chapter."""
        return self._read()

    def reached(self, chapter: str) -> bool:
        """Whether the checkpoint of a chapter, by its number, has been reached."""
        return bool(self._read().get(chapter, {}).get("reached"))

    def note(self, name: str, **facts: Any) -> None:
        """Keeps facts about an exercise or a chapter. An exercise that was solved once stays solved."""
        self._change(lambda found: found.setdefault(name, {}).update(facts))

    def count(self, name: str, what: str, *, most: int | None = None) -> int:
        """Adds one to a number that is kept about an exercise, up to `most`, and returns it."""

        def add(found: dict[str, Any]) -> None:
            about = found.setdefault(name, {})
            number = int(about.get(what, 0)) + 1
            about[what] = number if most is None else min(number, most)

        return int(self._change(add)[name][what])

    def forget(self, numbers: Iterable[str] = ()) -> None:
        """Forgets everything about the named chapters and their exercises; about all, if none are named."""
        chosen = tuple(number.zfill(2)[:2] for number in numbers)

        def drop(found: dict[str, Any]) -> None:
            for name in list(found):
                if not chosen or name[:2] in chosen:
                    del found[name]

        self._change(drop)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            found = json.loads(self.path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}  # a file that can't be read is as good as none: it holds nothing that can't be done again
        if not isinstance(found, dict):
            return {}
        return {name: about for name, about in found.items() if isinstance(about, dict)}

    def _change(self, change: Callable[[dict[str, Any]], Any]) -> dict[str, dict[str, Any]]:
        make_private(self.path.parent)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = self._read()
            change(found)
            temporary = self.path.with_name(f".{self.path.name}.new")
            temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")
            os.replace(temporary, self.path)
            return found
