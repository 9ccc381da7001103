"""Falco's report on rule files: errors and warnings with locations, as its JSON, its text, and a table in notebooks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from falcorules import markup
from falcorules.arguments import near

# Each code: the short form that the text shows; for warnings also the description that the JSON shows.
ERRORS = {
    "LOAD_ERR_FILE_READ": "File read error",
    "LOAD_ERR_YAML_PARSE": "YAML parse error",
    "LOAD_ERR_YAML_VALIDATE": "Error validating internal structure of YAML file",
    "LOAD_ERR_COMPILE_CONDITION": "Error compiling condition",
    "LOAD_ERR_COMPILE_OUTPUT": "Error compiling output",
    "LOAD_ERR_VALIDATE": "Error validating rule/macro/list/exception objects",
    "LOAD_ERR_EXTENSION": "Error in extension item",
}
WARNINGS = {
    "LOAD_UNKNOWN_SOURCE": (
        "Unknown event source",
        "A rule has a unknown event source. This can occur when reading rules content without having a "
        "corresponding plugin loaded, etc. The rule will be silently ignored.",
    ),
    "LOAD_UNSAFE_NA_CHECK": (
        "Unsafe <NA> comparison in condition",
        "Comparing a field value with <NA> is unsafe and can lead to unpredictable behavior of the rule condition. "
        "If you need to check for the existence of a field, consider using the 'exists' operator instead.",
    ),
    "LOAD_NO_EVTTYPE": (
        "Condition has no event-type restriction",
        "A rule condition matches too many evt.type values. This has a significant performance penalty. Make the "
        "condition more specific by adding an evt.type field or further restricting the number of evt.type values "
        "in the condition.",
    ),
    "LOAD_UNKNOWN_FILTER": (
        "Unknown field or event-type in condition or output",
        "A rule condition or output refers to a field or evt.type that does not exist. This is normally an error, "
        "but if a rule has a skip-if-unknown-filter property, the error is downgraded to a warning.",
    ),
    "LOAD_UNUSED_MACRO": (
        "Unused macro",
        "A macro is defined in the rules content but is not used by any other macro or rule.",
    ),
    "LOAD_UNUSED_LIST": (
        "Unused list",
        "A list is defined in the rules content but is not used by any other list, macro, or rule.",
    ),
    "LOAD_UNKNOWN_ITEM": (
        "Unknown rules file item",
        "An unknown top-level object is in the rules content. It will be ignored.",
    ),
    "LOAD_DEPRECATED_ITEM": (
        "Used deprecated item",
        "A deprecated item is employed by lists, macros, or rules.",
    ),
    "LOAD_WARNING_EXTENSION": ("Warning in extension item", "An extension item has a warning"),
    "LOAD_APPEND_NO_VALUES": (
        "Overriding/appending with no values",
        "A rule exception is overriding/appending with no values",
    ),
    "LOAD_EXCEPTION_NAME_NOT_UNIQUE": (
        "Multiple exceptions defined with the same name",
        "A rule is defining multiple exceptions with the same name",
    ),
    "LOAD_INVALID_MACRO_NAME": ("Invalid macro name", "A macro is defined with an invalid name"),
    "LOAD_INVALID_LIST_NAME": ("Invalid list name", "A list is defined with an invalid name"),
    "LOAD_COMPILE_CONDITION": (
        "Warning in rule condition",
        "A rule condition or output have been parsed with a warning",
    ),
    "LOAD_UNKNOWN_KEY": (
        "Unknown key in item definition",
        "An item in the rules content contains an unrecognized key. The key will be ignored. This may indicate a "
        "typo or a property placed on the wrong item type.",
    ),
}

_SNIPPET_WIDTH = 160


@dataclass(frozen=True)
class Location:
    """A place in a file or condition. `line`, `column` and `offset` count from 0, in bytes."""

    item_type: str
    item_name: str = ""
    name: str = ""
    line: int = 0
    column: int = 0
    offset: int = 0

    def to_dict(self) -> dict[str, Any]:
        position = {"column": self.column, "line": self.line, "name": self.name, "offset": self.offset}
        return {"item_name": self.item_name, "item_type": self.item_type, "position": position}

    def __str__(self) -> str:
        item = f"{self.item_type} '{self.item_name}'" if self.item_name else self.item_type
        return f"{item}: ({self.name}:{self.line}:{self.column})"


@dataclass(frozen=True)
class Problem:
    """An error or a warning: Falco's code, the message, and the locations from the file down to the place."""

    code: str
    message: str
    locations: tuple[Location, ...]
    snippet: str = ""
    # The field that a warning calls deprecated.
    deprecated_field: str = ""

    @property
    def location(self) -> Location:
        """The innermost location."""
        return self.locations[-1]

    @property
    def suggestion(self) -> str:
        """`Did you mean 'proc.name'? ` for an unknown field, or where an unknown macro is defined; empty if neither."""
        from falcorules.fields import fields
        from falcorules.rulesets import default_rules

        if unknown := re.search(r"nonexistent field ([\w.]+)", self.message):
            return near(unknown[1], fields(), cutoff=0.7)
        if unknown := re.search(r"Undefined macro '([^']+)'", self.message):
            macros = re.findall(r"(?m)^- macro: (\S+)", default_rules()[1])
            if unknown[1] in macros:
                return "Falco's default rules define it: load them before (--default-rules). "
            return near(unknown[1], macros, cutoff=0.7)
        return ""

    @property
    def shown_snippet(self) -> str:
        """The line and the caret, indented, on lines of their own; empty if there is no context."""
        lines = [] if self.snippet.startswith("<No context") else self.snippet.rstrip("\n").splitlines()
        return "".join(f"\n    {line}" for line in lines)

    def to_dict(self) -> dict[str, Any]:
        deprecated = {"deprecated_field": self.deprecated_field} if self.deprecated_field else {}
        return {
            **deprecated,
            "code": self.code,
            "codedesc": ERRORS[self.code] if self.code in ERRORS else WARNINGS[self.code][1],
            "context": {"locations": [place.to_dict() for place in self.locations], "snippet": self.snippet},
            "message": self.message,
        }

    def __str__(self) -> str:
        title = ERRORS[self.code] if self.code in ERRORS else WARNINGS[self.code][0]
        if self.deprecated_field:
            title += f": field '{self.deprecated_field}'"
        places = "\n    ".join(map(str, self.locations))
        return f"In {places}\n------\n{self.snippet}------\n{self.code} ({title}): {self.message}\n"


@dataclass
class FileReport:
    """The report on one rule file. `schema_warnings` is None for a file that is empty or isn't YAML."""

    name: str
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    schema_warnings: list[str] | None = None

    @property
    def successful(self) -> bool:
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Falco's JSON object for the file."""
        schema = (
            {}
            if self.schema_warnings is None
            else {"schema_valid": not self.schema_warnings, "schema_warnings": self.schema_warnings}
        )
        return {
            "errors": [problem.to_dict() for problem in self.errors],
            "name": self.name,
            **schema,
            "successful": self.successful,
            "warnings": [problem.to_dict() for problem in self.warnings],
        }

    def __str__(self) -> str:
        if self.successful and self.warnings:
            return f"{self.name}: Ok, with warnings\n"
        parts = [f"{self.name}: {'Ok' if self.successful else 'Invalid'}\n"]
        if self.schema_warnings:
            lines = "".join(f"{warning}\n------\n" for warning in self.schema_warnings)
            parts.append(f"{len(self.schema_warnings)} Schema warnings:\n------\n{lines}\n")
        if self.successful:
            return "".join(parts)
        parts.append(f"{len(self.errors)} Errors:\n{''.join(map(str, self.errors))}")
        if self.warnings:
            parts.append(f"\n{len(self.warnings)} Warnings:\n{''.join(map(str, self.warnings))}")
        return f"{''.join(parts)}\n"


@dataclass(repr=False)
class Report:
    """The reports of several rules files, in the order in which they were loaded.

    `refused` is Falco's error if it stops without a report, else "": for a missing plugin, or by a `crash`, which is
    "exception" or "abort".
    """

    files: list[FileReport] = field(default_factory=list)
    refused: str = ""
    crash: str = ""

    @property
    def errors(self) -> list[Problem]:
        return [problem for file in self.files for problem in file.errors]

    @property
    def warnings(self) -> list[Problem]:
        return [problem for file in self.files for problem in file.warnings]

    @property
    def successful(self) -> bool:
        return not self.errors and not self.refused

    def to_dict(self) -> dict[str, Any] | None:
        """The JSON object of `falco -V FILE -o json_output=true`; None if it prints nothing."""
        return None if self.refused else {"falco_load_results": [file.to_dict() for file in self.files]}

    @property
    def said(self) -> str:
        """What Falco writes to stderr if it stops without a report."""
        if not self.refused or self.crash == "abort":
            return self.refused
        return f"Runtime error: {self.refused}. Exiting." if self.crash else f"Error: {self.refused}"

    def to_json(self) -> str:
        """`to_dict()` as one line of JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"), ensure_ascii=False)

    def __str__(self) -> str:
        """As `falco -V FILE` prints it."""
        return "" if self.refused else "".join(map(str, self.files))

    def __repr__(self) -> str:
        return (self.refused or str(self)).rstrip()

    def _repr_html_(self) -> str:
        boxes = [_refusal_box(self.refused)] if self.refused else []
        return "".join([*boxes, *map(_file_box, self.files)])


def _refusal_box(text: str) -> str:
    return markup.box(markup.badge("refused", markup.TONES["bad"]) + " " + markup.escaped(text), markup.TONES["bad"][0])


def _file_box(file: FileReport) -> str:
    """A file's verdict, and below it each problem with its place, its code and its line."""
    word, tone = ("invalid", "bad") if file.errors else ("ok", "good")
    verdict = markup.badge(word, markup.TONES[tone])
    if file.warnings and not file.errors:
        tone = "warning"
        verdict = markup.Html(verdict + " " + markup.badge("with warnings", markup.TONES[tone]))
    name = markup.styled(file.name, "font-weight:600;overflow-wrap:anywhere")
    problems = "".join(_problem_html(file, problem) for problem in [*file.errors, *file.warnings])
    return markup.box(f"<div>{verdict} {name}</div>{problems}", markup.TONES[tone][0])


def _problem_html(file: FileReport, problem: Problem) -> str:
    place = next((p for p in reversed(problem.locations) if p.name == file.name), problem.location)
    named = next((p for p in reversed(problem.locations) if p.item_name), problem.location)
    is_error = problem.code in ERRORS
    word = markup.styled("error" if is_error else "warning", markup.BAD if is_error else markup.WARNING, "b")
    where = f"line {place.line + 1}, {named.item_type} {named.item_name}".strip()
    said = f"{problem.message}. {problem.suggestion}" if problem.suggestion else problem.message
    title = ERRORS[problem.code] if is_error else WARNINGS[problem.code][0]
    return (
        f'<div style="margin-top:0.5em">{word} {markup.styled(where, markup.FAINT)}, {markup.escaped(title)} '
        f"({markup.styled(problem.code, f'{markup.MONO};overflow-wrap:anywhere')})</div>"
        f"{_snippet_html(problem)}{markup.styled(said, 'overflow-wrap:anywhere', 'div')}"
    )


def _snippet_html(problem: Problem) -> str:
    """The line with what is wrong in it marked: the field that the message names, or the word at the caret."""
    line, _, caret = problem.snippet.rstrip("\n").rpartition("\n")
    if caret.strip() != "^":
        line, caret = problem.snippet.strip("\n"), ""
    if not line or line.startswith("<No context"):
        return ""
    named = re.search(r"nonexistent field ([\w.]+)", problem.message)
    wrong = named[1] if named else problem.deprecated_field
    start = line.find(wrong) if wrong else -1
    if start < 0:
        start = len(caret) - 1 if caret else len(line)
        word = re.match(r"[\w.]*\W?", line[start:])
        # In a condition the caret is often at the end of the line, wherever the fault is: then it marks a letter.
        wrong = word[0].rstrip() if word and (len(word[0]) > 1 or not word[0].isalnum()) else ""
    mark = markup.styled(wrong, f"{markup.BAD};font-weight:700;text-decoration:underline wavy") if wrong else ""
    shown = markup.escaped(line[:start]) + mark + markup.escaped(line[start + len(wrong) :])
    return markup.code(markup.Html(shown), "margin-left:1.2em")


def snippet(contents: Mapping[str, bytes], place: Location, expression: bytes | None = None) -> str:
    """The line at a place and a caret below it, cut as Falco cuts it.

    `expression` is the text of the condition if the place is in one. As in Falco, the offset of such a place counts
    from the start of the file, so that the caret is often at the end.
    """
    content = contents.get(place.name, b"") if expression is None else expression
    if not content:
        return "<No context available>\n"
    last = len(content) - 1
    at = min(place.offset, len(content))
    while at > 0 and (at > last or content[at] == 0x0A):
        at -= 1
    half = _SNIPPET_WIDTH // 2
    if content[at] == 0x0A:  # an empty line at the start: the rest of the file, Falco's behaviour again
        rest = content[1:]
        cut = b"..." + rest[3:]
        return f"{cut[:-3].decode('utf-8', 'replace')}...\n" if rest else "<No context available>\n"
    start = at
    while start > 0 and content[start] != 0x0A and at - start < half:
        start -= 1
    end = at
    while end < last and content[end] != 0x0A and end - at < half:
        end += 1
    if content[start] == 0x0A:
        start += 1
    if content[end] == 0x0A:
        end -= 1
    line = content[start : end + 1]
    if at - start >= half:
        line = b"..." + line[3:]
    if end - at >= half:
        line = line[:-3] + b"..."
    text = line.decode("utf-8", "replace") + "\n"
    return text + " " * (at - start) + "^\n" if at - start <= len(line) else text
