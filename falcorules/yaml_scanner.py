"""Splits YAML text into tokens as yaml-cpp, Falco's YAML reader, does.

It accepts other texts than other readers do, and reports other errors at other places. Some tokens hold only once a `:`
proves that a map's key came before it.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from typing import NamedTuple, NoReturn


class YamlFault(Exception):
    """The text is not YAML. `place` is None if the error has no position."""

    def __init__(self, message: str, place: Place | None) -> None:
        line, column, _ = place or (-1, -1, 0)
        where = f"error at line {line + 1}, column {column + 1}: "
        self.message = f"yaml-cpp: {where}{message}".partition("\0")[0]
        super().__init__(self.message)
        self.place = place


class Place(NamedTuple):
    """A position in a file, from 0, in bytes."""

    line: int
    column: int
    offset: int


def as_utf8(content: bytes) -> bytes:
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


def decoded(text: str) -> str:
    """Decodes a text of which each character stands for a byte of UTF-8."""
    return text if text.isascii() else text.encode("latin-1").decode("utf-8", "replace")


# Marks the end of the text. As in yaml-cpp, the byte has the same effect within a text.
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


def _line_starts(text: str) -> list[int]:
    """Where lines start. A line ends with the kind of line break that comes first; NULs before that end lines, too."""
    first = re.search("\r\n?|\n", text)
    end = "\r" if first and first[0] == "\r" else "\n"
    nuls = re.finditer("\0", text[: first.start() if first else None])
    return [0, *(match.end() for match in nuls), *(match.end() for match in re.finditer(end, text))]


class Token:
    """A token. `valid` is None until it is known whether the token holds."""

    __slots__ = ("kind", "place", "plain", "valid", "value")

    def __init__(self, kind: str, place: Place, value: str = "", valid: bool | None = True) -> None:
        self.kind = kind
        self.place = place
        self.value = value
        self.valid = valid
        self.plain = False


class _Indent:
    __slots__ = ("column", "start", "token", "valid")

    def __init__(self, column: int, start: str, token: Token | None) -> None:
        self.column = column
        self.start = start  # "seq", "map" or "" at the bottom
        self.token = token
        self.valid: bool | None = True


class _Key(NamedTuple):
    """A possible key of a map."""

    place: Place
    flow_level: int
    indent: _Indent | None
    token: Token


class _Style(NamedTuple):
    """How a scalar is read. `run` matches plain characters; `fold` is "flow", "block" or ""."""

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


class Scanner:
    """Makes tokens of a text of which each character stands for a byte."""

    def __init__(self, text: str) -> None:
        self.end = len(text)
        self.text = f"{text}{_END * 16}"
        self.pos = 0
        self._starts = [*_line_starts(text), sys.maxsize]
        self._line = 0
        self._column_reset = False
        self._tokens: deque[Token] = deque()
        self._ended = False
        self._key_allowed = True
        self._scalar_allowed = True  # not after a quoted one on the same line, outside of flows
        self._json_flow = False
        self._keys: list[_Key] = []
        self._indents = [_Indent(-1, "", None)]
        self._flows: list[str] = []

    def peek(self) -> Token | None:
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
        raise YamlFault(decoded(message), place or self.place())

    @property
    def _column(self) -> int:
        while self._starts[self._line + 1] <= self.pos:
            self._line += 1
        return 0 if self._column_reset else self.pos - self._starts[self._line]

    def _push(self, kind: str, place: Place, value: str = "", valid: bool | None = True) -> Token:
        token = Token(kind, place, value, valid)
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
            if self._column == 0:
                self.fail("plain value cannot start with flow indicator character")
            if not self._scalar_allowed:
                self.fail("unexpected scalar")
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
        if not self._scalar_allowed:
            self.fail("unexpected scalar")
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
            self._scalar_allowed = True
            if not self._flows:
                self._key_allowed = True

    def _eat_break(self) -> None:
        if self.text[self.pos] in _BREAKS:
            self.pos += 2 if self.text.startswith("\r\n", self.pos) else 1

    def _finish(self) -> None:
        self._column_reset = True
        self._pop_all_indents()
        self._keys.clear()
        self._key_allowed = self._scalar_allowed = False
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
        """Settles a key without a value in a flow map, or a plain item in a flow sequence."""
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
        self._scalar_allowed = True
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
        self._key_allowed, self._scalar_allowed, self._json_flow = False, bool(self._flows), True
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
        """Whether a scalar ends here; a quoted one ends at its quote."""
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
        """The value with the line breaks at its end as the block's chomping says."""
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
