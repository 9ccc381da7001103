"""Reads and merges the values of a chart: values files, `--set` options, the chart's defaults."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from ekslab.helm import strvals
from ekslab.helm.errors import HelmError
from ekslab.helm.strvals import StrvalsError

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


def read(
    files: Iterable[Path | str],
    settings: Iterable[str] = (),
    texts: Iterable[str] = (),
    *,
    json_settings: Iterable[str] = (),
    file_settings: Iterable[str] = (),
    literals: Iterable[str] = (),
) -> Values:
    """The user's values: files in order (later ones win), then `--set-json`, `--set` (`settings`), `--set-string`
    (`texts`), `--set-file` and `--set-literal`, as Helm puts them together. Raises `HelmError`.
    """
    merged: Values = {}
    for file in files:
        merged = merge(merged, _read_file(file))
    for text in json_settings:
        try:
            strvals.put_json(merged, text)
        except StrvalsError as error:
            raise HelmError(f"failed parsing --set-json data {text}") from error
    ways: tuple[tuple[str, Iterable[str], Callable[[Values, str], None]], ...] = (
        ("--set", settings, strvals.put),
        ("--set-string", texts, lambda values, text: strvals.put(values, text, str)),
        ("--set-file", file_settings, lambda values, text: strvals.put(values, text, _contents)),
        ("--set-literal", literals, strvals.put_literal),
    )
    for name, lines, put in ways:
        for line in lines:
            try:
                put(merged, line)
            except StrvalsError as error:
                raise HelmError(f"failed parsing {name} data: {error}") from error
    return merged


def _contents(path: str) -> str:
    """What is in a file; `-` is standard input. Raises `StrvalsError`."""
    if path.strip() == "-":
        return sys.stdin.read()
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        verb = "read" if isinstance(error, IsADirectoryError) else "open"
        raise StrvalsError(f"{verb} {path}: {(error.strerror or str(error)).lower()}") from error


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
                warn(f"warning: cannot overwrite table with non table for {where} ({go(default)})")
        elif isinstance(result[key], dict) and default is not None:
            if "." in path:
                warn(f"warning: destination for {where} is a table. Ignoring non-table value ({go(default)})")
            else:
                warn(f"warning: skipped value for {where}: Not a table.")
    return result


def _read_file(file: Path | str) -> Values:
    try:
        text = _contents(str(file))
    except StrvalsError as error:
        raise HelmError(str(error)) from error
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise HelmError(
            f"failed to parse {file}: error converting YAML to JSON: yaml: invalid leading UTF-8 octet"
        ) from error
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


def go(value: Any) -> str:
    """A value as Go prints it."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{go(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go, value)) + "]"
    if value is None:
        return "<nil>"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e6:
        return str(int(value))
    return str(value).lower() if isinstance(value, bool) else str(value)
