"""Files, and pipes that may have nobody at their other end."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from falcorules import files
from falcorules.files import LARGEST, open_to_write, read


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.2)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_a_file_is_read_up_to_a_limit(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * LARGEST)
    assert read(file) == b"x" * LARGEST
    file.write_bytes(b"x" * (LARGEST + 1))
    with pytest.raises(OSError, match="It is larger than 1 MiB") as caught:
        read(file)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(file))


@pytest.mark.parametrize(("name", "error"), [("none", errno.ENOENT), (".", errno.EISDIR), ("a\0b", errno.EINVAL)])
def test_what_cannot_be_read(tmp_path: Path, name: str, error: int) -> None:
    with pytest.raises(OSError, match=os.strerror(error)) as caught:
        read(tmp_path / name)
    assert caught.value.errno == error


def test_a_pipe_is_read_to_its_end(pipe: Path) -> None:
    content = b"- list: a\n" * 20_000
    threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True).start()
    assert read(pipe) == content


def test_a_writer_that_takes_its_time_is_waited_for(pipe: Path) -> None:
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(pipe, os.O_WRONLY)

    def write() -> None:
        os.write(writer, b"late")
        os.close(writer)

    threading.Timer(0.6, write).start()
    assert read(pipe) == b"late"
    os.close(reader)


def test_a_pipe_without_a_writer_is_given_up(pipe: Path) -> None:
    with pytest.raises(OSError, match="Nobody writes to this pipe") as caught:
        read(pipe)
    assert caught.value.errno == errno.ETIMEDOUT


def test_a_file_is_written_anew_and_a_pipe_without_a_reader_is_an_error(tmp_path: Path, pipe: Path) -> None:
    file = tmp_path / "file"
    file.write_text("before")
    with open_to_write(file) as stream:
        stream.write(b"x")
    assert file.read_text() == "x"
    for name, error in ((pipe, errno.ENXIO), (tmp_path / "none" / "x", errno.ENOENT), ("a\0b", errno.EINVAL)):
        with pytest.raises(OSError, match=os.strerror(error)):
            open_to_write(name)
