"""Logs Insights: what the workshop asks is answered exactly; what the lab can't answer is refused where it stands."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import orjson
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from ekslab.aws.event_blocks import Events
from ekslab.aws.insights import MalformedQuery, Source, parse
from ekslab.aws.insights.rows import EventRow
from ekslab.aws.insights.stages import Sort
from ekslab.aws.insights.values import Row
from ekslab.aws.log_store import Stream

OTHER_COMMANDS = "pattern diff unmask unnest anomaly filterIndex source lookup join addtotals SELECT filtr"
OTHER_FUNCTIONS = "jsonParse jsonStringify split values haversine rate unmask"

ALERTS = [
    ("Terminal shell in container", "Notice", "default", 12),
    ("Read sensitive file untrusted", "Warning", "default", 100),
    ("Terminal shell in container", "Notice", "shop", 3),
    ("Drop and execute new binary in container", "Critical", None, 45),
    ("Terminal shell in container", "Notice", "shop", 7),
]


def message(rule: str, priority: str, namespace: str | None, pid: int) -> str:
    fields = {"k8s.ns.name": namespace, "proc.pid": pid, "proc.tty": 0, "args": ["a", "b"]}
    return json.dumps({"rule": rule, "priority": priority, "output_fields": fields, "ok": True})


@pytest.fixture
def logs(running: Any) -> Any:
    client = running.client("logs")
    client.create_log_group(logGroupName="falco")
    client.create_log_stream(logGroupName="falco", logStreamName="alerts")
    # Whole minutes, so that bins are known.
    start = (running.clock.ms() // 60_000 - 10) * 60_000
    events = [{"timestamp": start + i * 60_000, "message": message(*alert)} for i, alert in enumerate(ALERTS)]
    events.append({"timestamp": start + 300_000, "message": "starting: no JSON here"})
    client.put_log_events(logGroupName="falco", logStreamName="alerts", logEvents=events)
    return client


def start(client: Any, text: str, **kwargs: Any) -> str:
    now = int(time.time())
    return str(
        client.start_query(logGroupName="falco", startTime=now - 3600, endTime=now, queryString=text, **kwargs)[
            "queryId"
        ]
    )


def finished(client: Any, query_id: str) -> Any:
    deadline = time.monotonic() + 30
    while (answer := client.get_query_results(queryId=query_id))["status"] == "Running":
        assert time.monotonic() < deadline
    return answer


def query(client: Any, text: str, **kwargs: Any) -> list[dict[str, str]]:
    answer = finished(client, start(client, text, **kwargs))
    assert answer["status"] == "Complete"
    return [{cell["field"]: cell["value"] for cell in row if cell["field"] != "@ptr"} for row in answer["results"]]


def test_without_commands_the_newest_events_come_with_time_and_message(logs: Any) -> None:
    rows = query(logs, "")
    assert len(rows) == 6
    assert rows[0]["@message"] == "starting: no JSON here"
    assert sorted((row["@timestamp"] for row in rows), reverse=True) == [row["@timestamp"] for row in rows]
    assert time.strptime(rows[0]["@timestamp"][:-4], "%Y-%m-%d %H:%M:%S")


def test_counts_by_rule(logs: Any) -> None:
    rows = query(logs, "filter ispresent(rule) | stats count(*) as alerts by rule | sort alerts desc, rule asc")
    assert rows == [
        {"rule": "Terminal shell in container", "alerts": "3"},
        {"rule": "Drop and execute new binary in container", "alerts": "1"},
        {"rule": "Read sensitive file untrusted", "alerts": "1"},
    ]


def test_statistics_say_what_was_scanned_and_matched(logs: Any) -> None:
    answer = finished(logs, start(logs, 'filter rule = "Terminal shell in container" | stats count(*) by rule'))
    assert answer["statistics"]["recordsMatched"] == 3
    assert answer["statistics"]["recordsScanned"] == 6
    assert answer["statistics"]["bytesScanned"] > 500


def test_bins_and_every_aggregate(logs: Any) -> None:
    rows = query(
        logs,
        "filter output_fields.proc.pid > 0 | stats count(*), count(output_fields.k8s.ns.name), count_distinct(rule), "
        "sum(output_fields.proc.pid), avg(output_fields.proc.pid), min(output_fields.proc.pid), "
        "max(output_fields.proc.pid) by bin(1h) as hour",
    )
    values = {name: sum(float(row[name]) for row in rows) for name in rows[0] if name != "hour"}
    assert values["count(*)"] == 5
    assert values["count(output_fields.k8s.ns.name)"] == 4
    assert values["sum(output_fields.proc.pid)"] == 167
    if len(rows) == 1:  # unless the events straddle an hour
        assert values["count_distinct(rule)"] == 3
        assert rows[0]["avg(output_fields.proc.pid)"] == "33.4"
        assert (rows[0]["min(output_fields.proc.pid)"], rows[0]["max(output_fields.proc.pid)"]) == ("3", "100")
    assert rows[0]["hour"].endswith(":00:00.000")
    minutes = query(logs, "filter ispresent(rule) | stats count(*) by bin(1m)")
    assert len(minutes) == 5
    assert set(minutes[0]) == {"bin(1m)", "count(*)"}


@pytest.mark.parametrize("name", OTHER_COMMANDS.split())
def test_commands_that_the_lab_lacks_are_refused_by_name(name: str) -> None:
    words = f"unexpected symbol found {name} at line 1 and position 14: the embedded lab's queries have no such command"
    with pytest.raises(MalformedQuery, match=f"^{words}$"):
        parse(f"fields rule | {name} @message")


@pytest.mark.parametrize("name", OTHER_FUNCTIONS.split())
def test_functions_that_the_lab_lacks_are_refused_by_name(name: str) -> None:
    words = f"unexpected symbol found {name} at line 1 and position 7: the embedded lab's queries have no such function"
    with pytest.raises(MalformedQuery, match=f"^{words}$"):
        parse(f"fields {name}(@message)")


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ('priority = "Notice"', 3),
        ('priority != "Notice"', 3),
        ('priority in ["Warning", "Critical"]', 2),
        ('priority not in ["Warning", "Critical"] and ispresent(priority)', 3),
        ("rule like /(?i)SHELL|file/", 4),
        ("rule =~ /^Drop/", 1),
        ('rule like "shell"', 3),
        ('rule not like "shell" and ispresent(rule)', 2),
        ("`output_fields.k8s.ns.name` = 'shop'", 2),
        ('output_fields.k8s.ns.name = "shop" or priority = "Critical"', 3),
        ('not (priority = "Notice") and ispresent(priority)', 2),
        ("output_fields.proc.pid >= 45", 2),
        ("output_fields.proc.pid < 12 and output_fields.proc.pid > 3", 1),
        ("output_fields.args.1 = 'b'", 5),
        ("ok = 1", 5),
        ('@logStream = "alerts"', 6),
        ('@message like "no JSON"', 1),
        ('nothing = "there"', 0),
    ],
)
def test_filters(logs: Any, condition: str, count: int) -> None:
    assert len(query(logs, f"fields @timestamp | filter {condition}")) == count


@pytest.mark.parametrize("period", ["60s", "60 seconds", "1m", "1 min", "1minute", "60000ms"])
def test_a_bin_has_its_unit_in_many_spellings(logs: Any, period: str) -> None:
    rows = query(logs, f"filter ispresent(rule) | stats count(*) as n by bin({period}) as minute | sort minute asc")
    assert [row["n"] for row in rows] == ["1"] * 5
    assert all(row["minute"].endswith(":00.000") for row in rows)


def test_fields_display_sort_and_limit(logs: Any) -> None:
    rows = query(
        logs,
        "fields @timestamp, output_fields.proc.pid as pid, rule\n| filter ispresent(rule) # comments are allowed\n"
        "| sort pid asc | limit 2 | display pid, rule",
    )
    assert rows == [
        {"pid": "3", "rule": "Terminal shell in container"},
        {"pid": "7", "rule": "Terminal shell in container"},
    ]
    assert len(query(logs, "fields rule", limit=2)) == 2
    # A call's limit ends the query as a command would.
    assert [len(query(logs, f"fields rule | limit {own}", limit=4)) for own in (3, 5)] == [3, 4]
    assert [len(row) for row in query(logs, "fields rule, nothing | filter ispresent(rule)")] == [1] * 5


def test_filters_after_statistics_see_their_columns(logs: Any) -> None:
    rows = query(logs, "filter ispresent(rule) | stats count(*) as n by rule | filter n > 1")
    assert rows == [{"rule": "Terminal shell in container", "n": "3"}]
    assert query(logs, "stats count(*) as n") == [{"n": "6"}]
    rows = query(logs, "filter ispresent(rule) | stats count(*) by bin(1m) | sort `bin(1m)` desc, `count(*)` asc")
    assert [row["bin(1m)"] for row in rows] == sorted((row["bin(1m)"] for row in rows), reverse=True)
    assert query(logs, "filter nothing = 1 | stats count(*) as n") == [{"n": "0"}]


@pytest.mark.parametrize(
    ("text", "offset", "words"),
    [
        ("stats haversine(pid, 95)", 6, "found haversine at line 1 and position 6: the embedded lab's queries have no"),
        ("fields @timestamp,\n  split(rule)", 21, "unexpected symbol found split at line 2 and position 2"),
        ("filter nosuch(rule)", 13, "unexpected symbol found ( at line 1 and position 13"),
        ("filter rule ~ 'x'", 12, "unexpected symbol found ~ at line 1 and position 12"),
        ("filter rule = ", 14, "unexpected symbol found <EOF> at line 1 and position 14"),
        ("filter rule like /x/i", 20, "unexpected symbol found i at line 1 and position 20"),
        ("filter strlen(rule, 1) > 1", 18, "unexpected symbol found ,"),
        ("filter replace(rule, 'a') > 1", 24, "unexpected symbol found )"),
        ("filter n + > 1", 11, "unexpected symbol found >"),
        ("filter sum(n) > 1", 10, "unexpected symbol found ("),
        ("stats rule", 6, "unexpected symbol found rule"),
        ("stats sum(n) + m", 15, "unexpected symbol found m"),
        ("stats sum(sum(n))", 13, "unexpected symbol found ("),
        ("stats pct(n)", 11, "unexpected symbol found )"),
        ("stats pct(n, 101)", 13, "unexpected symbol found 101"),
        ("stats count(*) by bin(0m)", 22, "unexpected symbol found 0"),
        ("stats count(*) by bin(5)", 23, "unexpected symbol found )"),
        ("stats count(*) by bin(5 parsecs)", 24, "unexpected symbol found parsecs"),
        ("stats count(*) by rule | sort @timestamp desc", 30, "Unknown symbols found in or after stats: @timestamp"),
        (
            "stats count(*) by bin(1m) | sort bin(1m)",
            36,
            "found ( at line 1 and position 36: write this column in back",
        ),
        ("stats count(*) as n | stats sum(n) as n", 28, "Ephemeral field is already defined: n ([28,39])"),
        ("parse @message '* ' as x | fields x", 34, "Ephemeral field is already defined: x ([34,35])"),
        ("parse @message '* *' as x", 15, "1 names for 2 values in '* *'"),
        ("parse @message /no group/", 15, "0 names for 0 values in /no group/"),
        ("parse @message logfmt as l", 15, "the embedded lab's queries have no such command"),
        ("dedup rule | sort rule", 13, "unexpected symbol found sort at line 1 and position 13"),
        ("order by", 8, "unexpected symbol found <EOF>"),
        ("fields rule |", 13, "unexpected symbol found <EOF>"),
        ("limit many", 6, "unexpected symbol found many"),
        ("filter rule like /(/", 17, "Invalid regular expression /(/: missing ): ("),
        ("filter " + "(" * 60, 58, "unexpected symbol found ("),
    ],
)
def test_what_cannot_be_answered_is_malformed_with_its_position(logs: Any, text: str, offset: int, words: str) -> None:
    with pytest.raises(ClientError) as caught:
        start(logs, text)
    response = caught.value.response
    assert response["Error"]["Code"] == "MalformedQueryException"
    assert words in response["Error"]["Message"]
    assert response["queryCompileError"]["location"]["startCharOffset"] == offset


WORDS = re.findall(
    r"""\S+""",
    r"""
    fields filter stats sort limit display parse dedup search head tail order by as and or not in like =~ = != < >= (
    ) [ ] , | * / + - % ^ bin datefloor count sum pct latest ispresent strlen replace if case now @timestamp @message
    rule a.b `x y` 'text' '*:*' 5 1.5 5m /re/ /(?<g>x)/ asc desc #
    """,
)


@given(st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join) | st.text(max_size=30))
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_query_or_is_malformed_somewhere_in_it(text: str) -> None:
    source = Source(Stream("s", 0), "1:g", Events())
    records = [((60_000, 2, 0, '{"rule": "r", "a": {"b": 1}}'), source), ((0, 1, 0, "x"), source)]
    try:
        parsed = parse(text)
    except MalformedQuery as error:
        place = (0, error.start, error.end, len(text))
    else:
        parsed.push(records)
        parsed.finish()
        assert all(isinstance(cell["value"], str) for row in parsed.rows(0, 10) for cell in row)
        return
    assert list(place) == sorted(place)


def test_large_results_come_by_pages(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    for count in (10_000, 1_000):
        events = [{"timestamp": now, "message": f'{{"n": {i}}}'} for i in range(count)]
        logs.put_log_events(logGroupName="falco", logStreamName="alerts", logEvents=events)
    query_id = start(logs, "fields n | filter ispresent(n) | limit 30000")
    answer = finished(logs, query_id)
    rows = answer["results"]
    assert len(rows) == 10_000
    while token := answer.get("nextToken"):
        answer = logs.get_query_results(queryId=query_id, nextToken=token)
        rows += answer["results"]
    assert len(rows) == 11_000
    assert len(query(logs, "fields n")) == 10_000
    described = logs.describe_queries(logGroupName="falco")["queries"]
    assert [q["queryString"] for q in described] == ["fields n", "fields n | filter ispresent(n) | limit 30000"]
    assert described[0]["status"] == "Complete"


def test_a_query_can_be_stopped_once(running: Any, logs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ekslab.aws.queries._CHUNK", 50)  # 800 turns of the loop, so that other calls get in between
    now = running.clock.ms()
    for _ in range(4):
        events = [{"timestamp": now, "message": f'{{"n": {i}}}'} for i in range(10_000)]
        logs.put_log_events(logGroupName="falco", logStreamName="alerts", logEvents=events)
    query_id = start(logs, "stats count(*) by n")
    assert logs.stop_query(queryId=query_id)["success"] is True
    assert logs.get_query_results(queryId=query_id)["status"] == "Cancelled"
    with pytest.raises(logs.exceptions.InvalidParameterException, match="is not running; it is Cancelled"):
        logs.stop_query(queryId=query_id)
    with pytest.raises(logs.exceptions.ResourceNotFoundException, match="Query 'nope' does not exist"):
        logs.get_query_results(queryId="nope")


def test_groups_are_named_in_exactly_one_way(logs: Any) -> None:
    with pytest.raises(logs.exceptions.ResourceNotFoundException, match="does not exist"):
        logs.start_query(logGroupNames=["missing"], startTime=0, endTime=1, queryString="")
    with pytest.raises(logs.exceptions.InvalidParameterException, match="Exactly one of logGroupName, logGroupNames"):
        logs.start_query(startTime=0, endTime=1, queryString="")
    logs.create_log_group(logGroupName="second")
    logs.create_log_stream(logGroupName="second", logStreamName="s")
    now = int(time.time())
    logs.put_log_events(
        logGroupName="second", logStreamName="s", logEvents=[{"timestamp": now * 1000, "message": "here"}]
    )
    query_id = logs.start_query(
        logGroupNames=["falco", "second"], startTime=now - 3600, endTime=now, queryString="stats count(*) as n by @log"
    )["queryId"]
    rows = [{c["field"]: c["value"] for c in row} for row in finished(logs, query_id)["results"]]
    assert sorted(rows, key=str) == [
        {"@log": "111122223333:falco", "n": "6"},
        {"@log": "111122223333:second", "n": "1"},
    ]


@pytest.fixture
def many(running: Any, logs: Any) -> Any:
    """30,000 events in two streams, of which each hundredth is the one that is looked for."""
    logs.create_log_stream(logGroupName="falco", logStreamName="other")
    first = running.clock.ms() - 60_000
    for start in range(0, 30_000, 10_000):
        events = [
            {"timestamp": first + i, "message": f'{{"rule": "{"rare" if i % 100 == 0 else "usual"}", "n": {i}}}'}
            for i in range(start, start + 10_000)
        ]
        stream = "other" if start == 10_000 else "alerts"
        logs.put_log_events(logGroupName="falco", logStreamName=stream, logEvents=events)
    return logs


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The messages that queries have parsed."""
    messages: list[str] = []
    loads = orjson.loads

    def noted(text: str | bytes) -> Any:
        if isinstance(text, str):  # the bodies of requests are bytes
            messages.append(text)
        return loads(text)

    monkeypatch.setattr(orjson, "loads", noted)
    return messages


def test_rows_of_messages_are_not_parsed_and_the_rest_is_only_counted(
    many: Any, parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[EventRow] = []
    made = EventRow.__init__
    monkeypatch.setattr(EventRow, "__init__", lambda row, *args: rows.append(row) or made(row, *args))
    answer = finished(many, start(many, "fields @message | limit 1000"))
    assert len(answer["results"]) == 1000
    assert (parsed, len(rows) <= 4000) == ([], True)
    stored = many.describe_log_groups()["logGroups"][0]["storedBytes"]
    assert answer["statistics"] == {
        **{"recordsMatched": 30_006, "recordsScanned": 30_006, "bytesScanned": stored - 30_006 * 26},
        **{"logGroupsScanned": 1, "resultCount": 1000, **{k: v for k, v in answer["statistics"].items() if v == 0}},
    }


def test_a_selective_filter_parses_what_it_may_select(many: Any, parsed: list[str]) -> None:
    assert query(many, 'filter rule = "rare" | stats count(*) as n, max(n) as newest') == [
        {"n": "300", "newest": "29900"}
    ]
    assert len(parsed) == 300


def test_a_filter_on_what_is_not_in_the_message_finds_it(many: Any) -> None:
    assert query(many, 'filter @logStream = "other" | stats count(*) as n') == [{"n": "10000"}]
    renamed = 'fields @logStream as stream | filter stream = "other" and rule = "rare" | stats count(*) as n'
    assert query(many, renamed) == [{"n": "100"}]
    after = 'stats count(*) as n by rule | filter rule = "rare"'
    assert query(many, after) == [{"rule": "rare", "n": "300"}]


@pytest.mark.parametrize(("order", "numbers"), [("asc", range(20)), ("desc", range(29_999, 29_979, -1))])
def test_a_sort_holds_no_more_rows_than_are_asked_of_it(
    many: Any, monkeypatch: pytest.MonkeyPatch, order: str, numbers: range
) -> None:
    most = 0
    push = Sort.push

    def counted(sort: Sort, row: Row) -> Row | None:
        nonlocal most
        kept = push(sort, row)
        most = max(most, len(sort._rows))
        return kept

    monkeypatch.setattr(Sort, "push", counted)
    rows = query(many, f"filter ispresent(n) | sort n {order} | fields n | limit 20")
    assert [row["n"] for row in rows] == [str(n) for n in numbers]
    assert 20 < most <= 1040


def test_results_that_were_read_make_room_and_others_stay(many: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ekslab.aws.queries._KEPT_ROWS", 2500)
    unread = start(many, "fields n | limit 1000")
    read = [start(many, "fields n | limit 1000") for _ in range(4)]
    for query_id in read:
        finished(many, query_id)
    start(many, "fields n | limit 1")
    with pytest.raises(many.exceptions.ResourceNotFoundException):
        many.get_query_results(queryId=read[0])
    assert len(finished(many, unread)["results"]) == len(finished(many, read[-1])["results"]) == 1000


@pytest.mark.parametrize(
    "text", ["fields @timestamp, @message, n", 'filter rule = "rare" | sort n asc | fields n, @log']
)
def test_results_of_compressed_events_are_the_same_and_hold_none_of_them(
    many: Any, running: Any, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    expected = query(many, text)
    group = running.aws.logs.region("us-east-1").groups["falco"]
    for stream in group.streams.values():
        stream.events.pack(30_000, keep=300)
    query_id = start(many, text)
    assert finished(many, query_id)["status"] == "Complete"
    rows = running.aws.logs.region("us-east-1").queries._queries[query_id].query._rows
    assert sum(len(row._event) == 4 for row in rows) < 1500  # those that the store has as they are
    assert sum(len(row._event) == 2 for row in rows) > 200
    for stream in group.streams.values():
        stream.events.pack(30_000, keep=0)
    assert query(many, text) == expected


def test_times_of_a_query_are_seconds_or_milliseconds(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    answers = {
        unit: finished(
            logs,
            logs.start_query(
                logGroupName="falco",
                startTime=(now - 3_600_000) // width,
                endTime=now // width,
                queryString="fields rule",
            )["queryId"],
        )["results"]
        for unit, width in (("s", 1000), ("ms", 1))
    }
    assert answers["s"] == answers["ms"] != []
    # A range in milliseconds ends at its last one; one in seconds has the whole of its last second.
    first = now - now % 1000 - 60_000
    events = [{"timestamp": first + ms, "message": f"at {ms}"} for ms in (0, 999)]
    logs.create_log_stream(logGroupName="falco", logStreamName="exact")
    logs.put_log_events(logGroupName="falco", logStreamName="exact", logEvents=events)
    text = 'filter @logStream = "exact" | stats count(*) as n'
    for start_, end, count in ((0, first // 1000, "2"), (0, first + 998, "1"), (first + 1, first + 999, "1")):
        query_id = logs.start_query(logGroupName="falco", startTime=start_, endTime=end, queryString=text)["queryId"]
        assert finished(logs, query_id)["results"] == [[{"field": "n", "value": count}]]
