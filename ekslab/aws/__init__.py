"""AWS as the embedded lab has it: one account, for plain SDKs over loopback and for pods under AWS's host names."""

from ekslab.aws.front import Aws

__all__ = ["Aws"]
