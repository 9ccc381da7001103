"""Programs that the lab puts before a person's own on the PATH: `aws`, told where the lab is, and a `helm`.

Both are small scripts in the `bin` folder of the state folder, and hand over to the person's own program where there
is one. Version 1 of the AWS CLI calls some services (SQS among them) at AWS itself, whatever AWS_ENDPOINT_URL says,
unless its command line says otherwise. Where there is no Helm, the lab's stand-in takes its place.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

_SCRIPT = """\
#!/bin/sh
# Made by labkit. {why}
own={folder}
found=
IFS=:
for folder in $PATH; do
  if [ "$folder" != "$own" ] && [ -x "$folder/{name}" ] && [ ! -d "$folder/{name}" ]; then
    found=$folder/{name}
    break
  fi
done
unset IFS
{then}
"""

_PROGRAMS = {
    "aws": (
        "AWS CLI 1 doesn't look at AWS_ENDPOINT_URL for every service: it is told on the command line.",
        """\
if [ -z "$found" ]; then
  echo "aws: the AWS CLI is not installed." >&2
  echo "What to do: install it (pip install awscli), or use boto3: lab.aws.client(...) in a notebook." >&2
  exit 127
fi
if [ -n "$AWS_ENDPOINT_URL" ]; then
  exec "$found" --endpoint-url "$AWS_ENDPOINT_URL" "$@"
fi
exec "$found" "$@\"""",
    ),
    "helm": (
        "Without a Helm of your own, the embedded lab's stand-in for it.",
        """\
if [ -n "$found" ]; then
  exec "$found" "$@"
fi
exec {python} -m labkit.embedded.helm "$@\"""",
    ),
}


def folder(home: Path) -> Path:
    """Where the programs of the lab in `home` are."""
    return home / "bin"


def write(home: Path) -> None:
    """Writes the programs; harmless if they are there."""
    folder(home).mkdir(parents=True, exist_ok=True)
    for name, (why, then) in _PROGRAMS.items():
        text = _SCRIPT.format(
            name=name,
            why=why,
            folder=shlex.quote(str(folder(home))),
            then=then.replace("{python}", shlex.quote(sys.executable)),
        )
        file = folder(home) / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            temporary = file.with_name(f".{name}.{os.getpid()}")
            temporary.write_text(text, encoding="utf-8")
            temporary.chmod(0o755)
            os.replace(temporary, file)


def path(home: Path) -> str:
    """This process's PATH with the programs of the lab in `home` first."""
    own = str(folder(home))
    others = [part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part != own]
    return os.pathsep.join([own, *others])
