"""The images of the cluster, and the programs in them that Debian's userland doesn't have.

A service does nothing by itself: `work.py` and `intruder.py` ask it to do what a request or its schedule would make it
do. Other programs take a while and end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from ekslab.names import hex_id
from ekslab.node import Container, Image, Layer, Process, debian_userland, elf, program
from ekslab.node.sockets import Socket

ECR = "111122223333.dkr.ecr.us-east-1.amazonaws.com"
READERS = {("203.0.113.45", 443)}
"""Where something reads that doesn't speak HTTP."""
Action = Callable[[Process], Awaitable[Any]]


@dataclass
class _Asked:
    """A process that does what it is asked to."""

    process: Process
    actions: asyncio.Queue[tuple[Action, asyncio.Future[Any]]]


_services: dict[str, list[_Asked]] = {}


async def ask(container: Container, action: Action, worker: int = 0) -> Any:
    """Has a service's main process, or one of its workers (from 1 on), do something; the answer of `action`."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    _services[container.id][worker].actions.put_nowait((action, done))
    return await done


async def _does(p: Process) -> int:
    """Does what it is asked to, one after the other."""
    assert p.container is not None
    asked = _Asked(p, asyncio.Queue())
    _services.setdefault(p.container.id, []).append(asked)
    while True:
        action, done = await asked.actions.get()
        done.set_result(await action(p))


@program("day-service")
async def service(p: Process) -> int:
    """A server. `WORKERS` says how many processes it starts, `WORKER` as which user and under which title."""
    assert p.container is not None
    _services.pop(p.container.id, None)
    uid, _, title = p.env.get("WORKER", "").partition(":")

    async def work(worker: Process) -> int:
        if uid:
            worker.setgid(int(uid))
            worker.setuid(int(uid))
        if title:
            worker.argv = [title]
        return await _does(worker)

    async def later() -> None:
        for _ in range(int(p.env.get("WORKERS", "0"))):
            p.fork(work)
            await asyncio.sleep(0)

    starting = asyncio.ensure_future(later())
    try:
        return await _does(p)
    finally:
        starting.cancel()


@program("day-quiet")
async def quiet(p: Process) -> int:
    """A program that works for a while."""
    await p.sleep(0.05 + len(" ".join(p.argv)) % 17 / 40)
    return 0


@program("day-caller")
async def caller(p: Process) -> int:
    """A client of the API server: kubectl."""
    p.close(await p.connect("kubernetes.default.svc.cluster.local", 443))
    if "exec" in p.argv:
        await ended.wait()
    await p.sleep(0.08)
    return 0


ended = asyncio.Event()
"""The session of the pod's `kubectl exec` has ended."""


def begin_anew() -> None:
    """Forgets the processes of an earlier run."""
    global ended
    _services.clear()
    ended = asyncio.Event()


@program("day-daemon")
async def daemon(p: Process) -> int:
    """Goes on until it is killed."""
    await p.sleep(1e6)
    return 0


@program("day-ssh")
async def ssh(p: Process) -> int:
    p.close(await p.connect("ssh.github.com", 443))
    await p.sleep(1.4)
    return 0


@program("day-git")
async def git(p: Process) -> int:
    """`git clone ssh://user@host:port/path`: starts ssh."""
    url = urlsplit(next(word for word in p.argv if word.startswith("ssh://")))
    command = f"git-upload-pack '{url.path}'"
    argv = ["/usr/bin/ssh", "-o", "SendEnv=GIT_PROTOCOL", "-p", str(url.port), f"git@{url.hostname}", command]
    return await p.wait(p.spawn(argv))


@program("day-go")
async def go(p: Process) -> int:
    """`go test ./PACKAGE`: builds a program and runs it."""
    name = p.argv[-1].removeprefix("./").removesuffix("/...")
    folder = f"/tmp/go-build{int(hex_id(8, p.env['HOSTNAME']), 16)}/b001"
    p.mkdir(folder.rpartition("/")[0])
    p.mkdir(folder)
    path = f"{folder}/{name}.test"
    p.write_bytes(path, elf("day-quiet"), 0o755)
    await p.sleep(6.5)
    argv = [path, f"-test.testlogfile={folder}/testlog.txt", "-test.paniconexit0", "-test.timeout=10m0s"]
    return await p.wait(p.spawn(argv, cwd=f"/workspace/{name}"))


@program("day-strace")
async def strace(p: Process) -> int:
    await p.sleep(0.02)
    p.ptrace("PTRACE_SEIZE", int(p.argv[p.argv.index("-p") + 1]))
    await p.sleep(25)
    return 0


@program("day-tcpdump")
async def tcpdump(p: Process) -> int:
    p.close(p.socket("AF_PACKET", 3, 768))
    await p.sleep(20)
    return 0


class Accepted(Socket):
    """A connection as the server has it."""

    @property
    def client(self) -> tuple[str, int] | None:
        return self.remote

    @property
    def server(self) -> tuple[str, int] | None:
        return self.local

    def write(self, data: bytes, now: int) -> int:
        return len(data)


def accepted(p: Process, client: tuple[str, int], port: int) -> int:
    """The descriptor of a connection that a client has made."""
    socket = Accepted()
    socket.local, socket.remote = (p.ip, port), client
    socket.name = f"{client[0]}:{client[1]}->{p.ip}:{port}"
    return p.install(socket)


def _debian(*programs: str) -> Layer:
    """Debian with more programs, each as `path:program`."""
    layer = debian_userland("curl", "procps")
    layer.file("/etc/sudoers", "root ALL=(ALL:ALL) ALL\n", 0o440)
    for one in programs:
        path, _, name = one.partition(":")
        layer.program(path, name or path.rpartition("/")[2])
    return layer


def _service(repository: str, tag: str, layer: Layer, *argv: str, workers: str = "", **more: Any) -> Image:
    """`workers` as "5 33:title": how many, as which user, under which title."""
    count, _, worker = workers.partition(" ")
    env = {"WORKERS": count or "0", "WORKER": worker} | more.pop("env", {})
    return Image(repository, (tag,), layer, entrypoint=argv, env=env, **more)


_TRIM = """\
#!/bin/sh
cd /var/log/nginx || exit 1
for log in access_log error_log; do
    cp "$log" "$log.1"
    : > "$log"
done
"""
_NET = ("/usr/bin/curl",)


@cache
def _all() -> tuple[Image, ...]:
    blog = _debian(*_NET, "/usr/sbin/apache2:day-service", "/usr/bin/convert:day-quiet")
    blog.directory("/var/www/html/wp-content/uploads/2026/03", uid=33, gid=33)
    blog.directory("/var/www/html/wp-content/plugins/slide-show/img")
    blog.file("/var/www/html/wp-config.php", "<?php define('DB_NAME', 'blog');\n", 0o640, uid=33, gid=33)
    blog.file("/etc/apache2/envvars", "export APACHE_RUN_USER=www-data\n")
    blog.file("/var/log/php_errors.log", "x" * 300, 0o640, uid=33, gid=33)
    catalog = _debian("/usr/local/bin/python3.12:day-service").user("app", 1000, 1000, "/app")
    catalog.file("/usr/local/bin/gunicorn", "#!/usr/local/bin/python3.12\n", 0o755).directory("/app/static/img")
    postgres = _debian("/usr/lib/postgresql/16/bin/postgres:day-service").user(
        "postgres", 999, 999, "/var/lib/postgresql"
    )
    postgres.directory("/var/lib/postgresql/data/pg_wal", uid=999, gid=999)
    postgres.directory("/archive", 0o777)
    checks = _debian("/usr/sbin/xinetd:day-service", "/usr/local/bin/check-replica:day-quiet")
    node = _debian("/usr/local/bin/node:day-service").user("node", 1000, 1000, "/home/node")
    node.directory("/home/node/.cache/puppeteer/chrome/linux-131.0.6778.204/chrome-linux64", uid=1000, gid=1000)
    builder = _debian(
        "/usr/bin/git:day-git", "/usr/bin/ssh:day-ssh", "/usr/local/go/bin/go:day-go", "/usr/bin/make:day-service"
    )
    builder.symlink("/usr/local/bin/go", "/usr/local/go/bin/go")
    for package in ("orders", "cart", "search", "payments", "stock"):
        builder.directory(f"/workspace/{package}")
        builder.file(f"/workspace/{package}/config.go", "package config\n")
    scanner = _debian("/usr/local/bin/secret-scanner:day-service")
    web = _debian("/usr/sbin/nginx:day-service", *_NET)
    web.user("nginx", 101, 101).directory("/var/log/nginx")
    for file in ("access_log", "error_log"):
        web.file(f"/var/log/nginx/{file}", "x" * 2000, uid=101, gid=101)
    web.file("/usr/local/bin/trim-logs", _TRIM, 0o755)
    sync = _debian(*_NET, "/usr/local/bin/config-sync:day-service")
    sync.file("/var/log/config-sync.log", "x" * 500)
    redis = _debian("/usr/local/bin/redis-server:day-service").user("redis", 999, 999)
    java = _debian("/opt/java/openjdk/bin/java:day-service", *_NET).user("app", 10001, 10001, "/app")
    shopping = _debian("/usr/local/bin/node:day-service", *_NET).user("node", 1000, 1000, "/home/node")
    tools = _debian(*_NET, "/usr/local/bin/kubectl:day-caller", "/usr/bin/tcpdump:day-tcpdump")
    apache = ("apache2", "-DFOREGROUND")
    return (
        _service(f"{ECR}/shop/blog", "6.4.3", blog, *apache, workers="5 33", workdir="/var/www/html"),
        _service(
            f"{ECR}/shop/catalog",
            "2.18.0",
            catalog,
            *("gunicorn", "--workers=3", "--bind=0.0.0.0:8000", "catalog.wsgi"),
            workers="3",
            user="app",
            workdir="/app",
        ),
        *(
            _service(f"{ECR}/shop/web", tag, web, "nginx", "-g", "daemon off;", workers="2 101:nginx: worker process")
            for tag in ("3.12.0", "3.12.1")
        ),
        _service(f"{ECR}/shop/cart", "1.41.2", shopping, "node", "server.js", user="node", workdir="/home/node"),
        _service(
            "docker.io/library/nginx",
            "1.29.3",
            web,
            "nginx",
            "-g",
            "daemon off;",
            workers="2 101:nginx: worker process",
        ),
        _service(f"{ECR}/shop/search", "3.0.4", java, "/opt/java/openjdk/bin/java", "-jar", "app.jar", user="app"),
        _service(f"{ECR}/shop/mailer", "1.7.0", shopping, "node", "mailer.js", workdir="/home/node"),
        _service(f"{ECR}/shop/payments", "5.2.0", java, "/opt/java/openjdk/bin/java", "-jar", "app.jar", user="app"),
        _service(
            "docker.io/library/postgres",
            "16.4",
            postgres,
            "postgres",
            workers="1 999:postgres: archiver ",
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/16/bin"},
            user="postgres",
            workdir="/var/lib/postgresql/data",
        ),
        _service("docker.io/library/redis", "7.4.1", redis, "redis-server", "*:6379", user="redis"),
        _service(f"{ECR}/data/replica-check", "1.3.0", checks, "/usr/sbin/xinetd", "-dontfork"),
        _service(f"{ECR}/reports/renderer", "0.9.7", node, "node", "worker.js", user="node", workdir="/home/node"),
        _service(f"{ECR}/ci/builder", "2026.03", builder, "make", "-C", "/workspace", "ci", workdir="/workspace"),
        _service(f"{ECR}/security/secret-scanner", "4.0.2", scanner, "secret-scanner", "--every=4h"),
        _service(
            f"{ECR}/platform/config-sync",
            "1.8.0",
            sync,
            *("config-sync", "--interval=90s", "--selector=sync=true"),
        ),
        Image(f"{ECR}/platform/kubectl", ("1.35.1",), tools, entrypoint=("kubectl",)),
        _service(f"{ECR}/platform/toolbox", "2.0.1", _toolbox(tools), "sleep", "infinity"),
    )


def _toolbox(tools: Layer) -> Layer:
    layer = tools.copy()
    return layer.program("/usr/bin/sleep", "day-service")


def all_of_them() -> tuple[Image, ...]:
    """Every image that pods of the cluster run."""
    return _all()
