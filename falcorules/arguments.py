"""Checks the arguments of public functions, and words the errors."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any, ParamSpec, TypeVar

from falcorules.errors import FalcoRulesError

_P = ParamSpec("_P")
_T = TypeVar("_T")

# An annotation without what stands in brackets -> the type it stands for, and its name in a message.
_KINDS: Mapping[str, tuple[Any, str]] = {
    "None": (type(None), ""),
    "str": (str, "text"),
    "bool": (int, "True or False"),
    "int": (int, "a whole number"),
    "Path": (PurePath, "a path"),
    "Mapping": (Mapping, "a mapping"),
    "Iterable": (Iterable, "several values"),
    "Sequence": (Iterable, "several values"),
}


def near(name: object, names: Iterable[str], *, cutoff: float = 0.5) -> str:
    """`Did you mean 'a' or 'b'? ` with the most similar of `names`, ignoring case; empty if none is similar."""
    by_lower = {known.lower(): known for known in names}
    text = str(name).strip().lower()[:200]
    found = difflib.get_close_matches(text, by_lower, 3, cutoff)
    if len(text) >= 3:
        found += [known for known in by_lower if text in known and known not in found]
    return f"Did you mean {' or '.join(repr(by_lower[known]) for known in found[:3])}? " if found else ""


def shown(value: object, width: int = 60) -> str:
    """The `repr` of a value on one line, cut to `width` characters."""
    try:
        text = repr(value[: 2 * width] if isinstance(value, str | bytes) else value)
    except Exception:  # a class may have a `__repr__` that fails
        text = f"a {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 3]}..."


def checked(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Checks arguments against the names of the parameters and, where these are simple, their annotations.

    A wrong call raises `FalcoRulesError`.
    """
    label = function.__qualname__.removesuffix(".__init__")
    signature = inspect.signature(function)
    names = [name for name in signature.parameters if name != "self"]
    kinds = {name: _kind(str(signature.parameters[name].annotation)) for name in names}

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            unknown = next((name for name in kwargs if name not in names), None)
            said = f"it takes no {unknown!r}" if unknown else str(error)
            hint = f"{near(unknown, names) if unknown else ''}It takes {', '.join(names)}."
            raise FalcoRulesError(f"{label}() can't be called like this: {said}.", hint=hint) from None
        for name, value in bound.arguments.items():
            types, words = kinds.get(name, ((), ""))
            if types and not isinstance(value, types):
                raise FalcoRulesError(f"{label}(): {name} is {shown(value)}.", hint=f"It has to be {words}.")
        return function(*args, **kwargs)

    return call


def _kind(annotation: str) -> tuple[tuple[Any, ...], str]:
    """The types that an annotation allows, and their names; nothing if it isn't a simple one."""
    outer = annotation
    while (inner := re.sub(r"\[[^\[\]]*\]", "", outer)) != outer:
        outer = inner
    found = [_KINDS.get(alternative.strip()) for alternative in outer.split("|")]
    known = [kind for kind in found if kind]
    if len(known) < len(found):
        return (), ""
    return tuple(kind for kind, _ in known), " or ".join(words for _, words in known if words)
