"""Commands in containers over WebSocket: output, input, terminals, exit statuses."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
import tarfile
import time
from typing import Any

import aiohttp
import pytest
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

from labkit.errors import ExecError
from labkit.kube import Kube
from tests.ekslab.kubernetes.spdy import plain


@pytest.fixture
def pod(core, namespace, pod_manifest, eventually):
    core.create_namespaced_pod(namespace, pod_manifest("web"))
    eventually(lambda: core.read_namespaced_pod("web", namespace).status.phase == "Running")
    return "web"


@pytest.fixture
def execute(core, namespace, pod):
    """Runs a command by the official client; gives back its stream, ended."""

    def run(*command, **options):
        streams = stream(
            core.connect_get_namespaced_pod_exec,
            pod,
            namespace,
            command=list(command),
            stdout=True,
            stderr=True,
            _preload_content=False,
            **options,
        )
        streams.run_forever(timeout=5)
        return streams

    return run


def test_output_and_errors_come_apart(execute):
    streams = execute("exit", "0")
    assert streams.read_stdout() == "about to exit\n"
    assert streams.read_stderr() == "with an error\n"
    assert streams.returncode == 0


def test_the_exit_status_comes_back(execute):
    assert execute("exit", "4").returncode == 4


def test_a_terminal_mixes_both_and_has_a_size(execute):
    streams = execute("exit", "0", tty=True, stdin=True)
    assert streams.read_stdout() == "about to exit\r\nwith an error\r\n"
    assert execute("tty", tty=True, stdin=True).read_stdout() == "24x80\r\n"
    assert execute("tty").read_stdout() == "not a tty\n"


def test_a_missing_program_is_an_error_in_runc_s_words(execute):
    streams = execute("nosuch")
    status = json.loads(streams.read_channel(3) or "{}")
    assert status["reason"] == "InternalError"
    assert status["message"].startswith(
        "Internal error occurred: error executing command in container: failed to exec in container: failed to start"
    )
    assert 'exec: "nosuch": executable file not found in $PATH' in status["message"]


def test_a_wrong_container_is_refused_before_the_upgrade(core, namespace, pod):
    with pytest.raises(ApiException) as error:
        stream(core.connect_get_namespaced_pod_exec, pod, namespace, container="other", command=["env"], stdout=True)
    assert "container other is not valid for pod web" in str(error.value)


async def _talk(running, path: str, protocol: str, *frames: bytes) -> tuple[str | None, list[bytes]]:
    """Sends frames to a WebSocket; the protocol agreed on and everything that came back."""
    context = ssl.create_default_context(cafile=str(running.ca))
    headers = {"Authorization": f"Bearer {running.credentials.kubernetes_token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(running.url + path, headers=headers, protocols=[protocol], ssl=context) as socket,
    ):
        for frame in frames:
            await socket.send_bytes(frame)
        received = [message.data async for message in socket]
    return socket.protocol, received


def _exec_path(namespace: str, *command: str, **flags: str) -> str:
    query = "&".join([f"command={part}" for part in command] + [f"{key}={value}" for key, value in flags.items()])
    return f"/api/v1/namespaces/{namespace}/pods/web/exec?{query}"


async def test_input_ends_with_the_close_frame_of_version_5(running, namespace, pod):
    path = _exec_path(namespace, "cat", stdin="true", stdout="true", stderr="true")
    protocol, received = await asyncio.wait_for(
        _talk(running, path, "v5.channel.k8s.io", b"\x00hello ", b"\x00world", b"\xff\x00"), 5
    )
    assert protocol == "v5.channel.k8s.io"
    assert received[0] == b"\x01"
    assert b"".join(frame[1:] for frame in received if frame[:1] == b"\x01") == b"hello world"
    assert json.loads(received[-1][1:]) == {"metadata": {}, "status": "Success"}


async def test_a_terminal_is_resized_by_channel_4(running, namespace, pod):
    path = _exec_path(namespace, "cat", stdin="true", stdout="true", tty="true")
    resize = b"\x04" + json.dumps({"Width": 100, "Height": 40}).encode()
    protocol, received = await asyncio.wait_for(
        _talk(running, path, "v4.channel.k8s.io", resize, b"\x00typed\n\x04"), 5
    )
    assert protocol == "v4.channel.k8s.io"
    shown = b"".join(frame[1:] for frame in received if frame[:1] == b"\x01")
    assert shown.replace(b"\r", b"") == b"typed\ntyped\n"


def test_attaching_shows_and_types_into_a_container_s_terminal(core, namespace, pod_manifest, eventually):
    core.create_namespaced_pod(
        namespace, pod_manifest("echo", "cat", restartPolicy="Never", container={"tty": True, "stdin": True})
    )
    eventually(lambda: core.read_namespaced_pod("echo", namespace).status.phase == "Running")
    streams = stream(
        core.connect_get_namespaced_pod_attach,
        "echo",
        namespace,
        stdin=True,
        stdout=True,
        tty=True,
        _preload_content=False,
    )
    streams.write_stdin("typed\n\x04")
    streams.run_forever(timeout=5)
    assert streams.read_stdout().replace("\r", "") == "typed\ntyped\n"
    assert streams.returncode == 0
    assert "typed" in core.read_namespaced_pod_log("echo", namespace)


def _spdy(running, namespace, command, **wants):
    """Runs a command over SPDY; gives back the client, whose streams are over, and their numbers by kind."""
    kinds = [
        "error",
        *(kind for kind in ("stdin", "stdout", "stderr") if wants.get(kind)),
        *(["resize"] if wants.get("tty") else []),
    ]
    query = "&".join([*(f"command={word}" for word in command), *(f"{name}=true" for name in wants if name != "input")])

    async def run():
        path = f"/api/v1/namespaces/{namespace}/pods/web/exec?{query}"
        async with plain(running, path, "v4.channel.k8s.io") as wire:
            numbers = {}
            for kind in kinds:
                numbers[kind], opening = wire.client.stream({"streamtype": kind})
                await wire.send(opening)
            if "tty" in wants:
                await wire.send(wire.client.send(numbers["resize"], b'{"Width":99,"Height":33}\n'))
            if "input" in wants:
                await wire.send(wire.client.send(numbers["stdin"], wants["input"], finished=True))
            await wire.until(lambda: numbers["error"] in wire.client.finished)
            return wire.client, numbers

    return asyncio.run(run())


def test_commands_run_over_spdy_for_older_clients(running, namespace, pod):
    client, streams = _spdy(running, namespace, ["exit", "4"], stdout=True, stderr=True)
    assert client.data[streams["stdout"]] == b"about to exit\n"
    assert client.data[streams["stderr"]] == b"with an error\n"
    status = json.loads(client.data[streams["error"]])
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "4"}]
    client, streams = _spdy(running, namespace, ["cat"], stdin=True, stdout=True, input=b"x" * 300_000)
    assert client.data[streams["stdout"]] == b"x" * 300_000
    assert json.loads(client.data[streams["error"]])["status"] == "Success"
    client, streams = _spdy(running, namespace, ["tty"], stdin=True, stdout=True, tty=True)
    assert client.data[streams["stdout"]] in (b"24x80\r\n", b"33x99\r\n")


def test_files_are_copied_as_the_client_s_documentation_does_it(core, namespace, pod_manifest, eventually):
    core.create_namespaced_pod(namespace, pod_manifest("nginx", container={"image": "nginx"}))
    eventually(lambda: core.read_namespaced_pod("nginx", namespace).status.phase == "Running")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("a file")
        member.size = 200_000
        archive.addfile(member, io.BytesIO(bytes(200_000)))

    def run(*command, **options):
        return stream(
            core.connect_get_namespaced_pod_exec, "nginx", namespace, command=list(command), stdout=True, stderr=True,
            _preload_content=False, binary=True, **options,
        )  # fmt: skip

    there = run("tar", "xvf", "-", "-C", "/tmp", stdin=True)
    there.write_stdin(packed.getvalue())
    there.run_forever(timeout=5)
    assert there.read_stdout() == b"a file\n"
    back = run("tar", "cf", "-", "-C", "/tmp", "a file")
    back.run_forever(timeout=5)
    with tarfile.open(fileobj=io.BytesIO(back.read_stdout())) as archive:
        assert archive.getmember("a file").size == 200_000


def test_a_process_whose_client_left_gets_a_broken_pipe(running, core, namespace, pod, eventually):
    async def leave() -> None:
        context = ssl.create_default_context(cafile=str(running.ca))
        headers = {"Authorization": f"Bearer {running.credentials.kubernetes_token}"}
        path = _exec_path(namespace, "forever", stdout="true")
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(running.url + path, headers=headers, ssl=context) as socket,
        ):
            await socket.receive()
            assert processes(running, "forever")

    asyncio.run(leave())
    eventually(lambda: not processes(running, "forever"))


def processes(running: Any, *names: str) -> list[str]:
    """The programs of these names that run on some node."""

    def found() -> list[str]:
        kernels = [kubelet.node.kernel for kubelet in running.cluster.kubelets.values()]
        return [p.name for kernel in kernels for p in kernel.processes.values() if p.name in names]

    return list(running.call(found))


@pytest.mark.parametrize(
    ("argv", "stdin"),
    [
        pytest.param(["forever"], None, id="output-without-end"),
        pytest.param(["count", "1"], None, id="silence"),
        pytest.param(["count", "1"], 100 * 1024**2, id="input-that-nobody-reads"),
        pytest.param(["forever"], 100 * 1024**2, id="input-and-output"),
    ],
)
def test_a_timeout_is_kept_and_ends_the_command(running, namespace, pod, eventually, argv, stdin):
    kube = Kube(kubeconfig=running.kubeconfig)
    began = time.monotonic()
    with pytest.raises(ExecError, match=f"`{' '.join(argv)}` was still running after 1 s"):
        kube.exec(pod, argv, namespace=namespace, stdin=bytes(stdin) if stdin else None, timeout=1.0)
    assert time.monotonic() - began < 5
    eventually(lambda: not processes(running, *argv[:1]), timeout=15)


def test_input_and_output_flow_at_once(running, namespace, pod):
    kube = Kube(kubeconfig=running.kubeconfig)
    sent = bytes(range(256)) * 40_000  # 10 MB: more than all buffers on the way
    assert kube.exec(pod, ["cat"], namespace=namespace, stdin=sent).stdout == sent.decode("utf-8", "replace")


def test_output_has_a_limit(running, namespace, pod, eventually, monkeypatch):
    monkeypatch.setattr("labkit.kube.exec.MAX_OUTPUT", 1024)
    with pytest.raises(ExecError, match=r"`forever` printed more than .* and was stopped"):
        Kube(kubeconfig=running.kubeconfig).exec(pod, ["forever"], namespace=namespace)
    eventually(lambda: not processes(running, "forever"))


async def test_nonsense_on_a_channel_is_passed_over(running, namespace, pod):
    nonsense = (b"", b"\x04", b"\x04{", b"\x04[1]", b'\x04{"Height": 1e999}', b"\x09x", b"\xff", b"\xff\x07")
    frames = (*nonsense, b"\x00hello", b"\xff\x00")
    path = _exec_path(namespace, "cat", stdin="true", stdout="true")
    _, received = await _talk(running, path, "v5.channel.k8s.io", *frames)
    assert b"".join(data[1:] for data in received if data[:1] == b"\x01") == b"hello"
