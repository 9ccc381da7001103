"""Network programs: curl, wget, nc; ping, scp and ssh as far as the lab's network goes."""

from __future__ import annotations

import asyncio
import base64
import posixpath
import re
import socket
from urllib.parse import quote, unquote, urljoin, urlsplit

from ekslab.http import HttpResponse
from ekslab.node import abi
from ekslab.node.dates import formatted
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.sockets import reason
from ekslab.node.userland.options import Options, parse, refuse_as_curl, usage
from ekslab.node.userland.show import chunks, look_up_names, whole

_BODIES = {"data": "d", "data-ascii": "d", "data-binary": "data-binary", "data-raw": "data-raw", "json": "json"}
_REDIRECTS = (301, 302, 303, 307, 308)


@program("curl")
async def curl(p: Process) -> int:
    options = parse(
        p,
        "#AaBd:D:efFGH:iIjkKLm:nNo:OpqsSTu:vVX:x46A:e:b:w:",
        {
            **{name: f"{letter}=" for name, letter in _BODIES.items()},
            "data-urlencode": "data-urlencode=",
            "get": "G",
            "header": "H",
            "dump-header": "D",
            "include": "i",
            "head": "I",
            "insecure": "k",
            "location": "L",
            "max-redirs": "max-redirs=",
            "max-time": "m",
            "connect-timeout": "connect-timeout=",
            "output": "o",
            "remote-name": "O",
            "silent": "s",
            "show-error": "S",
            "no-progress-meter": "no-progress-meter",
            "no-buffer": "N",
            "compressed": "compressed",
            "fail": "f",
            "user": "u",
            "verbose": "v",
            "request": "X",
            "user-agent": "A",
            "referer": "e",
            "cookie": "b",
            "ipv4": "4",
            "ipv6": "6",
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
    for letter in "aFKTpx":
        if letter in options.flags:
            p.stderr.write(f"curl: option -{letter} is not simulated in this lab\n")
            return 2
    if "b" in options and "=" not in options.values["b"]:
        p.stderr.write("curl: a file of cookies (-b) is not simulated in this lab\n")
        return 2
    for name, option in (("m", "-m"), ("connect-timeout", "--connect-timeout"), ("max-redirs", "--max-redirs")):
        if not re.fullmatch(r"-1|\d+(\.\d*)?|\.\d+", options.values.get(name, "1")):
            refuse_as_curl(p, f"option {option}: expected a proper numerical parameter")
    urls = [*options.operands, *([options.values["url"]] if "url" in options.values else [])]
    if not urls:
        text = "(2) no URL specified" if p.argv[1:] else "try 'curl --help' or 'curl --manual' for more information"
        p.stderr.write(f"curl: {text}\n")
        return 2
    body, wrong = await _posted(p, options)
    if wrong:
        refuse_as_curl(p, wrong, 26)
    status = 0
    for url in urls:
        status = await _Transfer(p, options).run(url if "://" in url else f"http://{url}", body)
    return status


async def _posted(p: Process, options: Options) -> tuple[bytes | None, str]:
    """What -d and its kin ask to send, joined as curl joins it, or None; and why a file of it couldn't be read."""
    parts: list[bytes] = []
    for name, given in options.given:
        if name not in ("d", "data-binary", "data-raw", "data-urlencode", "json"):
            continue
        before, mark, path = given.partition("@")
        encoded = name == "data-urlencode"
        read = name != "data-raw" and bool(mark) and (not before or (encoded and "=" not in before))
        data = given.encode("utf-8", "surrogateescape")
        if read:
            try:
                data = await whole(p, path)
            except OSError as exc:
                option = "-d" if name == "d" else f"--{name}"
                p.stderr.write(f"curl: Failed to open {exc.filename}\n")
                return None, f"option {option}: error encountered when reading a file"
            if name == "d":
                data = data.translate(None, b"\r\n\0")
        if encoded:
            label, equals, value = given.partition("=")
            label, data = (before, data) if read else (label, value.encode()) if equals else ("", data)
            data = (f"{label}=" if label else "").encode() + quote(data, safe="").encode()
        separator = b"&" if parts and name != "json" else b""
        parts.append(separator + data)
    return (b"".join(parts) if parts else None), ""


def _headers(p: Process, options: Options) -> dict[str, str]:
    headers = {"User-Agent": options.values.get("A", "curl/8.14.1"), "Accept": "*/*"}
    if "json" in options.values:
        headers |= {"Accept": "application/json", "Content-Type": "application/json"}
    if "compressed" in options.flags:
        headers["Accept-Encoding"] = "deflate, gzip, br, zstd"
    for letter, name in (("e", "Referer"), ("b", "Cookie")):
        if letter in options.values:
            headers[name] = options.values[letter]
    for text in options.all("H"):
        name, colon, value = text.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
    if "u" in options.values:
        headers["Authorization"] = "Basic " + base64.b64encode(options.values["u"].encode()).decode()
    return headers


class _Transfer:
    """One URL that curl fetches; what `-w` can tell of it."""

    def __init__(self, p: Process, options: Options) -> None:
        self.p, self.options, self.values, self.flags = p, options, options.values, options.flags
        self.started = p.kernel.now()
        self.told: dict[str, object] = {"http_code": "000", "size_download": 0, "size_upload": 0, "num_redirects": 0}
        self.error = ""

    async def run(self, url: str, body: bytes | None) -> int:
        self.told |= {"url": url, "url_effective": url, "scheme": url.partition(":")[0]}
        try:
            code = await self._fetch(url, body)
        except _Failed as exc:
            code, self.error = exc.code, exc.message
            if "s" not in self.flags or "S" in self.flags:
                self.p.stderr.write(f"curl: ({code}) {self.error}\n")
        if "w" in self.values:
            self._write_out(code)
        return code

    def _elapsed(self) -> int:
        """Nanoseconds since the start."""
        return self.p.kernel.now() - self.started

    def _write_out(self, code: int) -> None:
        from ekslab.node.shell.quoting import unescape

        told = self.told | {
            "response_code": self.told["http_code"],
            "exitcode": code,
            "errormsg": self.error,
            **{name: f"{self._elapsed() / 1e9:.6f}" for name in ("time_total", "time_starttransfer")},
        }

        def value(match: re.Match[str]) -> str:
            if match[0] == "%%":
                return "%"
            if match[1] in told:
                return str(told[match[1]])
            lacked = match[1] in _LACKED_VARIABLES or match[1].startswith("header{")
            self.p.stderr.write(
                f"curl: the --write-out variable '{match[1]}' is not simulated in this lab\n"
                if lacked
                else f"curl: unknown --write-out variable: '{match[1]}'\n"
            )
            return ""

        self.p.stdout.write(re.sub(r"%%|%\{([^}]*)\}", value, unescape(self.values["w"])))

    async def _fetch(self, url: str, posted: bytes | None) -> int:
        p, flags, values = self.p, self.flags, self.values
        parts = urlsplit(url)
        if parts.scheme == "file":
            return await self._file(unquote(parts.path))
        if parts.scheme not in ("http", "https"):
            raise _Failed(1, f'Protocol "{parts.scheme}" not supported or disabled in libcurl')
        host = parts.hostname
        if not host:
            raise _Failed(3, "URL using bad/illegal format or missing URL")
        if posted is not None and ("G" in flags or "I" in flags):
            text = posted.decode("utf-8", "surrogateescape")
            url = parts._replace(query=f"{parts.query}&{text}" if parts.query else text).geturl()
            parts, posted = urlsplit(url), None
        method = values.get("X") or ("HEAD" if "I" in flags else "POST" if posted is not None else "GET")
        headers = _headers(p, self.options)
        if posted is not None:
            headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        limit = min(float(values.get("m") or 0) or 1e9, float(values.get("connect-timeout") or 0) or 1e9, 300.0)
        most = int(float(values.get("max-redirs", "50"))) if "L" in flags else 0
        port = parts.port or (443 if parts.scheme == "https" else 80)
        told = p.stderr.write if "v" in flags else _nothing
        try:
            response, hops = await _request(p, method, url, headers, posted or b"", limit, most)
        except socket.gaierror:
            raise _Failed(6, f"Could not resolve host: {parts.hostname}") from None
        except TimeoutError:
            raise _Failed(28, f"Connection timed out after {self._elapsed() // 1_000_000} milliseconds") from None
        except OSError as exc:
            where = f"{parts.hostname} port {port} after {self._elapsed() // 1_000_000} ms"
            raise _Failed(
                7,
                f"Failed to connect to {where}: Couldn't connect to server"
                if isinstance(exc, ConnectionError)
                else exc.strerror or str(exc),
            ) from None
        self.told |= {
            "http_code": f"{response.status:03d}",
            "num_redirects": len(hops),
            "url_effective": hops[-1] if hops else url,
            "method": method,
            "content_type": _header(response, "content-type"),
            "redirect_url": "" if "L" in flags else _header(response, "location"),
            "remote_ip": p.resolve(host),
            "remote_port": port,
            "size_upload": len(posted or b""),
        }
        where = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        told(
            f"* Connected to {parts.hostname} ({p.resolve(host)}) port {port}\n"
            f"> {method} {where} HTTP/1.1\n> Host: {parts.netloc}\n"
            + "".join(f"> {name}: {value}\n" for name, value in headers.items())
            + f">\n< HTTP/1.1 {response.status} {reason(response.status)}\n"
            + "".join(f"< {name}: {value}\n" for name, value in response.headers.items())
            + "<\n"
        )
        head = f"HTTP/1.1 {response.status} {reason(response.status)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in response.headers.items()) + "\r\n"
        if "D" in values:
            await self._save(head.encode(), values["D"])
        if "L" in flags and len(hops) >= most and response.status in _REDIRECTS and _header(response, "location"):
            raise _Failed(47, f"Maximum ({most}) redirects followed")
        if "f" in flags and response.status >= 400:
            raise _Failed(22, f"The requested URL returned error: {response.status}")
        data = head.encode() if "i" in flags or "I" in flags else b""
        if "I" not in flags:
            data += response.body
            self.told["size_download"] = len(response.body)
        return await self._deliver(data, parts.path)

    async def _file(self, path: str) -> int:
        """`file://`: a file of the container's own."""
        p, flags = self.p, self.flags
        try:
            if p.isdir(path):
                raise abi.error("EISDIR", path)
            data = await whole(p, path)
        except OSError:
            raise _Failed(37, f"Couldn't open file {path}") from None
        self.told["size_download"] = len(data)
        if "I" in flags or "i" in flags:
            found = p.stat(path)
            moment = formatted(found.mtime, "%a, %d %b %Y %H:%M:%S GMT")
            head = f"Content-Length: {found.size}\r\nAccept-ranges: bytes\r\nLast-Modified: {moment}\r\n\r\n"
            data = head.encode() + (b"" if "I" in flags else data)
        return await self._deliver(data, path)

    async def _deliver(self, data: bytes, path: str) -> int:
        """Writes what was fetched to `-o`, `-O` or standard output."""
        target = self.values.get("o") or (posixpath.basename(path) if "O" in self.flags else "-")
        if not target:
            raise _Failed(23, "Remote file name has no length")
        await self._save(data, target)
        return 0

    async def _save(self, data: bytes, target: str) -> None:
        p = self.p
        if target == "-":
            p.write(1, data)
            await p.drain(1)
            return
        try:
            fd = p.open(target, abi.O_WRONLY | abi.O_CREAT | abi.O_TRUNC, 0o644)
            p.write(fd, data)
            p.close(fd)
        except OSError as exc:
            p.stderr.write(f"Warning: Failed to open the file {target}: {exc.strerror}\n")
            raise _Failed(23, "Failure writing output to destination") from None


class _Failed(Exception):
    """curl's exit status and message for a URL."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


_LACKED = """
    certs conn_id filename.effective filename_effective ftp_entry_path header_json http_connect http_version json
    local_ip local_port num_certs num_connects num_headers num_retries onerror output proxy_ssl_verify_result proxy_used
    referer size_header size_request speed_download speed_upload ssl_verify_result stderr stdout time_appconnect
    time_connect time_namelookup time_posttransfer time_pretransfer time_queue time_redirect tls_earlydata url.fragment
    url.host url.options url.password url.path url.port url.query url.scheme url.user url.zoneid urlnum xfer_id
"""
_LACKED_VARIABLES = frozenset(_LACKED.split())


def _header(response: HttpResponse, wanted: str) -> str:
    return next((value for name, value in response.headers.items() if name.lower() == wanted), "")


def _nothing(text: str) -> None:
    """What `-v` isn't asked to show."""


async def _request(
    p: Process, method: str, url: str, headers: dict[str, str], body: bytes, limit: float, most: int
) -> tuple[HttpResponse, list[str]]:
    """The answer after at most so many redirects, and where those led."""
    hops: list[str] = []
    while True:
        response = await p.http(method, url, headers, body, timeout=limit if limit < 1e8 else None)
        location = _header(response, "location")
        if len(hops) >= most or response.status not in _REDIRECTS or not location:
            return response, hops
        url = urljoin(url, location)
        hops.append(url)


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
            response, _ = await _request(p, "POST" if body else "GET", url, headers, body, limit, 20)
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
