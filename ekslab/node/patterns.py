"""Patterns that attendees write, matched in bounded time: POSIX and Perl regular expressions, and shell globs.

RE2 matches whatever it can, in time linear in the text. Back-references, look-around and `!(glob)` go to a small
matcher of the lab's own, which counts its steps and gives up with a message. Python's `re` never sees a pattern from
outside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Generic, TypeVar

AnyText = TypeVar("AnyText", str, bytes)
_Node = tuple[Any, ...]

_STEPS = 150_000  # of the lab's own matcher, for one search: about 0.05 s
_WORK = 6_000_000  # RE2's instructions times characters, for one search: at worst about 0.1 s
_LONGEST_PATTERN = 16_384
_DEPTH = 60
_PROGRAM = 20_000
_MOST_REPEATS = 32_767  # RE_DUP_MAX
_RE2_REPEATS = 1_000
_KEPT = 24  # compiled patterns; each may take some megabytes
_RE2_MEMORY = 2 << 20


class PatternError(Exception):
    """A pattern that isn't valid, in the C library's words, or one that takes more than the lab gives it."""


def _too_much(what: str) -> PatternError:
    return PatternError(f"embedded lab: {what}")


# -- texts that RE2 can't take ----------------------------------------------------------------------------------------

_SURROGATES = {code: 0x10FF00 + (code - 0xDC80) for code in range(0xDC80, 0xDD00)}


def _plain(text: AnyText) -> AnyText:
    """A text whose undecodable bytes (surrogates) are characters that can be encoded; no index changes."""
    if isinstance(text, bytes) or text.isascii():
        return text
    return text.translate(_SURROGATES)


# -- character sets ---------------------------------------------------------------------------------------------------

_CLASSES: dict[str, list[tuple[int, int]]] = {
    "alpha": [(65, 90), (97, 122)],
    "digit": [(48, 57)],
    "alnum": [(48, 57), (65, 90), (97, 122)],
    "upper": [(65, 90)],
    "lower": [(97, 122)],
    "space": [(9, 13), (32, 32)],
    "blank": [(9, 9), (32, 32)],
    "xdigit": [(48, 57), (65, 70), (97, 102)],
    "punct": [(33, 47), (58, 64), (91, 96), (123, 126)],
    "print": [(32, 126)],
    "graph": [(33, 126)],
    "cntrl": [(0, 31), (127, 127)],
}
_WORD = [(48, 57), (65, 90), (95, 95), (97, 122)]
_SHORT = {"w": _WORD, "d": _CLASSES["digit"], "s": _CLASSES["space"]}


def _bracket(pattern: str, start: int, *, escapes: bool, shell: bool) -> tuple[_Node, int] | None:
    """The set of a bracket expression that starts at `[`, and where it ends; None when it isn't closed."""
    at = start + 1
    negated = pattern[at : at + 1] == "^" or (shell and pattern[at : at + 1] == "!")
    at += negated
    ranges: list[tuple[int, int]] = []
    first = True
    while True:
        character = pattern[at : at + 1]
        if not character:
            return None
        if character == "]" and not first:
            return ("set", negated, tuple(ranges)), at + 1
        first = False
        if character == "[" and pattern[at + 1 : at + 2] in (":", ".", "="):
            kind = pattern[at + 1]
            end = pattern.find(kind + "]", at + 2)
            if end < 0:
                if shell:
                    ranges.append((ord("["), ord("[")))
                    at += 1
                    continue
                return None
            name = pattern[at + 2 : end]
            at = end + 2
            if kind == ":":
                if name not in _CLASSES:
                    if shell:
                        continue
                    raise PatternError("Invalid character class name")
                ranges += _CLASSES[name]
                continue
            if len(name) != 1:
                raise PatternError("Invalid collation character")
            low = name
        elif escapes and character == "\\" and at + 1 < len(pattern):
            low = pattern[at + 1]
            at += 2
            if not shell and low in _SHORT:
                ranges += _SHORT[low]
                continue
            low = low if shell else _ESCAPED.get(low, low)
        else:
            low = character
            at += 1
        high = low
        if pattern[at : at + 1] == "-" and pattern[at + 1 : at + 2] not in ("]", ""):
            high = pattern[at + 1]
            at += 2
            if escapes and high == "\\" and at < len(pattern):
                high = pattern[at]
                at += 1
            elif high == "[" and pattern[at : at + 1] in (".", "="):
                end = pattern.find(pattern[at] + "]", at + 1)
                if end != at + 2:
                    return None
                high = pattern[at + 1]
                at = end + 2
            if high < low:
                if shell:
                    continue
                raise PatternError("Invalid range end")
        ranges.append((ord(low), ord(high)))


_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a", "e": "\x1b", "0": "\0"}

# -- regular expressions ----------------------------------------------------------------------------------------------


class _Parser:
    """A regular expression's tree. `dialect` is basic, extended, emacs (find's own) or perl."""

    def __init__(self, pattern: str, dialect: str) -> None:
        self.pattern = pattern
        self.perl = dialect == "perl"
        self.extended = dialect in ("extended", "perl")
        self.emacs = dialect == "emacs"
        self.at = 0
        self.depth = 0
        self.groups = 0
        self.closed: set[int] = set()
        self.names: dict[str, int] = {}
        self.ignore_case = False

    def parse(self) -> _Node:
        tree = self._either()
        if self.at < len(self.pattern):
            raise PatternError("Unmatched ) or \\)")
        return tree

    def _operator(self, symbol: str) -> bool:
        """Whether `symbol` is an operator at the current position: bare, or with a backslash in basic expressions."""
        return self.pattern.startswith(symbol if self.extended else "\\" + symbol, self.at)

    def _take(self, symbol: str) -> bool:
        if not self._operator(symbol):
            return False
        self.at += len(symbol) + (not self.extended)
        return True

    def _either(self) -> _Node:
        self.depth += 1
        if self.depth > _DEPTH:
            raise _too_much(f"regular expressions nest {_DEPTH} groups at most in the lab")
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        self.depth -= 1
        return ("alt", branches) if len(branches) > 1 else branches[0]

    def _sequence(self) -> _Node:
        items: list[_Node] = []
        while self.at < len(self.pattern):
            if self._operator("|") or (self._operator(")") and (self.depth > 1 or not self.extended or self.perl)):
                break
            item = self._atom(not items)
            if item is not None:
                items.append(self._repeated(item))
        return ("cat", items)

    def _atom(self, first: bool) -> _Node | None:
        character = self.pattern[self.at]
        if self._take("("):
            return self._group()
        self.at += 1
        if character == "\\":
            return self._escape()
        if character == "[":
            found = _bracket(self.pattern, self.at - 1, escapes=self.perl, shell=False)
            if found is None:
                raise PatternError("Unmatched [, [^, [:, [., or [=")
            self.at = found[1]
            return found[0]
        if character == ".":
            return ("any",)
        if character == "^" and (self.extended or first):
            return ("assert", "^")
        if character == "$" and (
            self.extended or self.at == len(self.pattern) or self.pattern[self.at : self.at + 2] in ("\\)", "\\|")
        ):
            return ("assert", "$")
        if character == "*" and self.extended and first:
            if self.perl:
                raise PatternError("quantifier does not follow a repeatable item")
            return None  # GNU's extended expressions take a star at the start for nothing
        if character in "+?" and first and self.perl:
            raise PatternError("quantifier does not follow a repeatable item")
        if character in "+?" and first and self.extended:
            return None
        return ("char", character)

    def _group(self) -> _Node:
        if self.perl and self.pattern.startswith("?", self.at):
            return self._perl_group()
        self.groups += 1
        number = self.groups
        inner = self._either()
        if not self._take(")"):
            raise PatternError("Unmatched ( or \\(")
        self.closed.add(number)
        return ("group", number, inner)

    def _perl_group(self) -> _Node:
        text = self.pattern
        for opening, make in (
            ("?:", lambda inner: inner),
            ("?=", lambda inner: ("look", True, False, inner)),
            ("?!", lambda inner: ("look", True, True, inner)),
            ("?<=", lambda inner: ("look", False, False, inner)),
            ("?<!", lambda inner: ("look", False, True, inner)),
        ):
            if text.startswith(opening, self.at):
                self.at += len(opening)
                inner = self._either()
                if not self._take(")"):
                    raise PatternError("missing closing parenthesis")
                made: _Node = make(inner)
                return made
        if text.startswith("?i)", self.at):
            self.at += 3
            self.ignore_case = True
            return ("cat", [])
        if text.startswith(("?<", "?P<"), self.at):
            end = text.find(">", self.at)
            name = text[text.index("<", self.at) + 1 : end] if end > 0 else ""
            if name.isidentifier():
                self.at = end + 1
                self.groups += 1
                number = self.names[name] = self.groups
                inner = self._either()
                if not self._take(")"):
                    raise PatternError("missing closing parenthesis")
                self.closed.add(number)
                return ("group", number, inner)
        raise _too_much(f"the lab's regular expressions don't have ({text[self.at : self.at + 3]}")

    def _escape(self) -> _Node:
        if self.at >= len(self.pattern):
            raise PatternError("Trailing backslash")
        character = self.pattern[self.at]
        self.at += 1
        if character.isdigit() and character != "0":
            number = int(character)
            if number not in self.closed:
                raise PatternError(
                    "Invalid back reference" if not self.perl else "reference to non-existent subpattern"
                )
            return ("ref", number)
        if character in "wW" or (self.perl and character in "dDsS") or character in "sS":
            return ("set", character.isupper(), tuple(_SHORT[character.lower()]))
        if character in "bB":
            return ("assert", character)
        if not self.perl and character in "<>":
            return ("assert", character)
        if not self.perl and character in "`'":
            return ("assert", {"`": "A", "'": "z"}[character])
        if self.perl:
            if character in "Az":
                return ("assert", character)
            if character == "Z":
                return ("assert", "$")
            if character == "K":
                return ("keep",)
            if character in _ESCAPED:
                return ("char", _ESCAPED[character])
            if character == "x":
                return self._hexadecimal()
            if character.isalpha():
                raise _too_much(f"the lab's regular expressions don't have \\{character}")
        return ("char", character)

    def _hexadecimal(self) -> _Node:
        text, end = self.pattern, self.at
        if text.startswith("{", self.at) and (close := text.find("}", self.at)) > 0:
            digits, end = text[self.at + 1 : close], close + 1
        else:
            while end < len(text) and end < self.at + 2 and text[end] in "0123456789abcdefABCDEF":
                end += 1
            digits = text[self.at : end]
        self.at = end
        try:
            return ("char", chr(int(digits or "0", 16)))
        except (ValueError, OverflowError):
            raise PatternError("character code point value in \\x{} or \\o{} is too large") from None

    def _repeated(self, item: _Node) -> _Node:
        while self.at < len(self.pattern):
            bounds: tuple[int, int | None]
            if self.pattern[self.at] == "*":
                self.at += 1
                bounds = (0, None)
            elif self._quantifier("+"):
                bounds = (1, None)
            elif self._quantifier("?"):
                bounds = (0, 1)
            elif self._operator("{"):
                interval = self._interval()
                if interval is None:
                    return item
                bounds = interval
            else:
                return item
            greedy = True
            if self.perl and self.pattern.startswith("?", self.at):
                self.at += 1
                greedy = False
            elif self.perl and self.pattern.startswith("+", self.at):
                raise _too_much("the lab's regular expressions don't have possessive quantifiers")
            if item[0] == "assert" and not self.extended and item[1] == "^":
                return ("cat", [item, ("char", "*")])  # a star after the anchor stands for itself
            item = ("rep", item, *bounds, greedy)
        return item

    def _quantifier(self, symbol: str) -> bool:
        if self.emacs and self.pattern.startswith(symbol, self.at):
            self.at += 1
            return True
        return self._take(symbol)

    def _interval(self) -> tuple[int, int | None] | None:
        start = self.at
        opening = 1 if self.extended else 2
        close = self.pattern.find("}" if self.extended else "\\}", start)
        low, comma, high = self.pattern[start + opening : close].partition(",") if close > 0 else ("", "", "")
        good = (low.isdigit() or (comma and not low)) and (not high or high.isdigit()) and low.isascii()
        if close < 0 or not good or (self.perl and not low):
            if self.extended:
                return None  # a brace that stands for itself
            raise PatternError("Unmatched \\{" if close < 0 else "Invalid content of \\{\\}")
        self.at = close + (1 if self.extended else 2)
        least = int(low or "0") if len(low) < 8 else _MOST_REPEATS + 1
        most = (int(high) if len(high) < 8 else _MOST_REPEATS + 1) if high else None if comma else least
        if least > _MOST_REPEATS or (most or 0) > _MOST_REPEATS:
            raise PatternError("Regular expression too big")
        if most is not None and most < least:
            raise PatternError("Invalid content of \\{\\}")
        return least, most


def _parse(pattern: str, dialect: str) -> tuple[_Node, _Parser]:
    if len(pattern) > _LONGEST_PATTERN:
        raise _too_much(f"patterns have {_LONGEST_PATTERN} characters at most in the lab")
    parser = _Parser(pattern, dialect)
    return parser.parse(), parser


def _width(node: _Node) -> int | None:
    """How many characters a tree matches, if that is a fixed number."""
    kind = node[0]
    if kind in ("char", "any", "set"):
        return 1
    if kind in ("assert", "look", "keep"):
        return 0
    if kind == "cat":
        widths = [_width(item) for item in node[1]]
        return None if None in widths else sum(width or 0 for width in widths)
    if kind == "alt":
        each = {_width(item) for item in node[1]}
        return each.pop() if len(each) == 1 else None
    if kind == "group":
        return _width(node[2])
    if kind == "rep" and node[2] == node[3]:
        width = _width(node[1])
        return None if width is None else width * int(node[2])
    return None


def _is_word(code: int) -> bool:
    return any(low <= code <= high for low, high in _WORD)


def _edge(node: _Node, index: int) -> bool:
    """Whether what a tree starts (0) or ends (-1) with is a character of words for certain."""
    kind = node[0]
    if kind == "char":
        return _is_word(ord(node[1]))
    if kind == "set":
        return not node[1] and all(_is_word(low) and _is_word(high) and high - low < 27 for low, high in node[2])
    if kind == "cat":
        return bool(node[1]) and _edge(node[1][index], index)
    if kind == "alt":
        return all(_edge(item, index) for item in node[1])
    if kind == "group":
        return _edge(node[2], index)
    return kind == "rep" and node[2] > 0 and _edge(node[1], index)


def _linear(node: _Node) -> bool:
    """Whether RE2 can match a tree."""
    kind = node[0]
    if kind in ("ref", "look", "keep", "not"):
        return False
    if kind == "cat":
        items = node[1]
        for index, item in enumerate(items):
            if item == ("assert", "<") and not (index + 1 < len(items) and _edge(items[index + 1], 0)):
                return False
            if item == ("assert", ">") and not (index and _edge(items[index - 1], -1)):
                return False
        return all(_linear(item) for item in items)
    if kind == "alt":
        return all(_linear(item) for item in node[1])
    if kind == "group":
        return _linear(node[2])
    if kind == "rep":
        return _linear(node[1])
    return True


def _literal(node: _Node) -> bool:
    """Whether a tree is a text and nothing else: RE2 needs as many states as it has characters, whatever comes."""
    return node[0] == "char" or (node[0] == "cat" and all(_literal(item) for item in node[1]))


_ASSERTIONS = {
    "^": "^", "$": "$", "b": r"\b", "B": r"\B", "<": r"\b", ">": r"\b", "A": r"\A", "z": r"\z",
}  # fmt: skip


def _re2(node: _Node) -> str:
    """A tree as RE2 writes it."""
    kind = node[0]
    if kind == "char":
        return _re2_character(ord(node[1]))
    if kind == "any":
        return "."
    if kind == "set":
        if not node[2]:
            return r"[\x00-\x{10ffff}]" if node[1] else r"[^\x00-\x{10ffff}]"
        inside = "".join(f"{_re2_character(low)}-{_re2_character(high)}" for low, high in node[2])
        return f"[{'^' if node[1] else ''}{inside}]"
    if kind == "cat":
        return "".join(_re2(item) for item in node[1])
    if kind == "alt":
        return f"(?:{'|'.join(_re2(item) for item in node[1])})"
    if kind == "group":
        return f"({_re2(node[2])})"
    if kind == "rep":
        _, inner, least, most, greedy = node
        if max(least, most or 0) > _RE2_REPEATS:
            raise _too_much(f"the lab's regular expressions repeat {_RE2_REPEATS} times at most")
        times = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get(
            (least, most), f"{{{least},{'' if most is None else most}}}"
        )
        return f"(?:{_re2(inner)}){times}{'' if greedy else '?'}"
    return _ASSERTIONS[node[1]]


def _re2_character(code: int) -> str:
    if 48 <= code <= 57 or 65 <= code <= 90 or 97 <= code <= 122:
        return chr(code)
    return rf"\x{{{_SURROGATES.get(code, code):x}}}"


# -- the lab's own matcher --------------------------------------------------------------------------------------------

_Code = list[tuple[Any, ...]]


def _assemble(node: _Node, code: _Code, ignore_case: bool) -> None:
    """A tree as a program of a machine that goes back where it had a choice."""
    if len(code) > _PROGRAM:
        raise PatternError("Regular expression too big")
    kind = node[0]
    if kind == "char":
        code.append(("set", _character_test(node[1], ignore_case)))
    elif kind == "any":
        code.append(("set", lambda character: True))
    elif kind == "set":
        code.append(("set", _set_test(node[1], node[2], ignore_case)))
    elif kind == "cat":
        for item in node[1]:
            _assemble(item, code, ignore_case)
    elif kind == "alt":
        leaving = []
        for index, item in enumerate(node[1]):
            if index < len(node[1]) - 1:
                split = len(code)
                code.append(())
                _assemble(item, code, ignore_case)
                leaving.append(len(code))
                code.append(())
                code[split] = ("split", split + 1, len(code))
            else:
                _assemble(item, code, ignore_case)
        for at in leaving:
            code[at] = ("jump", len(code))
    elif kind == "group":
        code.append(("save", 2 * node[1]))
        _assemble(node[2], code, ignore_case)
        code.append(("save", 2 * node[1] + 1))
    elif kind == "rep":
        _assemble_repeat(node, code, ignore_case)
    elif kind == "look":
        inner: _Code = []
        _assemble(node[3], inner, ignore_case)
        inner.append(("match",))
        width = 0 if node[1] else _width(node[3])
        if width is None:
            raise PatternError("lookbehind assertion is not fixed length")
        code.append(("look", node[2], width, inner))
    else:
        code.append(node)


def _assemble_repeat(node: _Node, code: _Code, ignore_case: bool) -> None:
    _, inner, least, most, greedy = node
    for _ in range(least):
        _assemble(inner, code, ignore_case)
    if most is None:
        start = len(code)
        code.append(())
        code.append(("mark", start))
        _assemble(inner, code, ignore_case)
        code.append(("moved", start))
        code.append(("jump", start))
        code[start] = ("split", start + 1, len(code)) if greedy else ("split", len(code), start + 1)
        return
    splits = []
    for _ in range(most - least):
        splits.append(len(code))
        code.append(())
        _assemble(inner, code, ignore_case)
    for at in splits:
        code[at] = ("split", at + 1, len(code)) if greedy else ("split", len(code), at + 1)


def _character_test(wanted: str, ignore_case: bool) -> Callable[[str], bool]:
    if ignore_case:
        folded = wanted.lower()
        return lambda character: character.lower() == folded
    return lambda character: character == wanted


def _set_test(negated: bool, ranges: tuple[tuple[int, int], ...], ignore_case: bool) -> Callable[[str], bool]:
    def test(character: str) -> bool:
        codes = {ord(character)}
        if ignore_case:
            codes = {ord(each) for each in (character.lower(), character.upper()) if len(each) == 1}
        return any(low <= code <= high for code in codes for low, high in ranges) != negated

    return test


class _Machine:
    """Runs an assembled program on one text, as long as there are steps left."""

    def __init__(self, text: str, groups: int) -> None:
        self.text = text
        self.groups = groups
        self.left = _STEPS

    def run(self, code: _Code, start: int, spans: dict[int, int]) -> int | None:
        """Where a match that begins at `start` ends; its groups are left in `spans`."""
        text, size = self.text, len(self.text)
        pc, at = 0, start
        stack: list[tuple[int, int, dict[int, int]]] = []
        while True:
            self.left -= 1
            if self.left < 0:
                raise _too_much(
                    f"this pattern takes more than the {_STEPS} steps that the lab gives to back-references, "
                    "look-around and !(...)"
                )
            operation = code[pc]
            kind = operation[0]
            good = True
            pc += 1
            if kind == "set":
                good = at < size and operation[1](text[at])
                at += 1
            elif kind == "split":
                stack.append((operation[2], at, dict(spans)))
                if len(stack) > _STEPS:
                    self.left = 0
                pc = operation[1]
            elif kind == "jump":
                pc = operation[1]
            elif kind == "save":
                spans[operation[1]] = at
            elif kind == "mark":
                spans[-1 - operation[1]] = at
            elif kind == "moved":
                good = spans.get(-1 - operation[1]) != at
            elif kind == "ref":
                piece = text[spans.get(2 * operation[1], 0) : spans.get(2 * operation[1] + 1, 0)]
                good = 2 * operation[1] + 1 in spans and text.startswith(piece, at)
                self.left -= len(piece) // 64
                at += len(piece)
            elif kind == "keep":
                spans[0] = at
            elif kind == "look":
                _, negated, width, inner = operation
                found = at >= width and self.run(inner, at - width, spans) is not None
                good = found != negated
            elif kind == "assert":
                good = self._holds(operation[1], at)
            else:
                return at
            if not good:
                if not stack:
                    return None
                pc, at, saved = stack.pop()
                spans.clear()
                spans.update(saved)

    def _holds(self, kind: str, at: int) -> bool:
        text = self.text
        if kind in "^A":
            return at == 0
        if kind in "$z":
            return at == len(text)
        before = at > 0 and _is_word(ord(text[at - 1]))
        after = at < len(text) and _is_word(ord(text[at]))
        return {"b": before != after, "B": before == after, "<": after and not before, ">": before and not after}[kind]


# -- what programs use ------------------------------------------------------------------------------------------------


class Match(Generic[AnyText]):
    """Where a pattern was found: `span(0)` is the whole, others are groups; (-1, -1) when one took no part."""

    __slots__ = ("_spans", "text")

    def __init__(self, text: AnyText, spans: list[tuple[int, int]]) -> None:
        self.text: AnyText = text
        self._spans = spans

    def span(self, group: int = 0) -> tuple[int, int]:
        return self._spans[group] if group < len(self._spans) else (-1, -1)

    def group(self, group: int = 0) -> AnyText | None:
        start, end = self.span(group)
        return self.text[start:end] if start >= 0 else None

    @property
    def groups(self) -> int:
        return len(self._spans) - 1


class Regex(Generic[AnyText]):
    """A compiled expression; texts are of the pattern's own type. Its methods raise PatternError for too much work."""

    def __init__(self, tree: _Node, groups: int, *, in_bytes: bool, ignore_case: bool, longest: bool) -> None:
        self.groups = groups
        self._in_bytes = in_bytes
        self._code: _Code | None = None
        self._re2: Any = None
        self._free = _literal(tree)
        if _linear(tree):
            self._re2 = _compiled(_re2(tree), in_bytes, ignore_case, longest)
        else:
            self._code = []
            _assemble(tree, self._code, ignore_case)
            self._code.append(("match",))

    def search(self, text: AnyText, pos: int = 0) -> Match[AnyText] | None:
        """The first match at or after a position; `^` is the text's start only."""
        return self._found(text, pos, "search")

    def match(self, text: AnyText, pos: int = 0) -> Match[AnyText] | None:
        """A match that starts at a position."""
        return self._found(text, pos, "match")

    def fullmatch(self, text: AnyText) -> bool:
        """Whether the whole text matches, for an expression without back-references and look-around."""
        return self._found(text, 0, "fullmatch") is not None

    def finditer(self, text: AnyText) -> Iterator[Match[AnyText]]:
        """Matches that don't overlap, an empty one not right after another match."""
        last = -1
        for found in self._every(text):
            start, end = found.span()
            if start == end == last:
                continue
            yield found
            last = end

    def _every(self, text: AnyText) -> Iterator[Match[AnyText]]:
        if self._re2 is not None:
            self._check_work(len(text))
            for found in self._re2.finditer(_plain(text)):
                yield Match(text, [found.span(group) for group in range(self.groups + 1)])
            return
        pos = 0
        while pos <= len(text) and (match := self.search(text, pos)) is not None:
            yield match
            start, pos = match.span()
            pos += start == pos

    def _check_work(self, size: int) -> None:
        if not self._free and size * self._re2.programsize > _WORK:
            raise _too_much(
                f"a line of {size} characters is too long for this pattern: the lab gives "
                f"{_WORK // self._re2.programsize} to one of its size"
            )

    def _found(self, text: AnyText, pos: int, how: str) -> Match[AnyText] | None:
        if self._re2 is not None:
            self._check_work(len(text) - pos)
            found = getattr(self._re2, how)(_plain(text), pos)
            if found is None:
                return None
            return Match(text, [found.span(group) for group in range(self.groups + 1)])
        return self._backtracked(text, pos, anchored=how != "search")

    def _backtracked(self, text: AnyText, pos: int, *, anchored: bool) -> Match[AnyText] | None:
        assert self._code is not None
        machine = _Machine(text.decode("latin-1") if isinstance(text, bytes) else text, self.groups)
        for start in range(pos, pos + 1 if anchored else len(text) + 1):
            spans: dict[int, int] = {}
            end = machine.run(self._code, start, spans)
            if end is not None:
                found = [(spans.get(0, start), end)]
                found += [
                    (spans[2 * group], spans[2 * group + 1]) if 2 * group + 1 in spans else (-1, -1)
                    for group in range(1, self.groups + 1)
                ]
                return Match(text, found)
        return None


_compiled_count = 0


def _compiled(pattern: str, in_bytes: bool, ignore_case: bool, longest: bool) -> Any:
    global _compiled_count
    import re2

    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    options.longest_match = longest
    options.dot_nl = True
    options.max_mem = _RE2_MEMORY
    _compiled_count += 1
    if _compiled_count % _KEPT == 0:
        re2.purge()  # it keeps 128 of them, with their caches
    try:
        if in_bytes:
            options.encoding = re2.Options.Encoding.LATIN1
            return re2.compile(pattern.replace("10ffff", "ff").encode("latin-1"), options)
        return re2.compile(pattern, options)
    except re2.error as exc:
        text = exc.args[0] if exc.args else ""
        text = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        if "too large" in text or "repetition size" in text or "nesting" in text:
            raise PatternError("Regular expression too big") from None
        raise PatternError(text) from None


def regex(
    pattern: AnyText,
    dialect: str = "extended",
    *,
    ignore_case: bool = False,
    whole: bool = False,
    words: bool = False,
    lines: bool = False,
) -> Regex[AnyText]:
    """A POSIX expression (`basic`, `extended`, find's `emacs`), a `perl` one or a `fixed` text. Raises PatternError.

    `whole` is grep's -x, `words` its -w: group 1 is then what the pattern itself matched. With `lines`, each line is a
    pattern of its own.
    """
    return _regex(pattern, dialect, ignore_case, whole, words, lines)


@lru_cache(maxsize=_KEPT)
def _regex(pattern: str | bytes, dialect: str, ignore_case: bool, whole: bool, words: bool, lines: bool) -> Regex[Any]:
    in_bytes = isinstance(pattern, bytes)
    text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
    trees: list[_Node] = []
    groups = 0
    for line in text.split("\n") if lines else [text]:
        if dialect == "fixed":
            if len(text) > 4 * _LONGEST_PATTERN:
                raise _too_much(f"patterns have {4 * _LONGEST_PATTERN} characters at most in the lab")
            trees.append(("cat", [("char", character) for character in line]))
            continue
        tree, parser = _parse(line, dialect)
        ignore_case = ignore_case or parser.ignore_case
        trees.append(_renumbered(tree, groups) if groups else tree)
        groups += parser.groups
    made: _Node = ("alt", trees) if len(trees) > 1 else trees[0]
    if words:
        edge = ("set", True, tuple(_WORD))
        made = ("cat", [
            ("alt", [("assert", "^"), edge]), ("group", 1, _renumbered(made, 1)), ("alt", [("assert", "$"), edge])
        ])  # fmt: skip
        groups += 1
    if whole:
        made = ("cat", [("assert", "^"), made, ("assert", "$")])
    return Regex(made, groups, in_bytes=in_bytes, ignore_case=ignore_case, longest=dialect != "perl")


def _renumbered(node: _Node, by: int) -> _Node:
    kind = node[0]
    if kind == "group":
        return ("group", node[1] + by, _renumbered(node[2], by))
    if kind == "ref":
        return ("ref", node[1] + by)
    if kind in ("cat", "alt"):
        return (kind, [_renumbered(item, by) for item in node[1]])
    if kind == "rep":
        return ("rep", _renumbered(node[1], by), *node[2:])
    if kind == "look":
        return (*node[:3], _renumbered(node[3], by))
    return node


def regex_escaped(text: str) -> str:
    """A text as an extended expression that matches just that."""
    return "".join(character if character.isalnum() or character == "_" else f"\\{character}" for character in text)


# -- globs ------------------------------------------------------------------------------------------------------------


def glob_escaped(text: str) -> str:
    """A text as a glob that matches just that."""
    return "".join(character if character.isalnum() else f"\\{character}" for character in text)


_MAGIC = re.compile(r"\\.|[*?\[]|[+@!](?=\()", re.DOTALL)


def has_magic(pattern: str, *, extglob: bool = False) -> bool:
    """Whether a glob has a character that stands for others."""
    last = pattern.rfind("]")
    for match in _MAGIC.finditer(pattern):
        character = match[0]
        if character in "*?" or (character == "[" and last >= match.start() + 2):
            return True
        if extglob and character in "+@!":
            return True
    return False


def unescaped(pattern: str) -> str:
    """A glob without its backslashes."""
    out, at = [], 0
    while at < len(pattern):
        if pattern[at] == "\\" and at + 1 < len(pattern):
            at += 1
        out.append(pattern[at])
        at += 1
    return "".join(out)


class _GlobParser:
    def __init__(self, pattern: str, extglob: bool) -> None:
        self.pattern = pattern
        self.extglob = extglob
        self.at = 0
        self.depth = 0

    def sequence(self, ends: str = "") -> _Node:
        items: list[_Node] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in ends:
            items.append(self._item())
        return ("cat", items)

    def _item(self) -> _Node:
        pattern = self.pattern
        character = pattern[self.at]
        if self.extglob and character in "?*+@!" and pattern.startswith("(", self.at + 1):
            start = self.at
            made = self._alternatives(character)
            if made is not None:
                return made
            self.at = start
        self.at += 1
        if character == "*":
            while pattern.startswith("*", self.at) and not (self.extglob and pattern.startswith("*(", self.at)):
                self.at += 1  # several stars are as good as one
            return ("rep", ("any",), 0, None, True)
        if character == "?":
            return ("any",)
        if character == "[":
            found = _bracket(pattern, self.at - 1, escapes=True, shell=True)
            if found is not None:
                self.at = found[1]
                return found[0]
        if character == "\\" and self.at < len(pattern):
            character = pattern[self.at]
            self.at += 1
        return ("char", character)

    def _alternatives(self, kind: str) -> _Node | None:
        self.depth += 1
        if self.depth > _DEPTH:
            raise _too_much(f"globs nest {_DEPTH} groups at most in the lab")
        self.at += 2
        branches = [self.sequence("|)")]
        while self.pattern.startswith("|", self.at):
            self.at += 1
            branches.append(self.sequence("|)"))
        self.depth -= 1
        if not self.pattern.startswith(")", self.at):
            return None
        self.at += 1
        inner: _Node = ("alt", branches)
        if kind == "@":
            return inner
        if kind == "!":
            return ("not", inner)
        least, most = {"?": (0, 1), "*": (0, None), "+": (1, None)}[kind]
        return ("rep", inner, least, most, True)


def _has(node: _Node, kinds: tuple[str, ...]) -> bool:
    if node[0] in kinds:
        return True
    children = node[1] if node[0] in ("cat", "alt") else [node[1]] if node[0] in ("rep", "not") else []
    return any(_has(child, kinds) for child in children)


def _mirrored(node: _Node) -> _Node:
    """A tree that matches texts read backwards."""
    if node[0] == "cat":
        return ("cat", [_mirrored(item) for item in reversed(node[1])])
    if node[0] == "alt":
        return ("alt", [_mirrored(item) for item in node[1]])
    if node[0] == "rep":
        return ("rep", _mirrored(node[1]), *node[2:])
    if node[0] == "not":
        return ("not", _mirrored(node[1]))
    return node


def _lazy(node: _Node) -> _Node:
    if node[0] == "cat":
        return ("cat", [_lazy(item) for item in node[1]])
    return ("rep", node[1], node[2], node[3], False) if node[0] == "rep" else node


class _Ends:
    """Where a glob with `!(...)` can end, from each place where it can start."""

    def __init__(self, text: str, ignore_case: bool) -> None:
        self.text = text
        self.ignore_case = ignore_case
        self.left = _STEPS

    def of(self, node: _Node, starts: set[int]) -> set[int]:
        self.left -= len(starts) + 1
        if self.left < 0:
            raise _too_much(f"this glob takes more than the {_STEPS} steps that the lab gives to !(...)")
        kind, text = node[0], self.text
        if kind in ("char", "any", "set"):
            test = (
                _character_test(node[1], self.ignore_case)
                if kind == "char"
                else _set_test(node[1], node[2], self.ignore_case)
                if kind == "set"
                else lambda character: True
            )
            return {at + 1 for at in starts if at < len(text) and test(text[at])}
        if kind == "cat":
            for item in node[1]:
                starts = self.of(item, starts)
            return starts
        if kind == "alt":
            return set().union(*(self.of(item, starts) for item in node[1]))
        if kind == "not":
            found: set[int] = set()
            for at in starts:
                self.left -= len(text) - at
                found |= set(range(at, len(text) + 1)) - self.of(node[1], {at})
            return found
        _, inner, least, most, _ = node
        if inner == ("any",) and most is None:
            self.left -= len(text)
            return set(range(min(starts) + least, len(text) + 1)) if starts else set()
        found = set(starts) if least == 0 else set()
        new, times = set(starts), 0
        while new and (most is None or times < most):
            times += 1
            new = self.of(inner, new) - found
            found |= new
        return found


class Glob:
    """A shell pattern. Its methods raise PatternError when matching takes more than the lab gives it."""

    def __init__(self, pattern: str, *, extglob: bool = False, ignore_case: bool = False) -> None:
        if len(pattern) > _LONGEST_PATTERN:
            raise _too_much(f"patterns have {_LONGEST_PATTERN} characters at most in the lab")
        parser = _GlobParser(pattern, extglob)
        self._tree = parser.sequence()
        self._ignore_case = ignore_case
        self._sets = _has(self._tree, ("not",))
        self._nested = self._sets or _has(self._tree, ("alt",))

    def _regex(self, tree: _Node, *, longest: bool = True) -> Regex[str]:
        return Regex(tree, 0, in_bytes=False, ignore_case=self._ignore_case, longest=longest)

    def matches(self, text: str) -> bool:
        """Whether the whole text matches."""
        if self._sets:
            return len(text) in _Ends(text, self._ignore_case).of(self._tree, {0})
        if not hasattr(self, "_whole"):
            self._whole = self._regex(self._tree)
        return self._whole.fullmatch(text)

    def prefix(self, text: str, *, longest: bool) -> int | None:
        """The length of the longest or shortest start of a text that matches."""
        if self._nested and (self._sets or not longest):
            ends = _Ends(text, self._ignore_case).of(self._tree, {0})
            return (max(ends) if longest else min(ends)) if ends else None
        tree = self._tree if longest else _lazy(self._tree)
        found = self._regex(tree, longest=longest).match(text)
        return found.span()[1] if found is not None else None

    def suffix(self, text: str, *, longest: bool) -> int | None:
        """Where the longest or shortest end of a text that matches begins."""
        mirrored = Glob.__new__(Glob)
        mirrored.__dict__.update(
            _tree=_mirrored(self._tree), _ignore_case=self._ignore_case, _sets=self._sets, _nested=self._nested
        )
        length = mirrored.prefix(text[::-1], longest=longest)
        return None if length is None else len(text) - length

    def replaced(self, text: str, replacement: str, *, every: bool) -> Iterator[str]:
        """The text with the first match (or every one), each as long as can be, replaced: piece by piece."""
        if _literal(self._tree) and not self._ignore_case and self._tree[1]:
            yield from self._replaced_literal(text, replacement, every)
            return
        pos, done = 0, False
        for start, end in self._spans(text):
            if end > start or (not text and not done):
                yield text[pos:start]
                yield replacement
                pos, done = end, True
                if not every:
                    break
        yield text[pos:]

    def _replaced_literal(self, text: str, replacement: str, every: bool) -> Iterator[str]:
        wanted = "".join(node[1] for node in self._tree[1])
        pos = 0
        while (found := text.find(wanted, pos)) >= 0:
            yield text[pos:found]
            yield replacement
            pos = found + len(wanted)
            if not every:
                break
        yield text[pos:]

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        if not self._sets:
            for found in self._regex(self._tree).finditer(text):
                yield found.span()
            return
        ends, pos = _Ends(text, self._ignore_case), 0
        while pos <= len(text):
            reached = ends.of(self._tree, {pos})
            end = max(reached, default=pos)
            if end > pos:
                yield pos, end
            pos = max(end, pos + 1)


@lru_cache(maxsize=64)
def glob(pattern: str, *, extglob: bool = False, ignore_case: bool = False) -> Glob:
    """A compiled shell pattern. Raises PatternError."""
    return Glob(pattern, extglob=extglob, ignore_case=ignore_case)
