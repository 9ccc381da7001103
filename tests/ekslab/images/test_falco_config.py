"""Falco's settings: what a real Falco 0.44 refuses, departs from its schema and reads, in its words."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from typing import Any, cast

import pytest
import yaml

from ekslab.helm import chart
from ekslab.images.falco.config import AbortError, ConfigError, Plugin, Settings, check_plugin, load, rules_files
from ekslab.node import Process

FILE = "/etc/falco/falco.yaml"
UNKNOWN = (
    "Object contains a property that could not be validated using 'properties' or 'additionalProperties' constraints"
)

OF_TYPE = "Value type not permitted by 'type' constraint."
POSITIVE = "Expected number greater than or equal to 0.000000"


class Folder:
    """The files of a container, as far as a reader of settings asks for them."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files
        self.env = {"HOME": "/root"}

    def read_bytes(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory")
        return self.files[path].encode()

    def isdir(self, path: str) -> bool:
        return any(name.startswith(path.rstrip("/") + "/") for name in self.files)

    def exists(self, path: str) -> bool:
        return path in self.files or self.isdir(path)

    def listdir(self, path: str) -> list[str]:
        return [posixpath.basename(name) for name in self.files if posixpath.dirname(name) == path.rstrip("/")]


def read(text: str, *options: str, **files: str) -> Settings:
    """The settings of a falco.yaml; other files are in /etc/falco/config.d."""
    folder = Folder({FILE: text} | {f"/etc/falco/config.d/{name}.yaml": more for name, more in files.items()})
    return load(cast(Process, folder), FILE, options)


def chart_defaults() -> dict[str, Any]:
    """falco.yaml of the chart's default values."""
    objects = chart.render("falco", "falco", {"driver": {"kind": "modern_ebpf"}}, warn=print)
    text = next(o["data"]["falco.yaml"] for o in objects if "falco.yaml" in o.get("data", {}))
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engine: {kind: ebpf}", f"Error reading config file ({FILE}): engine.kind 'ebpf' is not a valid kind."),
        (
            "engine: modern_ebpf",
            'Config error at key "engine.kind": yaml-cpp: error at line 1, column 9: operator[] call',
        ),
        ("engine: {kind: replay}", "engine.kind is 'replay' but no engine.replay.capture_file specified."),
        ("log_level: loud", "Unknown log level loud"),
        ("log_level: INFO", "Unknown log level INFO"),
        ("log_level:", "Unknown log level null"),
        ("libs_logger: {severity: loud}", "Unknown sinsp log severity loud"),
        (
            "syslog_output: true",
            'Config error at key "syslog_output.enabled": yaml-cpp: error at line 1, column 16: '
            'operator[] call on a scalar (key: "enabled")',
        ),
        (
            "priority: HIGH",
            'Unknown priority "HIGH"--must be one of emergency, alert, critical, error, warning, notice, ',
        ),
        ("rule_matching: second", 'Unknown rule matching strategy "second"--must be one of first, all'),
        ("file_output: {enabled: true}", "file output enabled but no filename in configuration block"),
        ("program_output: {enabled: true}", "program output enabled but no program in configuration block"),
        ("http_output: {enabled: true}", "http output enabled but no url in configuration block"),
        ("webserver: {listen_address: localhost}", 'webserver listen address "localhost" is not a valid IP address'),
        ("syscall_event_drops: {actions: [ignore, log]}", 'action "log" does not make sense with the "ignore" action'),
        ("syscall_event_drops: {actions: [shout]}", 'available actions for syscall event drops are "ignore", "log", '),
        ("syscall_event_drops: {threshold: 2}", "threshold must be a double in the range [0, 1]"),
        (
            "syscall_event_timeouts: {max_consecutives: 0}",
            f"Error reading config file({FILE}): the maximum consecutive",
        ),
        ("capture: {mode: some}", "capture.mode 'some' is not a valid mode."),
        ("metrics: {interval: 99999999999999999999m}", "stoull"),
        ("rules_files: [{a: 1}]", "yaml-cpp: error at line 1, column 15: bad conversion"),
        ("rules: [{enable: {}}]", "yaml-cpp: error at line 1, column 9: bad conversion"),
        ("append_output: [{extra_fields: [{b: x}, b]}]", "yaml-cpp: error at line 1, column 17: bad conversion"),
        ("append_output: [{suggested_output: maybe}]", "yaml-cpp: error at line 1, column 36: bad conversion"),
        ("static_fields: {a: [1]}", "yaml-cpp: error at line 1, column 20: bad conversion"),
        (
            "plugins: [{name: x}]",
            f"Error reading config file({FILE}): could not load plugins config: yaml-cpp: error at",
        ),
        (
            "plugins: [{name: x, library_path: ../y}]",
            "plugin library_path '../y' resolves outside the plugins directory",
        ),
        ("load_plugins: [x]", "Cannot load plugin 'x': plugin config not found for given name"),
        (f"config_files: [{FILE}]", "'config_files' directive tried to recursively include main config file"),
        (
            "text",
            'Config error at key "config_files": yaml-cpp: error at line 1, column 1: operator[] call on a scalar',
        ),
    ],
)
def test_settings_that_falco_refuses(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("json_output: maybe", "<root>[json_output]: Value type not permitted by 'type' constraint."),
        ("json_output: yes", "<root>[json_output]: Value type not permitted by 'type' constraint."),
        ("webserver: {listen_port: abc}", f"<root>[webserver][listen_port]: {OF_TYPE}"),
        ("append_output: [{more: 1}]", f"<root>[append_output][0]: {UNKNOWN}: 'more'."),
        ("rules_files: text", "<root>[rules_files]: Value type not permitted by 'type' constraint."),
        ("grpc: {enabled: false}", f"<root>: {UNKNOWN}: 'grpc'."),
        ("syslog_output: {}", "<root>[syslog_output]: Object should have no fewer than 1 properties."),
        ("engine: {kmod: {buf_size_preset: 4}}", "<root>[engine]: Missing required property 'kind'."),
        ("capture: {mode: [rules]}", "<root>[capture][mode]: Value type not permitted by 'type' constraint."),
        ("capture: {default_duration: -1}", f"<root>[capture][default_duration]: {POSITIVE}"),
        ("", "<root>: Value type not permitted by 'type' constraint."),
    ],
)  # fmt: skip
def test_departures_from_the_schema_are_reported_and_survived(text: str, outcome: str) -> None:
    assert read(text).files == [(FILE, f"failed for {outcome}")]


def test_no_wrong_value_of_any_key_of_the_chart_is_an_error_of_ours() -> None:
    settings = chart_defaults()
    assert read(yaml.safe_dump(settings)).files == [(FILE, "ok")]
    outcomes = set()
    for path in _paths(settings):
        for wrong in ("maybe", None, [[]], {"x": 1}):
            try:
                outcomes.add(read(yaml.safe_dump(_with(settings, path, wrong))).files[0][1])
            except (ConfigError, AbortError) as error:
                outcomes.add(str(error))
    assert len(outcomes) > 150


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from _paths(value[key], (*path, key))


def _with(value: Any, path: tuple[Any, ...], changed: Any) -> Any:
    if not path:
        return changed
    copied = value.copy()
    copied[path[0]] = _with(value[path[0]], path[1:], changed)
    return copied


def test_values_of_another_type_count_as_the_default() -> None:
    settings = read(
        "webserver: {listen_port: 0x10, threadiness: -1}\noutput_timeout: [1]\njson_output: on\npriority: Info"
    )
    assert settings["webserver.listen_port"] == 16
    assert (settings["webserver.threadiness"], settings["output_timeout"]) == (0, 2000)
    assert settings["json_output"]
    assert not Settings()["log_stderr"]


def test_included_files_grow_lists_and_replace_maps_as_a_whole() -> None:
    main = (
        "config_files: [/etc/falco/config.d, /nope.yaml]\nengine: {kind: kmod, kmod: {buf_size_preset: 2}}\nrules: []"
    )
    settings = read(main, a="engine: {kind: modern_ebpf}\nrules: [{disable: {tag: x}}]", b="more: 1")
    assert settings.files == [
        ("/etc/falco/config.d/a.yaml", "ok"),
        ("/etc/falco/config.d/b.yaml", f"failed for <root>: {UNKNOWN}: 'more'."),
        (FILE, "ok"),
    ]
    assert (settings["engine.kind"], settings["rules"]) == ("modern_ebpf", [{"disable": {"tag": "x"}}])
    kept = read(
        main.replace("[/etc", "[{path: /etc").replace(",", ", strategy: add-only},", 1), a="rules: [x]\npriority: error"
    )
    assert (kept["rules"], kept["priority"]) == ([], "error")
    with pytest.raises(ConfigError, match="appending to a non-sequence"):
        read(main.replace("[]", "x"), a="rules: [x]")
    with pytest.raises(ConfigError, match=r"directive in included config file /etc/falco/config\.d/a\.yaml"):
        read(main, a="config_files: [x]")


def test_variables_are_replaced() -> None:
    settings = read("webserver: {k8s_healthz_endpoint: '${HOME}x${NONE}/$${HOME}', ssl_certificate: 'a$b${HOME}'}")
    assert settings["webserver.k8s_healthz_endpoint"] == "/rootx/${HOME}"
    assert settings["webserver.ssl_certificate"] == "a$b${HOME}"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("json_output", 'Error parsing config option "json_output". Must be of the form key=val or key.subkey=val'),
        ("json_output.a=1", 'operator[] call on a scalar (key: "a")'),
        (
            "rules_files[x]=1",
            "Config error at key \"rules_files[x]\": Parsing error: expected a numeric index, found 'x'",
        ),
        (".a=1", 'Config error at key ".a": Parsing error: unexpected character at pos 0'),
        ("a\\b=1", "Parsing error: invalid escape sequence '\\b' at pos 1"),
        ("a\\=1", "Parsing error: trailing backslash at pos 1"),
        ("engine={a: [}", "yaml-cpp: error at line 1, column 6: illegal flow end"),
    ],
)
def test_options_that_falco_refuses(option: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read("json_output: true\nrules_files: [a]", option)
    assert said in str(error.value)


def test_options_reach_lists_and_make_what_is_missing() -> None:
    settings = read(
        "rules: [{disable: {rule: a}}]", "rules[0].disable.rule=b", "rules[]={enable: {tag: c}}", "webserver.x=1"
    )
    assert settings["rules"] == [{"disable": {"rule": "b"}}, {"enable": {"tag": "c"}}]


def test_deprecated_and_odd_settings_are_warned_of() -> None:
    assert "Using deprecated config key 'rules_file' (singular form)." in read("rules_file: x").warnings[0]
    (warning,) = read("append_output: [{match: {rule: a, tags: [c, b]}, extra_output: x}]").warnings
    assert "specifies both a rule (a) and a list of tags (b, c,)" in warning


def test_files_that_are_no_settings_end_falco() -> None:
    with pytest.raises(ConfigError, match=r"std::exception") as error:
        read("a: b: c")
    assert (
        error.value.before
        == f"Cannot read config file ({FILE}): yaml-cpp: error at line 1, column 5: illegal map value"
    )
    with pytest.raises(AbortError, match=r"JSON value is not an object\."):
        read("[]")


def test_folders_of_rules_have_yaml_files_only() -> None:
    folder = Folder(
        dict.fromkeys(("/r/a.yaml", "/r/.b.yml", "/r/c.yaml.bak", "/r/d.txt", "/r/e/f.yaml", "/g.conf"), "")
    )
    assert rules_files(cast(Process, folder), ["/r", "/g.conf", "/h.yaml"]) == ["/r/.b.yml", "/r/a.yaml", "/h.yaml"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"label_max_len": "long"}, "In <root>[label_max_len], Value type not permitted by 'type' constraint."),
        ({"hooks": ["stop"]}, "In <root>[hooks][0], Failed to match against any enum values."),
        ({"hooks": []}, "In <root>[hooks], Value type not permitted by 'type' constraint."),
        (
            {"engines": {"docker": {"enabled": True}}},
            "In <root>[engines][docker], Missing required property 'sockets'.",
        ),
        ({"engines": {}}, "In <root>[engines], Value type not permitted by 'type' constraint."),
        ({"more": 1}, f"In <root>, {UNKNOWN}: 'more'."),
    ],
)
def test_the_container_plugin_checks_its_own_settings(change: dict[str, Any], said: str) -> None:
    settings = chart_defaults()
    config = settings["plugins"][0]["init_config"]
    settings["plugins"][0]["init_config"] = {**config, **change}
    if set(change.get("engines") or ()) == {"docker"}:
        settings["plugins"][0]["init_config"]["engines"] = {**config["engines"], **change["engines"]}
    (plugin,) = read(yaml.safe_dump(settings))["plugins"]
    assert isinstance(json.loads(plugin.init_config), dict)
    assert check_plugin(plugin) == (f"error in plugin container init config: {said}" if said else "")
    assert (
        check_plugin(Plugin("x", "/libcontainer.so", "{"))
        == "error in plugin container: init config is not a valid json"
    )
