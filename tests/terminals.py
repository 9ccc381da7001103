"""Terminals for tests: one on which a command runs, and a screen that shows what is written to it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import unicodedata
from collections.abc import Mapping, Sequence

from tests.forks import take_terminal

_TOKEN = re.compile(r"\x1b\[(?P<private>\??)(?P<numbers>[\d;]*)(?P<final>[A-Za-z])|[\s\S]")


class Screen:
    """What a terminal of some rows and columns shows of the bytes it gets, as far as the line editor uses it."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self.cells = [[" "] * columns for _ in range(rows)]
        self.row = self.column = 0
        self.bells = 0

    def write(self, data: bytes) -> None:
        for token in _TOKEN.finditer(data.decode("utf-8", "replace")):
            if token["final"] is None:
                self._character(token[0])
            elif not token["private"]:
                self._control(token["final"], int(token["numbers"].split(";")[0] or 0))

    def _character(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self._line_feed()
        elif character == "\b":
            self.column = max(self.column - 1, 0)
        elif character == "\a":
            self.bells += 1
        elif width := _width(character):
            if self.column + width > self.columns:  # it waits at the margin until there is more to show
                self.column = 0
                self._line_feed()
            self.cells[self.row][self.column] = character
            self.cells[self.row][self.column + 1 : self.column + width] = [""] * (width - 1)
            self.column += width

    def _line_feed(self) -> None:
        if self.row < self.rows - 1:
            self.row += 1
        else:
            self.cells = [*self.cells[1:], [" "] * self.columns]

    def _control(self, final: str, number: int) -> None:
        column = min(self.column, self.columns - 1)
        if final == "A":
            self.row = max(self.row - max(number, 1), 0)
        elif final == "B":
            self.row = min(self.row + max(number, 1), self.rows - 1)
        elif final == "C":
            self.column = min(column + max(number, 1), self.columns - 1)
        elif final == "D":
            self.column = max(column - max(number, 1), 0)
        elif final == "H":
            self.row = self.column = 0
        elif final in "JK":
            if final == "J" and number == 2:
                self.cells = [[" "] * self.columns for _ in range(self.rows)]
                return
            self.cells[self.row][column:] = [" "] * (self.columns - column)
            for row in range(self.row + 1, self.rows if final == "J" else 0):
                self.cells[row] = [" "] * self.columns
        else:
            assert final == "m", f"the screen doesn't know CSI {number} {final}"

    @property
    def lines(self) -> list[str]:
        """The rows without blanks at their ends and without empty rows at the end."""
        return "\n".join("".join(row).rstrip() for row in self.cells).rstrip("\n").split("\n")


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf", "Cc"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class Terminal:
    """A command that runs on a terminal of its own."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], rows: int = 24, columns: int = 80) -> None:
        self.said = ""
        self._seen = 0
        self.status: int | None = None
        self._master, slave = pty.openpty()
        _set_size(slave, rows, columns)
        self._process = subprocess.Popen(
            argv, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=take_terminal
        )
        self.pid = self._process.pid
        os.close(slave)

    def type(self, keys: str | bytes) -> None:
        os.write(self._master, keys.encode() if isinstance(keys, str) else keys)

    def until(self, pattern: str, timeout: float = 30) -> str:
        """What it says up to a match of a pattern, from where the last one ended."""
        deadline = time.monotonic() + timeout
        while (match := re.compile(pattern).search(self.said, self._seen)) is None:
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.said[self._seen :]!r}"
            assert self._read(0.5), f"it ended without {pattern!r}: {self.said[self._seen :]!r}"
        said, self._seen = self.said[self._seen : match.end()], match.end()
        return said

    def _read(self, timeout: float) -> bool:
        """Reads what there is; false if the command has ended."""
        if not select.select([self._master], [], [], timeout)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # nothing has the terminal open
            return False
        self.said += data.decode("utf-8", "replace")
        return bool(data)

    def resize(self, rows: int, columns: int) -> None:
        _set_size(self._master, rows, columns)

    @property
    def is_raw(self) -> bool:
        return not termios.tcgetattr(self._master)[3] & (termios.ICANON | termios.ECHO)

    def ended(self, timeout: float = 30) -> int:
        """The exit status of the command, when it has ended (128 and the signal's number, as a shell tells it)."""
        deadline = time.monotonic() + timeout
        while self.status is None:
            assert time.monotonic() < deadline, f"still running: {self.said!r}"
            self._read(0.05)
            self._poll()
        while select.select([self._master], [], [], 0)[0] and self._read(0):
            pass
        return self.status

    def _poll(self) -> None:
        code = self._process.poll()
        if code is not None:
            self.status = code if code >= 0 else 128 - code

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


def _set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
