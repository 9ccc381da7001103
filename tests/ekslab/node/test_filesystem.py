"""The container's root over its image, mounts, permissions, /proc and /dev."""

from __future__ import annotations

import asyncio

import pytest

from ekslab.node import EmptyDir, Files, HostPath, Mount
from ekslab.node.inodes import Device, new_tmpfs


async def test_two_containers_share_the_image_and_nothing_else(start):
    one = await start()
    two = await start(pod_name="web-1", pod_uid="2", sandbox_id="2" * 64)
    await one.sh("echo mine > /etc/mine; rm /etc/issue; echo x >> /etc/passwd")
    assert (await one.sh("cat /etc/mine; ls /etc/issue")).out == "mine\n"
    result = await two.sh("cat /etc/issue | head -1; tail -1 /etc/passwd; cat /etc/mine")
    assert result.out.startswith("Debian")
    assert result.out.splitlines()[-1].startswith("app:")
    assert "No such file" in result.err


async def test_what_was_removed_from_the_image_can_be_made_again(pod):
    result = await pod.sh("rm -r /etc/apt; ls -d /etc/apt; mkdir /etc/apt; ls -A /etc/apt | wc -l")
    assert result.out == "0\n"


async def test_a_file_of_the_image_is_lower_until_it_is_written(pod):
    await pod.sh("cat /etc/hostname /etc/passwd >/dev/null; echo >> /etc/passwd; cat /etc/passwd > /dev/null")
    layers = [
        (event["fd.is_lower_layer"], event["fd.is_upper_layer"])
        for event in pod.seen("openat", fd_name="/etc/passwd")
        if event["proc.name"] in ("cat", "sh")
    ]
    assert layers == [(True, False), (False, True), (False, True)]


async def test_volumes_are_seen_where_they_are_mounted(start, node):
    node.filesystem.write_text("/opt/data/file", "from the host\n")
    shared = EmptyDir()
    config = Files({"app.conf": "one\n", "sub/deep.conf": "deep\n"})
    pod = await start(
        mounts=[
            Mount("/data", HostPath("/opt/data")),
            Mount("/shared", shared),
            Mount("/config", config, read_only=True),
            Mount("/etc/single.conf", config, sub_path="app.conf"),
        ]
    )
    other = await start(pod_name="b", pod_uid="b", sandbox_id="b" * 64, mounts=[Mount("/mnt/s", shared)])
    result = await pod.sh("cat /data/file /config/app.conf /config/sub/deep.conf /etc/single.conf; echo hi > /shared/x")
    assert result.out == "from the host\none\ndeep\none\n"
    assert (await other.sh("cat /mnt/s/x")).out == "hi\n"
    assert "Read-only file system" in (await pod.sh("echo x > /config/app.conf")).err
    await pod.sh("echo more >> /data/file")
    assert node.filesystem.read_text("/opt/data/file") == "from the host\nmore\n"


async def test_a_config_map_changes_under_a_running_program(start):
    config = Files({"rules.yaml": "old"})
    pod = await start(mounts=[Mount("/etc/falco/rules.d", config)])
    watching = asyncio.ensure_future(pod.first.wait_for_change("/etc/falco/rules.d/rules.yaml", timeout=2))
    await asyncio.sleep(0)
    config.update({"rules.yaml": "new", "more.yaml": "x"})
    assert await watching
    assert (
        await pod.sh("cat /etc/falco/rules.d/rules.yaml; ls /etc/falco/rules.d")
    ).out == "newmore.yaml\nrules.yaml\n"


async def test_a_watch_times_out_when_nothing_happens(pod):
    assert not await pod.container.filesystem.wait_for_change("/etc/passwd", timeout=0.01)


async def test_an_ordinary_user_may_not_do_what_root_may(start):
    pod = await start(user="app")
    result = await pod.sh("id -un; cat /etc/shadow; echo x > /etc/y; echo ok > /tmp/mine; rm /etc/passwd; ls /root")
    assert result.out == "app\n"
    assert result.err.splitlines() == [
        "cat: /etc/shadow: Permission denied",
        "sh: 1: cannot create /etc/y: Permission denied",
        "rm: cannot remove '/etc/passwd': Permission denied",
        "ls: cannot open directory '/root': Permission denied",
    ]


async def test_sticky_directories_keep_others_files(start):
    root = await start()
    await root.sh("echo x > /tmp/roots; chmod 666 /tmp/roots")
    process = root.first.fork(_as_user)
    assert await process.exited() == 1


async def _as_user(p):
    p.setgid(1000)
    p.setuid(1000)
    p.append_text("/tmp/roots", "y")
    with pytest.raises(PermissionError, match="Operation not permitted: '/tmp/roots'"):
        p.unlink("/tmp/roots")
    return 1


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("cat /proc/self/comm; cat /proc/1/comm", "cat\ntest-wait"),
        ("cat /proc/1/environ | tr '\\0' '\\n' | grep NGINX", "NGINX_VERSION=1.22"),
        ("readlink /proc/self/exe", "/usr/bin/readlink"),
        ("echo x > /dev/null; echo y > /dev/stdout", "y"),
        ("head -c 4 /dev/zero | wc -c", "4"),
        ("stat -c %F /dev/null /dev/shm", "character special file\ndirectory"),
        ("echo hi > /dev/shm/x; cat /dev/shm/x", "hi"),
        ("ls /proc | grep -c '^1$'", "1"),
        (
            "ln /etc/hostname /tmp/h 2>&1",
            "ln: failed to create hard link '/tmp/h' => '/etc/hostname': Invalid cross-device link",
        ),
        ("ln -s loop /tmp/loop; cat /tmp/loop 2>&1", "cat: /tmp/loop: Too many levels of symbolic links"),
        ("mv /dev/shm /tmp 2>&1", "mv: cannot move '/dev/shm' to '/tmp/shm': Device or resource busy"),
        (
            "truncate -s 10G /tmp/big 2>&1",
            "truncate: failed to truncate '/tmp/big' at 10737418240 bytes: No space left on device",
        ),
        ("grep -c . /proc/mounts", "{}"),
        (
            "grep ' /dev/shm ' /proc/mounts; mount | grep shm; df -h /dev/shm | tail -1 | tr -s ' '",
            "shm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=65536k 0 0\n"
            "shm on /dev/shm type tmpfs (rw,nosuid,nodev,noexec,relatime,size=65536k)\n"
            "shm 64M 0 64M 0% /dev/shm",
        ),
        (
            "dd if=/dev/zero of=/dev/shm/x bs=1M count=65 2>&1 | head -1; stat -c %s /dev/shm/x",
            "dd: error writing '/dev/shm/x': No space left on device\n67043328",
        ),
        (
            "cp /bin/id /dev/shm; chmod 4755 /dev/shm/id; [ -x /dev/shm/id ] || echo no; [ -x /dev/shm ] && echo yes",
            "no\nyes",
        ),
        (
            "exec 3< /bin/echo; /proc/self/fd/3 hi; cp /bin/echo /dev/shm; exec 3< /dev/shm/echo; /proc/self/fd/3 hi",
            "hi",
        ),
        (
            "for f in sys/kernel/panic sys/vm/drop_caches sysrq-trigger irq/new bus/new fs/new; do"
            ' bash -c "echo 1 > /proc/$f" 2>&1; done',
            "".join(
                f"bash: line 1: /proc/{name}: Read-only file system\n"
                for name in ("sys/kernel/panic", "sys/vm/drop_caches", "sysrq-trigger", "irq/new", "bus/new", "fs/new")
            ).rstrip(),
        ),
        ("bash -c 'echo x > /proc/self/limits' 2>&1", "bash: line 1: echo: write error: Permission denied"),
        ("grep -c '^proc .* ro,' /proc/mounts", "5"),
        (
            "cat /proc/sys/kernel/panic; wc -c < /proc/sys/kernel/random/uuid; stat -c %a /proc/sys/vm/swappiness",
            "0\n37\n644",
        ),
        ("[ $(cat /proc/sys/kernel/random/uuid) != $(cat /proc/sys/kernel/random/uuid) ] && echo differ", "differ"),
        (
            "cat /proc/1/mem /proc/sys/vm/laptop_mode /proc/bus/pci/devices",
            "embedded lab: the real kernel has this file, the lab doesn't\n" * 2
            + "embedded lab: the real kernel has this file, the lab doesn't",
        ),
        ("wc -c < /proc/kcore; ls /proc/acpi /proc/scsi", "0\n/proc/acpi:\n\n/proc/scsi:"),
        ("touch /sys/x 2>&1", "touch: cannot touch '/sys/x': Read-only file system"),
        ("head -c 4 /bin/ls | xxd -p", "7f454c46"),
    ],
)
async def test_special_files(pod, command, printed):
    out = (await pod.sh(command)).out.rstrip("\n")
    assert out == printed or (printed == "{}" and int(out) > 5)


async def test_the_host_sees_its_containers_processes(start):
    pod = await start(host_pid=True, mounts=[Mount("/host/proc", HostPath("/proc"), read_only=True)])
    number = pod.container.pid
    assert (await pod.sh(f"cat /host/proc/{number}/comm; ls /proc | grep -c '^{number}$'")).out == "test-wait\n1\n"


async def test_a_read_only_root_takes_writes_in_volumes_only(start):
    pod = await start(read_only_root=True, mounts=[Mount("/cache", EmptyDir())])
    result = await pod.sh("touch /tmp/x; echo x > /etc/y; touch /cache/z /dev/shm/z && head -1 /proc/mounts")
    assert result.err.splitlines() == [
        "touch: cannot touch '/tmp/x': Read-only file system",
        "sh: 1: cannot create /etc/y: Read-only file system",
    ]
    assert result.out == "overlay / overlay ro,relatime 0 0\n"


async def test_what_is_mounted_noexec_nosuid_or_nodev_restricts_every_file_below(start, node):
    options = {"/n/exec": "rw,noexec", "/n/suid": "rw,nosuid", "/n/dev": "rw,nodev", "/n/all": "rw"}
    pod = await start()
    for path, text in options.items():
        root = new_tmpfs(node.kernel.now, pod.container.memory)
        root.entries["zero"] = Device("zero", 1, 5)
        pod.container.filesystem.mount(path, root, options=text)
        await pod.sh(f"mkdir {path}/d; cp /usr/bin/id {path}/d/id; chmod 4755 {path}/d/id")
    told = {}
    for path in options:
        ran = await pod.sh(f"su app -s /bin/sh -c '{path}/d/id -u; head -c 1 {path}/zero | wc -c'")
        told[path] = ran.out.split()
    assert told == {
        "/n/exec": ["1"],
        "/n/suid": ["1000", "1"],
        "/n/dev": ["0", "0"],
        "/n/all": ["0", "1"],
    }


@pytest.mark.parametrize(
    ("copy", "mode", "command", "out"),
    [
        (
            "bash",
            "4755",
            "{} -p -c 'id; echo $UID $EUID; head -c 5 /etc/shadow'",
            "uid=1000(app) gid=1000(app) euid=0(root) groups=1000(app)\n1000 0\nroot:",
        ),
        ("bash", "4755", "{} -c id", "uid=1000(app) gid=1000(app) groups=1000(app)\n"),
        ("dash", "4755", "{} -p -c 'id -u'; {} -c 'id -u'", "0\n1000\n"),
        ("id", "4755", "{}; {} -ur; {} -un", "uid=1000(app) gid=1000(app) euid=0(root) groups=1000(app)\n1000\nroot\n"),
        ("id", "2755", "{}; {} -G", "uid=1000(app) gid=1000(app) egid=0(root) groups=0(root),1000(app)\n1000 0\n"),
        ("touch", "4755", "{} /tmp/new; stat -c %U /tmp/new", "root\n"),
    ],
)
async def test_a_set_uid_copy_and_its_children_act_as_its_owner(pod, copy, mode, command, out):
    text = command.replace("{}", "/tmp/copy").replace("$", "\\$")
    result = await pod.bash(f'cp /bin/{copy} /tmp/copy; chmod {mode} /tmp/copy; su -s /bin/bash app -c "{text}"')
    assert (result.out, result.err) == (out, "")


async def test_a_container_without_privilege_escalation_ignores_set_uid(start):
    pod = await start(no_new_privileges=True)
    result = await pod.bash("cp /bin/id /tmp/copy; chmod 4755 /tmp/copy; su app -c '/tmp/copy -u'")
    assert result.out == "1000\n"


async def test_events_of_a_set_uid_shell_have_its_effective_user(pod):
    await pod.bash(
        "cp /bin/bash /tmp/copy; chmod 4755 /tmp/copy; su app -c '/tmp/copy -p -c \"head -1 /etc/shadow; :\"'"
    )
    (opened,) = pod.seen("openat", proc_name="head", fd_name="/etc/shadow")
    assert (opened["user.uid"], opened["user.name"]) == (0, "root")
    (started,) = pod.seen("execve", proc_name="head")
    assert (started["user.uid"], started["group.gid"]) == (0, 1000)


async def test_a_privileged_container_has_a_writable_proc(start):
    pod = await start(privileged=True)
    assert (await pod.sh("grep -c '^proc .* ro,' /proc/mounts")).out == "0\n"
