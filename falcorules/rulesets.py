"""Rule files to start from: the stable rules in this package, and those that the Falco project publishes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from falcorules.errors import FalcoRulesError
from falcorules.files import LARGEST

DATA = Path(__file__).parent / "data"
TIERS = {
    "stable": "falco_rules.yaml",
    "incubating": "falco-incubating_rules.yaml",
    "sandbox": "falco-sandbox_rules.yaml",
}
"""The file of each tier of rules, in the order in which Falco loads them."""
# Published file -> its release.
RELEASES = {
    "falco_rules.yaml": "falco-rules-5.1.0",
    "falco-incubating_rules.yaml": "falco-incubating-rules-6.0.1",
    "falco-sandbox_rules.yaml": "falco-sandbox-rules-6.1.0",
}
# What `sha256sum` says of the files of these releases.
SHA256 = {
    "falco_rules.yaml": "1c15d5d543635b76e31cca39d7df8bf4caf50a428613c314d92986a23bfcb617",
    "falco-incubating_rules.yaml": "47bf87041e2f39ca336e7acf1ae4e6183771a92e81031f367d01f2b49cabe1ac",
    "falco-sandbox_rules.yaml": "6849ec5e9b55ba81ca5214559dc1a1c32e051acc0a7791da7841a850f853f59a",
}
URL = "https://raw.githubusercontent.com/falcosecurity/rules/{release}/rules/{file}"
_TIMEOUT = 20.0


def default_rules(tier: str = "stable") -> tuple[str, str]:
    """Name and text of a rule file with Falco's rules of a tier: their names, priorities, tags and output fields, and
    the macros and lists that custom rules build on, in this project's own wording.

    The stable tier is complete; `incubating` and `sandbox` have the rules that a pod can trip.
    """
    file = DATA / TIERS[tier]
    return file.name, file.read_text(encoding="utf-8")


def fetch(folder: Path, *, url: str | None = None) -> list[Path]:
    """Downloads the published rule files into a folder and returns their paths.

    `url` may contain `{release}` and `{file}`; without `{file}` it is the folder of the files. Raises FalcoRulesError
    for a network or disk error, and for a file that isn't the one of the release. Nothing is written unless all files
    have been downloaded.
    """
    template = url or URL
    if "{file}" not in template:
        template = f"{template.rstrip('/')}/{{file}}"
    contents = {
        file: _download(template.replace("{release}", release).replace("{file}", file))
        for file, release in RELEASES.items()
    }
    for file, content in contents.items():
        if (found := hashlib.sha256(content).hexdigest()) != SHA256[file]:
            raise FalcoRulesError(
                f"{file} isn't the file of {RELEASES[file]}: its SHA-256 is {found[:12]}, not {SHA256[file][:12]}.",
                hint="Fetch it from another place with --url. Rules of your own need no fetching: name their files.",
            )
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
