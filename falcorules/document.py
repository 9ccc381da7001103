"""Rule files as YAML: bytes in, nodes with byte positions out, and the check against the schema of rule files.

Falco's YAML reader has its own idea of the language: what it accepts, where it sees an error and what it calls that
differ from other readers in many small ways. This one follows it: a scanner makes tokens, some of which hold only once
a `:` proves that a map's key came before it; a parser without recursion makes nodes.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

# At this depth, Falco's YAML reader gives up too.
MAX_NESTING = 500

_NULLS = ("", "~", "null", "Null", "NULL")
_TRUE = re.compile(r"y|Y|yes|Yes|YES|true|True|TRUE|on|On|ON")
_FALSE = re.compile(r"n|N|no|No|NO|false|False|FALSE|off|Off|OFF")
_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?)([0-9]+)")
_NUMBER = re.compile(r"\+?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)[ \t\n\v\f\r]*")


class YamlFault(Exception):
    """The text isn't YAML. `place` is None where that is about the whole file."""

    def __init__(self, message: str, place: Place | None) -> None:
        line, column, _ = place or (-1, -1, 0)
        where = f"error at line {line + 1}, column {column + 1}: "
        self.message = f"yaml-cpp: {where}{message}".partition("\0")[0]
        super().__init__(self.message)
        self.place = place


class Place(NamedTuple):
    """A position in a file; all count from 0, and in bytes."""

    line: int
    column: int
    offset: int


@dataclass(slots=True, eq=False)
class Node:
    """A YAML node. `kind` is "map", "sequence", "scalar" or "null"; places count from 0, in bytes."""

    kind: str
    place: Place
    text: str = ""
    items: tuple[Node, ...] = ()
    pairs: tuple[tuple[Node, Node], ...] = ()

    def get(self, key: str) -> Node | None:
        """The value of a key of a map (of the first one, if it is there twice)."""
        for name, value in self.pairs:
            if name.text == key and name.kind == "scalar":
                return value
        return None

    @property
    def name(self) -> str | None:
        """What a key or an operation is called, None if it can't be."""
        return {"scalar": self.text, "null": "null"}.get(self.kind)

    def boolean(self) -> bool | None:
        """The scalar as a boolean, or None if it isn't one."""
        if _TRUE.fullmatch(self.text):
            return True
        return False if _FALSE.fullmatch(self.text) else None

    def unsigned(self) -> int | None:
        """The scalar as an unsigned integer of 32 bits (decimal, 0x, leading 0: octal), or None if it isn't one."""
        match = _NUMBER.fullmatch(self.text)
        if match is None or len(match[1]) > 30:
            return None
        digits = match[1]
        value = int(digits, 16 if digits[:2] in ("0x", "0X") else 8 if digits.startswith("0") else 10)
        return value if value < 1 << 32 else None


def documents(content: bytes) -> list[Node]:
    """The documents of a file up to the first empty one, with shared nodes where it has aliases. Raises YamlFault."""
    return _Parser(_Scanner(_as_bytes_of_utf8(content).decode("latin-1"))).documents()


def _as_bytes_of_utf8(content: bytes) -> bytes:
    """The content without a byte order mark, in UTF-8 if its first bytes look like UTF-16 or UTF-32."""
    for start, encoding, skipped in _ENCODINGS:
        if re.match(start, content, re.S):
            rest = content[skipped:]
            if encoding == "utf-8":
                return rest
            width = 4 if "32" in encoding else 2
            text = rest[: len(rest) // width * width].decode(encoding, "replace").replace(_END, "\ufffd")
            return text.encode("utf-8", "replace")
    return content


_ENCODINGS = (
    (rb"\xef\xbb\xbf", "utf-8", 3),
    (rb"\x00\x00\xfe\xff", "utf-32-be", 4),
    (rb"\x00\x00\x00", "utf-32-be", 0),
    (rb"\x00[\x01-\xba\xbc-\xbe\xc0-\xee\xf0-\xfd]", "utf-16-be", 0),
    (rb"\xfe\xff", "utf-16-be", 2),
    (rb"\xff\xfe\x00\x00", "utf-32-le", 4),
    (rb"\xff\xfe", "utf-16-le", 2),
    (rb"[\x01-\xba\xbc-\xbe\xc0-\xee\xf0-\xfd]\x00\x00\x00", "utf-32-le", 0),
    (rb"[\x01-\xba\xbc-\xbe\xc0-\xee\xf0-\xfd]\x00", "utf-16-le", 0),
)


# Tokens

# Stands behind the end; the byte itself ends things in the middle of a file too.
_END = "\x04"
_BLANKS = " \t"
_BREAKS = "\r\n"
_SPACES = " \t\r\n"
_SPACES_OR_END = f"{_SPACES}{_END}"
_BLANK_RUN = re.compile("[ \t]*")
_TO_BREAK = re.compile("[^\r\n]*")
_NAME = re.compile(r"[^\[\]{}, \t\r\n]*")
_WORD = re.compile("[^ \t\r\n]*")
_TAG = re.compile(r"(?:[A-Za-z0-9\-#;/?:@&=+$_.~*'()]|%[0-9A-Fa-f]{2})*")
_TAG_WORD = re.compile(r"[A-Za-z0-9\-]*")
_VERBATIM = re.compile(r"(?:[A-Za-z0-9\-#;/?:@&=+$,_.!~*'()\[\]]|%[0-9A-Fa-f]{2})*")
_MARKER = re.compile(r"(?:---|\.\.\.)(?=[ \t\r\n\x04])")
_NO_PLAIN = ",[]{}#&*!|>'\"%@`"
_ESCAPES = {
    **{"0": "\0", "a": "\a", "b": "\b", "t": "\t", "\t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r"},
    **{"e": "\x1b", " ": " ", '"': '"', "'": "'", "\\": "\\", "/": "/"},
    **{"N": "\x85", "_": "\xa0", "L": "\xe2\x80\xa8", "P": "\xe2\x80\xa9"},
}
_HEX_ESCAPES = {"x": 2, "u": 4, "U": 8}
_LONGEST_KEY = 1024


class _Token:
    """`valid` is None while it isn't known whether the token holds."""

    __slots__ = ("kind", "place", "plain", "valid", "value")

    def __init__(self, kind: str, place: Place, value: str = "", valid: bool | None = True) -> None:
        self.kind = kind
        self.place = place
        self.value = value
        self.valid = valid
        self.plain = False


class _Indent:
    __slots__ = ("column", "start", "token", "valid")

    def __init__(self, column: int, start: str, token: _Token | None) -> None:
        self.column = column
        self.start = start  # "seq", "map" or "" at the bottom
        self.token = token
        self.valid: bool | None = True


class _Key(NamedTuple):
    """What may turn out to be a map's key."""

    place: Place
    flow_level: int
    indent: _Indent | None
    token: _Token


class _Style(NamedTuple):
    """How a scalar is read. `run` matches what has no meaning of its own; `fold` is "flow", "block" or ""."""

    run: re.Pattern[str]
    fold: str
    escape: str = "\0"
    quoted: bool = False


_PLAIN = _Style(re.compile(r"[^: \t\r\n\x00]+"), "flow")
_PLAIN_IN_FLOW = _Style(re.compile(r"[^:,?\[\]{} \t\r\n\x00]+"), "flow")
_SINGLE_QUOTED = _Style(re.compile(r"[^'\r\n]+"), "flow", "'", quoted=True)
_DOUBLE_QUOTED = _Style(re.compile(r'[^"\\\r\n]+'), "flow", "\\", quoted=True)
_LITERAL = _Style(re.compile(r"[^\r\n\x00\x04]+"), "")
_FOLDED = _Style(_LITERAL.run, "block")


class _Scanner:
    """Tokens of a text, each character of which stands for a byte."""

    def __init__(self, text: str) -> None:
        self.end = len(text)
        self.text = f"{text}{_END * 16}"
        self.pos = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", text)), sys.maxsize]
        self._line = 0
        self._column_reset = False
        self._tokens: deque[_Token] = deque()
        self._ended = False
        self._key_allowed = True
        self._json_flow = False
        self._keys: list[_Key] = []
        self._indents = [_Indent(-1, "", None)]
        self._flows: list[str] = []

    def peek(self) -> _Token | None:
        """The next token, None at the end."""
        tokens = self._tokens
        while True:
            if tokens:
                if tokens[0].valid:
                    return tokens[0]
                if tokens[0].valid is False:
                    tokens.popleft()
                    continue
            if self._ended:
                return tokens[0] if tokens else None
            self._scan()

    def pop(self) -> None:
        self._tokens.popleft()

    def place(self) -> Place:
        column = self._column  # which brings the line up to date
        return Place(self._line, column, self.pos)

    def fail(self, message: str, place: Place | None = None) -> NoReturn:
        raise YamlFault(_decoded(message), place or self.place())

    @property
    def _column(self) -> int:
        while self._starts[self._line + 1] <= self.pos:
            self._line += 1
        return 0 if self._column_reset else self.pos - self._starts[self._line]

    def _push(self, kind: str, place: Place, value: str = "", valid: bool | None = True) -> _Token:
        token = _Token(kind, place, value, valid)
        self._tokens.append(token)
        return token

    def _scan(self) -> None:
        self._skip_spaces()
        self._pop_indents_to_here()
        if self.pos >= self.end:
            return self._finish()
        char, following = self.text[self.pos], self.text[self.pos + 1]
        if self._column == 0:
            if char == "%":
                return self._directive()
            if char in "-." and _MARKER.match(self.text, self.pos):
                return self._document_marker(char)
        if char in "[{":
            return self._flow_start(char)
        if char in "]}":
            return self._flow_end(char)
        if char == ",":
            return self._flow_entry()
        if char == "-" and following in _SPACES_OR_END:
            return self._block_entry()
        if char == "?" and following in _SPACES:
            return self._explicit_key()
        if char == ":" and (
            following in _SPACES_OR_END
            if not self._flows
            else self._json_flow or following in _SPACES or following in ",]}"
        ):
            return self._value()
        if char in "*&":
            return self._anchor(char)
        if char == "!":
            return self._tag()
        if char in "|>" and not self._flows:
            return self._block_scalar(char)
        if char in "'\"":
            return self._quoted_scalar(_SINGLE_QUOTED if char == "'" else _DOUBLE_QUOTED)
        if self._starts_plain(char, following):
            return self._plain_scalar()
        self.fail("unknown token")

    def _starts_plain(self, char: str, following: str) -> bool:
        if char in _SPACES or char in _NO_PLAIN:
            return False
        if not self._flows:
            return char not in "-?:" or following not in _SPACES_OR_END
        return char != "?" and (char not in "-:" or (following not in _BLANKS and following != _END))

    def _skip_spaces(self) -> None:
        text = self.text
        while True:
            blanks = _BLANK_RUN.match(text, self.pos)
            assert blanks
            if not self._flows and "\t" in blanks[0]:
                self._key_allowed = False
            self.pos = blanks.end()
            if text[self.pos] == "#":
                rest = _TO_BREAK.match(text, self.pos)
                assert rest
                self.pos = min(rest.end(), self.end)
            if text[self.pos] not in _BREAKS:
                return
            self._eat_break()
            self._invalidate_key()
            if not self._flows:
                self._key_allowed = True

    def _eat_break(self) -> None:
        if self.text[self.pos] in _BREAKS:
            self.pos += 2 if self.text.startswith("\r\n", self.pos) else 1

    def _finish(self) -> None:
        self._column_reset = True
        self._pop_all_indents()
        self._keys.clear()
        self._key_allowed = False
        self._ended = True

    # Indentation

    def _push_indent(self, column: int, start: str) -> _Indent | None:
        if self._flows:
            return None
        last = self._indents[-1]
        if column < last.column or (column == last.column and not (start == "seq" and last.start == "map")):
            return None
        indent = _Indent(column, start, self._push(f"block {start} start", self.place()))
        self._indents.append(indent)
        return indent

    def _pop_indents_to_here(self) -> None:
        if self._flows:
            return
        column = self._column
        entry = self.text[self.pos] == "-" and self.text[self.pos + 1] in _SPACES_OR_END
        while self._indents:
            last = self._indents[-1]
            if last.column < column or (last.column == column and not (last.start == "seq" and not entry)):
                break
            self._pop_indent()
        while self._indents and self._indents[-1].valid is False:
            self._pop_indent()

    def _pop_all_indents(self) -> None:
        if not self._flows:
            while self._indents and self._indents[-1].start:
                self._pop_indent()

    def _pop_indent(self) -> None:
        indent = self._indents.pop()
        if not indent.valid:
            self._invalidate_key()
        elif indent.start:
            self._push(f"block {indent.start} end", self.place())

    # Keys without a `?`

    def _possible_key(self) -> None:
        if not self._key_allowed or (self._keys and self._keys[-1].flow_level == len(self._flows)):
            return
        indent = None if self._flows else self._push_indent(self._column, "map")
        if indent is not None:
            indent.valid = None
            assert indent.token
            indent.token.valid = None
        place = self.place()
        self._keys.append(_Key(place, len(self._flows), indent, self._push("key", place, valid=None)))

    def _settle(self, key: _Key, valid: bool) -> None:
        key.token.valid = valid
        if key.indent is not None:
            key.indent.valid = valid
            assert key.indent.token
            key.indent.token.valid = valid

    def _invalidate_key(self) -> None:
        if self._keys and self._keys[-1].flow_level == len(self._flows):
            self._settle(self._keys.pop(), False)

    def _verify_key(self) -> bool:
        if not self._keys or self._keys[-1].flow_level != len(self._flows):
            return False
        key = self._keys.pop()
        valid = self.place().line == key.place.line and self.pos - key.place.offset <= _LONGEST_KEY
        self._settle(key, valid)
        return valid

    # One method for each kind of token

    def _directive(self) -> None:
        self._pop_all_indents()
        self._keys.clear()
        self._key_allowed = self._json_flow = False
        place = self.place()
        line = _TO_BREAK.match(self.text, self.pos + 1, self.end)
        assert line
        name = _WORD.match(self.text, self.pos + 1, self.end)
        assert name
        words = [name[0]]
        self.pos = name.end()
        while True:
            self.pos = _BLANK_RUN.match(self.text, self.pos).end()  # type: ignore[union-attr]
            if self.pos >= self.end or self.text[self.pos] in f"{_BREAKS}#":
                break
            word = _WORD.match(self.text, self.pos, self.end)
            assert word
            words.append(word[0])
            self.pos = word.end()
        self._push("directive", place, "\0".join(words))

    def _document_marker(self, char: str) -> None:
        self._pop_all_indents()
        self._keys.clear()
        self._key_allowed = self._json_flow = False
        self._push("document start" if char == "-" else "document end", self.place())
        self.pos += 3

    def _flow_start(self, char: str) -> None:
        self._possible_key()
        self._key_allowed, self._json_flow = True, False
        self._flows.append(char)
        self._push("flow seq start" if char == "[" else "flow map start", self.place())
        self.pos += 1

    def _flow_end(self, char: str) -> None:
        if not self._flows:
            self.fail("illegal flow end")
        self._solo_key()
        self._key_allowed, self._json_flow = False, True
        if self._flows[-1] != ("[" if char == "]" else "{"):
            self.fail("illegal flow end")
        self._push("flow seq end" if char == "]" else "flow map end", self.place())
        self._flows.pop()
        self.pos += 1

    def _solo_key(self) -> None:
        """A key in a flow map that has no value, or what isn't a key in a flow sequence."""
        if self._flows:
            if self._flows[-1] == "[":
                self._invalidate_key()
            elif self._verify_key():
                self._push("value", self.place())

    def _flow_entry(self) -> None:
        self._solo_key()
        self._key_allowed, self._json_flow = True, False
        self._push("flow entry", self.place())
        self.pos += 1

    def _block_entry(self) -> None:
        if self._flows or not self._key_allowed:
            self.fail("illegal block entry")
        self._push_indent(self._column, "seq")
        self._key_allowed, self._json_flow = True, False
        self._push("block entry", self.place())
        self.pos += 1

    def _explicit_key(self) -> None:
        if not self._flows:
            if not self._key_allowed:
                self.fail("illegal map key")
            self._push_indent(self._column, "map")
        self._key_allowed = not self._flows
        self._push("key", self.place())
        self.pos += 1

    def _value(self) -> None:
        simple = self._verify_key()
        self._json_flow = False
        if not simple and not self._flows:
            if not self._key_allowed:
                self.fail("illegal map value")
            self._push_indent(self._column, "map")
        self._key_allowed = not simple and not self._flows
        self._push("value", self.place())
        self.pos += 1

    def _anchor(self, char: str) -> None:
        self._possible_key()
        self._key_allowed = self._json_flow = False
        place = self.place()
        kind = "alias" if char == "*" else "anchor"
        name = _NAME.match(self.text, self.pos + 1, self.end)
        assert name
        self.pos = name.end()
        if not name[0]:
            self.fail(f"{kind} not found after {char}")
        if self.pos < self.end and self.text[self.pos] not in f"?:,]}}%@`{_SPACES}":
            self.fail(f"illegal character found while scanning {kind}")
        self._push(kind, place, name[0])

    def _tag(self) -> None:
        self._possible_key()
        self._key_allowed = self._json_flow = False
        place = self.place()
        self.pos += 1
        if self.text[self.pos] == "<":
            match = _VERBATIM.match(self.text, self.pos + 1, self.end)
            assert match
            self.pos = match.end()
            if self.text[self.pos] != ">":
                self.fail("end of verbatim tag not found")
            self.pos += 1
            self._push("tag", place, match[0])
            return
        word = _TAG_WORD.match(self.text, self.pos, self.end)
        assert word
        self.pos = word.end()
        if self.text[self.pos] == "!":  # a handle
            suffix = _TAG.match(self.text, self.pos + 1, self.end)
            assert suffix
            self.pos = suffix.end()
            if not suffix[0]:
                self.fail("tag handle with no suffix")
            self._push("tag", place, f"!{word[0]}!{suffix[0]}")
            return
        odd = self.place()
        more = _TAG.match(self.text, self.pos, self.end)
        assert more
        self.pos = more.end()
        if self.text[self.pos] == "!":
            self.fail("illegal character found while scanning tag handle", odd)
        self._push("tag", place, f"!{word[0]}{more[0]}")

    def _plain_scalar(self) -> None:
        indent = 0 if self._flows else self._indents[-1].column + 1
        self._possible_key()
        place = self.place()
        value, self._key_allowed = self._scalar(_PLAIN_IN_FLOW if self._flows else _PLAIN, indent)
        self._json_flow = False
        self._push("scalar", place, value).plain = True

    def _quoted_scalar(self, style: _Style) -> None:
        self._possible_key()
        place = self.place()
        self.pos += 1
        value, _ = self._scalar(style, 0)
        self._key_allowed, self._json_flow = False, True
        self._push("scalar", place, value)

    def _block_scalar(self, char: str) -> None:
        place = self.place()
        self.pos += 1
        chomp, indent, detect = "", 1, True
        header = re.compile(r"[+-][0-9]|[0-9][+-]|[+-]|[0-9]").match(self.text, self.pos)
        for indicator in header[0] if header else "":
            self.pos += 1
            if indicator in "+-":
                chomp = indicator
            elif indicator == "0":
                self.fail("cannot set zero indentation for a block scalar")
            else:
                indent, detect = int(indicator), False
        self.pos = _BLANK_RUN.match(self.text, self.pos).end()  # type: ignore[union-attr]
        if self.text[self.pos] == "#":
            self.pos = min(_TO_BREAK.match(self.text, self.pos).end(), self.end)  # type: ignore[union-attr]
        if self.pos < self.end and self.text[self.pos] not in _BREAKS:
            self.fail("unexpected character in block scalar")
        indent += max(self._indents[-1].column, 0)
        style = _FOLDED if char == ">" else _LITERAL
        value, _ = self._scalar(style, indent, detect_indent=detect, chomp=chomp)
        self._key_allowed, self._json_flow = True, False
        self._push("scalar", place, value)

    # Scalars

    def _ends(self, style: _Style) -> bool:
        """Whether a scalar's end is here (that of a quoted one is its quote)."""
        char, following = self.text[self.pos], self.text[self.pos + 1]
        if style is _SINGLE_QUOTED:
            return char == "'" and following != "'"
        if style is _DOUBLE_QUOTED:
            return char == '"'
        if style is _LITERAL or style is _FOLDED:
            return char == _END
        if char in _SPACES:
            return following == "#" or (char == "\r" and self.text.startswith("\n#", self.pos + 1))
        if style is _PLAIN:
            return char == ":" and following in _SPACES_OR_END
        return char in ",?[]{}" or (char == ":" and (following in _SPACES_OR_END or following in ",]}"))

    def _scalar(self, style: _Style, indent: int, *, detect_indent: bool = False, chomp: str = "") -> tuple[str, bool]:
        """Reads a scalar line by line: its value, and whether less indentation ended it."""
        text, fold, folded = self.text, style.fold, ""
        found_line = False  # one that isn't empty
        past_opening = fold == "flow"
        empty = more_indented = outdented = False
        breaks, began_more_indented = 0, False  # of folded empty lines
        escaped = -1  # where the last escaped character ends
        while self.pos < self.end:
            solid = len(folded)  # up to here it isn't blank
            escaped_break = False
            while not self._ends(style) and text[self.pos] not in _BREAKS and self.pos < self.end:
                if self.text[self.pos] in "-." and self._column == 0 and _MARKER.match(text, self.pos):
                    if style.quoted:
                        self.fail("illegal document indicator in scalar")
                    if fold == "flow":
                        break
                found_line = past_opening = True
                char = text[self.pos]
                if char == style.escape:
                    if char == "\\" and text[self.pos + 1] in _BREAKS:
                        self.pos += 1
                        solid = escaped = len(folded)
                        escaped_break = True
                        break
                    folded += self._escape()
                    solid = escaped = len(folded)
                    continue
                run = style.run.match(text, self.pos, self.end)
                piece = run[0] if run else char
                self.pos += len(piece)
                folded += piece
                stripped = piece.rstrip(_BLANKS)
                if stripped:
                    solid = len(folded) - len(piece) + len(stripped)
            if self.pos >= self.end:
                if style.quoted:
                    self.fail("illegal EOF in scalar")
                break
            if fold == "flow" and not style.quoted and self._column == 0 and _MARKER.match(text, self.pos):
                break
            if self._ends(style):
                self.pos += style.quoted
                break
            if fold == "flow":
                folded = folded[:solid]
            self._eat_break()
            start = self.pos - self._column  # which isn't here after a break that is a carriage return alone
            limit = None if detect_indent and not found_line else indent
            while text[self.pos] == " " and (limit is None or self.pos - start < limit) and not self._ends(style):
                self.pos += 1
            if limit is None:
                indent = max(indent, self._column)
            while text[self.pos] in _BLANKS:
                if text[self.pos] == "\t" and self._column < indent and not style.quoted:
                    self.fail("illegal tab when looking for indentation")
                if fold != "flow" or self._ends(style):
                    break
                self.pos += 1
            next_empty, next_more = text[self.pos] in _BREAKS, text[self.pos] in _BLANKS
            if fold == "block" and breaks == 0 and next_empty:
                began_more_indented = more_indented
            if past_opening:
                if fold == "flow":
                    folded += "\n" if next_empty else "" if empty or escaped_break else " "
                elif not fold:
                    folded += "\n"
                else:
                    if not (empty or next_empty or more_indented or next_more) and self._column >= indent:
                        folded += " "
                    elif next_empty:
                        breaks += 1
                    else:
                        folded += "\n"
                    if not next_empty and breaks:
                        folded += "\n" * (breaks - 1)
                        if began_more_indented or next_more or not found_line:
                            folded += "\n"
                        breaks = 0
            empty, more_indented, past_opening = next_empty, next_more, True
            if not empty and self._column < indent:
                outdented = True
                break
        return self._chomped(folded, style, escaped, chomp), outdented

    def _chomped(self, value: str, style: _Style, escaped: int, chomp: str) -> str:
        """The value without what its end has too much."""
        plain = style.fold == "flow" and not style.quoted
        if plain:
            value = value[: max(len(value.rstrip(_BLANKS)), escaped + 1)]
        kept = max(len(value.rstrip("\n")), escaped + 1)
        if chomp == "+":
            return value
        if plain or chomp == "-":
            return value[:kept]
        return value[: kept + 1] if kept else ""

    def _escape(self) -> str:
        quote, char = self.text[self.pos], self.text[self.pos + 1]
        self.pos += 2
        if quote == "'" and char == "'":
            return "'"
        if char in _ESCAPES:
            return _ESCAPES[char]
        size = _HEX_ESCAPES.get(char)
        if size is None:
            self.fail(f"unknown escape character: {char}")
        digits = self.text[self.pos : self.pos + size]
        self.pos += size
        if not re.fullmatch("[0-9a-fA-F]+", digits):
            self.fail("bad character found while scanning hex number")
        code = int(digits, 16)
        if 0xD800 <= code < 0xE000 or code > 0x10FFFF:
            self.fail(f"invalid unicode: {code}")
        return chr(code).encode("utf-8").decode("latin-1")


# Nodes


class _Open:
    """A map or sequence whose end hasn't been reached. `how` is the token that began it, or "compact map"."""

    __slots__ = ("at", "expects", "how", "node", "nodes")

    def __init__(self, how: str, place: Place) -> None:
        self.how = how
        self.node = Node("sequence" if "seq" in how else "map", place)
        self.nodes: list[Node] = []
        self.expects = ""  # "key" or "value" where one is being read
        self.at = place  # of the token that began the pair

    def closed(self) -> Node:
        if self.node.kind == "sequence":
            self.node.items = tuple(self.nodes)
        else:
            self.node.pairs = tuple(zip(self.nodes[::2], self.nodes[1::2], strict=True))
        return self.node


class _Parser:
    def __init__(self, scanner: _Scanner) -> None:
        self._scanner = scanner
        self._anchors: dict[str, Node | None] = {}
        self._open: list[_Open] = []

    def documents(self) -> list[Node]:
        found: list[Node] = []
        while True:
            self._directives()
            token = self._scanner.peek()
            if token is None:
                return found
            self._anchors = {}
            if token.kind == "document start":
                self._scanner.pop()
            document = self._document()
            if document.kind == "null":  # as in Falco, what follows is not read
                return found
            found.append(document)
            while (after := self._scanner.peek()) is not None and after.kind == "document end":
                self._scanner.pop()
            if after is token:  # nothing was read, and never would be
                self._scanner.fail("bad file", token.place)

    def _directives(self) -> None:
        version_seen = False
        handles = set()
        while (token := self._scanner.peek()) is not None and token.kind == "directive":
            name, *words = token.value.split("\0")
            if name == "YAML":
                if len(words) != 1:
                    self._scanner.fail("YAML directives must have exactly one argument", token.place)
                if version_seen:
                    self._scanner.fail("repeated YAML directive", token.place)
                version = re.fullmatch(r"([+-]?[0-9]{1,9}).[ ]*([+-]?[0-9]{1,9})", words[0], re.S)
                if version is None:
                    self._scanner.fail(f"bad YAML version: {words[0]}", token.place)
                if int(version[1]) > 1:
                    self._scanner.fail("YAML major version too large", token.place)
                version_seen = True
            elif name == "TAG":
                if len(words) != 2:
                    self._scanner.fail("TAG directives must have exactly two arguments", token.place)
                if words[0] in handles:
                    self._scanner.fail("repeated TAG directive", token.place)
                handles.add(words[0])
            self._scanner.pop()

    def _document(self) -> Node:
        node = self._begin()
        while self._open:
            opened = self._open[-1]
            if node is not None:
                opened.nodes.append(node)
            node = self._continue(opened)
            if node is _CLOSED:
                node = self._open.pop().closed()
        assert node is not None
        return node

    def _begin(self) -> Node | None:
        """The next node if it is whole, otherwise None, and it is open."""
        scanner = self._scanner
        if len(self._open) + 1 >= MAX_NESTING:
            scanner.fail("bad file")
        token = scanner.peek()
        if token is None:
            return Node("null", scanner.place())
        place = token.place
        if token.kind == "value":
            self._opened("compact map", place, "")
            return None
        if token.kind == "alias":
            node = self._anchors.get(token.value)
            if node is None:
                scanner.fail(f"the referenced anchor is not defined: {token.value}", place)
            scanner.pop()
            return node
        tag = anchor = ""
        while token is not None and token.kind in ("tag", "anchor"):
            if token.kind == "tag":
                if tag:
                    scanner.fail("cannot assign multiple tags to the same node", token.place)
                tag = token.value
            else:
                if anchor:
                    scanner.fail("cannot assign multiple anchors to the same node", token.place)
                anchor = token.value
                self._anchors[anchor] = None
            scanner.pop()
            token = scanner.peek()
        if token is not None and (
            ("start" in token.kind and token.kind != "document start")
            or (token.kind == "key" and self._open and self._open[-1].how == "flow seq start")
        ):
            self._opened("compact map" if token.kind == "key" else token.kind, place, anchor)
            return None
        node = Node("null" if not tag or tag == "?" else "scalar", place)
        if token is None:
            node.kind = "null"
        elif token.kind == "scalar":
            if not (token.plain and node.kind == "null" and token.value in _NULLS):
                node = Node("scalar", place, _decoded(token.value))
            scanner.pop()
        if anchor:
            self._anchors[anchor] = node
        return node

    def _opened(self, how: str, place: Place, anchor: str) -> None:
        self._open.append(_Open(how, place))
        if anchor:
            self._anchors[anchor] = self._open[-1].node  # which an alias within may stand for
        if how != "compact map":
            self._scanner.pop()

    def _continue(self, opened: _Open) -> Node | None:
        """The next node in what is open, None if that is open itself, _CLOSED at the end."""
        match opened.how:
            case "block seq start":
                return self._in_block_sequence()
            case "flow seq start":
                return self._in_flow_sequence(opened)
            case _:
                return self._in_map(opened)

    def _in_block_sequence(self) -> Node | None:
        scanner = self._scanner
        token = scanner.peek()
        if token is None or token.kind not in ("block entry", "block seq end"):
            scanner.fail("end of sequence not found", token.place if token else None)
        scanner.pop()
        if token.kind == "block seq end":
            return _CLOSED
        following = scanner.peek()
        if following is not None and following.kind in ("block entry", "block seq end"):
            return Node("null", following.place)
        return self._begin()

    def _in_flow_sequence(self, opened: _Open) -> Node | None:
        scanner = self._scanner
        if opened.expects:
            self._separator("seq")
        opened.expects = "separator"
        token = scanner.peek()
        if token is None:
            scanner.fail("end of sequence flow not found")
        if token.kind == "flow seq end":
            scanner.pop()
            return _CLOSED
        return self._begin()

    def _separator(self, what: str) -> None:
        token = self._scanner.peek()
        name = "sequence" if what == "seq" else what
        if token is None or token.kind not in ("flow entry", f"flow {what} end"):
            self._scanner.fail(f"end of {name} flow not found", token.place if token else None)
        if token.kind == "flow entry":
            self._scanner.pop()

    def _in_map(self, opened: _Open) -> Node | None:
        scanner = self._scanner
        if opened.expects == "value":
            opened.expects = "separator"
            token = scanner.peek()
            if token is None or token.kind != "value":
                return Node("null", opened.at)
            scanner.pop()
            return self._begin()
        if opened.expects == "separator" and opened.how == "compact map":
            return _CLOSED
        if opened.expects == "separator" and opened.how == "flow map start":
            self._separator("map")
        opened.expects = "value"
        token = scanner.peek()
        if opened.how == "block map start":
            if token is None or token.kind not in ("key", "value", "block map end"):
                scanner.fail("end of map not found", token.place if token else None)
        elif token is None:
            scanner.fail("end of map flow not found")
        if token.kind in ("block map end", "flow map end") and opened.how != "compact map":
            scanner.pop()
            return _CLOSED
        opened.at = token.place
        if token.kind != "key":
            return Node("null", token.place)
        scanner.pop()
        return self._begin()


_CLOSED = Node("closed", Place(0, 0, 0))


def _decoded(text: str) -> str:
    """A text, each character of which stands for a byte, as what those bytes mean."""
    return text if text.isascii() else text.encode("latin-1").decode("utf-8", "replace")


# The schema of rule files, as Falco checks it: faults are reported beside the errors and stop nothing.

_SCHEMA_STRING = {"type": "string"}
_SCHEMA_BOOLEAN = {"type": "boolean"}
_SCHEMA_INTEGER = {"type": "integer"}
_PRIORITIES = ("EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "INFORMATIONAL", "DEBUG")
_OVERRIDE = {"type": "string", "enum": ("append", "replace")}
_REQUIREMENT: dict[str, Any] = {"name": _SCHEMA_STRING, "version": _SCHEMA_STRING}
_ITEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        **dict.fromkeys(
            ("required_engine_version", "macro", "condition", "list", "rule", "desc", "output", "source"),
            _SCHEMA_STRING,
        ),
        **dict.fromkeys(("enabled", "append", "capture", "warn_evttypes", "skip-if-unknown-filter"), _SCHEMA_BOOLEAN),
        "capture_duration": _SCHEMA_INTEGER,
        "priority": {"type": "string", "enum": _PRIORITIES},
        "items": {"type": "array", "items": {"anyOf": ("integer", "string")}},
        "tags": {"type": "array", "items": _SCHEMA_STRING},
        "exceptions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": _SCHEMA_STRING, "fields": {}, "comps": {}, "values": {}},
                "required": ("name",),
            },
        },
        "override": {
            "type": "object",
            "minimum": 1,
            "properties": dict.fromkeys(
                ("items", "desc", "condition", "output", "priority", "enabled", "exceptions"), _OVERRIDE
            ),
        },
        "required_plugin_versions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    **_REQUIREMENT,
                    "alternatives": {
                        "type": "array",
                        "items": {"type": "object", "properties": _REQUIREMENT, "required": ("name", "version")},
                    },
                },
                "required": ("name", "version"),
            },
        },
    },
}
_FILE_SCHEMA = {"type": "array", "items": _ITEM_SCHEMA}


class SchemaFault(Exception):
    """A document that the check of the schema, as Falco does it, can't get through."""


def schema_warnings(roots: list[Node]) -> list[str]:
    """How the documents depart from the schema, in Falco's words, innermost first; raises SchemaFault."""
    found: list[str] = []
    for root in roots:
        _validate(root, _FILE_SCHEMA, "<root>", found)
    return [f"failed for {fault}" for fault in found]


def _validate(node: Node, schema: dict[str, Any], path: str, found: list[str]) -> bool:
    valid = True
    wanted = schema.get("type", "")
    if "anyOf" in schema and not any(_has_type(node, name) for name in schema["anyOf"]):
        for place in range(len(schema["anyOf"])):
            found.append(f"{path}: Value type not permitted by 'type' constraint.")
            found.append(f"{path}: Failed to validate against child schema #{place}.")
        found.append(f"{path}: Failed to validate against any schemas allowed by anyOf constraint.")
        valid = False
    if "enum" in schema and (node.kind != "scalar" or node.text not in schema["enum"]):
        found.append(f"{path}: Failed to match against any enum values.")
        valid = False
    if wanted and not _has_type(node, wanted):
        found.append(f"{path}: Value type not permitted by 'type' constraint.")
        valid = False
    if wanted == "array":
        for place, item in enumerate(node.items):
            if not _validate(item, schema["items"], f"{path}[{place}]", found):
                found.append(f"{path}: Failed to validate item #{place} in array.")
                valid = False
    if wanted == "object" and node.kind == "sequence" and not node.items:
        raise SchemaFault("JSON value is not an object.")  # it passes for an empty object until its keys are counted
    if wanted == "object" and node.kind == "map":
        valid = _validate_object(node, schema, path, found) and valid
    return valid


def _validate_object(node: Node, schema: dict[str, Any], path: str, found: list[str]) -> bool:
    valid = True
    properties = schema["properties"]
    values: dict[str, Node] = {}
    for key, value in node.pairs:
        if key.name is None:
            raise SchemaFault(YamlFault("bad conversion", key.place).message)
        values.setdefault(key.name, value)
    if len(node.pairs) < schema.get("minimum", 0):
        found.append(f"{path}: Object should have no fewer than {schema['minimum']} properties.")
        valid = False
    for name in sorted(properties.keys() & values.keys()):
        if not _validate(values[name], properties[name], f"{path}[{name}]", found):
            found.append(f"{path}: Failed to validate against schema associated with property name '{name}'.")
            valid = False
    if len(properties.keys() & values.keys()) != len(node.pairs):  # a key that is there twice counts as well
        unknown = next((name for name in values if name not in properties), "")
        found.append(
            f"{path}: Object contains a property that could not be validated using 'properties' or "
            f"'additionalProperties' constraints: '{unknown}'."
        )
        valid = False
    for name in schema.get("required", ()):
        if name not in values:
            found.append(f"{path}: Missing required property '{name}'.")
            valid = False
    return valid


def _has_type(node: Node, wanted: str) -> bool:
    match wanted:
        case "array":
            return node.kind == "sequence"
        case "object":
            return node.kind == "map"
        case "boolean":
            return node.kind == "scalar" and node.text in ("true", "false")
        case "integer":
            return node.kind == "scalar" and _is_integer(node.text)
        case _:
            return node.kind == "scalar"


def _is_integer(text: str) -> bool:
    """Whether a text is a number with a sign and 64 bits."""
    match = _INTEGER.fullmatch(text)
    if match is None or len(digits := match[2].lstrip("0")) > 19:
        return False
    return -(1 << 63) <= int(f"{match[1]}{digits or 0}") < 1 << 63
