"""`Target`: the AWS account, cluster, Helm and ledger that a lab works with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from labkit.aws import Aws, describe_cluster
from labkit.helm import Helm
from labkit.kube import Kube
from labkit.ledger import Ledger
from labkit.settings import Settings


@dataclass(frozen=True, repr=False)
class Target:
    """What steps, attacks and waits work with; the same on every target. `labkit.connect.connect` makes it."""

    settings: Settings
    aws: Aws
    kube: Kube
    helm: Helm
    ledger: Ledger
    record: Callable[[str], AbstractContextManager[list[str]]]
    """Records the system calls of a namespace's containers as lines of JSON. Raises `TargetError` if it can't."""

    def __repr__(self) -> str:
        s = self.settings
        return f"Target {s.target}: cluster {s.cluster}, {self.aws!r}, {self.kube!r}"

    @cached_property
    def cluster(self) -> dict[str, Any]:
        """EKS's description of the cluster. Raises `NoClusterError` if there is no such cluster."""
        return describe_cluster(self.aws, self.settings.cluster)
