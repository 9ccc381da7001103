"""Events as Falco shows them: texts and values after recordings of Falco 0.44.1."""

from __future__ import annotations

import pytest

from ekslab.node import EmptyDir, KernelEvent, Mount, subscribe


async def test_opening_a_file_reads_as_recorded(pod):
    await pod.sh(
        "cat /etc/shadow > /dev/null; cd /etc; cat hostname > /dev/null; cat /var/www/../../etc/shadow >/dev/null"
    )
    event = pod.seen("openat", fd_name="/etc/shadow")[0]
    inode = event["fd.ino"]
    device = event["fd.dev"]
    assert event["evt.args"] == (
        "fd=3(<f>/etc/shadow) dirfd=-100(AT_FDCWD) name=/etc/shadow flags=65537(O_RDONLY|FD_LOWER_LAYER) mode=0 "
        f"dev={device} ino={inode}"
    )
    assert (event["evt.res"], event["evt.rawres"], event["evt.is_open_read"], event["evt.is_open_write"]) == (
        "SUCCESS",
        3,
        True,
        False,
    )
    assert (event["fd.directory"], event["fd.filename"], event["fd.typechar"], event["fd.num"]) == (
        "/etc",
        "shadow",
        "f",
        3,
    )
    relative = pod.seen("openat", fd_nameraw="hostname")[0]
    assert relative["fd.name"] == "/etc/hostname"
    assert "name=hostname(/etc/hostname)" in str(relative["evt.args"])
    assert pod.seen("openat", fd_nameraw="/var/www/../../etc/shadow")[0]["fd.name"] == "/etc/shadow"


async def test_creating_a_file_reads_as_recorded(pod):
    await pod.sh("echo evil > /bin/evil; echo more >> /bin/evil")
    created, appended = pod.seen("openat", fd_name="/bin/evil")
    assert created["evt.arg"]["flags"] == "O_TRUNC|O_CREAT|O_WRONLY|O_F_CREATED|FD_UPPER_LAYER"
    assert "flags=49414(" in created["evt.args"]
    assert created["evt.arg"]["mode"] == "0666"
    assert appended["evt.arg"]["flags"] == "O_APPEND|O_CREAT|O_WRONLY|FD_UPPER_LAYER"
    there, back = pod.seen("dup2", proc_name="sh")[:2]
    assert there["evt.args"] == "res=1(<f>/bin/evil) oldfd=3(<f>/bin/evil) newfd=1(<f>/bin/evil)"
    assert back["evt.args"] == "res=1(<p>) oldfd=10(<p>) newfd=1(<p>)"


async def test_a_failed_open_keeps_its_name(pod):
    await pod.sh("cat /etc/none 2>/dev/null")
    event = pod.seen("openat", fd_name="/etc/none")[0]
    assert (event["evt.res"], event["evt.rawres"], event["evt.failed"], event["fd.num"], event["fd.typechar"]) == (
        "ENOENT",
        -2,
        True,
        -1,
        "f",
    )
    assert event["evt.arg"]["fd"] == "ENOENT"


async def test_executing_a_program_reads_as_recorded(pod):
    await pod.sh("/bin/cat /etc/hostname > /dev/null")
    shell, event = pod.seen("execve")
    assert (shell["proc.name"], shell["proc.exe"], shell["proc.exepath"]) == ("sh", "sh", "/usr/bin/dash")
    assert (shell["proc.pname"], shell["proc.aname"]) == ("containerd-shim", ["sh", "containerd-shim"])
    assert (event["proc.name"], event["proc.exe"], event["proc.exepath"]) == ("cat", "/bin/cat", "/usr/bin/cat")
    assert event["proc.cmdline"] == "cat /etc/hostname"
    assert event["proc.exeline"] == "/bin/cat /etc/hostname"
    assert event["proc.pcmdline"] == "sh -c /bin/cat /etc/hostname > /dev/null"
    assert event["proc.aname"] == ["cat", "sh", "containerd-shim"]
    assert event["proc.sname"] == "sh"
    assert event["evt.arg"]["flags"] == "EXE_WRITABLE|EXE_LOWER_LAYER"
    assert event["evt.arg"]["args"] == "/etc/hostname."
    assert event["proc.is_exe_lower_layer"] is True
    assert (event["user.name"], event["user.uid"], event["user.loginuid"], event["group.name"]) == (
        "root",
        0,
        -1,
        "root",
    )
    assert event["thread.cap_effective"] == (
        "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP "
        "CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SYS_CHROOT CAP_MKNOD CAP_AUDIT_WRITE CAP_SETFCAP"
    )
    assert event["evt.arg"]["cap_effective"] == "A80425FB"
    assert event["proc.cwd"] == "/"


async def test_a_dropped_binary_is_of_the_upper_layer_and_a_file_in_a_volume_of_none(start):
    pod = await start(mounts=[Mount("/scratch", EmptyDir(medium="Memory"))])
    await pod.sh("cp /bin/true /tmp/t; /tmp/t; cp /bin/true /scratch/t; cd /scratch; ./t; chmod +x /bin/ls; ls")
    flags = {str(event["proc.exepath"]): event["evt.arg"]["flags"] for event in pod.seen("execve")}
    assert flags["/tmp/t"] == "EXE_WRITABLE|EXE_UPPER_LAYER"
    assert flags["/scratch/t"] == "EXE_WRITABLE"
    assert flags["/usr/bin/ls"] == "EXE_WRITABLE|EXE_UPPER_LAYER"
    in_volume = pod.seen("execve", proc_exepath="/scratch/t")[0]
    assert (in_volume["proc.exe"], in_volume["proc.cwd"]) == ("./t", "/scratch/")


TRIED = ["/usr/local/sbin/{}", "/usr/local/bin/{}", "/usr/sbin/{}", "/usr/bin/{}"]


@pytest.mark.parametrize(
    ("command", "tried"),
    [
        ("env true", TRIED),
        ("timeout 5 true", TRIED),
        ("nohup true", TRIED),
        ("nice true", TRIED),
        ("setsid true", TRIED),
        ("stdbuf -o0 true", TRIED),
        ("setpriv true", TRIED),
        ("unshare true", TRIED),
        ("find /etc/hostname -exec true {} ';'", TRIED),
        ("echo x | xargs true", TRIED),
        ("exec true", TRIED),
        ("true() { /bin/true; }; true", ["/bin/true"]),
        ("command /bin/true; bash -c 'env true'", ["/bin/true", *TRIED]),
        ("bash -c 'exec true'", ["/usr/bin/true"]),
        ("env /usr/bin/true", ["/usr/bin/true"]),
        ("cp /etc/passwd /tmp/true; PATH=/tmp:/bin env true", ["/tmp/{}", "/bin/{}"]),
        ("cd /tmp; PATH=:/bin env true", ["./{}", "/bin/{}"]),
    ],
)
async def test_a_program_that_looks_along_path_makes_an_execve_for_each_directory(pod, command, tried):
    await pod.sh(command)
    calls = [event for event in pod.seen("execve") if str(event["evt.arg"]["filename"]).endswith("/true")]
    assert [event["evt.arg"]["filename"] for event in calls] == [path.format("true") for path in tried]
    assert [event["evt.res"] == "SUCCESS" for event in calls] == [
        event["evt.arg"]["filename"] in ("/bin/true", "/usr/bin/true") for event in calls
    ]


async def test_an_execve_that_fails_shows_the_process_as_it_is_and_what_it_tried(pod):
    await pod.sh("find /etc/hostname -exec cat {} ';'")
    failed = pod.seen("execve", evt_res="ENOENT")
    assert [event["evt.arg"]["filename"] for event in failed] == [path.format("cat") for path in TRIED[:3]]
    event = failed[0]
    assert (event["evt.failed"], event["evt.rawres"], event["evt.arg"]["res"]) == (True, -2, "ENOENT")
    assert (event["evt.arg"]["exe"], event["evt.arg"]["args"], event["evt.arg"]["comm"]) == (
        "cat",
        "/etc/hostname.",
        "find",
    )
    assert event["evt.arg"]["trusted_exepath"] == "/usr/bin/find"
    assert (event["proc.name"], event["proc.cmdline"]) == ("find", "find /etc/hostname -exec cat {} ;")
    assert (event["proc.pname"], event["proc.exepath"]) == ("find", "/usr/bin/find")
    assert event["evt.arg"]["flags"] == "EXE_WRITABLE|EXE_LOWER_LAYER"


@pytest.mark.parametrize(
    ("shell", "command", "code", "message", "error"),
    [
        ("sh", "cp /bin/ls /dev/shm/l; /dev/shm/l /", 126, "sh: 1: /dev/shm/l: Permission denied", "EACCES"),
        ("bash", "cp /bin/ls /dev/shm/l; /dev/shm/l /", 126, "bash: line 1: /dev/shm/l: Permission denied", "EACCES"),
        ("sh", "cp /bin/ls /dev/shm/l; cd /dev/shm; ./l", 126, "sh: 1: ./l: Permission denied", "EACCES"),
        (
            "sh",
            "cp /bin/ls /dev/shm/l; env /dev/shm/l",
            126,
            "env: '/dev/shm/l': Permission denied",
            "EACCES",
        ),
        (
            "sh",
            "printf '#!/dev/shm/l\\n' > /tmp/s; cp /bin/sh /dev/shm/l; chmod +x /tmp/s; /tmp/s",
            126,
            None,
            "EACCES",
        ),
        ("sh", "./nowhere; true; ./nowhere", 127, "sh: 1: ./nowhere: not found", "ENOENT"),
        ("bash", "./nowhere", 127, "bash: line 1: ./nowhere: No such file or directory", "ENOENT"),
        ("sh", "nowhere", 127, "sh: 1: nowhere: not found", None),
        ("bash", "nowhere", 127, "bash: line 1: nowhere: command not found", None),
        (
            "sh",
            "timeout 5 nowhere",
            127,
            "timeout: failed to run command 'nowhere': No such file or directory",
            "ENOENT",
        ),
    ],
)
async def test_what_can_not_be_run_fails_in_execve_as_often_as_it_is_tried(pod, shell, command, code, message, error):
    result = await pod.run(shell, "-c", command)
    assert result.code == code
    if message is not None:
        assert result.err.splitlines()[0] == message
    failed = {event["evt.res"] for event in pod.seen("execve") if event["evt.failed"]}
    assert failed == ({error} if error else set())


async def test_changes_of_the_file_system_read_as_recorded(pod):
    await pod.sh(
        "mkdir /usr/bin/newdir; cp /bin/ls /tmp/a; mv /tmp/a /tmp/b; ln -s /etc/shadow /tmp/s; ln /etc/shadow /tmp/h;"
        " rm /tmp/b; chmod 4755 /tmp/h; cd /tmp; rmdir /usr/bin/newdir"
    )
    assert pod.seen("mkdir")[0]["evt.args"] == "res=0 path=/usr/bin/newdir mode=1FF"
    assert pod.seen("renameat2")[0]["evt.args"] == (
        "res=0 olddirfd=-100(AT_FDCWD) oldpath=/tmp/a newdirfd=-100(AT_FDCWD) newpath=/tmp/b flags=1(RENAME_NOREPLACE)"
    )
    assert (pod.seen("symlinkat")[0]["evt.arg"]["target"], pod.seen("symlinkat")[0]["evt.arg"]["linkpath"]) == (
        "/etc/shadow",
        "/tmp/s",
    )
    assert (pod.seen("linkat")[0]["evt.arg"]["oldpath"], pod.seen("linkat")[0]["evt.arg"]["newpath"]) == (
        "/etc/shadow",
        "/tmp/h",
    )
    (removed,) = pod.seen("unlinkat")
    assert (removed["evt.arg"]["name"], removed["fs.path.name"], removed["fd.name"]) == ("/tmp/b", "/tmp/b", "")
    assert removed["evt.args"] == "res=0 dirfd=-100(AT_FDCWD) name=/tmp/b flags=0"
    assert pod.seen("rmdir")[0]["evt.args"] == "res=0 path=/usr/bin/newdir"
    assert "S_ISUID" in pod.seen("fchmodat")[0]["evt.arg"]["mode"]
    assert pod.seen("chdir")[0]["evt.arg"]["path"] == "/tmp"


@pytest.mark.parametrize(
    ("command", "calls"),
    [
        ("rm /tmp/w/f", ["unlinkat SUCCESS"]),
        ("rm -f /tmp/w/none", ["unlinkat ENOENT"]),
        ("rm -r /tmp/w/d", ["unlinkat SUCCESS", "unlinkat SUCCESS"]),
        ("unlink /tmp/w/f", ["unlink SUCCESS"]),
        ("rmdir /tmp/w/e", ["rmdir SUCCESS"]),
        ("cp -r /tmp/w/d /tmp/w/d2", ["mkdirat SUCCESS"]),
        ("mkdir /tmp/w/n", ["mkdir SUCCESS"]),
        ("ln -s /etc/shadow /tmp/w/l", ["symlinkat SUCCESS"]),
        ("ln -sf /etc/shadow /tmp/w/f", ["symlinkat EEXIST", "symlinkat SUCCESS", "rename SUCCESS"]),
        ("ln -f /tmp/w/d/a /tmp/w/f", ["linkat EEXIST", "linkat SUCCESS", "rename SUCCESS"]),
        ("mv /tmp/w/f /tmp/w/g", ["renameat2 SUCCESS"]),
        ("find /tmp/w/d -delete", ["unlinkat SUCCESS", "unlinkat SUCCESS"]),
    ],
)
async def test_programs_make_the_calls_that_the_real_ones_make(pod, command, calls):
    await pod.sh("mkdir -p /tmp/w/d /tmp/w/e; echo > /tmp/w/f; echo > /tmp/w/d/a")
    kinds = ("unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "symlinkat", "linkat", "rename", "renameat2")
    before = len(pod.events)
    await pod.run(*command.split())
    made = [f"{event['evt.type']} {event['evt.res']}" for event in pod.events[before:] if event["evt.type"] in kinds]
    assert made == calls


async def test_a_long_list_and_its_names_read_the_accounts(pod):
    await pod.sh("ls /etc > /dev/null; ls -n /etc > /dev/null")
    assert pod.seen("openat", fd_name="/etc/passwd") == []
    await pod.sh("ls -l /etc > /dev/null")
    assert len(pod.seen("openat", fd_name="/etc/passwd", proc_name="ls")) == 1


async def test_containers_and_pods_are_named(start):
    pod = await start(pod_labels={"app": "web"}, labels={"tier": "front"}, privileged=True)
    await pod.sh("true")
    event = pod.seen("execve")[0]
    assert event["container.id"] == pod.container.id[:12]
    assert (event["container.image.repository"], event["container.image.tag"]) == ("docker.io/library/nginx", "1.22")
    assert (event["k8s.ns.name"], event["k8s.pod.name"], event["container.name"]) == ("shop", "web-0", "nginx")
    assert (event["k8s.pod.labels"], event["container.privileged"]) == ("app:web", True)
    assert event["container.start_ts"] == pod.container.started_at


async def test_a_terminal_has_a_number(pod):
    await pod.run("bash", stdin="id\nexit\n", tty=True)
    assert pod.seen("execve", proc_name="bash")[0]["proc.tty"] == 34816
    inside = pod.seen("execve", proc_name="id")[0]
    assert (inside["proc.tty"], inside["proc.pname"], inside["proc.is_vpgid_leader"]) == (34816, "bash", True)


async def test_bash_with_one_command_becomes_it_and_dash_waits(pod):
    await pod.bash("cat /etc/hostname")
    await pod.sh("cat /etc/hostname")
    by_bash, by_dash = pod.seen("execve", proc_name="cat")
    assert by_bash["proc.pname"] == "containerd-shim"
    assert by_dash["proc.pname"] == "sh"
    assert pod.seen("vfork")
    assert {event["evt.arg"]["status"] for event in pod.seen("procexit")} == {"0"}


async def test_time_always_moves_and_numbers_count(pod):
    await pod.sh("ls -R /etc > /dev/null")
    times = [event["evt.time"] for event in pod.events]
    numbers = [event["evt.num"] for event in pod.events]
    assert times == sorted(set(times))
    assert numbers == sorted(set(numbers))


async def test_subscribers_come_and_go_and_choose_types(pod):
    seen: list[str] = []

    def note(event: KernelEvent) -> None:
        seen.append(event.type)

    leave = subscribe(pod.node.kernel, note, types=["execve"])
    await pod.sh("cat /etc/hostname > /dev/null")
    leave()
    await pod.sh("true; ls")
    assert seen == ["execve", "execve"]


async def test_fields_that_dont_exist_are_missing(pod):
    values: list[object] = []
    leave = subscribe(
        pod.node.kernel,
        lambda event: values.extend(
            [event.get("proc.aname", "9"), event.get("fd.sip"), event.get("no.such"), event.get("evt.arg", "x")]
        ),
    )
    await pod.sh("true")
    leave()
    assert values
    assert set(values) == {None}
