"""The image of Fluent Bit and its program."""

from __future__ import annotations

from ekslab import versions
from ekslab.images.fluent_bit.config import ConfigError, check, parse
from ekslab.images.fluent_bit.engine import Engine
from ekslab.images.fluent_bit.log import Log
from ekslab.node import Image, Layer, Process, program

BINARY = "/fluent-bit/bin/fluent-bit"
_FLAGS_WITH_VALUE = {"-c": "config", "--config": "config", "-w": "workdir", "--workdir": "workdir"}

# What the image runs when the pod names no configuration.
_DEFAULT_CONFIG = """\
service:
  flush: 1
  log_level: info
pipeline:
  inputs:
    - name: dummy
      tag: dummy.local
  outputs:
    - name: stdout
      match: '*'
"""


def image() -> Image:
    """`cr.fluentbit.io/fluent/fluent-bit`: distroless, nothing in it but the program."""
    layer = (
        Layer()
        .directory("/etc")
        .directory("/tmp", 0o1777)
        .directory("/var/lib")
        .user("root", 0, 0, "/root", "/sbin/nologin")
        .program(BINARY, "fluent-bit")
        .file("/fluent-bit/etc/fluent-bit.yaml", _DEFAULT_CONFIG)
    )
    return Image(
        repository=versions.FLUENT_BIT_IMAGE,
        tags=(versions.FLUENT_BIT, versions.FLUENT_BIT.rpartition(".")[0], "latest"),
        layer=layer,
        entrypoint=(BINARY,),
        cmd=("-c", "/fluent-bit/etc/fluent-bit.yaml"),
    )


@program("fluent-bit")
async def fluent_bit(p: Process) -> int:
    """Takes `--config FILE`, `--dry-run` and `--version`; runs until SIGTERM."""
    options: dict[str, str] = {}
    words = list(p.argv[1:])
    while words:
        word, separator, value = words.pop(0).partition("=")
        if word in _FLAGS_WITH_VALUE and (separator or words):
            options[_FLAGS_WITH_VALUE[word]] = value if separator else words.pop(0)
        elif word in ("--version", "-V"):
            p.print(f"Fluent Bit v{versions.FLUENT_BIT}")
            return 0
        elif word in ("--dry-run", "-D"):
            options["dry-run"] = "yes"
        else:
            p.stderr.write(f"[embedded lab] option {word} of fluent-bit isn't emulated: put it into a YAML file\n")
            return 1
    log = Log(p)
    if options.get("workdir"):
        p.chdir(options["workdir"])
    path = options.get("config", "")
    if not path:
        p.stderr.write("Error: a configuration file is needed. Aborting\n")
        return 1
    if not path.endswith((".yaml", ".yml")):
        p.stderr.write(f"[embedded lab] {path}: the lab reads YAML configurations only, not the classic form\n")
        return 1
    p.print(f"Fluent Bit v{versions.FLUENT_BIT}")
    p.print("* Copyright (C) 2015-2026 The Fluent Bit Authors")
    p.print("* Fluent Bit is a CNCF graduated project under the Fluent organization")
    p.print("* https://fluentbit.io")
    p.print()
    try:
        text = p.read_text(path)
    except OSError as error:
        log.error(f"[config] could not open configuration file {path}: {error.strerror}")
        log.error("configuration file contains errors, aborting.")
        return 1
    try:
        config = parse(text, p.env, path=path)
        log.level = config.service.get("log_level", "info").lower()
        for warning in config.warnings:
            log.warn(warning)
        if "dry-run" in options:
            p.print("configuration test is successful")
            return 0
        check(config)
        engine = Engine(p, config, log)
    except ConfigError as error:
        for level, line in error.lines:
            log.write(level, line)
        return error.code
    return await engine.run()
