"""Text and YAML files of the workshop and its attendees."""

from __future__ import annotations

import errno
import stat
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from labkit.calls import short_repr
from labkit.errors import StepError
from labkit.settings import workshop_root

LARGEST = 1 << 20
"""Bytes of a file: what a ConfigMap holds at most."""
_MOST_KEPT = 1 << 16
"""Characters of a file whose documents are kept."""


def read_text(file: Path) -> str:
    """The text of a file. Raises `StepError`, also for what is larger than `LARGEST` or no regular file."""
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        if found.st_size > LARGEST:
            raise OSError(errno.EFBIG, f"it is larger than {LARGEST >> 20} MiB")
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise StepError(f"{named(file)} is not text in UTF-8.", hint="Save it as UTF-8.") from error
        hint = "Check its name, run from the workshop's folder, or set LABKIT_ROOT."
        why = error.strerror if isinstance(error, OSError) else "that is no name of a file"
        raise StepError(f"{short_repr(named(file), 300)[1:-1]} can't be read: {why}.", hint=hint) from error


def make_private(folder: Path) -> None:
    """Makes a folder, and those above it that are missing, which other users of the computer can't look into."""
    for place in reversed((folder, *folder.parents)):
        if not place.exists():
            place.mkdir(mode=0o700, exist_ok=True)


def named(file: Path) -> str:
    """A file's path as errors have it: from the workshop's folder if it is in there."""
    root = workshop_root()
    return str(file.relative_to(root) if file.is_relative_to(root) else file)


def load_yaml(file: Path) -> list[Any]:
    """The documents of a YAML file. Raises `StepError`; `read_text` says when."""
    import yaml

    text = read_text(file)
    try:
        return deepcopy((_documents if len(text) < _MOST_KEPT else _documents.__wrapped__)(text))
    except RecursionError as error:
        hint = "Look for brackets that are never closed."
        raise StepError(f"{named(file)} is nested too deeply.", hint=hint) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: dates and numbers that don't exist
        raise StepError(f"{named(file)} is not YAML: {error}", hint="Correct the file; indentation counts.") from error


@lru_cache(64)
def _documents(text: str) -> list[Any]:
    """Kept for the next step: manifests are read by each of them that is applied, looked at or undone."""
    import yaml

    # PyYAML's own loader: libyaml's crashes on deeply nested text.
    return list(yaml.safe_load_all(text))
