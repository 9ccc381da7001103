"""The nginx image: a Debian userland and a web server that answers from /usr/share/nginx/html on port 80."""

from __future__ import annotations

import asyncio
import mimetypes
import posixpath
import signal
import time as clock
from urllib.parse import unquote, urlsplit

from ekslab import versions
from ekslab.http import HttpRequest, HttpResponse
from ekslab.node import Image, Process, debian_userland, program

_ROOT = "/usr/share/nginx/html"
_WORKERS = 2

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
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n</body>\r\n</html>\r\n"
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


@program("nginx")
async def nginx(p: Process) -> int:
    """The master process: reads its configuration, starts workers as user nginx, and ends with them."""
    version = versions.NGINX
    if "-v" in p.argv[1:] or "-V" in p.argv[1:]:
        p.stderr.write(f"nginx version: nginx/{version}\n")
        if "-V" in p.argv[1:]:
            p.stderr.write("built with OpenSSL 3.5.1 1 Jul 2025\nTLS SNI support enabled\n")
            p.stderr.write("configure arguments: --prefix=/etc/nginx --sbin-path=/usr/sbin/nginx --user=nginx\n")
        return 0
    try:
        p.read_text("/etc/nginx/nginx.conf")
    except OSError as error:
        p.stderr.write(f'nginx: [emerg] open() "/etc/nginx/nginx.conf" failed ({error.errno}: {error.strerror})\n')
        return 1
    if "-s" in p.argv[1:]:
        return _signal(p)
    if "-t" in p.argv[1:] or "-T" in p.argv[1:]:
        p.stderr.write("nginx: the configuration file /etc/nginx/nginx.conf syntax is ok\n")
        p.stderr.write("nginx: configuration file /etc/nginx/nginx.conf test is successful\n")
        for path in ("/etc/nginx/nginx.conf", "/etc/nginx/conf.d/default.conf") if "-T" in p.argv[1:] else ():
            p.print(f"# configuration file {path}:\n{p.read_text(path)}")
        return 0
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT):
        p.on_signal(number, stop.set)
    workers: list[Process] = []

    async def work(worker: Process) -> int:
        worker.setgid(101)
        worker.setuid(101)
        await asyncio.Event().wait()
        return 0

    async def answer(request: HttpRequest) -> HttpResponse:
        # Connections go round the workers, as the kernel spreads them over processes that listen on one socket.
        worker = next((worker for worker in workers if worker.alive), p)
        if worker in workers:
            workers.remove(worker)
            workers.append(worker)
        return _respond(worker, request, f"nginx/{version}")

    def accept(client: tuple[str, int], server: tuple[str, int]) -> None:
        next((worker for worker in workers if worker.alive), p).accept(client, server)

    try:
        close = p.listen(80, answer, accept)
    except OSError as error:
        p.stderr.write(f"nginx: [emerg] bind() to 0.0.0.0:80 failed ({error.errno}: {error.strerror})\n")
        return 1
    _notice(p, 'using the "epoll" event method')
    _notice(p, f"nginx/{version}")
    _notice(p, "start worker processes")

    async def keep(worker: Process) -> None:
        """Starts another worker for each that ends."""
        while True:
            await p.wait(worker)
            workers.remove(worker)
            worker = start()

    def start() -> Process:
        workers.append(p.fork(work))
        _notice(p, f"start worker process {workers[-1].vpid}")
        return workers[-1]

    def reload() -> None:
        """HUP: other workers take the place of those that run."""
        _notice(p, "signal 1 (SIGHUP) received, reconfiguring")
        for worker in list(workers):
            worker.signal(signal.SIGTERM)

    p.on_signal(signal.SIGHUP, reload)
    p.write_text("/run/nginx.pid", f"{p.vpid}\n")
    keepers = [asyncio.create_task(keep(start())) for _ in range(_WORKERS)]
    try:
        await stop.wait()
        for keeper in keepers:
            keeper.cancel()
        _notice(p, "signal 3 (SIGQUIT) received, shutting down")
        workers = [worker for worker in workers if worker.alive]
        for worker in workers:
            p.kill(worker.vpid, signal.SIGTERM)
        for worker in workers:
            await p.wait(worker)
    finally:
        close()
    return 0


def _signal(p: Process) -> int:
    """`-s reload`: sends the master process a signal."""
    words = p.argv[p.argv.index("-s") + 1 :]
    name = words[0] if words else ""
    numbers = {"reload": signal.SIGHUP, "stop": signal.SIGTERM, "quit": signal.SIGQUIT, "reopen": signal.SIGUSR1}
    if name not in numbers:
        p.stderr.write(f'nginx: invalid option: "-s {name}"\n')
        return 1
    _notice(p, "signal process started")
    try:
        pid = int(p.read_text("/run/nginx.pid"))
        if name != "reopen":
            p.kill(pid, numbers[name])
    except (OSError, ValueError):
        p.stderr.write('nginx: [error] invalid PID number "" in "/run/nginx.pid"\n')
        return 1
    return 0


def _notice(p: Process, text: str) -> None:
    stamp = clock.strftime("%Y/%m/%d %H:%M:%S", clock.gmtime(p.kernel.now() // 1_000_000_000))
    p.stderr.write(f"{stamp} [notice] {p.vpid}#{p.vpid}: {text}\n")


def _respond(worker: Process, request: HttpRequest, server: str) -> HttpResponse:
    path = posixpath.normpath(unquote(urlsplit(request.url).path) or "/")
    if path.endswith("/"):
        path += "index.html"
    status, kind = 200, mimetypes.guess_type(path)[0] or "application/octet-stream"
    if request.method not in ("GET", "HEAD"):
        status = 405
    else:
        try:
            body = worker.read_bytes(_ROOT + path)
        except PermissionError:
            status = 403
        except OSError:
            status = 404
    if status != 200:
        reason = {403: "Forbidden", 404: "Not Found", 405: "Not Allowed"}[status]
        body, kind = _ERROR.format(f"{status} {reason}").encode(), "text/html"
    agent = request.header("user-agent", "-")
    stamp = clock.strftime("%d/%b/%Y:%H:%M:%S +0000", clock.gmtime(worker.kernel.now() // 1_000_000_000))
    line = f"{request.method} {urlsplit(request.url).path or '/'} HTTP/1.1"
    worker.stdout.write(f'{request.peer or "-"} - - [{stamp}] "{line}" {status} {len(body)} "-" "{agent}" "-"\n')
    headers = {"Server": server, "Content-Type": kind, "Content-Length": str(len(body))}
    return HttpResponse(status, headers, b"" if request.method == "HEAD" else body)
