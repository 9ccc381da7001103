"""Constants as values of a type, and the matching of globs, paths and addresses."""

from __future__ import annotations

import ctypes
import re
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falcorules.comparisons import in_networks
from falcorules.patterns import Paths, glob, regex
from falcorules.values import BadValue, convert


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("5", "INT64", 5),
        (" \t+5", "INT64", 5),
        ("-1", "UINT32", 0xFFFFFFFF),
        ("4294967297", "UINT32", 1),
        ("-129", "INT8", 127),
        ("300", "UINT8", 44),
        ("9223372036854775808", "INT64", 2**63 - 1),
        ("-9223372036854775809", "INT64", -(2**63)),
        ("99999999999999999999", "UINT64", 2**64 - 1),
        ("007", "UINT64", 7),
        ("-1", "PID", -1),
        ("-1", "UID", 0xFFFFFFFF),
        ("3", "DOUBLE", 3.0),
        ("true", "BOOL", True),
        ("", "PORT", 0),
        ("65537", "PORT", 1),
        ("https", "PORT", 443),
        ("10.0.0.1", "IPADDR", b"\x0a\x00\x00\x01"),
        ("::1", "IPADDR", bytes(15) + b"\x01"),
        ("a\0b", "CHARBUF", "a"),
    ],
)
def test_a_constant_has_this_value(text: str, kind: str, value: Any) -> None:
    assert convert(text, kind) == value
    assert type(convert(text, kind)) is type(value)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        *(
            (text, "INT64", f"{text} is not a valid number")
            for text in ("", "x", "5 ", "0x10", "1e5", "1.0", "--1", "5,", "٣")
        ),
        ("1.5", "DOUBLE", "1.5 is not a valid number"),
        ("True", "BOOL", "filter error: unrecognized boolean value True"),
        ("1", "BOOL", "filter error: unrecognized boolean value 1"),
        ("2147483648", "PORT", "stoi"),
        ("-1", "PORT", "unrecognized protocol -1"),
        ("10.0.0", "IPADDR", "unrecognized IPv4 address 10.0.0"),
        ("10.0.0.0/8", "IPADDR", "unrecognized IPv4 address 10.0.0.0/8"),
        ("1.2.3.4.5", "IPADDR", "unrecognized IPv4 address 1.2.3.4.5"),
        ("x", "IPADDR", "unrecognized IPv6 address x"),
        ("10.0.0.0", "IPNET", "unrecognized IP network 10.0.0.0"),
        ("::1", "IPNET", "invalid v6 netmask: ::1"),
        ("10.0.0/8", "IPNET", "unrecognized IP address 10.0.0/8"),
        ("g::/8", "IPNET", "unrecognized IPv6 address g::/8"),
        ("10.0.0.0/33", "IPNET", "invalid netmask 33"),
        ("10.0.0.0/x", "IPNET", "x is not a valid number"),
        ("::/0", "IPNET", "invalid v6 netmask 0"),
        ("::1/129", "IPNET", "invalid v6 netmask 129"),
        ("9", "SIGTYPE", "wrong parameter type 19"),
        ("9", "SYSCALLID", "wrong parameter type 18"),
        ("x" * 256, "CHARBUF", f"filter parameter too long (used=257, available=256):{'x' * 256}"),
        ("é" * 128, "CHARBUF", f"filter parameter too long (used=257, available=256):{'é' * 128}"),
        ("x" * 256, "BYTEBUF", "filter parameter too long (byte buf)"),
    ],
)
def test_a_constant_that_is_no_value_of_the_type(text: str, kind: str, message: str) -> None:
    with pytest.raises(BadValue) as caught:
        convert(text, kind)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("address", "network", "inside"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.9.9.9/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("11.1.2.3", "0.0.0.0/0", True),
        ("10.0.0.1", "10.0.0.0/264", True),  # the length is kept in eight bits
        ("::ffff:1", "::/64", True),
        ("10.0.0.1", "::/64", False),
        ("fe80::1", "fe80::/10", True),
    ],
)
def test_an_address_is_in_a_network(address: str, network: str, inside: bool) -> None:
    assert in_networks(address, (convert(network, "IPNET"),)) is inside


@pytest.mark.parametrize(
    ("pattern", "text", "matched"),
    [
        ("a*c", "a/b/c", True),
        ("a*c", "ac\n", False),
        ("a?c", "a\nc", True),
        ("", "", True),
        ("", "x", False),
        ("a\\*", "a*", True),
        ("a\\*", "ab", False),
        ("a\\", "a\\", False),
        ("[", "[", True),
        ("[a", "[a", True),
        ("[]a]", "]", True),
        ("[!]a]", "]", False),
        ("[^a]", "b", True),
        *(("[a-]", text, text in "a-") for text in "a-b]"),
        *(("[!a-]", text, text not in "a-") for text in "a-b]"),
        *(("[a-c-]", text, text in "abc-") for text in "abcd-]"),
        ("[a-]x", "-x", True),
        ("[a-]x", "[a-]x", False),
        ("[c-a]", "b", False),
        ("[\\]]", "]", True),
        ("[[:digit:][:alpha:]]", "7", True),
        ("[[:digit:]", "[7", False),
        ("[[:nothing:]]", "n", False),
        ("[[.a.]-c]", "b", True),
        ("[[=a=]]", "a", True),
        ("[a/b]", "/", True),
        ("[a-", "[a-", False),  # a range without an end
        ("[[-", "[[-", True),
        ("[a-z", "[a-z", True),
        ("[[.", "[[.", False),
        ("é", "é", True),
        ("?", "é", False),  # bytes count
        ("??", "é", True),
        ("*\udcff*", "a\udcffb", True),
    ],
)
def test_globs_are_those_of_fnmatch_without_flags(pattern: str, text: str, matched: bool) -> None:
    assert glob(pattern)(text) is matched


_GLOB = st.lists(
    st.sampled_from(
        ["a", "b", "Z", "-", "/", ".", "*", "?", "[", "]", "!", "^", "\\", "[a-", "[!", "[[:alpha:]", "[]"]
    ),
    max_size=8,
).map("".join)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="compares with the C library of Linux")
@settings(max_examples=500, deadline=None)
@given(_GLOB, st.text("abzAZ-/.[]!^\\", max_size=5), st.booleans())
def test_globs_match_what_the_c_library_matches(pattern: str, text: str, fold_case: bool) -> None:
    library = ctypes.CDLL(None)
    folding = 16  # FNM_CASEFOLD
    wanted = library.fnmatch(pattern.encode(), text.encode(), folding if fold_case else 0) == 0
    assert glob(pattern, fold_case=fold_case)(text) is wanted


@pytest.mark.parametrize(
    ("pattern", "text", "matched"),
    [
        ("sys.*", "syscall", True),
        ("ysc.*", "syscall", False),
        ("a|ab", "ab", True),
        ("^a$", "a", True),
        ("[[:digit:]]+", "12", True),
        (".*", "a\nb", False),
        ("é", "é", True),
        (".", "\udcff", False),  # not a character
    ],
)
def test_a_regex_matches_the_whole_text_in_posix_syntax(pattern: str, text: str, matched: bool) -> None:
    assert regex(pattern)(text) is matched


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "missing ): ("),
        ("\\d", "invalid escape sequence: \\d"),  # not in POSIX syntax
        ("(?i)a", "no argument for repetition operator: ?"),
    ],
)
def test_an_invalid_regex_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(BadValue, match=f"^{re.escape(f'invalid regex pattern: {message}')}$"):
        regex(pattern)


@pytest.mark.parametrize(
    ("prefixes", "path", "matched"),
    [
        (("/var/run",), "/var/run/docker", True),
        (("/var/run",), "/var", False),
        (("/var/run",), "/var/runs", False),
        (("/var/run", "/var"), "/var/lib", True),
        (("/var", "/var/run"), "/var/lib", True),
        (("/",), "anything", True),
        (("",), "", True),
        ((), "", False),
        (("/a//b/",), "//a/b", True),
        (("/a/b",), "a/b", True),
        (("/*/b",), "/x/b/c", True),
        (("/*/b",), "/b", False),
        (("/a*/b", "/ab/c"), "/ab/b", True),
        (("/a*/b", "/ab/c"), "/ab/c", True),
        (("/[ab]/c",), "/b/c", True),
        (("/*",), "/*", True),
        (("/\\*",), "/*", True),
        (("/a",), "/[ab]", False),
        (("/./a",), "/a", False),  # as written
    ],
)
def test_a_path_starts_with_one_of_these_component_by_component(
    prefixes: tuple[str, ...], path: str, matched: bool
) -> None:
    assert Paths(prefixes).match(path) is matched
