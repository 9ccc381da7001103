"""The engine: loads rule files, evaluates events, makes alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeGuard

from falcorules.arguments import checked, near, shown
from falcorules.errors import EventError, RuleError
from falcorules.events import Event, RecordedEvent, TypedEvent, open_events
from falcorules.files import is_rules_file, read
from falcorules.keys import PRIORITIES
from falcorules.loader import Loader, Rule
from falcorules.output import Alert, BadFormat, Format
from falcorules.patterns import glob
from falcorules.report import FileReport, Location, Problem, Report

if TYPE_CHECKING:
    from falcorules.explain import Explanation, Verdict
    from falcorules.replay import Replay

Source: TypeAlias = "Path | str | tuple[str, str | bytes]"
Sources: TypeAlias = "Source | Iterable[Source]"
Recorded: TypeAlias = "Path | str | Iterable[Event]"
_Matcher: TypeAlias = Callable[[Any], "list[int]"]

# What comparing a value of a wrong type raises; events have them right, so that nothing is checked beforehand.
_WRONG_TYPE = (TypeError, AttributeError, ValueError, OverflowError)


class LoadError(RuleError):
    """Rule files are invalid; `report` has the errors and their locations."""

    def __init__(self, message: str, report: Report) -> None:
        code = report.errors[0].code if report.errors else ""
        hints = {
            "": "Rules are loaded as by a Falco that has the container plugin, and no other.",
            "LOAD_ERR_FILE_READ": "Name files or folders with rules; standard input is /dev/stdin.",
        }
        meant = report.errors[0].suggestion if report.errors else ""
        super().__init__(message, code=code, hint=meant + hints.get(code, "Correct the rule, then load it again."))
        self.report = report

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


class Engine:
    """Loaded rules, and how events are evaluated.

    `matching` is "first" (of the rules that match an event, only the first one loaded raises an alert) or "all". Rules
    below `priority` are not evaluated. `suggested_output` appends the container's fields to every output,
    `append_output` further formats. `extra_fields` maps names to formats that are added to `output_fields`.
    `properties` are the optional keys of an alert's JSON. `hostname` is the alerts' (default: that of the event).
    """

    @checked
    def __init__(
        self,
        *,
        matching: Literal["first", "all"] = "first",
        priority: str = "debug",
        suggested_output: bool = True,
        append_output: Sequence[str] = (),
        hostname: str = "",
        extra_fields: Mapping[str, str] | None = None,
        properties: Sequence[str] = ("output", "tags", "output_fields"),
        time_iso_8601: bool = False,
    ) -> None:
        if matching not in ("first", "all"):
            raise RuleError(f"Unknown rule matching {matching!r}", hint="It is 'first' or 'all'.")
        self.matching = matching
        self.hostname = hostname
        self.properties = tuple(properties)
        self._loader = Loader(suggested_output=suggested_output, append_output=append_output)
        self._lowest = _priority_rank(priority)
        self._prefix = Format.parse("%evt.time.iso8601: " if time_iso_8601 else "%evt.time: ")
        self._extra = {name: _extra_format(name, text) for name, text in (extra_fields or {}).items()}
        self._selection: list[tuple[bool, str, str]] = []
        self._active: list[Rule] = []
        self._matchers: dict[str, tuple[_Matcher, list[Rule]] | None] = {}

    @property
    def rules(self) -> list[Rule]:
        """All loaded rules, in the order in which they were first defined."""
        return self._loader.rules

    @property
    def active(self) -> list[Rule]:
        """The rules that are evaluated: enabled, selected, and of sufficient priority."""
        return self._active

    @property
    def required_plugins(self) -> list[list[tuple[str, str]]]:
        """Names and versions of plugins that rule files require: one alternative of each."""
        return self._loader.requirements

    @checked
    def rule(self, name: str) -> Rule:
        """The loaded rule of that name, ignoring case. Raises RuleError."""
        for rule in self.rules:
            if rule.name.lower() == name.lower():
                return rule
        hint = near(name, [rule.name for rule in self.rules], cutoff=0.4) or "The command `list` shows them all."
        raise RuleError(f"There is no rule {shown(name)}.", hint=hint.strip())

    @checked
    def load(self, files: Sources) -> Report:
        """Loads rule files in order. Raises LoadError, which has the report, if a file is invalid."""
        report = load_files(self._loader, files)
        if not report.successful:
            first = report.errors[0] if report.errors else None
            what = f"{first.locations[0].name}: {first.message}{first.shown_snippet}" if first else report.refused
            raise LoadError(f"Rules can't be loaded: {what}", report)
        self._select()
        return report

    @checked
    def select(self, selection: Iterable[Mapping[str, Mapping[str, str]]]) -> None:
        """Enables and disables rules in order, as `rules:` in falco.yaml does. Names of rules may have wildcards:
        `[{"disable": {"rule": "*"}}, {"enable": {"tag": "network"}}]`."""
        for entry in [selection] if isinstance(selection, Mapping) else selection:
            if not isinstance(entry, Mapping):
                raise RuleError(f"Unknown rule selection {shown(entry)}", hint="Use enable or disable, by rule or tag.")
            for action, what in entry.items():
                if action not in ("enable", "disable") or not isinstance(what, Mapping):
                    raise RuleError(f"Unknown rule selection {entry!r}", hint="Use enable or disable, by rule or tag.")
                for kind, name in what.items():
                    if kind not in ("rule", "tag"):
                        raise RuleError(f"Unknown rule selection {entry!r}", hint="Select by rule or by tag.")
                    self._selection.append((action == "enable", kind, str(name)))
        self._select()

    def _select(self) -> None:
        active = []
        for rule in self._loader.rules:
            enabled = rule.enabled
            for enable, kind, name in self._selection:
                if (kind == "tag" and name in rule.tags) or (kind == "rule" and glob(name)(rule.name)):
                    enabled = enable
            if enabled and _priority_rank(rule.priority) <= self._lowest:
                active.append(rule)
        self._active = active
        self._matchers = {}

    def process(self, event: Event) -> list[Alert]:
        """The alerts that an event raises, in the order of the rules."""
        try:
            found = self._matchers[event.type]
        except KeyError:
            found = self._matchers[event.type] = self._matcher(event.type)
        if found is None:
            return []
        match, rules = found
        try:
            hits = match(event)
        except _WRONG_TYPE:
            hits = match(TypedEvent(event))
        if not hits:
            return []
        if self.matching == "first":
            hits = hits[:1]
        return [self._alert(rules[hit], event) for hit in hits]

    def matches(self, event: Event) -> list[Rule]:
        """All active rules that match an event, regardless of `matching`."""
        try:
            found = self._matchers[event.type]
        except KeyError:
            found = self._matchers[event.type] = self._matcher(event.type)
        return [found[1][hit] for hit in found[0](TypedEvent(event))] if found else []

    @checked
    def replay(self, events: Recorded) -> Replay:
        """Evaluates events in order: of a file (JSON lines, `.gz` too; "-" is standard input), or given ones.

        Raises EventError for a file that can't be read or has something else.
        """
        from falcorules.replay import Replay

        raised = [self.process(event) for event in _events(events)]
        return Replay(len(raised), tuple(alert for alerts in raised for alert in alerts))

    @checked
    def explain(self, rule: str) -> Explanation:
        """The parts of a rule: its condition with macros and lists expanded, its fields, operators and event types."""
        from falcorules.explain import Explanation

        return Explanation.of(self.rule(rule))

    @checked
    def why(self, rule: str, events: Recorded | Event, *, number: int | None = None) -> Verdict:
        """Which parts of a rule's condition are true for one event, and which of them decided.

        `events` is that event, or several as for `replay`: then the one whose `evt.num` is `number` is taken or,
        without a number, the first for which most of the condition is true. Raises EventError if there is none.
        """
        from falcorules.explain import closest, explain_event, numbered

        chosen = self.rule(rule)
        if not isinstance(events, str | Path | Iterable):
            return explain_event(chosen, _event(events))
        found = closest(chosen, _events(events)) if number is None else numbered(number, _events(events))
        return explain_event(chosen, found)

    def _matcher(self, event_type: str) -> tuple[_Matcher, list[Rule]] | None:
        """One function for all rules that can match events of a type, and these rules; None if there are none."""
        from falcorules.codegen import matcher
        from falcorules.fields import generic_event_types

        active = self._active
        if event_type in generic_event_types():  # Falco tells none of these from another: a rule is for all or none
            active = [rule for rule in active if event_type in rule.event_types]
        graph = self._loader.graph
        roots = graph.specialised([rule.node for rule in active], event_type)
        possible = [(rule, root) for rule, root in zip(active, roots, strict=True) if root != graph.FALSE]
        if not possible:
            return None
        return matcher(graph, [root for _, root in possible]), [rule for rule, _ in possible]

    def _alert(self, rule: Rule, event: Event) -> Alert:
        def get(field: str, argument: str | None) -> Any:
            value = event.get(field, argument)
            return event.time if value is None and field in ("evt.time", "evt.time.iso8601") else value

        message = rule.format.text(get)
        fields = {**rule.format.values(get), **self._prefix.values(get)}
        for name, extra in self._extra.items():
            fields[name] = extra.text(get)
        return Alert(
            time=event.time,
            rule=rule.name,
            priority=rule.priority,
            source=rule.source,
            hostname=self.hostname or event.get("evt.hostname") or "",
            output=f"{self._prefix.text(get)}{rule.priority} {message}",
            tags=rule.tags,
            output_fields=fields,
            message=message,
            properties=self.properties,
        )


@checked
def load(files: Sources, **options: Any) -> Engine:
    """An engine with these files loaded; `options` are those of `Engine`. Raises LoadError if a file is invalid."""
    engine = Engine(**options)
    engine.load(files)
    return engine


@checked
def check(files: Sources) -> Report:
    """Falco's report on these files, loaded in order."""
    return load_files(Loader(), files)


def load_files(loader: Loader, files: Sources) -> Report:
    """Loads files in order. A file that can't be read is an error in the report; after a file that requires a missing
    plugin, no other is loaded."""
    report = Report()
    for file in single_files(files):
        if isinstance(file, tuple):
            name, text = file
            content = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        else:
            name = str(file)
            try:
                content = read(file)
            except OSError as error:
                place = (Location("rules content", name=name),)
                message = f"Could not read rules file {name}: {error.strerror}"
                problem = Problem("LOAD_ERR_FILE_READ", message, place, "<No context available>\n")
                report.files.append(FileReport(name, [problem]))
                continue
        report.files.append(loader.load(name, content))
        report.crash, message = loader.crash
        report.refused = message or loader.missing_plugins()
        if report.refused:
            break
    return report


def single_files(files: Sources) -> Iterator[Source]:
    """Single files: of a folder the YAML files by name, of a list the items. A text of several lines is rules."""
    one = isinstance(files, str | Path) or _is_named(files) or not isinstance(files, Iterable)
    for file in [files] if one else files:  # type: ignore[union-attr]
        if isinstance(file, str) and "\n" in file:
            yield "rules", file
        elif _is_named(file):
            yield file
        elif isinstance(file, list | tuple):
            yield from single_files(file)
        elif not isinstance(file, str | Path):
            hint = 'Give paths, or pairs of a name and a text: ("mine.yaml", "- rule: ...").'
            raise RuleError(f"{shown(file)} is not a rule file.", hint=hint)
        elif Path(file).is_dir():
            try:
                found = sorted(path for path in Path(file).iterdir() if is_rules_file(path.name) and not path.is_dir())
            except OSError as error:
                raise RuleError(f"The folder {file} can't be read: {error.strerror}") from error
            if not found:
                raise RuleError(f"There are no rule files in {file}.", hint="They end in .yaml or .yml.")
            yield from found
        else:
            yield file


def _is_named(file: object) -> TypeGuard[tuple[str, str | bytes]]:
    return isinstance(file, tuple) and len(file) == 2 and isinstance(file[0], str) and isinstance(file[1], str | bytes)


def _events(events: Recorded) -> Iterable[Event]:
    if isinstance(events, str | Path):
        return open_events(events)
    if isinstance(events, Mapping) or not isinstance(events, Iterable):
        return [_event(events)]
    return map(_event, events)


def _event(value: Any) -> Event:
    """An event, or a mapping of field names to values as an event."""
    if isinstance(value, Mapping) and isinstance(value.get("evt.type"), str):
        return RecordedEvent(value)
    if not hasattr(value, "type"):
        hint = "Give a file of recorded events, or a list of them (falcorules.read_events)."
        raise EventError(f"{shown(value)} is not an event.", hint=hint)
    found: Event = value
    return found


def _priority_rank(name: str) -> int:
    for rank, priority in enumerate(PRIORITIES):
        if name.lower() == priority.lower() or (name.lower() == "info" and priority == "Informational"):
            return rank
    raise RuleError(f"Unknown priority {name!r}", hint=f"Priorities are {', '.join(PRIORITIES)}.")


def _extra_format(name: str, text: str) -> Format:
    try:
        return Format.parse(text) if text else Format(())
    except BadFormat as bad:
        raise RuleError(
            f"The extra field {name!r} can't be used: {bad.message}", code="LOAD_ERR_COMPILE_OUTPUT"
        ) from None
