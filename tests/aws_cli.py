"""The AWS CLI for tests that type many commands: its own code, imported once and forked for each command.

Half a second of every `aws` is spent on importing it. `install` puts a program `aws` into a folder that hands its
arguments, environment, folder and open files to a process that has done so already. An `aws` that isn't a Python script
(version 2) is linked to instead.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SERVER = """
import json, os, signal, socket, sys
from awscli.clidriver import create_clidriver, main

create_clidriver().session.get_available_services()
import botocore.auth, botocore.awsrequest, botocore.endpoint, botocore.httpsession, botocore.parsers, awscli.formatter

own = {"AWS_DATA_PATH": os.environ["AWS_DATA_PATH"]}  # where the CLI's package has just said that its data is
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    if os.fork() == 0:
        data, files, *_ = socket.recv_fds(connection, 65536, 3)
        while not data.endswith(b"\\n"):
            data += connection.recv(65536)
        request = json.loads(data)
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"] | own)
        sys.argv[1:] = request["arguments"]
        try:
            code = main()
        except SystemExit as error:
            code = error.code
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(str(int(code or 0)).encode())
        os._exit(0)
    connection.close()
"""

_CLIENT = """#!{python} -IS
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
request = {{"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}}
data = json.dumps(request).encode() + b"\\n"
sent = socket.send_fds(connection, [data], [0, 1, 2])
connection.sendall(data[sent:])
sys.exit(int(connection.recv(16) or 1))
"""


@contextmanager
def install(folder: Path) -> Iterator[None]:
    """Puts the program `aws` into `folder`. There has to be one on the PATH."""
    found = _real("aws")
    first = found.read_bytes()[:200].partition(b"\n")[0].decode(errors="replace")
    if not first.startswith("#!") or "python" not in first:
        (folder / "aws").symlink_to(found)
        yield
        return
    address = folder / "aws.socket"
    words = [*first.removeprefix("#!").split(), "-c", _SERVER, str(address)]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        (folder / "aws").write_text(_CLIENT.format(python=sys.executable, address=str(address)))
        (folder / "aws").chmod(0o755)
        yield
    finally:
        server.terminate()
        server.wait()


def _real(name: str) -> Path:
    """Where a program is; not the shim of a version manager, which takes longer than the program."""
    found = shutil.which(name)
    assert found is not None
    if Path(found).parent.name == "shims" and shutil.which("pyenv"):
        done = subprocess.run(["pyenv", "which", name], capture_output=True, text=True, check=True)
        found = done.stdout.strip()
    return Path(found)
