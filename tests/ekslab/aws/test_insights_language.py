"""The language of Logs Insights on a few log events: missing fields, arithmetic, functions, each command."""

from __future__ import annotations

import json
import statistics
from typing import Any

import pytest

from ekslab.aws.event_blocks import Events
from ekslab.aws.insights import Source, parse
from ekslab.aws.log_store import Stream

FIRST = 1_767_225_600_000  # 2026-01-01T00:00:00Z
# One a minute. The host's alert (1) has no namespace at all, the second's is null.
MESSAGES: list[Any] = [
    {"i": 0, "ns": "kube-system", "n": 1, "a": "x", "b": "x", "pod": {"name": "p-0", "node": {"zone": "a"}}},
    {"i": 1, "n": 5, "a": "y", "b": "z"},
    {"i": 2, "ns": None, "n": None, "a": "y", "pod": {"name": None}},
    {"i": 3, "ns": "shop", "n": "7", "a": "10", "b": 10, "ok": True, "s": "  pad ", "ip": "10.1.2.3"},
    {"i": 4, "ns": "shop", "n": 2.5, "ok": False, "s": "", "ip": "2001:db8::1"},
    "user=bob, method:GET, latency := 12",
    "user=eve, method:PUT, latency := 7.5",
]
NOW = FIRST + 3_600_000


def run(query: str, messages: list[Any] = MESSAGES) -> list[dict[str, str]]:
    """The rows of a query over messages, one a minute, without `@ptr`."""
    source = Source(Stream("alerts", 0), "111122223333:falco", Events())
    texts = [text if isinstance(text, str) else json.dumps(text) for text in messages]
    parsed = parse(query, now=NOW)
    parsed.push([((FIRST + at * 60_000, at + 1, 0, text), source) for at, text in enumerate(texts)][::-1])
    parsed.finish()
    rows = [{cell["field"]: cell["value"] for cell in row} for row in parsed.rows(0, 1000)]
    return [{name: value for name, value in row.items() if name != "@ptr"} for row in rows]


def selected(condition: str) -> list[int]:
    """The numbers of the messages that a filter selects, the oldest first; 5 and 6 are those without JSON."""
    rows = run(f"fields i, @timestamp | filter {condition} | sort @timestamp asc")
    return [int(row["@timestamp"][14:16]) for row in rows]


EVERYTHING = list(range(7))


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        ('ns != "kube-system"', [1, 2, 3, 4, 5, 6]),
        ('not (ns = "kube-system")', [1, 2, 3, 4, 5, 6]),
        ('not ns = "kube-system"', [1, 2, 3, 4, 5, 6]),
        ('not (ns != "kube-system")', [0]),
        ('ns != "kube-system" and ispresent(ns)', [3, 4]),
        ("not ispresent(ns)", [1, 2, 5, 6]),
        ('ns = "shop" or ns != "shop"', EVERYTHING),
        ("n != 5", [0, 2, 3, 4, 5, 6]),
        ("not (n = 5)", [0, 2, 3, 4, 5, 6]),
        ('n != "5"', [0, 2, 3, 4, 5, 6]),
        ("n < 5", [0, 4]),
        ("n >= 5", [1, 3]),
        ("not (n < 5)", [1, 2, 3, 5, 6]),
        ("a = b", [0, 3]),
        ("a != b", [1, 2, 4, 5, 6]),
        ("b != a", [1, 2, 4, 5, 6]),
        ("nothing != nowhere", EVERYTHING),
        ("nothing = nowhere", []),
        ("nothing > nowhere", []),
        ('pod.name != "p-0"', [1, 2, 3, 4, 5, 6]),
        ('pod.node.zone != "a"', [1, 2, 3, 4, 5, 6]),
        ("`pod.node.zone` = 'a'", [0]),
        ('ns in ["shop", "kube-system"]', [0, 3, 4]),
        ('ns not in ["shop"]', [0, 1, 2, 5, 6]),
        ('ns like "sho"', [3, 4]),
        ('ns not like "sho"', [0, 1, 2, 5, 6]),
        ("ns not like /^s/", [0, 1, 2, 5, 6]),
        ("ns =~ /(?i)SHOP/", [3, 4]),
        ("ok = 1", [3]),
        ("ok = true", [3]),
        ("ok = false", [4]),
        ("ok != 1", [0, 1, 2, 4, 5, 6]),
        ("n + 1 > 5", [1, 3]),
        ("n + 1 != 6", [0, 2, 3, 4, 5, 6]),
        ("n * 2 = 5 or n ^ 2 = 49", [3, 4]),
        ("strlen(a) = 2", [3]),
        ("strlen(a) != 2", [0, 1, 2, 4, 5, 6]),
        ("isempty(s)", [0, 1, 2, 4, 5, 6]),
        ("isempty(s) and ispresent(s)", [4]),
        ('strcontains(@message, "user") = 1', [5, 6]),
        ('strcontains(@message, "user") and @message like /eve/', [6]),
        ("@timestamp > 1767225900000", [6]),
        ("NOT ISPRESENT(i) AND @message LIKE 'bob'", [5]),
    ],
)
def test_a_missing_field_differs_from_everything_and_is_nothing_else(condition: str, numbers: list[int]) -> None:
    assert selected(condition) == numbers


def test_a_missing_field_within_statistics() -> None:
    assert run('stats sum(ns != "kube-system") as others, sum(ns = "kube-system") as own, count(*) as n') == [
        {"others": "6", "own": "1", "n": "7"}
    ]
    by = run('stats count(*) as n by ns != "kube-system" as other | sort other asc')
    assert by == [{"other": "0", "n": "1"}, {"other": "1", "n": "6"}]
    assert run("stats count(*) as n by ns | filter ns != 'shop' | sort n desc") == [
        {"n": "4"},
        {"ns": "kube-system", "n": "1"},
    ]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("7 - 2 - 1", "4"),
        ("100 / 10 / 5", "2"),
        ("7 / 2", "3.5"),
        ("10 / 3", "3.3333333333"),
        ("2 / 3", "0.6666666667"),
        ("0.0000166667 / 1000", "0.0000000167"),
        ("1 / 0", None),
        ("7 % 3", "1"),
        ("-7 % 3", "-1"),
        ("2 ^ 3", "8"),
        ("2 ^ 3 ^ 2", "512"),
        ("-2 ^ 2", "-4"),
        ("2 * 3 ^ 2", "18"),
        ("10 ^ 400", None),
        ("1.5 + 1.5", "3"),
        ("i-1", "2"),
        ("n*2", "14"),
        ("nothing + 1", None),
        ("a + 0.5", "10.5"),
        ("s + 1", None),
        ("1 < 2", "1"),
        ("abs(-3)", "3"),
        ("ceil(1.2)", "2"),
        ("floor(-1.2)", "-2"),
        ("round(2.5)", "3"),
        ("sqrt(16)", "4"),
        ("sqrt(-1)", None),
        ("log(1)", "0"),
        ("greatest(1, 5, 2)", "5"),
        ("least(4, 2, 3)", "2"),
        ("abs(least(-4, 2)) + 1", "5"),
        ("toNumber('12') + 1", "13"),
        ("strlen('höhe')", "4"),
        ("trim(s)", "pad"),
        ("ltrim(s)", "pad "),
        ("rtrim(s)", "  pad"),
        ("trim('xxaxx', 'x')", "a"),
        ("toupper(ns)", "SHOP"),
        ("tolower('ABC')", "abc"),
        ("substr('xyZfooxyZ', 1, 3)", "yZf"),
        ("substr('xyZfoo', 3)", "foo"),
        ("replace('foo.foo', '.', '-')", "foo-foo"),
        ("concat(ns, '/', i)", "shop/3"),
        ("concat(ns, nothing, 'x')", "shopx"),
        ("strcontains(ns, 'ho')", "1"),
        ("strcontains(ns, 'HO')", "0"),
        ("strcontains(ns, 'HO', true)", "0"),
        ("startsWith(ns, 'sh')", "1"),
        ("endsWith(ns, 'sh')", "0"),
        ("isblank('  ')", "1"),
        ("isempty('  ')", "0"),
        ("isempty(nothing)", "1"),
        ("isblank(nothing)", "1"),
        ("coalesce(nothing, ns, a)", "shop"),
        ("if(i > 2, 'late', 'early')", "late"),
        ("case(i > 5, 'a', i > 2, 'b', 'c')", "b"),
        ("isValidIp(ip)", "1"),
        ("isValidIpV4(ip)", "1"),
        ("isValidIpV6(ip)", "0"),
        ("isValidIp('10.0.0.256')", "0"),
        ("isIpInSubnet(ip, '10.0.0.0/8')", "1"),
        ("isIpv4InSubnet(ip, '10.2.0.0/16')", "0"),
        ("isIpv6InSubnet('2001:db8::1', '2001:db8::/32')", "1"),
        ("isIpv4InSubnet(ns, '10.0.0.0/8')", "0"),
        ("base64encode('falco')", "ZmFsY28="),
        ("sha256('')", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("bin(1h)", "2026-01-01 00:00:00.000"),
        ("bin(2 minutes)", "2026-01-01 00:02:00.000"),
        ("bin(90s)", "2026-01-01 00:03:00.000"),
        ("bin(1mo)", "2026-01-01 00:00:00.000"),
        ("datefloor(@timestamp, 1y)", "2026-01-01 00:00:00.000"),
        ("dateceil(@timestamp, 1h)", "2026-01-01 01:00:00.000"),
        ("dateceil(@timestamp, 1 quarter)", "2026-04-01 00:00:00.000"),
        ("toMillis(@timestamp)", str(FIRST + 180_000)),
        ("fromMillis(toMillis(@timestamp) + 1)", "2026-01-01 00:03:00.001"),
        ("@timestamp - 180000", str(FIRST)),
        ("now()", str(NOW // 1000)),
        ("`n`", "7"),
    ],
)
def test_expressions(expression: str, value: str | None) -> None:
    (row,) = run(f"filter i = 3 | fields {expression} as value")
    assert row.get("value") == value


def test_a_column_without_a_name_is_called_as_it_is_written() -> None:
    assert run("filter i = 3 | fields n+1, strlen(ns)") == [{"n+1": "8", "strlen(ns)": "4"}]
    assert run("stats sum(n)/1024, count( * )") == [{"sum(n)/1024": "0.0151367188", "count( * )": "7"}]


NUMBERS = [1, 5, 7, 2.5]


@pytest.mark.parametrize(
    ("aggregate", "value"),
    [
        ("count(*)", "7"),
        ("count()", "7"),
        ("count(n)", "4"),
        ("count(ns)", "3"),
        ("count_distinct(ns)", "2"),
        ("sum(n)", "15.5"),
        ("sum(i) / count(i)", "2"),
        ("(sum(n) + 1) * 2", "33"),
        ("avg(n)", "3.875"),
        ("min(n)", "1"),
        ("max(n) - min(n)", "6"),
        ("max(n + i)", "10"),
        ("pct(i, 0)", "0"),
        ("pct(i, 50)", "2"),
        ("pct(i, 100)", "4"),
        ("median(i)", "2"),
        ("stddev(n)", f"{statistics.pstdev(NUMBERS):.10f}"),
        ("earliest(n)", "1"),
        ("latest(n)", "2.5"),
        ("latest(a)", "10"),
        ("earliest(@timestamp)", str(FIRST)),
        ("fromMillis(max(@timestamp))", "2026-01-01 00:06:00.000"),
        ("sortsFirst(a)", "x"),
        ("sortsLast(a)", "10"),
        ("ceil(avg(n))", "4"),
        ("sum(nothing)", None),
        ("avg(nothing)", None),
        ("count(nothing)", "0"),
    ],
)
def test_aggregates(aggregate: str, value: str | None) -> None:
    assert run(f"stats {aggregate} as value")[0].get("value") == value


def test_a_number_and_its_text_are_one_group() -> None:
    messages = [{"n": 7}, {"n": "7"}, {"n": 7.0}, {"n": None}, {}]
    assert run("stats count(*) as count by n | sort n desc", messages) == [{"n": "7", "count": "3"}, {"count": "2"}]
    assert len(run("dedup n", messages)) == 3


def test_statistics_name_those_before_them() -> None:
    assert run("stats max(n) as most, min(n) as least, most - least as range, range / 2 as half by ok | sort ok") == [
        {"most": "5", "least": "1", "range": "4", "half": "2"},
        {"ok": "0", "most": "2.5", "least": "2.5", "range": "0", "half": "0"},
        {"ok": "1", "most": "7", "least": "7", "range": "0", "half": "0"},
    ]


# Shapes of queries that people write, and that the lab must take.
WRITTEN = """
fields @timestamp, @message, @logStream | sort @timestamp desc | limit 25
fields @timestamp, @message | filter @message like /(?i)exception/ | sort @timestamp desc
filter @type = "REPORT" | stats avg(@duration), max(@duration), min(@duration) by bin(5m)
filter @type = "REPORT" | stats max(@memorySize / 1000 / 1000) as given, avg(@used / 1000) as used, given - used as over
stats count(*) by eventSource, eventName, awsRegion
filter (eventName="StartInstances" or eventName="StopInstances") and awsRegion="us-east-2" | fields a.b.c, d.0.e
filter isIpv4InSubnet(srcAddr, "192.0.2.0/24") | stats sum(bytes) as sent by dstAddr | sort sent desc | limit 15
stats count(*) as n by bin(30s) as t, rule | filter n > 10 | sort t, n desc
stats count(*) as n by floor(bytes / 1024) * 1024 as size | order by size asc
filter statusCode like /2\\d\\d/ and NOT (path like "/health" or path =~ /^.internal/)
fields concat(a, ":", b) as name, a not in ["x", 'y'] as other, strlen(trim(c)) > 3 as long
filter ispresent(a) and a != "" and b >= -1.5 and not c in [1, 2.5, -3]
stats latest(@timestamp) as last, earliest(rule) as first, pct(n, 99.9), stddev(n), count_distinct(user) by `k8s.pod`
parse @message "[*] *" as level, text | filter level IN ["ERROR", "WARN"] | display @timestamp, text
parse @message /\\[(?<level>\\w+)\\] (?<text>.*)/ | stats count() as `of lines` by level | sort `of lines` desc
fields @timestamp | filter rule = "x" # a comment | filter nothing
fields tomillis(@timestamp) as ms, fromMillis(ms) as again, datefloor(@timestamp, 1 week) as week | dedup week | limit 3
stats sum(strcontains(@message, "error")) / count(*) * 100 as percent by bin(1 hour)
stats count(*) as n by rule | stats sum(n) as all, max(n) as most
fields if(n > 5, "big", "small") as size, case(n < 1, 'none', n < 5, 'few', 'many') as how, coalesce(a, b, "-") as c
"""


@pytest.mark.parametrize("query", WRITTEN.strip().splitlines())
def test_queries_as_people_write_them_run(query: str) -> None:
    assert isinstance(run(query), list)


def test_statistics_of_statistics() -> None:
    assert run("stats count(*) as n by a | stats max(n) as most, count(*) as groups") == [{"most": "3", "groups": "4"}]
    assert run("stats count(*) as n by a | fields n * 2 as twice | filter twice > 2 | sort twice desc") == [
        {"n": "3", "twice": "6"},
        {"a": "y", "n": "2", "twice": "4"},
    ]


def test_parse_by_wildcards_and_by_groups() -> None:
    glob = "parse @message 'user=*, method:*, latency := *' as @user, @method, @latency"
    assert run(f"{glob} | filter ispresent(@user) | display @user, @method, @latency") == [
        {"@user": "eve", "@method": "PUT", "@latency": "7.5"},
        {"@user": "bob", "@method": "GET", "@latency": "12"},
    ]
    assert run(f"{glob} | stats avg(@latency) as mean") == [{"mean": "9.75"}]
    assert len(run(glob)) == 7  # a row that the pattern doesn't match stays, without the fields
    assert set(run(glob)[0]) == {"@timestamp", "@message", "@user", "@method", "@latency"}
    assert run("fields @timestamp | parse @message 'user=*,' as who | filter who = 'bob'")[0]["who"] == "bob"
    assert run(r"parse @message /user=(?<who>\w+), method:(?<how>\w+)/ | stats count(*) as n by how | sort how") == [
        {"n": "5"},
        {"how": "GET", "n": "1"},
        {"how": "PUT", "n": "1"},
    ]
    assert run(r"parse @message /user=(\w+)/ as who | filter ispresent(who) | sort who | limit 1 | display who") == [
        {"who": "bob"}
    ]
    assert run("parse 'latency := *' as ms | filter ms > 10 | display ms") == [{"ms": "12"}]
    assert run("parse pod.name 'p-*' as number | filter ispresent(number) | display number") == [{"number": "0"}]
    # Parts of a part; a pattern in which characters of regular expressions stand for themselves.
    chained = (
        "parse @message 'user=*, *' as who, rest | parse rest 'method:*,' as how | filter how = 'PUT' | display who"
    )
    assert run(chained) == [{"who": "eve"}]
    assert run("parse @message '[*] (*)' as level, text | display level, text", ["a [WARN] (x.y) b"]) == [
        {"level": "WARN", "text": "x.y"}
    ]


def test_head_tail_limit_and_order_by() -> None:
    ordered = "filter ispresent(i) | order by i desc | fields i"
    assert [row["i"] for row in run(ordered)] == ["4", "3", "2", "1", "0"]
    assert run(ordered.replace("order by", "sort by")) == run(ordered.replace("order by", "sort")) == run(ordered)
    assert [row["i"] for row in run(f"{ordered} | head 2")] == ["4", "3"]
    assert [row["i"] for row in run(f"{ordered} | tail 2")] == ["1", "0"]
    assert [row["i"] for row in run(f"{ordered} | limit 3 | tail 1")] == ["2"]
    assert len(run("fields i | limit any 3")) == 3
    assert [row.get("i") for row in run("fields i | tail 2")] == ["1", "0"]  # the newest come first


def test_sort_puts_text_before_numbers_and_orders_digits_in_text_by_value() -> None:
    values = [
        "!:",
        "#",
        "*%04",
        "0#",
        "5A",
        "111A",
        "2345_",
        "@",
        "@_",
        "A",
        "A9876fghj",
        "a12345hfh",
        "0",
        "1",
        "2",
        3,
    ]
    messages = [{"v": value} for value in values]
    shuffled = messages[::3] + messages[1::3] + messages[2::3]
    rows = run("fields v | sort v asc", shuffled)
    assert [row["v"] for row in rows] == [str(value) for value in values]
    assert [row["v"] for row in run("fields v | sort v desc", shuffled)] == [str(value) for value in values][::-1]


def test_dedup_keeps_the_first_row_of_each_value_and_all_rows_that_lack_one() -> None:
    assert [row["i"] for row in run("fields i | filter ispresent(a) | sort i asc | dedup a")] == ["0", "1", "3"]
    assert [row["i"] for row in run("fields i | filter ispresent(a) | dedup a | limit 2")] == ["3", "2"]
    assert len(run("dedup ns")) == 6
    assert [row["i"] for row in run("fields i | filter ispresent(i) | sort i asc | dedup ns, a")] == [
        "0",
        "1",
        "2",
        "3",
        "4",
    ]


@pytest.mark.parametrize(
    ("terms", "count"),
    [
        ("'user='", 2),
        ("user bob", 1),
        ("bob or eve", 2),
        ("user and not bob", 1),
        ("/method:(GET|PUT)/", 2),
        ("'shop' or (user eve)", 3),
        ("nowhere", 0),
    ],
)
def test_search_looks_in_messages(terms: str, count: int) -> None:
    assert len(run(f"search {terms}")) == count
    assert run(f"search {terms} | stats count(*) as n") == [{"n": str(count)}]


def test_display_chooses_columns_and_comments_say_nothing() -> None:
    text = "fields i, ns # two columns\n| filter i = 3 # one row | filter i = 4\n| display ns"
    assert run(text) == [{"ns": "shop"}]
    assert run("fields i as number | filter number = 3 | display `number`") == [{"number": "3"}]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("round(1.5, 9999999999999999)", None),
        ("'1e999' + 1", None),
        ("substr(ns, '1e999')", None),
        (" * ".join(["9" * 90] * 40), None),  # too large for a number
        ("fromMillis(99999999999999999)", None),
        ("dateceil(249999999999999, 100y)", "9970-01-01 00:00:00.000"),
        ("greatest(n)", "7"),
        ("strlen(replace(concat(ns, ns, ns, ns), 's', concat(ns, ns, ns, ns)))", "76"),
        ("regex_replace(ns, '([', 'x')", None),
        ("regex_replace(ns, '(sh)(op)', '$2$1')", "opsh"),
        ("base64decode('%')", None),
    ],
)
def test_what_has_no_result_is_missing(expression: str, value: str | None) -> None:
    (row,) = run(f"filter i = 3 | fields {expression} as value")
    assert row.get("value") == value


def test_long_queries_need_no_more_depth_than_short_ones() -> None:
    assert run(f"fields {' + '.join(['1'] * 2000)} as sum | limit 1") == [{"sum": "2000"}]
    assert len(run(f"filter {' or '.join(f'i = {n}' for n in range(1000))}")) == 5
