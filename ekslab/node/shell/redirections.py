"""Redirections: `>`, `<`, `2>&1`, here documents, /dev/tcp; made, and undone after the command."""

from __future__ import annotations

import re
import socket

from ekslab.node import abi
from ekslab.node.shell import expansion
from ekslab.node.shell.errors import ExpansionError
from ekslab.node.shell.state import State, integer
from ekslab.node.shell.syntax import Redirect, Text, Word


class Redirections(State):
    """A shell's redirections."""

    async def _redirect(self, redirects: tuple[Redirect, ...], *, keep: bool = False) -> list[tuple[int, int | None]]:
        """Makes redirections; what `_restore` needs to undo them (nothing with `keep`)."""
        saved: list[tuple[int, int | None]] = []
        try:
            for redirect in redirects:
                await self._one_redirect(redirect, saved, keep)
        except BaseException:
            self._restore(saved)
            raise
        return saved

    def _save(self, fd: int, saved: list[tuple[int, int | None]], keep: bool) -> None:
        if not keep:
            copy = self.process.dup(fd, 10) if fd in self.process.fds else None
            if copy is not None:
                self._own_copies.add(copy)
            saved.append((fd, copy))

    async def _one_redirect(self, redirect: Redirect, saved: list[tuple[int, int | None]], keep: bool) -> None:
        process, op = self.process, redirect.op
        fd = redirect.fd if redirect.fd is not None else 0 if op.startswith("<") else 1
        if fd > 1023:
            raise ExpansionError(f"{fd}: Bad file descriptor")
        if redirect.variable:
            if op in ("<&", ">&") and await expansion.text(self, redirect.target) == "-":
                number = integer(self.get(redirect.variable))
                if number in process.fds:
                    process.close(number)
                return
            fd = 10
            while fd in process.fds:
                fd += 1
            self.set(redirect.variable, str(fd))
            keep = True
        if op in ("<<", "<<<"):
            word = redirect.document.body if redirect.document is not None else redirect.target
            text = await expansion.text(self, word) + ("\n" if op == "<<<" else "")
            reading, writing = process.pipe()
            process.write(writing, text.encode("utf-8", "surrogateescape"))
            process.close(writing)
            self._install(reading, fd, saved, keep)
            return
        target = await self._target(redirect.target)
        if op in ("<&", ">&") and (target.rstrip("-").isdigit() or target == "-"):
            self._save(fd, saved, keep)
            if target == "-":
                if fd in process.fds:
                    process.close(fd)
                return
            source = int(target.rstrip("-")[:9])
            if source not in process.fds:
                raise ExpansionError(f"{target}: Bad file descriptor")
            process.dup2(source, fd)
            if target.endswith("-") and source != fd:
                process.close(source)
            return
        if op in ("<&", ">&") and (not self.bash or op == "<&" or redirect.fd is not None):
            raise ExpansionError(f"{target}: ambiguous redirect" if self.bash else "Bad fd number")
        both = op in ("&>", ">&", "&>>")
        flags = {
            "<": abi.O_RDONLY,
            "<>": abi.O_RDWR | abi.O_CREAT,
            ">>": abi.O_WRONLY | abi.O_CREAT | abi.O_APPEND,
            "&>>": abi.O_WRONLY | abi.O_CREAT | abi.O_APPEND,
        }.get(op, abi.O_WRONLY | abi.O_CREAT | abi.O_TRUNC)
        if op == ">" and self.options.get("noclobber") and process.isfile(target):
            raise ExpansionError(
                f"cannot create {target}: File exists" if not self.bash else f"{target}: cannot overwrite existing file"
            )
        connection = re.fullmatch(r"/dev/(tcp|udp)/([^/]+)/(\d{1,5})", target) if self.bash else None
        if connection is not None and connection[1] == "udp":
            raise ExpansionError("embedded lab: the lab's network has no UDP (/dev/tcp works)")
        try:
            opened = (
                await process.connect(connection[2], int(connection[3]))
                if connection
                else process.open(target, flags, 0o666)
            )
        except OSError as exc:
            if connection is not None:
                unknown, why = isinstance(exc, socket.gaierror), exc.strerror or str(exc)
                if unknown:
                    self.complain(f"{connection[2]}: Name or service not known")
                else:
                    self.process.stderr.write(f"{self.arg0}: connect: {why}\n")
                raise ExpansionError(f"{target}: {'Invalid argument' if unknown else why}") from None
            raise _redirect_error(exc, target, op, self.bash) from None
        self._install(opened, fd, saved, keep)
        if both:
            self._save(2, saved, keep)
            process.dup2(1, 2)

    async def _target(self, word: Word) -> str:
        """The one name that a redirection's word stands for."""
        if not self.bash or all(isinstance(part, Text) and part.quoted for part in word):
            return await expansion.text(self, word)
        names = await expansion.fields(self, [word])
        if len(names) != 1:
            raise ExpansionError(f"{await expansion.text(self, word)}: ambiguous redirect")
        return names[0]

    def _install(self, opened: int, fd: int, saved: list[tuple[int, int | None]], keep: bool) -> None:
        """Moves a fresh descriptor to where it belongs."""
        if opened == fd:
            if not keep:
                saved.append((fd, None))
            return
        self._save(fd, saved, keep)
        self.process.dup2(opened, fd)
        self.process.close(opened)

    def _restore(self, saved: list[tuple[int, int | None]]) -> None:
        process = self.process
        for fd, copy in reversed(saved):
            if copy is None:
                if fd in process.fds:
                    process.close(fd)
            elif copy in process.fds:
                process.dup2(copy, fd)
                process.close(copy)
                self._own_copies.discard(copy)

    def _close_pipes(self, kept: int) -> None:
        """Closes the pipes of process substitutions that were made since there were `kept` of them."""
        while len(self.pipes) > kept:
            fd = self.pipes.pop()
            if fd in self.process.fds:
                self.process.close(fd)


def message(exc: Exception, bash: bool) -> str:
    if isinstance(exc, OSError):
        return f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror or str(exc)
    return str(exc)


def _redirect_error(exc: OSError, target: str, op: str, bash: bool) -> Exception:
    why = exc.strerror or str(exc)
    if bash:
        return ExpansionError(f"{target}: {why}")
    absent = why == "No such file or directory"
    if op == "<":
        return ExpansionError(f"cannot open {target}: {'No such file' if absent else why}")
    return ExpansionError(f"cannot create {target}: {'Directory nonexistent' if absent else why}")
