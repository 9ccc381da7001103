"""`port-forward` as clients speak it: SPDY in a WebSocket, plain SPDY, and channels of a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import zlib

import aiohttp
import pytest
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward, stream

from ekslab.kubernetes.apiserver.spdy import DICTIONARY, Decoder, SpdyError, StreamData, StreamOpened
from tests.ekslab.kubernetes.spdy import Client, Line, plain

TUNNEL = "SPDY/3.1+portforward.k8s.io"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSE = REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


@pytest.fixture
def pod(core, namespace, pod_manifest, eventually):
    core.create_namespaced_pod(namespace, pod_manifest("web"))
    eventually(lambda: core.read_namespaced_pod("web", namespace).status.phase == "Running")
    return "web"


@pytest.fixture
def path(namespace, pod):
    return f"/api/v1/namespaces/{namespace}/pods/{pod}/portforward"


@contextlib.asynccontextmanager
async def in_a_websocket(running, path):
    headers = {"Authorization": f"Bearer {running.credentials.kubernetes_token}"}
    context = ssl.create_default_context(cafile=str(running.ca))
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(running.url + path, protocols=[TUNNEL], ssl=context) as web_socket,
    ):
        assert web_socket.protocol == TUNNEL

        async def chunks():
            async for message in web_socket:
                yield message.data

        yield Line(Client(), web_socket.send_bytes, chunks())


@pytest.fixture(params=[in_a_websocket, plain])
def line(request, running, path):
    return lambda: request.param(running, path)


def test_a_request_is_answered_and_the_end_is_told_on_both_streams(line):
    async def run():
        async with line() as wire:
            error, data, opening = wire.client.connect(80, 0)
            await wire.send(opening)
            await wire.until(lambda: wire.client.replies == [error, data])
            await wire.send(wire.client.send(data, REQUEST))
            await wire.until(lambda: b"hello from web" in wire.client.data[data])
            await wire.send(wire.client.send(data, CLOSE))
            await wire.until(lambda: {error, data} <= wire.client.finished)
            assert wire.client.data[data].count(b"HTTP/1.1 200 OK") == 2
            assert wire.client.data[error] == b""

    asyncio.run(run())


def test_a_closed_port_is_an_error_on_its_stream_and_other_ports_go_on(line):
    async def run():
        async with line() as wire:
            refused, _, first = wire.client.connect(81, 0)
            _, data, second = wire.client.connect(80, 1)
            await wire.send(first + second + wire.client.send(data, CLOSE))
            await wire.until(lambda: {refused, data} <= wire.client.finished)
            text = wire.client.data[refused].decode()
            assert text.startswith("error forwarding port 81 to pod ")
            assert "IPv4: dial tcp4 127.0.0.1:81: connect: connection refused" in text
            assert b"hello from web" in wire.client.data[data]

    asyncio.run(run())


def test_an_end_of_input_waits_for_the_answer(line):
    """As `printf ... | nc localhost 8080` does."""

    async def run():
        async with line() as wire:
            error, data, opening = wire.client.connect(80, 0)
            await wire.send(opening + wire.client.send(data, REQUEST, finished=True))
            await wire.until(lambda: {error, data} <= wire.client.finished)
            assert b"hello from web" in wire.client.data[data]
            silent, _, opening = wire.client.connect(80, 1)
            await wire.send(opening + wire.client.send(silent + 2, b"", finished=True))
            await wire.until(lambda: {silent, silent + 2} <= wire.client.finished)

    asyncio.run(run())


def test_many_connections_at_a_time_and_no_more_than_a_client_needs(line):
    async def run():
        async with line() as wire:
            opened = [wire.client.connect(80, number) for number in range(300)]
            await wire.send(b"".join(opening for *_, opening in opened))
            await wire.until(lambda: len(wire.client.replies) + len(wire.client.resets) == 600)
            assert len(wire.client.replies) == 512
            for _, data, _ in opened[:256]:
                await wire.send(wire.client.send(data, CLOSE))
            await wire.until(lambda: len(wire.client.finished) == 512)
            assert all(b"hello from web" in wire.client.data[data] for _, data, _ in opened[:256])
            *_, opening = wire.client.connect(80, 1000)  # there is room again
            await wire.send(opening)
            await wire.until(lambda: len(wire.client.replies) == 514)

    asyncio.run(run())


def test_pings_resets_and_streams_that_make_no_sense(line):
    async def run():
        async with line() as wire:
            await wire.send(struct.pack("!HHII", 0x8003, 6, 4, 7))
            await wire.until(lambda: wire.client.pongs == [7])
            for port, kind in ((0, "data"), (70000, "data"), ("x", "error"), (80, "other")):
                stream, opening = wire.client.open(port, 0, kind)
                await wire.send(opening)
                await wire.until(lambda stream=stream: stream in wire.client.resets)
            _, data, opening = wire.client.connect(80, 1)
            await wire.send(opening + struct.pack("!HHIII", 0x8003, 3, 8, data, 5))
            await wire.send(wire.client.send(data, REQUEST) + wire.client.send(9999, b"to no stream"))
            error, data, opening = wire.client.connect(80, 2)
            await wire.send(opening + wire.client.send(data, CLOSE))
            await wire.until(lambda: {error, data} <= wire.client.finished)

    asyncio.run(run())


@pytest.mark.parametrize(
    "hostile",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000,
        struct.pack("!HHI", 0x8003, 1, 0xFFFFFF) + bytes(100),
        struct.pack("!HHIIIH", 0x8003, 1, 20, 1, 0, 0) + b"0123456789",
        struct.pack("!HHI", 0x8003, 6, 2) + b"xx",
        struct.pack("!HHI", 0x8002, 1, 0),
    ],
)
def test_what_is_not_spdy_ends_the_session_and_nothing_else(line, hostile):
    async def run():
        async with line() as wire:
            await wire.send(hostile)
            await wire.until(lambda: wire.client.gone)

    asyncio.run(run())


def test_headers_that_grow_when_they_are_decompressed_are_refused():
    block = zlib.compressobj(zdict=DICTIONARY)
    bomb = block.compress(struct.pack("!II", 1, 50_000_000) + bytes(50_000_000)) + block.flush(zlib.Z_SYNC_FLUSH)
    frame = struct.pack("!HHIIIH", 0x8003, 1, len(bomb) + 10, 1, 0, 0) + bomb
    with pytest.raises(SpdyError, match="too large"):
        list(Decoder().feed(frame))


def test_frames_come_in_pieces():
    client, decoder = Client(), Decoder()
    stream, opening = client.open(80, 3, "data")
    sent = opening + client.send(stream, b"abc", finished=True)
    frames = [frame for byte in sent for frame in decoder.feed(bytes((byte,)))]
    assert frames == [
        StreamOpened(1, {"streamtype": "data", "port": "80", "requestid": "3"}),
        StreamData(1, b"abc", finished=True),
    ]


def _by_the_client(core, namespace, pod, ports):
    return portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports=ports)


def test_the_official_client_forwards_several_ports(core, namespace, pod, eventually):
    forwarded = _by_the_client(core, namespace, pod, "80,81")
    one = forwarded.socket(80)
    one.setblocking(True)
    one.sendall(CLOSE)
    said = b""
    while data := one.recv(65536):
        said += data
    assert said.endswith(b"hello from web")
    assert forwarded.error(80) is None
    assert "connection refused" in eventually(lambda: forwarded.error(81))
    forwarded.close()


@pytest.mark.parametrize(
    ("ports", "why"),
    [
        (None, "is required"),
        ("", "cannot be empty"),
        ("0", "must be > 0"),
        ("x", "unable to parse"),
        ("65536", "unable to parse"),
        (",".join(["80"] * 65), "at most 64 ports"),
    ],
)
def test_ports_that_are_none_are_refused_before_the_upgrade(core, namespace, pod, ports, why):
    options = {} if ports is None else {"ports": ports}
    with pytest.raises(ApiException) as refused:
        stream(core.connect_get_namespaced_pod_portforward, pod, namespace, **options)
    assert why in str(refused.value)


def test_a_plain_request_is_told_to_upgrade(core, namespace, pod):
    with pytest.raises(ApiException) as refused:
        core.connect_post_namespaced_pod_portforward(pod, namespace, ports="80")
    assert refused.value.status == 400
    assert "Upgrade request required" in refused.value.body


def test_the_pod_s_address_is_what_the_server_sees(core, namespace, pod, running):
    """containerd connects from inside the pod: Falco sees its process on the host, the server sees 127.0.0.1."""
    calls = []
    nodes = [kubelet.node for kubelet in running.cluster.kubelets.values()]
    ends = [running.call(node.kernel.subscribe, calls.append, ("connect",)) for node in nodes]
    forwarded = _by_the_client(core, namespace, pod, "80")
    one = forwarded.socket(80)
    one.setblocking(True)
    one.sendall(CLOSE)
    while one.recv(65536):
        pass
    for end in ends:
        running.call(end)
    [call] = [call for call in calls if call.process.name == "containerd"]
    assert call.container is None
    assert call.file.remote == ("127.0.0.1", 80)
    assert call.file.local[0] == "127.0.0.1"


def test_a_pod_that_is_gone_is_an_error(running, path, core, namespace, eventually):
    async def run():
        async with in_a_websocket(running, path) as wire:
            await asyncio.to_thread(core.delete_namespaced_pod, "web", namespace)
            await asyncio.to_thread(eventually, lambda: not core.list_namespaced_pod(namespace).items)
            error, data, opening = wire.client.connect(80, 0)
            await wire.send(opening)
            await wire.until(lambda: {error, data} <= wire.client.finished)
            said = wire.client.data[error].decode()
            sandbox = said.split('"')[1]
            assert len(sandbox) == 64
            assert said == (
                f"error forwarding port 80 to pod {sandbox}, uid : "
                f'failed to find sandbox "{sandbox}" in store: not found'
            )

    asyncio.run(run())


def test_a_client_that_goes_away_in_the_middle_leaves_nothing(running, path, eventually, core):
    async def run():
        async with in_a_websocket(running, path) as wire:
            _, data, opening = wire.client.connect(80, 0)
            await wire.send(opening + wire.client.send(data, b"GET / HTT"))
            await wire.until(lambda: len(wire.client.replies) == 2)

    asyncio.run(run())
    nodes = [kubelet.node for kubelet in running.cluster.kubelets.values()]

    def open_sockets() -> int:
        return sum(
            len(process.fds)
            for node in nodes
            for process in node.kernel.processes.values()
            if process.name == "containerd"
        )

    assert eventually(lambda: running.call(open_sockets) == 0)
