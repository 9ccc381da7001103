"""The kubelet of a node: runs the containers of its pods and reports their status."""
