"""Lazy imports for packages: public names are imported on first use and listed by `dir()` and Tab."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def lazily(
    package: str, modules: Mapping[str, str], names: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__` and `__dir__`. `modules` maps names to modules (a module to itself).

    `names` are public names that are there already.
    """
    public = sorted({*modules, *names})

    def __getattr__(name: str) -> Any:
        if name in modules:
            module = importlib.import_module(modules[name])
            return module if modules[name] == f"{package}.{name}" else getattr(module, name)
        from labkit.calls import near

        hint = "" if name.startswith("_") else near(name, public).strip()
        raise AttributeError(f"module {package!r} has no attribute {name!r}. {hint}".strip())

    def __dir__() -> list[str]:
        return public

    return __getattr__, __dir__
