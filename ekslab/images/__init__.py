"""The container images that the nodes of the embedded lab know: nginx, Fluent Bit, and those around Falco.

Each module here makes its image and registers the programs in it; `registry()` is what a node pulls from. Whatever
isn't here fails to pull, as an image that a registry doesn't have.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ekslab.node import ImageRegistry


def registry(rules: Path | None = None) -> ImageRegistry:
    """All images. `rules` is a folder with upstream rule files, used in place of the lab's own where they are there."""
    from ekslab.images import falco, fluent_bit, nginx
    from ekslab.node import ImageRegistry

    return ImageRegistry([nginx.image(), fluent_bit.image(), *falco.images(rules)])
