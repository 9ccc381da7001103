"""SNS's filter policies: a subscription's policy goes in, what tells the messages it gets from others comes out."""

from __future__ import annotations

import ipaddress
import json
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ekslab.aws.protocols import AwsError
from ekslab.wildcards import wildcard

SCOPES = ("MessageAttributes", "MessageBody")
MAX_KEYS = 5
MAX_COMBINATIONS = 150
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

# The values at a place of a message: none if there is nothing there.
Values = list[Any]
Test = Callable[[Values], bool]
Matches = Callable[[Mapping[str, Any], str], bool]


def compile_policy(text: str, scope: str, where: str) -> Matches:
    """What matches a message's attributes and body. Raises AwsError; `where` begins its explanation."""
    try:
        policy = json.loads(text)
    except ValueError as error:
        raise _invalid(where, f"failed to parse JSON. {error}") from None
    if not isinstance(policy, dict):
        raise _invalid(where, "failed to parse JSON. A filter policy is an object")
    compiler = _Compiler(where, nested=scope == "MessageBody")
    matches = compiler.object(policy)
    if compiler.keys > MAX_KEYS:
        raise _invalid(where, f"Filter policy can not have more than {MAX_KEYS} keys")
    if compiler.combinations > MAX_COMBINATIONS:
        raise _invalid(where, "Filter policy is too complex")
    if scope == "MessageAttributes":
        return lambda attributes, body: matches([_plain(attributes)])
    return lambda attributes, body: (document := _document(body)) is not None and matches([document])


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as the JSON values that they stand for; binary ones can't be compared with anything."""
    values: dict[str, Any] = {}
    for name, attribute in attributes.items():
        kind, text = attribute["DataType"], attribute.get("StringValue")
        if text is None:
            continue
        values[name] = text
        if kind.startswith("Number"):
            values[name] = float(text)
        elif kind.startswith("String.Array"):
            try:
                values[name] = json.loads(text)
            except ValueError:
                continue
    return values


def _document(body: str) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _below(values: Values, key: str) -> Values:
    return [item for value in _flat(values) if isinstance(value, dict) and key in value for item in [value[key]]]


def _flat(values: Values) -> Iterator[Any]:
    """Arrays count as each of their elements."""
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value


class _Compiler:
    def __init__(self, where: str, *, nested: bool) -> None:
        self._where = where
        self._nested = nested
        self.keys = 0
        self.combinations = 1

    def object(self, policy: Mapping[str, Any]) -> Test:
        """All keys must match."""
        parts: list[Test] = []
        for key, wanted in policy.items():
            if key == "$or":
                parts.append(self._any_of(wanted))
                continue
            inner = self._key(key, wanted)
            parts.append(lambda values, key=key, inner=inner: inner(_below(values, key)))  # type: ignore[misc]
        return lambda values: all(part(values) for part in parts)

    def _any_of(self, wanted: Any) -> Test:
        if not isinstance(wanted, list) or len(wanted) < 2 or not all(isinstance(item, dict) for item in wanted):
            raise _invalid(self._where, '"$or" must be an array of two objects or more')
        options = [self.object(item) for item in wanted]
        return lambda values: any(option(values) for option in options)

    def _key(self, key: str, wanted: Any) -> Test:
        if isinstance(wanted, dict):
            if not self._nested:
                raise _invalid(
                    self._where, "Filter policy scope MessageAttributes does not support nested filter policy"
                )
            return self.object(wanted)
        if not isinstance(wanted, list):
            raise _invalid(self._where, f'"{key}" must be an object or an array')
        if not wanted:
            raise _invalid(self._where, "Empty arrays are not allowed")
        self.keys += 1
        self.combinations *= len(wanted)
        tests = [self._condition(item) for item in wanted]
        return lambda values: any(test(values) for test in tests)

    def _condition(self, wanted: Any) -> Test:
        if isinstance(wanted, dict):
            if len(wanted) != 1:
                raise _invalid(self._where, "Only one key allowed in match expression")
            ((kind, value),) = wanted.items()
            if kind == "exists":
                if not isinstance(value, bool):
                    raise _invalid(self._where, "exists match pattern must be either true or false.")
                return lambda values: bool(values) is value
            return _any_value(self._operator(kind, value))
        if isinstance(wanted, list):
            raise _invalid(self._where, "Match value must be String, number, true, false, or null")
        return _any_value(lambda found: _same(found, wanted))

    def _operator(self, kind: str, value: Any) -> Callable[[Any], bool]:
        match kind:
            case "prefix" | "suffix" | "equals-ignore-case" | "wildcard" | "cidr":
                return self._on_text(kind, value)
            case "anything-but":
                if isinstance(value, dict) and len(value) == 1:
                    ((inner, text),) = value.items()
                    if inner not in ("prefix", "suffix", "equals-ignore-case", "wildcard"):
                        raise _invalid(self._where, f"Unsupported anything-but pattern: {inner}")
                    texts = text if isinstance(text, list) else [text]
                    tests = [self._on_text(inner, one) for one in texts]
                    return lambda found: not any(test(found) for test in tests)
                options = value if isinstance(value, list) else [value]
                if not options or not all(
                    isinstance(option, str | int | float) and not isinstance(option, bool) for option in options
                ):
                    raise _invalid(self._where, "Value of anything-but must be an array or single string/number value.")
                return lambda found: not any(_same(found, option) for option in options)
            case "numeric":
                return self._numeric(value)
        raise _invalid(self._where, f"Unrecognized match type {kind}")

    def _on_text(self, kind: str, value: Any) -> Callable[[Any], bool]:
        if not isinstance(value, str) or not value:
            raise _invalid(self._where, f"{kind} match pattern must be a string")
        match kind:
            case "prefix":
                return lambda found: isinstance(found, str) and found.startswith(value)
            case "suffix":
                return lambda found: isinstance(found, str) and found.endswith(value)
            case "equals-ignore-case":
                return lambda found: isinstance(found, str) and found.lower() == value.lower()
            case "wildcard":
                matches = wildcard(value)
                return lambda found: isinstance(found, str) and matches(found)
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise _invalid(self._where, f"Malformed CIDR {value}") from None
        return lambda found: _address_in(found, network)

    def _numeric(self, value: Any) -> Callable[[Any], bool]:
        if not isinstance(value, list) or len(value) not in (2, 4):
            raise _invalid(self._where, "Value of numeric must be an array of one or two comparisons.")
        pairs = list(zip(value[::2], value[1::2], strict=True))
        for sign, number in pairs:
            if sign not in _COMPARISONS:
                raise _invalid(self._where, f"Unrecognized numeric range operator: {sign}")
            if not isinstance(number, int | float) or isinstance(number, bool) or abs(number) > 1e9:
                raise _invalid(self._where, "Value of a numeric comparison must be a number between -1e9 and 1e9")
        if len(pairs) == 2 and not (pairs[0][0].startswith(">") and pairs[1][0].startswith("<")):
            raise _invalid(self._where, "A numeric range begins with > or >= and ends with < or <=")
        if len(pairs) == 2 and pairs[0][1] >= pairs[1][1]:
            raise _invalid(self._where, "Bottom must be less than top")
        return lambda found: (
            isinstance(found, int | float)
            and not isinstance(found, bool)
            and all(_COMPARISONS[sign](found, number) for sign, number in pairs)
        )


def _any_value(test: Callable[[Any], bool]) -> Test:
    return lambda values: any(test(value) for value in _flat(values) if not isinstance(value, dict))


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    return bool(found == wanted)


def _address_in(found: Any, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(found) in network
    except ValueError:
        return False


def _invalid(where: str, why: str) -> AwsError:
    return AwsError("InvalidParameter", f"Invalid parameter: {where}FilterPolicy: {why}")
