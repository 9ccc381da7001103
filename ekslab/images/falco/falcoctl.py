"""falcoctl, which installs rule files and plugins, and falco-driver-loader.

There is no registry: rules come from the image itself, in the lab's own words, or as published if the lab was given
those files. falcoctl fails for other artifacts, as for those that a registry doesn't have.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import time as clock
from pathlib import Path
from typing import Any

import yaml

from ekslab.node import Layer, Process, program
from falcorules.rulesets import TIERS, default_rules

_FILES = {
    "falco-rules": "falco_rules.yaml",
    "falco-incubating-rules": "falco-incubating_rules.yaml",
    "falco-sandbox-rules": "falco-sandbox_rules.yaml",
}
# What the tags of each artifact may be; a shorter tag such as `5` means the newest of that line.
_VERSIONS = {
    "falco-rules": "5.1.0",
    "falco-incubating-rules": "6.0.1",
    "falco-sandbox-rules": "6.1.0",
    "container": "0.7.1",
    "k8smeta": "0.4.1",
}
_STORE = "/usr/share/artifacts"


class Artifacts:
    """The rule files there are, by the name of their artifact."""

    def __init__(self, folder: Path | None = None) -> None:
        self.rules = {name: default_rules(tier)[1] for name, tier in zip(_FILES, TIERS, strict=True)}
        for name, file in _FILES.items():
            if folder is not None and (folder / file).is_file():
                self.rules[name] = (folder / file).read_text(encoding="utf-8")


def plugin(name: str) -> str:
    """What stands for a plugin's library in the lab's file systems."""
    return f"plugin {name} {_VERSIONS[name]}\n"


def artifacts_layer(layer: Layer, artifacts: Artifacts) -> Layer:
    """`layer` with the rule files in it, where the `falcoctl` program looks for them."""
    layer.directory(_STORE)
    for name, text in artifacts.rules.items():
        layer.file(f"{_STORE}/{_FILES[name]}", text)
    return layer


@program("falcoctl")
async def falcoctl(p: Process) -> int:
    """`falcoctl artifact install`, configured by /etc/falcoctl/falcoctl.yaml; `artifact follow` then only waits."""
    words = [word for word in p.argv[1:] if not word.startswith("-")]
    if words[:2] not in (["artifact", "install"], ["artifact", "follow"]):
        return p.fail("[embedded lab] only `artifact install` and `artifact follow` are emulated")
    try:
        config = yaml.safe_load(p.read_text("/etc/falcoctl/falcoctl.yaml")) or {}
    except (OSError, yaml.YAMLError) as error:
        _log(p, "ERROR", f"unable to load config: {error}")
        return 1
    section: dict[str, Any] = (config.get("artifact") or {}).get(words[1]) or {}
    refs = [*words[2:]] or list(section.get("refs") or [])
    allowed = (config.get("artifact") or {}).get("allowedTypes") or ["rulesfile", "plugin"]
    if words[1] == "follow":
        for ref in refs:
            _log(p, "INFO", "Creating follower", artifact=ref, check=str(section.get("every", "6h")))
        # Newer artifacts can't appear in an image, so there is nothing to do until the container is stopped.
        while True:
            await p.sleep(3600)
    _log(p, "INFO", "Resolving dependencies ...")
    _log(p, "INFO", "Installing artifacts", refs=[_full(ref) for ref in refs])
    for ref in refs:
        if (code := _install(p, ref, section, allowed)) != 0:
            return code
    return 0


def _install(p: Process, ref: str, section: dict[str, Any], allowed: list[str]) -> int:
    full = _full(ref)
    base, _, digest = full.rsplit("/", 1)[1].partition("@")
    name, _, tag = base.partition(":")
    if "/" not in ref and name and tag and digest:  # falcoctl looks for all before the @ in its index
        _log(p, "ERROR", f"cannot find {ref} among the configured indexes, skipping")
        return 1
    _log(p, "INFO", "Preparing to pull artifact", ref=full)
    if digest and name in _VERSIONS:
        have = "sha256:" + hashlib.sha256(_content(p, name)).hexdigest()
        if digest != have:
            _log(p, "ERROR", f"unable to get descriptor for {full}: {full}: not found (the embedded lab's is {have})")
            return 1
        tag = ""
    newest = _VERSIONS.get(name)
    if newest is None or not (tag in ("", "latest") or newest == tag or newest.startswith(tag + ".")):
        _log(p, "ERROR", f"unable to get descriptor for {full}: {full}: not found (the embedded lab has {_have()})")
        return 1
    kind = "rulesfile" if name in _FILES else "plugin"
    if kind not in allowed:
        _log(p, "ERROR", f'cannot download artifact of type "{kind}": type not permitted')
        return 1
    if name in _FILES:
        source = f"{_STORE}/{_FILES[name]}"
        folder = str(section.get("rulesfilesDir", "/etc/falco"))
        p.write_bytes(posixpath.join(folder, _FILES[name]), p.read_bytes(source))
    else:
        folder = str(section.get("pluginsDir", "/usr/share/falco/plugins"))
        p.write_text(posixpath.join(folder, f"lib{name}.so"), plugin(name))
    _log(p, "INFO", "Artifact successfully installed", name=full, type=kind, directory=folder)
    return 0


def _content(p: Process, name: str) -> bytes:
    """What is in an artifact."""
    return p.read_bytes(f"{_STORE}/{_FILES[name]}") if name in _FILES else plugin(name).encode()


def _full(ref: str) -> str:
    if "/" in ref:
        return ref
    plugin = re.split("[:@]", ref)[0] not in _FILES
    return f"ghcr.io/falcosecurity/{'plugins/plugin' if plugin else 'rules'}/{ref}"


def _have() -> str:
    return ", ".join(f"{name}:{version}" for name, version in _VERSIONS.items())


@program("falco-driver-loader")
async def driver_loader(p: Process) -> int:
    """Chooses the driver: the lab's nodes run the modern eBPF probe, so `auto` finds that and the others fail."""
    wanted = [word for word in p.argv[1:] if re.fullmatch(r"[a-z_]+", word)]
    if wanted and wanted[-1] not in ("auto", "modern_ebpf"):
        _log(
            p,
            "ERROR",
            f"driver '{wanted[-1]}' can't be built: no kernel headers on this node (the embedded lab has modern_ebpf)",
        )
        return 1
    _log(p, "INFO", "Running falcoctl driver config")
    p.write_text("/etc/falco/config.d/engine-kind-falcoctl.yaml", "engine:\n  kind: modern_ebpf\n")
    _log(p, "INFO", "Committing driver config to specialized configuration file", driver="modern_ebpf")
    return 0


def _log(p: Process, level: str, text: str, **more: object) -> None:
    stamp = clock.strftime("%Y-%m-%d %H:%M:%S", clock.gmtime(p.kernel.now() // 1_000_000_000))
    line = {"level": level, "msg": text, "timestamp": stamp} | more
    p.stdout.write(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n")
