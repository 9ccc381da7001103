"""Falco's settings: reads `falco.yaml`, the files it includes and `-o` options, and checks them as Falco does.

The schema, what is read, and what a value must be are in `settings.yaml`.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

import yaml

from ekslab.images.falco import tree
from ekslab.images.falco.tree import TreeError
from falcorules.document import Node
from falcorules.schema import Schema, SchemaFault, departures
from falcorules.yaml_scanner import YamlFault

if TYPE_CHECKING:
    from ekslab.node import Process

DEFAULT_FILE = "/etc/falco/falco.yaml"
PLUGINS = "/usr/share/falco/plugins"
_INCLUDED = "config_files"
_UNITS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_INTERVAL = re.compile("".join(f"(?:(?P<{unit}>[0-9]+){unit})?" for unit in _UNITS))


class ConfigError(Exception):
    """The configuration can't be used; the text is what Falco prints after `Error: `."""

    def __init__(self, text: str, *, before: str = "") -> None:
        super().__init__(text)
        self.before = before
        """A line that Falco prints first."""


class AbortError(Exception):
    """Falco calls `abort`, with this text on standard error."""


@dataclass(frozen=True)
class AppendedOutput:
    """An entry of `append_output`; `match` is empty if it holds for all rules."""

    match: Mapping[str, Any]
    extra_output: str
    suggested_output: bool
    fields: Mapping[str, str]
    """Formats of extra fields; a field that is added as it is has the format `%field`."""


@dataclass(frozen=True)
class Plugin:
    name: str
    library_path: str
    init_config: str
    """JSON, or a text that the plugin reads; "" without."""

    @property
    def own_name(self) -> str:
        """The plugin's name for itself, whatever the settings call it."""
        return posixpath.basename(self.library_path).removeprefix("lib").removesuffix(".so")


@dataclass
class Settings:
    """What Falco has read, by key (`webserver.listen_port`); without a file, its own defaults."""

    values: dict[str, Any] = field(default_factory=lambda: _read_all(Node("map", tree.NOWHERE), "", lambda path: False))
    files: list[tuple[str, str]] = field(default_factory=list)
    """Each file that was read, and the outcome of its schema validation, by path."""
    watched: list[str] = field(default_factory=list)
    """Files and folders of settings."""

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    @property
    def warnings(self) -> list[str]:
        """What Falco warns of while it reads."""
        found: list[str] = self.values["warnings"]
        return found


def load(process: Process, path: str, options: Sequence[str]) -> Settings:
    """Reads `path`, then what `config_files` names, then applies `key=value` options.

    Raises `ConfigError`, and `AbortError` for documents on which the check of the schema fails.
    """
    try:
        return _load(process, path, options)
    except (TreeError, YamlFault) as error:
        raise ConfigError(str(error)) from error
    except SchemaFault as error:
        raise AbortError(str(error)) from error


def _load(process: Process, path: str, options: Sequence[str]) -> Settings:
    outcomes: dict[str, str] = {}
    try:
        root = _read_file(process, path, outcomes)
    except (OSError, YamlFault) as error:
        # Falco throws a copy of the exception, without its text.
        reason = f"bad file: {path}" if isinstance(error, OSError) else str(error)
        raise ConfigError("std::exception", before=f"Cannot read config file ({path}): {reason}") from error
    for option in options:
        if option.startswith(_INCLUDED):
            _set(root, option)
    watched = [path, *_include(process, root, path, outcomes)]
    for option in options:
        _set(root, option)
    values = _read_all(root, path, process.exists)
    return Settings(values, sorted(outcomes.items()), watched)


def rules_files(process: Process, named: Sequence[str]) -> list[str]:
    """The files of rules in the order in which they are read; a folder stands for its YAML files, by name."""
    found = []
    for entry in named:
        names = [entry]
        if process.isdir(entry):
            names = [posixpath.join(entry, name) for name in sorted(process.listdir(entry))]
            names = [name for name in names if not process.isdir(name)]
        found += [name for name in names if _is_yaml(name)]
    return found


def _is_yaml(path: str) -> bool:
    """Whether a path ends where it first has `.yaml` or `.yml`, as Falco's wildcards have it."""
    return any(path.partition(ending)[1:] == (ending, "") for ending in (".yaml", ".yml"))


def check_plugin(plugin: Plugin) -> str:
    """What is wrong with a plugin's `init_config`, in the words of Falco's libraries; "" if nothing is."""
    schema = _plugin_schemas().get(plugin.own_name)
    if schema is None:
        return ""
    try:
        found = departures(_as_node(json.loads(plugin.init_config or "{}")), schema)
    except ValueError:
        return f"error in plugin {plugin.own_name}: init config is not a valid json"
    except SchemaFault as error:
        return str(error)
    if not found:
        return ""
    where, _, what = found[0].partition(": ")
    return f"error in plugin {plugin.own_name} init config: In {where}, {what}"


# -- files


def _read_file(process: Process, path: str, outcomes: dict[str, str]) -> Node:
    """The tree of a file; the outcome of its schema validation is added to `outcomes`."""
    root = tree.parse(process.read_bytes(path), process.env)
    found = departures(root, _schema())
    outcomes[path] = f"failed for {found[0]}" if found else "ok"
    return root


def _include(process: Process, root: Node, path: str, outcomes: dict[str, str]) -> list[str]:
    """Puts the files that `config_files` names into the tree; returns the files and folders that there are."""
    included = []
    for name, strategy in _inclusions(tree.at(root, _INCLUDED)):
        if name == path:
            raise ConfigError(
                f"Config error: '{_INCLUDED}' directive tried to recursively include main config file: {path}."
            )
        if not process.exists(name):
            continue
        included.append(name)
        files = [name]
        if process.isdir(name):
            files = [posixpath.join(name, file) for file in sorted(process.listdir(name))]
        for file in files:
            if process.isdir(file):
                continue
            try:
                more = _read_file(process, file, outcomes)
            except OSError as error:
                raise ConfigError(f"bad file: {file}") from error
            _merge(root, more, strategy, file)
    return included


def _inclusions(node: Node | None) -> list[tuple[str, str]]:
    """Paths and strategies (`append`, `override`, `add-only`)."""
    found = []
    for item in _listed(node):
        if item.kind != "map":
            found.append((tree.text(item), "append"))
            continue
        path, strategy = item.get("path"), item.get("strategy")
        if path is None:
            raise tree.bad_conversion(item)
        found.append((tree.text(path), "append" if strategy is None else tree.text(strategy)))
    return found


def _merge(root: Node, more: Node, strategy: str, file: str) -> None:
    """Puts an included file's keys in: lists grow, anything else is replaced, maps as a whole."""
    if more.kind == "sequence":
        raise ConfigError(
            "invalid node; this may result from using a map iterator as a sequence iterator, or vice-versa"
        )
    for key, value in more.pairs:
        if key.name == _INCLUDED:
            raise ConfigError(f"Config error: '{_INCLUDED}' directive in included config file {file}.")
        old = tree.child(root, key.name or "")
        if strategy == "add-only" and old is not None:
            continue
        if strategy not in ("override", "add-only") and value.kind == "sequence":
            if old is not None and old.kind not in ("sequence", "null"):
                raise ConfigError("appending to a non-sequence")
            items = (*(old.items if old is not None else ()), *value.items)
            value = Node("sequence", value.place, items=items)
        root.kind = "map"
        root.pairs = (*((k, v) for k, v in root.pairs if k.name != key.name), (key, value))


def _set(root: Node, option: str) -> None:
    key, separator, text = option.partition("=")
    if not separator:
        raise ConfigError(f'Error parsing config option "{option}". Must be of the form key=val or key.subkey=val')
    is_map = text.startswith("{") and text.endswith("}")
    tree.assign(root, key, tree.parse(text.encode()) if is_map else Node("scalar", tree.NOWHERE, text))


# -- values


@functools.cache
def _data() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("settings.yaml").read_text(encoding="utf-8")
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loaded: dict[str, Any] = yaml.load(text, loader)
    return loaded


@functools.cache
def _schema() -> Schema:
    return _in_full(_data()["schema"])


@functools.cache
def _plugin_schemas() -> dict[str, Schema]:
    return {name: _in_full(short) for name, short in _data()["plugins"].items()}


def _in_full(short: Any) -> Schema:
    """A schema of `settings.yaml` as falcorules takes it."""
    if isinstance(short, str):
        return {} if short == "any" else {"type": short}
    if isinstance(short, list):
        return {"type": "array", "items": _in_full(short[0])}
    own = {key[1:]: value for key, value in short.items() if key.startswith("~")}
    schema: dict[str, Any] = {key: own[key] for key in ("type", "least", "lowest", "highest") if key in own}
    schema |= {full: own[key] for key, full in (("among", "enum"),) if key in own}
    schema |= {
        full: [_in_full(one) for one in own[key]] for key, full in (("any", "anyOf"), ("one", "oneOf")) if key in own
    }
    if "required" in own:
        schema["required"] = sorted(own["required"])
    if "others" in own:
        schema["others"] = _in_full(own["others"])
    properties = {key: _in_full(value) for key, value in short.items() if not key.startswith("~")}
    if properties or "others" in own:
        schema |= {"properties": properties} | ({} if own.get("others") == "any" else {"type": "object"})
    return schema


def _read_all(root: Node, file: str, exists: Callable[[str], bool]) -> dict[str, Any]:
    """The values of all keys, in the order in which Falco reads them. Raises `ConfigError` and `TreeError`."""
    values: dict[str, Any] = {"warnings": []}
    for row in _data()["read"]:
        key, kind, default = row["read"]
        switch, _, wanted = row.get("when", "").partition("=")
        if switch and values[switch] != (wanted or True):
            values[key] = default
            continue
        if kind in _SPECIAL:
            values[key] = _SPECIAL[kind](root, file, values)
            continue
        value = values[key] = tree.scalar(tree.at(root, key), kind, default)
        if not _allowed(value, row):
            raise ConfigError(row["refused"].format(value=value, file=file))
    values["rules_files"] = [path for path in values["rules_files"] if exists(path)]
    return values


def _allowed(value: Any, row: Mapping[str, Any]) -> bool:
    if "among" in row:
        return (value.lower() if row.get("fold") else value) in row["among"]
    if "from_to" in row:
        lowest, highest = row["from_to"]
        return not (value < lowest or value > highest)
    if row.get("address"):
        return _is_address(value)
    return bool(value) or not row.get("filled")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip())
    except ValueError:
        return False
    return True


def _rules_files(root: Node, file: str, values: dict[str, Any]) -> list[str]:
    nodes = {name: tree.at(root, name) for name in ("rules_files", "rules_file")}
    found = [path for node in nodes.values() for path in tree.texts(node)]
    if nodes["rules_file"] is not None:
        values["warnings"].append(
            "Using deprecated config key 'rules_file' (singular form). Please use new 'rules_files' config key "
            "(plural form)."
        )
    if None not in nodes.values():
        raise ConfigError(f"Error reading config file ({file}): both 'rules_files' and 'rules_file' keys set")
    return found


def _drop_actions(root: Node, file: str, values: dict[str, Any]) -> list[str]:
    actions = tree.texts(tree.at(root, "syscall_event_drops.actions"))
    for place, action in enumerate(actions):
        if action not in ("ignore", "log", "alert", "exit"):
            raise ConfigError(
                f"Error reading config file ({file}): available actions for syscall event drops are "
                '"ignore", "log", "alert", and "exit"'
            )
        if action in ("log", "alert") and "ignore" in actions[:place]:
            raise ConfigError(
                f'Error reading config file ({file}): syscall event drop action "{action}" does not make sense with '
                'the "ignore" action'
            )
    return actions


def _strings(root: Node, file: str, values: dict[str, Any]) -> list[str]:
    return tree.texts(tree.at(root, "base_syscalls.custom_set"))


def _interval(root: Node, file: str, values: dict[str, Any]) -> str:
    """The text; `metrics.interval_ms` becomes the time in milliseconds, 0 if it isn't one."""
    text: str = tree.scalar(tree.at(root, "metrics.interval"), "string", "5000")
    match = _INTERVAL.fullmatch(re.sub(r"\s", "", text))
    values["metrics.interval_ms"] = 0
    for unit, factor in _UNITS.items():
        digits = (match and match[unit]) or "0"
        octal = re.match("0[0-7]*", digits)
        number = int(octal[0], 8) if octal else int(digits)
        if number >= 1 << 64:
            raise ConfigError("stoull")
        values["metrics.interval_ms"] += number * factor
    return text


def _selections(root: Node, file: str, values: dict[str, Any]) -> list[dict[str, dict[str, str]]]:
    found = []
    for item in _listed(tree.at(root, "rules")):
        if item.kind != "map":
            raise tree.bad_conversion(item)
        operation = next((name for name in ("enable", "disable") if item.get(name)), "")
        chosen = item.get(operation)
        if chosen is None or chosen.kind != "map":
            raise tree.bad_conversion(item)
        names = {key: tree.text(node) for key in ("rule", "tag") if (node := chosen.get(key)) is not None}
        if not any(names.values()):
            raise tree.bad_conversion(item)
        found.append({operation: {key: name for key, name in names.items() if name}})
    return found


def _append_outputs(root: Node, file: str, values: dict[str, Any]) -> list[AppendedOutput]:
    found = [_append_output(item) for item in _listed(tree.at(root, "append_output"))]
    for entry in found:
        rule, tags = entry.match.get("rule"), entry.match.get("tags")
        if rule and tags:
            listed = "".join(f"{tag}, " for tag in tags)[:-1]
            values["warnings"].append(
                f"An append_ouptut entry specifies both a rule ({rule}) and a list of tags ({listed}). This means that "
                f"output will be appended only to the {rule} rule and only if it has all the tags: {listed}."
            )
    return found


def _append_output(item: Node) -> AppendedOutput:
    if item.kind != "map":
        raise tree.bad_conversion(item)
    match: dict[str, Any] = {}
    chosen = item.get("match")
    for key in ("source", "tags", "rule"):
        node = tree.child(chosen, key)
        if node is None or (key == "tags" and node.kind != "sequence"):
            continue
        if key == "tags" and any(tag.kind != "scalar" for tag in node.items):
            raise tree.bad_conversion(item)
        match[key] = sorted({tag.text for tag in node.items}) if key == "tags" else tree.text(node)
    output, extra = item.get("extra_output"), item.get("extra_fields")
    text = "" if output is None else tree.text(output)
    formats: dict[str, str] = {}
    raw: set[str] = set()
    if extra is not None and extra.kind != "sequence":
        raise tree.bad_conversion(item)
    for definition in extra.items if extra is not None else ():
        if definition.kind == "map" and len(definition.pairs) == 1:
            name = tree.text(definition.pairs[0][0])
            if name in formats or name in raw:
                raise tree.bad_conversion(item)
            formats[name] = tree.text(definition.pairs[0][1])
        elif definition.kind == "scalar" and definition.text not in formats:
            raw.add(definition.text)
        else:
            raise tree.bad_conversion(item)
    suggested = item.get("suggested_output")
    if suggested is not None and suggested.boolean() is None:
        raise tree.bad_conversion(suggested)
    fields = formats | {name: f"%{name}" for name in sorted(raw)}
    return AppendedOutput(match, text, suggested is not None and bool(suggested.boolean()), fields)


def _texts(root: Node, file: str, values: dict[str, Any]) -> dict[str, str]:
    node = tree.at(root, "static_fields")
    return {tree.text(key): tree.text(value) for key, value in node.pairs} if node and node.kind == "map" else {}


def _plugins(root: Node, file: str, values: dict[str, Any]) -> list[Plugin]:
    """The plugins that are loaded: those that `load_plugins` names, in its order; all of them without it."""
    chosen = tree.at(root, "load_plugins")
    names = tree.texts(chosen)
    try:
        plugins = [_plugin(item) for item in _listed(tree.at(root, "plugins"))]
    except TreeError as error:
        text = f"Error reading config file({file}): could not load plugins config: {error}"
        raise ConfigError(text) from error
    if chosen is None:
        return plugins
    for name in names:
        if name not in [plugin.name for plugin in plugins]:
            raise ConfigError(f"Cannot load plugin '{name}': plugin config not found for given name")
    return [next(plugin for plugin in plugins if plugin.name == name) for name in names]


def _plugin(item: Node) -> Plugin:
    name, library, config, params = (
        item.get(key) if item.kind == "map" else None for key in ("name", "library_path", "init_config", "open_params")
    )
    if name is None or library is None:
        raise tree.bad_conversion(item)
    named, path = tree.text(name), tree.text(library)
    if path and not path.startswith("/"):
        full = posixpath.normpath(posixpath.join(PLUGINS, path))
        if not full.startswith(f"{PLUGINS}/"):
            raise TreeError(
                f"plugin library_path '{path}' resolves outside the plugins directory ({PLUGINS}/)", library.place
            )
        path = full
    given = ""
    if config is not None and config.kind != "null":
        given = json.dumps(tree.as_json(config)) if config.kind == "map" else tree.text(config)
    if params is not None:
        tree.text(params)
    return Plugin(named, path, given)


def _listed(node: Node | None) -> tuple[Node, ...]:
    """The items of a list; a scalar is the only item of one."""
    if node is None or node.kind not in ("sequence", "scalar"):
        return ()
    return node.items if node.kind == "sequence" else (node,)


_SPECIAL: dict[str, Callable[[Node, str, dict[str, Any]], Any]] = {
    "rules_files": _rules_files,
    "drop_actions": _drop_actions,
    "strings": _strings,
    "interval": _interval,
    "selections": _selections,
    "append_outputs": _append_outputs,
    "texts": _texts,
    "plugins": _plugins,
}


def _as_node(value: Any) -> Node:
    """JSON as a tree, keys in order."""
    if isinstance(value, dict):
        pairs = tuple((Node("scalar", tree.NOWHERE, key), _as_node(value[key])) for key in sorted(value))
        return Node("map", tree.NOWHERE, pairs=pairs)
    if isinstance(value, list):
        return Node("sequence", tree.NOWHERE, items=tuple(map(_as_node, value)))
    return Node("null", tree.NOWHERE) if value is None else Node("scalar", tree.NOWHERE, _scalar_text(value))


def _scalar_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
