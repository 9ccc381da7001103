"""Loads rule files in order, as Falco does: items, append, override and exceptions, lists and macros.

The results are rules with their expanded conditions and, for each file, a report of errors and warnings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from falcorules import ast, keys
from falcorules.ast import Position
from falcorules.compile import Compiled, ConditionFault, FatalFault, compile_condition
from falcorules.document import Node, documents
from falcorules.expansion import MAX_TEXT, ListExpander, MacroResolver
from falcorules.graph import Graph
from falcorules.items import SYSCALL, ListItem, MacroItem, Refused, RuleException, RuleItem, Trail
from falcorules.keys import invalid, trail_to, trail_to_item, trail_to_key
from falcorules.output import BadFormat, Format
from falcorules.parser import ParseFailure, Parser
from falcorules.report import FileReport, Location, Problem, snippet
from falcorules.rule_exceptions import validate, with_exceptions
from falcorules.schema import SchemaFault, schema_warnings
from falcorules.versions import compatible, parse_version
from falcorules.yaml_scanner import YamlFault

ENGINE_VERSION = (0, 62, 0)
PLUGINS = {"container": (0, 7, 1)}
# What the container plugin suggests for every output, in its order.
SUGGESTED_OUTPUT = (
    "container_id=%container.id container_name=%container.name "
    "container_image_repository=%container.image.repository container_image_tag=%container.image.tag "
    "k8s_pod_name=%k8s.pod.name k8s_ns_name=%k8s.ns.name"
)

KEYS = {
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
# Bounds on the entries of a rule's exceptions (YAML aliases multiply them), on all expanded conditions of a file
# together, and on warnings about exceptions of one name (there is one for each pair).
_MAX_ENTRIES = 200_000
_MAX_TEXTS = 40_000_000
_MAX_PARTS = 2_000_000
_MAX_REPEATED = 1_000


@dataclass(frozen=True)
class Rule:
    """A loaded rule. `output` has all appended formats, `condition` its macros expanded; `event_types` are those it can
    match; `macros` are those that its own text names. The `written` ones are as the files have them."""

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
    written_condition: str = ""
    written_output: str = ""


class Loader:
    """Loads rule files one after the other; each sees the definitions of those before it."""

    def __init__(self, *, suggested_output: bool = True, append_output: Sequence[str] = ()) -> None:
        self.graph = Graph()
        self.rules: list[Rule] = []
        self.requirements: list[list[tuple[str, str]]] = []
        # How Falco crashed while it read a file ("exception" or "abort"), and its message.
        self.crash = ("", "")
        self._appended = ((SUGGESTED_OUTPUT,) if suggested_output else ()) + tuple(append_output)
        self._contents: dict[str, bytes] = {}
        self._lists: dict[str, ListItem] = {}
        self._macros: dict[str, MacroItem] = {}
        self._rules: dict[str, RuleItem] = {}
        self._next_index = 0
        self._report = FileReport("")
        self._parsed: dict[str, ast.Expression] = {}
        self._texts = self._parts = 0  # length and number of parts of all conditions
        self._compiled: dict[tuple[str, str], Compiled] = {}

    def load(self, name: str, content: bytes) -> FileReport:
        """Reads one file and compiles all definitions so far; `rules` is updated if there is no error."""
        self._report = report = FileReport(name)
        self._contents[name] = content
        trail: Trail = (Location("rules content", name=name),)
        try:
            self._read(content, trail)
            self._compile()
        except FatalFault as fault:
            self.crash = ("exception", fault.message)
        except SchemaFault as fault:
            self.crash = ("abort", str(fault))
        except Refused as refused:
            report.errors.append(self._problem(refused.code, refused.message, refused.trail, refused.expression))
        return report

    @property
    def macro_names(self) -> list[str]:
        """The macros that the files loaded so far define, whether or not they were valid. Likewise lists and rules."""
        return list(self._macros)

    @property
    def list_names(self) -> list[str]:
        return list(self._lists)

    @property
    def list_items(self) -> set[str]:
        """What the lists have in them, which may be other lists."""
        return {item for known in self._lists.values() for item in known.items}

    @property
    def rule_names(self) -> list[str]:
        return list(self._rules)

    def missing_plugins(self) -> str:
        """Falco's message for a plugin requirement that isn't met; "" if all are."""
        for alternatives in self.requirements:
            known = next(((name, version) for name, version in alternatives if name in PLUGINS), None)
            if known is None:
                wanted = ", ".join(f"{name} (>= {version})" for name, version in alternatives)
                return f"Plugin requirement not satisfied, must load one of: {wanted}"
            name, version = known
            if not compatible(PLUGINS[name], parse_version(version)):
                have = ".".join(map(str, PLUGINS[name]))
                return f"Plugin '{name}' version '{have}' is not compatible with required plugin version '{version}'"
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
            raise Refused("LOAD_ERR_YAML_PARSE", fault.message, (*trail, place) if place else trail) from None
        try:
            self._report.schema_warnings = schema_warnings(roots) if roots else None
        except SchemaFault as fault:
            if fault.fatal:
                raise
            raise Refused("LOAD_ERR_YAML_PARSE", str(fault), trail) from None
        for root in roots:
            if root.kind not in ("map", "sequence"):
                raise invalid("Rules content is not yaml", trail)
            if root.kind != "sequence":
                raise invalid("Rules content is not yaml array of objects", trail)
            for item in root.items:
                if item.kind != "null":
                    self._item(item, trail)

    def _item(self, item: Node, parent: Trail) -> None:
        if item.kind != "map":
            message = "Unexpected element type. Each element should be a yaml associative array."
            raise invalid(message, trail_to(item, "rules content item", "", parent))
        if item.get("required_engine_version"):
            kind, trail = "required_engine_version", trail_to(item, "required_engine_version", "", parent)
            self._engine_version(item, trail)
        elif plugins := item.get("required_plugin_versions"):
            kind, trail = "required_plugin_versions", trail_to(item, "required plugin versions", "", parent)
            self._plugin_versions(plugins, trail_to(plugins, "required plugin versions", "", parent))
        elif item.get("list"):
            kind, trail = "list", trail_to_item(item, "list", parent)
            self._list(item, trail)
        elif item.get("macro"):
            kind, trail = "macro", trail_to_item(item, "macro", parent)
            self._macro(item, trail)
        elif item.get("rule"):
            kind, trail = "rule", trail_to_item(item, "rule", parent)
            self._rule(item, trail)
        else:
            self._warn("LOAD_UNKNOWN_ITEM", "Unknown top level item", trail_to(item, "rules content item", "", parent))
            return
        for key, _ in item.pairs:
            if key.name not in KEYS[kind]:
                self._warn("LOAD_UNKNOWN_KEY", f"Unknown key '{key.name}'. The key will be ignored.", trail)

    def _engine_version(self, item: Node, trail: Trail) -> None:
        text = keys.text(item, "required_engine_version", trail)
        node = item.get("required_engine_version")
        number = node.unsigned() if node else None
        version = (0, number, 0) if number is not None else parse_version(text)
        if version is None:
            raise invalid(
                f"Unable to parse engine version '{text}' as a semver string. Expected \"x.y.z\" semver format.", trail
            )
        if not compatible(ENGINE_VERSION, version):
            wanted, have = (".".join(map(str, numbers)) for numbers in (version, ENGINE_VERSION))
            message = f"Rules require engine version {wanted}, but engine version is {have}"
            raise Refused("LOAD_ERR_VALIDATE", message, trail)

    def _plugin_versions(self, plugins: Node, trail: Trail) -> None:
        if plugins.kind != "sequence":
            raise invalid("Value of required_plugin_versions must be a sequence", trail)
        for plugin in plugins.items:
            nameless = trail_to(plugin, "required plugin versions entry", "", trail)
            if plugin.kind != "map":
                raise invalid("Plugin version must be a mapping", nameless)
            name = keys.text(plugin, "name", nameless)
            entry = trail_to(plugin, "required plugin versions entry", name, trail)
            alternatives = [(name, keys.text(plugin, "version", entry))]
            others = plugin.get("alternatives")
            if others is not None:
                if others.kind != "sequence":
                    raise invalid("Value of plugin version alternatives must be a sequence", entry)
                for other in others.items:
                    nameless = trail_to(other, "required plugin versions alternative", "", entry)
                    if other.kind != "map":
                        raise invalid("Plugin version alternative must be a mapping", nameless)
                    name = keys.text(other, "name", nameless)
                    place = trail_to(other, "required plugin versions alternative", name, entry)
                    alternatives.append((name, keys.text(other, "version", place)))
            seen = set()
            for name, version in alternatives:
                if parse_version(version) is None:
                    message = f"Invalid required version '{version}' for plugin '{name}'"
                    raise Refused("LOAD_ERR_VALIDATE", message, entry)
                if name in seen:
                    message = f"Defined multiple alternative version requirements for plugin '{name}'"
                    raise Refused("LOAD_ERR_VALIDATE", message, entry)
                seen.add(name)
            self.requirements.append(alternatives)

    def _appends(self, item: Node, trail: Trail) -> bool:
        append = keys.boolean(item, "append", trail) or False
        if append:
            self._warn("LOAD_DEPRECATED_ITEM", _APPEND_DEPRECATED, trail)
        return append

    def _adds(self, item: Node, kind: str, key: str, known: ListItem | MacroItem | None, trail: Trail) -> bool:
        """Whether a list or macro adds to the `known` one of its name; Refused if there is none."""
        append = self._appends(item, trail)
        appended, replaced = keys.overrides(item, (key,), (key,), trail)
        if append and (appended or replaced):
            raise invalid(_OVERRIDE_AND_APPEND, trail)
        adds = bool(append or appended)
        if adds and known is None:
            message = (
                f"{kind} uses 'append' or 'override.{key}: append' but no {kind.lower()} by that name already exists"
            )
            raise Refused("LOAD_ERR_VALIDATE", message, trail)
        return adds

    def _list(self, item: Node, trail: Trail) -> None:
        name = trail[-1].item_name
        if not ast.BARE_STRING.fullmatch(name) or "\ufffd" in name:  # bytes that aren't UTF-8 match nothing
            message = "List has an invalid name. List names should match a regular expression: "
            self._warn("LOAD_INVALID_LIST_NAME", message + "([^()\"'[:space:]=,]+)", trail)
        items = keys.texts(item, "items", trail)
        known = self._lists.get(name)
        if self._adds(item, "List", "items", known, trail) and known:
            known.items.extend(items)
            known.visibility = self._index()
            return
        index = self._index()
        self._lists[name] = ListItem(name, trail, items, known.index if known else index, index)

    def _macro(self, item: Node, trail: Trail) -> None:
        name = trail[-1].item_name
        if not _IDENTIFIER.fullmatch(name):
            message = "Macro has an invalid name. Macro names should match a regular expression: "
            self._warn("LOAD_INVALID_MACRO_NAME", message + "([a-zA-Z]+[a-zA-Z0-9_]*)", trail)
        condition = keys.text(item, "condition", trail)
        condition_trail = trail_to_key(item, "condition", "macro condition", trail)
        known = self._macros.get(name)
        if self._adds(item, "Macro", "condition", known, trail) and known:
            known.condition += f" {condition}"
            known.visibility = self._index()
            return
        index = self._index()
        self._macros[name] = MacroItem(name, trail, condition, condition_trail, known.index if known else index, index)

    def _rule(self, item: Node, trail: Trail) -> None:
        source = keys.optional_text(item, "source", trail)
        append = self._appends(item, trail)
        appended, replaced = keys.overrides(item, _APPENDABLE, _REPLACEABLE, trail)
        if append and (appended or replaced):
            raise invalid(_OVERRIDE_AND_APPEND, trail)
        if appended or replaced:
            self._override_rule(item, appended, replaced, source, trail)
        elif append:
            update: dict[str, object] = {}
            for key in ("condition", "exceptions"):
                if item.get(key):
                    update[key] = self._value(item, key, trail, append=True)
            self._append_to_rule(update, source, trail)
        elif not any(item.get(key) for key in ("condition", "output", "desc", "priority")):
            enabled = keys.boolean(item, "enabled", trail, required=True)
            self._warn("LOAD_DEPRECATED_ITEM", _ENABLED_DEPRECATED, trail)
            known = self._rules.get(trail[-1].item_name)
            if known is None:
                message = "Rule has 'enabled' key but no rule by that name already exists"
                raise Refused("LOAD_ERR_VALIDATE", message, trail)
            known.enabled = bool(enabled)
        else:
            self._define_rule(item, trail)

    def _override_rule(
        self, item: Node, appended: Sequence[str], replaced: Sequence[str], source: str, trail: Trail
    ) -> None:
        expected = {key for key in _REPLACEABLE if item.get(key)}
        for how, names, order in (
            ("append", appended, ("condition", "exceptions", "output", "desc", "tags")),
            ("replace", replaced, _REPLACE_ORDER),
        ):
            if not names:
                continue
            update: dict[str, object] = {}
            for key in order:
                if key not in names:
                    continue
                if key not in expected:
                    message = f"An {how} override for '{key}' was specified but '{key}' is not defined"
                    raise invalid(message, trail)
                expected.discard(key)
                update[key] = self._value(item, key, trail, append=how == "append")
            wanted_source = source if "condition" in names else ""
            if how == "append":
                self._append_to_rule(update, wanted_source, trail)
            else:
                self._replace_in_rule(update, wanted_source, trail)
        for key in sorted(expected):
            message = f"Unexpected key '{key}': no corresponding entry under 'override' is defined."
            raise invalid(message, trail_to_key(item, key, "overrides", trail, key))

    def _value(self, item: Node, key: str, trail: Trail, *, append: bool) -> object:
        match key:
            case "tags":
                return frozenset(keys.texts(item, "tags", trail, required=False))
            case "exceptions":
                return self._exceptions(item, trail, append=append)
            case "priority":
                return keys.priority(item, trail)
            case "capture" | "enabled" | "warn_evttypes" | "skip-if-unknown-filter":
                return bool(keys.boolean(item, key, trail, required=True))
            case "capture_duration":
                return keys.unsigned(item, key, trail)
            case _:
                return keys.text(item, key, trail)

    def _known_rule(self, source: str, trail: Trail) -> RuleItem | None:
        """The known rule of the same name. Raises Refused if it has another source than the given one."""
        known = self._rules.get(trail[-1].item_name)
        if known and source and known.source != source:
            raise Refused("LOAD_ERR_VALIDATE", "Rule has been re-defined with a different source", trail)
        return known

    def _append_to_rule(self, update: Mapping[str, object], source: str, trail: Trail) -> None:
        known = self._known_rule(source, trail)
        if known is None:
            message = "Rule uses 'append' or 'override.<key>: append' but no rule by that name already exists"
            raise Refused("LOAD_ERR_VALIDATE", message, trail)
        if not update:
            message = "Appended rule must have exceptions or condition property"
            raise Refused("LOAD_ERR_VALIDATE", message, trail)
        for key, value in update.items():
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

    def _append_exception(self, rule: RuleItem, exception: RuleException) -> None:
        known = next((other for other in rule.exceptions if other.name == exception.name), None)
        trail = exception.trail
        if known is None:
            if not exception.fields.given:
                message = "Rule exception must have fields property with a list of fields"
                raise Refused("LOAD_ERR_VALIDATE", message, trail)
            if not exception.values:
                message = "Rule exception must have values property with a list of values"
                raise Refused("LOAD_ERR_VALIDATE", message, trail)
            validate(exception, check_fields=not rule.unknown_source)
            rule.exceptions.append(exception)
            return
        for entry, what in ((exception.fields, "fields"), (exception.comps, "comps")):
            if entry.given:
                message = f"Can not append exception {what} to existing exception, only values"
                raise Refused("LOAD_ERR_VALIDATE", message, trail)
        known.values.extend(exception.values)

    def _replace_in_rule(self, update: Mapping[str, object], source: str, trail: Trail) -> None:
        known = self._known_rule(source, trail)
        if known is None:
            message = "An 'override.<key>: replace' to a rule was requested but no rule by that name already exists"
            raise Refused("LOAD_ERR_VALIDATE", message, trail)
        if not update:
            message = "The rule must have at least one field that can be replaced"
            raise Refused("LOAD_ERR_VALIDATE", message, trail)
        names = {"desc": "description", "skip-if-unknown-filter": "skip_if_unknown"}
        for key, value in update.items():
            setattr(known, names.get(key, key), value)
        known.visibility = self._index()

    def _define_rule(self, item: Node, trail: Trail) -> None:
        rule = RuleItem(trail[-1].item_name, trail)
        rule.condition = keys.text(item, "condition", trail)
        rule.condition_trail = trail_to_key(item, "condition", "rule condition", trail)
        rule.output = keys.text(item, "output", trail).strip(" \t\n\v\f\r")
        rule.output_trail = trail_to_key(item, "output", "rule output", trail)
        rule.description = keys.text(item, "desc", trail)
        rule.priority = keys.priority(item, trail)
        if item.get("source"):
            rule.source = keys.text(item, "source", trail)
        rule.enabled = keys.boolean(item, "enabled", trail) is not False
        rule.capture = bool(keys.boolean(item, "capture", trail))
        if item.get("capture_duration"):
            rule.capture_duration = keys.unsigned(item, "capture_duration", trail)
        rule.warn_evttypes = keys.boolean(item, "warn_evttypes", trail) is not False
        rule.skip_if_unknown = bool(keys.boolean(item, "skip-if-unknown-filter", trail))
        rule.tags = frozenset(keys.texts(item, "tags", trail, required=False))
        rule.exceptions = self._exceptions(item, trail, append=False)
        known = self._known_rule(rule.source, trail)
        if rule.source != SYSCALL:
            rule.unknown_source = True
            self._warn("LOAD_UNKNOWN_SOURCE", f"Unknown source {rule.source}, skipping", trail)
        for exception in rule.exceptions:
            if not exception.fields.given:
                message = "Rule exception item must have fields property with a list of fields"
                raise Refused("LOAD_ERR_VALIDATE", message, exception.trail)
            validate(exception, check_fields=not rule.unknown_source)
        index = self._index()
        rule.index = known.index if known else index
        rule.visibility = index
        self._rules[rule.name] = rule

    def _exceptions(self, item: Node, trail: Trail, *, append: bool) -> list[RuleException]:
        node = item.get("exceptions")
        found: list[RuleException] = []
        if node is None or node.kind == "null":
            return found
        inside = trail_to(node, "exceptions", "", trail)
        if node.kind != "sequence":
            raise invalid("Rule exceptions must be a sequence", inside)
        names: Counter[str] = Counter()
        repeated = 0
        budget = [_MAX_ENTRIES]
        for entry in node.items:
            nameless = trail_to(entry, "exception", "", inside)
            if entry.kind != "map":
                raise invalid("Rule exception must be a mapping", nameless)
            exception = RuleException(keys.text(entry, "name", nameless), ())
            exception.trail = trail_to(entry, "exception", exception.name, trail)
            for _ in range(min(names[exception.name], _MAX_REPEATED - repeated)):  # once for each one before it
                message = f"Multiple definitions of exception '{exception.name}' in the same rule"
                self._warn("LOAD_EXCEPTION_NAME_NOT_UNIQUE", message, exception.trail)
                repeated += 1
            names[exception.name] += 1
            fields = entry.get("fields")
            if fields is not None:
                exception.fields = keys.entry(fields, "fields", exception.trail, budget)
            elif not append:
                raise invalid("Item has no mapping for key 'fields'", exception.trail)
            comps = entry.get("comps")
            if comps is not None:
                exception.comps = keys.entry(comps, "comps", exception.trail, budget)
            values = entry.get("values")
            if values is not None:
                values_trail = trail_to(values, "exception values", "", exception.trail)
                if values.kind != "sequence":
                    raise invalid("Rule exception values must be a sequence", values_trail)
                for value in values.items:
                    value_trail = trail_to(value, "exception value", "", values_trail)
                    exception.values.append(keys.entry(value, "", value_trail, budget))
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
        expander = ListExpander(lists, used_lists)
        macros: dict[str, ast.Expression] = {}
        for macro in self._macros.values():
            macros[macro.name] = self._parse(expander, macro.condition, macro.condition_trail)
        used_macros: set[str] = set()
        sizes: dict[str, int] = {}
        for macro in self._macros.values():
            resolver = MacroResolver(macros, sizes, self._defined_before(macro))
            macros[macro.name] = self._resolve(resolver, macros[macro.name], macro.condition, macro.trail)
            sizes[macro.name] = resolver.size
            used_macros.update(resolver.used)
        rules = []
        for rule in self._rules.values():
            if rule.unknown_source:
                continue
            compiled = self._compile_rule(rule, expander, MacroResolver(macros, sizes), used_macros)
            if compiled is not None:
                rules.append(compiled)
        self.rules = rules
        for macro in self._macros.values():
            if macro.name not in used_macros:
                self._warn("LOAD_UNUSED_MACRO", "Macro not referred to by any other rule/macro", macro.trail)
        for name, item in self._lists.items():
            if name not in used_lists:
                self._warn("LOAD_UNUSED_LIST", "List not referred to by any other rule/macro", item.trail)

    def _defined_before(self, macro: MacroItem) -> Callable[[str], bool]:
        return lambda name: self._macros[name].index < macro.visibility

    def _expanded_lists(self) -> tuple[dict[str, list[str]], set[str]]:
        """Each list with the names of earlier lists replaced (one level), and the names that were replaced."""
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

    def _parse(self, expander: ListExpander, condition: str, trail: Trail) -> ast.Expression:
        text = expander.expanded(condition)
        self._texts += len(text)
        if len(text) > MAX_TEXT or self._texts > _MAX_TEXTS:
            message = f"condition too long: {len(text)} characters with its lists expanded, {self._texts} in all"
            raise Refused("LOAD_ERR_COMPILE_CONDITION", message, trail)
        found = self._parsed.get(text)
        if found is None:
            parser = Parser(text, in_bytes=True)
            try:
                found = self._parsed[text] = parser.parse()
            except ParseFailure as failure:
                place = _in_condition(parser.position(), text, trail)
                raise Refused("LOAD_ERR_COMPILE_CONDITION", failure.message, place, text) from None
        return found

    def _resolve(
        self, resolver: MacroResolver, expression: ast.Expression, condition: str, trail: Trail
    ) -> ast.Expression:
        resolved = resolver.resolved(expression)
        if resolver.faults:
            message, position = resolver.faults[0]
            raise Refused("LOAD_ERR_VALIDATE", message, _in_condition(position, condition, trail), condition)
        return resolved

    def _compile_rule(
        self, rule: RuleItem, expander: ListExpander, resolver: MacroResolver, used_macros: set[str]
    ) -> Rule | None:
        condition = with_exceptions(rule)
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
            raise Refused("LOAD_ERR_COMPILE_OUTPUT", bad.message, rule.output_trail) from None
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
            raise Refused("LOAD_ERR_COMPILE_CONDITION", message, rule.condition_trail)
        self._warn_of_fields(expression, condition, rule)
        key = (condition, str(expression))  # the text, too, since warnings have places in it
        compiled = self._compiled.get(key)
        try:
            if compiled is None:
                compiled = self._compiled[key] = compile_condition(expression, self.graph)
        except FatalFault:
            raise
        except ConditionFault as fault:
            place = _in_condition(fault.position, condition, rule.condition_trail)
            if rule.skip_if_unknown and _is_unknown(fault.message):
                self._warn("LOAD_UNKNOWN_FILTER", fault.message, place, condition)
                return None
            raise Refused("LOAD_ERR_COMPILE_CONDITION", fault.message, place, condition) from None
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
            written_condition=rule.condition,
            written_output=rule.output,
        )

    def _warn_of_fields(self, expression: ast.Expression, condition: str, rule: RuleItem) -> None:
        """Warnings about single comparisons: unsafe <NA>, deprecated fields."""
        found: set[str] = set()
        unsafe = False
        for check in ast.walk(expression):
            if not isinstance(check, ast.Check | ast.Exists):
                continue
            fields = [node.name for node in _outside_lists(check.operand) if isinstance(node, ast.Field)]
            if (
                isinstance(check, ast.Check)
                and fields
                and fields[-1].startswith(("ka.", "jevt."))
                and check.operator in ("=", "==", "!=", "in", "intersects", "pmatch")
            ):
                for node in _outside_lists(check.value):
                    match node:
                        case ast.ValueList(values):
                            unsafe = unsafe or "<NA>" in values
                        case ast.Value(text):
                            unsafe = unsafe or text == "<NA>"
                        case ast.Field(name):
                            fields.append(name)
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


def _outside_lists(operand: ast.Operand) -> Iterator[ast.Operand]:
    """An operand and what is in it, except in the lists among a transformer's arguments."""
    pending = [operand]
    while pending:
        operand = pending.pop()
        yield operand
        if isinstance(operand, ast.Transformer):
            pending.extend(reversed(operand.arguments))


def _is_unknown(message: str) -> bool:
    return any(
        part in message
        for part in ("nonexistent field", "invalid formatting token", "unknown event type", "unknown filter:")
    )


def _in_condition(position: Position, condition: str, parent: Trail) -> Trail:
    """A location in a condition. As in Falco, it is counted from the start of the condition, even in a folded text."""
    text = condition.encode("utf-8", "surrogatepass")
    name = f'"{text[:17].decode("utf-8", "replace")}..."' if len(text) > 20 else f'"{condition}"'
    name = name.replace("\n", " ").replace("\r", " ")
    last = parent[-1]
    line, column, offset = last.line + position.line, last.column + position.column, last.offset + position.offset
    return (*parent, Location("condition expression", "", name, line, column, offset))
