"""Formats of text in objects: names, labels, keys, ports, addresses.

Each function returns what is wrong with a text, in Kubernetes' words; nothing if it has the format.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

Format = Callable[[str], list[str]]

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_UNDERSCORED = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_UNDERSCORED_SUBDOMAIN = rf"{_UNDERSCORED}(\.{_UNDERSCORED})*"
_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_DNS_1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = rf"({_QUALIFIED})?"
_CONFIG_KEY = r"[-._a-zA-Z0-9]+"
_HEADER = r"[-A-Za-z0-9]+"
_PERCENT = r"[0-9]+%"
_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"

_MATCHES = {
    pattern: re.compile(pattern, re.ASCII).fullmatch
    for pattern in (
        _LABEL, _SUBDOMAIN, _UNDERSCORED_SUBDOMAIN, _WILDCARD, _DNS_1035, _QUALIFIED, _LABEL_VALUE, _CONFIG_KEY,
        _HEADER, _PERCENT, _PATH,
    )
}  # fmt: skip
_NAMES = "alphanumeric characters, '-', '_' or '.'"
_ENDS = "must start and end with an alphanumeric character"
_QUALIFIED_HELP = f"must consist of {_NAMES}, and {_ENDS}"


def _described(what: str, pattern: str, *examples: str) -> str:
    if not examples:
        return f"{what} (regex used for validation is '{pattern}')"
    listed = " or ".join(f"'{example}', " for example in examples)
    return f"{what} (e.g. {listed}regex used for validation is '{pattern}')"


def _too_long(text: str, limit: int, unit: str = "characters") -> list[str]:
    return [f"must be no more than {limit} {unit}"] if len(text.encode()) > limit else []


def _matching(text: str, limit: int, pattern: str, what: str, *examples: str) -> list[str]:
    wrong = _too_long(text, limit) if limit else []
    return wrong if _MATCHES[pattern](text) else [*wrong, _described(what, pattern, *examples)]


def dns_label(text: str) -> list[str]:
    if _MATCHES[_SUBDOMAIN](text) and "." in text:
        return [*_too_long(text, 63), "must not contain dots"]
    what = f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and {_ENDS}"
    return _matching(text, 63, _LABEL, what, "my-name", "123-abc")


def dns_subdomain(text: str) -> list[str]:
    what = f"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and {_ENDS}"
    return _matching(text, 253, _SUBDOMAIN, what, "example.com")


def dns_search(text: str) -> list[str]:
    """A search path of a resolver: a subdomain that may have underscores and a dot at its end."""
    if text == ".":
        return []
    what = (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
        f"and {_ENDS}"
    )
    return _matching(text.removesuffix("."), 253, _UNDERSCORED_SUBDOMAIN, what, "example.com")


def dns_1035_label(text: str) -> list[str]:
    what = (
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
        "character, and end with an alphanumeric character"
    )
    return _matching(text, 63, _DNS_1035, what, "my-name", "abc-123")


def host_name(text: str) -> list[str]:
    """The host of an Ingress: a subdomain, or one below a wildcard."""
    if "*" not in text:
        return dns_subdomain(text)
    what = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
        "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
    )
    return _matching(text, 253, _WILDCARD, what, "*.example.com")


def qualified_name(text: str) -> list[str]:
    """A key of labels, an extended resource: a name with a DNS subdomain as an optional prefix."""
    help_ = _described(_QUALIFIED_HELP, _QUALIFIED, "MyName", "my.name", "123-abc")
    prefix, slash, name = text.partition("/")
    if not slash:
        prefix, name = "", text
    elif "/" in name:
        return [f"a valid label key {help_} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    wrong: list[str] = []
    if slash:
        wrong = [f"prefix part {why}" for why in (dns_subdomain(prefix) if prefix else ["must be non-empty"])]
    if not name:
        wrong.append("name part must be non-empty")
    elif len(name.encode()) > 63:
        wrong.append("name part must be no more than 63 bytes")
    return wrong if _MATCHES[_QUALIFIED](name) else [*wrong, f"name part {help_}"]


def label_value(text: str) -> list[str]:
    what = f"a valid label must be an empty string or consist of {_NAMES}, and {_ENDS}"
    return _too_long(text, 63, "bytes") + _matching(text, 0, _LABEL_VALUE, what, "MyValue", "my_value", "12345")


def config_key(text: str) -> list[str]:
    """A key of a ConfigMap or Secret, which may become a file's name."""
    what = f"a valid config key must consist of {_NAMES}"
    return _matching(text, 253, _CONFIG_KEY, what, "key.name", "KEY_NAME", "key-name") + _changes_directory(text)


def _changes_directory(text: str) -> list[str]:
    if text in (".", ".."):
        return [f"must not be '{text}'"]
    return ["must not start with '..'"] if text.startswith("..") else []


def environment_name(text: str) -> list[str]:
    if all(" " <= character <= "~" and character != "=" for character in text):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def port_name(text: str) -> list[str]:
    wrong = _too_long(text, 15)
    if not re.fullmatch(r"[-a-z0-9]+", text):
        wrong.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", text):
        wrong.append("must contain at least one letter (a-z)")
    if "--" in text:
        wrong.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        wrong.append("must not begin or end with a hyphen")
    return wrong


def header_name(text: str) -> list[str]:
    what = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return _matching(text, 0, _HEADER, what, "X-Header-Name")


def percentage(text: str) -> list[str]:
    what = "a valid percent string must be a numeric string followed by an ending '%'"
    return _matching(text, 0, _PERCENT, what, "1%", "93%")


def path_segment(text: str) -> list[str]:
    """A name that RBAC's objects may have: whatever can be a part of a URL's path."""
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return [f"may not contain '{character}'" for character in "/%" if character in text]


def domain_prefixed_path(text: str) -> list[str]:
    host, _, path = text.partition("/")
    if not host or not path:
        return ['must be a domain-prefixed path (such as "acme.io/foo")']
    return dns_subdomain(host) or _matching(path, 0, _PATH, "Invalid path")


def ip_address(text: str) -> list[str]:
    try:
        ipaddress.ip_address(".".join(part.lstrip("0") or "0" for part in text.split(".")) if ":" not in text else text)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return []


def cidr(text: str) -> list[str]:
    address, slash, _ = text.partition("/")
    try:
        if slash and not ip_address(address):
            ipaddress.ip_network(text, strict=False)
            return []
    except ValueError:
        pass
    return ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]


def special_address(text: str) -> list[str]:
    """An address that can't be an endpoint: unspecified, loopback, link-local."""
    address = ipaddress.ip_address(text)
    wrong = []
    if address.is_unspecified:
        wrong.append(f"may not be unspecified ({text})")
    if address.is_loopback:
        wrong.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        wrong.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if address.is_multicast and address in ipaddress.ip_network(
        "224.0.0.0/24" if address.version == 4 else "ff02::/10"
    ):
        wrong.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return wrong


def sysctl_name(text: str) -> list[str]:
    segment = r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
    pattern = rf"^({segment}[\./])*{segment}$"
    if len(text) <= 253 and re.fullmatch(pattern, text):
        return []
    return [f"must have at most 253 characters and match regex {pattern}"]


def masked(check: Format) -> Format:
    """The format of a prefix for generated names: a dash at its end is filled up."""

    def wrong(text: str) -> list[str]:
        return check(f"{text[:-2]}a" if len(text) > 1 and text.endswith("-") else text)

    return wrong
