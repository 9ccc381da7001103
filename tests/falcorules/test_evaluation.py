"""What conditions mean: each operator on each type, missing fields, fields that stand for several values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from falcorules import RuleError

Matches = Callable[..., bool]


@pytest.mark.parametrize(
    "check",
    [
        "fd.name = x",
        "fd.name != x",
        "fd.name < 1",
        "fd.num >= 0",
        "fd.name in (x)",
        "fd.name in ()",
        "fd.name intersects (x)",
        "fd.name pmatch (/)",
        "fd.name contains ''",
        "fd.name startswith ''",
        "fd.name regex '.*'",
        "fd.name glob '*'",
        "fd.name != anyof (x)",
        "fd.sip != 1.2.3.4",
        "fd.ip != 1.2.3.4",
        "fd.snet != 10.0.0.0/8",
        "fd.types in (x)",
        "proc.aname != x",
        "len(fd.name) >= 0",
        "fd.name = val(proc.name)",
        "proc.name != val(fd.name)",
        "fd.name exists",
    ],
)
def test_a_comparison_with_a_missing_field_is_false(matches: Matches, check: str) -> None:
    assert not matches(check, proc__name="cat")
    assert matches(f"not ({check})", proc__name="cat")


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ("= /etc/shadow", True),
        ("== /etc/shadow", True),
        ("= /etc/Shadow", False),
        ("!= x", True),
        ("!= /etc/shadow", False),
        ("< 1", True),
        ("> 1", False),
        (">= val(fd.nameraw)", True),
        ("< val(proc.name)", True),
        ("contains shad", True),
        ("contains ''", True),
        ("contains Shad", False),
        ("icontains SHAD", True),
        ("startswith /etc", True),
        ("endswith shadow", True),
        ("endswith /etc", False),
        ("glob /etc/*", True),
        ("glob *hado?", True),
        ("glob /etc", False),
        ("glob *", True),
        ("glob '/etc/[a-s]hadow'", True),
        ("glob '/etc/[!a-r]hadow'", True),
        ("glob '/etc/[[:alpha:]]hadow'", True),
        ("glob '/*shadow'", True),
        ("glob /ETC/*", False),
        ("iglob /ETC/*", True),
        ("regex '/etc/sha'", False),
        ("regex '/etc/sha[a-z]+'", True),
        ("regex '(/etc|/opt)/.*'", True),
        ("in (/etc/passwd, /etc/shadow)", True),
        ("in (/etc/passwd)", False),
        ("intersects (/etc/shadow)", True),
        ("pmatch (/etc)", True),
        ("pmatch (/etc/)", True),
        ("pmatch (/et)", False),
        ("pmatch (/e*)", True),
        ("pmatch (/etc/shadow/deeper)", False),
        ("pmatch (/)", True),
        ("pmatch (//etc//shadow)", True),
        ("pmatch (/*/shadow)", True),
        ("startswith oneof (/etc, /opt)", True),
        ("startswith oneof (/etc, /)", False),
        ("startswith oneof (/etc, /etc)", False),
        ("startswith anyof (/opt, /etc)", True),
        ("contains allof (etc, shadow)", True),
        ("contains allof (etc, passwd)", False),
        ("= anyof (/etc/shadow, x)", True),
        ("!= allof (x, y)", True),
        ("!= anyof (/etc/shadow, y)", True),
        ("= oneof ()", False),
        ("!= allof ()", False),
        ("regex anyof ('x', '/etc/.*')", True),
        ("= val(fd.nameraw)", True),
        ("= tolower(fd.nameraw)", True),
        ("startswith val(fd.directory)", True),
        ("in val(fd.nameraw)", True),
        ("!= val(proc.name)", True),
    ],
)
def test_string_operators(matches: Matches, check: str, expected: bool) -> None:
    values = {"fd.name": "/etc/shadow", "fd.nameraw": "/etc/shadow", "fd.directory": "/etc", "proc.name": "cat"}
    assert matches(f"fd.name {check}", values) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("fd.num = 3", True),
        ("fd.num != 3", False),
        ("fd.num < 4", True),
        ("fd.num > -1", True),
        ("fd.num in (1, 2, 3)", True),
        ("fd.num exists", True),
        ("fd.num = ' 3'", True),
        ("user.uid = 4294967295", False),
        ("user.loginuid = -1", True),
        ("evt.failed = false", True),
        ("evt.failed != true", True),
        ("evt.failed in (true)", False),
        ("proc.pid = val(proc.vpid)", False),
        ("proc.pid > val(proc.vpid)", True),
        ("proc.duration <= 5000000000", True),
        ("fd.dev = 65024", True),
        ("evt.time startswith 04:20:15.177", True),
        ("evt.datetime = '2026-11-23 04:20:15.177232855'", True),
        ("evt.dir = <", True),
        ("evt.dir = >", False),
        ("evt.around[1795407615177232850] = 1", True),
        ("evt.around[1795407615100000000] = 50", False),
        ("evt.type.is.openat = 1", True),
        ("evt.type.is.open = 0", True),
        ("evt.type != openat", False),
        ("evt.type contains open", True),
        ("not evt.type in (open, close)", True),
        ("evt.type exists", True),
    ],
)
def test_numbers_booleans_and_times(matches: Matches, condition: str, expected: bool) -> None:
    values = {
        "evt.time": 1795407615177232855,
        "fd.num": 3,
        "user.uid": 0,
        "user.loginuid": -1,
        "evt.failed": False,
        "proc.pid": 20,
        "proc.vpid": 2,
        "proc.duration": 7,
        "fd.dev": "FE00",
    }
    assert matches(condition, values) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("fd.sip = 10.0.0.1", True),
        ("fd.sip = 10.0.0.2", False),
        ("fd.sip != ::1", True),
        ("fd.sip in (1.1.1.1, 10.0.0.1)", True),
        ("fd.snet = 10.0.0.0/8", True),
        ("fd.snet in (192.168.0.0/16, 10.0.0.0/8)", True),
        ("fd.cnet in (192.168.0.0/16, 172.16.0.0/12)", True),
        ("fd.snet != 10.0.0.0/8", False),
        ("fd.snet = fd00::/8", False),
        ("fd.ip = 172.16.0.9", True),
        ("fd.ip = 10.0.0.1", True),
        ("fd.ip = 9.9.9.9", False),
        ("fd.ip != 172.16.0.9", False),
        ("fd.ip != 9.9.9.9", True),
        ("fd.ip in (9.9.9.9, 10.0.0.1)", True),
        ("fd.net = 10.0.0.0/8", True),
        ("fd.net in (172.16.0.0/16, 9.0.0.0/8)", True),
        ("fd.net in (9.0.0.0/8, 172.16.0.0/16)", False),  # Falco looks at the first network only
        ("fd.net != 10.0.0.0/8", False),
        ("fd.net in ()", False),
        ("fd.snet = 10.0.0.0/8 or fd.snet = 192.168.0.0/16", True),
        ("not fd.snet = 192.168.0.0/16 and not fd.snet = 10.0.0.0/8", False),
        ("fd.snet = anyof (192.168.0.0/16, 10.0.0.0/8)", True),
        ("fd.snet in ()", False),
        ("fd.net = anyof (10.0.0.0/8, 9.0.0.0/8)", True),
        ("fd.net = anyof (9.0.0.0/8, 10.0.0.0/8)", False),  # and overlooks modifiers of either side
        ("fd.snet != allof (9.0.0.0/8, 11.0.0.0/8)", True),
        ("fd.ip = oneof (10.0.0.1, 9.9.9.9)", True),
        ("fd.ip = oneof (9.9.9.9, 10.0.0.1)", False),
        ("fd.ip != allof (9.9.9.9, 10.0.0.1)", True),
        ("fd.port = anyof (22, 443)", False),
        ("fd.sport = anyof (22, 443)", True),
        ("fd.sip = oneof (10.0.0.1, 10.0.0.1)", False),  # it is two of them
        ("fd.port = 443", True),
        ("fd.port = 51000", True),
        ("fd.port in (22, 443)", True),
        ("fd.port != 443", False),
        ("fd.port > 50000", True),
        ("fd.sport = https", True),
        ("fd.proto = 443", True),
        ("fd.lip = ::1", False),
    ],
)
def test_addresses_networks_and_ports_match_either_side(matches: Matches, condition: str, expected: bool) -> None:
    values = {"fd.sip": "10.0.0.1", "fd.cip": "172.16.0.9", "fd.sport": 443, "fd.cport": 51000}
    assert matches(condition, values) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("proc.aname = bash", True),
        ("proc.aname = cat", False),  # the process itself is not its ancestor
        ("proc.aname in (sshd, init)", True),
        ("proc.aname != bash", True),  # some ancestor isn't bash
        ("proc.aname contains shim", False),
        ("proc.aname startswith ss", True),
        ("proc.aname exists", True),
        ("proc.aname pmatch (/x)", False),
        ("proc.aname = oneof (bash, sshd)", True),  # bash is one of them
        ("proc.aname startswith allof (b, ba)", True),
        ("proc.aname startswith allof (b, zz)", True),  # Falco overlooks the modifier, and looks at the first value
        ("proc.aname contains anyof (zz, sh)", False),
        ("proc.aname regex anyof (zz, 'ba.*')", False),
        ("proc.aname[1] contains anyof (zz, sh)", True),
        ("proc.aname[1] startswith allof (b, s)", False),
        ("proc.aname[0] = cat", True),
        ("proc.aname[1] = bash", True),
        ("proc.aname[9] = bash", False),
        ("proc.aname[9] exists", False),
        ("proc.apid = 1", True),
        ("proc.apid > 100", False),
        ("fd.types in (file, pipe, directory)", True),
        ("fd.types in (file)", False),
        ("fd.types intersects (ipv4, pipe)", True),
        ("fd.types intersects (ipv4)", False),
        ("fd.types exists", True),
        ("len(fd.types) = 2", True),
    ],
)
def test_ancestors_and_lists(matches: Matches, condition: str, expected: bool) -> None:
    values = {"proc.aname": ["cat", "bash", "sshd"], "proc.apid": [30, 20, 1], "fd.types": ["file", "pipe"]}
    assert matches(condition, values) is expected


def test_all_of_an_empty_list_are_in_any_set(matches: Matches) -> None:
    assert matches("fd.types in (file)", {"fd.types": []})
    assert not matches("fd.types intersects (file)", {"fd.types": []})


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("toupper(proc.name) = CAT", True),
        ("tolower(proc.exe) = /bin/cat", True),
        ("basename(proc.exepath) = cat", True),
        ("basename(tolower(proc.exe)) = cat", True),
        ("len(proc.name) = 3", True),
        ("len(proc.args) = 2", True),  # bytes, not characters
        ("b64(proc.env) contains secret", True),
        ("join('-', (proc.name, proc.pname)) = cat-bash", True),
        ("concat(proc.name, ':', proc.pname) = cat:bash", True),
        ("join('', ()) = ''", True),
        ("join('-', (proc.pid, 3, evt.failed)) = 7-3-false", True),  # whatever is in a list is text
        ("join('-', (proc.name, proc.cwd)) exists", False),
        ("join(proc.name, (proc.pname, proc.pname)) = bashcatbash", True),
        ("toupper(join('-', (proc.name, tolower(proc.exe)))) = CAT-/BIN/CAT", True),
        ("len(concat(proc.name, proc.pname)) = 7", True),
        ("b64(concat(proc.env, '')) startswith 'top '", True),
        ("b64(proc.name) exists", False),  # bits are left over
        ("b64(proc.pname) exists", True),
        ("concat(proc.aname, '!') = cat!", True),  # without a level: the process itself
        ("toupper(proc.cwd) = X", False),
        ("proc.name = basename(proc.exepath)", True),
        ("proc.name in val(proc.name)", True),
        ("proc.name in concat('c', 'at')", True),
        # A value that was transformed has its terminating NUL with it, and a set knows no such string.
        ("proc.name in tolower(proc.name)", False),
        ("proc.name = tolower(proc.name)", True),
        ("toupper(fd.types) intersects (FILE)", False),
        ("len(toupper(fd.types)) = 2", True),
        ("join(',', tolower(fd.types)) = 'file,pipe'", True),
        ("b64(evt.buffer) = secret", False),
        ("b64(evt.buffer) startswith secret", True),
        ("b64(evt.buffer) endswith secret", False),
        ("len(b64(evt.buffer)) = 7", True),
    ],
)
def test_transformers(matches: Matches, condition: str, expected: bool) -> None:
    values = {
        "proc.name": "cat",
        "proc.pname": "bash",
        "proc.exe": "/BIN/cat",
        "proc.exepath": "/usr/bin/cat",
        "proc.args": "é",
        "proc.env": "dG9wIHNlY3JldA",
        "proc.aname": ["cat", "bash"],
        "proc.pid": 7,
        "evt.failed": False,
        "fd.types": ["file", "pipe"],
        "evt.buffer": "c2VjcmV0",
    }
    assert matches(condition, values) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("getopt(('-n'), 'n') in (n)", True),
        ("getopt(('-t', 'hello'), 't:') in (t, hello)", True),
        ("getopt(('-t', 'hello'), 't:') = hello", None),  # a list
        ("getopt(('-nt', 'hello'), 'nt:') in (n, t, hello)", True),
        ("getopt(('-nthello'), 'nt:') intersects (hello)", True),
        ("getopt(('-x'), 'n') in ('?')", True),
        ("getopt(('-x'), 'n') intersects ('?')", True),
        ("getopt(('-xn'), 'n') intersects (n)", True),  # goes on after an unknown letter
        ("getopt(('-t'), 't:') in ('')", True),
        ("getopt(('-t', ''), 't:') in (t, '')", True),
        ("getopt(('-t', ''), 't:') in ('')", False),
        ("getopt(('-n', '--', '-t'), 'nt') intersects (t)", False),
        ("getopt(('file', '-n'), 'n') in ()", True),  # stops at the first that is no option
        ("getopt(('--long', '-n'), 'n') in (n)", True),
        ("getopt((proc.name), 'n') exists", True),
        ("getopt(('-p', '1', '-p', '2'), 'p:')[p] = 2", True),
        ("getopt(('-p', '1', '-l'), 'lp:')[l] = l", True),
        ("getopt(('-l'), 'lp:')[p] exists", False),
        ("getopt(('-p'), 'p:')[p] = ''", True),
        ("getopt(('-p', proc.name), ':p:')['p'] = cat", True),
        ("getopt(('-a'), 'ab') in getopt(('-a', '-b'), 'ab')", True),
        ("getopt(('-a', '-b'), 'ab') in getopt(('-a'), 'ab')", False),
        ("getopt(('-a', '-b'), 'ab') intersects getopt(('-b'), 'ab')", True),
        ("getopt(('-a'), 'ab') intersects getopt(('-b'), 'ab')", False),
    ],
)
def test_options_among_arguments(matches: Matches, condition: str, expected: bool | None) -> None:
    if expected is None:
        with pytest.raises(RuleError, match="not supported list filters"):
            matches(condition, {})
        return
    assert matches(condition, {"proc.name": "cat"}) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("proc.cmdline contains val(fd.name)", True),
        ("fd.name contains val(proc.cmdline)", False),
        ("fd.name endswith val(fd.filename)", True),
        ("fd.name endswith val(proc.name)", False),
        ("fd.name startswith val(fd.directory)", True),
        ("fd.name glob val(fd.nameraw)", True),
        ("fd.name glob val(proc.name)", False),
        ("proc.cmdline icontains toupper(proc.name)", True),
        ("fd.name iglob toupper(fd.nameraw)", True),
        ("evt.buffer bcontains val(evt.buffer)", True),
        ("evt.buffer bstartswith val(evt.buffer)", True),
        ("proc.name intersects val(proc.exe)", True),
        ("proc.pname != val(proc.name)", False),  # missing
    ],
)
def test_fields_on_both_sides(matches: Matches, condition: str, expected: bool) -> None:
    values = {
        "proc.name": "cat",
        "proc.exe": "cat",
        "proc.cmdline": "cat /etc/x",
        "fd.name": "/etc/x",
        "fd.nameraw": "/etc/?",
        "fd.directory": "/etc",
        "fd.filename": "x",
        "evt.buffer": "abc",
    }
    assert matches(condition, values) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("evt.buffer contains cret", True),
        ("evt.buffer startswith top", True),
        ("evt.buffer bcontains 736563", True),
        ("evt.buffer bstartswith 746f70", True),
        ("evt.buffer bstartswith 736563", False),
        ("evt.buffer endswith secret", True),
        ("evt.buffer = 'top secret'", True),
    ],
)
def test_buffers(matches: Matches, condition: str, expected: bool) -> None:
    assert matches(condition, {"evt.buffer": "top secret"}) is expected
    assert matches(condition, {"evt.buffer": b"top secret"}) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("evt.arg.flags contains O_CREAT", True),
        ("evt.arg[1] = /x", True),
        ("evt.arg.mode exists", False),
        ("evt.rawarg.mode = 5", False),
        ("evt.rawarg.name = /x", True),
        ("evt.rawarg.fd = -2", True),
        ("evt.rawarg.flags exists", False),  # only its text is recorded
    ],
)
def test_arguments_of_events(matches: Matches, condition: str, expected: bool) -> None:
    arguments = {"fd": "ENOENT", "flags": "O_CREAT|O_RDWR", "name": "/x"}
    values = {"evt.type": "open", "evt.rawres": -2, "evt.arg": arguments}
    assert matches(condition, values) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("proc.args[1] = b", True),
        ("proc.args[2] = 'c d'", True),  # three arguments, as the count says
        ("proc.args[3] exists", False),
        ("proc.aargs[1] = '-c x'", True),
        ("proc.aargs[2] = ''", True),
        ("proc.aargs[3] exists", False),
        ("fd.types[0] in (pipe)", True),
        ("fd.types[5] intersects (file)", True),
        ("fd.types[7] exists", False),
        ("proc.env[HOME] = /root", True),
        ("proc.env[PS1] = 'a b'", True),
        ("proc.env[NONE] = ''", True),
        ("k8s.pod.label[app] = web", True),
        ("k8s.pod.label[tier] exists", False),
        ("thread.cgroup.cpu = /x", True),
        ("thread.cgroup.io exists", False),
        ("evt.rawarg.fd = 5 and evt.rawarg.res = -9", True),
    ],
)
def test_parts_of_recorded_fields(matches: Matches, condition: str, expected: bool) -> None:
    values = {
        "evt.type": "read",
        "evt.rawres": -9,
        "evt.arg": {"fd": "<f>/x", "res": "EBADF"},
        "proc.args": "a b c d",
        "proc.cmdnargs": 3,
        "proc.aname": ["x", "sh", "init"],
        "proc.acmdline": ["x a b c d", "sh -c x", "init"],
        "proc.stdin.type": "pipe",
        "fd.num": 5,
        "fd.type": "file",
        "fd.types": ["pipe", "file"],
        "proc.env": "HOME=/root PS1=a b X=1",
        "k8s.pod.labels": "app:web, a:b",
        "thread.cgroups": "cpuset=/ cpu=/x",
    }
    assert matches(condition, values) is expected


def test_a_regex_cannot_hang(matches: Matches) -> None:
    assert not matches("proc.cmdline regex '(a+)+(a+)+(a+)+b'", {"proc.cmdline": "a" * 50_000})
    assert not matches(f"proc.cmdline glob '{'a*' * 40}b'", {"proc.cmdline": "a" * 5_000})


@pytest.mark.parametrize("value", [["x"], 5, {"a": 1}, True, 1.5])
def test_values_of_a_wrong_type_do_not_stop_evaluation(matches: Matches, value: Any) -> None:
    assert not matches("proc.name startswith c", {"proc.name": value})
    assert not matches("fd.num > 3 and fd.num < 2", {"fd.num": value})
