"""Errors of starting, finding and using an embedded lab."""

from __future__ import annotations


class EksLabError(Exception):
    """The root of the errors that `ekslab.client` raises. `message` says what happened, `hint` what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  What to do: {self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class NotRunningError(EksLabError):
    """The lab isn't running, doesn't answer, or didn't start."""


class NoLabError(NotRunningError):
    """No lab is running in the state folder. `ended`: there was one, and it wasn't stopped with `down`."""

    def __init__(self, message: str, *, ended: bool, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.ended = ended
