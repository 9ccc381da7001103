"""Shows files and data in colour, with the lines that matter marked and placeholders explained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from falcorules import markup
from labkit.calls import short_repr
from labkit.errors import LabError

PLACEHOLDER = re.compile(r"\$\{(\w+)\}")

_LANGUAGES = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".sh": "bash", ".py": "python", ".toml": "toml"}
_RULES = re.compile(r"^ *- (rule|macro|list):", re.M)
# A file in a YAML file, as in a ConfigMap: the key with its name, and the indented lines below it.
_EMBEDDED = re.compile(r"^(?P<indent> *)[\w.-]+\.ya?ml: *[|>][-+]?\n(?P<file>(?:(?P=indent) +\S.*\n?|[ ]*\n)+)", re.M)

# Kinds of token as Pygments calls them, and the style of each; the first that a token is of counts.
_HUE = "color:color-mix(in srgb, {} 54%, currentColor)"
_STYLES = {
    "Comment": f"{markup.FAINT};font-style:italic",
    "Name.Tag": _HUE.format("#1565c0"),
    "Name.Builtin": _HUE.format("#1565c0"),
    "Keyword": _HUE.format("#a040c0"),
    "Operator": _HUE.format("#a040c0"),
    "Literal.String": _HUE.format("#1b7f3b"),
    "Literal.Number": _HUE.format("#00838f"),
    "Field": _HUE.format("#00838f"),
}
_PLACEHOLDER_STYLE = f"{_HUE.format('#b85c00')};font-weight:700"
_MARKED = "background:color-mix(in srgb, #f2a93b 12%, transparent);border-left:3px solid #f2a93b"
_LINE = "padding:0 0.6em;text-indent:-2ch;padding-left:calc(0.6em + 2ch)"

# What Falco's conditions are made of.
_CONDITION = re.compile(
    r"(?P<Keyword>\b(?:and|or|not|in|intersects|pmatch|exists|startswith|endswith|contains|icontains|bcontains|"
    r"bstartswith|iglob|glob|iregex|regex)\b)|(?P<Field>\b[a-z0-9]+(?:\.[a-z_0-9]+)+(?:\[[^\]\s]*\])?)|"
    r"(?P<Operator>[=!<>]=?)"
)


@dataclass(frozen=True)
class Source:
    """A text to look at. Displayed, it is in colour; printed, marked lines begin with `>`. `str()` is the text.

    `notes` are pairs of a line's number (from 0) and what there is to say about it, empty if it is only marked.
    `placeholders` are triples: `${name}`, what it stands for, its value here.
    """

    text: str
    language: str = ""
    name: str = ""
    notes: tuple[tuple[int, str], ...] = ()
    placeholders: tuple[tuple[str, str, str], ...] = ()

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        numbers = self._numbers()
        marked = {line for line, _ in self.notes}
        lines = self.text.splitlines()
        if marked:
            lines = [f"{'>' if i in marked else ' '} {line}" for i, line in enumerate(lines)]
        lines = [f"{line}  ({numbers[i]})" if i in numbers else line for i, line in enumerate(lines)]
        said = [f"({numbers[line]}) {note}" for line, note in self._said()]
        filled = [f"{name}  {what}{f'; here {value}' if value else ''}" for name, what, value in self.placeholders]
        return "\n\n".join("\n".join(part) for part in (lines, said, filled) if part)

    def _repr_html_(self) -> str:
        numbers = self._numbers()
        marked = {line for line, _ in self.notes}
        body = []
        for i, line in enumerate(_coloured(self.text, self.language)):
            number = markup.styled(str(numbers[i]), _NUMBER) if i in numbers else ""
            style = f"{_LINE};{_MARKED if i in marked else 'border-left:3px solid transparent'}"
            body.append(markup.styled(markup.Html((line or " ") + number), style, "div"))
        head = markup.styled(self.name, f"{markup.FAINT};font-size:0.9em", "div") if self.name else ""
        frame = f"border:{markup.LINE};border-radius:4px;padding:0.4em 0"
        code = markup.code(markup.Html("".join(body)), frame)
        said = "".join(
            f"<div>{markup.styled(str(numbers[line]), _NUMBER)} {markup.with_code(note)}</div>"
            for line, note in self._said()
        )
        filled = markup.table(("placeholder", "stands for", "here"), self.placeholders) if self.placeholders else ""
        # JupyterLab would take what is between two dollar signs for a formula.
        return f'<div class="mathjax_ignore" style="max-width:100%;text-align:left">{head}{code}{said}{filled}</div>'

    def _said(self) -> list[tuple[int, str]]:
        """The first line of each note, which has its number."""
        first: dict[str, int] = {}
        for line, note in self.notes:
            if note:
                first.setdefault(note, line)
        return [(line, note) for note, line in first.items()]

    def _numbers(self) -> dict[int, int]:
        """Numbers of the notes, by line."""
        return {line: number for number, (line, _) in enumerate(self._said(), 1)}


_NUMBER = (
    "display:inline-block;min-width:1.4em;padding:0 0.2em;border-radius:0.8em;text-align:center;text-indent:0;"
    "background:#f2a93b;color:#141414;font-weight:600;font-size:0.85em;margin-left:0.7em"
)


def source(
    what: str | Path | Mapping[str, Any] | Iterable[Any],
    root: Path,
    *,
    mark: str | Iterable[str] | Mapping[str, str] = (),
    language: str | None = None,
) -> Source:
    """See `Lab.show`; without placeholders."""
    from labkit.files import read_text

    name = ""
    if isinstance(what, str) and (language is not None or "\n" in what):
        text = what
    elif isinstance(what, str | Path):
        path = root / what
        text = read_text(path)
        name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
        language = language or _LANGUAGES.get(path.suffix)
    else:
        if not isinstance(what, Mapping | list | tuple):
            raise LabError(f"{short_repr(what)} can't be shown.", hint="Give a file's path, a dict or a list.")
        try:
            text = json.dumps(what, indent=2, default=str, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise LabError(
                f"{short_repr(what)} can't be shown as JSON: {error}.", hint="Give a file's path, a dict or a list."
            ) from error
        language = language or "json"
    if language in (None, "yaml") and _RULES.search(text):
        language = "falco"
    text = text.strip("\n")
    return Source(text, language or "", name, tuple(_notes(text, mark)))


def _notes(text: str, mark: str | Iterable[str] | Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """The lines that patterns match, each once, with what is said of the first pattern that does."""
    patterns = [mark] if isinstance(mark, str) else list(mark)
    notes = mark if isinstance(mark, Mapping) else {}
    found: dict[int, str] = {}
    for pattern in patterns:
        try:
            lines = [i for i, line in enumerate(text.splitlines()) if re.search(pattern, line)]
        except re.error as error:
            hint = "In a regular expression $ ( ) [ ] { } . * + ? have to follow a backslash."
            raise LabError(f"{short_repr(pattern)} is no regular expression: {error}.", hint=hint) from error
        if not lines:
            raise LabError(f"No line matches {short_repr(pattern)}.", hint="mark= takes patterns of lines to mark.")
        for line in lines:
            found.setdefault(line, notes.get(pattern, ""))
    yield from sorted(found.items())


def _coloured(text: str, language: str) -> list[str]:
    """The lines as HTML."""
    lines = [""]
    for style, value in _tokens(text, language):
        for i, part in enumerate(value.split("\n")):
            if i:
                lines.append("")
            if part:
                lines[-1] += markup.styled(part, style) if style else markup.escaped(part)
    return lines


def _tokens(text: str, language: str) -> Iterator[tuple[str, str]]:
    """Pieces of the text, and the style of each."""
    yaml = language in ("falco", "yaml")
    for before, found, after in _split(_EMBEDDED, text) if yaml else (("", None, text),):
        for part in (before, after, *((text[found.start() : found.start("file")], found["file"]) if found else ())):
            key = ""
            for kind, value in _lexed(part, "yaml" if yaml else language):
                key = value if kind == "Name.Tag" else key
                yield from _styled(kind, value, condition=language == "falco" and key == "condition")


def _styled(kind: str, value: str, *, condition: bool) -> Iterator[tuple[str, str]]:
    condition = condition and kind.startswith(("Literal.Scalar", "Name.Constant"))
    style = next((style for name, style in _STYLES.items() if kind.startswith(name)), "")
    for before, found, after in _split(_CONDITION if condition else PLACEHOLDER, value):
        yield style, before
        if found is not None:
            yield _STYLES[str(found.lastgroup)] if condition else _PLACEHOLDER_STYLE, found[0]
        yield style, after


def _split(pattern: re.Pattern[str], text: str) -> Iterator[tuple[str, re.Match[str] | None, str]]:
    """What is before each match, the match, and at last what is after all of them."""
    at = 0
    for found in pattern.finditer(text):
        yield text[at : found.start()], found, ""
        at = found.end()
    yield "", None, text[at:]


def _lexed(text: str, language: str) -> Iterator[tuple[str, str]]:
    """Tokens by Pygments, which JupyterLab brings along; without it, or for another language, the text as it is."""
    try:
        from pygments.lexers import get_lexer_by_name
        from pygments.util import ClassNotFound
    except ModuleNotFoundError:
        yield "", text
        return
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False) if language and text else None
    except ClassNotFound:
        lexer = None
    if lexer is None:
        yield "", text
        return
    for kind, value in lexer.get_tokens(text):
        yield str(kind).removeprefix("Token."), value
