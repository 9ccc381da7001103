"""fd.* and fs.*: fields of a call's descriptor and paths."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from ekslab.node.descriptors import OpenFile
from ekslab.node.fields.common import OPEN, Extract, Value
from ekslab.node.inodes import Inode
from ekslab.node.kernel import SystemCall


def _fd_name(call: SystemCall) -> str | None:
    if call.fd is None:
        return None
    if call.file is not None:
        return call.file.name
    if call.fd == -1 and call.path is not None:  # a failed open has a name, but no descriptor
        return call.process.absolute(call.path)
    return ""


def _file_path(call: SystemCall) -> str | None:
    name = _fd_name(call)
    if not name or (call.file is not None and call.file.typechar not in "fd"):
        return None
    return name


def _open_file(read: Callable[[OpenFile], Value | None]) -> Extract:
    def extract(call: SystemCall) -> Value | None:
        return read(call.file) if call.file is not None else None

    return extract


def _fd_inode(read: Callable[[Inode], Value]) -> Extract:
    def extract(call: SystemCall) -> Value | None:
        if call.file is None:
            return None
        inode = call.file.inode
        return read(inode) if inode is not None else 0

    return extract


def _layer(name: str) -> Extract:
    def extract(call: SystemCall) -> Value | None:
        if call.file is None:
            return None
        return call.file.inode is not None and call.file.inode.layer == name

    return extract


def _endpoint(side: str, index: int) -> Extract:
    """An address (index 0) or port (1) of a connection; the client is the side that connected."""

    def extract(call: SystemCall) -> Value | None:
        pair: tuple[str, int] | None = getattr(call.file, side, None)
        return pair[index] if pair is not None else None

    return extract


def _port_text(side: str) -> Extract:
    port = _endpoint(side, 1)

    def extract(call: SystemCall) -> Value | None:
        number = port(call)
        return str(number) if number is not None else None

    return extract


def _host_name(side: str) -> Extract:
    def extract(call: SystemCall) -> Value | None:
        pair: tuple[str, int] | None = getattr(call.file, side, None)
        return call.process.kernel.network.name_of(pair[0]) if pair is not None else None

    return extract


def _both(index: int) -> Extract:
    def extract(call: SystemCall) -> Value | None:
        client: tuple[str, int] | None = getattr(call.file, "client", None)
        server: tuple[str, int] | None = getattr(call.file, "server", None)
        if client is None or server is None:
            return None
        return [str(client[0]), str(server[0])] if index == 0 else [client[1], server[1]]

    return extract


def _sock_family(call: SystemCall) -> str | None:
    return {"4": "ip", "6": "ip", "u": "unix"}.get(call.file.typechar) if call.file is not None else None


def _container_prefix(call: SystemCall) -> str:
    return f"{call.container.short_id}:" if call.container is not None else ":"


def _fs_path(read: Callable[[SystemCall], str | None], raw: bool) -> Extract:
    def extract(call: SystemCall) -> Value | None:
        path = read(call)
        return path if raw or path is None else call.process.absolute(path)

    return extract


def _types(call: SystemCall) -> list[str] | None:
    if call.fd is None:
        return None
    return list(dict.fromkeys(file.type for file in call.process.fds.values()))


def _directory(call: SystemCall) -> str | None:
    path = _file_path(call)
    return posixpath.dirname(path) if path else None


FIELDS: dict[str, Extract] = {
    "fd.num": lambda c: c.fd,
    "fd.type": _open_file(lambda f: f.type or "<NA>"),
    "fd.typechar": lambda c: c.file.typechar if c.file is not None else "f" if c.fd == -1 else None,
    "fd.types": _types,
    "fd.name": _fd_name,
    "fd.nameraw": lambda c: c.file.name_raw if c.file is not None else c.path if c.fd == -1 else _fd_name(c),
    "fd.directory": _directory,
    "fd.filename": lambda c: posixpath.basename(_file_path(c) or "") or "/" if c.file and _file_path(c) else None,
    "fd.ino": _fd_inode(lambda i: i.ino),
    "fd.dev": _fd_inode(lambda i: f"{i.dev:X}"),
    "fd.dev.major": _fd_inode(lambda i: i.dev >> 8),
    "fd.dev.minor": _fd_inode(lambda i: i.dev & 0xFF),
    "fd.is_upper_layer": _layer("upper"),
    "fd.is_lower_layer": _layer("lower"),
    "fd.name_changed": lambda c: c.type in (*OPEN, "connect") and bool(c.file.name) if c.file is not None else None,
    "fd.uid": lambda c: f"{c.process.pid}{c.fd}" if c.fd is not None else None,
    "fd.containername": lambda c: _container_prefix(c) + (_fd_name(c) or "") if c.fd is not None else None,
    "fd.containerdirectory": lambda c: _container_prefix(c) + (_directory(c) or "") if _directory(c) else None,
    "fd.l4proto": _open_file(lambda f: getattr(f, "protocol", "") if f.name and f.type in ("ipv4", "ipv6") else "<NA>"),
    "fd.sockfamily": _sock_family,
    "fd.connected": _open_file(lambda f: getattr(f, "server", None) is not None),
    "fd.is_server": _open_file(lambda f: getattr(f, "server", None) is not None),
    "fd.ip": _both(0),
    "fd.net": _both(0),
    "fd.port": _both(1),
    "fd.cip": _endpoint("client", 0),
    "fd.sip": _endpoint("server", 0),
    "fd.lip": _endpoint("local", 0),
    "fd.rip": _endpoint("remote", 0),
    "fd.cnet": _endpoint("client", 0),
    "fd.snet": _endpoint("server", 0),
    "fd.lnet": _endpoint("local", 0),
    "fd.rnet": _endpoint("remote", 0),
    "fd.cport": _endpoint("client", 1),
    "fd.sport": _endpoint("server", 1),
    "fd.lport": _endpoint("local", 1),
    "fd.rport": _endpoint("remote", 1),
    "fd.cproto": _port_text("client"),
    "fd.sproto": _port_text("server"),
    "fd.lproto": _port_text("local"),
    "fd.rproto": _port_text("remote"),
    "fd.cip.name": _host_name("client"),
    "fd.sip.name": _host_name("server"),
    "fd.lip.name": _host_name("local"),
    "fd.rip.name": _host_name("remote"),
    "fs.path.name": _fs_path(lambda c: c.path, raw=False),
    "fs.path.nameraw": _fs_path(lambda c: c.path, raw=True),
    "fs.path.source": _fs_path(lambda c: c.source, raw=False),
    "fs.path.sourceraw": _fs_path(lambda c: c.source, raw=True),
    "fs.path.target": _fs_path(lambda c: c.target, raw=False),
    "fs.path.targetraw": _fs_path(lambda c: c.target, raw=True),
}
