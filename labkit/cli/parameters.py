"""Parameter types that several commands share, and the lab that a command works with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labkit.calls import near, seconds, short_repr
from labkit.errors import LabError, NoLabError

if TYPE_CHECKING:
    from labkit.lab import Lab


class FileName(click.Path):
    """A file or folder, as a Path."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip():
            self.fail("The name of a file is empty.", param, ctx)
        try:
            Path(value).resolve()
        except (OSError, RuntimeError) as error:  # a loop of symbolic links
            self.fail(f"{short_repr(str(value))} can't be used: {error}", param, ctx)
        return super().convert(value, param, ctx)


class Name(click.Choice[str]):
    """One of some names; of another it says which are similar."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            similar = near(value, self.choices) or f"Use one of: {', '.join(self.choices)}."
            self.fail(f"There is no {short_repr(value)}. {similar}", param, ctx)
        return str(value)


class Seconds(click.ParamType[float]):
    """A time to wait: `90`, `5m`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return seconds(value, "It")
        except LabError as error:
            return self.fail(f"{error.message} {error.hint}", param, ctx)


def ask() -> None:
    """Asks whether to go on with what was shown. Raises `click.Abort` if not, `LabError` if nobody can answer."""
    try:
        goes_on = click.confirm("Go on?")
    except click.Abort:
        if sys.stdin is not None and sys.stdin.isatty():  # Ctrl-C
            raise
        click.echo()
        raise LabError(
            "Nobody can answer here, so nothing was changed.", hint="`--yes` doesn't ask: for scripts."
        ) from None
    if not goes_on:
        raise click.Abort


def connect() -> Lab:
    """The settings' lab for a command. If the embedded one has to be started, and so is empty, stderr tells."""
    from labkit.lab import Lab

    try:
        return Lab.connect(start=False)
    except NoLabError as error:
        if not error.ended:  # which is told when the new one has started
            click.echo(f"{error.message} Starting a new one.", err=True)
        return Lab.connect()


def running(hint: str = "Start one with nginx's pod in it: `labkit apply nginx`.") -> Lab:
    """The settings' lab for a command that works on what is in it, and so starts none. `hint` is for `NoLabError`."""
    from labkit.lab import Lab

    try:
        return Lab.connect(start=False)
    except NoLabError as error:
        raise NoLabError(error.message, ended=error.ended, hint=hint) from error
