"""Helm's grammar of `--set` and its relatives: `a.b=c,d[0].e={f,g}`, with backslashes before what is no separator."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

_MOST_NESTED = 30
_HIGHEST_INDEX = 65536


class Integer(int):
    """An integer of `--set`. Others, from files and JSON, are floating point numbers to Helm."""


KINDS: dict[type, str] = {  # how Go names them
    Integer: "int64",
    str: "string",
    bool: "bool",
    int: "float64",
    float: "float64",
    list: "[]interface {}",
    dict: "map[string]interface {}",
}

Read = Callable[[str], Any]


class StrvalsError(Exception):
    """A setting that Helm refuses, in its words."""


class _End(Exception):
    """The text has ended."""


def typed(text: str) -> Any:
    """The value of `--set`: true, false, null and integers are no texts, in whatever case."""
    words = {"true": True, "false": False, "null": None, "0": Integer(0)}
    if text.lower() in words:
        return words[text.lower()]
    if re.fullmatch(r"[+-]?[0-9]+", text) and text[0] != "0" and -(1 << 63) <= int(text) < 1 << 63:
        return Integer(text)
    return text


def put(values: dict[str, Any], text: str, read: Read = typed) -> None:
    """Puts a line of settings into `values`; `read` makes values of texts. Raises `StrvalsError`."""
    _Parser(text, read).parse(values)


def put_json(values: dict[str, Any], text: str) -> None:
    """The same, with values in JSON."""
    _Parser(text, None).parse(values)


def put_literal(values: dict[str, Any], text: str) -> None:
    """The same for one setting whose value is all that follows, without escapes."""
    _Parser(text, str, literal=True).parse(values)


class _Parser:
    def __init__(self, text: str, read: Read | None, *, literal: bool = False) -> None:
        self._text = text
        self._at = 0
        self._read = read
        self._literal = literal

    def parse(self, values: dict[str, Any]) -> None:
        try:
            while True:
                self._key(values, 0)
        except _End:
            return

    def _until(self, stops: str) -> tuple[str, str]:
        """The text before one of `stops`, and which it is: "" at the end."""
        found = ""
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character in stops:
                return found, character
            if character == "\\" and not self._literal:
                if self._at == len(self._text):
                    return found, ""
                character = self._text[self._at]
                self._at += 1
            found += character
        return found, ""

    def _key(self, values: dict[str, Any], nested: int) -> None:
        name, stop = self._until("=[." if self._literal else "=[,.")
        if not stop:
            if not name:
                raise _End
            raise StrvalsError(f"key {_quoted(name)} has no value")
        if stop == ",":
            _set(values, name, "")
            raise StrvalsError(f"key {_quoted(name)} has no value (cannot end with ,)")
        if stop == "=":
            self._value(lambda value: _set(values, name, value))
        elif stop == "[":
            index = self._index()
            items = _expected(values.get(name, []) if name in values else [], list)
            try:
                items = self._item(items, index, nested)
            finally:
                _set(values, name, items)
        else:
            if nested + 1 > _MOST_NESTED:
                raise StrvalsError(
                    f"value name nested level is greater than maximum supported nested level of {_MOST_NESTED}"
                )
            inner = _expected(values[name], dict) if name in values else {}
            try:
                self._key(inner, nested + 1)
            finally:
                if inner:
                    _set(values, name, inner)
            if not inner:
                raise StrvalsError(f"key map {_quoted(name)} has no value")

    def _value(self, keep: Callable[[Any], None]) -> None:
        if self._literal:
            keep(self._until("")[0])
            return
        if self._read is None:
            keep(self._json())
            return
        if self._at == len(self._text):
            keep("")
            raise _End
        keep(self._list() if self._text[self._at] == "{" else self._read(self._until(",")[0]))

    def _list(self) -> list[Any]:
        assert self._read is not None
        self._at += 1
        items = []
        while True:
            text, stop = self._until(",}")
            if not stop:
                raise StrvalsError("list must terminate with '}'")
            items.append(self._read(text))
            if stop == "}":
                if self._text[self._at : self._at + 1] == ",":
                    self._at += 1
                return items

    def _json(self) -> Any:
        if self._is_empty():
            return None
        try:
            value, end = json.JSONDecoder().raw_decode(self._text, self._at)
        except ValueError as error:
            raise StrvalsError(str(error)) from error
        self._at = end
        self._is_empty()
        return value

    def _is_empty(self) -> bool:
        """Whether a comma or the end follows, after blanks, which are read as well."""
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        if self._text[self._at : self._at + 1] == ",":
            self._at += 1
            return True
        return self._at == len(self._text)

    def _index(self) -> int:
        text, stop = self._until("]")
        if not stop:
            raise StrvalsError("error parsing index: EOF")
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            raise StrvalsError(f"error parsing index: strconv.Atoi: parsing {_quoted(text)}: invalid syntax")
        return int(text)

    def _item(self, items: list[Any], index: int, nested: int) -> list[Any]:
        if index < 0:
            raise StrvalsError(f"negative {index} index not allowed")
        text, stop = self._until("[.=")
        if text:
            raise StrvalsError(f"unexpected data at end of array index: [{' '.join(map(repr, text))}]")
        if not stop:
            raise _End
        there = items[index] if index < len(items) else None
        if stop == "=":
            kept: list[list[Any]] = [items]

            def keep(value: Any) -> None:
                kept[0] = _set_item(items, index, value)

            with contextlib.suppress(_End):
                self._value(keep)
            return kept[0]
        if stop == "[":
            more = self._index()
            return _set_item(
                items, index, self._item(_expected(there, list) if there is not None else [], more, nested)
            )
        inner = there if isinstance(there, dict) else {}
        self._key(inner, nested)
        return _set_item(items, index, inner)


def _set(values: dict[str, Any], name: str, value: Any) -> None:
    if name:
        values[name] = value


def _set_item(items: list[Any], index: int, value: Any) -> list[Any]:
    if index > _HIGHEST_INDEX:
        raise StrvalsError(f"index of {index} is greater than maximum supported index of {_HIGHEST_INDEX}")
    items = items + [None] * (index + 1 - len(items))
    items[index] = value
    return items


def _expected(value: Any, kind: type) -> Any:
    if isinstance(value, kind):
        return value
    found = "nil" if value is None else KINDS.get(type(value), "string")
    raise StrvalsError(f"unable to parse key: interface conversion: interface {{}} is {found}, not {KINDS[kind]}")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
