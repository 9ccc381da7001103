"""Colleagues who look into pods, in working hours and once at night."""

from __future__ import annotations

from collections.abc import Sequence

from ekslab.http import HttpRequest, HttpResponse
from ekslab.node import elf
from tests.day_of_alerts.cluster import API_SERVER, Pod
from tests.day_of_alerts.work import Work

_KUBECTL = (
    "kubectl get pods -n shop",
    "kubectl describe deploy/web -n shop",
    "kubectl logs -n data orders-db-0 --tail=50",
    "kubectl get events -n shop --sort-by=.lastTimestamp",
    "kubectl top pods -n data",
)


class People:
    """Who looks into which pod, when, and what they type there."""

    def __init__(self, work: Work) -> None:
        self.cluster, self.work = work.cluster, work
        self.cluster.network.serve("artifacts.acme.internal", _artifacts, ip="10.0.3.20")

    def begin(self) -> None:
        work, health = self.work, "curl -s http://localhost:8080/health"
        self._later(2.37, lambda: work.payments[1], ("bash",), self._night())
        self._later(
            8.36, lambda: work.web[1], ("bash",), ("ls -l /var/log/nginx", "tail -n 20 /var/log/nginx/error_log")
        )
        self._later(9.13, lambda: work.payments[0], ("bash",), ("ps aux", health))
        api = f"curl -sk https://{API_SERVER}/readyz"
        self._later(9.71, lambda: work.sync[0], ("sh",), ("tail /var/log/config-sync.log", api, "ps aux"))
        self._later(10.42, lambda: work.web[3], ("bash",), ("ps aux", "curl -sI http://localhost/"))
        self._later(10.93, lambda: work.databases[0], ("bash",), ("ls pg_wal | tail -n 3", "df -h /archive"))
        sniff = "tcpdump -i eth0 -c 200 port 5432"
        self._later(11.31, lambda: work.toolbox, ("bash",), (*_KUBECTL, sniff, *_KUBECTL[:2]))
        self._later(11.84, lambda: work.blog[0], ("bash",), ("ls wp-content/uploads/2026/03 | wc -l", "df -h"))
        self._later(13.33, lambda: work.blog[2], ("bash",), self._audit())
        self._later(13.78, lambda: work.toolbox, ("bash",), (*_KUBECTL[1:4], *self._load_test(), _KUBECTL[4]))
        self._later(14.72, lambda: work.renderer[0], ("sh",), ("ls -la .cache/puppeteer", "free -m"))
        self._later(15.52, lambda: work.payments[1], ("bash",), (health, "env | sort"))
        self._later(16.12, lambda: work.cart[0], ("bash",), ("ls", "cat package.json"))
        self._later(16.91, lambda: work.toolbox, ("bash",), (*_KUBECTL, *self._load_test()))
        self._later(17.43, lambda: work.web[0], ("bash",), ("tail -n 5 /var/log/nginx/access_log",))

    def _later(self, hour: float, pod: object, argv: Sequence[str], lines: Sequence[str]) -> None:
        async def session() -> None:
            await self.cluster.until(hour + self.cluster.random.uniform(-0.01, 0.01))
            there: Pod = pod()  # type: ignore[operator]
            with there.terminal(*argv) as keys:
                for line in lines:
                    await keys.line(line, 21)
                await keys.line("exit", 45)

        self.cluster.begin(session())

    def _night(self) -> tuple[str, ...]:
        """On call: a program hangs, and the image has nothing to look at it with."""
        fetch = "curl -sLo /tmp/strace http://artifacts.acme.internal/tools/strace"
        return ("ps aux", "cat /proc/1/status", fetch, "chmod +x /tmp/strace", "/tmp/strace -f -p 1", "rm /tmp/strace")

    def _audit(self) -> tuple[str, ...]:
        """Did we leave keys in the blog's image?"""
        return (
            "grep -rnE 'AWS_SECRET_ACCESS_KEY|AWS_ACCESS_KEY_ID' wp-config.php wp-content/plugins",
            "find / -xdev -name id_rsa -o -name id_ed25519",
            "ls -la /root",
        )

    def _load_test(self) -> tuple[str, ...]:
        get = "curl -so /dev/shm/loadtest.sh http://artifacts.acme.internal/tools/loadtest.sh"
        return (get, "sh /dev/shm/loadtest.sh --rate 20 --target http://web.shop")


async def _artifacts(request: HttpRequest) -> HttpResponse:
    body = b"#!/bin/sh\nexit 0\n" if request.url.endswith(".sh") else elf("day-strace")
    return HttpResponse(200, {"Content-Type": "application/octet-stream"}, body)
