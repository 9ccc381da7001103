"""The attendees of a class: a file with a name and a password in each line, and who may log in by it.

python -m hub.attendees 30        # makes .hub/attendees: instructor, attendee-01 ... attendee-30
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import shlex
import stat
import sys
from pathlib import Path
from typing import Any

try:
    from jupyterhub.auth import LocalAuthenticator
    from traitlets import Unicode
except ImportError as error:
    if __name__ != "__main__":
        raise
    sys.exit(f"JupyterHub isn't installed in {sys.prefix} ({error}). `make hub` installs it.")

INSTRUCTOR = "instructor"
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # none that look like another


class AttendeesError(Exception):
    """What is wrong with the file of attendees, and what to do."""


def read(file: Path) -> dict[str, str]:
    """Passwords by name. Raises `AttendeesError` if the file can't be used."""
    try:
        with file.open(encoding="utf-8") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            lines = opened.read().splitlines()
    except OSError as error:
        raise AttendeesError(
            f"{file} can't be read: {error.strerror}. `python -m hub.attendees 30` makes one."
        ) from error
    if mode & (stat.S_IWGRP | stat.S_IRWXO):  # a Secret's files have a group, that of its pod
        raise AttendeesError(f"{file} has passwords, and others can read it. Run `chmod 600 {file}`.")
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if len(words) != 2 or not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", words[0]) or len(words[1]) < 8:
            raise AttendeesError(
                f"{file}, line {number}: write a name (lower-case letters, digits, hyphens), a blank, and a password "
                "of 8 characters or more."
            )
        if words[0] in found:
            raise AttendeesError(f"{file}, line {number}: {words[0]} is there twice. Each attendee has a line.")
        found[words[0]] = words[1]
    if not found:
        raise AttendeesError(f"{file} has no attendees. `python -m hub.attendees 30` makes some.")
    return found


def short(name: str) -> str:
    """What an attendee is called on a cluster that a class shares: `07` of `attendee-07`, or a short name as it is.

    Raises `AttendeesError` for another name: cut down to that, two people could become one.
    """
    found = re.fullmatch(r"(?:attendee-)?([a-z0-9]{1,12})", name)
    if found is None:
        raise AttendeesError(
            f"{name} can't be an attendee on a shared cluster: use attendee-07, or at most 12 lower-case letters and "
            "digits."
        )
    return found[1]


def handed_out(file: Path) -> dict[str, str]:
    """The variables of what `labkit class env` printed for an attendee, but those that are about a place; none without.

    Raises `AttendeesError` for a file that others can read.
    """
    try:
        if file.stat().st_mode & stat.S_IRWXO:
            raise AttendeesError(f"{file} has credentials, and others can read it. Run `chmod 600 {file}`.")
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = [found for line in lines if (found := re.fullmatch(r"export ([A-Z_]+)=(.*)", line))]
    of_a_place = ("PATH", "KUBECONFIG", "LABKIT_HOME", "LABKIT_ROOT")
    return {
        name: "".join(shlex.split(text)) for name, text in (one.groups() for one in pairs) if name not in of_a_place
    }


def make(file: Path, count: int) -> None:
    """Makes the file, for a number of attendees and the instructor. Raises `FileExistsError`: it is never replaced."""
    names = [INSTRUCTOR, *(f"attendee-{number:02}" for number in range(1, count + 1))]
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        for name in names:
            password = "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(3))
            print(f"{name} {password}", file=opened)


class AttendeesFile(LocalAuthenticator):  # type: ignore[misc, unused-ignore]
    """Lets the people of the file in. It is read at each login: who comes late is added with a line."""

    file = Unicode(config=True, help="The file of attendees.")

    def system_user_exists(self, user: Any) -> bool:
        """Whether nothing has to be added to the machine for an attendee."""
        return not self.create_system_users or super().system_user_exists(user)

    async def authenticate(self, handler: Any, data: dict[str, str] | None = None) -> str | None:
        """The name, if the password is that of the file."""
        given = data or {}
        name = given.get("username", "")
        expected = read(Path(self.file)).get(name)
        found = hmac.compare_digest(given.get("password", "").encode(), (expected or secrets.token_hex()).encode())
        return name if expected is not None and found else None


def main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 2) or not re.fullmatch(r"[1-9][0-9]?", arguments[0]):
        print("usage: python -m hub.attendees NUMBER [FILE]   (NUMBER: 1 to 99)", file=sys.stderr)
        return 2
    file = Path(arguments[1]) if len(arguments) == 2 else Path(__file__).parent.parent / ".hub" / "attendees"
    try:
        make(file, int(arguments[0]))
    except FileExistsError:
        print(f"{file} is there already. Add lines to it, or move it away.", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{file} can't be written: {error.strerror}.", file=sys.stderr)
        return 1
    print(f"{file}: {INSTRUCTOR}, attendee-01 to attendee-{int(arguments[0]):02}. Only you can read it.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
