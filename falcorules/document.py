"""Reads the YAML of rule files as yaml-cpp does, into nodes with byte positions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from falcorules.yaml_scanner import Place, Scanner, as_utf8, decoded

# At this depth, Falco's YAML reader gives up too.
MAX_NESTING = 500

_NULLS = ("", "~", "null", "Null", "NULL")
_TRUE = re.compile(r"y|Y|yes|Yes|YES|true|True|TRUE|on|On|ON")
_FALSE = re.compile(r"n|N|no|No|NO|false|False|FALSE|off|Off|OFF")
_NUMBER = re.compile(r"\+?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)[ \t\n\v\f\r]*")


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
        """The text of a key or an operation; None for a map or a sequence."""
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


_MOST_KEPT = 1 << 16  # bytes


def documents(content: bytes) -> tuple[Node, ...]:
    """The documents of a file up to the first empty one. Aliases are shared nodes. Raises YamlFault.

    The last files of less than 64 KiB are kept: the default rules are read again with each try of a rule.
    """
    return (_documents if len(content) < _MOST_KEPT else _documents.__wrapped__)(content)


@lru_cache(8)
def _documents(content: bytes) -> tuple[Node, ...]:
    return tuple(_Parser(Scanner(as_utf8(content).decode("latin-1"))).documents())


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
    def __init__(self, scanner: Scanner) -> None:
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
            while (after := self._scanner.peek()) is not None and after.kind == "document end":
                self._scanner.pop()
            if document.kind == "null":  # as in Falco, what follows is not read
                return found
            found.append(document)
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
        """The next node if it is complete; None if a map or sequence was opened."""
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
                node = Node("scalar", place, decoded(token.value))
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
        """The next node in an open map or sequence; None if another one was opened in it, _CLOSED at the end."""
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
