"""The nginx image: a Debian userland and a web server that answers with files, as /etc/nginx says where and which."""

from __future__ import annotations

import asyncio
import posixpath
import signal
import time as clock
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from fnmatch import fnmatchcase
from functools import partial
from urllib.parse import unquote, urlsplit

from ekslab import versions
from ekslab.http import HttpRequest, HttpResponse
from ekslab.images.nginx_configuration import FOLDER, Configuration, ConfigurationError, read
from ekslab.node import Image, Process, abi, debian_userland, program

_NAME = f"nginx/{versions.NGINX}"
_ROOT = "/usr/share/nginx/html"
_ACCESS_LOG = "/var/log/nginx/access.log"
_ERROR_LOG = "/var/log/nginx/error.log"
_PID = "/run/nginx.pid"
_SIGNALS = {"reload": signal.SIGHUP, "stop": signal.SIGTERM, "quit": signal.SIGQUIT, "reopen": signal.SIGUSR1}
_DOES = {signal.SIGHUP: "reconfiguring", signal.SIGQUIT: "shutting down", signal.SIGUSR1: "reopening logs"}

_PAGE = """\
<!DOCTYPE html>
<html>
<head><title>Welcome to nginx!</title></head>
<body>
<h1>Welcome to nginx!</h1>
<p>This is the web server of the workshop. Nobody should have a shell in it.</p>
</body>
</html>
"""

_ERROR = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"
    "<hr><center>{1}</center>\r\n</body>\r\n</html>\r\n"
)

_ENTRYPOINT = """\
#!/bin/sh
set -e
case $1 in
    nginx | nginx-debug)
        for script in /docker-entrypoint.d/*.sh; do
            [ -x "$script" ] && "$script"
        done
        echo "$0: Configuration complete; ready for start up";;
esac
exec "$@"
"""
_SCRIPTS = ("10-listen-on-ipv6-by-default.sh", "20-envsubst-on-templates.sh", "30-tune-worker-processes.sh")
_SCRIPT = "#!/bin/sh\n# The image's own script does nothing here: the lab's nginx has one configuration.\nexit 0\n"

_CONFIG = """\
user nginx;
worker_processes 2;
error_log /var/log/nginx/error.log notice;
pid /run/nginx.pid;
events { worker_connections 1024; }
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log /var/log/nginx/access.log;
    include /etc/nginx/conf.d/*.conf;
}
"""

_SERVER = """\
server {
    listen 80;
    server_name localhost;
    location / {
        root /usr/share/nginx/html;
        index index.html index.htm;
    }
    error_page 500 502 503 504 /50x.html;
    location = /50x.html {
        root /usr/share/nginx/html;
    }
}
"""


_PACKAGES = (
    *("adduser", "ca-certificates", "curl", "gettext-base", "openssl"),
    *("nginx", "nginx-module-geoip", "nginx-module-image-filter", "nginx-module-njs", "nginx-module-xslt"),
)


def image() -> Image:
    """`docker.io/library/nginx`, with the users and files that the real one has where the workshop looks."""
    version = versions.NGINX
    layer = (
        debian_userland(*_PACKAGES)
        .user("nginx", 101, 101, "/nonexistent", "/bin/false")
        .program("/usr/sbin/nginx", "nginx")
        .file("/docker-entrypoint.sh", _ENTRYPOINT, mode=0o755)
        .file("/etc/nginx/nginx.conf", _CONFIG)
        .file("/etc/nginx/conf.d/default.conf", _SERVER)
        .file(f"{_ROOT}/index.html", _PAGE)
        .file(f"{_ROOT}/50x.html", _PAGE.replace("Welcome to nginx!", "Error"))
        .symlink("/var/log/nginx/access.log", "/dev/stdout")
        .symlink("/var/log/nginx/error.log", "/dev/stderr")
        .program("/usr/sbin/nginx-debug", "nginx")
    )
    for script in _SCRIPTS:
        layer.file(f"/docker-entrypoint.d/{script}", _SCRIPT, mode=0o755)
    minor = version.rsplit(".", 1)[0]
    return Image(
        repository=versions.NGINX_IMAGE,
        tags=(version, minor, minor.partition(".")[0], "latest", "mainline"),
        layer=layer,
        entrypoint=("/docker-entrypoint.sh",),
        cmd=("nginx", "-g", "daemon off;"),
        env={"NGINX_VERSION": version},
        stop_signal="SIGQUIT",
    )


@dataclass(frozen=True)
class _Options:
    """The command line: `-t`, `-T`, `-q`, the file of `-c`, the directives of `-g` and the name of `-s`."""

    flags: str = ""
    file: str = f"{FOLDER}/nginx.conf"
    directives: str = ""
    signal: str = ""


@program("nginx")
async def nginx(p: Process) -> int:
    """The master process: reads its configuration, starts workers as user nginx, and ends with them."""
    try:
        options = _options(p.argv[1:])
    except ValueError as error:
        p.stderr.write(f"nginx: {error}\n")
        return 1
    if "v" in options.flags.lower():
        p.stderr.write(f"nginx version: {_NAME}\n")
        if "V" in options.flags:
            p.stderr.write("built with OpenSSL 3.5.1 1 Jul 2025\nTLS SNI support enabled\n")
            p.stderr.write("configure arguments: --prefix=/etc/nginx --sbin-path=/usr/sbin/nginx --user=nginx\n")
        return 0
    testing = "t" in options.flags.lower()
    try:
        configuration = _configuration(p, options)
    except ConfigurationError as error:
        _emergency(p, str(error))
        if testing:
            p.stderr.write(f"nginx: configuration file {options.file} test failed\n")
        return 1
    if options.signal:
        return _signal(p, options.signal)
    if testing:
        return _tested(p, options, configuration)
    return await _Master(p, options, configuration).run()


def _options(words: list[str]) -> _Options:
    """Reads the command line as nginx does: letters after one dash. Raises ValueError with nginx's words."""
    flags, values = "", {}
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("-"):
            raise ValueError(f'invalid option: "{word}"')
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in "tTqvV":
                flags += letter
            elif letter in "cgpes":
                value = letters or (left.pop(0) if left else "")
                if not value:
                    needs = {"c": "file name", "g": "parameter", "p": "directory name", "e": "file name"}
                    raise ValueError(f'option "-{letter}" requires {needs.get(letter, "parameter")}')
                values[letter], letters = value, ""
            else:
                raise ValueError(f'invalid option: "{letter}"')
    if "s" in values and values["s"] not in _SIGNALS:
        raise ValueError(f'invalid option: "-s {values["s"]}"')
    file = posixpath.join(FOLDER, values.get("c", "nginx.conf"))
    return _Options(flags, file, values.get("g", ""), values.get("s", ""))


def _configuration(p: Process, options: _Options) -> Configuration:
    """Reads the configuration. Raises ConfigurationError."""
    return read(options.file, options.directives, p.read_text, lambda pattern: _glob(p, pattern))


def _glob(p: Process, pattern: str) -> list[str]:
    """The paths that match a pattern, sorted."""
    paths = ["/"]
    for part in pattern.strip("/").split("/"):
        if any(character in part for character in "*?["):
            paths = [
                posixpath.join(folder, name)
                for folder in paths
                if p.isdir(folder)
                for name in sorted(p.listdir(folder))
                if fnmatchcase(name, part) and name.startswith(".") <= part.startswith(".")
            ]
        else:
            paths = [posixpath.join(path, part) for path in paths]
    return [path for path in paths if p.exists(path)]


def _tested(p: Process, options: _Options, configuration: Configuration) -> int:
    if "q" not in options.flags:
        p.stderr.write(f"nginx: the configuration file {options.file} syntax is ok\n")
        p.stderr.write(f"nginx: configuration file {options.file} test is successful\n")
    if configuration.ignored:
        p.stderr.write(f"nginx: {_ignores(configuration)}\n")
    if "T" in options.flags:
        for path, text in configuration.files.items():
            p.print(f"# configuration file {path}:\n{text}")
    return 0


def _ignores(configuration: Configuration) -> str:
    names = ", ".join(configuration.ignored)
    return f"the embedded lab's nginx answers with files only, and doesn't act on these directives: {names}"


def _signal(p: Process, name: str) -> int:
    """`-s reload`: sends the master process a signal."""
    _log(p, "notice", "signal process started")
    text = ""
    try:
        text = p.read_text(_PID).strip()
        p.kill(int(text), _SIGNALS[name])
    except FileNotFoundError as error:
        message = f'open() "{_PID}" failed ({error.errno}: {error.strerror})'
    except ValueError:
        message = f'invalid PID number "{text}" in "{_PID}"'
    except OSError as error:
        message = f"kill({text}, {int(_SIGNALS[name])}) failed ({error.errno}: {error.strerror})"
    else:
        return 0
    p.stderr.write(f"nginx: [error] {message}\n")
    return 1


def _emergency(p: Process, message: str) -> None:
    """What ends nginx: a line of the error log, and one for the person who started it."""
    _log(p, "emerg", message)
    p.stderr.write(f"nginx: [emerg] {message}\n")


def _log(p: Process, level: str, text: str) -> None:
    """A line of the error log, by a process that doesn't hold it open."""
    try:
        fd = _opened(p, _ERROR_LOG, 2)
    except OSError as error:
        p.stderr.write(f'nginx: [alert] could not open error log file: open() "{_ERROR_LOG}" failed')
        p.stderr.write(f" ({error.errno}: {error.strerror})\n")
        return
    p.write(fd, _line(p, level, text))
    if fd != 2:
        p.close(fd)


def _line(p: Process, level: str, text: str) -> bytes:
    stamp = clock.strftime("%Y/%m/%d %H:%M:%S", clock.gmtime(p.kernel.now() // 1_000_000_000))
    return f"{stamp} [{level}] {p.vpid}#{p.vpid}: {text}\n".encode("utf-8", "surrogateescape")


def _opened(p: Process, path: str, standard: int) -> int:
    """The descriptor of a log. The image's logs are links to /dev/stdout and /dev/stderr, which are open already."""
    try:
        if p.readlink(path).startswith("/dev/std"):
            return standard
    except OSError:
        pass
    return p.open(path, abi.O_WRONLY | abi.O_CREAT | abi.O_APPEND, 0o644)


class _Master:
    """The master process and its workers."""

    def __init__(self, process: Process, options: _Options, configuration: Configuration) -> None:
        self._process = process
        self._options = options
        self._configuration = configuration
        self._workers: dict[Process, asyncio.Task[None]] = {}
        self._listening: dict[int, Callable[[], None]] = {}
        self._logs: dict[Process, tuple[int, int]] = {}
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()

    async def run(self) -> int:
        p = self._process
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, *_DOES):
            p.on_signal(number, partial(self._signals.put_nowait, number))
        try:
            self._open_logs(p)
            self._listen(self._configuration)
        except ConfigurationError as error:
            _emergency(p, str(error))
            return 1
        try:
            self._say_ignored()
            self._notice('using the "epoll" event method')
            self._notice(_NAME)
            self._notice("start worker processes")
            p.write_text(_PID, f"{p.vpid}\n")
            self._start_workers()
            await self._work()
        finally:
            for close in self._listening.values():
                close()
        return 0

    async def _work(self) -> None:
        """Obeys signals until one says to end."""
        while True:
            number = await self._signals.get()
            self._notice(f"signal {int(number)} ({number.name}) received, {_DOES.get(number, 'exiting')}")
            if number == signal.SIGHUP:
                await self._reload()
            elif number == signal.SIGUSR1:
                self._reopen()
            else:
                break
        workers = [worker for worker in self._workers if worker.alive]
        for keeper in self._workers.values():
            keeper.cancel()
        for worker in workers:
            self._process.kill(worker.vpid, signal.SIGTERM)
        for worker in workers:
            await self._process.wait(worker)

    def _notice(self, text: str, level: str = "notice") -> None:
        self._process.write(self._logs[self._process][1], _line(self._process, level, text))

    def _say_ignored(self) -> None:
        if self._configuration.ignored:
            self._notice(_ignores(self._configuration), "warn")

    # -- logs

    def _open_logs(self, process: Process) -> None:
        """Opens the logs anew, and closes those that were open. Raises ConfigurationError."""
        try:
            access = _opened(process, _ACCESS_LOG, 1)
            errors = _opened(process, _ERROR_LOG, 2)
        except OSError as error:
            raise ConfigurationError(f'open() "{error.filename}" failed ({error.errno}: {error.strerror})') from None
        if process is self._process and process.euid == 0:
            for fd, path in ((access, _ACCESS_LOG), (errors, _ERROR_LOG)):
                if fd > 2:
                    process.chown(path, self._configuration.user[0], -1)
        for fd in self._logs.get(process, ()):
            if fd > 2:
                process.close(fd)
        self._logs[process] = access, errors

    def _reopen(self) -> None:
        self._notice("reopening logs")
        for process in (self._process, *self._workers):
            try:
                self._open_logs(process)
            except ConfigurationError as error:
                self._notice(str(error), "emerg")

    # -- workers

    def _start_workers(self) -> None:
        for _ in range(self._configuration.workers):
            self._start()

    def _start(self) -> None:
        worker = self._process.fork(self._serve)
        self._logs[worker] = self._logs[self._process]
        self._notice(f"start worker process {worker.vpid}")
        self._workers[worker] = asyncio.create_task(self._keep(worker))

    async def _serve(self, worker: Process) -> int:
        if worker.euid == 0:
            uid, gid = self._configuration.user
            worker.setgid(gid)
            worker.setuid(uid)
        await asyncio.Event().wait()
        return 0

    async def _keep(self, worker: Process) -> None:
        """Starts another worker when one ends."""
        await self._process.wait(worker)
        self._forget(worker)
        self._start()

    def _forget(self, worker: Process) -> None:
        self._workers.pop(worker, None)
        self._logs.pop(worker, None)

    async def _reload(self) -> None:
        """Reads the configuration again; other workers take the place of those that run."""
        self._notice("reconfiguring")
        try:
            configuration = _configuration(self._process, self._options)
            self._open_logs(self._process)
            self._listen(configuration)
        except ConfigurationError as error:
            self._notice(str(error), "emerg")
            return
        self._configuration = configuration
        self._say_ignored()
        self._notice('using the "epoll" event method')
        self._notice("start worker processes")
        old = dict(self._workers)
        self._workers.clear()
        self._start_workers()
        for worker, keeper in old.items():
            keeper.cancel()
            if worker.alive:
                worker.write(self._logs[worker][1], _line(worker, "notice", "gracefully shutting down"))
                worker.signal(signal.SIGTERM)
                await self._process.wait(worker)
                self._notice(f"worker process {worker.vpid} exited with code 0")
            self._forget(worker)

    # -- requests

    def _listen(self, configuration: Configuration) -> None:
        """Listens on the ports of a configuration, and on no others. Raises ConfigurationError."""
        added: dict[int, Callable[[], None]] = {}
        for port in configuration.ports:
            if port in self._listening:
                continue
            try:
                added[port] = self._process.listen(port, self._answers(port), self._accept)
            except OSError as error:
                for close in added.values():
                    close()
                raise ConfigurationError(f"bind() to 0.0.0.0:{port} failed ({error.errno}: {error.strerror})") from None
        for port in set(self._listening) - set(configuration.ports):
            self._listening.pop(port)()
        self._listening |= added

    def _accept(self, client: tuple[str, int], server: tuple[str, int]) -> None:
        next((worker for worker in self._workers if worker.alive), self._process).accept(client, server)

    def _answers(self, port: int) -> Callable[[HttpRequest], Awaitable[HttpResponse]]:
        async def answer(request: HttpRequest) -> HttpResponse:
            # Connections go round the workers, as the kernel spreads them over processes that listen on one socket.
            worker = next((worker for worker in self._workers if worker.alive), self._process)
            if worker in self._workers:
                self._workers[worker] = self._workers.pop(worker)
            response, line = _respond(worker, request, self._configuration, port)
            worker.write(self._logs[worker][0], line)
            return response

        return answer


def _respond(
    worker: Process, request: HttpRequest, configuration: Configuration, port: int
) -> tuple[HttpResponse, bytes]:
    """The answer to a request, and the line of the access log."""
    url = urlsplit(request.url)
    status, kind, body = 405, "text/html", b""
    more: dict[str, str] = {}
    server = configuration.server(port, request.host)
    if request.method in ("GET", "HEAD") and server is not None:
        wanted = unquote(url.path) or "/"
        path = server.root.rstrip("/") + "/" + posixpath.normpath(wanted).strip("/")
        folder = wanted.endswith("/")
        paths = [posixpath.join(path, name) for name in server.index] if folder else [path]
        status, name, body, more = _first(worker, paths)
        if status == 404 and folder and worker.isdir(path):
            status = 403
        elif status == 200:
            extension = posixpath.splitext(name)[1].lstrip(".").lower()
            kind = configuration.types.get(extension, configuration.default_type)
        elif status == 301:
            more = {"Location": f"http://{url.netloc}{url.path}/"}
    if status != 200:
        reason = {301: "Moved Permanently", 403: "Forbidden", 404: "Not Found", 405: "Not Allowed"}[status]
        body = _ERROR.format(f"{status} {reason}", _NAME).encode()
    head = request.method == "HEAD"
    now = worker.kernel.now() // 1_000_000_000
    headers = {
        "Server": _NAME,
        "Date": formatdate(now, usegmt=True),
        "Content-Type": kind,
        "Content-Length": str(len(body)),
    }
    headers |= {name: value for name, value in more.items() if name in ("Last-Modified", "Location")}
    headers["Connection"] = "close" if request.header("connection").lower() == "close" else "keep-alive"
    headers |= {name: value for name, value in more.items() if name not in headers}
    stamp = clock.strftime("%d/%b/%Y:%H:%M:%S +0000", clock.gmtime(now))
    agent = request.header("user-agent", "-")
    line = f"{request.method} {url.path or '/'} HTTP/1.1"
    sent = 0 if head else len(body)
    text = f'{request.peer or "-"} - - [{stamp}] "{line}" {status} {sent} "-" "{agent}" "-"\n'
    return HttpResponse(status, headers, b"" if head else body), text.encode("utf-8", "surrogateescape")


def _first(worker: Process, paths: list[str]) -> tuple[int, str, bytes, dict[str, str]]:
    """Status, path, body and headers for the first file there is."""
    for path in paths:
        try:
            fd = worker.open(path, abi.O_RDONLY)
        except PermissionError:
            return 403, path, b"", {}
        except OSError:
            continue
        try:
            stat = worker.fstat(fd)
            if stat.is_dir:
                return 301, path, b"", {}
            body = worker.read_now(fd)
        except OSError:
            continue
        finally:
            worker.close(fd)
        seconds = stat.mtime // 1_000_000_000
        headers = {
            "Last-Modified": formatdate(seconds, usegmt=True),
            "ETag": f'"{seconds:x}-{len(body):x}"',
            "Accept-Ranges": "bytes",
        }
        return 200, path, body, headers
    return 404, "", b"", {}
