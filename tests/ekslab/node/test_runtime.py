"""What the kubelet relies on: containers' lives, their logs, exec, and how things are refused."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from ekslab.node import ImagePullError, OciError


async def test_a_container_runs_and_ends_with_its_programs_status(node, make_spec):
    container = await node.runtime.create(
        make_spec(command=["sh", "-c"], args=["echo out; echo err >&2; printf tail; exit 3"])
    )
    assert container.state == "created"
    await node.runtime.start(container)
    assert await container.wait() == 3
    assert (container.state, container.exit_code, container.reason) == ("exited", 3, "Error")
    assert container.started_at < container.finished_at
    lines = node.filesystem.read_text(container.log_path).splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["stdout F out", "stderr F err", "stdout F tail"]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ", line) for line in lines)


async def test_logs_are_where_the_kubelet_looks(pod, node):
    path = "/var/log/pods/shop_web-0_3e41dc6b-08a8-44db-bc2a-3724b18ab19a/nginx/0.log"
    assert pod.container.log_path == path
    link = f"/var/log/containers/web-0_shop_nginx-{pod.container.id}.log"
    assert node.filesystem.walk(link).real_path == path


async def test_long_lines_are_split_and_a_terminals_returns_are_not_logged(start, node):
    pod = await start(command=["sh", "-c", "printf '%040000d\\n' 0; echo done"], args=[], tty=True)
    await pod.container.wait()
    tags = [line.split(" ")[2] for line in node.filesystem.read_text(pod.container.log_path).splitlines()]
    assert tags == ["P", "P", "F", "F"]
    assert "\r" not in node.filesystem.read_text(pod.container.log_path)


async def test_stop_asks_first_and_then_insists(start, node):
    polite = await start(command=["sh", "-c", "sleep 100"])
    await polite.node.runtime.stop(polite.container, 5)
    assert polite.container.exit_code == 143
    stubborn = await start(
        command=["sh", "-c", "trap '' TERM; echo ready; while true; do sleep 1; done"], pod_uid="s", sandbox_id="5" * 64
    )
    while "ready" not in node.filesystem.read_text(stubborn.container.log_path):
        await asyncio.sleep(0.01)
    await stubborn.node.runtime.stop(stubborn.container, 0.05)
    assert stubborn.container.exit_code == 137


async def test_everything_in_a_container_ends_with_its_first_process(start, node):
    pod = await start(command=["sh", "-c", "sleep 100 & sleep 0.05"])
    await pod.container.wait()
    await asyncio.sleep(0)
    assert not [process for process in node.kernel.processes.values() if process.container is pod.container]


async def test_removing_a_container_removes_its_log(node, pod):
    await node.runtime.remove(pod.container)
    assert not node.filesystem.exists(pod.container.log_path)
    assert node.filesystem.listdir("/var/log/containers") == []
    assert not node.kernel.processes


async def test_an_image_that_nobody_has_cant_be_pulled(node, make_spec):
    with pytest.raises(
        ImagePullError, match=r'failed to resolve reference "docker\.io/library/ngnix:latest"'
    ) as caught:
        await node.runtime.create(make_spec(image="ngnix"))
    assert caught.value.reason == "ErrImagePull"
    with pytest.raises(ImagePullError, match=r"nginx:9: not found"):
        await node.runtime.create(make_spec(image="nginx:9"))
    with pytest.raises(ImagePullError, match="invalid reference format"):
        await node.runtime.create(make_spec(image="Nginx:"))


@pytest.mark.parametrize(
    ("argv", "message", "code"),
    [
        (["nope"], 'exec: "nope": executable file not found in $PATH: unknown', 127),
        (["/nope"], 'exec: "/nope": stat /nope: no such file or directory: unknown', 127),
        (["/etc/passwd"], 'exec: "/etc/passwd": permission denied: unknown', 126),
    ],
)
async def test_runc_says_why_it_cant_start_a_command(pod, argv, message, code):
    with pytest.raises(OciError) as caught:
        await pod.node.runtime.exec(pod.container, argv)
    assert caught.value.message.startswith("OCI runtime exec failed: exec failed: unable to start container process: ")
    assert caught.value.message.endswith(message)
    assert caught.value.exit_code == code


async def test_a_container_whose_program_is_missing_doesnt_start(node, make_spec):
    container = await node.runtime.create(make_spec(command=["/no/such"]))
    with pytest.raises(OciError, match="OCI runtime create failed"):
        await node.runtime.start(container)
    assert container.state == "created"


async def test_exec_gets_the_containers_environment_and_user(start):
    pod = await start(env={"GREETING": "hi"}, user="1000", workdir="/var/www", hostname="special")
    result = await pod.sh("echo $GREETING $NGINX_VERSION $HOME $HOSTNAME; pwd; id -u; hostname")
    assert result.out == "hi 1.22 /home/app special\n/var/www\n1000\nspecial\n"


async def test_a_terminal_is_there_only_when_asked_for(pod):
    assert (await pod.run("tty")).out == "not a tty\n"
    assert (await pod.run("tty", tty=True)).out == "/dev/pts/0\r\n"
    assert (await pod.run("sh", "-c", "test -t 0 && ls -l /dev/pts | wc -l", tty=True)).out == "2\r\n"


async def test_standard_input_ends_where_the_client_ends_it(pod):
    assert (await pod.run("cat", stdin="a\nb\n")).out == "a\nb\n"
    assert (await pod.run("wc", "-c")).out == "0\n"


async def test_a_terminals_size_can_change(pod, shown, typed):
    execution = pod.node.runtime.start_exec(
        pod.container, ["sh", "-c", "sleep 0.05; stty size"], tty=True, stdin=typed(b""), stdout=shown, size=(24, 80)
    )
    execution.resize(50, 132)
    assert await execution.wait() == 0
    assert shown.text.endswith("50 132\r\n")


async def test_exec_in_a_container_that_ended_is_refused(start):
    pod = await start(command=["true"], args=[])
    await pod.container.wait()
    with pytest.raises(OciError, match="not running"):
        await pod.sh("true")


async def test_capabilities_follow_the_specification(start):
    dropped = await start(drop=["ALL"], add=["NET_BIND_SERVICE"])
    await dropped.sh("true")
    assert dropped.seen("execve", proc_name="sh")[0]["thread.cap_effective"] == "CAP_NET_BIND_SERVICE"
    assert "Permission denied" in (await dropped.sh("cat /etc/shadow 2>&1; su app -c id 2>&1; chown app /tmp")).out + (
        "Permission denied"
    )
    privileged = await start(privileged=True, pod_uid="p", sandbox_id="9" * 64)
    await privileged.sh("true")
    assert "CAP_SYS_ADMIN" in str(privileged.seen("execve")[0]["thread.cap_effective"])


async def test_a_command_starts_within_milliseconds(pod):
    await pod.sh("true")
    began = time.process_time()
    for _ in range(20):
        await pod.sh("cat /etc/hostname > /dev/null")
    assert (time.process_time() - began) / 20 < 0.02


async def test_a_container_ends_when_all_its_processes_have(start):
    pod = await start()
    for _ in range(200):
        pod.node.runtime.start_exec(pod.container, ["bash", "-c", "while :; do :; done"])
    await asyncio.sleep(0)
    assert len(pod.node.kernel.processes_of(pod.container)) > 200
    await pod.node.runtime.stop(pod.container, 0)
    assert pod.node.kernel.processes_of(pod.container) == []


async def test_the_first_process_does_not_hold_what_was_left_to_it_and_has_ended(pod):
    await pod.bash("for i in {1..40}; do (sleep 0.01 &); done; sleep 0.2")
    assert [child for child in pod.first.children if not child.alive] == []
