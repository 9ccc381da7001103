"""Rule files to start from: the stable rules in this package, and those that the Falco project publishes."""

from __future__ import annotations

from pathlib import Path

from falcorules.errors import FalcoRulesError
from falcorules.files import LARGEST

DEFAULT_RULES = Path(__file__).parent / "data" / "falco_rules.yaml"
# Published file -> its release.
RELEASES = {
    "falco_rules.yaml": "falco-rules-5.1.0",
    "falco-incubating_rules.yaml": "falco-incubating-rules-6.0.1",
    "falco-sandbox_rules.yaml": "falco-sandbox-rules-6.1.0",
}
URL = "https://raw.githubusercontent.com/falcosecurity/rules/{release}/rules/{file}"
_TIMEOUT = 20.0


def default_rules() -> tuple[str, str]:
    """Name and text of a rule file with Falco's 25 stable rules: their names, priorities, tags and output fields, and
    the macros and lists that custom rules build on, in this project's own wording."""
    return DEFAULT_RULES.name, DEFAULT_RULES.read_text(encoding="utf-8")


def fetch(folder: Path, *, url: str | None = None) -> list[Path]:
    """Downloads the published rule files into a folder and returns their paths.

    `url` may contain `{release}` and `{file}`; without `{file}` it is the folder of the files. Raises FalcoRulesError
    for a network or disk error. Nothing is written unless all files have been downloaded.
    """
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
        raise FalcoRulesError(
            f"Can't write the rule files to {folder}: {error.strerror}", hint="Name another folder with --to."
        ) from error
    return [folder / file for file in contents]


def _download(url: str) -> bytes:
    import http.client
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            content: bytes = response.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise FalcoRulesError(
            f"Can't fetch {url}: {reason}",
            hint="Check the network, or name a mirror with --url. --default-rules needs no download.",
        ) from error
    return content
