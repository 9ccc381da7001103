"""Alerts are read back over HTTP from the embedded lab's CloudWatch Logs."""

from __future__ import annotations

import http.server
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from labkit.alerts import concat, events, insights, read, reader, service, to_frame
from labkit.errors import LabError, TargetError


def test_every_alert_of_a_group_is_a_row(client: Any, group: Any, falco_lines: list[str]) -> None:
    group.put(["Mon Nov 23 04:20:00 2026: Falco version: 0.44.1 (x86_64)", *falco_lines], ago=5000, step=1)
    df = read(client, group.name)
    assert df.attrs == {
        **{"events": 61, "alerts": 60, "skipped": {"lifecycle": 1}, "untimed": 0},
        **{"complete": True, "pushed_down": "", "left_out": 0},
    }
    pd.testing.assert_frame_equal(
        df.drop(columns=["eventId", "logStreamName", "timestamp", "ingestionTime"]),
        to_frame(falco_lines).drop(columns=["eventId", "logStreamName", "timestamp", "ingestionTime"]),
    )
    assert df["eventId"].is_unique
    assert set(df["logStreamName"]) == {"alerts"}
    assert df["timestamp"].min() == pd.Timestamp(group.now - 4999, unit="ms", tz="UTC")
    assert (df["ingestionTime"] >= df["timestamp"]).all()


def test_pages_are_read_to_the_last(client: Any, group: Any, falco_lines: list[str]) -> None:
    group.put(falco_lines * 60, ago=5000, step=1)
    pages: list[int] = []
    df = read(client, group.name, progress=lambda count, _: pages.append(count))
    assert len(df) == 3600
    assert len(pages) > 2
    assert pages[-1] == 3600


def test_the_quick_parser_gives_what_boto3_gives(client: Any, group: Any, falco_lines: list[str]) -> None:
    group.put([*falco_lines, '{"text": "café ☃ \\u2603"}'], ago=1000)
    pages = client.get_paginator("filter_log_events").paginate(logGroupName=group.name)
    assert list(events(client, group.name)) == [event for page in pages for event in page["events"]]


def test_two_readings_of_one_client_do_not_disturb_each_other(client: Any, group: Any, falco_lines: list[str]) -> None:
    group.put(falco_lines * 40, ago=5000, step=1)
    first, second = events(client, group.name), events(client, group.name)
    for _ in range(10):
        next(first)
        next(second)
    first.close()  # type: ignore[attr-defined]
    assert len(list(second)) == 2390
    assert len(read(client, group.name)) == 2400


def test_an_empty_page_is_not_the_end(client: Any, group: Any, shell: Callable[..., str]) -> None:
    group.put(["noise"] * 20_500, ago=5000)
    group.put([shell("bash")])
    empty = client.filter_log_events(logGroupName=group.name, filterPattern='"Terminal shell"')
    assert empty["events"] == []
    assert empty["nextToken"]
    assert len(read(client, group.name, filter_pattern='"Terminal shell"')) == 1


def test_the_window_streams_rule_and_pattern_choose(client: Any, group: Any, shell: Callable[..., str]) -> None:
    group.stream("other")
    group.put([shell("old")], ago=7_200_000)
    group.put([shell("new"), shell("odd", rule="Terminal")], ago=60_000)
    group.put([shell("elsewhere")], ago=60_000, stream="other")

    def commands(**arguments: Any) -> set[str]:
        return set(read(client, group.name, **arguments)["proc.cmdline"])

    assert commands() == {"old", "new", "odd", "elsewhere"}
    assert commands(start="1h") == {"new", "odd", "elsewhere"}
    assert commands(end="1h") == {"old"}
    assert commands(start=datetime.now(UTC) - timedelta(hours=3), end="1h") == {"old"}
    assert commands(stream_prefix="oth") == {"elsewhere"}
    assert commands(filter_pattern='{ $.rule = "Terminal" }') == {"odd"}
    assert commands(rule="Terminal") == {"odd"}
    assert commands(rule="Terminal shell in container", start="1h") == {"new", "elsewhere"}
    assert read(client, group.name, rule="Nothing").dtypes.equals(read(client, group.name, start="1s").dtypes)


def test_a_rule_s_alerts_are_found_in_wrapped_messages(client: Any, group: Any, shell: Callable[..., str]) -> None:
    group.put([json.dumps({"log": shell("bash"), "stream": "stdout"}), json.dumps({"log": shell("x", rule="Other")})])
    assert list(read(client, group.name, rule="Terminal shell in container")["proc.cmdline"]) == ["bash"]


@pytest.mark.parametrize("rule", ['A "quoted" rule', "Une règle", "back\\slash"])
def test_a_rule_whose_name_json_escapes_is_found(client: Any, group: Any, shell: Callable[..., str], rule: str) -> None:
    group.put([shell("bash", rule=rule), shell("bash")])
    assert list(read(client, group.name, rule=rule)["rule"]) == [rule]


def test_a_limit_gives_the_newest(client: Any, group: Any, shell: Callable[..., str]) -> None:
    group.put([shell(str(n)) for n in range(3000)], ago=60_000, step=10)
    group.put(["no alert", shell("rare", rule="Rare")], ago=90_000)
    pages: list[int] = []
    newest = read(client, group.name, limit=5, progress=lambda count, _: pages.append(count))
    assert list(newest["proc.cmdline"]) == ["2995", "2996", "2997", "2998", "2999"]
    assert len(pages) == 1
    assert newest.attrs["complete"]
    everything = read(client, group.name)
    pd.testing.assert_frame_equal(newest, everything.tail(5).reset_index(drop=True), check_categorical=False)
    assert list(read(client, group.name, limit=2, rule="Rare")["proc.cmdline"]) == ["rare"]
    assert len(read(client, group.name, limit=9999)) == 3001
    until = everything["timestamp"].iloc[100]
    assert read(client, group.name, end=until, limit=1)["timestamp"].iloc[0] == until
    with pytest.raises(LabError, match="limit is 0"):
        read(client, group.name, limit=0)


def test_the_newest_are_those_that_were_logged_last(client: Any, group: Any, falco_lines: list[str]) -> None:
    # Falco's own times say otherwise: these lines are of one minute, and were logged in the opposite order.
    group.put(falco_lines[::-1], ago=60_000, step=10)
    df, newest = read(client, group.name), read(client, group.name, limit=7)
    assert set(newest["eventId"]) == set(df.sort_values("timestamp").tail(7)["eventId"])
    assert newest["time"].is_monotonic_increasing


def test_going_on_after_a_frame_loses_nothing_and_repeats_nothing(
    client: Any, group: Any, shell: Callable[..., str]
) -> None:
    group.put([shell("a"), shell("b")], ago=60_000, step=30_000)
    df = read(client, group.name)
    assert read(client, group.name, after=df).empty
    group.put([shell("late")], ago=200_000)  # before both, and readable only now
    group.put([shell("too late")], ago=800_000)
    group.put([shell("c")], ago=30_000)  # at the same time as the newest
    later = read(client, group.name, after=df)
    assert sorted(later["proc.cmdline"]) == ["c", "late"]
    assert list(read(client, group.name, after=df, overlap="20s")["proc.cmdline"]) == ["c"]
    assert list(read(client, group.name, after=df, limit=1)["proc.cmdline"]) == ["c"]
    both = concat([df, later])
    assert read(client, group.name, after=both).empty
    assert sorted(read(client, group.name, after=both, overlap="1h")["proc.cmdline"]) == ["too late"]
    nothing = read(client, group.name, start="1s")
    assert len(read(client, group.name, after=nothing)) == 5
    for frame, overlap, said in ((df.drop(columns="eventId"), "10m", "eventId"), (df, "x", "overlap is 'x'")):
        with pytest.raises(LabError, match=said):
            read(client, group.name, after=frame, overlap=overlap)


def test_frames_are_joined_with_their_dtypes_and_each_alert_once(falco_lines: list[str]) -> None:
    lines = [{"message": line, "eventId": str(n)} for n, line in enumerate([*falco_lines, "no alert"])]
    whole, first, second = to_frame(lines), to_frame(lines[:40]), to_frame(lines[30:])
    pd.testing.assert_frame_equal(concat([second, first]), whole)
    assert concat([first, second]).attrs["alerts"] == len(whole)
    pd.testing.assert_frame_equal(concat([first.head(0), first]), first)
    with pytest.raises(LabError, match="no frame"):
        concat([])


@pytest.mark.parametrize("arguments", [{}, {"limit": 5000}])
def test_ctrl_c_keeps_what_was_read_and_says_so(
    client: Any, group: Any, falco_lines: list[str], capsys: pytest.CaptureFixture[str], arguments: dict[str, Any]
) -> None:
    group.put(falco_lines * 60, ago=50_000, step=10)

    def interrupt(count: int, _: object) -> None:
        if count > 1000:
            signal.raise_signal(signal.SIGINT)

    df = read(client, group.name, progress=interrupt, **arguments)
    assert df.attrs["complete"] is False
    assert 1000 < len(df) < 3600
    assert f"{len(df):,} alerts had been read" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    rest = read(client, group.name, after=df)  # from where nothing was missing, and not from the newest of them
    assert rest.attrs["complete"] is True
    assert len(concat([df, rest])) == len(df) + len(rest) == 3600
    json.dumps(df.attrs)  # or it couldn't be kept as Parquet


def test_a_second_ctrl_c_ends_it(client: Any, group: Any, falco_lines: list[str]) -> None:
    group.put(falco_lines * 60, ago=5000, step=1)

    def interrupt(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        read(client, group.name, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(events(client, group.name, progress=lambda *_: signal.raise_signal(signal.SIGINT)))
    with pytest.raises(KeyboardInterrupt):
        reader.whole(interrupted(client), group.name)


def test_ctrl_c_before_anything_was_read_ends_it_at_once(make_client: Callable[..., Any]) -> None:
    waiting = threading.Event()

    class Hanging(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
            waiting.wait(20)

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Hanging) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        started = time.monotonic()
        df = read(make_client(endpoint_url=f"http://127.0.0.1:{server.server_port}"), "falco", "1h")
        assert time.monotonic() - started < 10
        waiting.set()
        server.shutdown()
    assert df.empty
    assert df.attrs["complete"] is False


def interrupted(client: Any) -> Any:
    class Client:
        meta = client.meta

        def filter_log_events(self, **_: Any) -> None:
            raise KeyboardInterrupt

    return Client()


def event(n: int) -> dict[str, Any]:
    return {"eventId": str(n), "timestamp": n, "ingestionTime": n, "message": "-", "logStreamName": "alerts"}


def test_a_repeated_token_does_not_end_the_reading_and_a_repeated_event_counts_once(
    make_client: Callable[..., Any],
) -> None:
    client = make_client()
    with Stubber(client) as stub:
        for found, token in (([1, 2], "a"), ([2, 3], "b"), ([4], "a"), ([], "a"), ([], "a"), ([5], "")):
            page = {"events": [event(n) for n in found], **({"nextToken": token} if token else {})}
            stub.add_response("filter_log_events", page)
        assert [e["eventId"] for e in events(client, "falco")] == ["1", "2", "3", "4", "5"]
        stub.assert_no_pending_responses()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that are made, which take no time here."""
    made: list[float] = []
    monkeypatch.setattr(service.Pace, "delay", lambda _: 0.0)
    monkeypatch.setattr(service.Service, "pause", lambda _, seconds: made.append(seconds) if seconds else None)
    return made


def test_the_same_page_without_end_is_an_error_and_no_end(make_client: Callable[..., Any], pauses: list[float]) -> None:
    client = make_client()
    with Stubber(client) as stub:
        for found in ([1], *[[]] * 10):
            stub.add_response("filter_log_events", {"events": [event(n) for n in found], "nextToken": "a"})
        reading = events(client, "falco")
        assert next(reading)["eventId"] == "1"
        with pytest.raises(LabError, match="again and again, after 1 event: there may be more"):
            next(reading)
    assert pauses == [0.2, 0.4, 0.8, 1.6]


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"", b"[]", b'{"events": 5}', b'{"events": [', b"\xff"])
@pytest.mark.parametrize("kind", ["application/x-amz-json-1.1", "text/html"])
def test_what_is_no_page_is_asked_for_again_and_then_an_error(
    make_client: Callable[..., Any], pauses: list[float], body: bytes, kind: str
) -> None:
    page = json.dumps({"events": [event(1)]}).encode()
    with answering([(kind, body)] * 2 + [("application/x-amz-json-1.1", page)]) as url:
        assert len(list(events(make_client(endpoint_url=url), "falco"))) == 1
    with answering([(kind, body)] * 9) as url:
        with pytest.raises(LabError, match="with something else than events") as caught:
            list(events(make_client(endpoint_url=url), "falco"))
        assert len(str(caught.value).splitlines()) == 2
    assert pauses == pytest.approx([0.2, 0.4] * 2)


def test_a_query_that_is_answered_with_no_json_is_an_error(make_client: Callable[..., Any]) -> None:
    with answering([("text/html", b"<html>hello</html>")] * 3) as url:
        with pytest.raises(LabError, match="something else than a result") as caught:
            insights(make_client(endpoint_url=url), "fields @message")
        assert "proxy" in caught.value.hint


@contextmanager
def answering(answers: list[tuple[str, bytes]]) -> Iterator[str]:
    """A server that gives these answers (type, body) one after the other, with status 200, whatever it is asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            kind, body = answers.pop(0)
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_throttling_is_waited_out(make_client: Callable[..., Any], pauses: list[float]) -> None:
    client = make_client()
    with Stubber(client) as stub:
        for _ in range(4):
            stub.add_client_error("filter_log_events", "ThrottlingException")
        stub.add_response("filter_log_events", {"events": [event(1)]})
        assert len(list(events(client, "falco"))) == 1
    assert len(pauses) == 4
    assert pauses == sorted(pauses)


def test_a_missing_group_says_what_to_do(client: Any) -> None:
    with pytest.raises(LabError, match="no log group 'nowhere' in us-east-1") as caught:
        read(client, "nowhere")
    assert "log-group" in caught.value.hint
    assert isinstance(caught.value.__cause__, ClientError)


def test_a_bad_pattern_says_so(client: Any, group: Any) -> None:
    with pytest.raises(LabError, match="InvalidParameterException"):
        read(client, group.name, filter_pattern="{ $.rule = ")


def test_wrong_credentials_say_so(make_client: Callable[..., Any]) -> None:
    with pytest.raises(TargetError, match="refused FilterLogEvents"):
        read(make_client(aws_access_key_id="AKIAIOSFODNN7EXAMPLE"), "falco")


def test_nobody_there_says_so(make_client: Callable[..., Any]) -> None:
    with pytest.raises(TargetError, match="does not answer"):
        read(make_client(endpoint_url="http://127.0.0.1:9"), "falco")
