"""The versions the workshop pins: `versions.toml`, read once."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any


@cache
def pinned() -> dict[str, Any]:
    """The parsed `versions.toml`: tables `falco`, `helm`, `fluent_bit`, `nginx`, `kubernetes`, each value a string."""
    return tomllib.loads(resources.files("labkit").joinpath("versions.toml").read_text(encoding="utf-8"))
