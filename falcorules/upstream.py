"""Fetches the rule files that the Falco project publishes, for those who have a network; the lab works without."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path

from labkit.errors import LabError
from labkit.files import LARGEST

# File -> the release it comes from.
RELEASES = {
    "falco_rules.yaml": "falco-rules-5.1.0",
    "falco-incubating_rules.yaml": "falco-incubating-rules-6.0.1",
    "falco-sandbox_rules.yaml": "falco-sandbox-rules-6.1.0",
}
URL = "https://raw.githubusercontent.com/falcosecurity/rules/{release}/rules/{file}"
_TIMEOUT = 20.0


def fetch(folder: Path | None = None, *, url: str | None = None) -> list[Path]:
    """Downloads the published rule files and returns where they are.

    `url` may have `{release}` and `{file}` in it; without, it is the folder that holds the files. Raises LabError
    where the network or the disk doesn't allow it; nothing is written unless all files have come.
    """
    if folder is None:
        from labkit.settings import Settings

        folder = Settings.load().home / "rules"
    template = url or URL
    if "{file}" not in template:
        template = f"{template.rstrip('/')}/{{file}}"
    contents = {
        file: _download(template.replace("{release}", release).replace("{file}", file))
        for file, release in RELEASES.items()
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in contents.items():
            (folder / file).write_bytes(content)
    except OSError as error:
        raise LabError(
            f"Can't write the rule files to {folder}: {error.strerror}", hint="Name another folder with --to."
        ) from error
    return [folder / file for file in contents]


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            content: bytes = response.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise LabError(
            f"Can't fetch {url}: {reason}",
            hint="Nothing here needs these files: the lab has default rules of its own. With a network, "
            "or with --url and a place that can be reached, try again.",
        ) from error
    return content
