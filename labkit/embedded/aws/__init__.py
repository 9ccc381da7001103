"""AWS as the embedded lab has it: one account, spoken to by plain SDKs over loopback and by pods under AWS's host names."""

from labkit.embedded.aws.front import Aws

__all__ = ["Aws"]
