"""A rule file with the report under its lines: what Falco says of each place, in plain words and in Falco's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Literal, TypeAlias

from falcorules import ast, markup
from falcorules.advice import Known, meant, plain
from falcorules.arguments import checked
from falcorules.compile import ConditionFault, compares_with_first_only, compile_condition
from falcorules.document import Node, documents
from falcorules.engine import Sources, load_files, single_files
from falcorules.errors import RuleError
from falcorules.fields import fields
from falcorules.graph import Graph
from falcorules.loader import KEYS, Loader
from falcorules.output import BadFormat, Format
from falcorules.parser import ParseFailure, Parser
from falcorules.report import ERRORS, Problem, Report
from falcorules.yaml_scanner import YamlFault

Severity: TypeAlias = Literal["error", "warning", "todo"]

_MOST_ERRORS = 8
_WHOLE = 40  # lines of a file with faults that is shown as a whole; of others, those around a mark
_AROUND = 2
_WIDE = 110
_LONGEST = 200  # characters of Falco's message
_CUT = "⋯"
_ALTERNATIVES = re.compile(r"(?<![\w.])([a-z]+\.[\w.]+)\s*==?\s*([\w-]+(?:\s+or\s+[\w-]+(?![\w.\[-]|\s*[=!<>]))+)")
_LIST_S_NAME = re.compile(
    r"(?:\w+_)?(?:binaries|processes|procs|programs|shells)"
    r"|\w+_(?:commands|containers|directories|files|images|list|names|namespaces|paths|ports|tools|users)"
)
"""What a list is called, and hardly a program, a file or a user."""


@dataclass(frozen=True)
class Mark:
    """What is wrong at a place. `words` are plain, `said` is Falco's message and `code` its code.

    What Falco doesn't say has no code: what is left to do, and a warning of a list that isn't there. `line` counts from
    0 (-1: no place); `start` and `end` are characters in that line.
    """

    severity: Severity
    words: str
    said: str = ""
    code: str = ""
    line: int = -1
    start: int = 0
    end: int = 0


@dataclass(frozen=True, repr=False)
class Annotated:
    """A rule file, Falco's report on it and the files before it, and marks: all that is wrong, by line.

    Falco stops at a file's first error. Marks have the first of each item.
    """

    name: str
    text: str
    report: Report
    marks: tuple[Mark, ...]
    rules: tuple[str, ...] = ()
    """The rules that the file defines or changes, by name."""

    @property
    def errors(self) -> list[Mark]:
        return [mark for mark in self.marks if mark.severity == "error"]

    def __repr__(self) -> str:
        if not self.marks:
            return f"{self.name}: Falco would load it."
        out = [f"  {words}" for mark in self._placed(-1) for words in _said(mark)]
        number = len(str(len(self._lines)))
        for line in self._shown():
            if line is None:
                out.append(f"{_CUT:>{number}}")
                continue
            marks = self._placed(line)
            text, cut = _window(self._lines[line], marks)
            out.append(f"{line + 1:>{number}} | {text}".rstrip())
            for mark in marks:
                caret = " " * (mark.start - cut) + "^" * max(mark.end - mark.start, 1)
                out.append(f"{'':>{number}} | {caret}")
                out += [f"{'':>{number}} |   {words}" for words in _said(mark)]
        return "\n".join(out)

    def _repr_html_(self) -> str:
        if not self.marks:
            return markup.styled(f"{self.name}: Falco would load it.", "", "div")
        rows = [_message(mark) for mark in self._placed(-1)]
        for line in self._shown():
            marks = [] if line is None else self._placed(line)
            number = markup.styled(_CUT if line is None else str(line + 1), _NUMBER)
            code = "" if line is None else markup.styled(_underlined(self._lines[line], marks), "")
            rows.append(markup.styled(markup.Html(number + code), _LINE, "div"))
            rows += map(_message, marks)
        return markup.styled(markup.Html("".join(rows)), _BOX, "div")

    @property
    def _lines(self) -> list[str]:
        return self.text.split("\n")

    def _placed(self, line: int) -> list[Mark]:
        return [mark for mark in self.marks if mark.line == line]

    def _shown(self) -> Iterator[int | None]:
        """The numbers of the lines to show; None where some are left out."""
        last = len(self.text.rstrip().split("\n"))
        whole = last <= _WHOLE and any(mark.severity != "todo" for mark in self.marks)
        near = {mark.line + n for mark in self.marks if mark.line >= 0 for n in range(-_AROUND, _AROUND + 1)}
        before = -1
        for line in range(len(self._lines)):
            if line < last and (whole or line in near):
                if line > before + 1:
                    yield None
                yield line
                before = line


@checked
def annotate(files: Sources, name: str) -> Annotated:
    """Falco's report on files, loaded in order, with what it says of the file `name` placed in that file's text.

    Raises RuleError if there is no such file among them.
    """
    sources = list(single_files(files))
    at = next((n for n, file in enumerate(sources) if isinstance(file, tuple) and file[0] == name), None)
    if at is None:
        raise RuleError(
            f"There is no file {name!r} among these.", hint='Give it as a pair: ("mine.yaml", "- rule: ...").'
        )
    content = sources[at][1]  # type: ignore[index]
    text = content if isinstance(content, str) else content.decode("utf-8", "replace")
    loader = Loader()
    report = load_files(loader, sources)
    marks: list[Mark] = []
    found = report
    dropped: set[str] = set()
    rules: list[str] = []
    rest = text
    for _ in range(_MOST_ERRORS):
        page = _Page(name, rest, loader)
        if found is report:
            rules = [item.name for item in page.items if item.kind == "rule"]
            marks += page.of_others(found)
            marks += page.notes()
            warned = [p for file in found.files if file.name == name for p in file.warnings]
            marks += [m for p in warned if p.locations[0].name == name for m in page.of(p)]
        problem = next((p for file in found.files if file.name == name for p in file.errors), None)
        if problem is None:
            break
        item = page.item(problem)
        follows = any(f"'{other}'" in problem.message or (item and item.name == other) for other in dropped)
        if not follows and (item or problem.locations[0].name == name):
            marks += page.of(problem)
        if item is None:
            break
        dropped.add(item.name)
        lines = rest.split("\n")
        lines[item.first : item.last + 1] = [""] * (item.last + 1 - item.first)
        rest = "\n".join(lines)
        loader = Loader()
        found = load_files(loader, [*sources[:at], (name, rest), *sources[at + 1 :]])
    return Annotated(name, text, report, tuple(_in_order(marks)), tuple(dict.fromkeys(rules)))


def _in_order(marks: Iterable[Mark]) -> list[Mark]:
    """By place, errors first."""
    order = {"todo": 0, "error": 1, "warning": 2}
    return sorted(dict.fromkeys(marks), key=lambda mark: (mark.line, mark.start, order[mark.severity]))


@dataclass(frozen=True)
class _Item:
    """A list, macro or rule of the file, and its lines."""

    node: Node
    kind: str
    name: str
    first: int
    last: int

    @property
    def appends(self) -> bool:
        return self.node.get("override") is not None or self.node.get("append") is not None


@dataclass(frozen=True)
class _Fault:
    """A fault in a condition: Falco's message, and the characters that it is about."""

    message: str
    start: int
    end: int
    words: str
    note: bool = False


class _Page:
    """The text of a file, and where in it something is."""

    def __init__(self, name: str, text: str, loader: Loader) -> None:
        self.name = name
        self.text = text
        self.lines = text.split("\n")
        self._starts = [0]
        for line in self.lines:
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._bytes = text.encode("utf-8", "surrogatepass")
        self.items = list(self._items())
        self._items_of_lists = loader.list_items
        self._known = Known(loader.macro_names, loader.list_names, loader.rule_names)

    def _items(self) -> Iterator[_Item]:
        try:
            nodes = [node for root in documents(self._bytes) for node in root.items if root.kind == "sequence"]
        except YamlFault:
            return
        ends = [node.place.line - 1 for node in nodes[1:]] + [len(self.lines) - 1] * bool(nodes)
        for node, last in zip(nodes, ends, strict=True):
            kind = next((kind for kind in ("list", "macro", "rule") if node.get(kind)), "")
            named = node.get(kind)
            first = node.place.line
            yield _Item(node, kind, named.text if named else "", first, max(first, last))

    def item(self, problem: Problem) -> _Item | None:
        """The item that a problem is in; for one in another file, which this file changes, the item that does."""
        for place in problem.locations[1:]:
            if place.name == self.name or problem.locations[0].name == self.name:
                return next((item for item in self.items if item.first <= place.line <= item.last), None)
        names = {place.item_name for place in problem.locations if place.item_name}
        return next((item for item in reversed(self.items) if item.name in names), None)

    def of_others(self, report: Report) -> Iterator[Mark]:
        """Errors in other files, which stop Falco, too."""
        if report.refused:
            yield Mark("error", plain(report.refused, "", self._known), report.refused)
        for file in report.files:
            for problem in file.errors:
                origin = problem.locations[0].name
                if origin != self.name and self.item(problem) is None:
                    place = next(place for place in reversed(problem.locations) if place.name == origin)
                    words = plain(problem.message, "", self._known)
                    yield Mark("error", f"{origin}, line {place.line + 1}: {words}", problem.message, problem.code)

    def notes(self) -> Iterator[Mark]:
        """What Falco accepts without a word, and hardly is what was meant."""
        for item in self.items:
            condition = item.node.get("condition")
            for fault in self._faults(item) if condition is not None else ():
                if fault.note and condition is not None:
                    yield self._marked(Mark("warning", fault.words), *self._within(condition, fault.start, fault.end))

    def of(self, problem: Problem) -> list[Mark]:
        """The marks for a problem: one, or for a condition with several faults, one for each."""
        mark = Mark("error" if problem.code in ERRORS else "warning", "", problem.message, problem.code)
        item = self.item(problem)
        kinds = [place.item_type for place in problem.locations]
        in_condition = any("condition" in kind for kind in kinds) or "Undefined macro" in problem.message
        condition = item.node.get("condition") if item else None
        if item and condition and in_condition and mark.severity == "error":
            # A fault in a macro is only found where a rule uses it.
            for other in (item, *(other for other in self.items if other.kind == "macro")):
                faults = [fault for fault in self._faults(other) if not fault.note]
                same = any(fault.message == problem.message for fault in faults)
                if faults and (same or other is item):
                    return [
                        self._of_fault(fault, other, mark, first=not n and not same) for n, fault in enumerate(faults)
                    ]
        start, end = self._span(problem, item)
        known = replace(self._known, keys=KEYS.get(item.kind if item else "", ()))
        words = plain(problem.message, self.text[start:end].rstrip(":"), known)
        if "illegal map value" in problem.message:
            words = self._colon(start)
        if "not yaml" in problem.message and "customRules:" in self.text:
            words = (
                "This is a values file for Helm. Give only the rules in it: from `- rule:` or `- list:` on, unindented."
            )
        return [self._marked(replace(mark, words=words), start, end)]

    def _of_fault(self, fault: _Fault, item: _Item, mark: Mark, *, first: bool) -> Mark:
        """The mark of a fault; Falco's message is `mark`'s for the first if Falco has another for it, since it has
        replaced lists by their items."""
        condition = item.node.get("condition")
        if not first:
            code = "LOAD_ERR_VALIDATE" if "macro" in fault.message else "LOAD_ERR_COMPILE_CONDITION"
            mark = replace(mark, said=fault.message, code=code)
        span = self._within(condition, fault.start, fault.end) if condition else self._first_line()
        return self._marked(replace(mark, words=fault.words), *span)

    def _colon(self, at: int) -> str:
        line = self.lines[self._line(at)]
        before = self.text[self.text.rfind("\n", 0, at) + 1 : at]
        if re.fullmatch(r"[\s-]*\w+", before):  # the colon of the line's own key
            return self._above(self._line(at))
        if re.match(r"[\s-]*condition:", line):
            return "In a condition, `=` compares. (A colon with a space after it is YAML's own.)"
        if line.count(": ") > 1:
            return "A value with a colon and a space in it has to be in quotes."
        return _DEEPER

    def _above(self, line: int) -> str:
        """Why a key begins where none can: what is wrong above it, if anything is."""
        above = [text for text in self.lines[:line] if text.strip()][-2:]
        last = above[-1] if above else ""
        if "\u00a0" in last + self.lines[line]:
            return "A no-break space is in the indentation, from a web page perhaps: type ordinary spaces."
        if found := re.match(r"[\s-]*(\w+):(?=[^\s:])", last):
            return f"In the line above, a space is missing after `{found[1]}:`."
        if found := re.match(r"\s*-(?=[a-z])", last):
            return "In the line above, a space is missing after the dash."
        block = re.match(r"(\s*)(?:- )?(\w+): *[>|][-+]?\s*$", above[0]) if len(above) == 2 else None
        if block and len(last) - len(last.lstrip()) <= len(block[1]):
            return f"The text of `{block[2]}` has to be indented more than `{block[2]}` itself."
        return _DEEPER

    def _span(self, problem: Problem, item: _Item | None) -> tuple[int, int]:
        """The characters of the text that a problem is about."""
        message = problem.message
        if item is not None:
            if found := re.search(r"(?:Unknown key|Unexpected key|Key) '([^']*)'", message):
                return self._key(item, found[1])
            if re.match(r"unknown filter|invalid format|%container|usage of deprecated", message):
                return self._in_output(item, problem)
            if found := re.match(r"Item has no mapping for key '([^']*)'", message):
                return self._lacking(item, found[1])
            if re.search(r"no \w+ by that name already exists", message):
                return self._value(item.node.get(item.kind))
            if re.search(r"^(?:Rule|List|Macro) |matches too many|not referred to", message):
                return self._value(item.node.get(item.kind))
            if problem.deprecated_field and (condition := item.node.get("condition")):
                return self._named(problem.deprecated_field, *self._value(condition))
            condition = item.node.get("condition")
            if condition and any("condition" in place.item_type for place in problem.locations):
                word = re.search(r"'([^']+)'", message)
                span = self._value(condition)
                return self._named(word[1], *span) if word else span
        place = next((p for p in reversed(problem.locations) if p.name == self.name), None)
        if place is None or (place.offset == 0 and len(problem.locations) == 1):
            return self._first_line()
        at = min(len(self._bytes[: place.offset].decode("utf-8", "replace")), len(self.text))
        return at, self._end_of_word(at)

    def _first_line(self) -> tuple[int, int]:
        for n, line in enumerate(self.lines):
            if line.strip() and not line.lstrip().startswith("#"):
                return self._starts[n], self._starts[n] + len(line)
        return 0, 0

    def _end_of_word(self, at: int) -> int:
        found = re.compile(r"[^\s,\])}]+|[ \t]+").match(self.text, at)
        return found.end() if found else at

    def _named(self, word: str, start: int, end: int) -> tuple[int, int]:
        """Where a word is, between two places; else all that is between."""
        found = re.compile(rf"(?<![\w.]){re.escape(word)}(?![\w.])").search(self.text, start, end)
        return found.span() if found else (start, end)

    def _key(self, item: _Item, name: str) -> tuple[int, int]:
        found = re.compile(rf"(?m)^[\s-]*({re.escape(name)})\s*:").search(self.text, self._starts[item.first])
        return found.span(1) if found else self._named(name, self._starts[item.first], self._starts[item.last + 1])

    def _lacking(self, item: _Item, key: str) -> tuple[int, int]:
        """Where an item lacks a key: at a quote that swallows it, at a key that resembles it, else at its name."""
        for _, value in item.node.pairs:
            if "\n" not in self.text[slice(*self._value(value))]:
                continue
            start, _ = self._value(value)
            if self.text[start : start + 1] in "\"'" and re.search(rf"\b{re.escape(key)}:", value.text):
                return start, start + 1
        for name, _ in item.node.pairs:
            if name.text not in KEYS.get(item.kind, ()) and meant(name.text, [key], cutoff=0.6):
                return self._key(item, name.text)
        return self._value(item.node.get(item.kind))

    def _in_output(self, item: _Item, problem: Problem) -> tuple[int, int]:
        node = item.node.get("output")
        if node is None:
            return self._value(item.node.get(item.kind))
        span = self._value(node)
        if problem.deprecated_field or "%container.info" in problem.message:
            return self._named(problem.deprecated_field or "container.info", *span)
        for token in re.compile(r"%\d*([a-zA-Z][\w.]*(?:\[[^\]\s]*\])?)").finditer(self.text, *span):
            try:
                Format.parse(f"%{token[1]}")
            except BadFormat:
                return token.span(1)
        return span

    def _value(self, node: Node | None) -> tuple[int, int]:
        """The span of a scalar's text, without the blanks after it."""
        if node is None:
            return self._first_line()
        start = len(self._bytes[: node.place.offset].decode("utf-8", "replace"))
        if node.kind != "scalar":
            return start, self._end_of_word(start)
        return start, self._within(node, len(node.text.rstrip()), len(node.text.rstrip()))[0]

    def _within(self, node: Node, start: int, end: int) -> tuple[int, int]:
        """Where characters of a scalar's value are in the file, folded, indented and escaped as it may be there."""
        at = len(self._bytes[: node.place.offset].decode("utf-8", "replace"))
        if self.text[at : at + 1] in ("|", ">"):
            at = self.text.find("\n", at) + 1
        places: list[int] = []
        for character in node.text[:end]:
            if not character.isspace():
                at = max(self.text.find(character, at), at)
                places.append(at)
                at += 1
            else:
                places.append(at)
        if start < len(places):
            while start < len(places) - 1 and node.text[start].isspace():
                start += 1
            return places[start], at
        return at, at

    def _line(self, at: int) -> int:
        return self.text.count("\n", 0, at)

    def _marked(self, mark: Mark, start: int, end: int) -> Mark:
        line = self._line(start)
        begin = start - self._starts[line]
        return replace(mark, line=line, start=begin, end=min(end - self._starts[line], len(self.lines[line])))

    # Conditions

    def _faults(self, item: _Item) -> list[_Fault]:
        """The faults in an item's condition, by its own text; lists and macros are looked up by name only."""
        node = item.node.get("condition")
        if node is None or node.kind != "scalar":
            return []
        text = node.text
        prefix = "x " if item.appends and re.match(r"\s*(and|or)\b", text) else ""
        parser = Parser(prefix + text)
        try:
            tree = parser.parse()
        except ParseFailure as failure:
            return [self._syntax(failure.message, text, max(parser.at - len(prefix), 0))]
        found: list[_Fault] = []
        for part in ast.walk(tree):
            if isinstance(part, ast.Macro) and part.position.offset >= len(prefix):
                if part.name not in self._known.macros:
                    message = f"Undefined macro '{part.name}' used in filter."
                    at = part.position.offset - len(prefix)
                    fault = self._fault(message, text, part.name, at)
                    if values := self._alternatives(text, at):
                        fault = replace(fault, words=plain(message, part.name, self._known, values=values))
                    found.append(fault)
            elif isinstance(part, ast.Check | ast.Exists):
                found += self._of_check(part, text, part.position.offset - len(prefix))
        return found

    def _syntax(self, message: str, text: str, at: int) -> _Fault:
        while text[at : at + 1].isspace():
            at += 1
        found = re.compile(r"[\w.&|!~<>=:/-]+|\S").match(text, at)
        word = found[0] if found else ""
        before = text[:at].split()[-1] if text[:at].split() else ""
        words = plain(message, word, self._known, before=before.lstrip("("))
        if f"`{before}` is no field" in words:
            at, word = text.rindex(before, 0, at), before
        if not word:
            word = before
            at = max(text.rstrip().rfind(before), 0)
        return _Fault(message, at, at + len(word), words)

    def _fault(
        self, message: str, text: str, word: str, at: int, check: ast.Check | ast.Exists | None = None
    ) -> _Fault:
        found = re.compile(rf"(?<![\w.]){re.escape(word)}(?![\w])").search(text, max(at, 0))
        start, end = found.span() if found else (at, len(text))
        operand = check.operand if check else None
        info = fields().get(operand.name) if isinstance(operand, ast.Field) else None
        return _Fault(message, start, end, plain(message, word, self._known, info=info))

    def _alternatives(self, text: str, at: int) -> tuple[str, str] | None:
        """The field and the values of `proc.name = a or b or c`, if the word at a place is such a `b` or `c`."""
        for found in _ALTERNATIVES.finditer(text):
            words = re.split(r"\s+or\s+", found[2])
            unknown = list(takewhile(lambda word: word not in self._known.macros, words[1:]))
            at_word = len(re.findall(r"\sor\s", text[found.start(2) : at]))
            if (
                found.start(2) < at < found.end()
                and 0 < at_word <= len(unknown)
                and not any(meant(w, self._known.macros) for w in unknown)
            ):
                return found[1], ", ".join([words[0], *unknown])
        return None

    def _of_check(self, check: ast.Check | ast.Exists, text: str, at: int) -> Iterator[_Fault]:
        values = _values(check)
        if isinstance(check, ast.Check) and isinstance(check.value, ast.Value) and values[0] in self._known.lists:
            place = self._fault("", text, values[0], at)
            words = f"`{values[0]}` is a list: it has to be in parentheses, after `in`: `in ({values[0]})`."
            yield replace(place, words=words)
        if any(value in self._known.lists for value in values):
            return
        try:
            compile_condition(check, Graph())
        except ConditionFault as fault:
            field = next((node for node in ast.walk(check.operand) if isinstance(node, ast.Field)), None)
            named = re.search(
                r"field (\S+)$|type (\S+)$|^(\S+) is not a valid|^filter error: '(\S+)' (?:operator|with)",
                fault.message,
            )
            word = next(filter(None, named.groups()), "") if named else field.name if field else ""
            yield self._fault(fault.message, text, word, at, check)
        if isinstance(check, ast.Check) and len(values) > 1 and compares_with_first_only(check):
            place = self._fault("", text, values[1], at)
            words = f"Falco compares `{check.operand}` with the first value only: join several comparisons by `or`."
            yield replace(place, words=words, note=True)
        own = [item.name for item in self.items if item.kind == "list"]
        for value in (
            values if isinstance(check, ast.Check) and check.operator in ("in", "intersects", "pmatch") else ()
        ):
            similar = meant(value, self._known.lists, cutoff=0.8) if re.fullmatch(r"\w+", value) else ""
            similar = similar if "_" in value or meant(value, own, cutoff=0.8) else ""
            if similar or (_LIST_S_NAME.fullmatch(value) and value not in self._items_of_lists):
                place = self._fault("", text, value, at)
                words = f"There is no list `{value}`, so that Falco compares with that text.{similar}"
                yield replace(place, words=words, note=True)


def _values(check: ast.Check | ast.Exists) -> Sequence[str]:
    if isinstance(check, ast.Exists):
        return ()
    if isinstance(check.value, ast.ValueList):
        return check.value.items
    return (check.value.text,) if isinstance(check.value, ast.Value) else ()


# What is shown

_BOX = f"border:{markup.LINE};border-radius:4px;padding:0.4em 0;margin:0.3em 0;text-align:left"
_DEEPER = "This line is indented more than the one above it, which has a value already."
_LINE = f"{markup.MONO};display:flex;line-height:1.5;{markup.WRAPPED}"
_NUMBER = f"{markup.FAINT};flex:0 0 2.2em;text-align:right;margin-right:0.9em;user-select:none"
_BLUE = ("#0b5cad", "#ffffff")
_TONES = {"error": markup.TONES["bad"], "warning": markup.TONES["warning"], "todo": _BLUE}
_UNDERLINES: dict[Severity, str] = {"error": "#e0342b", "warning": "#b87800", "todo": "#3b82d6"}
_LABELS: dict[Severity, str] = {"error": "error", "warning": "warning", "todo": "your turn"}


def _said(mark: Mark) -> list[str]:
    falco = [_falco(mark)] if mark.code else []
    return [f"{_LABELS[mark.severity]}: {mark.words}", *falco]


def _falco(mark: Mark) -> str:
    said = mark.said if len(mark.said) <= _LONGEST else f"{mark.said[: _LONGEST - 3]}..."
    return f"Falco: {said} ({mark.code})"


def _message(mark: Mark) -> str:
    edge = f"border-left:3px solid {_UNDERLINES[mark.severity]};padding-left:0.6em"
    badge = markup.badge(_LABELS[mark.severity], _TONES[mark.severity])
    falco = markup.styled(_falco(mark), f"{markup.FAINT};font-size:0.9em;overflow-wrap:anywhere", "div")
    words = markup.Html(f"{badge} {markup.with_code(mark.words)}{falco if mark.code else ''}")
    return markup.styled(words, f"margin:0.1em 0.6em 0.5em 3.1em;{edge}", "div")


def _underlined(line: str, marks: Sequence[Mark]) -> markup.Html:
    out, at = [], 0
    for mark in marks:
        if mark.start < at or mark.end <= mark.start:
            continue
        wavy = f"text-decoration:underline wavy {_UNDERLINES[mark.severity]};text-underline-offset:0.2em"
        word = markup.styled(line[mark.start : mark.end], f"{wavy};font-weight:600")
        out += [markup.escaped(line[at : mark.start]), word]
        at = mark.end
    return markup.Html("".join([*out, markup.escaped(line[at:])]))


def _window(line: str, marks: Sequence[Mark]) -> tuple[str, int]:
    """The line for a terminal, cut around its marks if it is long, and how many characters are left out before."""
    line = line.replace("\t", " ")
    if len(line) <= _WIDE:
        return line, 0
    if not marks:
        return f"{line[: _WIDE - 1]}{_CUT}", 0
    cut = max(min(marks[0].start - 40, len(line) - _WIDE), 0)
    shown = line[cut : max(cut + _WIDE, *(mark.end for mark in marks))]
    left = _CUT + shown[1:] if cut else shown
    return left + (_CUT if cut + len(shown) < len(line) else ""), cut
