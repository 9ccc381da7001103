"""Archives, comparisons, users, openssl and the other programs that Debian's packages bring: what they print."""

from __future__ import annotations

import io
import tarfile

import pytest


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        (
            "mkdir -p /tmp/q/r; echo one > /tmp/q/f; ln -s f /tmp/q/l; cd /tmp; tar cvf q.tar q; tar tf q.tar | sort",
            "q/\nq/r/\nq/f\nq/l\nq/\nq/f\nq/l\nq/r/",
        ),
        (
            "cd /tmp; mkdir a b; echo x > a/f; chmod 640 a/f; chown app a/f; tar czf a.tgz a; tar xzf a.tgz -C b;"
            " stat -c '%a %U' b/a/f; cat b/a/f",
            "640 app\nx",
        ),
        ("tar cf - /etc/hostname 2>/dev/null | tar xOf -", "web-0"),
        ("cd /tmp; tar xf none.tar 2>&1 | head -1", "tar: none.tar: Cannot open: No such file or directory"),
        (
            "tar cf /tmp/t.tar /nope 2>&1; echo $?",
            "tar: /nope: Cannot stat: No such file or directory\n"
            "tar: Exiting with failure status due to previous errors\n2",
        ),
        (
            "cd /tmp; touch one two; tar cf x.tar one two; tar tf x.tar two; tar --exclude=one -cvf y.tar one two",
            "two\ntwo",
        ),
        (
            "cd /tmp; mkdir -p a/b; touch a/b/c; tar cf a.tar a; mkdir o; "
            "tar xf a.tar -C o --strip-components=1; ls o/b",
            "c",
        ),
        ("echo hi > /tmp/g; gzip /tmp/g; ls /tmp; zcat /tmp/g.gz; gunzip /tmp/g.gz; cat /tmp/g", "g.gz\nhi\nhi"),
        ("echo hi | gzip -c | gzip -dc; gzip -c /etc/hostname | zcat", "hi\nweb-0"),
        ("gzip -d /etc/hostname 2>&1", "gzip: /etc/hostname: unknown suffix -- ignored"),
        ("echo needle > /tmp/n; gzip /tmp/n; zgrep -c needle /tmp/n.gz", "1"),
        (
            "cd /tmp; printf 'a\\nb\\n' > 1; printf 'a\\nc\\nd\\n' > 2; diff 1 2; echo $?",
            "2c2,3\n< b\n---\n> c\n> d\n1",
        ),
        (
            "cd /tmp; printf 'a\\nb\\n' > 1; cp 1 2; diff 1 2; diff -s 1 2; diff -q 1 /etc/hostname",
            "Files 1 and 2 are identical\nFiles 1 and /etc/hostname differ",
        ),
        (
            "cd /tmp; printf 'a\\nb' > 1; printf 'a\\nc\\n' > 2; diff -u 1 2 | tail -n +3",
            "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+c",
        ),
        ("cd /tmp; mkdir x y; touch x/a y/b; diff -r x y", "Only in x: a\nOnly in y: b"),
        (
            "cd /tmp; printf abc > 1; printf abd > 2; cmp 1 2; cmp -s 1 1; echo $?; cmp -l 1 2",
            "1 2 differ: byte 3, line 1\n0\n3 143 144",
        ),
        ("cd /tmp; printf ab > 1; printf abc > 2; cmp 1 2 2>&1", "cmp: EOF on 1 after byte 2, in line 1"),
        (
            "install -m 600 -o app /etc/hostname /tmp/h; stat -c '%a %U' /tmp/h; install -d -m 711 /tmp/i; "
            "stat -c %a /tmp/i",
            "600 app\n711",
        ),
        ("cd /tmp; seq 5 > s; split -l 2 s p; cat pac; split -b 3 -d s q; ls q*", "5\nq00\nq01\nq02\nq03"),
        ("seq 9 | shuf | sort | paste -sd,; shuf -e a | cat; factor 97 12", "1,2,3,4,5,6,7,8,9\na\n97: 97\n12: 2 2 3"),
        ("printf 'a\\tb\\n' | expand -t 4; printf '        x\\n' | unexpand | od -An -c | tr -d ' '", "a   b\n\\tx\\n"),
        (
            "printf 'a 1\\nb 2\\n' > /tmp/1; printf 'a x\\nc y\\n' > /tmp/2; join /tmp/1 /tmp/2; "
            "join -a1 /tmp/1 /tmp/2",
            "a 1 x\na 1 x\nb 2",
        ),
        ("printf 123456789 | cksum; printf abc | sum", "930766865 9\n16556     1"),
        ("echo '$A-${B}-$C' | A=1 B=2 envsubst; echo '$A $B' | A=1 B=2 envsubst '$B'", "1-2-\n$A 2"),
        (
            "printf abc | openssl dgst -sha256; printf abc | openssl md5 -r; openssl rand -hex 8 | wc -c",
            "SHA256(stdin)= ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"
            "900150983cd24fb0d6963f7d28e17f72 *stdin\n17",
        ),
        ("echo hello | openssl base64; echo aGVsbG8K | openssl enc -base64 -d", "aGVsbG8K\nhello"),
        (
            "openssl req 2>&1; openssl nope 2>&1",
            "openssl: embedded lab: the real image's openssl has req, the lab's doesn't\n"
            "Invalid command 'nope'; type \"help\" for a list.",
        ),
        (
            "ldd /bin/ls | tail -1 | cut -d' ' -f1; ldd /etc/passwd; echo $?",
            "\t/lib64/ld-linux-x86-64.so.2\n\tnot a dynamic executable\n1",
        ),
        ("/lib64/ld-linux-x86-64.so.2 /bin/echo by the loader", "by the loader"),
        (
            "cp /bin/echo /dev/shm/e; /lib64/ld-linux-x86-64.so.2 /dev/shm/e x 2>&1",
            "/dev/shm/e: error while loading shared libraries: /dev/shm/e: failed to map segment from shared object",
        ),
        (
            "findmnt -no OPTIONS /dev/shm; mountpoint /dev/shm; mountpoint -q /etc; echo $?",
            "rw,nosuid,nodev,noexec,relatime,size=65536k\n/dev/shm is a mountpoint\n32",
        ),
        ("setpriv --dump | head -4 | tr '\\n' ' '", "uid: 0 euid: 0 gid: 0 egid: 0 "),
        ("curl -s file:///etc/hostname; curl -s file:///nope; echo $?", "web-0\n37"),
        (
            "su -s /bin/sh www-data -c 'id -un; echo $HOME'; su www-data -c id",
            "www-data\n/var/www\nThis account is currently not available.",
        ),
        (
            "su - app -c 'echo $PATH $USER'; runuser -u app -- id -un",
            "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games app\napp",
        ),
        (
            "chroot / id -un; chroot /nowhere id 2>&1",
            "root\nchroot: cannot change root directory to '/nowhere': No such file or directory",
        ),
        (
            "flock /tmp/l echo locked; script -qc 'echo typed' /tmp/ty; cat /tmp/ty; taskset 1 echo t; chrt 0 echo c",
            "locked\ntyped\ntyped\nt\nc",
        ),
        (
            "nsenter -t 1 -a 2>&1; nsenter 2>&1 | head -1",
            "nsenter: reassociate to namespace 'ns/ipc' failed: Operation not permitted\n"
            "nsenter: no target PID specified",
        ),
        (
            "passwd -S root; passwd -l app; passwd -S app | cut -d' ' -f1,2",
            "root L 2025-10-09 0 99999 7 -1\npasswd: password changed.\napp L",
        ),
        (
            "printf 'p\\np\\n' | passwd app 2>/dev/null; passwd -S app | cut -d' ' -f2; "
            "echo app:x | chpasswd; getent shadow app | cut -c1-7",
            "P\napp:$y$",
        ),
        ("groupadd dev; usermod -aG dev,adm app; id -Gn app; groupdel dev; id -Gn app", "app adm dev\napp adm"),
        ("useradd -m bob; userdel -r bob 2>/dev/null; ls /home; id bob 2>&1", "id: 'bob': no such user"),
        (
            "useradd app 2>&1; useradd 'a b' 2>&1; groupadd adm 2>&1; userdel nobody-here 2>&1",
            "useradd: user 'app' already exists\nuseradd: invalid user name 'a b': use --badname to ignore\n"
            "groupadd: group 'adm' already exists\nuserdel: user 'nobody-here' does not exist",
        ),
        (
            "dpkg -S bin/tar | head -1; dpkg -L tar | head -2; "
            "dpkg-query -W -f='${Package} ${Version}\\n' tar; dpkg -s nope 2>&1 | head -1",
            "tar: /usr/bin/tar\n/.\n/usr/bin/tar\ntar 1.35+dfsg-3.1\n"
            "dpkg-query: package 'nope' is not installed and no information is available",
        ),
        (
            "update-alternatives --list awk; apt-cache policy nope; run-parts --test /etc/cron.daily",
            "/usr/bin/mawk\n/etc/cron.daily/apt-compat\n/etc/cron.daily/dpkg",
        ),
        (
            "sed -n 2p /proc/net/tcp | wc -l; head -1 /proc/self/limits | cut -c1-5; "
            "ls /proc/self/ns | wc -l; cat /proc/keys /proc/kallsyms",
            "0\nLimit\n8\nembedded lab: the real kernel has this file, the lab doesn't",
        ),
        ("echo 'echo $0' > /tmp/s; chmod +x /tmp/s; /tmp/s; env /tmp/s; bash -c '/tmp/s; :'", "/tmp/s\n/tmp/s\n/tmp/s"),
        ("echo x | sed 's/$/y/g'; echo ab | sed 's/b*/-/g'", "xy\n-a-"),
    ],
)
async def test_a_program_prints(pod, command, printed):
    assert (await pod.sh(command)).out.rstrip("\n") == printed


async def test_an_archive_of_the_lab_is_a_real_one(pod):
    await pod.sh("cd /etc; tar czf /tmp/x.tgz passwd pam.d; tar cf /tmp/x.tar passwd")
    data = pod.container.filesystem.read_bytes("/tmp/x.tgz")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        names = archive.getnames()
        member = archive.extractfile("passwd")
        assert member is not None
        assert member.read().startswith(b"root:x:0:0:")
    assert {"passwd", "pam.d", "pam.d/su"} <= set(names)
    assert len(pod.container.filesystem.read_bytes("/tmp/x.tar")) == 10_240


async def test_an_archive_that_is_hostile_writes_nothing_outside(pod):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in ("../evil", "/abs", "ok"):
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    pod.container.filesystem.write_bytes("/tmp/in.tar", made.getvalue())
    result = await pod.sh("mkdir /tmp/d; cd /tmp/d; tar xf ../in.tar; find / -xdev -name evil -o -xdev -name abs")
    assert result.out == "/tmp/d/abs\n"
    assert "tar: ../evil: Member name contains '..'" in result.err


async def test_the_archive_of_another_program_can_be_broken(pod):
    for data in (b"", b"x" * 700, b"\x1f\x8b\x08\x00broken", bytes(10_240)):
        pod.container.filesystem.write_bytes("/tmp/in.tar", data)
        result = await pod.sh("tar xf /tmp/in.tar")
        assert result.code in (0, 2)
        assert "internal error" not in result.err
