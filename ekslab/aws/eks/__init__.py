"""EKS: the lab's cluster and its node group, and what EKS keeps beside them."""

from __future__ import annotations

from ekslab.aws.eks.access import KubernetesUser
from ekslab.aws.eks.service import Eks

__all__ = ["Eks", "KubernetesUser"]
