"""Two states of an object side by side, as messages about a change have it."""

from __future__ import annotations

import difflib
import json
from typing import Any

from ekslab.kubernetes.objects.validation.printed import internal


def difference(kind: str, old: Any, new: Any) -> str:
    """A unified diff of two values of one of the API server's own types."""
    before, after = (
        [
            f"{line}\n"
            for line in json.dumps(json.loads(internal(kind, value)), indent=1, ensure_ascii=False).split("\n")
        ]
        for value in (old, new)
    )
    return "".join(list(difflib.unified_diff(before, after))[2:])
