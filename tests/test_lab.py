"""`Lab` as a notebook uses it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from labkit.errors import ExecError
from labkit.lab import command


def test_importing_lab_costs_almost_nothing() -> None:
    """None of the heavy libraries is imported before it is needed, so a notebook's first cell returns at once."""
    code = (
        "import sys, time; start = time.perf_counter(); import labkit; from labkit import Lab;"
        "took = time.perf_counter() - start;"
        "heavy = {'pandas', 'numpy', 'boto3', 'botocore', 'kubernetes', 'matplotlib', 'aiohttp'} & set(sys.modules);"
        "assert not heavy, heavy; assert took < 0.3, took"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("typed", "argv"),
    [
        (("cat", "/etc/shadow"), ["cat", "/etc/shadow"]),
        (("cat /etc/shadow",), ["cat", "/etc/shadow"]),
        (("find / -name 'id_rsa'",), ["find", "/", "-name", "id_rsa"]),
        (('echo "a | b"',), ["echo", "a | b"]),
        (("cat /etc/hostname && ls /etc/shadow",), ["sh", "-c", "cat /etc/hostname && ls /etc/shadow"]),
        (("echo $HOME",), ["sh", "-c", "echo $HOME"]),
        (('echo "$HOME"',), ["sh", "-c", 'echo "$HOME"']),
        (("echo '$HOME'",), ["echo", "$HOME"]),
        (("ls /root/*",), ["sh", "-c", "ls /root/*"]),
        (("bash", "-c", "id; ls"), ["bash", "-c", "id; ls"]),
    ],
)
def test_a_command_line_gets_a_shell_only_if_it_takes_one(typed: tuple[str, ...], argv: list[str]) -> None:
    assert command(*typed) == argv


@pytest.mark.parametrize("typed", [(), ("",), ("  ",), ("echo 'open",)])
def test_what_is_no_command_is_refused(typed: tuple[str, ...]) -> None:
    with pytest.raises(ExecError) as caught:
        command(*typed)
    assert caught.value.hint
