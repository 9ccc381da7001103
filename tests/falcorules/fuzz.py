"""Throws random rule files and conditions at the loader: `python -m tests.falcorules.fuzz --inputs 1000000 --seed 1`.

Every input must end in a report whose errors have a code and a place, within a time limit; otherwise it exits with 1.
An input depends on the seed and its number only: `--only NUMBER` runs that one again and prints it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import signal
import string
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from random import Random
from types import FrameType
from typing import Any

from falcorules import default_rules
from falcorules.loader import Loader
from falcorules.report import ERRORS, WARNINGS, FileReport

CHUNK = 500

FIELDS = (
    *(
        "proc.name",
        "proc.pname",
        "proc.aname[2]",
        "proc.aname",
        "proc.args",
        "proc.cmdline",
        "proc.pid",
        "proc.exepath",
    ),
    *("fd.name", "fd.num", "fd.sip", "fd.snet", "fd.cport", "fd.types", "fd.typechar", "user.name", "user.uid"),
    *(
        "evt.type",
        "evt.num",
        "evt.dir",
        "evt.arg.flags",
        "evt.arg[0]",
        "evt.rawres",
        "evt.latency",
        "evt.is_open_write",
    ),
    *("container.id", "k8s.pod.name", "k8s.pod.label[app]", "container.privileged", "ka.verb", "jevt.value[/a]"),
    *("proc.nope", "nothing", "proc.aname[", "evt.arg", "proc.env[PATH]", "proc.is_exe_writable", "thread.tid"),
)
OPERATORS = (
    *("=", "==", "!=", "<", "<=", ">", ">=", "in", "intersects", "pmatch", "contains", "icontains", "bcontains"),
    *("startswith", "bstartswith", "endswith", "glob", "iglob", "regex", "exists", "oneof", "in anyof", "= oneof"),
    *("startswith anyof", "like", "~"),
)
VALUES = (
    *("execve", "open", "openat", "cat", "'a b'", '"a b"', "1", "-1", "0x1f", "1.5", "true", "<NA>", "10.0.0.0/8"),
    *("10.0.0.1", "::1", "proc.name", "val(proc.pname)", "tolower(proc.name)", "''", "'\\x'", "/etc", "*.so", "<", ">"),
    *("(", "é", "a\\ b", "99999999999999999999", "'[a'", "443", "unknown_event"),
)
NAMES = ("a", "b", "m", "shells", "R", "S", "never_true", "a-b", "a(b", "b c", "open", "x" * 30, "é", "1", "true", "in")
KEYS = (
    *("list", "macro", "rule", "required_engine_version", "required_plugin_versions", "items", "condition", "output"),
    *("desc", "priority", "source", "enabled", "capture", "capture_duration", "warn_evttypes", "tags", "exceptions"),
    *("skip-if-unknown-filter", "override", "append", "name", "fields", "comps", "values", "version", "alternatives"),
    *("capture_events", "capture_filesize", "unknown"),
)
OUTPUTS = (
    *(
        "o",
        "%proc.name",
        "%20proc.name",
        "%proc.name %evt.time",
        "100%",
        "%",
        "%%",
        "%20",
        "%nope",
        "%proc.nope",
        "%(x",
    ),
    *("%tolower(proc.name)", "%toupper(%proc.name)", "%evt.arg[0]", "%evt.arg.", "%proc.aname[", "%proc.aname[2]x"),
    *(
        "%container.info",
        "%evt.dir x",
        "*%user.name",
        " padded ",
        "%proc.name%",
        "%b64(tolower(proc.name))",
        "%fd.types",
    ),
    *(
        "%evt.latency.human",
        "%proc.aname",
        "%00proc.name",
        "%proc.namex",
        "%len(fd.types)",
        "%val(proc.name)",
        "\n%proc.name",
    ),
)
SCALARS = (
    *(
        "",
        "~",
        "null",
        "Null",
        "''",
        '""',
        "true",
        "True",
        "yes",
        "on",
        "off",
        "n",
        "FALSE",
        "0",
        "1",
        "-1",
        "010",
        "0x10",
    ),
    *("1.5", "4294967296", "1e3", "!!str 1", "!!int x", "!t a", "! 1", "!!null ''", "!!str", "&x a", "*x", "'a''b'"),
    *(
        '"a\\tb"',
        '"\\x41\\u00e9"',
        "|\n      text\n",
        ">-\n      folded\n      text\n",
        "a: b",
        "a #b",
        "[",
        "]",
        "{",
        "}",
    ),
    *(
        "@a",
        "`a",
        "%a",
        "?",
        "-",
        "- a",
        "? a",
        "a, b",
        "[a, b]",
        "[]",
        "{}",
        "{a: b}",
        "[[a], [b]]",
        "[a, , b]",
        "{a, b: }",
    ),
    *(
        "é",
        "\u2028",
        "\ufeff",
        "\x00",
        "\x07",
        "\x85",
        "a\tb",
        "\ta",
        "'a\n  b'",
        '"a\n\n  b"',
        "---",
        "...",
        "<<",
        "<<: *x",
    ),
)
COMPARISONS = ("=", "in", "startswith", "pmatch", "intersects", "!=", "glob oneof", "in oneof", "exists", "nope", "")
VERSIONS = (
    *(
        "1",
        "0.62.0",
        "0.63.0",
        "1.0.0",
        "0.31",
        "0.31.0",
        "x",
        "'0.1.0-rc'",
        "99",
        "' 0.1.0'",
        "0.-1.0",
        "0. 1.0",
        "+0.1.0",
    ),
    *("0.4294967297.0", "0.0.99999999999999999999", "0x10", "010", "-5", "1.5", "~", "''", "[1]", "0.1.0.5", "00.1.00"),
)


# Conditions


def condition(random: Random, depth: int = 0) -> str:
    """A condition: mostly well formed, sometimes with a character changed."""
    text = _expression(random, depth)
    return _damaged_text(random, text) if random.random() < 0.2 else text


def _expression(random: Random, depth: int) -> str:
    draw = random.random()
    if depth < 4 and draw < 0.35:
        joint = random.choice((" and ", " or ", " and not ", "\n  or ", " AND ", " and(", " "))
        return joint.join(_expression(random, depth + 1) for _ in range(random.randint(2, 3)))
    if depth < 5 and draw < 0.5:
        return random.choice(("({})", "not {}", "not ({})", "( {} )", "not not {}", "(({}))")).format(
            _expression(random, depth + 1)
        )
    if draw < 0.6:
        return random.choice(NAMES)
    if draw < 0.75:
        return f"evt.type {random.choice(('=', '!=', 'in'))} {random.choice((*VALUES[:3], '(open, execve)'))}"
    left = random.choice(FIELDS)
    if random.random() < 0.1:
        transformer = random.choice(("tolower", "toupper", "b64", "basename", "len", "join", "concat", "val", "getopt"))
        left = f"{transformer}({', '.join(random.choice((*FIELDS, *VALUES)) for _ in range(random.randint(0, 3)))})"
    operator = random.choice(OPERATORS)
    if operator == "exists":
        return f"{left} exists"
    if operator in ("in", "intersects", "pmatch") or "of" in operator or random.random() < 0.05:
        items = random.choice((", ", ",", " , ")).join(
            random.choice((*VALUES, *NAMES)) for _ in range(random.randint(0, 4))
        )
        return f"{left} {operator} ({items})" if random.random() < 0.9 else f"{left} {operator} {random.choice(NAMES)}"
    return f"{left}{random.choice((' ', '', '  '))}{operator}{random.choice((' ', '', ' '))}{random.choice(VALUES)}"


# Rule files: values are texts that go into block style as they are, lists and dicts


def rule_file(random: Random) -> str:
    """A rule file of a few items, in one of several YAML styles."""
    items = [_item(random) for _ in range(random.choice((1, 1, 2, 2, 3, 5)))]
    if random.random() < 0.3:
        items = [_mutated(random, item) for item in items]
    parts = []
    for item in items:
        if random.random() < 0.02:
            parts.append(
                random.choice(("---\n", "...\n", "--- !t\n", "# c\n", "%YAML 1.2\n---\n", "-\n", "- ~\n", "\n"))
            )
        text = _flow(random, item) if random.random() < 0.15 else _block(random, item, 2).lstrip()
        parts.append(f"- {text.rstrip() if random.random() < 0.9 else text}\n")
    return "".join(parts)


def _item(random: Random) -> Any:
    kind = random.choice(
        ("rule", "rule", "rule", "rule", "macro", "macro", "list", "list", "version", "plugins", "odd")
    )
    name = random.choice(NAMES[: random.choice((2, 3, 6, len(NAMES)))])
    if kind == "list":
        item: dict[str, Any] = {
            "list": name,
            "items": [random.choice((*VALUES[:8], *NAMES)) for _ in range(random.randint(0, 4))],
        }
        _override(random, item, ("items",))
        return item
    if kind == "macro":
        item = {"macro": name, "condition": _quoted(condition(random, 2))}
        _override(random, item, ("condition",))
        return item
    if kind == "version":
        return {"required_engine_version": random.choice(VERSIONS)}
    if kind == "plugins":
        plugins: list[dict[str, Any]] = [
            {"name": random.choice(("container", "json", "x")), "version": random.choice(VERSIONS)} for _ in "ab"
        ]
        if random.random() < 0.6:
            plugins[0]["alternatives"] = random.choice(
                ([dict(plugins[1])], [], "x", [{}], {"name": "json"}, [dict(plugins[0])])
            )
        return {"required_plugin_versions": plugins}
    if kind == "odd":
        return random.choice((random.choice(SCALARS), [], {}, ["a"], {random.choice(KEYS): random.choice(SCALARS)}))
    return _rule(random, name)


def _rule(random: Random, name: str) -> dict[str, Any]:
    item: dict[str, Any] = {"rule": name}
    shape = random.random()
    optional: dict[str, Callable[[], Any]] = {
        "source": lambda: random.choice(("syscall", "syscall", "k8s_audit", "x", "''")),
        "enabled": lambda: random.choice(("true", "false", "no", *SCALARS)),
        "capture": lambda: random.choice(("true", "false", *SCALARS)),
        "capture_duration": lambda: random.choice(("10", "0x10", *SCALARS)),
        "warn_evttypes": lambda: random.choice(("true", "false", "off", *SCALARS)),
        "skip-if-unknown-filter": lambda: random.choice(("true", "true", "false", *SCALARS)),
        "tags": lambda: [random.choice(NAMES) for _ in range(random.randint(0, 3))],
        "exceptions": lambda: [_exception(random) for _ in range(random.randint(0, 2))],
    }
    required: dict[str, Callable[[], Any]] = {
        "desc": lambda: random.choice(("d", "'d e'", "text: x")) if random.random() < 0.1 else "d",
        "condition": lambda: _quoted(condition(random)),
        "output": lambda: _quoted(random.choice(OUTPUTS)),
        "priority": lambda: random.choice(("INFO", "informational", "Debug", "WARNING", "error", "1", "LOW")),
    }
    for key, make in required.items():
        if shape < 0.7 or random.random() < 0.4:
            item[key] = make()
    for key, make in optional.items():
        if random.random() < 0.12:
            item[key] = make()
    if shape >= 0.6:
        _override(random, item, tuple(item)[1:])
    if random.random() < 0.05:
        item[random.choice(KEYS)] = random.choice(SCALARS)
    keys = list(item)
    if random.random() < 0.1:
        random.shuffle(keys)
    return {key: item[key] for key in keys}


def _override(random: Random, item: dict[str, Any], keys: tuple[str, ...]) -> None:
    draw = random.random()
    if draw < 0.15:
        item["append"] = random.choice(("true", "false", "yes", "~", "x"))
    if 0.1 < draw < 0.55:
        chosen = [key for key in keys if random.random() < 0.8] + [key for key in KEYS if random.random() < 0.01]
        operations = (
            ("append", "replace") if random.random() < 0.9 else ("append", "remove", "", "~", "[a]", "'append'")
        )
        override: Any = {key: random.choice(operations) for key in chosen}
        item["override"] = override if random.random() < 0.95 else random.choice((*SCALARS, ["a"], [], {}))


def _exception(random: Random) -> Any:
    several = random.random() < 0.7
    fields: Any = (
        [random.choice(FIELDS[:14]) for _ in range(random.randint(0, 3))] if several else random.choice(FIELDS)
    )
    item: dict[str, Any] = {"name": random.choice(NAMES[:4])}
    if random.random() < 0.9:
        item["fields"] = fields
    if random.random() < 0.5:
        count = len(fields) if isinstance(fields, list) else 0
        item["comps"] = (
            [random.choice(COMPARISONS[:7] if random.random() < 0.9 else COMPARISONS) for _ in range(count)]
            if several and random.random() < 0.95
            else random.choice(COMPARISONS)
        )
    if random.random() < 0.85:
        width = len(fields) if isinstance(fields, list) else 1
        plain = (*VALUES[:9], *NAMES[:6])
        item["values"] = [
            [random.choice(plain) if random.random() < 0.7 else [random.choice(plain), "(x)"] for _ in range(width)]
            if several and random.random() < 0.95
            else random.choice(plain)
            for _ in range(random.randint(0, 3))
        ]
    return item


def _mutated(random: Random, item: Any) -> Any:
    """The item with something in it dropped, renamed, repeated or of another type."""
    if isinstance(item, dict) and item:
        key = random.choice(list(item))
        draw = random.random()
        if draw < 0.2:
            return {name: value for name, value in item.items() if name != key}
        if draw < 0.3:
            return {(random.choice(KEYS) if name == key else name): value for name, value in item.items()}
        if draw < 0.6:
            return {**item, key: random.choice((*SCALARS, [], {}, ["a"], {"a": "b"}, [["a"]]))}
        if draw < 0.7:
            return {**item, random.choice(KEYS): random.choice(SCALARS)}
        return {**item, key: _mutated(random, item[key])}
    if isinstance(item, list) and item and random.random() < 0.7:
        at = random.randrange(len(item))
        return [*item[:at], _mutated(random, item[at]), *item[at + 1 :]]
    return random.choice((*SCALARS, [], {}, [item], {"a": item}))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _flow(random: Random, item: Any) -> str:
    if isinstance(item, dict):
        return "{" + ", ".join(f"{key}: {_flow(random, value)}" for key, value in item.items()) + "}"
    if isinstance(item, list):
        return "[" + random.choice((", ", ",", " , ")).join(_flow(random, value) for value in item) + "]"
    return str(item)


def _block(random: Random, item: Any, indent: int) -> str:
    if isinstance(item, dict) and item and random.random() < 0.95:
        lines = []
        for key, value in item.items():
            shown = _styled(random, value, indent) if isinstance(value, str) else _block(random, value, indent + 2)
            lines.append(f"{' ' * indent}{key}:{'' if shown.startswith(chr(10)) else ' '}{shown}")
            if random.random() < 0.01:
                lines.append(lines[-1])  # the key twice
        return ("\n" if indent > 2 else "") + "\n".join(lines)
    if isinstance(item, list) and item and random.random() < 0.5:
        return "\n" + "\n".join(
            f"{' ' * indent}- {_block(random, value, indent + 2).lstrip(chr(10)).lstrip(' ')}" for value in item
        )
    return _flow(random, item)


def _styled(random: Random, value: str, indent: int) -> str:
    """A quoted text in another style, sometimes."""
    if not value.startswith('"') or random.random() < 0.4:
        return value
    text = json.loads(value) if value.isprintable() and value.endswith('"') and "\\x" not in value else ""
    if not text:
        return value
    style = random.choice(("plain", ">", "|", ">-", "|+", "'"))
    if style == "plain":
        return str(text)
    if style == "'":
        return "'" + text.replace("'", "''") + "'"
    return f"{style}\n" + "\n".join(" " * (indent + 2) + line.strip() for line in text.split("\n"))


# Real rules, changed: a rule of the lab's default rules with the macros and lists it needs, then a few changes of the
# kind that people make by mistake


@cache
def _real_rules() -> tuple[tuple[str, ...], ...]:
    """For each default rule: the items that it needs, and itself, in the order of the file."""
    parts = re.split(r"(?m)^(?=- )", default_rules()[1])
    items = [re.sub(r"(?m)^(#.*)?\n", "", part) for part in parts[1:]]
    named = {match[1]: item for item in items if (match := re.match(r"- (?:list|macro): (\S+)", item))}
    files = []
    for rule in items:
        if not rule.startswith("- rule:"):
            continue
        needed, pending = {rule}, [rule]
        while pending:
            for word in named.keys() & set(re.findall(r"\w+", pending.pop())):
                if named[word] not in needed:
                    needed.add(named[word])
                    pending.append(named[word])
        files.append(tuple(item for item in items if item in needed))
    return tuple(files)


def realistic(random: Random) -> str:
    """A real rule and what it needs, with up to four changes."""
    items = list(random.choice(_real_rules()))
    if random.random() < 0.6:
        items.append(_follow_up(random, items))
    for _ in range(random.choice((0, 1, 1, 2, 4))):
        at = random.randrange(len(items)) if random.random() < 0.5 else len(items) - 1
        random.choice(_CHANGES)(random, items, at)
        if not items:
            break
    return "".join(items)


def _follow_up(random: Random, items: list[str]) -> str:
    """An item that overrides, appends to, or defines again one of those before it."""
    match = re.match(r"- (list|macro|rule): (.*)", random.choice(items))
    kind, name = (match[1], match[2]) if match else ("rule", "R")
    own = {
        "list": {"items": "[bash, sh]"},
        "macro": {"condition": _quoted(random.choice(("or ", "and ", "")) + condition(random, 3))},
        "rule": {
            "condition": _quoted(random.choice(("or ", "and ", "")) + condition(random, 3)),
            "output": _quoted(random.choice(OUTPUTS)),
            "desc": "more",
            "tags": "[a, b]",
            "exceptions": "[" + ", ".join(_flow(random, _exception(random)) for _ in range(random.randint(1, 2))) + "]",
            **{"priority": "ERROR", "enabled": "false", "capture": "true", "capture_duration": "10"},
            **{"warn_evttypes": "false", "skip-if-unknown-filter": "true", "source": "syscall"},
        },
    }[kind]
    keys = [key for key in own if random.random() < (0.3 if kind == "rule" else 0.95)]
    lines = [f"- {kind}: {name}", *(f"  {key}: {own[key]}" for key in keys)]
    draw = random.random()
    if draw < 0.15:
        lines.append("  append: true")
    elif draw < 0.85:
        lines.append("  override:")
        forgotten = random.random() < 0.1
        for key in keys[forgotten:]:
            appends = key in ("items", "condition", "output", "desc", "tags", "exceptions") and random.random() < 0.6
            operation = "append" if appends else "replace"
            lines.append(f"    {key}: {operation if random.random() < 0.95 else random.choice(('append', 'add', '~'))}")
    return "\n".join(lines) + "\n"


_Change = Callable[[Random, list[str], int], object]


def _on_lines(change: _Change) -> _Change:
    """A change of the lines of one item, at one of them."""

    def changed(random: Random, items: list[str], at: int) -> None:
        lines = items[at].splitlines(keepends=True)
        if lines:
            change(random, lines, random.randrange(len(lines)))
        items[at] = "".join(lines)

    return changed


def _replaced(pattern: str, choices: tuple[str, ...]) -> _Change:
    """A change of one piece of an item's text into another."""

    def changed(random: Random, items: list[str], at: int) -> None:
        found = list(re.finditer(pattern, items[at]))
        if found:
            place = random.choice(found)
            items[at] = items[at][: place.start()] + random.choice(choices) + items[at][place.end() :]

    return changed


def _indent(random: Random, lines: list[str], at: int) -> None:
    lines[at] = random.choice(("", " ", "    ", "\t", "  - ")) + lines[at].lstrip(random.choice((" ", "")))


def _unknown_key(random: Random, lines: list[str], at: int) -> None:
    lines.insert(at + 1, f"  {random.choice((*KEYS, 'conditon', 'tag'))}: {random.choice(SCALARS)}\n")


def _exceptions(random: Random, lines: list[str], at: int) -> None:
    listed = ", ".join(_flow(random, _exception(random)) for _ in range(random.randint(0, 3)))
    lines.append(f"  exceptions: [{listed}]\n")


def _swap(random: Random, items: list[str], at: int) -> None:
    other = random.randrange(len(items))
    items[at], items[other] = items[other], items[at]


_CHANGES: tuple[_Change, ...] = (
    lambda random, items, at: items.pop(at),
    lambda random, items, at: items.insert(random.randint(0, len(items)), items[at]),
    _swap,
    _on_lines(lambda random, lines, at: lines.pop(at)),
    _on_lines(lambda random, lines, at: lines.insert(at, lines[at])),
    _on_lines(_indent),
    _on_lines(_unknown_key),
    _on_lines(_exceptions),
    _replaced(r"(?m)^[ -] [a-z_-]+(?=:)", tuple(f"  {key}" for key in KEYS)),
    _replaced(r"(?m)(?<=: ).*$", SCALARS),
    _replaced(
        r"\b(and|or|not|in|contains|startswith|endswith|exists|glob)\b|[<>!]?=", (*OPERATORS, "and", "or", "not")
    ),
    _replaced(r"\b[a-z]+\.[a-z._]+\b", FIELDS),
    _replaced(r"[a-z_]+", NAMES),
    _replaced(r"['\"(),\[\]%]", ("", "'", '"', "(", ")", "[", "]", ",", "%", "''")),
    _replaced(r"\s", ("", " ", "\t", "\n", "\r", "\n\n", " # ", ": ")),
    _replaced(r"true|false|[0-9]+", SCALARS),
)


# Damage


def _damaged_text(random: Random, text: str) -> str:
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randint(0, len(text))
        draw = random.random()
        if draw < 0.4:
            text = text[:at] + text[at + random.randint(1, 4) :]
        elif draw < 0.8:
            text = (
                text[:at] + random.choice("()[]{}'\"\\,:=<>-#&*!|%@`?~ \n\t\r\x00é" + string.ascii_letters) + text[at:]
            )
        else:
            start = random.randint(0, len(text))
            text = text[:at] + text[start : start + random.randint(1, 20)] + text[at:]
    return text


def damaged_bytes(random: Random, data: bytes) -> bytes:
    for _ in range(random.choice((1, 1, 2, 8))):
        at = random.randint(0, len(data))
        draw = random.random()
        if draw < 0.3:
            data = data[:at] + data[at + random.randint(1, 6) :]
        elif draw < 0.6:
            data = data[:at] + bytes([random.randrange(256)]) + data[at + random.randint(0, 1) :]
        elif draw < 0.8:
            data = data[:at] + random.choice(_SHARDS) + data[at:]
        else:
            start = random.randint(0, len(data))
            data = data[:at] + data[start : start + random.randint(1, 60)] + data[at:]
    return data


_SHARDS = (
    *(b"\t", b"\r\n", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"&a ", b"*a "),
    *(
        b"<<: *a",
        b"? ",
        b": ",
        b"- ",
        b"[",
        b"]",
        b"{",
        b"}",
        b"!!str ",
        b"|\n",
        b">\n",
        b"---\n",
        b"...\n",
        b"%TAG ! x\n",
    ),
    *(b"#", b"'", b'"', b"\n", b"\n  ", b",", b"\\x", b"\x85", b"~"),
)
_SOUP = (
    *(
        "a",
        "b: c",
        "- ",
        "-",
        ": ",
        ":",
        ", ",
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a",
        "!t ",
        "!!str ",
        "! ",
        "'x'",
        '"y"',
        "|",
        ">",
    ),
    *(
        "\n",
        "\n  ",
        "\n    ",
        "\n ",
        "\t",
        "#c",
        " #c",
        "? ",
        "---",
        "...",
        "\n---\n",
        "\n...\n",
        "%YAML 1.2\n",
        "~",
        "<<",
        "null",
    ),
    *("rule", "list", "items", "é", "|2-\n", '"\\', "''", "\r", "\u2028", "@", "`", "\ufeff"),
)


def soup(random: Random) -> str:
    return "".join(random.choice(_SOUP) for _ in range(random.randint(0, 30)))


def deep(random: Random) -> str:
    """Nesting, in one of the forms that nest."""
    depth = random.choice((10, 100, 490, 510, 2000))
    return random.choice(
        (
            lambda: "- " * depth,
            lambda: "[" * depth,
            lambda: "- " + "[" * depth + "]" * depth,
            lambda: "- list: l\n  items: " + "{a: " * depth + "}" * depth,
            lambda: "- macro: m\n  condition: " + "(" * depth + "evt.num = 1" + ")" * depth,
            lambda: "- macro: m\n  condition: " + "not " * depth + "evt.num = 1",
            lambda: "- macro: m\n  condition: " + " and ".join(["evt.num = 1"] * depth),
            lambda: "- macro: m\n  condition: " + "tolower(" * depth + "proc.name" + ")" * depth + " = a",
            lambda: "- &a0 [x]\n" + "".join(f"- &a{n + 1} [*a{n}, *a{n}]\n" for n in range(min(depth, 60))),
            lambda: (
                "- rule: R\n  desc: d\n  priority: INFO\n  condition: evt.type = open\n  output: "
                + "%proc.name" * depth
            ),
            lambda: "".join(f"- list: l{n + 1}\n  items: [l{n}, l{n}]\n" for n in range(min(depth, 40))),
            lambda: "".join(f"- macro: m{n + 1}\n  condition: m{n} or m{n}\n" for n in range(min(depth, 30))),
        )
    )()


def generated(random: Random) -> bytes:
    """One input."""
    draw = random.random()
    if draw < 0.15:
        return realistic(random).encode("utf-8", "surrogatepass")
    if draw < 0.5:
        condition_text = json.dumps(condition(random))
        return f"- rule: R\n  desc: d\n  condition: {condition_text}\n  output: o\n  priority: INFO\n".encode()
    if draw < 0.75:
        return rule_file(random).encode("utf-8", "surrogatepass")
    if draw < 0.92:
        return damaged_bytes(random, rule_file(random).encode("utf-8", "surrogatepass"))
    if draw < 0.98:
        return soup(random).encode()
    if draw < 0.9985:
        return random.randbytes(random.randint(0, 60))
    return deep(random).encode()


# Running


def checked(data: bytes) -> FileReport:
    """The report on a file, which has what a report has to have."""
    report = Loader().load("fuzz.yaml", data)
    assert len(report.errors) <= 1, "more than one error"
    for problem in report.errors:
        assert problem.code in ERRORS, problem.code
    for problem in report.warnings:
        assert problem.code in WARNINGS, problem.code
    for problem in (*report.errors, *report.warnings):
        assert problem.message or problem.code == "LOAD_UNSAFE_NA_CHECK", "no message"
        assert problem.locations[0].name == "fuzz.yaml", "no place"
        for place in problem.locations:
            assert min(place.line, place.column, place.offset) >= 0, "a place before the start"
            # (Bytes of UTF-16 are counted as UTF-8; an escape at the end is looked for behind it.)
            assert place.name != "fuzz.yaml" or place.offset <= 2 * len(data) + 16, "a place behind the end"
    json.dumps(report.to_dict())
    str(report)
    return report


class _TooLong(Exception):
    pass


@dataclass
class Tally:
    inputs: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, -1)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.inputs += other.inputs
        self.codes.update(other.codes)
        self.slowest = max(self.slowest, other.slowest)
        self.failures.extend(other.failures)


def _alarmed(signal_number: int, frame: FrameType | None) -> None:
    raise _TooLong


def _run(work: tuple[int, int, int, float]) -> Tally:
    """The inputs with numbers from `first` up to `last`."""
    seed, first, last, limit = work
    tally = Tally()
    signal.signal(signal.SIGPROF, _alarmed)
    for number in range(first, last):
        data = generated(Random(f"{seed}/{number}"))
        began = time.process_time()  # of this process alone, whatever else the machine does
        signal.setitimer(signal.ITIMER_PROF, 4 * limit)
        try:
            report = checked(data)
            tally.codes[report.errors[0].code if report.errors else "accepted"] += 1
        except _TooLong:
            tally.failures.append((number, "no end"))
        except Exception:
            tally.failures.append((number, traceback.format_exc(limit=-4)))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        took = time.process_time() - began
        if took > limit:
            tally.failures.append((number, f"took {took:.2f} s"))
        tally.slowest = max(tally.slowest, (took, number))
        tally.inputs += 1
    return tally


def _chunks(seed: int, inputs: int, limit: float) -> Iterator[tuple[int, int, int, float]]:
    for first in range(0, inputs, CHUNK):
        yield seed, first, min(first + CHUNK, inputs), limit


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--limit", type=float, default=1.0, help="seconds of CPU that an input may take")
    parser.add_argument("--only", type=int, help="the number of one input to run again")
    options = parser.parse_args(arguments)
    if options.only is not None:
        data = generated(Random(f"{options.seed}/{options.only}"))
        print(data)
        print(checked(data))
        return 0
    total = Tally()
    began = time.perf_counter()
    with multiprocessing.Pool(options.processes) as pool:
        for tally in pool.imap_unordered(_run, _chunks(options.seed, options.inputs, options.limit)):
            before = total.inputs
            total.add(tally)
            for number, failure in tally.failures:
                print(f"input {number}: {failure}", flush=True)
            if total.inputs // 50_000 > before // 50_000:
                speed = total.inputs / (time.perf_counter() - began)
                print(f"{total.inputs} inputs, {speed:.0f}/s, {len(total.failures)} failures", flush=True)
    took = time.perf_counter() - began
    print(f"seed {options.seed}: {total.inputs} inputs in {took:.0f} s ({total.inputs / took:.0f}/s)")
    for code, count in total.codes.most_common():
        print(f"{count:>10}  {code}")
    print(f"slowest: input {total.slowest[1]}, {total.slowest[0]:.2f} s")
    print(f"{len(total.failures)} failures")
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
