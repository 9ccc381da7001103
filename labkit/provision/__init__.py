"""Puts the workshop's parts in place and takes them away again: IAM, CloudWatch Logs, Kubernetes, Helm."""
