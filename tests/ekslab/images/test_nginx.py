"""The nginx image: its files, its processes, its web server."""

from __future__ import annotations

from typing import Any

from ekslab.http import HttpRequest


async def get(lab: Any, container: Any, path: str) -> Any:
    return await lab.network.http(HttpRequest("GET", f"http://{container.spec.pod_ip}{path}", {"User-Agent": "t"}))


async def test_it_serves_its_page_and_logs_the_request(lab: Any) -> None:
    nginx = await lab.nginx()
    await lab.ready(nginx, "start worker process ")
    response = await get(lab, nginx, "/")
    assert response.status == 200
    assert b"Welcome to nginx!" in response.body
    missing = await get(lab, nginx, "/nope")
    assert missing.status == 404
    log = lab.log(nginx)
    assert any('"GET / HTTP/1.1" 200' in line for line in log)
    assert any('"GET /nope HTTP/1.1" 404' in line for line in log)


async def test_it_does_not_climb_out_of_its_folder(lab: Any) -> None:
    nginx = await lab.nginx()
    await lab.ready(nginx, "start worker process ")
    response = await get(lab, nginx, "/../../../../etc/passwd")
    assert response.status == 404


async def test_workers_run_as_nginx_under_a_root_master(lab: Any) -> None:
    nginx = await lab.nginx()
    await lab.ready(nginx, "start worker process ")
    owners = await _owners(lab, nginx)
    assert owners.count("nginx") == 2
    assert "root" in owners


async def _owners(lab: Any, container: Any) -> list[str]:
    """The owners of the processes named nginx, from /proc: the image has no ps."""
    script = 'for d in /proc/[0-9]*; do [ "$(cat $d/comm)" = nginx ] && stat -c %U $d; done'
    _, text = await lab.exec(container, "sh", "-c", script)
    return str(text).split()


async def test_it_stops_at_once(lab: Any) -> None:
    nginx = await lab.nginx()
    await lab.ready(nginx, "start worker process ")
    await lab.node.runtime.stop(nginx, grace=5.0)
    assert nginx.exit_code == 0


async def test_the_pages_are_files_like_any_other(lab: Any) -> None:
    nginx = await lab.nginx()
    await lab.ready(nginx, "start worker process ")
    await lab.exec(nginx, "sh", "-c", "echo hello > /usr/share/nginx/html/new.html")
    assert (await get(lab, nginx, "/new.html")).body == b"hello\n"


async def test_a_killed_worker_is_replaced(lab: Any) -> None:
    nginx = await lab.nginx()
    await lab.ready(nginx, "start worker process ")
    await lab.exec(nginx, "bash", "-c", "kill -9 -1")
    await lab.exec(nginx, "sleep", "0.3")
    assert (await _owners(lab, nginx)).count("nginx") == 2
    assert (await get(lab, nginx, "/")).status == 200
    await lab.node.runtime.stop(nginx, grace=5.0)
    assert nginx.exit_code == 0


async def test_a_worker_accepts_connections_from_addresses_that_are_logged(lab: Any) -> None:
    """As for `kubectl port-forward`, in which containerd connects from inside the pod."""
    nginx = await lab.nginx()
    await lab.ready(nginx, "start worker process ")
    calls: list[Any] = []
    end = lab.node.kernel.subscribe(calls.append, ("accept4", "connect"))
    connection = await lab.node.runtime.connect(nginx.spec.pod_ip, 80)
    await connection.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
    await connection.write(b"\r\n")
    assert (await connection.read(12)) == b"HTTP/1.1 200"
    connection.close()
    end()
    assert [(call.type, call.process.name) for call in calls] == [("connect", "containerd"), ("accept4", "nginx")]
    connect, accept = calls
    assert connect.container is None
    assert accept.container is nginx
    assert accept.process.uid == 101
    assert accept.file.name == connect.file.name
    assert accept.file.server == connect.file.server == ("127.0.0.1", 80)
    assert accept.file.local == ("127.0.0.1", 80)
    assert any("127.0.0.1 - - [" in line for line in lab.log(nginx))
