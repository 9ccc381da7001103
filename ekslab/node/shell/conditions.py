"""Conditions: `test`, `[` and `[[`."""

from __future__ import annotations

import re

from ekslab.node import abi
from ekslab.node.inodes import Stat
from ekslab.node.patterns import PatternError, regex
from ekslab.node.shell import expansion
from ekslab.node.shell.arithmetic import evaluate
from ekslab.node.shell.errors import ExpansionError
from ekslab.node.shell.state import State, decimal
from ekslab.node.shell.syntax import Test
from ekslab.node.shell.variables import array

_BINARY_TESTS = frozenset(["=", "==", "!=", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef", "<", ">"])


def evaluate_test(shell: State, words: list[str]) -> bool:
    """The value of a test expression. Raises ExpansionError when it isn't one."""
    tester = _Tester(shell, list(words))
    if not words:
        return False
    if len(words) == 2 and words[0] != "!" and not re.fullmatch(r"-[a-zA-Z]", words[0]):
        raise ExpansionError(f"{words[0]}: {'unary operator expected' if shell.bash else 'unexpected operator'}")
    result = tester.either()
    if tester.words:
        raise ExpansionError("too many arguments" if shell.bash else f"{tester.words[0]}: unexpected operator")
    return result


class _Tester:
    def __init__(self, shell: State, words: list[str]) -> None:
        self.shell = shell
        self.words = words
        self.depth = 0

    def either(self) -> bool:
        result = self._both()
        while self.words[:1] == ["-o"]:
            self.words.pop(0)
            other = self._both()
            result = result or other
        return result

    def _both(self) -> bool:
        result = self._not()
        while self.words[:1] == ["-a"]:
            self.words.pop(0)
            other = self._not()
            result = result and other
        return result

    def _not(self) -> bool:
        words = self.words
        if len(words) >= 3 and words[1] in _BINARY_TESTS:
            return self._binary()
        negated = False
        while words[:1] == ["!"] and len(words) > 1 and not (len(words) >= 3 and words[1] in _BINARY_TESTS):
            words.pop(0)
            negated = not negated
        if negated:
            return not self._not()
        if words[:1] == ["("] and len(words) > 2:
            self.depth += 1
            if self.depth > 60:
                raise ExpansionError("embedded lab: test nests 60 parentheses at most in the lab's shell")
            words.pop(0)
            result = self.either()
            self.depth -= 1
            if words[:1] != [")"]:
                raise ExpansionError("closing paren expected")
            words.pop(0)
            return result
        if len(words) >= 2 and re.fullmatch(r"-[a-zA-Z]", words[0]) and words[0] not in ("-a", "-o"):
            return self._unary(words.pop(0), words.pop(0))
        if not words:
            raise ExpansionError("argument expected")
        return bool(words.pop(0))

    def _binary(self) -> bool:
        left, operator, right = self.words.pop(0), self.words.pop(0), self.words.pop(0)
        if operator in ("=", "=="):
            return left == right
        if operator == "!=":
            return left != right
        if operator in ("<", ">"):
            return left < right if operator == "<" else left > right
        if operator in ("-nt", "-ot", "-ef"):
            one, two = self._stat(left), self._stat(right)
            if operator == "-ef":
                return one is not None and two is not None and (one.dev, one.ino) == (two.dev, two.ino)
            newer, older = (one, two) if operator == "-nt" else (two, one)
            return newer is not None and (older is None or newer.mtime > older.mtime)
        numbers = []
        for word in (left, right):
            number = decimal(word)
            if number is None:
                raise ExpansionError(
                    f"{word}: integer expression expected" if self.shell.bash else f"Illegal number: {word}"
                )
            numbers.append(number)
        a, b = numbers
        return {"-eq": a == b, "-ne": a != b, "-lt": a < b, "-le": a <= b, "-gt": a > b, "-ge": a >= b}[operator]

    def _stat(self, path: str, *, follow: bool = True) -> Stat | None:
        try:
            return self.shell.process.stat(path) if follow else self.shell.process.lstat(path)
        except OSError:
            return None

    def _unary(self, operator: str, word: str) -> bool:
        process = self.shell.process
        if operator == "-n":
            return bool(word)
        if operator == "-z":
            return not word
        if operator == "-t":
            return bool(re.fullmatch(r"[0-9]{1,6}", word)) and process.isatty(int(word))
        if operator == "-v":
            match = re.fullmatch(r"(\w+)\[(.*)\]", word, re.DOTALL)
            if match is not None and match[2] in ("@", "*"):
                return bool(self.shell.elements(match[1]))
            return (
                bool(word) and self.shell.value_of(match[1] if match else word, match[2] if match else None) is not None
            )
        if operator == "-o":
            return bool(self.shell.options.get(word))
        if operator == "-R":
            known = self.shell.variables.get(word)
            return known is not None and "n" in known.flags
        if operator in ("-r", "-w", "-x"):
            return process.access(word, {"-r": abi.R_OK, "-w": abi.W_OK, "-x": abi.X_OK}[operator])
        if operator in ("-h", "-L"):
            link = self._stat(word, follow=False)
            return link is not None and link.is_symlink
        found = self._stat(word)
        if found is None:
            if operator not in ["-a", "-e", "-f", "-d", "-s", "-p", "-S", "-c", "-b", "-u", "-g", "-k", "-O", "-G"]:
                raise ExpansionError(f"{operator}: unary operator expected")
            return False
        kind = found.mode & 0o170000
        checks = {
            "-a": True,
            "-e": True,
            "-f": found.is_file,
            "-d": found.is_dir,
            "-s": found.size > 0,
            "-p": kind == abi.S_IFIFO,
            "-S": kind == abi.S_IFSOCK,
            "-c": found.is_device,
            "-b": False,
            "-u": bool(found.mode & 0o4000),
            "-g": bool(found.mode & 0o2000),
            "-k": bool(found.mode & 0o1000),
            "-O": found.uid == process.euid,
            "-G": found.gid == process.egid,
        }
        if operator not in checks:
            raise ExpansionError(f"{operator}: unary operator expected")
        return checks[operator]


class Conditions(State):
    """A shell's `[[ ]]`."""

    async def _double_bracket(self, command: Test) -> int:
        try:
            return 0 if await self._holds(command.tree) else 1
        except PatternError as exc:
            self.complain(
                f"[[: {exc}" if str(exc).startswith("embedded lab") else f"[[: invalid regular expression: {exc}"
            )
            return 2
        except ExpansionError as exc:
            self.complain(f"[[: {exc}")
            return 2

    async def _holds(self, tree: tuple[object, ...]) -> bool:
        kind, *rest = tree
        await self.process.cooperate()
        if kind in ("and", "or"):
            # A long chain leans to the left: it is walked, not recursed into.
            chain = []
            while tree[0] == kind:
                chain.append(tree[2])
                tree = tree[1]  # type: ignore[assignment]
            chain.append(tree)
            for each in reversed(chain):
                if await self._holds(each) != (kind == "and"):  # type: ignore[arg-type]
                    return kind == "or"
            return kind == "and"
        if kind == "not":
            return not await self._holds(rest[0])  # type: ignore[arg-type]
        if kind == "unary":
            operator, word = rest
            return evaluate_test(self, [str(operator), await expansion.text(self, word)])  # type: ignore[arg-type]
        operator, left_word, right_word = rest
        left = await expansion.text(self, left_word)  # type: ignore[arg-type]
        if operator in ("==", "=", "!="):
            given = await expansion.pattern(self, right_word)  # type: ignore[arg-type]
            return expansion.matches(self, left, given) == (operator != "!=")
        if operator == "=~":
            return self._searched(left, await expansion.regex(self, right_word))  # type: ignore[arg-type]
        right = await expansion.text(self, right_word)  # type: ignore[arg-type]
        if operator in ("<", ">"):
            return left < right if operator == "<" else left > right
        if str(operator) in ("-nt", "-ot", "-ef"):
            return evaluate_test(self, [left, str(operator), right])
        a, b = evaluate(self, left), evaluate(self, right)
        return {"-eq": a == b, "-ne": a != b, "-lt": a < b, "-le": a <= b, "-gt": a > b, "-ge": a >= b}[str(operator)]

    def _searched(self, text: str, pattern: str) -> bool:
        found = regex(pattern, ignore_case=self.shopt.get("nocasematch", False)).search(text)
        if found is None:
            self.variables["BASH_REMATCH"] = array([])
            return False
        self.variables["BASH_REMATCH"] = array(found.group(number) or "" for number in range(found.groups + 1))
        return True
