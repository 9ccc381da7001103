"""Errors of the shells, and the exceptions by which `break`, `continue` and `return` leave commands."""

from __future__ import annotations


class ShellSyntaxError(Exception):
    """`token` is what the parser stumbled over, as the shells name it; `incomplete` when more input could help.

    `needs` is a text without which more input is no help, `expecting` what dash says that it expects.
    """

    def __init__(
        self,
        token: str,
        line: int,
        *,
        incomplete: bool = False,
        message: str = "",
        needs: str = "",
        expecting: str = "",
        text: str = "",
    ) -> None:
        super().__init__(message or token)
        self.token = token
        self.line = line
        self.incomplete = incomplete
        self.message = message
        self.needs = needs
        self.expecting = expecting
        self.text = text


class ExpansionError(Exception):
    """A word can't be expanded (`${x:?}`, `set -u`, a bad number); the command isn't run.

    A script of bash's ends with `status`.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class TooDeep(ExpansionError):
    """Commands call one another deeper than the shell goes: the shell ends."""


class Interrupted(Exception):
    """Ctrl-C while an interactive shell ran a built-in command."""


class LoopExit(Exception):
    def __init__(self, levels: int) -> None:
        super().__init__(levels)
        self.levels = levels


class Break(LoopExit):
    pass


class Continue(LoopExit):
    pass


class Return(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status
