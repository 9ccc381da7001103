"""The embedded Kubernetes cluster: an API server, controllers, a scheduler and kubelets on simulated nodes."""

from ekslab.kubernetes.cluster import Cluster

__all__ = ["Cluster"]
