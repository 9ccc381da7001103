"""openssl: version, digests, base64, random bytes. What needs keys or TLS says that the lab lacks it."""

from __future__ import annotations

import base64
import hashlib
import os
import socket

from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.userland.show import emit, file_chunks, whole

_DIGESTS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "blake2b512", "blake2s256", "sha3-256", "sha3-512")
_VERSION = "OpenSSL 3.5.1 1 Jul 2025 (Library: OpenSSL 3.5.1 1 Jul 2025)"
_LIST = """
asn1parse ca ciphers cms crl crl2pkcs7 dgst dhparam dsa dsaparam ec ecparam enc engine errstr fipsinstall gendsa
genpkey genrsa help info kdf list mac nseq ocsp passwd pkcs12 pkcs7 pkcs8 pkey pkeyparam pkeyutl prime rand
rehash req rsa rsautl s_client s_server s_time sess_id smime speed spkac srp storeutl ts verify version x509
"""
_COMMANDS = frozenset(_LIST.split())


@program("openssl")
async def openssl(p: Process) -> int:
    words = p.argv[1:]
    if not words or words[0] == "help":
        p.stderr.write("help:\n\nStandard commands\n" + "".join(f"{name}\n" for name in sorted(_COMMANDS)))
        return 0
    command, *rest = words
    if command == "version":
        return _version(p, rest)
    if command in _DIGESTS or command == "dgst":
        return await _digest(p, command, rest)
    if command == "base64" or (command == "enc" and any(word in ("-base64", "-a") for word in rest)):
        return await _base64(p, [word for word in rest if word not in ("-base64",)])
    if command == "rand":
        return await _random(p, rest)
    if command == "s_client":
        return await _client(p, rest)
    if command in _COMMANDS:
        return _lacks(p, command)
    p.stderr.write(f"Invalid command '{command}'; type \"help\" for a list.\n")
    return 1


def _lacks(p: Process, what: str) -> int:
    return p.fail(f"embedded lab: the real image's openssl has {what}, the lab's doesn't")


def _version(p: Process, words: list[str]) -> int:
    if words == ["-a"]:
        p.print(_VERSION)
        p.print('platform: debian-amd64\nOPENSSLDIR: "/usr/lib/ssl"\nENGINESDIR: "/usr/lib/x86_64-linux-gnu/engines-3"')
    elif words == ["-d"]:
        p.print('OPENSSLDIR: "/usr/lib/ssl"')
    elif words in ([], ["-v"]):
        p.print(_VERSION)
    else:
        return _lacks(p, f"version {words[0]}")
    return 0


async def _digest(p: Process, command: str, words: list[str]) -> int:
    name, form, files = command if command != "dgst" else "sha256", "text", []
    for word in words:
        if word.lstrip("-") in _DIGESTS and word.startswith("-"):
            name = word.lstrip("-")
        elif word in ("-r", "-binary"):
            form = word[1:]
        elif word == "-hex":
            form = "text"
        elif word.startswith("-"):
            return _lacks(p, f"{command} {word}")
        else:
            files.append(word)
    python = {"blake2b512": "blake2b", "blake2s256": "blake2s"}.get(name, name.replace("-", "_"))
    status = 0
    for file in files or ["-"]:
        digest = hashlib.new(python, usedforsecurity=False)
        try:
            async for chunk in file_chunks(p, file):
                digest.update(chunk)
        except OSError as exc:
            p.stderr.write(f'dgst: Can\'t open "{file}" for reading, {exc.strerror}\n')
            status = 1
            continue
        shown = "stdin" if file == "-" else file
        if form == "binary":
            await emit(p, digest.digest())
        elif form == "r":
            p.print(f"{digest.hexdigest()} *{shown}")
        else:
            p.print(f"{name.upper()}({shown})= {digest.hexdigest()}")
    return status


async def _base64(p: Process, words: list[str]) -> int:
    undo, one_line, source, target = False, False, "-", ""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-d", "-e"):
            undo = word == "-d"
        elif word == "-A":
            one_line = True
        elif word in ("-in", "-out") and rest:
            source, target = (rest.pop(0), target) if word == "-in" else (source, rest.pop(0))
        elif word != "-a":
            return _lacks(p, f"base64 {word}")
    try:
        data = await whole(p, source)
    except OSError as exc:
        p.stderr.write(f'Can\'t open "{source}" for reading, {exc.strerror}\n')
        return 1
    if undo:
        try:
            made = base64.b64decode(b"".join(data.split()), validate=True)
        except ValueError:
            made = b""
    elif one_line:
        made = base64.b64encode(data)
    else:
        text = base64.b64encode(data)
        made = b"".join(text[start : start + 64] + b"\n" for start in range(0, len(text), 64))
    if target:
        p.write_bytes(target, made)
    else:
        await emit(p, made)
    return 0


async def _random(p: Process, words: list[str]) -> int:
    form, target, count, rest = "", "", 0, list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-hex", "-base64"):
            form = word
        elif word == "-out" and rest:
            target = rest.pop(0)
        elif word.isdigit() and int(word) <= 1 << 20:
            count = int(word)
        else:
            return _lacks(p, f"rand {word}")
    data = os.urandom(count)
    if form == "-hex":
        data = data.hex().encode() + b"\n"
    elif form == "-base64":
        text = base64.b64encode(data)
        data = b"".join(text[start : start + 64] + b"\n" for start in range(0, len(text), 64))
    if target:
        p.write_bytes(target, data)
    else:
        await emit(p, data)
    return 0


async def _client(p: Process, words: list[str]) -> int:
    """Connects, as an intruder's `openssl s_client` does, and says that the lab has no TLS for it."""
    given = words[words.index("-connect") + 1 :] if "-connect" in words else []
    host, _, port = (given or ["localhost:4433"])[0].rpartition(":")
    if not port.isdigit():
        p.stderr.write("s_client: Can't parse the address\n")
        return 1
    try:
        p.close(await p.connect(host, int(port)))
    except socket.gaierror:
        p.stderr.write("BIO_lookup_ex: Name or service not known\nconnect:errno=0\n")
        return 1
    except OSError as exc:
        p.stderr.write(f"connect: {exc.strerror or 'Connection timed out'}\nconnect:errno={exc.errno or 110}\n")
        return 1
    p.print(f"Connecting to {host}\nCONNECTED({3:08X})")
    return _lacks(p, "TLS with s_client")
