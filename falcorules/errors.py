"""Exceptions with a message and a hint."""

from __future__ import annotations


class FalcoRulesError(Exception):
    """The root of the package's exceptions. `message` says what happened, `hint` what to do next (may be empty)."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  What to do: {self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """Replaces the traceback in IPython: an error of two lines says all that a reader needs."""
        return [f"{type(self).__name__}: {self}"]


class RuleError(FalcoRulesError):
    """Rules can't be loaded or used. `code` is Falco's name for the reason (`LOAD_ERR_VALIDATE`, ...), or empty."""

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class ConditionError(RuleError):
    """A condition can't be parsed. `line` and `column` count from 1; `excerpt` is the line with a caret below."""

    def __init__(self, message: str, *, line: int, column: int, excerpt: str = "") -> None:
        super().__init__(message, code="LOAD_ERR_COMPILE_CONDITION")
        self.line = line
        self.column = column
        self.excerpt = excerpt

    def __str__(self) -> str:
        text = f"{self.message} (line {self.line}, column {self.column})"
        return f"{text}\n{self.excerpt}" if self.excerpt else text


class EventError(FalcoRulesError):
    """Recorded events can't be read or written."""
