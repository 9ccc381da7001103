"""The embedded cluster: an API server, controllers, a scheduler and kubelets; manifests in, running containers out."""

from ekslab.kubernetes.cluster import Cluster

__all__ = ["Cluster"]
