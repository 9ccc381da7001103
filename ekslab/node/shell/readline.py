"""readline, bash's line editor: keys, kill ring, undo, history, search, completion, and what the screen shows of it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Awaitable, Callable

from ekslab.node.process import Process
from ekslab.node.shell.completion import Completion, completion
from ekslab.node.shell.state import State
from ekslab.node.tty import Tty

_LONGEST = 64 * 1024  # characters of a line, as many as the terminal takes
_MOST_UNDO = 1_000_000  # characters of lines to go back to
_KEY = re.compile(
    rb"(?P<text>[^\x00-\x1f\x7f]+)"
    rb"|\x1b\[200~(?P<pasted>.*?)\x1b\[201~"
    rb"|\x1b(?:\[[0-9;?]*[@-~]|O[A-Za-z])"
    rb"|\x1b[^\[O]|\x18.|.",
    re.DOTALL,
)
# What may still become a longer key when more is typed.
_PARTIAL = re.compile(rb"\x1b(?:\[[0-9;?]*|O)?\Z|\x18\Z")
_PASTED, _PASTED_END = b"\x1b[200~", b"\x1b[201~"
_PASTE_ON, _PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l\r"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[@-~]|\x1b\][^\a\x1b]*(?:\a|\x1b\\)|[\x00-\x09\x0b-\x1f]")
_QUERY = 100  # choices that are listed without asking
_UNDO = 20  # characters typed in a row that are undone together


class _Accepted(Exception):
    """The line is complete; the argument is its text, or None at the end of input."""


class LineEditor:
    """Reads lines from a terminal, echoing and editing them in the way of readline's emacs mode."""

    def __init__(self, shell: State, tty: Tty) -> None:
        self.shell = shell
        self.process: Process = shell.process
        self.tty = tty
        self.history = shell.history
        self._screen = _Screen(self._show, tty)
        self._typed = b""
        self._kills: list[str] = []
        self._reset("")

    def _reset(self, prompt: str) -> None:
        self._prompt = prompt
        self._text, self._point = "", 0
        self._index = len(self.history)
        self._drafts: dict[int, str] = {}
        self._undo: list[tuple[str, int]] = []
        self._last: Callable[[], object] | None = None  # the command before this one
        self._changed_by_tab = True
        self._inserted = 0
        self._yanked = (0, 0)
        self._argument_of = 0
        self._count = ""
        self._pasting = False
        self._marked = False

    async def read(self, prompt: str) -> str | None:
        """The next line, or None at Ctrl-D on an empty one. Raises InterruptedError at Ctrl-C."""
        self._reset(prompt)
        self.tty.set_mode(canonical=False, echo=False)
        self.tty.on_resize = self._resized
        self._bracket_pastes()
        for name, size in (("LINES", self.tty.rows), ("COLUMNS", self.tty.columns)):
            if self.tty.sized and "r" not in self.shell.flags(name):
                self.shell.set(name, str(size))
        self._screen.start(prompt)
        try:
            while True:
                await self._run(await self._key())
        except _Accepted as accepted:
            line: str | None = accepted.args[0]
            if line is not None:
                self._screen.leave(self._text)
            elif self._pasting:
                self._show("\n")  # or the mode's end would put what is next over the prompt
            return line
        except InterruptedError:
            self._typed = b""
            self._show("^C")
            self._screen.to_last_row(self._text)
            raise
        finally:
            if self._typed:
                self.tty.unread(self._typed)  # for the program that runs next, or for the next line
                self._typed = b""
            self.tty.on_resize = None
            if self._pasting:
                self._show(_PASTE_OFF)
            self.tty.set_mode(canonical=True, echo=True)

    def _bracket_pastes(self) -> None:
        """Asks a client that has a screen for marks around what is pasted, so that a Tab in it completes nothing."""
        if self.tty.sized and not self._pasting:
            self._pasting = True
            self._show(_PASTE_ON)

    def _resized(self) -> None:
        self._bracket_pastes()
        self._screen.draw(self._text, self._point)

    def _show(self, text: str) -> None:
        self.process.write(2, text.encode("utf-8", "surrogateescape"))

    def _bell(self) -> None:
        self._show("\a")

    # -- keys ---------------------------------------------------------------------------------------------------------

    async def _key(self) -> bytes:
        """The next key, or printable characters that came together; b"" at the end of input."""
        while not self._typed or _is_partial(self._typed):
            data = await self.process.read(0)
            if not data:
                return b""
            self._typed += data
        match = _KEY.match(self._typed)
        key = match[0] if match is not None else self._typed[:1]
        if match is not None and match["text"]:
            key = key[: len(key) - _cut_off(key)] or key
        self._typed = self._typed[len(key) :]
        await self.process.cooperate()
        return key

    async def _run(self, key: bytes) -> None:
        """Does what a key stands for."""
        before = self._text, self._point
        if not key:
            raise _Accepted(None)
        if re.fullmatch(rb"\x1b[-0-9]", key) or (self._count and re.fullmatch(rb"[0-9]+", key)):
            self._count = (self._count + key[-1:].decode() if key[:1] == b"\x1b" else self._count + key.decode())[:6]
            self._screen.draw(self._text, self._point, prompt=f"(arg: {self._count}) ")
            return
        count, self._count = self._count, ""
        marked = None
        if key.startswith(_PASTED):
            pasted = key.removeprefix(_PASTED).removesuffix(_PASTED_END).decode("utf-8", "surrogateescape")
            self._insert(pasted.replace("\r\n", "\n").replace("\r", "\n"))
            command: Callable[[], object] | None = self._insert_text
            marked = (before[1], self._point)
        elif key[0] >= 0x20 and key[0] != 0x7F:
            text = key.decode("utf-8", "surrogateescape")
            for _ in range(_times(count)):
                if self._insert_text(text) and before == (self._text[: -len(text)], len(self._text) - len(text)):
                    self._screen.append(text)
                    before = self._text, self._point
            command = self._insert_text
        else:
            command = _COMMANDS.get(key.replace(b"\x1bO", b"\x1b[") if key.startswith(b"\x1bO") else key)
            command = command.__get__(self) if command is not None else None
            if command is None:
                self._bell()
            for _ in range(_times(count) if command is not None else 0):
                assert command is not None
                done = command()
                if isinstance(done, Awaitable):
                    await done
                await self.process.cooperate()
                if (self._text, self._point) == before and count:
                    break
        self._last = command
        if before != (self._text, self._point) or count or self._marked:
            self._screen.draw(self._text, self._point, marked=marked)
        self._marked = marked is not None

    def _after(self, *commands: Callable[..., object]) -> bool:
        """Whether the command before this one was one of these."""
        last = getattr(self._last, "__func__", self._last)
        return last is not None and last in commands

    # -- changing the line --------------------------------------------------------------------------------------------

    def _change(self, text: str, point: int) -> None:
        if text != self._text:
            self._undo.append((self._text, self._point))
            del self._undo[: -max(20, min(1000, _MOST_UNDO // (len(text) + 1)))]
            self._inserted = 0
        self._text, self._point = text, point

    def _insert(self, text: str) -> bool:
        if len(self._text) + len(text) > _LONGEST:
            self._bell()
            return False
        self._change(self._text[: self._point] + text + self._text[self._point :], self._point + len(text))
        return True

    def _insert_text(self, text: str = "") -> bool:
        together, known = self._inserted, len(self._undo)
        if not self._insert(text):
            return False
        if self._last == self._insert_text and 0 < together < _UNDO and len(self._undo) > known:
            self._undo.pop()  # undone together with what was typed before it
        else:
            together = 0
        self._inserted = together + len(text)
        return True

    def _kill(self, start: int, end: int, *, forward: bool) -> None:
        killed = self._text[start:end]
        if not killed:
            return
        if self._kills and self._after(*_KILLS):
            self._kills[-1] = self._kills[-1] + killed if forward else killed + self._kills[-1]
        else:
            self._kills = [*self._kills[-9:], killed]
        self._change(self._text[:start] + self._text[end:], start)

    def _word_end(self, at: int) -> int:
        while at < len(self._text) and not self._text[at].isalnum():
            at += 1
        while at < len(self._text) and self._text[at].isalnum():
            at += 1
        return at

    def _word_start(self, at: int) -> int:
        while at and not self._text[at - 1].isalnum():
            at -= 1
        while at and self._text[at - 1].isalnum():
            at -= 1
        return at

    def _next(self, at: int, step: int) -> int:
        """The cursor's place a character on, accents that go with it included."""
        at += step
        while 0 < at < len(self._text) and not _width(self._text[at]) and self._text[at] != "\n":
            at += step
        return max(0, min(at, len(self._text)))

    # -- commands -----------------------------------------------------------------------------------------------------

    def accept(self) -> None:
        raise _Accepted(self._text)

    def delete_or_end(self) -> None:
        if not self._text:
            raise _Accepted(None)
        self.delete()

    def delete(self) -> None:
        if self._point == len(self._text):
            self._bell()
        else:
            self._change(self._text[: self._point] + self._text[self._next(self._point, 1) :], self._point)

    def rub_out(self) -> None:
        if not self._point:
            self._bell()
        else:
            at = self._next(self._point, -1)
            self._change(self._text[:at] + self._text[self._point :], at)

    def to_start(self) -> None:
        self._point = 0

    def to_end(self) -> None:
        self._point = len(self._text)

    def back(self) -> None:
        if not self._point:
            self._bell()
        self._point = self._next(self._point, -1)

    def forward(self) -> None:
        if self._point == len(self._text):
            self._bell()
        self._point = self._next(self._point, 1)

    def back_word(self) -> None:
        self._point = self._word_start(self._point)

    def forward_word(self) -> None:
        self._point = self._word_end(self._point)

    def kill_line(self) -> None:
        self._kill(self._point, len(self._text), forward=True)

    def discard_line(self) -> None:
        if not self._point:
            self._bell()
        self._kill(0, self._point, forward=False)

    def rub_out_word(self) -> None:
        if not self._point:
            self._bell()
        kept = self._text[: self._point].rstrip(" \t")
        self._kill(re.search(r"[^ \t]*\Z", kept).start(), self._point, forward=False)  # type: ignore[union-attr]

    def kill_word(self) -> None:
        self._kill(self._point, self._word_end(self._point), forward=True)

    def back_kill_word(self) -> None:
        self._kill(self._word_start(self._point), self._point, forward=False)

    def delete_blanks(self) -> None:
        start = len(self._text[: self._point].rstrip(" \t"))
        rest = self._text[self._point :].lstrip(" \t")
        self._change(self._text[:start] + rest, start)

    def yank(self) -> None:
        if not self._kills:
            self._bell()
            return
        start = self._point
        if self._insert(self._kills[-1]):
            self._yanked = (start, self._point)

    def yank_pop(self) -> None:
        if not self._after(LineEditor.yank, LineEditor.yank_pop) or not self._kills:
            self._bell()
            return
        self._kills.insert(0, self._kills.pop())
        start, end = self._yanked
        self._change(self._text[:start] + self._kills[-1] + self._text[end:], start + len(self._kills[-1]))
        self._yanked = (start, self._point)

    def transpose(self) -> None:
        at = self._point
        if not at or len(self._text) < 2:
            self._bell()
            return
        at -= at == len(self._text)
        self._change(self._text[: at - 1] + self._text[at] + self._text[at - 1] + self._text[at + 1 :], at + 1)

    def transpose_words(self) -> None:
        end = self._word_end(self._point)
        second = self._word_start(end)
        first = self._word_start(second)
        if first == second:
            self._bell()
            return
        first_end = self._word_end(first)
        swapped = self._text[second:end] + self._text[first_end:second] + self._text[first:first_end]
        self._change(self._text[:first] + swapped + self._text[end:], end)

    def _case(self, change: Callable[[str], str]) -> None:
        end = self._word_end(self._point)
        changed = change(self._text[self._point : end])
        self._change(self._text[: self._point] + changed + self._text[end:], self._point + len(changed))

    def upper_word(self) -> None:
        self._case(str.upper)

    def lower_word(self) -> None:
        self._case(str.lower)

    def capitalize_word(self) -> None:
        self._case(lambda text: re.sub(r"\w+", lambda match: match[0].capitalize(), text))

    def undo(self) -> None:
        if not self._undo:
            self._bell()
            return
        self._text, self._point = self._undo.pop()
        self._inserted = 0

    def revert(self) -> None:
        if not self._undo:
            self._bell()
            return
        self._text = self._undo[0][0]
        self._undo.clear()
        self._point = len(self._text)

    def comment(self) -> None:
        self._change(f"#{self._text}", self._point + 1)
        self._screen.draw(self._text, self._point)
        raise _Accepted(self._text)

    def abort(self) -> None:
        self._bell()

    def ignore(self) -> None:
        """A key with no effect."""

    def clear_screen(self) -> None:
        self._show("\x1b[H\x1b[2J")
        self._screen.start(self._prompt)
        self._screen.draw(self._text, self._point)

    async def insert_next(self) -> None:
        """Takes the next key for itself, also if it is Tab or Escape."""
        while not self._typed:
            data = await self.process.read(0)
            if not data:
                raise _Accepted(None)
            self._typed = data
        key = self._typed[:1] if self._typed[0] < 0x80 else await self._key()
        self._typed = self._typed[1:] if self._typed[:1] == key and key[0] < 0x80 else self._typed
        self._insert(key.decode("utf-8", "surrogateescape"))

    # -- history ------------------------------------------------------------------------------------------------------

    def _go(self, index: int) -> None:
        self._drafts[self._index] = self._text
        self._index = index
        default = self.history[index] if index < len(self.history) else ""
        self._text = self._drafts.get(index, default)
        self._point = len(self._text)
        self._undo.clear()

    def earlier(self) -> None:
        if self._index:
            self._go(self._index - 1)
        else:
            self._bell()

    def later(self) -> None:
        if self._index < len(self.history):
            self._go(self._index + 1)
        else:
            self._bell()

    def earliest(self) -> None:
        if self._index:
            self._go(0)

    def latest(self) -> None:
        if self._index < len(self.history):
            self._go(len(self.history))

    def _with_start(self, step: int) -> None:
        start, point, at = self._text[: self._point], self._point, self._index + step
        while 0 <= at < len(self.history):
            if self.history[at].startswith(start) and self.history[at] != self._text:
                self._go(at)
                self._point = point if start else len(self._text)
                return
            at += step
        self._bell()

    def earlier_with_start(self) -> None:
        self._with_start(-1)

    def later_with_start(self) -> None:
        self._with_start(1)

    def last_argument(self) -> None:
        """Inserts the last word of the command before; typed again, that of the one before that."""
        again = self._after(LineEditor.last_argument)
        self._argument_of = self._argument_of - 1 if again else len(self.history) - 1
        if self._argument_of < 0:
            self._argument_of = 0
            self._bell()
            return
        start, end = self._yanked if again else (self._point, self._point)
        words = self.history[self._argument_of].split()
        word = words[-1] if words else ""
        self._change(self._text[:start] + word + self._text[end:], start + len(word))
        self._yanked = (start, self._point)

    async def search_back(self) -> None:
        await self._search(-1)

    async def search_forward(self) -> None:
        await self._search(1)

    async def _search(self, step: int) -> None:
        """Looks for what is typed in the history, key by key."""
        before = self._text, self._point, self._index
        wanted, failed = "", False

        def found(index: int, step: int) -> bool:
            nonlocal failed
            while 0 <= index <= len(self.history):
                line = self.history[index] if index < len(self.history) else before[0]
                if wanted in line and (index != self._index or line == self._text):
                    self._index, self._text, self._point = index, line, line.rfind(wanted)
                    failed = False
                    return True
                index += step
            failed = True
            self._bell()
            return False

        while True:
            name = f"{'failed ' if failed else ''}{'reverse-' if step < 0 else ''}i-search"
            marked = (self._point, self._point + len(wanted)) if wanted and not failed else None
            self._screen.draw(self._text, self._point, prompt=f"({name})`{wanted}': ", marked=marked)
            key = await self._key()
            if key in (b"\x12", b"\x13"):
                step = -1 if key == b"\x12" else 1
                wanted = wanted or self._searched
                at = self._point + step
                inside = self._text.rfind(wanted, 0, at + len(wanted)) if step < 0 else self._text.find(wanted, at)
                if wanted and inside >= 0 and at >= 0 and not failed:
                    self._point = inside
                elif wanted:
                    found(self._index + step, step)
            elif key in (b"\x7f", b"\b"):
                wanted = wanted[:-1]
                self._text, self._point, self._index = before
                if wanted:
                    found(self._index, step)
            elif key and (key[0] >= 0x20 and key[0] != 0x7F):
                text = key.decode("utf-8", "surrogateescape")
                wanted += text[0]
                self._typed = text[1:].encode("utf-8", "surrogateescape") + self._typed
                at = self._text.find(wanted, self._point) if step > 0 else self._text.rfind(wanted)
                if at >= 0 and not failed:
                    self._point = at
                else:
                    found(self._index, step)
            elif key == b"\x07":
                self._text, self._point, self._index = before
                self._screen.draw(self._text, self._point)
                return
            else:
                self._searched = wanted or self._searched
                self._undo.clear()
                self._screen.draw(self._text, self._point)
                if key != b"\x1b":
                    self._typed = key + self._typed
                return

    _searched = ""

    # -- completion ---------------------------------------------------------------------------------------------------

    async def complete(self) -> None:
        """Completes the word before the cursor; a second Tab that adds nothing lists the choices."""
        again = self._after(LineEditor.complete) and not self._changed_by_tab
        found = await completion(self.shell, self._text, self._point)
        before = self._text
        if found.choices and not again:
            text, rest = self._text[: found.start] + found.text, self._text[self._point :]
            end = found.end if not rest.startswith(found.end or "\0") else ""
            if len(text + rest) < _LONGEST:
                self._change(text + end + rest, len(text) + len(found.end))
        self._changed_by_tab = self._text != before
        if again and len(found.choices) > 1:
            await self._list(found)
        elif len(found.choices) != 1:
            self._bell()

    async def choices(self) -> None:
        """Lists the choices for the word before the cursor."""
        found = await completion(self.shell, self._text, self._point)
        if found.choices:
            await self._list(found)
        else:
            self._bell()

    async def insert_choices(self) -> None:
        """Inserts all choices for the word before the cursor."""
        found = await completion(self.shell, self._text, self._point)
        text = self._text[: found.start] + " ".join(found.words) + " "
        if found.words and len(text) < _LONGEST:
            self._change(text + self._text[self._point :], len(text))
        else:
            self._bell()

    async def _list(self, found: Completion) -> None:
        self._screen.leave(self._text)
        if len(found.choices) <= _QUERY or await self._agreed(len(found.choices)):
            await self._page(_columns(found.choices, self.tty.columns))
        self._screen.start(self._prompt.rpartition("\n")[2])
        self._screen.draw(self._text, self._point)

    async def _agreed(self, count: int) -> bool:
        self._show(f"Display all {count} possibilities? (y or n)")
        while True:
            key = await self._key()
            if key[:1] in (b"y", b"Y", b" ", b"n", b"N", b"\x7f", b"\x07", b""):
                self._show("\n")
                return key[:1] in (b"y", b"Y", b" ")
            self._bell()

    async def _page(self, lines: list[str]) -> None:
        room = max(self.tty.rows - 1, 1)
        for line in lines:
            if not room:
                self._show("--More--")
                key = b"?"
                while key[:1] not in b" \ty\n\rqn\x7f":
                    key = await self._key()
                self._show("\r\x1b[K")
                if key[:1] in (b"q", b"n", b"\x7f", b""):
                    return
                room = 1 if key[:1] in (b"\n", b"\r") else max(self.tty.rows - 1, 1)
            self._show(f"{line}\n")
            room -= 1
            await self.process.cooperate()


_E = LineEditor
_COMMANDS: dict[bytes, Callable[..., object]] = {
    b"\n": _E.accept,
    b"\r": _E.accept,
    b"\x00": _E.ignore,
    b"\x01": _E.to_start,
    b"\x1b[H": _E.to_start,
    b"\x1b[1~": _E.to_start,
    b"\x1b[7~": _E.to_start,
    b"\x05": _E.to_end,
    b"\x1b[F": _E.to_end,
    b"\x1b[4~": _E.to_end,
    b"\x1b[8~": _E.to_end,
    b"\x02": _E.back,
    b"\x1b[D": _E.back,
    b"\x06": _E.forward,
    b"\x1b[C": _E.forward,
    b"\x1bb": _E.back_word,
    b"\x1b[1;5D": _E.back_word,
    b"\x1b[1;3D": _E.back_word,
    b"\x1bf": _E.forward_word,
    b"\x1b[1;5C": _E.forward_word,
    b"\x1b[1;3C": _E.forward_word,
    b"\x04": _E.delete_or_end,
    b"\x1b[3~": _E.delete,
    b"\x7f": _E.rub_out,
    b"\b": _E.rub_out,
    b"\x0b": _E.kill_line,
    b"\x15": _E.discard_line,
    b"\x18\x7f": _E.discard_line,
    b"\x17": _E.rub_out_word,
    b"\x1bd": _E.kill_word,
    b"\x1b[3;5~": _E.kill_word,
    b"\x1b\x7f": _E.back_kill_word,
    b"\x1b\b": _E.back_kill_word,
    b"\x1b\\": _E.delete_blanks,
    b"\x19": _E.yank,
    b"\x1by": _E.yank_pop,
    b"\x14": _E.transpose,
    b"\x1bt": _E.transpose_words,
    b"\x1bu": _E.upper_word,
    b"\x1bl": _E.lower_word,
    b"\x1bc": _E.capitalize_word,
    b"\x1f": _E.undo,
    b"\x18\x15": _E.undo,
    b"\x1br": _E.revert,
    b"\x1b#": _E.comment,
    b"\x07": _E.abort,
    b"\x0c": _E.clear_screen,
    b"\x16": _E.insert_next,
    b"\x11": _E.insert_next,
    b"\x10": _E.earlier,
    b"\x1b[A": _E.earlier,
    b"\x0e": _E.later,
    b"\x1b[B": _E.later,
    b"\x1b<": _E.earliest,
    b"\x1b>": _E.latest,
    b"\x1b[5~": _E.earlier_with_start,
    b"\x1b[6~": _E.later_with_start,
    b"\x1b.": _E.last_argument,
    b"\x1b_": _E.last_argument,
    b"\x12": _E.search_back,
    b"\x13": _E.search_forward,
    b"\t": _E.complete,
    b"\x1b\x1b": _E.complete,
    b"\x1b?": _E.choices,
    b"\x1b=": _E.choices,
    b"\x1b*": _E.insert_choices,
    b"\x1b[2~": _E.ignore,
}
_KILLS = (_E.kill_line, _E.discard_line, _E.rub_out_word, _E.kill_word, _E.back_kill_word)


def _times(count: str) -> int:
    digits = count.replace("-", "")
    return min(int(digits or "1"), 1000) if count else 1


def _is_partial(data: bytes) -> bool:
    """Whether more has to be typed before it is clear what the first key is."""
    if len(data) >= _LONGEST:
        return False
    if data.startswith(_PASTED):
        return _PASTED_END not in data
    return _PARTIAL.match(data) is not None or _cut_off(data) == len(data)


def _cut_off(data: bytes) -> int:
    """How many bytes at the end are the beginning of a character of UTF-8."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return back if length > back else 0
    return 0


class _Screen:
    """Where a line that may take several rows is on the terminal, and where the cursor is in it."""

    def __init__(self, show: Callable[[str], None], tty: Tty) -> None:
        self._show = show
        self._tty = tty
        self._prompt = ""
        self._row = self._column = 0  # of the cursor, from the first row of the prompt's last line
        self._top = 0  # the first row that has not scrolled out of sight

    def start(self, prompt: str) -> None:
        """Shows a prompt on a new row."""
        self._prompt = prompt.rpartition("\n")[2]
        self._top = 0
        self._row, self._column = _advanced(0, 0, _ESCAPES.sub("", self._prompt), self._tty.columns)
        self._show(prompt + self._wrapped())

    def append(self, text: str) -> None:
        """Shows what was typed at the end of the line."""
        self._row, self._column = _advanced(self._row, self._column, text, self._tty.columns)
        self._show(text + self._wrapped())
        self._top = max(self._top, self._row - self._tty.rows + 1)

    def _wrapped(self) -> str:
        """Goes on to the next row if this one is full: a terminal does so only with the next character."""
        if self._column < self._tty.columns:
            return ""
        self._row, self._column = self._row + 1, 0
        return " \r"

    def draw(self, line: str, point: int, *, prompt: str | None = None, marked: tuple[int, int] | None = None) -> None:
        """Shows the line anew, with the cursor at `point`; `marked` is the part that stands out."""
        prompt = self._prompt if prompt is None else prompt
        columns, rows = self._tty.columns, max(self._tty.rows, 1)
        up = self._row - self._top
        out = "\r" + (f"\x1b[{up}A" if up > 0 else "")
        lead = _ESCAPES.sub("", prompt)
        whole = _visible(line, _size(lead))
        before = _visible(line[:point], _size(lead))
        after = whole[len(before) :]
        at = _advanced(*_advanced(0, 0, lead, columns), before, columns)
        end = _advanced(*at, after, columns)
        ends_full = end[1] == columns
        at, end = (place if place[1] < columns else (place[0] + 1, 0) for place in (at, end))
        if end[0] < rows:
            self._top = 0
            if marked is not None:
                start, stop = (len(_visible(line[:place], _size(lead))) for place in marked)
                shown = f"{whole[:start]}\x1b[7m{whole[start:stop]}\x1b[27m{whole[stop:]}"
            else:
                shown = whole
            out += prompt + shown.replace("\n", "\x1b[K\n") + (" \r" if ends_full else "") + "\x1b[J"
        else:  # only as many rows as there are, those around the cursor
            self._top = min(max(at[0] - rows + 1, 0), max(end[0] - rows + 1, 0))
            lines = _rows(lead + whole, columns)[self._top : self._top + rows]
            out += "\x1b[J" + "\n".join(text.rstrip("\n") for text in lines)
            end = (self._top + len(lines) - 1, 0)
        up = end[0] - at[0]
        out += (f"\x1b[{up}A" if up > 0 else "") + "\r" + (f"\x1b[{at[1]}C" if at[1] else "")
        self._row, self._column = at
        self._show(out)

    def leave(self, line: str) -> None:
        """Goes on to the row after the line."""
        self.to_last_row(line)
        self._show("\n")

    def to_last_row(self, line: str) -> None:
        columns, lead = self._tty.columns, _ESCAPES.sub("", self._prompt)
        end, column = _advanced(*_advanced(0, 0, lead, columns), _visible(line, _size(lead)), columns)
        down = min(end + (column == columns), self._top + self._tty.rows - 1) - self._row
        if down > 0:
            self._show(f"\x1b[{down}B")


def _visible(text: str, column: int = 0) -> str:
    """Text as it is shown from a column on: tabs as blanks, other control characters as `^X`."""
    if text.isprintable():
        return text
    out: list[str] = []
    for piece in re.split(r"([\x00-\x1f\x7f])", text):
        if piece == "\n":
            column = 0
        elif piece == "\t":
            piece = " " * (8 - column % 8)
        elif len(piece) == 1 and not piece.isprintable() and piece.isascii():
            piece = f"^{chr(ord(piece) ^ 64)}"
        column += _size(piece) if piece != "\n" else 0
        out.append(piece)
    return "".join(out)


def _size(text: str) -> int:
    """Columns that a text takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    if character.isascii():
        return 1
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _advanced(row: int, column: int, text: str, columns: int) -> tuple[int, int]:
    """Where the cursor is after text; in column `columns` it waits for the next character to go to the next row."""
    columns = max(columns, 1)
    if text.isascii() and "\n" not in text:
        end = column + len(text)
        return (row + (end - 1) // columns, (end - 1) % columns + 1) if end else (row, 0)
    for character in text:
        if character == "\n":
            row, column = row + 1, 0
            continue
        width = _width(character)
        if column + width > columns:
            row, column = row + 1, 0
        column += width
    return row, column


def _rows(text: str, columns: int) -> list[str]:
    """Text cut into rows."""
    rows, row, column = [""], 0, 0
    for character in text:
        before = row
        row, column = _advanced(row, column, character, columns)
        if row > before and character != "\n":
            rows.append("")
        rows[-1] += character
        if character == "\n":
            rows.append("")
    return rows


def _columns(names: list[str], width: int) -> list[str]:
    """Names in columns, from top to bottom."""
    wide = [_size(_visible(name)) for name in names]
    each = max(size - name.endswith("/") for name, size in zip(names, wide, strict=True)) + 2
    number = max(width // each, 1)
    if number > 1 and number * each == width:
        number -= 1
    rows = -(-len(names) // number)
    padded = [_visible(name) + " " * (each - size) for name, size in zip(names, wide, strict=True)]
    return ["".join(padded[row::rows]).rstrip() for row in range(rows)]
