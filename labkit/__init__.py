"""Container runtime security with Falco on Amazon EKS: the library behind the workshop's notebooks.

`Lab` is the one object a notebook holds. Names are imported when they are first used, so `import labkit` costs
almost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lazy import lazily

if TYPE_CHECKING:
    from labkit.errors import LabError
    from labkit.lab import Lab
    from labkit.settings import Settings
    from labkit.show import Table

__all__ = ["Lab", "LabError", "Settings", "Table"]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Lab": "labkit.lab",
        "LabError": "labkit.errors",
        "Settings": "labkit.settings",
        "Table": "labkit.show",
        **{name: f"labkit.{name}" for name in ("alerts", "attacks", "charts", "respond")},
    },
)
