"""Names, servers and connections, and the events that they make."""

from __future__ import annotations

import socket

import pytest

from ekslab.http import HttpRequest, HttpResponse
from ekslab.node import Network


async def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse(200, {"Content-Type": "text/plain"}, f"hello {request.method} {request.url}\n".encode())


async def test_hosts_are_served_by_pattern():
    network = Network()
    stop = network.serve("*.amazonaws.com", hello)
    response = await network.http(HttpRequest("GET", "https://logs.us-east-1.amazonaws.com/x"))
    assert response.body == b"hello GET https://logs.us-east-1.amazonaws.com/x\n"
    with pytest.raises(socket.gaierror, match="Name or service not known"):
        await network.http(HttpRequest("GET", "https://example.com/"))
    stop()
    with pytest.raises(socket.gaierror, match="Name or service not known"):
        network.resolve("logs.us-east-1.amazonaws.com")


async def test_services_have_names_in_pods(pod):
    network = pod.node.network
    network.serve("web.shop.svc.cluster.local", hello, ip="10.100.7.7")
    assert network.name_of("10.100.7.7") == "web.shop.svc.cluster.local"
    for name in ("web", "web.shop", "web.shop.svc.cluster.local", "10.100.7.7"):
        result = await pod.sh(f"curl -s http://{name}/p")
        assert result.out == f"hello GET http://{name}/p\n"
    event = pod.seen("connect", proc_name="curl")[-1]
    assert (event["fd.sip"], event["fd.sport"], event["fd.l4proto"]) == ("10.100.7.7", 80, "tcp")
    assert event["fd.sip.name"] == "web.shop.svc.cluster.local"
    assert event["fd.cip"] == "10.88.0.2"


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("curl -s http://nowhere.invalid/", 6, ""),
        ("curl http://nowhere.invalid/", 6, "curl: (6) Could not resolve host: nowhere.invalid"),
        ("curl ftp://x/", 1, 'curl: (1) Protocol "ftp" not supported or disabled in libcurl'),
        ("curl -m 0.05 -s -S http://203.0.113.9/", 28, "curl: (28) Connection timed out"),
        ("curl -s -S http://10.88.0.1:81/", 7, "curl: (7) Failed to connect to 10.88.0.1 port 81"),
        ("wget -q http://nowhere.invalid/", 4, ""),
        ("nc -z -w1 10.88.0.1 8000", 0, ""),
        ("nc -zv 10.88.0.1 81", 1, "nc: connect to 10.88.0.1 port 81 (tcp) failed: Connection refused"),
    ],
)
async def test_clients_say_what_went_wrong(pod, command, code, message):
    result = await pod.sh(command)
    assert result.code == code
    assert result.err.startswith(message)


async def test_what_was_fetched_is_written(pod):
    pod.node.network.listen("10.88.0.9", 80, hello)
    await pod.sh(
        "cd /tmp; curl -s http://10.88.0.9/a -o one; curl -sO http://10.88.0.9/two; wget -q http://10.88.0.9/three"
    )
    assert (await pod.sh("cd /tmp; ls; cat two")).out == "one\nthree\ntwo\nhello GET http://10.88.0.9/two\n"
    assert (await pod.sh("curl -s -o /dev/null -w '%{http_code}' http://10.88.0.9/")).out == "200"


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ("-d @/tmp/f -d a=b", b"POST /p onetwo&a=b"),
        ("--data-binary @/tmp/f", b"POST /p one\ntwo\n"),
        ("--data-raw @/tmp/f", b"POST /p @/tmp/f"),
        ("--data-urlencode 'q=a b&c' --data-urlencode n@/tmp/f", b"POST /p q=a%20b%26c&n=one%0Atwo%0A"),
        ("-G -d a=b --data-urlencode c=/", b"GET /p?a=b&c=%2F "),
        ("--compressed", b"GET /p "),
    ],
)
async def test_curl_sends_data(pod, options, sent):
    async def told(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, {}, f"{request.method} /{request.url.split('/')[-1]} ".encode() + request.body)

    pod.node.network.listen("10.88.0.9", 80, told)
    result = await pod.sh(f"printf 'one\\ntwo\\n' > /tmp/f; curl -s {options} 10.88.0.9/p")
    assert result.out == sent.decode()


async def test_curl_follows_so_many_redirects_and_dumps_headers(pod):
    async def elsewhere(request: HttpRequest) -> HttpResponse:
        return HttpResponse(302, {"Location": "/again"}, b"")

    pod.node.network.listen("10.88.0.9", 80, elsewhere)
    result = await pod.sh("curl -sS -L --max-redirs 3 -D - -w '%{num_redirects} %{url_effective}' 10.88.0.9")
    assert (result.code, result.err) == (47, "curl: (47) Maximum (3) redirects followed\n")
    assert result.out == "HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n3 http://10.88.0.9/again"


async def test_curl_writes_out_after_a_failure_too(pod):
    result = await pod.sh("curl -s -w '%{http_code} %{exitcode}%{nope}%{local_ip}' 10.88.0.1:81")
    assert (result.code, result.out) == (7, "000 7")
    assert result.err == (
        "curl: unknown --write-out variable: 'nope'\n"
        "curl: the --write-out variable 'local_ip' is not simulated in this lab\n"
    )


async def test_a_connection_can_be_spoken_to_by_hand(pod):
    pod.node.network.listen("10.88.0.9", 80, hello)
    request = "GET /raw HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n"
    by_nc = await pod.sh(f"printf '{request}' | nc 10.88.0.9 80")
    by_bash = await pod.bash(f"exec 3<>/dev/tcp/10.88.0.9/80; printf '{request}' >&3; cat <&3")
    for result in (by_nc, by_bash):
        assert result.out.startswith("HTTP/1.1 200 OK\r\n")
        assert result.out.endswith("hello GET http://h/raw\n")
    assert "Connection refused" in (await pod.bash("exec 3<>/dev/tcp/10.88.0.9/81")).err


async def test_a_program_can_listen_at_its_pods_address(pod, start):
    stop = pod.first.listen(8080, hello)
    other = await start(pod_name="b", pod_uid="b", sandbox_id="b" * 64, pod_ip="10.88.0.3")
    assert (await other.sh("curl -s http://10.88.0.2:8080/")).out.startswith("hello")
    assert (await pod.sh("curl -s http://localhost:8080/")).out.startswith("hello")
    with pytest.raises(OSError, match="Address already in use"):
        pod.first.listen(8080, hello)
    stop()
    assert (await other.sh("curl -s http://10.88.0.2:8080/")).code == 7
