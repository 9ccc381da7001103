"""CloudWatch Logs: what is put comes back in order, by pages, within AWS's limits and with its errors."""

from __future__ import annotations

import random
from typing import Any

import pytest
from botocore.exceptions import ClientError

HOUR = 3_600_000
DAY = 24 * HOUR


@pytest.fixture
def logs(running: Any) -> Any:
    client = running.client("logs")
    client.create_log_group(logGroupName="falco")
    client.create_log_stream(logGroupName="falco", logStreamName="alerts")
    return client


def put(client: Any, events: list[tuple[int, str]], stream: str = "alerts", group: str = "falco") -> Any:
    return client.put_log_events(
        logGroupName=group,
        logStreamName=stream,
        logEvents=[{"timestamp": timestamp, "message": message} for timestamp, message in events],
    )


def error_of(call: Any, **kwargs: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**kwargs)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def everything(client: Any, **kwargs: Any) -> list[dict[str, Any]]:
    pages = client.get_paginator("filter_log_events").paginate(logGroupName="falco", **kwargs)
    return [event for page in pages for event in page["events"]]


# -- groups and streams --


def test_groups_are_made_described_and_deleted(running: Any) -> None:
    client = running.client("logs")
    for name in ("falco", "falco-2", "/aws/other"):
        client.create_log_group(logGroupName=name, tags={"workshop": "falco"})
    names = [g["logGroupName"] for g in client.describe_log_groups()["logGroups"]]
    assert names == ["/aws/other", "falco", "falco-2"]
    (group,) = client.describe_log_groups(logGroupNamePrefix="/aws")["logGroups"]
    assert group["arn"] == "arn:aws:logs:us-east-1:111122223333:log-group:/aws/other:*"
    assert group["logGroupArn"] == "arn:aws:logs:us-east-1:111122223333:log-group:/aws/other"
    assert "retentionInDays" not in group
    found = client.describe_log_groups(logGroupNamePattern="lco")["logGroups"]
    assert [g["logGroupName"] for g in found] == ["falco", "falco-2"]
    client.delete_log_group(logGroupName="falco")
    assert error_of(client.delete_log_group, logGroupName="falco") == (
        "ResourceNotFoundException",
        "The specified log group does not exist.",
    )


def test_groups_are_listed_by_pages(running: Any) -> None:
    client = running.client("logs")
    for index in range(7):
        client.create_log_group(logGroupName=f"g{index}")
    pages = list(client.get_paginator("describe_log_groups").paginate(PaginationConfig={"PageSize": 3}))
    assert [len(page["logGroups"]) for page in pages] == [3, 3, 1]


def test_a_group_or_stream_that_exists_is_not_made_again(logs: Any) -> None:
    assert error_of(logs.create_log_group, logGroupName="falco") == (
        "ResourceAlreadyExistsException",
        "The specified log group already exists",
    )
    assert error_of(logs.create_log_stream, logGroupName="falco", logStreamName="alerts") == (
        "ResourceAlreadyExistsException",
        "The specified log stream already exists",
    )
    assert error_of(logs.create_log_stream, logGroupName="nowhere", logStreamName="alerts")[0] == (
        "ResourceNotFoundException"
    )


def test_names_are_checked_in_the_services_words(logs: Any) -> None:
    assert error_of(logs.create_log_group, logGroupName="a:b") == (
        "InvalidParameterException",
        "1 validation error detected: Value 'a:b' at 'logGroupName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+",
    )
    assert error_of(logs.create_log_stream, logGroupName="falco", logStreamName="a*")[0] == "InvalidParameterException"


def test_regions_have_their_own_groups(running: Any, logs: Any) -> None:
    elsewhere = running.client("logs", region="eu-west-1")
    assert elsewhere.describe_log_groups()["logGroups"] == []
    elsewhere.create_log_group(logGroupName="falco")
    assert elsewhere.describe_log_groups()["logGroups"][0]["arn"].startswith("arn:aws:logs:eu-west-1:")


def test_retention_takes_only_the_values_aws_takes(logs: Any) -> None:
    logs.put_retention_policy(logGroupName="falco", retentionInDays=7)
    assert logs.describe_log_groups()["logGroups"][0]["retentionInDays"] == 7
    code, message = error_of(logs.put_retention_policy, logGroupName="falco", retentionInDays=8)
    assert code == "InvalidParameterException"
    assert "[1, 3, 5, 7, 14, 30" in message
    logs.delete_retention_policy(logGroupName="falco")
    assert "retentionInDays" not in logs.describe_log_groups()["logGroups"][0]


def test_retention_removes_old_events(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    put(logs, [(now - 5 * DAY, "old"), (now - 5 * DAY + 1, "old too")])
    put(logs, [(now - 2 * DAY, "young")])
    assert logs.describe_log_groups()["logGroups"][0]["storedBytes"] == len("oldold tooyoung") + 3 * 26
    logs.put_retention_policy(logGroupName="falco", retentionInDays=3)
    assert [event["message"] for event in everything(logs)] == ["young"]
    assert logs.describe_log_groups()["logGroups"][0]["storedBytes"] == len("young") + 26


def test_tags(logs: Any) -> None:
    arn = "arn:aws:logs:us-east-1:111122223333:log-group:falco"
    logs.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})
    logs.tag_resource(resourceArn=arn, tags={"c": "3"})
    logs.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2", "c": "3"}
    assert error_of(logs.list_tags_for_resource, resourceArn=arn + "x")[0] == "ResourceNotFoundException"
    assert error_of(logs.tag_resource, resourceArn=arn, tags={"AWS:a": "1"}) == (
        "InvalidParameterException",
        "Tag keys must not start with aws:",
    )
    many = {f"k{number}": "" for number in range(49)}
    assert error_of(logs.tag_resource, resourceArn=arn, tags=many)[0] == "TooManyTagsException"
    logs.untag_resource(resourceArn=arn, tagKeys=["b"])
    logs.tag_resource(resourceArn=arn, tags=many)


def test_deletion_protection_holds_until_it_is_lifted(logs: Any) -> None:
    logs.put_log_group_deletion_protection(logGroupIdentifier="falco", deletionProtectionEnabled=True)
    assert error_of(logs.delete_log_group, logGroupName="falco")[0] == "ValidationException"
    logs.put_log_group_deletion_protection(logGroupIdentifier="falco", deletionProtectionEnabled=False)
    logs.delete_log_group(logGroupName="falco")


def test_streams_are_described_in_either_order(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    for name, age in (("b", 1), ("a", 2), ("c", 3)):
        logs.create_log_stream(logGroupName="falco", logStreamName=name)
        put(logs, [(now - age, name), (now - age, name)], stream=name)
    logs.delete_log_stream(logGroupName="falco", logStreamName="alerts")

    def names(**kwargs: Any) -> list[str]:
        pages = logs.get_paginator("describe_log_streams").paginate(
            logGroupName="falco", PaginationConfig={"PageSize": 2}, **kwargs
        )
        return [stream["logStreamName"] for page in pages for stream in page["logStreams"]]

    assert names() == ["a", "b", "c"]
    assert names(descending=True) == ["c", "b", "a"]
    assert names(orderBy="LastEventTime", descending=True) == ["b", "a", "c"]
    assert names(logStreamNamePrefix="c") == ["c"]
    stream = logs.describe_log_streams(logGroupName="falco", logStreamNamePrefix="b")["logStreams"][0]
    assert stream["firstEventTimestamp"] == stream["lastEventTimestamp"] == now - 1
    assert stream["arn"] == "arn:aws:logs:us-east-1:111122223333:log-group:falco:log-stream:b"
    assert error_of(
        logs.describe_log_streams, logGroupName="falco", orderBy="LastEventTime", logStreamNamePrefix="a"
    ) == ("InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix.")


# -- putting --


def test_what_is_put_comes_back(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    answer = put(logs, [(now, '{"rule": "Terminal shell in container"}'), (now + 1, "ünïcode ☂")])
    assert "rejectedLogEventsInfo" not in answer
    events = everything(logs)
    assert [(event["timestamp"], event["message"]) for event in events] == [
        (now, '{"rule": "Terminal shell in container"}'),
        (now + 1, "ünïcode ☂"),
    ]
    assert all(len(event["eventId"]) == 56 for event in events)
    assert events == everything(logs)


def test_batches_out_of_order_are_refused_whole(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    assert error_of(lambda: put(logs, [(now, "b"), (now - 1, "a")])) == (
        "InvalidParameterException",
        "Log events in a single PutLogEvents request must be in chronological order.",
    )
    assert everything(logs) == []


def test_a_batch_spans_24_hours_at_most(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    put(logs, [(now - DAY, "a"), (now, "b")])
    assert error_of(lambda: put(logs, [(now - DAY - 1, "a"), (now, "b")])) == (
        "InvalidParameterException",
        "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
    )


def test_a_batch_holds_at_most_a_mebibyte_with_26_bytes_for_each_event(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    most = (1_048_576 - 2 * 26) // 2
    put(logs, [(now, "x" * most), (now, "x" * most)])
    code, message = error_of(lambda: put(logs, [(now, "x" * most), (now, "x" * (most + 1))]))
    assert (code, message) == ("InvalidParameterException", "Upload too large: 1048577 bytes exceeds limit of 1048576")
    wide = "é" * (most // 2)
    put(logs, [(now, wide), (now, wide)])
    assert error_of(lambda: put(logs, [(now, wide), (now, wide + "é")]))[1].startswith("Upload too large")
    put(logs, [(now, "x" * (1_048_576 - 26))])
    assert error_of(lambda: put(logs, [(now, "x" * (1_048_576 - 25))]))[1].startswith("Log event too large: 1048577")


def test_a_batch_holds_at_most_ten_thousand_events(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    put(logs, [(now, "x")] * 10_000)
    code, message = error_of(lambda: put(logs, [(now, "x")] * 10_001))
    assert code == "InvalidParameterException"
    assert "'logEvents' failed to satisfy constraint: Member must have length less than or equal to 10000" in message
    assert len(everything(logs)) == 10_000


def test_too_old_and_too_new_events_are_left_out_and_reported(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    answer = put(
        logs, [(now - 15 * DAY, "ancient"), (now - 14 * DAY - 60_000, "old"), (now, "now"), (now + 3 * HOUR, "x")]
    )
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 2, "tooNewLogEventStartIndex": 3}
    assert [event["message"] for event in everything(logs)] == ["now"]
    answer = put(logs, [(now + HOUR, "soon"), (now + 2 * HOUR + 60_000, "late")])
    assert answer["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 1}


def test_events_past_retention_are_reported_as_expired(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    logs.put_retention_policy(logGroupName="falco", retentionInDays=3)
    answer = put(logs, [(now - 15 * DAY, "a"), (now - 4 * DAY, "b"), (now - 3 * DAY - 60_000, "c"), (now, "d")])
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1, "expiredLogEventEndIndex": 3}
    assert [event["message"] for event in everything(logs)] == ["d"]


def test_puts_need_a_group_and_a_stream(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    assert error_of(lambda: put(logs, [(now, "x")], stream="missing")) == (
        "ResourceNotFoundException",
        "The specified log stream does not exist.",
    )
    assert error_of(lambda: put(logs, [(now, "x")], group="missing")) == (
        "ResourceNotFoundException",
        "The specified log group does not exist.",
    )


# -- filtering --


def test_late_batches_are_merged_by_time(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    order = list(range(300))
    random.Random(7).shuffle(order)
    for start in range(0, 300, 30):
        put(logs, [(now + i, f"{i}") for i in sorted(order[start : start + 30])])
    assert [event["message"] for event in everything(logs)] == [str(i) for i in range(300)]


def test_streams_are_interleaved_and_selected(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    for name in ("node-1", "node-2", "other"):
        logs.create_log_stream(logGroupName="falco", logStreamName=name)
    put(logs, [(now, "a"), (now + 2, "c")], stream="node-1")
    put(logs, [(now + 1, "b"), (now + 3, "d")], stream="node-2")
    put(logs, [(now, "x")], stream="other")
    assert "".join(e["message"] for e in everything(logs, logStreamNamePrefix="node-")) == "abcd"
    assert "".join(e["message"] for e in everything(logs, logStreamNames=["node-2", "other"])) == "xbd"
    assert "".join(e["message"] for e in everything(logs, PaginationConfig={"PageSize": 1})) == "axbcd"
    assert error_of(logs.filter_log_events, logGroupName="falco", logStreamNames=["nope"])[0] == (
        "ResourceNotFoundException"
    )
    assert (
        error_of(logs.filter_log_events, logGroupName="falco", logStreamNames=["other"], logStreamNamePrefix="o")[0]
        == "InvalidParameterException"
    )


def test_time_ranges_of_filter_include_both_ends(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    put(logs, [(now + i, str(i)) for i in range(5)])
    assert [e["message"] for e in everything(logs, startTime=now + 1, endTime=now + 3)] == ["1", "2", "3"]


def test_pages_hold_a_mebibyte_or_the_limit_and_lose_nothing(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    for batch in range(4):
        put(logs, [(now + batch, f"{batch}-{i:03d}-" + "x" * 3000) for i in range(300)])
    pages = list(logs.get_paginator("filter_log_events").paginate(logGroupName="falco"))
    assert len(pages) == 4
    assert all(sum(len(e["message"]) + 26 for e in page["events"]) <= 1_048_576 for page in pages)
    events = [event for page in pages for event in page["events"]]
    assert len({event["eventId"] for event in events}) == len(events) == 1200
    assert [e["message"][:5] for e in events] == [f"{b}-{i:03d}" for b in range(4) for i in range(300)]
    assert len(logs.filter_log_events(logGroupName="falco", limit=7)["events"]) == 7


def test_newest_first_gives_the_same_events_backwards(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    put(logs, [(now + i // 3, str(i)) for i in range(50)])
    forward = everything(logs)
    backward, token = [], {}
    while True:
        page = logs.filter_log_events(logGroupName="falco", startTime=now - 1, startFromHead=False, limit=7, **token)
        backward += page["events"]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert backward == forward[::-1]
    code, message = error_of(logs.filter_log_events, logGroupName="falco", startFromHead=False)
    assert code == "InvalidParameterException"
    assert "2024-01-01" in message


def test_events_put_between_two_pages_are_neither_lost_nor_doubled(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    put(logs, [(now + i, str(i)) for i in range(10)])
    first = logs.filter_log_events(logGroupName="falco", limit=5)
    put(logs, [(now + 4, "late, before the page's end"), (now + 7, "late, after it")])
    second = logs.filter_log_events(logGroupName="falco", nextToken=first["nextToken"])
    assert [e["message"] for e in second["events"]] == [
        "late, before the page's end",
        "5",
        "6",
        "7",
        "late, after it",
        "8",
        "9",
    ]


def test_a_pattern_that_finds_little_ends_its_pages_early_and_still_finds_all(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    for batch in range(5):
        put(logs, [(now + batch, "needle" if (batch, i) == (4, 9_000) else "hay") for i in range(10_000)])
    pages = list(logs.get_paginator("filter_log_events").paginate(logGroupName="falco", filterPattern="needle"))
    assert [len(page["events"]) for page in pages] == [0, 0, 1]


def test_patterns_select_and_bad_ones_say_what_is_wrong(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    put(logs, [(now, '{"rule": "A", "n": 1}'), (now, '{"rule": "B", "n": 2}'), (now, "starting up")])
    assert len(everything(logs, filterPattern='{ $.rule = "A" }')) == 1
    assert len(everything(logs, filterPattern="{ $.n >= 1 }")) == 2
    assert len(everything(logs, filterPattern="starting")) == 1
    code, message = error_of(logs.filter_log_events, logGroupName="falco", filterPattern="{ $.n ~ 1 }")
    assert code == "InvalidParameterException"
    assert "position 7" in message


def test_a_made_up_token_is_refused(logs: Any) -> None:
    assert error_of(logs.filter_log_events, logGroupName="falco", nextToken="whatever") == (
        "InvalidParameterException",
        "The specified nextToken is invalid.",
    )


def test_groups_can_be_named_by_arn(running: Any, logs: Any) -> None:
    put(logs, [(running.clock.ms(), "x")])
    arn = "arn:aws:logs:us-east-1:111122223333:log-group:falco"
    assert len(logs.filter_log_events(logGroupIdentifier=arn)["events"]) == 1
    assert error_of(logs.filter_log_events, logGroupIdentifier=arn, logGroupName="falco")[0] == (
        "InvalidParameterException"
    )


# -- reading one stream --


def test_get_log_events_starts_at_the_end_unless_told_otherwise(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    put(logs, [(now + i, str(i)) for i in range(10)])
    where = {"logGroupName": "falco", "logStreamName": "alerts"}
    assert [e["message"] for e in logs.get_log_events(**where, limit=3)["events"]] == ["7", "8", "9"]
    head = logs.get_log_events(**where, limit=3, startFromHead=True)
    assert [e["message"] for e in head["events"]] == ["0", "1", "2"]
    following = logs.get_log_events(**where, limit=3, startFromHead=True, nextToken=head["nextForwardToken"])
    assert [e["message"] for e in following["events"]] == ["3", "4", "5"]
    back = logs.get_log_events(**where, limit=3, nextToken=following["nextBackwardToken"])
    assert [e["message"] for e in back["events"]] == ["0", "1", "2"]
    limited = logs.get_log_events(**where, startTime=now + 2, endTime=now + 4, startFromHead=True)
    assert [e["message"] for e in limited["events"]] == ["2", "3"]


def test_get_log_events_repeats_its_token_at_the_end_and_goes_on_from_there(running: Any, logs: Any) -> None:
    now = running.clock.ms()
    where = {"logGroupName": "falco", "logStreamName": "alerts", "startFromHead": True}
    empty = logs.get_log_events(**where)
    assert empty["events"] == []
    put(logs, [(now, "a")])
    page = logs.get_log_events(**where, nextToken=empty["nextForwardToken"])
    assert [e["message"] for e in page["events"]] == ["a"]
    end = logs.get_log_events(**where, nextToken=page["nextForwardToken"])
    assert end["events"] == []
    assert end["nextForwardToken"] == page["nextForwardToken"]
    again = logs.get_log_events(**where, nextToken=end["nextBackwardToken"])
    assert [e["message"] for e in again["events"]] == ["a"]
    put(logs, [(now, "b")])
    page = logs.get_log_events(**where, nextToken=end["nextForwardToken"])
    assert [e["message"] for e in page["events"]] == ["b"]


def test_unsupported_operations_are_refused_by_name_and_not_retried(logs: Any) -> None:
    code, message = error_of(logs.describe_deliveries)
    assert code == "UnknownOperationException"
    assert message == "logs:DescribeDeliveries is not supported by the embedded lab."


def test_a_metric_filters_pattern_can_be_tried_on_messages(logs: Any) -> None:
    answer = logs.test_metric_filter(filterPattern="[level=ERROR, rest]", logEventMessages=["INFO x", "ERROR one two"])
    assert answer["matches"] == [
        {
            "eventNumber": 2,
            "eventMessage": "ERROR one two",
            "extractedValues": {"$level": "ERROR", "$rest": "one two"},
        }
    ]
