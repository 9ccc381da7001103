"""Reads rule files in order, as Falco does: items and keys, append, override and exceptions, lists and macros; out
come rules with their expanded conditions, and for each file a report of errors and warnings at their places."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from falcorules import ast
from falcorules.ast import Position
from falcorules.compile import Compiled, ConditionFault, Graph, compile_condition
from falcorules.document import MAX_NESTING, Node, SchemaFault, YamlFault, documents, schema_warnings
from falcorules.fields import UnknownField, resolve
from falcorules.output import BadFormat, Format
from falcorules.parser import LIST_OPERATORS, OPERATORS, STRING_OPERATORS, ParseFailure, Parser
from falcorules.report import FileReport, Location, Problem, snippet

ENGINE_VERSION = (0, 62, 0)
PLUGINS = {"container": (0, 7, 1)}
PRIORITIES = ("Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug")
SYSCALL = "syscall"
# What the container plugin suggests for every output, in its order.
SUGGESTED_OUTPUT = (
    "container_id=%container.id container_name=%container.name "
    "container_image_repository=%container.image.repository container_image_tag=%container.image.tag "
    "k8s_pod_name=%k8s.pod.name k8s_ns_name=%k8s.ns.name"
)

_KEYS = {
    "required_engine_version": {"required_engine_version"},
    "required_plugin_versions": {"required_plugin_versions"},
    "list": {"list", "items", "append", "override"},
    "macro": {"macro", "condition", "append", "override"},
    "rule": {
        *("rule", "condition", "output", "desc", "priority", "source", "enabled", "capture", "capture_duration"),
        *("warn_evttypes", "skip-if-unknown-filter", "tags", "exceptions", "override", "append"),
    },
}
_APPENDABLE = ("condition", "output", "desc", "tags", "exceptions")
_REPLACEABLE = (
    *_APPENDABLE,
    *("priority", "capture", "capture_duration", "enabled", "warn_evttypes", "skip-if-unknown-filter"),
)
_IDENTIFIER = re.compile(r"[a-zA-Z]+[a-zA-Z0-9_]*")
_APPEND_DEPRECATED = (
    "'append' key is deprecated. Add an 'append' entry (e.g. 'condition: append') under 'override' instead."
)
_ENABLED_DEPRECATED = (
    "The standalone 'enabled' key usage is deprecated. The correct approach requires also a 'replace' entry under "
    "the 'override' key (i.e. 'enabled: replace')."
)
_OVERRIDE_AND_APPEND = (
    "Keys 'override' and 'append: true' cannot be used together. Add an 'append' entry (e.g. 'condition: append') "
    "under 'override' instead."
)
_DEPRECATED_FIELDS = {
    "evt.dir": "due to the drop of enter events, 'evt.dir = <' always evaluates to true, and 'evt.dir = >' always "
    "evaluates to false. The rule expression can be simplified by removing the condition on 'evt.dir'",
    **dict.fromkeys(
        ("evt.latency", "evt.latency.s", "evt.latency.ns", "evt.latency.human", "evt.wait_latency"),
        "field is not available due to the drop of enter events.",
    ),
}
_MAX_EVENT_CODES = 100
# Beyond these sizes an expanded condition is refused: lists and macros that multiply each other have no other end.
_MAX_TEXT = 4_000_000
_MAX_NODES = 200_000
_MAX_ENTRIES = 200_000
# The same for all conditions of a file together, and for a warning for each pair of exceptions with one name.
_MAX_TEXTS = 40_000_000
_MAX_PARTS = 2_000_000
_MAX_REPEATED = 1_000

Trail = tuple[Location, ...]


class _Refused(Exception):
    """An error that stops the reading of a file."""

    def __init__(self, code: str, message: str, trail: Trail, expression: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.trail = trail
        self.expression = expression


@dataclass
class _Entry:
    """A value of an exception: one text, or a list of entries (None where it is neither)."""

    text: str = ""
    items: list[_Entry] | None = None

    @property
    def is_list(self) -> bool:
        return self.items is not None

    @property
    def given(self) -> bool:
        return bool(self.items if self.items is not None else self.text)


@dataclass
class _Exception:
    name: str
    trail: Trail
    fields: _Entry = field(default_factory=_Entry)
    comps: _Entry = field(default_factory=_Entry)
    values: list[_Entry] = field(default_factory=list)


@dataclass
class _ListItem:
    name: str
    trail: Trail
    items: list[str]
    index: int = 0
    visibility: int = 0


@dataclass
class _MacroItem:
    name: str
    trail: Trail
    condition: str
    condition_trail: Trail
    index: int = 0
    visibility: int = 0


@dataclass
class _RuleItem:
    name: str
    trail: Trail
    condition: str = ""
    condition_trail: Trail = ()
    output: str = ""
    output_trail: Trail = ()
    description: str = ""
    priority: str = "Debug"
    source: str = SYSCALL
    tags: frozenset[str] = frozenset()
    exceptions: list[_Exception] = field(default_factory=list)
    enabled: bool = True
    capture: bool = False
    capture_duration: int = 0
    warn_evttypes: bool = True
    skip_if_unknown: bool = False
    unknown_source: bool = False
    index: int = 0
    visibility: int = 0


@dataclass(frozen=True)
class Rule:
    """A rule ready to be evaluated. `output` is its format with everything appended; `event_types` are those it can
    match; `condition` has its macros expanded; `macros` are those that its own text names."""

    name: str
    description: str
    priority: str
    source: str
    tags: tuple[str, ...]
    output: str
    format: Format
    condition: ast.Expression
    event_types: frozenset[str]
    enabled: bool
    location: Location
    macros: tuple[str, ...] = ()
    node: int = 0


@dataclass
class _Update:
    """What an append or a replace brings: only the keys that are there."""

    values: dict[str, object] = field(default_factory=dict)


class Loader:
    """Rule files read one after the other; each sees what those before it defined."""

    def __init__(self, *, suggested_output: bool = True, append_output: Sequence[str] = ()) -> None:
        self.graph = Graph()
        self.rules: list[Rule] = []
        self.requirements: list[list[tuple[str, str]]] = []
        self._appended = ((SUGGESTED_OUTPUT,) if suggested_output else ()) + tuple(append_output)
        self._contents: dict[str, bytes] = {}
        self._lists: dict[str, _ListItem] = {}
        self._macros: dict[str, _MacroItem] = {}
        self._rules: dict[str, _RuleItem] = {}
        self._next_index = 0
        self._report = FileReport("")
        self._parsed: dict[str, ast.Expression] = {}
        self._texts = self._parts = 0  # how long and how many all conditions are
        self._compiled: dict[tuple[str, str], Compiled] = {}

    def load(self, name: str, content: bytes) -> FileReport:
        """Reads one file and compiles everything defined so far; `rules` holds the result if nothing is wrong."""
        self._report = report = FileReport(name)
        self._contents[name] = content
        trail: Trail = (Location("rules content", name=name),)
        try:
            self._read(content, trail)
            self._compile()
        except _Refused as refused:
            report.errors.append(self._problem(refused.code, refused.message, refused.trail, refused.expression))
        return report

    def missing_plugins(self) -> str:
        """Which plugin requirement isn't met, in Falco's words; "" if all are."""
        for alternatives in self.requirements:
            if not any(
                name in PLUGINS and _compatible(PLUGINS[name], _version(version)) for name, version in alternatives
            ):
                wanted = ", or ".join(f"{name} (>= {version})" for name, version in alternatives)
                return f"Plugin requirement not satisfied, must load one of: {wanted}"
        return ""

    # Reports

    def _problem(
        self, code: str, message: str, trail: Trail, expression: str | None = None, deprecated_field: str = ""
    ) -> Problem:
        text = None if expression is None else expression.encode("utf-8", "surrogatepass")
        return Problem(code, message, trail, snippet(self._contents, trail[-1], text), deprecated_field)

    def _warn(
        self, code: str, message: str, trail: Trail, expression: str | None = None, deprecated_field: str = ""
    ) -> None:
        self._report.warnings.append(self._problem(code, message, trail, expression, deprecated_field))

    # Reading

    def _read(self, content: bytes, trail: Trail) -> None:
        try:
            roots = documents(content)
        except YamlFault as fault:
            place = fault.place and Location("value for", "", trail[0].name, *fault.place)
            raise _Refused("LOAD_ERR_YAML_PARSE", fault.message, (*trail, place) if place else trail) from None
        try:
            self._report.schema_warnings = schema_warnings(roots)
        except SchemaFault as fault:
            raise _Refused("LOAD_ERR_YAML_PARSE", str(fault), trail) from None
        for root in roots:
            if root.kind == "null":
                continue
            if root.kind not in ("map", "sequence"):
                raise _invalid("Rules content is not yaml", trail)
            if root.kind != "sequence":
                raise _invalid("Rules content is not yaml array of objects", trail)
            for item in root.items:
                if item.kind != "null":
                    self._item(item, trail)

    def _item(self, item: Node, parent: Trail) -> None:
        if item.kind != "map":
            message = "Unexpected element type. Each element should be a yaml associative array."
            raise _invalid(message, _at(item, "rules content item", "", parent))
        if item.get("required_engine_version"):
            kind, trail = "required_engine_version", _at(item, "required_engine_version", "", parent)
            self._engine_version(item, trail)
        elif plugins := item.get("required_plugin_versions"):
            kind, trail = "required_plugin_versions", _at(item, "required plugin versions", "", parent)
            self._plugin_versions(plugins, _at(plugins, "required plugin versions", "", parent))
        elif item.get("list"):
            kind, trail = "list", _named(item, "list", parent)
            self._list(item, trail)
        elif item.get("macro"):
            kind, trail = "macro", _named(item, "macro", parent)
            self._macro(item, trail)
        elif item.get("rule"):
            kind, trail = "rule", _named(item, "rule", parent)
            self._rule(item, trail)
        else:
            name = (item.pairs[0][0].name or "") if item.pairs else ""
            self._warn("LOAD_UNKNOWN_ITEM", "Unknown top level item", _at(item, "rules content item", name, parent))
            return
        for key, _ in item.pairs:
            if key.name not in _KEYS[kind]:
                self._warn("LOAD_UNKNOWN_KEY", f"Unknown key '{key.name}'. The key will be ignored.", trail)

    def _engine_version(self, item: Node, trail: Trail) -> None:
        text = _text(item, "required_engine_version", trail)
        node = item.get("required_engine_version")
        number = node.unsigned() if node else None
        version = (0, number, 0) if number is not None else _version(text)
        if version is None:
            raise _invalid(
                f"Unable to parse engine version '{text}' as a semver string. Expected \"x.y.z\" semver format.", trail
            )
        if not _compatible(ENGINE_VERSION, version):
            wanted, have = (".".join(map(str, numbers)) for numbers in (version, ENGINE_VERSION))
            message = f"Rules require engine version {wanted}, but engine version is {have}"
            raise _Refused("LOAD_ERR_VALIDATE", message, trail)

    def _plugin_versions(self, plugins: Node, trail: Trail) -> None:
        if plugins.kind != "sequence":
            raise _invalid("Value of required_plugin_versions must be a sequence", trail)
        for plugin in plugins.items:
            nameless = _at(plugin, "required plugin versions entry", "", trail)
            if plugin.kind != "map":
                raise _invalid("Plugin version must be a mapping", nameless)
            name = _text(plugin, "name", nameless)
            entry = _at(plugin, "required plugin versions entry", name, trail)
            alternatives = [(name, _text(plugin, "version", entry))]
            others = plugin.get("alternatives")
            if others is not None:
                if others.kind != "sequence":
                    raise _invalid("Value of plugin version alternatives must be a sequence", entry)
                for other in others.items:
                    nameless = _at(other, "required plugin versions alternative", "", entry)
                    if other.kind != "map":
                        raise _invalid("Plugin version alternative must be a mapping", nameless)
                    name = _text(other, "name", nameless)
                    place = _at(other, "required plugin versions alternative", name, entry)
                    alternatives.append((name, _text(other, "version", place)))
            seen = set()
            for name, version in alternatives:
                if _version(version) is None:
                    message = f"Invalid required version '{version}' for plugin '{name}'"
                    raise _Refused("LOAD_ERR_VALIDATE", message, entry)
                if name in seen:
                    message = f"Defined multiple alternative version requirements for plugin '{name}'"
                    raise _Refused("LOAD_ERR_VALIDATE", message, entry)
                seen.add(name)
            self.requirements.append(alternatives)

    def _appends(self, item: Node, trail: Trail) -> bool:
        append = _boolean(item, "append", trail) or False
        if append:
            self._warn("LOAD_DEPRECATED_ITEM", _APPEND_DEPRECATED, trail)
        return append

    def _list(self, item: Node, trail: Trail) -> None:
        name = trail[-1].item_name
        if not ast.BARE_STRING.fullmatch(name) or "\ufffd" in name:  # bytes that aren't UTF-8 match nothing
            message = "List has an invalid name. List names should match a regular expression: "
            self._warn("LOAD_INVALID_LIST_NAME", message + "([^()\"'[:space:]=,]+)", trail)
        items = _texts(item, "items", trail)
        append = self._appends(item, trail)
        appended, replaced = _overrides(item, ("items",), ("items",), trail)
        if append and (appended or replaced):
            raise _invalid(_OVERRIDE_AND_APPEND, trail)
        known = self._lists.get(name)
        if append or appended:
            if known is None:
                message = "List uses 'append' or 'override.items: append' but no list by that name already exists"
                raise _Refused("LOAD_ERR_VALIDATE", message, trail)
            known.items.extend(items)
            known.visibility = self._index()
            return
        index = self._index()
        self._lists[name] = _ListItem(name, trail, items, known.index if known else index, index)

    def _macro(self, item: Node, trail: Trail) -> None:
        name = trail[-1].item_name
        if not _IDENTIFIER.fullmatch(name):
            message = "Macro has an invalid name. Macro names should match a regular expression: "
            self._warn("LOAD_INVALID_MACRO_NAME", message + "([a-zA-Z]+[a-zA-Z0-9_]*)", trail)
        condition = _text(item, "condition", trail)
        condition_trail = _at_key(item, "condition", "macro condition", trail)
        append = self._appends(item, trail)
        appended, replaced = _overrides(item, ("condition",), ("condition",), trail)
        if append and (appended or replaced):
            raise _invalid(_OVERRIDE_AND_APPEND, trail)
        known = self._macros.get(name)
        if append or appended:
            if known is None:
                message = "Macro uses 'append' or 'override.condition: append' but no macro by that name already exists"
                raise _Refused("LOAD_ERR_VALIDATE", message, trail)
            known.condition += f" {condition}"
            known.visibility = self._index()
            return
        index = self._index()
        self._macros[name] = _MacroItem(name, trail, condition, condition_trail, known.index if known else index, index)

    def _rule(self, item: Node, trail: Trail) -> None:
        source = _optional_text(item, "source", trail)
        append = self._appends(item, trail)
        appended, replaced = _overrides(item, _APPENDABLE, _REPLACEABLE, trail)
        if append and (appended or replaced):
            raise _invalid(_OVERRIDE_AND_APPEND, trail)
        if appended or replaced:
            self._override_rule(item, appended, replaced, source, trail)
        elif append:
            update = _Update()
            for key in ("condition", "exceptions"):
                if item.get(key):
                    update.values[key] = self._value(item, key, trail, append=True)
            self._append_to_rule(update, source, trail)
        elif not any(item.get(key) for key in ("condition", "output", "desc", "priority")):
            enabled = _boolean(item, "enabled", trail, required=True)
            self._warn("LOAD_DEPRECATED_ITEM", _ENABLED_DEPRECATED, trail)
            known = self._rules.get(trail[-1].item_name)
            if known is None:
                message = "Rule has 'enabled' key but no rule by that name already exists"
                raise _Refused("LOAD_ERR_VALIDATE", message, trail)
            known.enabled = bool(enabled)
        else:
            self._define_rule(item, trail)

    def _override_rule(
        self, item: Node, appended: Sequence[str], replaced: Sequence[str], source: str, trail: Trail
    ) -> None:
        expected = {key for key in _REPLACEABLE if item.get(key)}
        for how, keys, order in (
            ("append", appended, ("condition", "exceptions", "output", "desc", "tags")),
            ("replace", replaced, _REPLACE_ORDER),
        ):
            if not keys:
                continue
            update = _Update()
            for key in order:
                if key not in keys:
                    continue
                if key not in expected:
                    message = f"An {how} override for '{key}' was specified but '{key}' is not defined"
                    raise _invalid(message, trail)
                expected.discard(key)
                update.values[key] = self._value(item, key, trail, append=how == "append")
            wanted_source = source if "condition" in keys else ""
            if how == "append":
                self._append_to_rule(update, wanted_source, trail)
            else:
                self._replace_in_rule(update, wanted_source, trail)
        for key in sorted(expected):
            message = f"Unexpected key '{key}': no corresponding entry under 'override' is defined."
            raise _invalid(message, _at_key(item, key, "overrides", trail, key))

    def _value(self, item: Node, key: str, trail: Trail, *, append: bool) -> object:
        match key:
            case "tags":
                return frozenset(_texts(item, "tags", trail, required=False))
            case "exceptions":
                return self._exceptions(item, trail, append=append)
            case "priority":
                return _priority(item, trail)
            case "capture" | "enabled" | "warn_evttypes" | "skip-if-unknown-filter":
                return bool(_boolean(item, key, trail, required=True))
            case "capture_duration":
                return _unsigned(item, key, trail)
            case _:
                return _text(item, key, trail)

    def _known_rule(self, source: str, trail: Trail) -> _RuleItem | None:
        """The rule of the same name, which must not have another source if one is asked for."""
        known = self._rules.get(trail[-1].item_name)
        if known and source and known.source != source:
            raise _Refused("LOAD_ERR_VALIDATE", "Rule has been re-defined with a different source", trail)
        return known

    def _append_to_rule(self, update: _Update, source: str, trail: Trail) -> None:
        known = self._known_rule(source, trail)
        if known is None:
            message = "Rule uses 'append' or 'override.<key>: append' but no rule by that name already exists"
            raise _Refused("LOAD_ERR_VALIDATE", message, trail)
        if not update.values:
            message = "Appended rule must have exceptions or condition property"
            raise _Refused("LOAD_ERR_VALIDATE", message, trail)
        for key, value in update.values.items():
            match key, value:
                case "condition", str():
                    known.condition += f" {value}"
                case "output", str():
                    known.output += f" {value}"
                case "desc", str():
                    known.description += f" {value}"
                case "tags", frozenset():
                    known.tags |= value
                case "exceptions", list():
                    for exception in value:
                        self._append_exception(known, exception)
        known.visibility = self._index()

    def _append_exception(self, rule: _RuleItem, exception: _Exception) -> None:
        known = next((other for other in rule.exceptions if other.name == exception.name), None)
        trail = exception.trail
        if known is None:
            if not exception.fields.given:
                message = "Rule exception must have fields property with a list of fields"
                raise _Refused("LOAD_ERR_VALIDATE", message, trail)
            if not exception.values:
                message = "Rule exception must have values property with a list of values"
                raise _Refused("LOAD_ERR_VALIDATE", message, trail)
            _validate_exception(exception, check_fields=not rule.unknown_source)
            rule.exceptions.append(exception)
            return
        for entry, what in ((exception.fields, "fields"), (exception.comps, "comps")):
            if entry.given:
                message = f"Can not append exception {what} to existing exception, only values"
                raise _Refused("LOAD_ERR_VALIDATE", message, trail)
        known.values.extend(exception.values)

    def _replace_in_rule(self, update: _Update, source: str, trail: Trail) -> None:
        known = self._known_rule(source, trail)
        if known is None:
            message = "An 'override.<key>: replace' to a rule was requested but no rule by that name already exists"
            raise _Refused("LOAD_ERR_VALIDATE", message, trail)
        if not update.values:
            message = "The rule must have at least one field that can be replaced"
            raise _Refused("LOAD_ERR_VALIDATE", message, trail)
        names = {"desc": "description", "skip-if-unknown-filter": "skip_if_unknown"}
        for key, value in update.values.items():
            setattr(known, names.get(key, key), value)
        known.visibility = self._index()

    def _define_rule(self, item: Node, trail: Trail) -> None:
        rule = _RuleItem(trail[-1].item_name, trail)
        rule.condition = _text(item, "condition", trail)
        rule.condition_trail = _at_key(item, "condition", "rule condition", trail)
        rule.output = _text(item, "output", trail).strip(" \t\n\v\f\r")
        rule.output_trail = _at_key(item, "output", "rule output", trail)
        rule.description = _text(item, "desc", trail)
        rule.priority = _priority(item, trail)
        if item.get("source"):
            rule.source = _text(item, "source", trail)
        rule.enabled = _boolean(item, "enabled", trail) is not False
        rule.capture = bool(_boolean(item, "capture", trail))
        if item.get("capture_duration"):
            rule.capture_duration = _unsigned(item, "capture_duration", trail)
        rule.warn_evttypes = _boolean(item, "warn_evttypes", trail) is not False
        rule.skip_if_unknown = bool(_boolean(item, "skip-if-unknown-filter", trail))
        rule.tags = frozenset(_texts(item, "tags", trail, required=False))
        rule.exceptions = self._exceptions(item, trail, append=False)
        known = self._known_rule(rule.source, trail)
        if rule.source != SYSCALL:
            rule.unknown_source = True
            self._warn("LOAD_UNKNOWN_SOURCE", f"Unknown source {rule.source}, skipping", trail)
        for exception in rule.exceptions:
            if not exception.fields.given:
                message = "Rule exception item must have fields property with a list of fields"
                raise _Refused("LOAD_ERR_VALIDATE", message, exception.trail)
            _validate_exception(exception, check_fields=not rule.unknown_source)
        index = self._index()
        rule.index = known.index if known else index
        rule.visibility = index
        self._rules[rule.name] = rule

    def _exceptions(self, item: Node, trail: Trail, *, append: bool) -> list[_Exception]:
        node = item.get("exceptions")
        found: list[_Exception] = []
        if node is None or node.kind == "null":
            return found
        inside = _at(node, "exceptions", "", trail)
        if node.kind != "sequence":
            raise _invalid("Rule exceptions must be a sequence", inside)
        names: Counter[str] = Counter()
        repeated = 0
        budget = [_MAX_ENTRIES]
        for entry in node.items:
            nameless = _at(entry, "exception", "", inside)
            if entry.kind != "map":
                raise _invalid("Rule exception must be a mapping", nameless)
            exception = _Exception(_text(entry, "name", nameless), ())
            exception.trail = _at(entry, "exception", exception.name, trail)
            for _ in range(min(names[exception.name], _MAX_REPEATED - repeated)):  # once for each one before it
                message = f"Multiple definitions of exception '{exception.name}' in the same rule"
                self._warn("LOAD_EXCEPTION_NAME_NOT_UNIQUE", message, exception.trail)
                repeated += 1
            names[exception.name] += 1
            fields = entry.get("fields")
            if fields is not None:
                exception.fields = _entry(fields, "fields", exception.trail, budget)
            elif not append:
                raise _invalid("Item has no mapping for key 'fields'", exception.trail)
            comps = entry.get("comps")
            if comps is not None:
                exception.comps = _entry(comps, "comps", exception.trail, budget)
            values = entry.get("values")
            if values is not None:
                values_trail = _at(values, "exception values", "", exception.trail)
                if values.kind != "sequence":
                    raise _invalid("Rule exception values must be a sequence", values_trail)
                for value in values.items:
                    value_trail = _at(value, "exception value", "", values_trail)
                    exception.values.append(_entry(value, "", value_trail, budget))
            elif append:
                message = "Overriding/appending exception with no values"
                self._warn("LOAD_APPEND_NO_VALUES", message, exception.trail)
            found.append(exception)
        return found

    def _index(self) -> int:
        self._next_index += 1
        return self._next_index - 1

    # Compiling

    def _compile(self) -> None:
        self._texts = self._parts = 0
        lists, used_lists = self._expanded_lists()
        expander = _Expander(lists, used_lists)
        macros: dict[str, ast.Expression] = {}
        for macro in self._macros.values():
            macros[macro.name] = self._parse(expander, macro.condition, macro.condition_trail)
        used_macros: set[str] = set()
        sizes: dict[str, int] = {}
        for macro in self._macros.values():
            resolver = _Resolver(macros, sizes, self._defined_before(macro))
            macros[macro.name] = self._resolve(resolver, macros[macro.name], macro.condition, macro.trail)
            sizes[macro.name] = resolver.size
            used_macros.update(resolver.used)
        rules = []
        for rule in self._rules.values():
            if rule.unknown_source:
                continue
            compiled = self._compile_rule(rule, expander, _Resolver(macros, sizes), used_macros)
            if compiled is not None:
                rules.append(compiled)
        self.rules = rules
        for macro in self._macros.values():
            if macro.name not in used_macros:
                self._warn("LOAD_UNUSED_MACRO", "Macro not referred to by any other rule/macro", macro.trail)
        for name, item in self._lists.items():
            if name not in used_lists:
                self._warn("LOAD_UNUSED_LIST", "List not referred to by any other rule/macro", item.trail)

    def _defined_before(self, macro: _MacroItem) -> Callable[[str], bool]:
        return lambda name: self._macros[name].index < macro.visibility

    def _expanded_lists(self) -> tuple[dict[str, list[str]], set[str]]:
        """Each list with the lists defined before it in place of their names (one level), and the names used so."""
        expanded: dict[str, list[str]] = {}
        used: set[str] = set()
        for item in self._lists.values():
            items: list[str] = []
            for text in item.items:
                other = self._lists.get(text)
                if other is not None and other.index < item.visibility:
                    used.add(text)
                    items.extend(other.items)
                else:
                    items.append(text)
            expanded[item.name] = items
        return expanded, used

    def _parse(self, expander: _Expander, condition: str, trail: Trail) -> ast.Expression:
        text = expander.expanded(condition)
        self._texts += len(text)
        if len(text) > _MAX_TEXT or self._texts > _MAX_TEXTS:
            message = f"condition too long: {len(text)} characters with its lists expanded, {self._texts} in all"
            raise _Refused("LOAD_ERR_COMPILE_CONDITION", message, trail)
        found = self._parsed.get(text)
        if found is None:
            parser = Parser(text)
            try:
                found = self._parsed[text] = parser.parse()
            except ParseFailure as failure:
                place = _in_condition(parser.position(), text, trail)
                raise _Refused("LOAD_ERR_COMPILE_CONDITION", failure.message, place, text) from None
        return found

    def _resolve(self, resolver: _Resolver, expression: ast.Expression, condition: str, trail: Trail) -> ast.Expression:
        resolved = resolver.resolved(expression)
        if resolver.faults:
            message, position = resolver.faults[0]
            raise _Refused("LOAD_ERR_VALIDATE", message, _in_condition(position, condition, trail), condition)
        return resolved

    def _compile_rule(
        self, rule: _RuleItem, expander: _Expander, resolver: _Resolver, used_macros: set[str]
    ) -> Rule | None:
        condition = _with_exceptions(rule)
        output = " ".join([rule.output, *self._appended])
        if "%container.info" in output:
            message = (
                "%container.info is deprecated and no more useful, and will be dropped by Falco 1.0.0. The container "
                "plugin will automatically add required fields to the output message."
            )
            self._warn("LOAD_DEPRECATED_ITEM", message, rule.trail)
            output = output.replace("%container.info", "")
        try:
            output_format = Format.parse(output)
        except BadFormat as bad:
            if bad.unknown and rule.skip_if_unknown:
                self._warn("LOAD_UNKNOWN_FILTER", bad.message, rule.output_trail)
                return None
            raise _Refused("LOAD_ERR_COMPILE_OUTPUT", bad.message, rule.output_trail) from None
        for name in _DEPRECATED_FIELDS:
            if name in output:
                message = f"usage of deprecated field '{name}' has been detected in the rule output"
                self._warn("LOAD_DEPRECATED_ITEM", message, rule.output_trail, deprecated_field=name)
        parsed = self._parse(expander, condition, rule.condition_trail)
        expression = self._resolve(resolver, parsed, condition, rule.trail)
        used_macros.update(resolver.used)
        self._parts += resolver.size
        if self._parts > _MAX_PARTS:
            message = f"condition too large: with its macros expanded, {self._parts} parts in all conditions"
            raise _Refused("LOAD_ERR_COMPILE_CONDITION", message, rule.condition_trail)
        self._warn_of_fields(expression, condition, rule)
        key = (condition, str(expression))  # the tree decides, and the text has the places of its warnings
        compiled = self._compiled.get(key)
        try:
            if compiled is None:
                compiled = self._compiled[key] = compile_condition(expression, self.graph)
        except ConditionFault as fault:
            place = _in_condition(fault.position, condition, rule.condition_trail)
            if rule.skip_if_unknown and _is_unknown(fault.message):
                self._warn("LOAD_UNKNOWN_FILTER", fault.message, place, condition)
                return None
            raise _Refused("LOAD_ERR_COMPILE_CONDITION", fault.message, place, condition) from None
        for message, position in compiled.warnings:
            place = _in_condition(position, condition, rule.condition_trail)
            self._warn("LOAD_COMPILE_CONDITION", message, place, condition)
        if rule.warn_evttypes and (compiled.event_codes > _MAX_EVENT_CODES or not compiled.event_codes):
            message = "Rule matches too many evt.type values. This has a significant performance penalty."
            self._warn("LOAD_NO_EVTTYPE", message, rule.trail)
        return Rule(
            name=rule.name,
            description=rule.description,
            priority=rule.priority,
            source=rule.source,
            tags=tuple(sorted(rule.tags)),
            output=output,
            format=output_format,
            condition=expression,
            event_types=compiled.event_types,
            enabled=rule.enabled,
            location=rule.trail[-1],
            macros=tuple(dict.fromkeys(resolver.used)),
            node=compiled.node,
        )

    def _warn_of_fields(self, expression: ast.Expression, condition: str, rule: _RuleItem) -> None:
        """Warnings about single comparisons: unsafe <NA>, deprecated fields."""
        found: set[str] = set()
        unsafe = False
        for check in ast.walk(expression):
            if not isinstance(check, ast.Check | ast.Exists):
                continue
            fields = [node.name for node in ast.walk(check.operand) if isinstance(node, ast.Field)]
            if (
                isinstance(check, ast.Check)
                and fields
                and fields[-1].startswith(("ka.", "jevt."))
                and check.operator in ("=", "==", "!=", "in", "intersects", "pmatch")
            ):
                values = check.value.items if isinstance(check.value, ast.ValueList) else (check.value,)
                unsafe = unsafe or any("<NA>" in (value, getattr(value, "text", "")) for value in values)
                fields += [node.name for node in ast.walk(check.value) if isinstance(node, ast.Field)]
            found.update(fields)
        place = _in_condition(Position(0, 0, 0), condition, rule.condition_trail)
        if unsafe:
            self._warn("LOAD_UNSAFE_NA_CHECK", "", place, condition)
        for name, message in _DEPRECATED_FIELDS.items():
            if name in found:
                self._warn("LOAD_DEPRECATED_ITEM", message, place, condition, deprecated_field=name)


_REPLACE_ORDER = (
    *("condition", "exceptions", "output", "desc", "tags", "priority", "capture", "capture_duration"),
    *("enabled", "warn_evttypes", "skip-if-unknown-filter"),
)


def _is_unknown(message: str) -> bool:
    return any(
        part in message
        for part in ("nonexistent field", "invalid formatting token", "unknown event type", "unknown filter:")
    )


# Places


def _at(node: Node, item_type: str, item_name: str, parent: Trail) -> Trail:
    return (*parent, Location(item_type, item_name, parent[0].name, *node.place))


def _named(item: Node, kind: str, parent: Trail) -> Trail:
    """The place of a list, macro or rule, whose name is the value of its first key."""
    return _at(item, kind, _text(item, kind, _at(item, kind, "", parent)), parent)


def _at_key(item: Node, key: str, item_type: str, parent: Trail, item_name: str = "") -> Trail:
    node = item.get(key)
    return _at(node if node is not None else item, item_type, item_name, parent)


def _in_condition(position: Position, condition: str, parent: Trail) -> Trail:
    """A place in a condition, counted on from where the condition is (as Falco does, whatever the text's form)."""
    text = condition.encode("utf-8", "surrogatepass")
    name = f'"{text[:17].decode("utf-8", "replace")}..."' if len(text) > 20 else f'"{condition}"'
    name = name.replace("\n", " ").replace("\r", " ")
    last = parent[-1]
    offset, column = position.offset, position.column
    if not condition.isascii():
        before = condition[: position.offset]
        offset = len(before.encode("utf-8", "surrogatepass"))
        start = max(before.rfind("\n"), before.rfind("\r")) + 1
        column += len(before[start:].encode("utf-8", "surrogatepass")) - len(before[start:])
    place = Location(
        "condition expression", "", name, last.line + position.line, last.column + column, last.offset + offset
    )
    return (*parent, place)


def _invalid(message: str, trail: Trail) -> _Refused:
    return _Refused("LOAD_ERR_YAML_VALIDATE", message, trail)


# Values of keys


def _scalar(item: Node, key: str, trail: Trail, *, required: bool = True) -> Node | None:
    node = item.get(key)
    if node is None:
        if required:
            raise _invalid(f"Item has no mapping for key '{key}'", trail)
        return None
    if node.kind == "null":
        raise _invalid(f"Mapping for key '{key}' is empty", trail)
    inside = _at(node, "value for", key, trail)
    if node.kind != "scalar":
        raise _invalid("Value is not a scalar value", inside)
    if not node.text:
        raise _invalid("Value must be non-empty", inside)
    return node


def _text(item: Node, key: str, trail: Trail) -> str:
    node = _scalar(item, key, trail)
    return node.text if node else ""


def _optional_text(item: Node, key: str, trail: Trail) -> str:
    """The text of a key that may be missing or empty."""
    node = item.get(key)
    if node is None or node.kind == "null":
        return ""
    if node.kind != "scalar":
        raise _invalid("Value is not a scalar value", _at(node, "value for", key, trail))
    return node.text


def _boolean(item: Node, key: str, trail: Trail, *, required: bool = False) -> bool | None:
    node = _scalar(item, key, trail, required=required)
    if node is None:
        return None
    value = node.boolean()
    if value is None:
        raise _invalid("Can't decode YAML scalar value", _at(node, "value for", key, trail))
    return value


def _unsigned(item: Node, key: str, trail: Trail) -> int:
    node = _scalar(item, key, trail)
    value = node.unsigned() if node else None
    if node is None or value is None:
        raise _invalid("Can't decode YAML scalar value", _at_key(item, key, "value for", trail, key))
    return value


def _texts(item: Node, key: str, trail: Trail, *, required: bool = True) -> list[str]:
    node = item.get(key)
    if node is None:
        if required:
            raise _invalid(f"Item has no mapping for key '{key}'", trail)
        return []
    inside = _at(node, "value for", key, trail)
    if node.kind != "sequence":
        raise _invalid("Value is not a sequence", inside)
    for value in node.items:
        if value.kind != "scalar":
            raise _invalid("sequence value is not scalar", _at(value, "list item", "", inside))
    return [value.text for value in node.items]


def _priority(item: Node, trail: Trail) -> str:
    text = _text(item, "priority", trail).lower()
    for name in PRIORITIES:
        if text == name.lower() or (text == "info" and name == "Informational"):
            return name
    raise _invalid("Invalid priority", _at_key(item, "priority", "rule priority", trail))


def _overrides(
    item: Node, appendable: Sequence[str], replaceable: Sequence[str], trail: Trail
) -> tuple[list[str], list[str]]:
    """The keys to append to and those to replace."""
    node = item.get("override")
    if node is None:
        return [], []
    outer = _at(item, "overrides", "", trail)
    if node.kind == "sequence" and node.items:
        message = "invalid node; this may result from using a map iterator as a sequence iterator, or vice-versa"
        raise _Refused("LOAD_ERR_VALIDATE", message, trail[:1])
    appended, replaced = [], []
    for key, value in node.pairs:
        name, operation = key.name, value.name
        if name is None or operation is None:
            bad = key if name is None else value
            raise _Refused("LOAD_ERR_VALIDATE", YamlFault("bad conversion", bad.place).message, trail[:1])
        at_key = _at(key, "overrides", name, outer)
        if operation == "append":
            if name not in appendable:
                raise _invalid(f"Key '{name}' cannot be appended to, use 'replace' instead", at_key)
            appended.append(name)
        elif operation == "replace":
            if name not in replaceable:
                raise _invalid(f"Key '{name}' cannot be replaced", at_key)
            replaced.append(name)
        else:
            allowed = f"{'append ' if name in appendable else ''}{'replace ' if name in replaceable else ''}"
            message = f"Invalid override operation for key '{name}': '{operation}'. Allowed values are: {allowed}"
            raise _invalid(message, _at(value, "value for", name, outer))
    return appended, replaced


def _entry(node: Node, key: str, trail: Trail, budget: list[int], depth: int = 0) -> _Entry:
    """An exception's value; `budget` bounds how many there may be (aliases can multiply them)."""
    inside = _at(node, "value for", key, trail)
    budget[0] -= 1
    if budget[0] < 0 or depth > MAX_NESTING:  # an alias can stand for what it is in
        raise _invalid("Rule exception has too many values", inside)
    if node.kind == "scalar":
        if not node.text:
            raise _invalid("Value must be non-empty", inside)
        return _Entry(node.text)
    if node.kind == "sequence":
        items = []
        for item in node.items:  # in a comprehension each level of nesting would take two frames
            items.append(_entry(item, "", _at(item, "exception", "", inside), budget, depth + 1))  # noqa: PERF401
        return _Entry(items=items)
    return _Entry()


# Exceptions


def _with_modifier(comparison: str) -> bool:
    operator, _, modifier = comparison.rpartition(" ")
    return modifier in ast.MODIFIERS and operator.strip() in STRING_OPERATORS


def _validate_exception(exception: _Exception, *, check_fields: bool) -> None:
    """Completes the comparisons, and raises if the exception isn't sound. (Falco doesn't do it when an override
    replaces exceptions: what is wrong with those comes out when their condition is compiled.)"""

    def require(condition: bool, message: str) -> None:
        if not condition:
            raise _Refused("LOAD_ERR_VALIDATE", message, exception.trail)

    fields = exception.fields
    if fields.items is None:
        if not exception.comps.given:
            exception.comps = _Entry("in")
        require(not exception.comps.is_list, "Fields and comps must both be strings")
        comparison = exception.comps.text = exception.comps.text.strip(_BLANKS)
        require(
            comparison in ("in", "pmatch", "intersects") or _with_modifier(comparison),
            "When fields is a single value, comps must be one of (in, pmatch, intersects) or a modifier operator "
            "(e.g. startswith oneof)",
        )
        names = [fields.text]
    else:
        if not exception.comps.given:
            exception.comps = _Entry(items=[_Entry("=") for _ in fields.items])
        comparisons = exception.comps.items or []
        require(len(fields.items) == len(comparisons), "Fields and comps lists must have equal length")
        for entry in comparisons:
            entry.text = entry.text.strip(_BLANKS)
            require(
                entry.text in OPERATORS or _with_modifier(entry.text),
                f"'{entry.text}' is not a supported comparison operator",
            )
        names = [entry.text for entry in fields.items]
    if check_fields:
        for name in names:
            try:
                known = _is_exception_field(name)
            except UnknownField as unknown:  # a field without the argument it needs, say: that is told of the file
                raise _Refused("LOAD_ERR_VALIDATE", unknown.message, exception.trail[:1]) from None
            require(known, f"'{name}' is not a supported filter field")


def _is_exception_field(text: str) -> bool:
    """Whether a text is a field, or a transformer of one; raises UnknownField for one that is used wrongly."""
    parser = Parser(f"{text} exists")
    try:
        if "(" in text:
            compile_condition(parser.parse(), Graph())
            return True
        found = parser.field()
        if found is None or parser.at != len(text):
            return False
        resolve(found.name, found.argument)
    except UnknownField as unknown:
        if "(" not in text and "nonexistent field" not in unknown.message:
            raise
        return False
    except (ParseFailure, ConditionFault):
        return False
    return True


def _with_exceptions(rule: _RuleItem) -> str:
    """The condition of a rule with its exceptions after it."""
    if not rule.exceptions:
        return rule.condition
    parts = [f"({rule.condition})"]
    for exception in rule.exceptions:
        text = _exception_text(exception)
        if text:
            parts.append(f" and not {text}")
    return "".join(parts)


def _exception_text(exception: _Exception) -> str:
    if exception.fields.items is None:
        texts = []
        for value in exception.values:
            if value.is_list:
                message = "Expected values array to contain a list of strings"
                raise _Refused("LOAD_ERR_VALIDATE", message, exception.trail)
            texts.append(_quoted(value.text))
        return f"({exception.fields.text} {exception.comps.text} ({', '.join(texts)}))" if texts else ""
    names = [entry.text for entry in exception.fields.items]
    comparisons = [entry.text for entry in exception.comps.items or []]
    alternatives = []
    for value in exception.values:
        entries = value.items or []
        if len(names) != len(entries):
            message = "Fields and values lists must have equal length"
            raise _Refused("LOAD_ERR_VALIDATE", message, exception.trail)
        if len(names) > len(comparisons):  # only where they were replaced; Falco reads beyond the list then, and dies
            message = "Fields and comps lists must have equal length"
            raise _Refused("LOAD_ERR_VALIDATE", message, exception.trail)
        checks = [
            f" {name} {comparison} {_exception_value(comparison, entry)}"
            for name, comparison, entry in zip(names, comparisons, entries, strict=False)
        ]
        alternatives.append(f"({' and '.join(checks)})")
    return f"({' or '.join(alternatives)})" if alternatives else ""


def _exception_value(comparison: str, entry: _Entry) -> str:
    if entry.items is not None:
        listed = _listed(item.text for item in entry.items)  # a null is an empty text
        return f"({listed})"
    if comparison in LIST_OPERATORS or _with_modifier(comparison):
        return entry.text if entry.text.startswith("(") else f"({entry.text})"
    return _quoted(entry.text)


def _quoted(text: str) -> str:
    """What Falco makes of a list item in a condition: quoted if it has a space and isn't yet."""
    return f'"{text}"' if " " in text and text[0] not in "\"'" else text


def _listed(texts: Iterable[str]) -> str:
    """Items with commas between them, none of which follows the empty ones at the start."""
    listed = ""
    for text in texts:
        listed += f"{', ' if listed else ''}{_quoted(text)}"
    return listed


# Lists and macros in conditions

_BLANKS = " \t\n\r"
_DELIMITERS = re.compile(r"[ \t\n\r(),=]+")


class _Expander:
    """Replaces the names of lists in conditions by their items, as text."""

    def __init__(self, lists: Mapping[str, list[str]], used: set[str]) -> None:
        self._lists = {name: _listed(items) for name, items in lists.items()}
        self._used = used
        self._odd = {name for name in lists if _DELIMITERS.search(name)}

    def expanded(self, condition: str) -> str:
        words = set(_DELIMITERS.split(condition))
        for name, items in self._lists.items():
            if name not in words and name not in self._odd:
                continue
            replaced = _replace_list(condition, name, items)
            if replaced is not None:
                self._used.add(name)
                condition = replaced
                words.update(_DELIMITERS.split(items))
            if len(condition) > _MAX_TEXT:
                break
        return condition


def _replace_list(condition: str, name: str, items: str) -> str | None:
    """`condition` with the list's name replaced wherever it stands between delimiters; None if it doesn't."""
    delimiters = f"{_BLANKS}(),="
    out: list[str] = []
    rest = 0  # what follows here hasn't been looked at
    size = 0
    found = condition.find(name) if name else -1
    changed = False
    while found >= 0 and size <= _MAX_TEXT:
        end = found + len(name)
        if (found <= rest or condition[found - 1] in delimiters) and (
            end == len(condition) or condition[end] in delimiters
        ):
            out.append(condition[rest:found])
            _strip_end(out)
            rest = end
            while rest < len(condition) and condition[rest] in _BLANKS:
                rest += 1
            if not items:  # then a comma beside the name has to go too
                if out and out[-1].endswith(","):
                    out[-1] = out[-1][:-1]
                elif condition[rest : rest + 1] == ",":
                    rest += 1
            first = not any(out)
            out.append(f"{items} " if first else f" {items} ")
            size += len(out[-1])
            changed = True
            found = condition.find(name, rest + first)
        else:
            found = condition.find(name, found + 1)
    return "".join([*out, condition[rest:]]) if changed else None


def _strip_end(pieces: list[str]) -> None:
    """Removes the blanks at the end of a text in pieces."""
    while pieces:
        pieces[-1] = pieces[-1].rstrip(_BLANKS)
        if pieces[-1]:
            return
        pieces.pop()


class _Resolver:
    """Replaces the names of macros in a condition by their conditions."""

    def __init__(
        self,
        macros: Mapping[str, ast.Expression],
        sizes: Mapping[str, int],
        visible: Callable[[str], bool] = lambda name: True,
    ) -> None:
        self._macros = macros
        self._sizes = sizes  # of those in which no name of a macro is left
        self._visible = visible
        self.size = 0
        self.used: list[str] = []
        self.faults: list[tuple[str, Position]] = []

    def resolved(self, expression: ast.Expression) -> ast.Expression:
        """The expression without macros; `faults` says which can't be resolved (loops before unknown names)."""
        loops: list[tuple[str, Position]] = []
        unknown: list[tuple[str, Position]] = []
        result = self._expand(expression, (), loops, unknown)
        self.faults = loops + unknown
        return result

    def _expand(
        self,
        root: ast.Expression,
        path: tuple[str, ...],
        loops: list[tuple[str, Position]],
        unknown: list[tuple[str, Position]],
    ) -> ast.Expression:
        order: list[ast.Expression] = []
        pending: list[ast.Expression] = [root]
        changed = False
        while pending:
            node = pending.pop()
            order.append(node)
            changed = changed or isinstance(node, ast.Macro)
            if isinstance(node, ast.Not):
                pending.append(node.child)
            elif isinstance(node, ast.And | ast.Or):
                pending.extend(reversed(node.children))
        if self._too_large(len(order), loops):
            return root
        if not changed:
            return root
        done: dict[int, ast.Expression] = {}
        for node in order:  # in reading order, so that the first fault is the first in the text
            if isinstance(node, ast.Macro):
                done[id(node)] = self._macro(node, path, loops, unknown)
        for node in reversed(order):
            if isinstance(node, ast.Not):
                child = done[id(node.child)]
                done[id(node)] = node if child is node.child else ast.Not(child, node.position)
            elif isinstance(node, ast.And | ast.Or):
                children = tuple(done[id(child)] for child in node.children)
                same = all(new is old for new, old in zip(children, node.children, strict=True))
                done[id(node)] = node if same else type(node)(children, node.position)
            elif not isinstance(node, ast.Macro):
                done[id(node)] = node
        return done[id(root)]

    def _macro(
        self,
        node: ast.Macro,
        path: tuple[str, ...],
        loops: list[tuple[str, Position]],
        unknown: list[tuple[str, Position]],
    ) -> ast.Expression:
        condition = self._macros.get(node.name)
        if condition is None or not self._visible(node.name):
            unknown.append((f"Undefined macro '{node.name}' used in filter.", node.position))
            return node
        if node.name in path or len(path) > 100:
            loops.append((f"reference loop in macro '{node.name}'", node.position))
            return node
        if node.name not in self._sizes:
            condition = self._expand(condition, (*path, node.name), loops, unknown)
        elif self._too_large(self._sizes[node.name], loops):
            return node
        self.used.append(node.name)
        return condition

    def _too_large(self, added: int, faults: list[tuple[str, Position]]) -> bool:
        self.size += added
        if self.size > _MAX_NODES:
            faults.append((f"condition too large: more than {_MAX_NODES} parts with its macros expanded", Position()))
        return self.size > _MAX_NODES


# Versions


def _version(text: str) -> tuple[int, int, int] | None:
    match = re.match(r"\s*([+-]?[0-9]+)\.\s*([+-]?[0-9]+)\.\s*([+-]?[0-9]+)", text.partition("\0")[0], re.ASCII)
    if match is None:
        return None
    major, minor, patch = (_wrapped(digits) for digits in match.groups())
    return major, minor, patch


def _wrapped(digits: str) -> int:
    """A number as it fits into 32 bits without a sign."""
    sign, digits = digits[0] == "-", digits.lstrip("+-0")
    value = int(digits or "0") if len(digits) < 20 else 1 << 64
    if value >= 1 << 64:
        return (1 << 32) - 1
    return (-value if sign else value) % (1 << 32)


def _compatible(have: tuple[int, int, int], wanted: tuple[int, int, int] | None) -> bool:
    return wanted is not None and have[0] == wanted[0] and have >= wanted
