"""The container images that the nodes of the embedded lab can pull: nginx, Fluent Bit,
the agent of EKS Pod Identity, and those around Falco.

Each module here makes its image and registers the programs in it. Other images fail to pull, as from a registry
that doesn't have them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ekslab.node import ImageRegistry


def registry(rules: Path | None = None) -> ImageRegistry:
    """All images. `rules` is a folder with upstream rule files; those that exist replace the lab's own."""
    from ekslab.images import agnhost, falco, fluent_bit, nginx, pod_identity_agent
    from ekslab.node import ImageRegistry

    return ImageRegistry(
        [nginx.image(), fluent_bit.image(), pod_identity_agent.image(), agnhost.image(), *falco.images(rules)]
    )
