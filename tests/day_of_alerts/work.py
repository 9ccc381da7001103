"""What is normal in the cluster: programs that poll, checks, builds, deploys, scans, and people who look into pods."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress

from ekslab import names
from ekslab.node import Process, elf
from tests.day_of_alerts.cluster import API_SERVER, Cluster, Pod, minute
from tests.day_of_alerts.images import ECR, accepted

BEFORE = -26 * 3600.0
"""When the first pod was started, in seconds before the day."""


class Work:
    """The pods of the cluster, and its ordinary day."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    async def start(self) -> None:
        """Starts the pods, the day before."""
        deploy = self.cluster.deployment
        self.blog = await deploy("shop", "blog", f"{ECR}/shop/blog:6.4.3", 3)
        self.sync = await deploy("platform", "config-sync", f"{ECR}/platform/config-sync:1.8.0", 2)
        self.web = await deploy("shop", "web", f"{ECR}/shop/web:3.12.0", 4)
        self.catalog = await deploy("shop", "catalog", f"{ECR}/shop/catalog:2.18.0", 3)
        self.cart = await deploy("shop", "cart", f"{ECR}/shop/cart:1.41.2", 3)
        self.payments = await deploy("shop", "payments", f"{ECR}/shop/payments:5.2.0", 2)
        self.renderer = await deploy("reports", "renderer", f"{ECR}/reports/renderer:0.9.7", 2)
        self.checks = await deploy("data", "replica-check", f"{ECR}/data/replica-check:1.3.0", 2)
        pod = self.cluster.pod
        self.databases = [await pod("data", f"orders-db-{n}", "docker.io/library/postgres:16.4") for n in range(3)]
        self.caches = [await pod("data", f"sessions-{n}", "docker.io/library/redis:7.4.1") for n in range(3)]
        self.ingress = await deploy("ingress", "ingress", "docker.io/library/nginx:1.29.3", 2)
        self.search = await deploy("shop", "search", f"{ECR}/shop/search:3.0.4", 3)
        self.mailer = await deploy("shop", "mailer", f"{ECR}/shop/mailer:1.7.0", 2)
        self.toolbox = (await deploy("platform", "toolbox", f"{ECR}/platform/toolbox:2.0.1", 1))[0]
        self.scanners = [
            await pod(
                "security",
                f"secret-scanner-{names.suffix(5, 'scanner', node)}",
                f"{ECR}/security/secret-scanner:4.0.2",
                node=node,
            )
            for node in self.cluster.nodes
        ]

    def begin(self) -> None:
        """Everything that goes on for the day."""
        begin = self.cluster.begin
        for number, pod in enumerate(self.sync):
            begin(self._polls(pod, number * 37.0))
        for number, pod in enumerate(self.databases[:1]):
            begin(self._archives(pod, number * 60.0))
        for pod in self.blog:
            begin(self._pictures(pod))
        for number, pod in enumerate(self.checks):
            begin(self._replica_check(pod, number * 300.0))
        for pod in self.catalog:
            begin(self._bots(pod))
        for pod in self.scanners:
            begin(self._scans(pod))
        begin(self._account_checks())
        begin(self._janitor())
        begin(self._trims_logs())
        begin(self._reports())
        begin(self._builds())
        begin(self._deploys())

    # -- programs

    async def _polls(self, pod: Pod, offset: float) -> None:
        """The cluster's noisiest program: asks the API server all day, each time by a new connection."""
        own = self.cluster.numbers("polls", pod.name)

        async def ask(p: Process) -> None:
            p.close(await p.connect(API_SERVER, 443))

        await self.cluster.until(offset / 3600 - 0.7 + own.uniform(0, 0.02))
        while True:
            await pod.do(ask)
            await asyncio.sleep(90 + own.uniform(-2.5, 2.5))

    async def _archives(self, pod: Pod, offset: float) -> None:
        """A database that archives its write-ahead log, by a shell."""
        own = self.cluster.numbers("archives", pod.name)
        await self.cluster.until(offset / 3600 - 0.7 + own.uniform(0, 0.02))
        segment = 0x2A41
        while True:
            hour = asyncio.get_running_loop().time() / 3600
            busy = 7 < hour < 22
            await asyncio.sleep(own.uniform(200, 420) if busy else own.uniform(600, 900))
            name = f"00000001000000{segment >> 8:02X}000000{segment & 0xFF:02X}"
            segment += 1

            async def create(p: Process, name: str = name) -> None:
                p.write_bytes(f"pg_wal/{name}", b"wal")

            await pod.do(create, 1)
            await pod.run("sh", "-c", f"test ! -f /archive/{name} && cp pg_wal/{name} /archive/{name}", worker=1)

    async def _pictures(self, pod: Pod) -> None:
        """The blog's editors upload pictures, which PHP has resized by a shell. Nightly, it makes a few anew."""
        own = self.cluster.numbers("pictures", pod.name)
        number = own.randrange(1200, 3000)
        while True:
            hour = asyncio.get_running_loop().time() / 3600
            if hour < 7 or hour > 22:
                await asyncio.sleep(own.uniform(1200, 3400))
            else:
                await asyncio.sleep(own.expovariate(1 / 1500))
            worker = own.randrange(1, 6)
            temporary = f"/tmp/php{''.join(own.choices('abcdefghijKLMNOPQRSTuvwxyz0123456789', k=6))}"
            for width, height in own.choice((((1024, 683), (300, 200)), ((768, 512),), ((1536, 1024),))):
                target = f"wp-content/uploads/2026/03/IMG_{number}-{width}x{height}.jpg"
                command = f"convert '{temporary}' -auto-orient -resize {width}x{height} '{target}'"
                await pod.run("sh", "-c", command, worker=worker)
            number += own.randrange(1, 4)

    async def _replica_check(self, pod: Pod, offset: float) -> None:
        """A monitor connects to a port at which xinetd starts a check, with the connection as its input and output."""
        own = self.cluster.numbers("checks", pod.name)
        await self.cluster.until(offset / 3600 - 0.7 + own.uniform(0, 0.02))
        while True:

            async def check(p: Process) -> None:
                client = ("10.0.3.9", own.randrange(32768, 61000))

                async def serve(child: Process) -> int:
                    fd = accepted(child, client, 9200)
                    for standard in (0, 1, 2):
                        child.dup2(fd, standard)
                    child.close(fd)
                    return int(await child.exec(["/usr/local/bin/check-replica", "--max-lag=30"]))

                await p.wait(p.fork(serve))

            await pod.do(check)
            await asyncio.sleep(2400 + own.uniform(-3, 3))

    async def _bots(self, pod: Pod) -> None:
        """The internet tries paths; the catalogue opens what it is asked for, and may not read it."""
        own = self.cluster.numbers("bots", pod.name)
        files = ("shadow", "my.cnf", "mysql/my.cnf", "httpd/conf/httpd.conf", "nginx/nginx.conf", "proftpd.conf")
        while True:
            await asyncio.sleep(own.expovariate(1 / 11_000))
            for file in own.sample(files, own.randrange(1, 5)):
                up = "../" * own.randrange(4, 9)

                async def answer(p: Process, path: str = f"/app/static/img/{up}etc/{file}") -> None:
                    with suppress(OSError):
                        p.close(p.open(path))

                await pod.do(answer, own.randrange(1, 4))
                await asyncio.sleep(own.uniform(0.3, 2.4))

    # -- schedules

    async def _scans(self, pod: Pod) -> None:
        """Looks for secrets that were left in images, every four hours."""
        own = self.cluster.numbers("scans", pod.name)
        for hour in range(1, 24, 4):
            await self.cluster.until(hour + 0.05 + own.uniform(0, 0.1))
            await pod.run("find", "/", "-xdev", "-name", "id_rsa", "-o", "-name", "id_ed25519")
            await self.cluster.pause(3)
            await pod.run("grep", "-rlsE", "BEGIN (RSA|OPENSSH) PRIVATE|BEGIN PRIVATE", "/opt", "/srv", "/home")
            await self.cluster.pause(3)
            await pod.run("grep", "-rlsi", "aws_secret_access_key", "/opt", "/srv", "/home")

    async def _account_checks(self) -> None:
        """An audit that looks for accounts without a password in every pod, four times a day."""
        for hour in (0.66, 6.66, 12.66, 18.66):
            await self.cluster.until(hour)
            for pod in self._audited():
                if pod.container.state == "running":
                    await pod.exec("grep", "-c", "^[^:]*::", "/etc/shadow")
                    await self.cluster.pause(2.5)

    def _audited(self) -> Iterator[Pod]:
        yield from (*self.web, *self.blog, *self.catalog, *self.cart, *self.search, *self.mailer, *self.ingress)
        yield from (*self.databases, *self.caches, *self.sync)

    async def _janitor(self) -> None:
        """A cron job that deletes finished jobs."""
        own = self.cluster.numbers("janitor")
        for number in range(48):
            await self.cluster.until(number / 2 + own.uniform(0.0003, 0.002))
            await self._one_off(
                "platform",
                f"job-janitor-{minute(number / 2)}",
                "kubectl:1.35.1",
                ("kubectl", "delete", "jobs", "--field-selector=status.successful=1", "-A"),
            )

    async def _one_off(self, namespace: str, name: str, image: str, args: Sequence[str]) -> None:
        suffix = names.suffix(5, namespace, name)
        pod = await self.cluster.pod(
            namespace, f"{name}-{suffix}", f"{ECR}/platform/{image}", container=name.partition("-")[0], command=args
        )
        await pod.container.wait()
        await self.cluster.end(pod)

    async def _trims_logs(self) -> None:
        """A nightly job empties the web servers' logs."""
        for hour in (2.25, 14.25):
            await self.cluster.until(hour)
            for pod in self.web:
                await pod.exec("sh", "/usr/local/bin/trim-logs")
                await self.cluster.pause(4)

    async def _reports(self) -> None:
        """The renderer uses a browser that it has downloaded itself."""
        own = self.cluster.numbers("reports")
        chrome = "/home/node/.cache/puppeteer/chrome/linux-131.0.6778.204/chrome-linux64/chrome"

        async def download(p: Process) -> None:
            p.write_bytes(chrome, elf("day-quiet"), 0o755)

        for pod in self.renderer:
            await pod.do(download)
        for hour, number in ((5.5, 0), (5.51, 1), (9.21, 0), (13.35, 1), (13.62, 0), (16.74, 1), (20.05, 0)):
            await self.cluster.until(hour + own.uniform(0, 0.01))
            profile = f"--user-data-dir=/tmp/puppeteer_dev_chrome_profile-{names.suffix(6, hour)}"
            await self.renderer[number].run(chrome, "--headless=new", "--no-first-run", profile, "about:blank")

    # -- builds and deploys

    async def _builds(self) -> None:
        own = self.cluster.numbers("builds")
        hours = [own.triangular(7.3, 19.2, 14.0) for _ in range(40)] + [3.1, 3.28, 3.45, 3.62]
        for number, hour in enumerate(sorted(hours)):
            await self.cluster.until(hour)
            self.cluster.begin(self._build(4711 + number))
        await self.cluster.until(23)

    async def _build(self, number: int) -> None:
        own = self.cluster.numbers("build", number)
        package = own.choice(("orders", "cart", "search", "payments", "stock"))
        pod = await self.cluster.job("ci", f"build-{package}-{number}", f"{ECR}/ci/builder:2026.03")
        await pod.run("git", "clone", "--depth=1", f"ssh://git@ssh.github.com:443/acme/{package}.git")
        await self.cluster.pause(9)
        await pod.run("grep", "-rnE", "aws_secret_access_key|aws_access_key_id", f"/workspace/{package}")
        await self.cluster.pause(30)
        await pod.run("go", "test", f"./{package}/...")
        if own.random() < 0.2:
            await self.cluster.pause(20)

            async def key(p: Process) -> None:
                p.write_bytes("/tmp/signing.key", b"-")

            await pod.do(key)
            await pod.run("shred", "-u", "/tmp/signing.key")
        await self.cluster.pause(10)
        await self.cluster.end(pod)

    async def _deploys(self) -> None:
        for hour, name in ((8.9, "catalog"), (10.2, "web"), (11.6, "cart"), (12.4, "cart"), (15.4, "payments")):
            await self.cluster.until(hour)
            steps = f"kubectl -n shop apply -f {name}.yaml && kubectl -n shop rollout status deploy/{name} --timeout=5m"
            await self._one_off("ci", f"deploy-{name}-{4690 + int(hour * 4)}", "toolbox:2.0.1", ("sh", "-c", steps))
            if name == "web":
                old = self.web
                self.web = await self.cluster.deployment("shop", "web", f"{ECR}/shop/web:3.12.1", 4, revision=2)
                await self.cluster.end(*old)
