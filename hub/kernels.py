"""The kernels of an attendee's server, forked by their session."""

from __future__ import annotations

from jupyter_server.services.kernels.kernelmanager import ServerKernelManager

from labkit.kernels import manager


class Kernel(manager.Kernel, ServerKernelManager):  # type: ignore[misc, unused-ignore]
    """A kernel on Unix sockets of the attendee's account: to those of loopback, every account could listen."""
