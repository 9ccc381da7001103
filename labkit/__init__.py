"""Container runtime security with Falco on Amazon EKS: the library behind the workshop's notebooks.

`Lab` is the one object a notebook holds. Names are imported when they are first used, so `import labkit` costs
almost nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit.errors import LabError
    from labkit.lab import Lab
    from labkit.settings import Settings

__all__ = ["Lab", "LabError", "Settings"]

_HOME = {"Lab": "labkit.lab", "LabError": "labkit.errors", "Settings": "labkit.settings"}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
