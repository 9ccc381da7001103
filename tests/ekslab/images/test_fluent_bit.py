"""Fluent Bit on a node: container logs in, CloudWatch Logs out, and what happens when something is wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json
import re
from typing import Any

from ekslab.http import HttpRequest, HttpResponse

ALERT = json.dumps(
    {"rule": "Terminal shell in container", "priority": "Notice", "output": 'café "x"'}, ensure_ascii=False
)


def write_log(
    lab: Any, *lines: str, pod: str = "falco-x7k2p", namespace: str = "falco", container: str = "falco"
) -> None:
    """Appends CRI lines to a container's log as containerd lays it out."""
    real = f"/var/log/pods/{namespace}_{pod}_uid/{container}/0.log"
    link = f"/var/log/containers/{pod}_{namespace}_{container}-{'0' * 64}.log"
    files = lab.node.filesystem
    if not files.exists(real):
        files.mkdir(real.rsplit("/", 1)[0])
        files.write_text(real, "")
        files.symlink(real, link)
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    files.append_bytes(real, "".join(f"{now} stdout F {line}\n" for line in lines).encode())


def end_soon(config: dict[str, Any]) -> None:
    """Wait a second, not five, for what can't be delivered when the container is stopped."""
    config["service"]["grace"] = "1"


async def test_alerts_arrive_unchanged_and_start_up_lines_do_not(lab: Any) -> None:
    await lab.grant()
    write_log(lab, "Mon Nov 23 04:15:00 2026: Falco version: 0.44.1 (x86_64)", ALERT)
    await lab.fluent_bit()
    await lab.delivered()
    write_log(lab, ALERT + " ")
    await lab.delivered(2)
    assert await lab.delivered() == [ALERT, ALERT + " "]


async def test_only_falcos_own_container_is_read(lab: Any) -> None:
    await lab.grant()
    write_log(lab, '{"from":"falcoctl"}', container="falcoctl-artifact-install")
    write_log(lab, '{"from":"nginx"}', pod="nginx-1", namespace="default", container="nginx")
    write_log(lab, ALERT)
    await lab.fluent_bit()
    await lab.delivered()
    assert await lab.delivered() == [ALERT]


async def test_it_says_what_it_does_as_fluent_bit_does(lab: Any) -> None:
    await lab.grant()
    write_log(lab, ALERT)
    shipper = await lab.fluent_bit()
    await lab.delivered()
    log = "\n".join(lab.log(shipper))
    assert "[ info] [input:tail:tail.0] multiline core started" in log
    assert "[ info] [output:cloudwatch_logs:cloudwatch_logs.0] Creating log stream alerts in log group falco" in log
    assert "[ info] [output:cloudwatch_logs:cloudwatch_logs.0] Created log stream alerts" in log
    assert "inotify_fs_add(): inode=" in log
    assert re.search(r"^\[\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{9}\] \[ info\] \[sp\] ", log, re.MULTILINE)


async def test_alerts_raised_while_access_is_denied_arrive_later(lab: Any) -> None:
    await lab.grant()
    shipper = await lab.fluent_bit()
    write_log(lab, ALERT)
    await lab.delivered()
    await lab.deny()
    write_log(lab, '{"rule":"held"}')
    said = await lab.until(lambda: [line for line in lab.log(shipper) if "AccessDeniedException" in line])
    assert "[error] [output:cloudwatch_logs:cloudwatch_logs.0] PutLogEvents API responded with error=" in said[0]
    assert any("[ warn] [engine] failed to flush chunk '" in line for line in lab.log(shipper))
    assert await lab.delivered() == [ALERT]
    await lab.allow()
    await lab.delivered(2)
    assert (await lab.delivered())[1] == '{"rule":"held"}'


async def test_what_was_held_survives_a_restart_of_the_container(lab: Any) -> None:
    await lab.grant(policy=False)
    write_log(lab, ALERT)
    first = await lab.fluent_bit(lab.fluent_bit_config(end_soon))
    await lab.until(lambda: any("failed to flush chunk" in line for line in lab.log(first)))
    await lab.node.runtime.stop(first, grace=10.0)
    assert first.exit_code == 0
    await lab.allow()
    second = await lab.fluent_bit()
    await lab.delivered()
    write_log(lab, '{"rule":"later"}')
    await lab.delivered(2)
    assert await lab.delivered() == [ALERT, '{"rule":"later"}']  # and the first isn't read again
    assert any("register tail.0/" in line for line in lab.log(second))


async def test_without_a_role_it_goes_on_and_says_so(lab: Any) -> None:
    await lab.grant()
    write_log(lab, ALERT)
    shipper = await lab.fluent_bit(lab.fluent_bit_config(end_soon), role=False)
    await lab.until(lambda: any("Provider returned no credentials" in line for line in lab.log(shipper)))
    assert shipper.state == "running"
    assert await lab.delivered(0) == []
    await lab.node.runtime.stop(shipper, grace=10.0)
    assert shipper.exit_code == 0


async def test_without_a_region_it_ends_with_an_error(lab: Any) -> None:
    shipper = await lab.fluent_bit(env={})
    assert await shipper.wait() == 1
    assert any("'region' is a required field" in line for line in lab.log(shipper))


async def test_a_role_that_trusts_somebody_else_is_reported(lab: Any) -> None:
    await lab.grant()
    await lab.call(
        "iam",
        "update_assume_role_policy",
        RoleName="fluent-bit",
        PolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
                ],
            }
        ),
    )
    write_log(lab, ALERT)
    shipper = await lab.fluent_bit()
    await lab.until(lambda: any("STS API responded with AccessDenied" in line for line in lab.log(shipper)))


async def test_expired_credentials_are_replaced(lab: Any) -> None:
    await lab.grant()
    write_log(lab, ALERT)
    shipper = await lab.fluent_bit()
    await lab.delivered()
    sessions = lab.aws.sts._sessions
    sessions |= {key: dataclasses.replace(session, expires=0.0) for key, session in sessions.items()}
    write_log(lab, '{"rule":"later"}')
    assert await lab.delivered(2) == [ALERT, '{"rule":"later"}']
    assert not any("[error]" in line for line in lab.log(shipper))  # nothing but a new session was needed


async def test_a_missing_log_group_is_reported_and_waited_for(lab: Any) -> None:
    await lab.grant()
    await lab.call("logs", "delete_log_group", logGroupName="falco")
    write_log(lab, ALERT)
    shipper = await lab.fluent_bit()
    text = "Log Group falco not found and `auto_create_group` disabled."
    await lab.until(lambda: any(text in line for line in lab.log(shipper)))
    await lab.call("logs", "create_log_group", logGroupName="falco")
    await lab.delivered()


async def test_a_log_group_that_is_made_anew_gets_its_stream_again(lab: Any) -> None:
    await lab.grant()
    write_log(lab, ALERT)
    await lab.fluent_bit()
    await lab.delivered()
    await lab.call("logs", "delete_log_group", logGroupName="falco")
    await lab.call("logs", "create_log_group", logGroupName="falco")
    write_log(lab, '{"rule":"after"}')
    await lab.delivered()
    assert await lab.delivered() == ['{"rule":"after"}']


async def test_the_default_retry_limit_drops_after_one_retry(lab: Any) -> None:
    await lab.grant(policy=False)
    write_log(lab, ALERT)
    shipper = await lab.fluent_bit(lab.fluent_bit_config(lambda c: c["pipeline"]["outputs"][0].pop("retry_limit")))
    await lab.until(lambda: any("cannot be retried" in line for line in lab.log(shipper)))
    await lab.allow()
    write_log(lab, '{"rule":"later"}')
    await lab.delivered()
    assert await lab.delivered() == ['{"rule":"later"}']


async def test_without_log_key_the_whole_record_is_the_message(lab: Any) -> None:
    await lab.grant()
    write_log(lab, ALERT)
    await lab.fluent_bit(lab.fluent_bit_config(lambda c: c["pipeline"]["outputs"][0].pop("log_key")))
    await lab.delivered()
    (message,) = await lab.delivered()
    assert list(json.loads(message)) == ["time", "stream", "_p", "log"]
    assert json.loads(message)["log"] == ALERT
    assert "\\u00e9" in message  # Fluent Bit escapes what isn't ASCII


async def test_log_key_compares_as_many_bytes_as_the_records_key_has(lab: Any) -> None:
    await lab.grant()
    write_log(lab, ALERT)
    await lab.fluent_bit(lab.fluent_bit_config(lambda c: c["pipeline"]["outputs"][0].update(log_key="log_processed")))
    await lab.delivered()
    assert await lab.delivered() == [ALERT]


async def test_an_unsupported_plugin_stops_the_container(lab: Any) -> None:
    shipper = await lab.fluent_bit(lab.fluent_bit_config(lambda c: c["pipeline"]["outputs"][0].update(name="es")))
    assert await shipper.wait() == 1
    assert any("[embedded lab] output plugin 'es'" in line for line in lab.log(shipper))


async def test_lines_too_long_are_left_out_and_the_rest_goes_on(lab: Any) -> None:
    await lab.grant()
    write_log(lab, '{"long":"' + "x" * 40_000 + '"}', ALERT)
    shipper = await lab.fluent_bit()
    await lab.delivered()
    assert await lab.delivered() == [ALERT]
    assert any("have long lines. Skipping long lines." in line for line in lab.log(shipper))


async def test_the_probes_are_answered(lab: Any) -> None:
    await lab.grant()
    shipper = await lab.fluent_bit()
    await lab.ready(shipper, "stream processor started")
    ip = shipper.spec.pod_ip
    for path, status in (("/", 200), ("/api/v1/health", 200), ("/nope", 404)):
        response = await lab.network.http(HttpRequest("GET", f"http://{ip}:2020{path}"))
        assert response.status == status


POD = {
    "metadata": {
        "name": "falco-x7k2p",
        "namespace": "falco",
        "uid": "11111111-2222-3333-4444-555555555555",
        "labels": {"app.kubernetes.io/name": "falco"},
        "annotations": {"checksum/config": "deadbeef"},
    },
    "spec": {"nodeName": "ip-10-0-1-23.ec2.internal"},
    "status": {
        "podIP": "10.0.1.99",
        "containerStatuses": [
            {
                "name": "falco",
                "image": "docker.io/falcosecurity/falco:0.44.1",
                "imageID": "docker.io/falcosecurity/falco@sha256:0000",
            }
        ],
    },
}
KUBERNETES = [
    "pod_name",
    "namespace_name",
    "pod_id",
    "labels",
    "annotations",
    "host",
    "pod_ip",
    "container_name",
    "docker_id",
    "container_hash",
    "container_image",
]
FALCO = '{"output":"o","rule":"r","time":"2026-11-23T04:15:07.123456789Z"}'


async def with_kubernetes_filter(lab: Any, *, api: bool = True, **properties: str) -> dict[str, Any]:
    """The message that arrives when the kubernetes filter is in the pipeline."""

    async def answer(request: HttpRequest) -> HttpResponse:
        assert request.url.endswith("/api/v1/namespaces/falco/pods/falco-x7k2p")
        return HttpResponse(200, {"Content-Type": "application/json"}, json.dumps(POD).encode())

    if api:
        lab.network.serve("kubernetes.default.svc", answer, ip="172.20.0.1", port=443)

    def change(config: dict[str, Any]) -> None:
        config["pipeline"]["inputs"][0]["tag"] = "kube.*"
        config["pipeline"]["filters"] = [{"name": "kubernetes", "match": "kube.*"} | properties]
        config["pipeline"]["outputs"][0]["match"] = "kube.*"
        del config["pipeline"]["outputs"][0]["log_key"]

    await lab.grant()
    write_log(lab, FALCO)
    await lab.fluent_bit(lab.fluent_bit_config(change))
    (message,) = await lab.delivered()
    found: dict[str, Any] = json.loads(message)
    return found


async def test_the_kubernetes_filter_adds_the_pod(lab: Any) -> None:
    record = await with_kubernetes_filter(lab)
    assert list(record) == ["time", "stream", "_p", "log", "kubernetes"]
    assert list(record["kubernetes"]) == KUBERNETES
    assert record["kubernetes"]["docker_id"] == "0" * 64


async def test_without_the_api_server_the_key_is_missing(lab: Any) -> None:
    record = await with_kubernetes_filter(lab, api=False)
    assert list(record) == ["time", "stream", "_p", "log"]


async def test_merge_log_puts_falcos_keys_on_top_and_falcos_time_wins(lab: Any) -> None:
    record = await with_kubernetes_filter(lab, merge_log="on")
    assert list(record) == ["stream", "_p", "log", "output", "rule", "time", "kubernetes"]
    assert record["time"] == "2026-11-23T04:15:07.123456789Z"


async def test_keep_log_off_leaves_the_log_out(lab: Any) -> None:
    record = await with_kubernetes_filter(lab, merge_log="on", keep_log="off")
    assert list(record) == ["stream", "_p", "output", "rule", "time", "kubernetes"]


async def test_merge_log_key_nests_them(lab: Any) -> None:
    record = await with_kubernetes_filter(lab, merge_log="on", merge_log_key="log_processed")
    assert list(record) == ["time", "stream", "_p", "log", "log_processed", "kubernetes"]
    assert record["log_processed"]["rule"] == "r"


def with_room(config: dict[str, Any]) -> None:
    config["pipeline"]["inputs"][0]["buffer_max_size"] = "5M"


async def test_an_event_that_is_too_long_is_cut_and_a_massive_one_left_out(lab: Any) -> None:
    await lab.grant()
    write_log(lab, json.dumps({"n": 1, "x": "a" * 1_100_000}), json.dumps({"n": 2, "x": "a" * 1_300_000}), ALERT)
    shipper = await lab.fluent_bit(lab.fluent_bit_config(with_room))
    cut, last = await lab.delivered(2)
    assert cut.startswith('{"n": 1, "x": "aaa')
    assert len(json.dumps(cut)) - 2 == 1_000_000
    assert last == ALERT
    assert any("Discarding massive log record" in line for line in lab.log(shipper))


async def test_many_events_go_in_several_requests_and_keep_their_order(lab: Any) -> None:
    await lab.grant()
    write_log(lab, *(f'{{"n":{number}}}' for number in range(12_000)))
    await lab.fluent_bit()
    await lab.delivered(10_000)
    pages = lab.client("logs").get_paginator("filter_log_events").paginate(logGroupName="falco")

    def all_messages() -> list[str]:
        return [event["message"] for page in pages for event in page["events"]]

    messages = await asyncio.to_thread(all_messages)
    assert [json.loads(message)["n"] for message in messages] == list(range(12_000))


async def test_stdout_shows_records_as_fluent_bit_prints_them(lab: Any) -> None:
    write_log(lab, ALERT)
    config = lab.fluent_bit_config(lambda c: c["pipeline"].update(outputs=[{"name": "stdout", "match": "*"}]))
    shipper = await lab.fluent_bit(config)
    line = await lab.until(lambda: [line for line in lab.log(shipper) if line.startswith("[0] falco.alerts: [[")])
    assert '"stream"=>"stdout", "_p"=>"F", "log"=>"{' in line[0]


async def test_a_chunk_goes_to_every_output_that_wants_it(lab: Any) -> None:
    await lab.grant()
    write_log(lab, ALERT)
    config = lab.fluent_bit_config(
        lambda c: c["pipeline"]["outputs"].extend(
            {"name": "stdout", "match": "falco.*", "format": form} for form in ("json_lines", "json")
        )
    )
    shipper = await lab.fluent_bit(config)
    assert await lab.delivered() == [ALERT]
    (line,) = await lab.until(lambda: [line for line in lab.log(shipper) if line.startswith('{"date":')])
    assert json.loads(line)["log"] == ALERT
    (listed,) = await lab.until(lambda: [line for line in lab.log(shipper) if line.startswith('[{"date":')])
    assert json.loads(listed) == [json.loads(line)]


async def test_what_exceeds_the_storage_limit_is_dropped_oldest_first(lab: Any) -> None:
    await lab.grant(policy=False)
    shipper = await lab.fluent_bit(
        lab.fluent_bit_config(lambda c: c["pipeline"]["outputs"][0].update({"storage.total_limit_size": "2k"}))
    )
    await lab.ready(shipper, "stream processor started")
    for number in range(4):
        write_log(lab, json.dumps({"n": number, "x": "a" * 900}))
        await lab.until(lambda number=number: sum("Creating log stream" in x for x in lab.log(shipper)) > number)
    await lab.until(lambda: any("remove chunk" in line for line in lab.log(shipper)))
    await lab.allow()
    numbers = [json.loads(message)["n"] for message in await lab.delivered(2)]
    assert 0 not in numbers
    assert 3 in numbers
