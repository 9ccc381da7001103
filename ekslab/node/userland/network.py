"""Network programs: curl, wget, nc; ping, scp and ssh as far as the lab's network goes."""

from __future__ import annotations

import asyncio
import base64
import posixpath
import re
import socket
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from ekslab.http import HttpResponse
from ekslab.node import abi
from ekslab.node.dates import formatted
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.sockets import reason
from ekslab.node.userland.options import parse, usage
from ekslab.node.userland.show import chunks, look_up_names, whole


@program("curl")
async def curl(p: Process) -> int:
    options = parse(
        p,
        "#AaBd:efFGH:iIjkKLm:nNo:OpqsSTu:vVX:x46A:e:b:w:",
        {
            "data": "d",
            "data-raw": "d",
            "data-binary": "d",
            "header": "H",
            "include": "i",
            "head": "I",
            "insecure": "k",
            "location": "L",
            "max-time": "m",
            "connect-timeout": "connect-timeout=",
            "output": "o",
            "remote-name": "O",
            "silent": "s",
            "show-error": "S",
            "fail": "f",
            "user": "u",
            "verbose": "v",
            "request": "X",
            "user-agent": "A",
            "write-out": "w",
            "retry": "retry=",
            "cacert": "cacert=",
            "url": "url=",
            "version": "version",
        },
        status=2,
    )
    if "version" in options.flags or "V" in options:
        p.print(
            "curl 8.14.1 (x86_64-pc-linux-gnu) libcurl/8.14.1 OpenSSL/3.5.1\nProtocols: file http https (the lab's)"
        )
        return 0
    urls = [*options.operands, *([options.values["url"]] if "url" in options.values else [])]
    if not urls:
        p.stderr.write("curl: try 'curl --help' or 'curl --manual' for more information\n")
        return 2
    for letter in "aeFKTpxb":
        if letter in options.flags:
            p.stderr.write(f"curl: option -{letter} is not simulated in this lab\n")
            return 2
    status = 0
    for url in urls:
        status = await _curl(p, url if "://" in url else f"http://{url}", options.flags, options.values)
    return status


def _headers(p: Process, values: dict[str, str]) -> dict[str, str]:
    headers = {"User-Agent": values.get("A", "curl/8.14.1"), "Accept": "*/*"}
    words = p.argv[1:]
    for index, word in enumerate(words):
        text = (
            words[index + 1]
            if word in ("-H", "--header") and index + 1 < len(words)
            else word[2:]
            if word.startswith("-H") and len(word) > 2
            else ""
        )
        name, colon, value = text.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
    if "u" in values:
        headers["Authorization"] = "Basic " + base64.b64encode(values["u"].encode()).decode()
    return headers


async def _curl(p: Process, url: str, flags: list[str], values: dict[str, str]) -> int:
    quiet = "s" in flags and "S" not in flags

    def fail(code: int, message: str) -> int:
        if not quiet:
            p.stderr.write(f"curl: ({code}) {message}\n")
        return code

    parts = urlsplit(url)
    if parts.scheme == "file":
        return await _curl_file(p, unquote(parts.path), flags, values, fail)
    if parts.scheme not in ("http", "https"):
        return fail(1, f'Protocol "{parts.scheme}" not supported or disabled in libcurl')
    if not parts.hostname:
        return fail(3, "URL using bad/illegal format or missing URL")
    body = values.get("d", "").encode("utf-8", "surrogateescape")
    if body.startswith(b"@"):
        try:
            body = await whole(p, body[1:].decode("utf-8", "surrogateescape"))
        except OSError as exc:
            return fail(26, f"Failed to open {exc.filename}")
    method = values.get("X") or ("HEAD" if "I" in flags else "POST" if "d" in values else "GET")
    headers = _headers(p, values)
    if "d" in values:
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    limit = float(values["m"]) if re.fullmatch(r"[\d.]+", values.get("m", "")) else None
    connect_limit = (
        float(values["connect-timeout"]) if re.fullmatch(r"[\d.]+", values.get("connect-timeout", "")) else None
    )
    started = p.kernel.now()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    told = p.stderr.write if "v" in flags else _nothing
    try:
        response = await _request(
            p, method, url, headers, body, min(limit or 1e9, connect_limit or 1e9, 300.0), "L" in flags
        )
    except socket.gaierror:
        return fail(6, f"Could not resolve host: {parts.hostname}")
    except TimeoutError:
        elapsed = (p.kernel.now() - started) // 1_000_000
        return fail(28, f"Connection timed out after {elapsed} milliseconds")
    except OSError as exc:
        elapsed = (p.kernel.now() - started) // 1_000_000
        return fail(
            7,
            f"Failed to connect to {parts.hostname} port {port} after {elapsed} ms: Couldn't connect to server"
            if isinstance(exc, ConnectionError)
            else exc.strerror or str(exc),
        )
    told(
        f"* Connected to {parts.hostname} ({p.resolve(parts.hostname)}) port {port}\n"
        f"> {method} {parts.path or '/'}{f'?{parts.query}' if parts.query else ''} HTTP/1.1\n> Host: {parts.netloc}\n"
        + "".join(f"> {name}: {value}\n" for name, value in headers.items())
        + f">\n< HTTP/1.1 {response.status} {reason(response.status)}\n"
        + "".join(f"< {name}: {value}\n" for name, value in response.headers.items())
        + "<\n"
    )
    if "f" in flags and response.status >= 400:
        return fail(22, f"The requested URL returned error: {response.status}")
    data = b""
    if "i" in flags or "I" in flags:
        head = f"HTTP/1.1 {response.status} {reason(response.status)}\r\n"
        data += (head + "".join(f"{name}: {value}\r\n" for name, value in response.headers.items()) + "\r\n").encode()
    if "I" not in flags:
        data += response.body
    size = len(response.body)
    return await _deliver(p, data, parts.path, flags, values, fail, status=response.status, size=size)


def _nothing(text: str) -> None:
    """What `-v` isn't asked to show."""


async def _curl_file(
    p: Process, path: str, flags: list[str], values: dict[str, str], fail: Callable[[int, str], int]
) -> int:
    """`file://`: a file of the container's own."""
    try:
        if p.isdir(path):
            raise abi.error("EISDIR", path)
        data = await whole(p, path)
    except OSError:
        return fail(37, f"Couldn't open file {path}")
    if "I" in flags or "i" in flags:
        found = p.stat(path)
        moment = formatted(found.mtime, "%a, %d %b %Y %H:%M:%S GMT")
        head = f"Content-Length: {found.size}\r\nAccept-ranges: bytes\r\nLast-Modified: {moment}\r\n\r\n"
        data = head.encode() + (b"" if "I" in flags else data)
    return await _deliver(p, data, path, flags, values, fail, status=0, size=len(data))


async def _deliver(
    p: Process,
    data: bytes,
    path: str,
    flags: list[str],
    values: dict[str, str],
    fail: Callable[[int, str], int],
    *,
    status: int,
    size: int,
) -> int:
    """Writes what was fetched to `-o`, `-O` or standard output, then what `-w` asks for."""
    target = values.get("o") or (posixpath.basename(path) if "O" in flags else "")
    if "O" in flags and not target:
        return fail(23, "Remote file name has no length")
    if target and target != "-":
        try:
            fd = p.open(target, abi.O_WRONLY | abi.O_CREAT | abi.O_TRUNC, 0o644)
            p.write(fd, data)
            p.close(fd)
        except OSError as exc:
            p.stderr.write(f"Warning: Failed to open the file {target}: {exc.strerror}\n")
            return fail(23, "Failure writing output to destination")
    else:
        p.write(1, data)
        await p.drain(1)
    if "w" in values:
        from ekslab.node.shell.quoting import unescape

        text = (
            unescape(values["w"]).replace("%{http_code}", f"{status:03d}").replace("%{response_code}", f"{status:03d}")
        )
        p.stdout.write(text.replace("%{size_download}", str(size)))
    return 0


async def _request(
    p: Process, method: str, url: str, headers: dict[str, str], body: bytes, limit: float, follow: bool
) -> HttpResponse:
    for _ in range(50):
        response = await p.http(method, url, headers, body, timeout=limit if limit < 1e8 else None)
        location = next((value for name, value in response.headers.items() if name.lower() == "location"), "")
        if not follow or response.status not in (301, 302, 303, 307, 308) or not location:
            return response
        parts = urlsplit(url)
        url = location if "://" in location else f"{parts.scheme}://{parts.netloc}{posixpath.join('/', location)}"
    return response


@program("wget")
async def wget(p: Process) -> int:
    options = parse(
        p,
        "O:P:qSt:T:U:cnv",
        {
            "output-document": "O",
            "directory-prefix": "P",
            "quiet": "q",
            "tries": "t",
            "timeout": "T",
            "user-agent": "U",
            "header": "header=",
            "post-data": "post-data=",
            "no-check-certificate": "k",
            "no-verbose": "n",
            "spider": "spider",
        },
        status=2,
    )
    if not options.operands:
        p.stderr.write("wget: missing URL\nUsage: wget [OPTION]... [URL]...\n\nTry `wget --help' for more options.\n")
        return 1
    quiet = "q" in options

    def say(text: str) -> None:
        if not quiet:
            p.stderr.write(text)

    for given in options.operands:
        url = given if "://" in given else f"http://{given}"
        parts = urlsplit(url)
        limit = float(options.values["T"]) if re.fullmatch(r"[\d.]+", options.values.get("T", "")) else 300.0
        headers = {"User-Agent": options.values.get("U", "Wget/1.21.3"), "Accept": "*/*"}
        name, colon, value = options.values.get("header", "").partition(":")
        if colon:
            headers[name] = value.strip()
        body = options.values.get("post-data", "").encode()
        moment = "1970" if quiet else _stamp(p)
        say(f"--{moment}--  {url}\n")
        try:
            response = await _request(p, "POST" if body else "GET", url, headers, body, limit, True)
        except socket.gaierror:
            say(f"wget: unable to resolve host address '{parts.hostname}'\n")
            return 4
        except OSError as exc:
            say(f"Connecting to {parts.hostname}... failed: {exc.strerror or 'Connection timed out'}.\n")
            return 4
        say(f"HTTP request sent, awaiting response... {response.status} {reason(response.status)}\n")
        if response.status >= 400:
            say(f"{_stamp(p)} ERROR {response.status}: {reason(response.status)}.\n")
            return 8
        if "spider" in options.flags:
            continue
        target = options.values.get("O") or posixpath.join(
            options.values.get("P", ""), posixpath.basename(parts.path) or "index.html"
        )
        if target == "-":
            p.write(1, response.body)
            continue
        try:
            fd = p.open(target, abi.O_WRONLY | abi.O_CREAT | abi.O_TRUNC, 0o666)
        except OSError as exc:
            p.stderr.write(f"{target}: {exc.strerror}\n\nCannot write to '{target}' (Success).\n")
            return 3
        p.write(fd, response.body)
        p.close(fd)
        say(f"Saving to: '{target}'\n\n{_stamp(p)} - '{target}' saved [{len(response.body)}/{len(response.body)}]\n\n")
    return 0


def _stamp(p: Process) -> str:
    return formatted(p.kernel.now(), "%Y-%m-%d %H:%M:%S")


@program("nc")
async def nc(p: Process) -> int:
    """Netcat in OpenBSD's form: it has no -e."""
    options = parse(p, "46bCDdFhklNnq:rStUuvw:Zzp:s:i:")
    words = options.operands
    if "l" in options:
        p.stderr.write("nc: listening is not simulated in this lab\n")
        return 1
    if len(words) < 2:
        p.stderr.write(
            "usage: nc [-46CDdFhklNnrStUuvZz] [-I length] [-i interval] [-M ttl]\n"
            "\t  [-m minttl] [-O length] [-P proxy_username] [-p source_port]\n"
            "\t  [-q seconds] [-s sourceaddr] [-T keyword] [-V rtable] [-W recvlimit]\n"
            "\t  [-w timeout] [-X proxy_protocol] [-x proxy_address[:port]]\n"
            "\t  [destination] [port]\n"
        )
        return 1
    if "u" in options:
        return p.fail("UDP is not simulated in this lab")
    host, ports = words[0], words[1]
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", ports)
    if match is None:
        return p.fail(f"port number invalid: {ports}")
    limit = float(options.values["w"]) if re.fullmatch(r"[\d.]+", options.values.get("w", "")) else None
    look_up_names(p, "/etc/services")
    status = 1
    for port in range(int(match[1]), int(match[2] or match[1]) + 1):
        try:
            fd = await asyncio.wait_for(p.connect(host, port, nonblocking=True), limit)
        except socket.gaierror:
            p.stderr.write(f'nc: getaddrinfo for host "{host}" port {port}: Name or service not known\n')
            return 1
        except OSError as exc:
            if "v" in options:
                p.stderr.write(
                    f"nc: connect to {host} port {port} (tcp) failed: {exc.strerror or 'Operation timed out'}\n"
                )
            continue
        status = 0
        if "v" in options:
            p.stderr.write(f"Connection to {host} {port} port [tcp/*] succeeded!\n")
        if "z" in options:
            p.close(fd)
            continue
        await _talk(p, fd, limit)
        return 0
    return status


async def _talk(p: Process, fd: int, limit: float | None) -> None:
    """Copies standard input to the connection, and the answers to standard output."""

    async def send() -> None:
        async for chunk in chunks(p, 0):
            p.write(fd, chunk)

    async def receive() -> None:
        while data := await p.read(fd):
            p.write(1, data)

    receiving = asyncio.ensure_future(receive())
    try:
        await send()
        await asyncio.wait_for(receiving, limit or 5.0)
    except TimeoutError:
        return  # the other side says nothing more
    finally:
        receiving.cancel()


@program("ping")
async def ping(p: Process) -> int:
    options = parse(p, "c:i:w:W:nq46")
    if not options.operands:
        usage(p, "usage error: Destination address required")
    host = options.operands[0]
    try:
        ip = p.resolve(host)
    except socket.gaierror:
        return p.fail(f"{host}: Name or service not known", 2)
    p.stderr.write(f"ping: ICMP is not simulated in this lab ({host} is {ip})\n")
    return 2


@program("ssh", "scp", "sftp", "rsync", "ftp", "telnet")
async def remote(p: Process) -> int:
    """Clients of remote machines: they try to connect, and no host in the lab answers."""
    targets = [word for word in p.argv[1:] if "@" in word or ":" in word] or [
        w for w in p.argv[1:] if not w.startswith("-")
    ][-1:]
    if not targets:
        usage(p, "usage: missing destination", 255)
    host = targets[-1].split("@")[-1].split(":")[0]
    port = 23 if p.name == "telnet" else 21 if p.name == "ftp" else 22
    program_name = "ssh" if p.name in ("scp", "sftp", "rsync") else p.name
    try:
        await asyncio.wait_for(p.connect(host, port), 10)
    except socket.gaierror:
        p.stderr.write(f"{program_name}: Could not resolve hostname {host}: Name or service not known\n")
    except OSError as exc:
        p.stderr.write(
            f"{program_name}: connect to host {host} port {port}: {exc.strerror or 'Connection timed out'}\n"
        )
    if p.name == "scp":
        p.stderr.write("scp: Connection closed\n")
    return 255


@program("dig", "nslookup", "host")
async def nslookup(p: Process) -> int:
    words = [word for word in p.argv[1:] if not word.startswith(("-", "+", "@"))]
    if not words:
        usage(p, "missing host name")
    try:
        ip = p.resolve(words[0])
    except socket.gaierror:
        p.print(
            f"** server can't find {words[0]}: NXDOMAIN"
            if p.name == "nslookup"
            else f"Host {words[0]} not found: 3(NXDOMAIN)"
            if p.name == "host"
            else f";; {words[0]}: NXDOMAIN"
        )
        return 1
    if p.name == "nslookup":
        p.print(f"Server:\t\t10.100.0.10\nAddress:\t10.100.0.10#53\n\nName:\t{words[0]}\nAddress: {ip}")
    else:
        p.print(f"{words[0]} has address {ip}" if p.name == "host" else ip)
    return 0
