"""What Helm says when it refuses."""

from __future__ import annotations


class HelmError(Exception):
    """A refusal in Helm's own words, without the `Error: ` it prints in front."""
