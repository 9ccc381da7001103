"""Exceptions with a message and a hint."""

from __future__ import annotations

from collections.abc import Callable

Hint = str | Callable[[], str]
"""What to do next, or a function that finds out when an error is raised."""


class LabError(Exception):
    """The root of every error `labkit` raises on purpose.

    `message` says what happened, `hint` what to do next (may be empty). The cause, where there is one, is chained
    with `raise ... from`.
    """

    def __init__(self, message: str, *, hint: Hint = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint if isinstance(hint, str) else hint()

    def __str__(self) -> str:
        return f"{self.message}\n  What to do: {self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in a notebook instead of a traceback: message and hint."""
        return [f"{type(self).__name__}: {self}"]


class SettingsError(LabError):
    """A setting has a value that can't be used."""


class NotRunningError(LabError):
    """The embedded lab isn't running, or didn't start."""


class NoLabError(NotRunningError):
    """No embedded lab is running, and none was to be started. `ended`: one ran and ended without `labkit down`."""

    def __init__(self, message: str, *, ended: bool, hint: Hint = "") -> None:
        super().__init__(message, hint=hint)
        self.ended = ended


class TargetError(LabError):
    """The target can't be reached or refuses: credentials, region, cluster, kubeconfig."""


class UnreachableError(TargetError):
    """AWS or the Kubernetes API gives no answer at all. `service` is `AWS` or `Kubernetes`."""

    def __init__(self, message: str, *, service: str, hint: Hint = "") -> None:
        super().__init__(message, hint=hint)
        self.service = service


class StepError(LabError):
    """A provisioning step failed."""


class ExecError(LabError):
    """A command could not be run in a pod (not: it ran and exited non-zero)."""


class AlertTimeoutError(LabError):
    """An expected alert did not arrive before its deadline; says which link of the chain is broken."""


class StoppedError(LabError):
    """A wait or command was interrupted (Ctrl-C, or Jupyter's stop button)."""


class RunError(LabError):
    """A notebook failed while it was executed."""
