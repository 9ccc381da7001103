"""The error of Helm's commands."""

from __future__ import annotations


class HelmError(Exception):
    """An error with Helm's message, without the `Error: ` that Helm prints in front."""
