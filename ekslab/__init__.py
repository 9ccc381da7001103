"""The embedded lab: AWS, Kubernetes, a node with Falco and Fluent Bit, in one process on loopback."""
