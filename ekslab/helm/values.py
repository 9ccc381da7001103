"""Reads and merges the values of a chart: values files, `--set` options, the chart's defaults."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from ekslab.helm.errors import HelmError

Values = dict[str, Any]

# How Go's YAML parser words what PyYAML words differently.
_GO_WORDS = {
    "mapping values are not allowed here": "mapping values are not allowed in this context",
    "expected <block end>, but found '<block mapping start>'": "did not find expected key",
    "expected <block end>, but found '-'": "did not find expected key",
    "expected <block end>, but found '<scalar>'": "did not find expected key",
    "expected <block end>, but found '?'": "did not find expected '-' indicator",
}
_GO_KINDS: dict[type, str] = {list: "array", str: "string", int: "number", float: "number", bool: "bool"}


def read(files: Iterable[Path | str], settings: Iterable[str] = (), texts: Iterable[str] = ()) -> Values:
    """The user's values: files in order (later ones win), then `--set` settings, then `--set-string` texts.

    Raises `HelmError`.
    """
    merged: Values = {}
    for file in files:
        merged = merge(merged, _read_file(Path(file)))
    for setting in settings:
        for part in _split(setting, ","):
            _set(merged, part)
    for setting in texts:
        for part in _split(setting, ","):
            _set(merged, part, typed=_unescaped)
    return merged


def merge(under: Values, over: Values) -> Values:
    """Merges maps key by key; any other value in `over` replaces the one in `under`."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def coalesce(user: Values, defaults: Values, *, warn: Callable[[str], None], path: str) -> Values:
    """Merges the user's values over a chart's defaults. `null` removes a default; type conflicts are passed to `warn`.

    `path` is the chart's name. As in Helm, a value at the top may replace a map without a warning.
    """
    result = copy.deepcopy(user)
    for key, default in defaults.items():
        where = f"{path}.{key}"
        if key not in result:
            result[key] = copy.deepcopy(default)
        elif result[key] is None:
            # A default that is null itself stays as a key.
            if default is not None:
                del result[key]
        elif isinstance(default, dict):
            if isinstance(result[key], dict):
                result[key] = coalesce(result[key], default, warn=warn, path=where)
            elif "." in path:
                warn(f"warning: cannot overwrite table with non table for {where} ({_go(default)})")
        elif isinstance(result[key], dict) and default is not None:
            if "." in path:
                warn(f"warning: destination for {where} is a table. Ignoring non-table value ({_go(default)})")
            else:
                warn(f"warning: skipped value for {where}: Not a table.")
    return result


def _read_file(file: Path) -> Values:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise HelmError(f"open {file}: no such file or directory") from None
    except (OSError, UnicodeDecodeError) as error:
        raise HelmError(f"failed to read {file}: {error}") from error
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise HelmError(f"failed to parse {file}: error converting YAML to JSON: yaml: {_problem(error)}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        kind = _GO_KINDS.get(type(document), "string")
        raise HelmError(
            f"failed to parse {file}: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {kind} "
            "into Go value of type map[string]interface {}"
        )
    return document


def _problem(error: yaml.YAMLError) -> str:
    problem = str(getattr(error, "problem", None) or error)
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    return where + _GO_WORDS.get(problem, problem)


def _split(text: str, separator: str) -> list[str]:
    """Splits at separators that aren't escaped and aren't inside braces."""
    parts, depth, current = [], 0, ""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            current += character + next(characters, "")
            continue
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == separator and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    return [*parts, current]


def _unescaped(text: str) -> str:
    return text.replace("\\", "")


def _set(values: Values, text: str, typed: Callable[[str], Any] | None = None) -> None:
    typed = typed or _typed
    key, separator, value = text.partition("=")
    if not separator:
        raise HelmError(f'failed parsing --set data: key "{key}" has no value')
    if "[" in key:
        raise HelmError(f"failed parsing --set data: the embedded lab takes lists as {{a,b}}, not {key}")
    *parents, last = [part.replace("\\", "") for part in _split(key, ".")]
    for part in parents:
        below = values.setdefault(part, {})
        if not isinstance(below, dict):
            below = values[part] = {}
        values = below
    if value.startswith("{") and value.endswith("}"):
        values[last] = [typed(item) for item in _split(value[1:-1], ",") if item]
    else:
        values[last] = typed(value)


def _typed(text: str) -> Any:
    text = _unescaped(text)
    words = {"true": True, "false": False, "null": None, "": ""}
    if text in words:
        return words[text]
    return int(text) if text.isdigit() and (text == "0" or not text.startswith("0")) else text


def _go(value: Any) -> str:
    """A value as Go prints it."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{_go(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(_go, value)) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)
