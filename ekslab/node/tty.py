"""Terminals: the line discipline between a program and the client of `kubectl exec -t`."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from ekslab.node import abi
from ekslab.node.abi import error
from ekslab.node.descriptors import OpenFile
from ekslab.node.inodes import Inode

_INTERRUPT, _QUIT, _SUSPEND, _END, _ERASE, _ERASE_BS, _KILL, _WORD_ERASE = (
    0x03,
    0x1C,
    0x1A,
    0x04,
    0x7F,
    0x08,
    0x15,
    0x17,
)
_SIGNALS = {_INTERRUPT: abi.SIGINT, _QUIT: abi.SIGQUIT, _SUSPEND: abi.SIGNALS["TSTP"]}
_EDITING = frozenset((*_SIGNALS, _END, _ERASE, _ERASE_BS, _KILL, _WORD_ERASE))
_MOST = 64 * 1024
"""Most bytes that wait to be read, and most of one line. A faster client waits; a longer line is cut."""


class Tty:
    """A pseudo-terminal. `input` takes what is typed; `output` is called with what the terminal shows.

    `signal_group(pid, number)` sends the keyboard's signals.
    """

    def __init__(
        self,
        number: int,
        output: Callable[[bytes], object],
        signal_group: Callable[[int, int], None],
        screen: OpenFile | None = None,
    ) -> None:
        self.number = number
        self.output = output
        self._signal_group = signal_group
        self.screen = screen
        self.rows, self.columns = 24, 80
        self.sized = False  # the client has a screen, and has told its size
        self.on_resize: Callable[[], object] | None = None
        self.canonical = True
        self.echo = True
        self.foreground = 0  # process group that the keyboard's signals go to
        self.hung_up = False
        self._line = bytearray()
        self._echoed = bytearray()
        self._ready: deque[bytes] = deque()  # b"" stands for Ctrl-D on an empty line
        self._interrupted = False
        self._used = asyncio.Event()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def device(self) -> int:
        """The number that `proc.tty` shows: major 136 of /dev/pts and the terminal's number."""
        return 136 << 8 | self.number

    @property
    def path(self) -> str:
        return f"/dev/pts/{self.number}"

    # -- the master's side -------------------------------------------------------------------------------------------

    def input(self, data: bytes) -> None:
        """Bytes from the keyboard. They are echoed together: each output is a message to the client."""
        self._input(data)
        self._echo()

    def _input(self, data: bytes) -> None:
        if not self.canonical:
            self._raw_input(data)
            return
        if not self.echo and not _EDITING & set(data):
            *lines, rest = (bytes(self._line) + data.replace(b"\r", b"\n")).split(b"\n")
            self._ready.extend(line[:_MOST] + b"\n" for line in lines)
            self._line = bytearray(rest[:_MOST])
            if lines:
                self._wake.set()
            return
        for byte in data:
            if byte in _SIGNALS:
                if self.echo:
                    self._show(bytes([0x5E, byte + 0x40]))  # ^C, ^\, ^Z
                self._line.clear()
                self._echo()
                self.signal(_SIGNALS[byte])
            elif byte == _END:
                self._ready.append(bytes(self._line))
                self._line.clear()
                self._wake.set()
            elif byte in (_ERASE, _ERASE_BS):
                if self._line:
                    self._erase_character()
            elif byte in (_KILL, _WORD_ERASE):
                while self._line and (byte == _KILL or not self._line.endswith(b" ")):
                    self._erase_character()
            else:
                byte = 0x0A if byte == 0x0D else byte
                if byte != 0x0A and len(self._line) >= _MOST:
                    continue
                self._line.append(byte)
                if self.echo:
                    self._show(
                        b"\r\n" if byte == 0x0A else bytes([byte]) if byte >= 0x20 else b"^" + bytes([byte + 64])
                    )
                if byte == 0x0A:
                    self._ready.append(bytes(self._line))
                    self._line.clear()
                    self._wake.set()

    def _raw_input(self, data: bytes) -> None:
        for _ in range(data.count(_SUSPEND)):
            self.signal(_SIGNALS[_SUSPEND])
        before, *after = data.replace(bytes([_SUSPEND]), b"").split(bytes([_INTERRUPT]))
        for _ in after:
            self.signal(abi.SIGINT)
        kept = (after[-1] if after else before).replace(b"\r", b"\n")
        if kept:
            self._ready.append(kept)
            self._wake.set()

    async def room(self) -> None:
        """Waits until programs have read most of what was typed."""
        while sum(map(len, self._ready)) + len(self._ready) > _MOST and not self.hung_up:
            self._room.clear()
            await self._room.wait()

    def _erase_character(self) -> None:
        while self._line and self._line[-1] & 0xC0 == 0x80:
            self._line.pop()
        self._line.pop()
        if self.echo:
            self._show(b"\b \b")

    def _show(self, data: bytes) -> None:
        self._echoed += data

    def _echo(self) -> None:
        if self._echoed:
            data = bytes(self._echoed)
            self._echoed.clear()
            self.output(data)

    def signal(self, number: int) -> None:
        """Sends a signal to the foreground process group."""
        if self.foreground:
            self._signal_group(self.foreground, number)
        self._wake.set()

    def resize(self, rows: int, columns: int) -> None:
        self.sized, first = True, not self.sized
        if (rows, columns) != (self.rows, self.columns):
            self.rows, self.columns = rows, columns
            if self.foreground:
                self._signal_group(self.foreground, abi.SIGNALS["WINCH"])
        elif not first:
            return
        if self.on_resize is not None:
            self.on_resize()

    def hang_up(self) -> None:
        """The client disconnected: readers get the end of input, the foreground group SIGHUP."""
        if not self.hung_up:
            self.hung_up = True
            self._wake.set()
            self._room.set()
            if self.foreground:
                self._signal_group(self.foreground, abi.SIGHUP)

    # -- the slave's side --------------------------------------------------------------------------------------------

    def set_mode(self, *, canonical: bool, echo: bool) -> None:
        """Switches between whole lines (the kernel edits) and single keys (the program edits)."""
        if canonical == self.canonical:
            self.echo = echo
            return
        self.canonical, self.echo = canonical, echo
        pending = b"".join(data or bytes([_END]) for data in self._ready) + bytes(self._line)
        self._ready.clear()
        self._line.clear()
        if pending:
            # Type-ahead is edited and echoed in the new mode, as a real terminal does.
            shown, self.echo = self.echo, False
            self.input(pending)
            self.echo = shown

    def interrupt(self) -> None:
        """Raises InterruptedError in the program that reads (for programs that handle Ctrl-C themselves)."""
        self._interrupted = True
        self._wake.set()

    def unread(self, data: bytes) -> None:
        """Puts back input that was read and not used."""
        self._ready.appendleft(data)

    async def read(self, size: int) -> bytes:
        """What was typed: a line in canonical mode, else whatever there is; b"" at the end of input."""
        self._interrupted = False
        self._used.set()
        while not self._ready:
            if self._interrupted:
                self._interrupted = False
                raise InterruptedError
            if self.hung_up:
                return b""
            self._wake.clear()
            await self._wake.wait()
        data = self._ready.popleft()
        if len(data) > size:
            self._ready.appendleft(data[size:])
            data = data[:size]
        self._room.set()
        return data

    async def used(self, timeout: float) -> None:
        """Waits until a program reads from the terminal, so that input is echoed in that program's mode."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._used.wait(), timeout)

    def write(self, data: bytes) -> None:
        self.output(data.replace(b"\n", b"\r\n"))


class TtyFile(OpenFile):
    def __init__(self, tty: Tty, inode: Inode | None, name: str, flags: int = abi.O_RDWR) -> None:
        super().__init__(name, name, flags)
        self.tty = tty
        self.inode = inode

    async def read(self, size: int) -> bytes:
        return await self.tty.read(size)

    def read_now(self, size: int) -> bytes:
        raise error("EAGAIN")

    def write(self, data: bytes, now: int) -> int:
        self.tty.write(data)
        return len(data)

    @property
    def full(self) -> bool:
        return self.tty.screen is not None and self.tty.screen.full

    async def drain(self) -> None:
        if self.tty.screen is not None:
            await self.tty.screen.drain()
