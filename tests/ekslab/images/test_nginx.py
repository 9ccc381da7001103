"""The nginx image: its files, its processes, its web server."""

from __future__ import annotations

from typing import Any

import pytest

from ekslab.http import HttpRequest


async def get(lab: Any, container: Any, path: str, port: int = 80) -> Any:
    url = f"http://{container.spec.pod_ip}:{port}{path}"
    return await lab.network.http(HttpRequest("GET", url, {"User-Agent": "t"}))


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


BROKEN = """nginx: [emerg] unknown directive "garbage" in /etc/nginx/nginx.conf:1
nginx: configuration file /etc/nginx/nginx.conf test failed
"""


async def test_a_broken_configuration_fails_its_test_and_changes_nothing(lab: Any) -> None:
    nginx = await lab.nginx()
    await lab.ready(nginx, "start worker process ")
    code, text = await lab.exec(nginx, "nginx", "-t")
    assert (code, "test is successful" in text, "embedded lab" in text) == (0, True, False)
    await lab.exec(nginx, "sh", "-c", "sed -i '1i garbage on;' /etc/nginx/nginx.conf")
    code, text = await lab.exec(nginx, "nginx", "-t")
    assert code == 1
    assert text.split("\n", 1)[1] == BROKEN
    assert "[emerg] " in text.split("\n")[0]
    code, text = await lab.exec(nginx, "nginx", "-s", "reload")
    assert code == 1
    await lab.exec(nginx, "bash", "-c", "kill -HUP 1")
    await lab.ready(nginx, "[emerg] 1#1: unknown directive")
    assert (await get(lab, nginx, "/")).status == 200


async def test_it_says_what_the_lab_does_not_act_on(lab: Any) -> None:
    nginx = await lab.nginx()
    await lab.ready(nginx, "start worker process ")
    await lab.exec(nginx, "sh", "-c", "echo 'gzip on; proxy_buffering off;' > /etc/nginx/conf.d/more.conf")
    code, text = await lab.exec(nginx, "nginx", "-t")
    assert code == 0
    assert "doesn't act on these directives: gzip, proxy_buffering\n" in text
    _, text = await lab.exec(nginx, "nginx", "-T")
    assert "# configuration file /etc/nginx/conf.d/more.conf:\ngzip on;" in text


async def test_reload_moves_the_server_to_another_port(lab: Any) -> None:
    nginx = await lab.nginx()
    await lab.ready(nginx, "start worker process ")
    await lab.exec(nginx, "sed", "-i", "s/listen 80/listen 8080/", "/etc/nginx/conf.d/default.conf")
    await lab.exec(nginx, "sh", "-c", "echo 'server { listen 81; root /etc/nginx; }' > /etc/nginx/conf.d/b.conf")
    before = await lab.exec(nginx, "sh", "-c", "echo /proc/[0-9]*")
    code, text = await lab.exec(nginx, "nginx", "-s", "reload")
    assert (code, "signal process started" in text) == (0, True)
    await lab.until(lambda: sum("exited with code 0" in line for line in lab.log(nginx)) == 2)
    assert (await get(lab, nginx, "/", 8080)).status == 200
    assert b"listen 81" in (await get(lab, nginx, "/conf.d/b.conf", 81)).body
    with pytest.raises(ConnectionRefusedError):
        await get(lab, nginx, "/")
    assert (await _owners(lab, nginx)).count("nginx") == 2
    assert await lab.exec(nginx, "sh", "-c", "echo /proc/[0-9]*") != before
    log = "\n".join(lab.log(nginx))
    assert "signal 1 (SIGHUP) received, reconfiguring" in log
    assert "gracefully shutting down" in log


async def test_a_container_with_a_broken_configuration_ends(lab: Any) -> None:
    script = "echo 'events {' > /etc/nginx/nginx.conf; exec /docker-entrypoint.sh nginx -g 'daemon off;'"
    nginx = await lab.start(
        "nginx", "docker.io/library/nginx:1.29.3", namespace="default", command=["sh", "-c", script]
    )
    await lab.until(lambda: nginx.state == "exited")
    assert nginx.exit_code == 1
    end = 'nginx: [emerg] unexpected end of file, expecting "}" in /etc/nginx/nginx.conf:2'
    assert end in lab.log(nginx)


async def test_logs_are_files_once_their_links_are_gone(lab: Any) -> None:
    nginx = await lab.nginx()
    await lab.ready(nginx, "start worker process ")
    await lab.exec(nginx, "sh", "-c", "rm /var/log/nginx/access.log; nginx -s reopen")
    await lab.ready(nginx, "reopening logs")
    await get(lab, nginx, "/in-the-file")
    _, text = await lab.exec(
        nginx, "sh", "-c", "stat -c '%U %F' /var/log/nginx/access.log; cat /var/log/nginx/access.log"
    )
    assert text.startswith("nginx regular")
    assert "GET /in-the-file HTTP/1.1" in text
    assert not any("/in-the-file" in line for line in lab.log(nginx))


async def test_a_log_that_leaves_the_node_is_waited_for(lab: Any) -> None:
    nginx = await lab.nginx()
    await lab.ready(nginx, "start worker process ")
    code, text = await lab.exec(nginx, "timeout", "1", "cat", "/var/log/nginx/access.log")
    assert (code, text) == (124, "")


async def test_headers_come_in_nginx_order_from_the_file_and_the_clock(lab: Any) -> None:
    nginx = await lab.nginx()
    await lab.ready(nginx, "start worker process ")
    page = await get(lab, nginx, "/")
    order = "Server Date Content-Type Content-Length Last-Modified Connection ETag Accept-Ranges"
    assert list(page.headers) == order.split()
    _, seconds = await lab.exec(nginx, "stat", "-c", "%Y", "/usr/share/nginx/html/index.html")
    assert page.headers["ETag"] == f'"{int(seconds):x}-{len(page.body):x}"'
    assert page.headers["Content-Type"] == "text/html"
    assert page.headers["Connection"] == "keep-alive"
    missing = await get(lab, nginx, "/nope.html")
    assert list(missing.headers) == ["Server", "Date", "Content-Type", "Content-Length", "Connection"]
    await lab.exec(nginx, "sh", "-c", "mkdir /usr/share/nginx/html/d; echo '{}' > /usr/share/nginx/html/a.json")
    assert (await get(lab, nginx, "/a.json")).headers["Content-Type"] == "application/json"
    moved = await get(lab, nginx, "/d")
    assert (moved.status, moved.headers["Location"][-3:]) == (301, "/d/")
    assert (await get(lab, nginx, "/d/")).status == 403
