"""nginx's configuration files: their syntax, the directives in them, and what the lab's server acts on."""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NoReturn

FOLDER = "/etc/nginx"

# The place inside a block, by the block's name and its own place (see nginx.toml); "=" is a list of words.
_INSIDE = {
    **{("events", "m"): "e", ("http", "m"): "h", ("mail", "m"): "M", ("stream", "m"): "T"},
    **{("server", "h"): "s", ("server", "M"): "N", ("server", "T"): "U"},
    **{("upstream", "h"): "u", ("upstream", "T"): "V", ("limit_except", "l"): "x"},
    **{("location", "s"): "l", ("location", "l"): "l", ("if", "s"): "i", ("if", "l"): "j"},
}
_ONCE = {"alias", "default_type", "events", "http", "keepalive_timeout", "pid", "root", "user"}
_ONCE |= {"worker_connections", "worker_processes"}
_DEEPEST = 60  # files that include one another
_LEVELS = ("debug", "info", "notice", "warn", "error", "crit", "alert", "emerg")
_LISTEN = ("default_server", "default", "bind", "deferred", "http2", "multipath", "proxy_protocol", "quic", "reuseport")
_LISTEN_VALUES = ("accept_filter", "backlog", "fastopen", "ipv6only", "rcvbuf", "setfib", "sndbuf", "so_keepalive")
_MODULES = {"js": "js_", "geoip": "geoip_", "image_filter": "image_filter", "xslt_filter": "xslt_"}
_OWN = {"access_log", "daemon", "default_type", "error_log", "error_page", "events", "http", "include", "index"}
_OWN |= {"keepalive_timeout", "listen", "location", "log_format", "pid", "root", "sendfile", "server", "server_name"}
_OWN |= {"types", "user", "worker_connections", "worker_processes"}
"""Directives that the lab's server acts on, and those of the usual configuration that change nothing in it."""


class ConfigurationError(Exception):
    """What nginx says of a configuration that it doesn't take, without the level."""


@dataclass
class _Block:
    """A block while it is read, with what its own directives say."""

    place: str
    name: str = ""
    parent: _Block | None = None
    server: Server | None = None
    acts: bool = True
    root: str | None = None
    index: tuple[str, ...] = ()
    seen: set[str] = field(default_factory=set)
    listens: set[str] = field(default_factory=set)
    locations: set[str] = field(default_factory=set)


@dataclass
class Server:
    """A `server` block: its ports and names. Its files are those of its `location /`, or its own."""

    block: _Block
    ports: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def root(self) -> str:
        return next((block.root for block in self._blocks() if block.root), posixpath.join(FOLDER, "html"))

    @property
    def index(self) -> tuple[str, ...]:
        return next((block.index for block in self._blocks() if block.index), ("index.html",))

    def _blocks(self) -> Iterator[_Block]:
        block: _Block | None = self.block
        while block is not None:
            yield block
            block = block.parent


@dataclass
class Configuration:
    """What the lab's server takes from its configuration. `user` is the uid and gid of the workers.

    `files` are the files that were read, with their text; `ignored` the directives that nginx knows and the lab's
    server doesn't act on; `types` the content types by file name extension.
    """

    servers: list[Server] = field(default_factory=list)
    workers: int = 1
    user: tuple[int, int] = (101, 101)
    types: dict[str, str] = field(default_factory=dict)
    default_type: str = "text/plain"
    files: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)

    @property
    def ports(self) -> list[int]:
        return sorted({port for server in self.servers for port in server.ports})

    def server(self, port: int, host: str) -> Server | None:
        """The server that answers at a port: the one with the request's host among its names, or the first."""
        there = [server for server in self.servers if port in server.ports]
        return next((server for server in there if host in server.names), there[0] if there else None)


def read(
    path: str, options: str, read_text: Callable[[str], str], glob: Callable[[str], Sequence[str]]
) -> Configuration:
    """Reads a configuration file and what it includes. `options` are the directives of `-g`.

    `read_text` returns a file's text or raises OSError; `glob` the files that match a pattern.
    Raises ConfigurationError.
    """
    reader = _Reader(posixpath.dirname(path), read_text, glob)
    top = _Block("m")
    if options:
        reader.parse(_Tokens(None, options), top)
    reader.file(path, top, None)
    if "events" not in top.seen:
        raise ConfigurationError('no "events" section in configuration')
    return reader.result


class _Tokens:
    """The words of a file, directive by directive, as nginx splits them. `path` is None for `-g`."""

    def __init__(self, path: str | None, text: str) -> None:
        self.path = path
        self.line = 1
        self._text = text
        self._at = 0

    def fail(self, message: str) -> NoReturn:
        where = "command line" if self.path is None else f"{self.path}:{self.line}"
        raise ConfigurationError(f"{message} in {where}")

    def next(self) -> tuple[list[str], str]:
        """The words of a directive and what ended them: `;`, `{`, `}` or "" at the end of the file."""
        words: list[str] = []
        while match := _SPACE.match(self._text, self._at):
            self._skip(match.end())
        while self._at < len(self._text):
            character = self._text[self._at]
            if character in ";{":
                self._skip(self._at + 1)
                if not words:
                    self.fail(f'unexpected "{character}"')
                return words, character
            if character == "}":
                self._skip(self._at + 1)
                if words:
                    self.fail('unexpected "}"')
                return words, character
            words.append(self._word())
            while match := _SPACE.match(self._text, self._at):
                self._skip(match.end())
        if words:
            self._unfinished()
        return words, ""

    def _unfinished(self) -> NoReturn:
        if self.path is None:
            self.fail('unexpected end of parameter, expecting ";"')
        self.fail('unexpected end of file, expecting ";" or "}"')

    def _skip(self, end: int) -> None:
        self.line += self._text.count("\n", self._at, end)
        self._at = end

    def _word(self) -> str:
        quoted = self._text[self._at] in "\"'"
        match = (_QUOTED if quoted else _WORD).match(self._text, self._at)
        if match is None:
            self._skip(len(self._text))
            self._unfinished()
        self._skip(match.end())
        if self._at >= len(self._text):
            self._unfinished()
        after = self._text[self._at]
        if quoted and after not in " \t\r\n;{)":
            self.fail(f'unexpected "{after}"')
        word = match[0][1:-1] if quoted else match[0]
        return _ESCAPE.sub(lambda escape: {"t": "\t", "r": "\r", "n": "\n"}.get(escape[1], escape[1]), word)


_SPACE = re.compile(r"[ \t\r\n]+|#[^\n]*")
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'', re.DOTALL)
_WORD = re.compile(r"(?:\\.|\$\{|[^\s;{\\])+", re.DOTALL)
_ESCAPE = re.compile(r"\\([\"'\\trn])")


@cache
def _directives() -> dict[str, list[tuple[str, str]]]:
    """The places and arguments of each directive."""
    with (Path(__file__).parent / "nginx.toml").open("rb") as file:
        groups: dict[str, str] = tomllib.load(file)
    known: dict[str, list[tuple[str, str]]] = {}
    for group, names in groups.items():
        places, _, arguments = group.partition(" ")
        for name in names.split():
            known.setdefault(name, []).append((places, arguments))
    return known


class _Reader:
    def __init__(self, folder: str, read_text: Callable[[str], str], glob: Callable[[str], Sequence[str]]) -> None:
        self.result = Configuration()
        self._folder = folder
        self._read_text = read_text
        self._glob = glob
        self._formats = {"combined"}
        self._prefixes: list[str] = []
        self._depth = 0

    def file(self, path: str, block: _Block, where: _Tokens | None) -> None:
        self._depth += 1
        try:
            if self._depth > _DEEPEST:
                raise OSError(24, "Too many open files")
            text = self._read_text(path)
        except OSError as error:
            message = f'open() "{path}" failed ({error.errno}: {error.strerror})'
            if where is None:
                raise ConfigurationError(message) from None
            where.fail(message)
        self.result.files[path] = text
        self.parse(_Tokens(path, text), block)
        self._depth -= 1

    def parse(self, tokens: _Tokens, block: _Block, *, inside: bool = False) -> None:
        """Reads directives up to the end of the file, or of the block."""
        self._depth += 1
        if self._depth > 2 * _DEEPEST:
            tokens.fail("the embedded lab's nginx takes no deeper blocks than these")
        while True:
            words, end = tokens.next()
            if end == "}":
                if not inside:
                    tokens.fail('unexpected "}"')
                break
            if not end:
                if inside:
                    tokens.fail('unexpected end of file, expecting "}"')
                break
            if end == "{" and tokens.path is None:
                tokens.fail("block directives are not supported in -g option")
            if block.place == "=":
                if end == "{":
                    tokens.fail('unexpected "{"')
                self._entry(words, block, tokens)
            else:
                self._directive(words, end, block, tokens)
        self._depth -= 1

    def _entry(self, words: list[str], block: _Block, tokens: _Tokens) -> None:
        """A line of `types`, `map` and the like."""
        if words[0] == "include" and len(words) == 2:
            self._include(words[1], block, tokens)
        elif block.name == "types":
            self.result.types.update(dict.fromkeys((word.lower() for word in words[1:]), words[0]))

    def _include(self, pattern: str, block: _Block, tokens: _Tokens) -> None:
        pattern = posixpath.join(self._folder, pattern)
        paths = self._glob(pattern) if re.search(r"[*?\[]", pattern) else (pattern,)
        for path in paths:
            self.file(path, block, tokens)

    def _directive(self, words: list[str], end: str, block: _Block, tokens: _Tokens) -> None:
        name, arguments = words[0], words[1:]
        known = _directives().get(name)
        if known is None:
            if not any(name.startswith(prefix) for prefix in self._prefixes):
                tokens.fail(f'unknown directive "{name}"')
            self._ignore(name)
            if end == "{":
                self.parse(tokens, _Block("="), inside=True)
            return
        rule = next((rule for places, rule in known if block.place in places or places == "*"), None)
        if rule is None:
            tokens.fail(f'"{name}" directive is not allowed here')
        if rule.endswith("b") and end != "{":
            tokens.fail(f'directive "{name}" has no opening "{{"')
        if not rule.endswith("b") and end != ";":
            tokens.fail(f'directive "{name}" is not terminated by ";"')
        if not _takes(rule.rstrip("b"), len(arguments)):
            tokens.fail(f'invalid number of arguments in "{name}" directive')
        if name in block.seen and (name in _ONCE or rule == "f"):
            tokens.fail(f'"{name}" directive is duplicate')
        block.seen.add(name)
        if rule == "f" and arguments[0].lower() not in ("on", "off"):
            tokens.fail(f'invalid value "{arguments[0]}" in "{name}" directive, it must be "on" or "off"')
        if name == "include":
            self._include(arguments[0], block, tokens)
            return
        if name == "load_module" and (module := re.search(r"ngx_(?:http|stream)_(\w+)_module\.so$", arguments[0])):
            self._prefixes.append(_MODULES.get(module[1], f"{module[1]}_"))
        if name not in _OWN or block.place in "MNTUV":
            self._ignore(name)
        elif block.acts:
            self._apply(name, arguments, block, tokens)
        if end == "{":
            inner = self._inner(name, arguments, block, tokens)
            self.parse(tokens, inner, inside=True)
            if inner.place == "s" and inner.server is not None and not inner.listens:
                inner.server.ports.append(80)

    def _inner(self, name: str, arguments: list[str], block: _Block, tokens: _Tokens) -> _Block:
        place = _INSIDE.get((name, block.place), "=")
        inner = _Block(place, name, block, block.server, block.acts and place not in "ijxMNTUVu")
        if place == "s":
            inner.server = Server(inner)
            self.result.servers.append(inner.server)
        if name == "location":
            key = " ".join(arguments)
            if key in block.locations:
                tokens.fail(f'duplicate location "{arguments[-1]}"')
            block.locations.add(key)
            inner.acts = block.acts and key == "/" and block.place == "s"
            if inner.acts and block.server is not None:
                block.server.block = inner
            if key not in ("/", "= /50x.html"):
                self._ignore("location")
        return inner

    def _ignore(self, name: str) -> None:
        if name not in self.result.ignored:
            self.result.ignored.append(name)

    def _apply(self, name: str, arguments: list[str], block: _Block, tokens: _Tokens) -> None:
        value = arguments[0] if arguments else ""
        if name in ("access_log", "error_log") and value != f"/var/log/nginx/{name.replace('_', '.')}":
            self._ignore(f"{name} {value}")
        match name:
            case "worker_processes":
                if value != "auto" and not value.isdecimal():
                    tokens.fail(f'"{name}" directive invalid value')
                self.result.workers = 2 if value == "auto" else min(int(value), 64)
            case "worker_connections" if not value.isdecimal():
                tokens.fail(f'invalid number "{value}"')
            case "user":
                self._user(value, tokens)
            case "error_log" if arguments[1:] and arguments[1] not in _LEVELS:
                tokens.fail(f'invalid log level "{arguments[1]}"')
            case "log_format":
                self._formats.add(value)
            case "access_log" if value != "off" and "=" not in "".join(arguments[1:2]):
                if arguments[1:] and arguments[1] not in self._formats:
                    tokens.fail(f'unknown log format "{arguments[1]}"')
            case "error_page":
                self._error_page(arguments, tokens)
            case "root":
                block.root = posixpath.join(FOLDER, value)
            case "index":
                block.index = tuple(arguments)
            case "default_type" if block.place == "h":
                self.result.default_type = value
            case "server_name" if block.server is not None:
                block.server.names += arguments
            case "listen" if block.server is not None:
                self._listen(arguments, block, block.server, tokens)

    def _user(self, name: str, tokens: _Tokens) -> None:
        if name == "nginx":  # the image's own
            return
        try:
            entries = [line.split(":") for line in self._read_text("/etc/passwd").splitlines()]
        except OSError:
            entries = []
        found = next((entry for entry in entries if entry[0] == name and len(entry) > 3), None)
        if found is None:
            tokens.fail(f'getpwnam("{name}") failed')
        self.result.user = int(found[2]), int(found[3])

    def _error_page(self, arguments: list[str], tokens: _Tokens) -> None:
        codes = arguments[:-1]
        if codes and codes[-1].startswith("="):
            codes.pop()
        for code in codes:
            if not code.isdecimal():
                tokens.fail(f'invalid value "{code}"')
            if not 300 <= int(code) <= 599:
                tokens.fail(f'value "{code}" must be between 300 and 599')

    def _listen(self, arguments: list[str], block: _Block, server: Server, tokens: _Tokens) -> None:
        address, options = arguments[0], arguments[1:]
        if address.startswith("unix:"):
            self._ignore("listen unix:")
            return
        six = address.startswith("[")
        host, colon, port = address.rpartition(":") if not six or "]:" in address else (address, "", "")
        if not colon and not six:
            host, port = ("", address) if address.isdecimal() else (address, "")
        if (port or colon) and not (port.isdecimal() and 1 <= int(port[:6]) <= 65_535):
            tokens.fail(f'invalid port in "{address}" of the "listen" directive')
        if six and not re.fullmatch(r"\[[0-9a-fA-F:.]+\]", host):
            tokens.fail(f'invalid IPv6 address in "{address}" of the "listen" directive')
        if not six and host not in ("", "*", "localhost") and not re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", host):
            tokens.fail(f'host not found in "{address}" of the "listen" directive')
        for option in options:
            if option not in (*_LISTEN, "ssl") and option.partition("=")[0] not in _LISTEN_VALUES:
                tokens.fail(f'invalid parameter "{option}"')
        number = int(port or 80)
        key = f"{host if host not in ('', '*') else '0.0.0.0'}:{number}"
        if key in block.listens:
            tokens.fail(f"a duplicate listen {key}")
        block.listens.add(key)
        if "ssl" in options or "quic" in options:
            self._ignore("listen ... ssl")
        elif (not six or "ipv6only=off" in options) and number not in server.ports:
            server.ports.append(number)  # pods have IPv4 addresses only


def _takes(rule: str, count: int) -> bool:
    if rule == "f":
        return count == 1
    return count >= int(rule[:-1]) if rule.endswith("+") else str(count) in rule
