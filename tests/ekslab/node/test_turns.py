"""Programs in pods take turns: whatever one does, the event loop is back soon, and memory and disk have an end."""

from __future__ import annotations

import asyncio
import gzip
import re
import time
from collections.abc import AsyncIterator

import pytest

from ekslab.http import HttpRequest, HttpResponse
from ekslab.node import Container, Node, Process, container_logs, program
from ekslab.node.limits import INODE, MIB, NODE_MEMORY
from tests.ekslab.node.conftest import Pod, Shown, image

LONG = 0.5  # seconds of processor time; a step is interrupted after 0.15 s


@program("test-spin")
async def spin(p: Process) -> int:
    while True:
        pass


@program("test-match")
async def match(p: Process) -> int:
    return int(re.match(r"^(a+)+$", "a" * 40 + "b") is None)


@program("test-stubborn")
async def stubborn(p: Process) -> int:
    while True:
        try:
            await asyncio.sleep(0)
            while True:
                pass
        except GeneratorExit:
            raise
        except BaseException:
            continue


@program("test-task")
async def task(p: Process) -> int:
    await asyncio.gather(asyncio.sleep(60), spin(p))
    return 0


@program("test-server")
async def server(p: Process) -> int:
    async def answer(request: HttpRequest) -> HttpResponse:
        raise AssertionError(await spin(p))

    p.listen(8080, answer)
    await asyncio.Event().wait()
    return 0


@program("test-share")
async def share(p: Process) -> int:
    """Works as long as it lives, and lets others have their turns."""
    while True:
        await p.cooperate()


@program("test-answers")
async def answers(p: Process) -> int:
    async def answer(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, {}, b"well")

    p.listen(8080, answer)
    await asyncio.Event().wait()
    return 0


@program("test-count")
async def count(p: Process) -> int:
    """Works, and writes a byte for each millisecond of it."""
    while True:
        until = time.monotonic() + 0.001
        while time.monotonic() < until:
            pass
        p.stdout.write("x")
        await p.cooperate()


@program("test-nap")
async def nap(p: Process) -> int:
    """Works for a millisecond, sleeps for one, and so on."""
    while True:
        until = time.monotonic() + 0.001
        while time.monotonic() < until:
            pass
        await p.sleep(0.001)


@program("test-hold")
async def hold(p: Process) -> int:
    """Holds so many MiB."""
    p.charge(int(p.argv[1]) * MIB)
    await asyncio.Event().wait()
    return 0


@program("test-chatter")
async def chatter(p: Process) -> int:
    """Writes a lot, and never waits until it is read."""
    for _ in range(1000):
        p.stdout.write(b"x" * 10_000)
        await asyncio.sleep(0)
    return 0


@pytest.fixture(autouse=True, scope="module")
def _programs() -> None:
    for name in ("spin", "match", "stubborn", "task", "server", "share", "answers", "count", "nap", "hold", "chatter"):
        image().layer.program(f"/usr/bin/test-{name}", f"test-{name}")


@pytest.fixture
async def pauses() -> AsyncIterator[list[float]]:
    """How much processor time passed each time until the event loop came back."""
    found: list[float] = [0.0]

    async def look() -> None:
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            found.append(time.thread_time() - began)
            await asyncio.sleep(0.001)

    looking = asyncio.create_task(look())
    yield found
    looking.cancel()


async def _busy(seconds: float) -> None:
    """Waits until this process has had so many seconds of processor time."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("name", ["spin", "match", "stubborn", "task"])
async def test_a_program_that_does_not_yield_is_killed(pod: Pod, pauses: list[float], name: str) -> None:
    done = await pod.run(f"test-{name}")
    assert done.code == 137
    assert max(pauses) < LONG
    assert (await pod.run("echo", "well")).out == "well\n"


async def test_it_is_told_that_the_lab_killed_it(pod: Pod, caplog: pytest.LogCaptureFixture) -> None:
    assert "[embedded lab] test-spin was killed" in (await pod.run("test-spin")).err
    assert "(test-spin) in pod shop/web-0 on" in caplog.text


async def test_a_server_that_does_not_yield_takes_nobody_with_it(pod: Pod, pauses: list[float]) -> None:
    running = pod.node.runtime.start_exec(pod.container, ["test-server"])
    done = await pod.bash("until echo > /dev/tcp/127.0.0.1/8080; do :; done 2> /dev/null; curl -s -m 2 localhost:8080")
    assert done.code != 0
    assert await running.wait() == 137
    assert max(pauses) < LONG


async def test_containers_take_turns_however_many_processes_they_have(pod: Pod, start, pauses: list[float]) -> None:
    other: Pod = await start(pod_name="web-1", pod_uid="other", sandbox_id="other")
    crowd = [pod.node.runtime.start_exec(pod.container, ["test-share"]) for _ in range(200)]
    await asyncio.sleep(0)
    began = time.process_time()
    for _ in range(20):
        assert (await other.run("true")).code == 0
    assert time.process_time() - began < 2
    assert max(pauses) < LONG
    for running in crowd:
        running.kill()
    assert {await running.wait() for running in crowd} == {137}


async def test_a_server_answers_however_many_processes_its_container_has(pod: Pod) -> None:
    serving = pod.node.runtime.start_exec(pod.container, ["test-answers"])
    crowd = [pod.node.runtime.start_exec(pod.container, ["test-share"]) for _ in range(150)]
    await _busy(1)
    times = []
    for _ in range(5):
        began = time.process_time()
        answer = await pod.node.network.http(HttpRequest("GET", "http://10.88.0.2:8080/"))
        times.append(time.process_time() - began)
        assert answer.status == 200
        await _busy(0.05)
    assert sorted(times)[2] < 0.2  # in order of arrival it is 0.6 s: each of 150 processes runs for 4 ms before
    for running in [serving, *crowd]:
        running.kill()
    for running in [serving, *crowd]:
        await running.wait()


async def test_processes_of_a_container_run_for_about_as_long_as_each_other(pod: Pod) -> None:
    """Those that are new, and those that sleep now and then, keep nobody else from running."""
    shown = [Shown() for _ in range(4)]
    crowd = [pod.node.runtime.start_exec(pod.container, ["test-count"], stdout=out) for out in shown]
    starting = pod.node.runtime.start_exec(pod.container, ["bash", "-c", "while :; do /bin/true; done"])
    napping = [pod.node.runtime.start_exec(pod.container, ["test-nap"]) for _ in range(20)]
    until = time.process_time() + 30
    while min(len(out.data) for out in shown) < 25 and time.process_time() < until:
        await _busy(0.1)
    for running in [starting, *napping, *crowd]:
        running.kill()
        await running.wait()
    counts = sorted(len(out.data) for out in shown)
    assert counts[0] >= 25
    assert counts[-1] < 5 * counts[0]


@pytest.mark.parametrize("typed", [b":\n", b"x", b"\x04"])
@pytest.mark.parametrize("command", ["test-wait", "bash", "cat"])
async def test_a_terminal_takes_no_more_than_is_read(pod: Pod, pauses: list[float], command: str, typed: bytes) -> None:
    taken = 0

    class Pasted:
        async def read(self, n: int) -> bytes:
            nonlocal taken
            taken += 4096
            return typed * (4096 // len(typed)) if taken < 4_000_000 else b""

    running = pod.node.runtime.start_exec(pod.container, [command], tty=True, stdin=Pasted())
    busy_until, before, unchanged = time.process_time() + 0.3, 0, 0
    while time.process_time() < busy_until and unchanged < 20:  # until the program reads no more, or is busy with it
        await asyncio.sleep(0.005)
        before, unchanged = taken, unchanged + 1 if taken == before > 0 else 0
    running.kill()
    await running.wait()
    assert taken > 0
    assert max(pauses) < LONG
    if command == "test-wait" and typed != b"x":
        assert taken < 400_000


async def test_a_client_that_does_not_read_holds_the_program_up(pod: Pod) -> None:
    class Screen(Shown):
        def __init__(self) -> None:
            super().__init__()
            self.room = asyncio.Event()

        @property
        def full(self) -> bool:
            return len(self.data) > 100_000 and not self.room.is_set()

        async def drain(self) -> None:
            await self.room.wait()

    screen = Screen()
    running = asyncio.ensure_future(pod.node.runtime.exec(pod.container, ["test-chatter"], stdout=screen))
    while not screen.full:
        assert not running.done()
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(screen.data) <= 120_000
    screen.room.set()
    assert await running == 0
    assert len(screen.data) == 10_000_000


# -- memory


async def test_a_container_beyond_its_limit_is_killed_as_a_whole(pod: Pod, start) -> None:
    other: Pod = await start(pod_name="web-1", pod_uid="other", sandbox_id="other", memory_limit=20 * MIB)
    sleeping = other.node.runtime.start_exec(other.container, ["sleep", "100"])
    assert (await other.run("test-hold", "21")).code == 137
    assert await sleeping.wait() == 137
    assert await other.container.wait() == 137
    assert (other.container.reason, other.container.memory.kills) == ("OOMKilled", 1)
    assert pod.container.state == "running"


async def test_a_program_that_ends_gives_its_memory_back(pod: Pod) -> None:
    before = (pod.container.memory.used, pod.node.kernel.memory.used)
    for _ in range(5):
        running = pod.node.runtime.start_exec(pod.container, ["test-hold", str(NODE_MEMORY // MIB - 20)])
        while pod.container.memory.used < 20 * MIB:
            await asyncio.sleep(0)
        running.kill()
        await running.wait()
    assert (pod.container.memory.used, pod.node.kernel.memory.used) == before
    assert pod.container.state == "running"


async def test_a_full_node_kills_the_container_that_holds_most(pod: Pod, start) -> None:
    large: Pod = await start(pod_name="web-1", pod_uid="other", sandbox_id="other")
    large.node.runtime.start_exec(large.container, ["test-hold", "100"])
    while large.container.memory.used < 100 * MIB:
        await asyncio.sleep(0)
    small = pod.node.runtime.start_exec(pod.container, ["test-hold", "60"])
    assert await large.container.wait() == 137
    assert large.container.reason == "OOMKilled"
    assert small.process.alive
    small.kill()


@pytest.mark.parametrize(
    "command", ["x=$(cat /dev/zero | tr '\\0' a)", "cat /dev/zero > /dev/shm/a; sort /dev/zero", "tac /dev/zero"]
)
async def test_what_reads_without_end_is_killed(start, command: str) -> None:
    small: Pod = await start(memory_limit=8 * MIB)
    assert (await small.bash(command)).code == 137
    assert small.container.memory.used <= 8 * MIB


async def test_the_limit_can_be_read_in_the_container(start) -> None:
    small: Pod = await start(memory_limit=64 * MIB)
    assert (await small.bash("cat /sys/fs/cgroup/memory.max")).out == f"{64 * MIB}\n"


# -- disk


async def test_a_layer_has_an_end_and_space_comes_back(pod: Pod) -> None:
    disk = pod.container.disk
    before, on_node = disk.used, pod.node.kernel.disk.used
    done = await pod.bash(
        "head -c 100M /dev/zero > /tmp/big; ls -s /tmp/big > /dev/null; df --output=pcent / 2>/dev/null || df /"
    )
    assert "head: write error: No space left on device" in done.err
    assert "100%" in done.out
    assert disk.free < MIB
    await pod.bash("rm /tmp/big")
    assert (disk.used, pod.node.kernel.disk.used) == (before, on_node)


async def test_a_removed_file_takes_space_until_it_is_closed(pod: Pod) -> None:
    before = pod.container.disk.used
    await pod.bash("exec 3> /tmp/x; head -c 1000000 /dev/zero >&3; rm /tmp/x; cat /proc/self/mounts > /tmp/y")
    assert before <= pod.container.disk.used < before + 10_000 + 2 * INODE
    running = pod.node.runtime.start_exec(
        pod.container, ["bash", "-c", "exec 3>/tmp/x; head -c 1000000 /dev/zero >&3; rm /tmp/x; sleep 100"]
    )
    while not any(p.name == "sleep" for p in pod.node.kernel.processes_of(pod.container)):
        await asyncio.sleep(0)
    assert pod.container.disk.used > before + 1_000_000
    running.kill()
    await running.wait()
    for process in pod.node.kernel.processes_of(pod.container):
        if process.name == "sleep":
            process.signal(9)
            await process.exited()
    assert pod.container.disk.used < before + 10_000 + 2 * INODE


async def test_files_without_content_fill_a_disk_too(pod: Pod) -> None:
    pod.container.disk.size = pod.container.disk.used + 100 * INODE
    done = await pod.bash("mkdir /tmp/m; cd /tmp/m; touch {1..200}; ls | wc -l")
    assert "No space left on device" in done.err
    assert done.out == "99\n"


async def test_a_removed_container_leaves_nothing_on_the_node(node: Node, pod: Pod, make_spec) -> None:
    before = (node.kernel.disk.used, node.kernel.memory.used)
    container: Container = await node.runtime.create(make_spec(pod_uid="other", pod_name="web-1", sandbox_id="other"))
    await node.runtime.start(container)
    other = Pod(node, container)
    await other.bash("head -c 5M /dev/zero > /tmp/a; head -c 5M /dev/zero > /dev/shm/b")
    assert node.kernel.disk.used > before[0] + 5 * MIB
    assert node.kernel.memory.used > before[1] + 5 * MIB
    await node.runtime.remove(container)
    assert node.kernel.memory.used == before[1]
    assert node.kernel.disk.used <= before[0] + 8 * INODE  # the directory of the pod's logs, and what led there


async def test_a_node_that_is_full_goes_on_logging_and_starting_containers(pod: Pod, start) -> None:
    for number in range(3):
        other: Pod = await start(pod_name=f"web-{number}", pod_uid=f"{number}", sandbox_id=f"{number}")
        done = await other.bash("head -c 100M /dev/zero > /tmp/big")
        assert "No space left on device" in done.err
    before = pod.node.filesystem.size(pod.container.log_path)
    await pod.bash("echo still here > /proc/1/fd/1")
    assert pod.node.filesystem.size(pod.container.log_path) > before


async def test_a_log_is_rotated_and_no_line_is_lost(pod: Pod, start, monkeypatch: pytest.MonkeyPatch) -> None:
    """10 MiB, five files, all before the last one compressed; a container that prints more waits for the kubelet."""
    monkeypatch.setattr(container_logs, "_LOOK", 1.0)  # less than that, and two files have the same name
    monkeypatch.setattr(container_logs, "_FILE", MIB)
    monkeypatch.setattr(container_logs, "_FULL", 2 * MIB)
    loud: Pod = await start(pod_uid="loud", sandbox_id="loud")
    files = pod.node.filesystem
    first = files.walk(loud.container.log_path).inode
    one = "head -c 1500000 /dev/zero | tr '\\0' a | fold -w 1000"
    await loud.bash(f"for i in {{1..5}}; do {one} > /proc/1/fd/1; done")
    assert files.walk(loud.container.log_path).inode is not first

    def logs() -> list[str]:
        return [path for path in files.files("/var/log/pods") if "loud" in path and ".log" in path]

    while sum(path.endswith(".gz") for path in logs()) < len(logs()) - 2:
        await asyncio.sleep(0.05)
    assert 3 <= len(logs()) <= 5
    lines = 0
    for path in logs():
        data = files.read_bytes(path)
        assert len(data) < 4 * MIB
        lines += (gzip.decompress(data) if path.endswith(".gz") else data).count(b"\n")
    assert lines == 5 * 1500


async def test_what_is_printed_at_once_is_written_at_once(pod: Pod, start) -> None:
    loud: Pod = await start(pod_uid="loud", sandbox_id="loud")
    await loud.bash("head -c 3000000 /dev/zero | tr '\\0' a | fold -w 29 > /tmp/x; cat /tmp/x > /proc/1/fd/1")
    lines = pod.node.filesystem.read_text(loud.container.log_path).splitlines()
    assert len(lines) > 100_000
    assert all(re.fullmatch(r"\S+Z stdout F a+", line) for line in lines)


# -- other limits


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("/bin/echo $(head -c 200000 /dev/zero | tr '\\0' x)", "Argument list too long"),
        (f"touch /tmp/{'n' * 300}", "File name too long"),
        (f"cat /tmp/{'d/' * 2100}x", "File name too long"),
        ("while exec {fd}< /etc/passwd; do :; done", "Too many open files"),
    ],
)
async def test_a_system_call_refuses_too_much(pod: Pod, command: str, says: str) -> None:
    assert says in (await pod.bash(command)).err
