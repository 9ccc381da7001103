"""The images around Falco: Falco itself, falcoctl, which installs its rules, and the loader of its drivers."""

from __future__ import annotations

from pathlib import Path

from ekslab import versions
from ekslab.images.falco import program as _program  # noqa: F401  (registers the program)
from ekslab.images.falco.falcoctl import Artifacts, artifacts_layer, plugin
from ekslab.node import Image, Layer, debian_userland


def images(rules: Path | None = None) -> list[Image]:
    """Images `falcosecurity/falco`, `falcosecurity/falcoctl` and `falcosecurity/falco-driver-loader`.

    `rules` is a folder of upstream rule files (`falco_rules.yaml`, `falco-incubating_rules.yaml`,
    `falco-sandbox_rules.yaml`), which replace the lab's own if they exist.
    """
    version, falcoctl_version = versions.FALCO, versions.FALCOCTL
    artifacts = Artifacts(rules)
    falco = (
        debian_userland("ca-certificates", "curl", "openssl", "procps")
        .program("/usr/bin/falco", "falco")
        .file("/usr/share/falco/plugins/libcontainer.so", plugin("container"))
        .directory("/etc/falco/config.d")
        .directory("/etc/falco/rules.d")
        .file("/etc/falco/falco.yaml", _FALCO_YAML)
        .file("/etc/falco/falco_rules.local.yaml", "")
        .file("/etc/falco/falco_rules.yaml", artifacts.rules["falco-rules"])
    )
    falcoctl = artifacts_layer(Layer(), artifacts).program("/usr/bin/falcoctl", "falcoctl")
    loader = Layer().directory("/etc/falco/config.d").program("/usr/bin/falcoctl", "falco-driver-loader")
    return [
        Image(
            "docker.io/falcosecurity/falco",
            (version, "latest", f"{version}-debian", "latest-debian"),
            layer=falco,
            cmd=("/usr/bin/falco",),
        ),
        Image(
            "docker.io/falcosecurity/falcoctl",
            (falcoctl_version, "latest"),
            layer=falcoctl,
            entrypoint=("/usr/bin/falcoctl",),
        ),
        Image(
            "docker.io/falcosecurity/falco-driver-loader",
            (version, "latest"),
            layer=loader,
            entrypoint=("/usr/bin/falcoctl",),
        ),
    ]


# What the image has before a chart mounts its own over it.
_FALCO_YAML = """\
config_files: [/etc/falco/config.d]
rules_files: [/etc/falco/falco_rules.yaml, /etc/falco/falco_rules.local.yaml, /etc/falco/rules.d]
engine: {kind: modern_ebpf}
load_plugins: [container]
plugins: [{name: container, library_path: libcontainer.so}]
append_output: [{suggested_output: true}]
stdout_output: {enabled: true}
webserver: {enabled: true, listen_port: 8765, k8s_healthz_endpoint: /healthz}
"""
