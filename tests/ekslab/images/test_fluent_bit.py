"""Fluent Bit on a node: container logs in, CloudWatch Logs out, and what happens when something is wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json
import re
import time
from typing import Any

import pytest

from ekslab.http import HttpRequest, HttpResponse
from ekslab.images.fluent_bit.text import escaped as escaped_text

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


async def all_messages(lab: Any, count: int) -> list[str]:
    """The messages in log group `falco` from all pages, as soon as there are `count`."""
    await lab.delivered()
    pages = lab.client("logs").get_paginator("filter_log_events")

    def messages() -> list[str]:
        return [event["message"] for page in pages.paginate(logGroupName="falco") for event in page["events"]]

    while len(found := await asyncio.to_thread(messages)) < count:
        await asyncio.sleep(0.1)
    return found


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
    await lab.node.runtime.stop(shipper, grace=10.0)
    banner, *log = "\n".join(lab.log(shipper)).split("\n\n")
    assert banner.startswith("Fluent Bit v5.1.1\n")
    lines = [line for line in log[-1].splitlines() if line]
    assert all(
        re.match(r"\[\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(\.\d{3}\] \[( info| warn|error))?\] \[", line) for line in lines
    )
    tail, backlog = "[input:tail:tail.0]", "[input:storage_backlog:storage_backlog.1]"
    output = "[output:cloudwatch_logs:cloudwatch_logs.0]"
    said = [re.sub(r"^\[[^]]*\] (\[[^]]*\] (?=\[))?", "", line) for line in lines]
    inode = re.search(r"inotify_fs_add\(\): inode=(\d+)", log[-1])[1]  # type: ignore[index]
    link = f"/var/log/containers/falco-x7k2p_falco_falco-{'0' * 64}.log"
    assert said == [
        "[fluent bit] version=5.1.1, commit=1625d1960b, pid=1",
        "[storage] created root path /var/lib/fluent-bit/storage",
        "[storage] ver=1.5.4, type=memory+filesystem, sync=normal, checksum=off, max_chunks_up=128",
        "[storage] backlog input plugin: storage_backlog.1",
        "[simd    ] SSE2",
        "[cmetrics] version=2.2.1",
        "[ctraces ] version=0.7.1",
        f"{tail} initializing",
        f"{tail} storage_strategy='filesystem' (memory + filesystem)",
        f"{tail} multiline core started",
        f"{tail} db: delete unmonitored stale inodes from the database: count=0",
        f"{backlog} initializing",
        f"{backlog} storage_strategy='memory' (memory only)",
        f"{backlog} queue memory limit: 15.3M",
        f"{output} worker #0 started",
        "[http_server] listen iface=0.0.0.0 tcp_port=2020",
        "[sp] stream processor started",
        "[engine] Shutdown Grace Period=5, Shutdown Input Grace Period=2",
        f"{tail} inotify_fs_add(): inode={inode} watch_fd=1 name={link}",
        f"{output} Creating log stream alerts in log group falco",
        f"{output} Created log stream alerts",
        "[engine] caught signal (SIGTERM)",
        "[engine] service will shutdown in max 5 seconds",
        "[engine] pausing all inputs..",
        "[input] pausing tail.0",
        "[input] pausing storage_backlog.1",
        "[engine] service has stopped (0 pending tasks)",
        "[input] pausing tail.0",
        "[input] pausing storage_backlog.1",
        f"{output} thread worker #0 stopping...",
        f"{output} thread worker #0 stopped",
        f"{tail} inotify_fs_remove(): inode={inode} watch_fd=1",
    ]


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
    end = "\n".join(lab.log(first))
    assert "[ info] [engine] pending chunk count: memory=0, filesystem=1; grace_timer=1\n" in end
    assert "[ info] [task] tail/tail.0 has 1 pending task(s):\n" in end
    assert "[ info] [task]   task_id=0 still running on route(s): cloudwatch_logs/cloudwatch_logs.0 \n" in end
    assert "[ info] [task] storage_backlog/storage_backlog.1 has 0 pending task(s)\n" in end
    assert "[ info] [engine] service has stopped (1 pending tasks)\n" in end
    await lab.allow()
    second = await lab.fluent_bit()
    await lab.delivered()
    write_log(lab, '{"rule":"later"}')
    await lab.delivered(2)
    assert await lab.delivered() == [ALERT, '{"rule":"later"}']  # and the first isn't read again
    await lab.ready(second, "flush backlog chunk")
    again = "\n".join(lab.log(second))
    assert re.search(r"\[input:storage_backlog:storage_backlog.1\] register tail.0/1-\d+\.\d+\.flb\n", again)
    assert re.search(r"\[input:storage_backlog:storage_backlog.1\] queueing tail.0:1-\d+\.\d+\.flb\n", again)
    where = "task_id=0, input=storage_backlog.1 > output=cloudwatch_logs.0 \\(out_id=0\\)"
    assert re.search(rf"\[ info\] \[engine\] flush backlog chunk '1-\d+\.\d+\.flb' succeeded: {where}", again)


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
    assert await shipper.wait() == 255
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
    shipper = await lab.fluent_bit(lab.fluent_bit_config(end_soon))
    await lab.until(lambda: any("could not sign request" in line for line in lab.log(shipper)))
    log = "\n".join(lab.log(shipper))
    assert "[error] [aws_credentials] STS assume role request failed\n" in log
    assert "[error] [aws_credentials] Shared credentials file /root/.aws/credentials does not exist\n" in log
    assert "[error] [aws_credentials] Failed to retrieve credentials for AWS Profile default\n" in log
    assert "[ warn] [imds] unable to evaluate IMDS version\n" in log
    assert "[error] [signv4] Provider returned no credentials, service=logs\n" in log
    assert "AccessDenied" not in log  # STS's reason, in XML, is in no line


FOLDER = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
BY_AGENT = {
    "AWS_REGION": "us-east-1",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": f"{FOLDER}/token",
}


async def test_credentials_come_from_the_agent_on_the_node_and_a_web_identity_goes_first(lab: Any) -> None:
    await lab.grant()
    arn = f"arn:aws:iam::{lab.aws.account_id}:role/fluent-bit"
    keys = await lab.call(
        "sts",
        "assume_role_with_web_identity",
        RoleArn=arn,
        RoleSessionName="agent",
        WebIdentityToken=lab.issuer.issue("logging", "fluent-bit", audience="sts.amazonaws.com", now=time.time()),
    )
    found = {key: keys["Credentials"][key] for key in ("AccessKeyId", "SecretAccessKey")}
    found |= {"Token": keys["Credentials"]["SessionToken"], "Expiration": "2126-01-01T00:00:00Z"}
    asked: list[str] = []

    async def agent(request: HttpRequest) -> HttpResponse:
        asked.append(request.header("authorization"))
        return HttpResponse(200, {}, json.dumps(found).encode())

    stop = lab.node.network.listen(f"169.254.170.23%{lab.node.ip}", 80, agent)
    write_log(lab, ALERT)
    shipper = await lab.fluent_bit(env=BY_AGENT)
    assert await lab.delivered() == [ALERT]
    assert asked[0].count(".") == 2  # the token, as it is in the file
    await lab.node.runtime.stop(shipper, grace=10.0)
    asked.clear()
    role = {"AWS_ROLE_ARN": arn, "AWS_WEB_IDENTITY_TOKEN_FILE": f"{FOLDER}/token"}
    write_log(lab, '{"rule":"later"}')
    await lab.fluent_bit(env=BY_AGENT | role)
    await lab.delivered(2)
    assert asked == []
    stop()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            HttpResponse(403, {}, b"[1]: (AccessDeniedException): Unauthorized Exception!, fault: client\n"),
            "[ warn] ContainerCredentialsLocalServer: Raw response: [1]: (AccessDeniedException): Unauthorized",
        ),
        (HttpResponse(200, {}, b"{}"), "[ warn] [aws_credentials] No cached credentials are available"),
    ],
)
async def test_an_agent_without_credentials_is_reported_and_the_node_is_asked(
    lab: Any, answer: HttpResponse, said: str
) -> None:
    async def agent(request: HttpRequest) -> HttpResponse:
        return answer

    stop = lab.node.network.listen(f"169.254.170.23%{lab.node.ip}", 80, agent)
    write_log(lab, ALERT)
    shipper = await lab.fluent_bit(lab.fluent_bit_config(end_soon), env=BY_AGENT)
    await lab.until(lambda: any("could not sign request" in line for line in lab.log(shipper)))
    log = "\n".join(lab.log(shipper))
    assert said in log
    assert "[ warn] [imds] unable to evaluate IMDS version\n" in log
    stop()


async def test_credentials_are_taken_from_this_node_only(lab: Any) -> None:
    write_log(lab, ALERT)
    env = BY_AGENT | {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://credentials.example/v1"}
    shipper = await lab.fluent_bit(lab.fluent_bit_config(end_soon), env=env)
    await lab.until(lambda: any("could not sign request" in line for line in lab.log(shipper)))
    said = (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI must be set to an https:// address, a link local IP address, or localhost"
    )
    assert f"[error] [aws credentials] {said}" in "\n".join(lab.log(shipper))


async def test_expired_credentials_are_replaced(lab: Any) -> None:
    await lab.grant()
    write_log(lab, ALERT)
    shipper = await lab.fluent_bit()
    await lab.delivered()
    sessions = lab.aws.sts._sessions
    sessions |= {key: dataclasses.replace(session, expires=0.0) for key, session in sessions.items()}
    write_log(lab, '{"rule":"later"}')
    assert await lab.delivered(2) == [ALERT, '{"rule":"later"}']
    await lab.ready(shipper, "succeeded at retry 1")  # it hears of it a moment later
    log = [line.partition("] [")[2] for line in lab.log(shipper)]
    refused = log.index(" info] [aws_client] auth error, refreshing creds")
    assert "does not exist" in log[refused + 1]
    assert "PutLogEvents API responded with error='ExpiredTokenException'" in log[refused + 2]
    assert not any("succeeded at retry 1" in line for line in log[:refused])


async def test_a_missing_log_group_is_reported_and_waited_for(lab: Any) -> None:
    await lab.grant()
    await lab.call("logs", "delete_log_group", logGroupName="falco")
    write_log(lab, ALERT)
    shipper = await lab.fluent_bit()
    text = "Log Group falco not found and `auto_create_group` disabled."
    await lab.until(lambda: any(text in line for line in lab.log(shipper)))
    await lab.call("logs", "create_log_group", logGroupName="falco")
    await lab.delivered()


async def test_after_its_stream_is_gone_the_chunk_in_hand_is_rejected_and_the_next_makes_the_stream(lab: Any) -> None:
    await lab.grant()
    write_log(lab, ALERT)
    shipper = await lab.fluent_bit()
    await lab.delivered()
    await lab.call("logs", "delete_log_group", logGroupName="falco")
    await lab.call("logs", "create_log_group", logGroupName="falco")
    write_log(lab, '{"rule":"in hand"}')
    await lab.until(lambda: any("Failed to send events" in line for line in lab.log(shipper)))
    write_log(lab, '{"rule":"after"}')
    await lab.delivered()
    assert await lab.delivered() == ['{"rule":"after"}']
    lines = [line.partition("] [")[2] for line in lab.log(shipper)]
    output = "[output:cloudwatch_logs:cloudwatch_logs.0]"
    rejected = f"error] {output} Log stream alerts not found. Rejecting the chunk without retry."
    assert lines[lines.index(rejected) :] == [
        rejected,
        f"error] {output} Failed to send log events",
        f"error] {output} Failed to send events",
        f" info] {output} Creating log stream alerts in log group falco",
        f" info] {output} Created log stream alerts",
    ]
    counted = await metrics(lab, shipper)
    assert counted['fluentbit_output_dropped_records_total{name="cloudwatch_logs.0"}'] == 1
    assert counted['fluentbit_output_errors_total{name="cloudwatch_logs.0"}'] == 1
    assert counted['fluentbit_output_retries_total{name="cloudwatch_logs.0"}'] == 0


async def test_a_group_that_is_missing_for_a_while_costs_the_first_chunk_only(lab: Any) -> None:
    await lab.grant()
    write_log(lab, ALERT)
    shipper = await lab.fluent_bit()
    await lab.delivered()
    await lab.call("logs", "delete_log_group", logGroupName="falco")
    for number in range(3):
        write_log(lab, json.dumps({"n": number}))
        seen = len(lab.log(shipper))
        await lab.until(lambda seen=seen: any("Failed to send events" in line for line in lab.log(shipper)[seen:]))
    await lab.call("logs", "create_log_group", logGroupName="falco")
    assert sorted(await lab.delivered(2)) == ['{"n": 1}', '{"n": 2}']
    missing = "Log Group falco not found and `auto_create_group` disabled."
    assert any(missing in line for line in lab.log(shipper))


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


async def page(lab: Any, shipper: Any, path: str, method: str = "GET") -> HttpResponse:
    """What the HTTP server of Fluent Bit answers."""
    response: HttpResponse = await lab.network.http(
        HttpRequest(method, f"http://{shipper.spec.pod_ip}:2020{path}"), timeout=10
    )
    return response


async def metrics(lab: Any, shipper: Any) -> dict[str, float]:
    """The values of /api/v2/metrics/prometheus, as soon as there are any."""
    while (response := await page(lab, shipper, "/api/v2/metrics/prometheus")).status == 404:
        await asyncio.sleep(0.05)
    lines = [line.rpartition(" ") for line in response.body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


async def test_the_http_server_answers_as_fluent_bits(lab: Any) -> None:
    await lab.grant()
    shipper = await lab.fluent_bit()
    await lab.ready(shipper, "stream processor started")
    early = [path for path in ("/api/v1/metrics", "/api/v1/storage") if (await page(lab, shipper, path)).status == 404]
    assert early == ["/api/v1/metrics", "/api/v1/storage"]  # until there is something to show
    assert (await page(lab, shipper, "/")).status == 200
    await metrics(lab, shipper)
    answers = {
        "/": (200, "application/json"),
        "/api/v1/health": (404, None),  # without health_check: on
        "/api/v2/health": (200, "application/json"),
        "/api/v1/uptime": (200, "application/json"),
        "/api/v1/plugins": (200, "application/json"),
        "/api/v1/metrics": (200, "application/json"),
        "/api/v1/metrics/prometheus": (200, "text/plain; version=0.0.4"),
        "/api/v2/metrics": (200, None),
        "/api/v2/metrics/prometheus": (200, "text/plain; version=0.0.4"),
        "/nope": (404, None),
    }
    for path, expected in answers.items():
        for method in ("GET", "HEAD"):
            response = await page(lab, shipper, path, method)
            assert (response.status, response.headers.get("content-type")) == expected, path
            assert response.headers["server"] == "Fluent Bit"
            assert response.headers["x-http-engine"] == "Monkey heritage"
            assert int(response.headers["content-length"]) == len(response.body)
    about = json.loads((await page(lab, shipper, "/")).body)["fluent-bit"]
    assert about["version"] == "5.1.1"
    health = json.loads((await page(lab, shipper, "/api/v2/health")).body)
    limits = {"error_limit": 5, "retry_failure_limit": 5, "period_limit": 60}
    assert health == {"status": "ok", "errors": 0, "retries_failed": 0} | limits


async def test_metrics_show_what_is_delivered_retried_and_left_out(lab: Any) -> None:
    await lab.grant(policy=False)
    shipper = await lab.fluent_bit()
    write_log(lab, ALERT, "start-up text", '{"x":"' + "y" * 40_000 + '"}')
    await lab.until(lambda: any("failed to flush chunk" in line for line in lab.log(shipper)))
    counted = await metrics(lab, shipper)
    output = 'name="cloudwatch_logs.0"'
    assert counted[f"fluentbit_output_retries_total{{{output}}}"] >= 1
    assert counted[f"fluentbit_output_retried_records_total{{{output}}}"] >= 1
    assert counted[f"fluentbit_output_proc_records_total{{{output}}}"] == 0
    assert counted[f"fluentbit_output_dropped_records_total{{{output}}}"] == 0
    assert 99 < counted[f"fluentbit_output_chunk_available_capacity_percent{{{output}}}"] < 100
    assert counted['fluentbit_output_backpressure_wait_seconds_count{output="cloudwatch_logs.0"}'] >= 1
    assert counted['fluentbit_input_long_line_skipped_total{name="tail.0"}'] == 1
    assert counted['fluentbit_filter_drop_records_total{name="grep.0"}'] == 1
    assert counted["fluentbit_storage_fs_chunks"] == 1
    assert counted['fluentbit_input_storage_chunks{name="tail.0"}'] == 1
    assert counted['fluentbit_logger_logs_total{message_type="error"}'] > 2
    assert not any(name.startswith("fluentbit_routing_logs_drop") for name in counted)
    await lab.allow()
    await lab.delivered()
    counted = await metrics(lab, shipper)
    assert counted[f"fluentbit_output_proc_records_total{{{output}}}"] == 1
    assert counted[f"fluentbit_output_chunk_available_capacity_percent{{{output}}}"] == 100
    text = (await page(lab, shipper, "/api/v1/metrics/prometheus")).body.decode()
    assert re.search(r'^fluentbit_output_proc_records_total\{name="cloudwatch_logs.0"\} 1 \d{13}$', text, re.MULTILINE)
    first = json.loads((await page(lab, shipper, "/api/v1/metrics")).body)
    assert first["output"]["cloudwatch_logs.0"]["proc_records"] == 1


async def test_health_counts_chunks_that_are_given_up_only(lab: Any) -> None:
    await lab.grant(policy=False)

    def give_up(config: dict[str, Any]) -> None:
        config["service"] |= {"health_check": "on", "hc_retry_failure_count": "1", "hc_period": "60"}
        config["pipeline"]["outputs"][0]["retry_limit"] = "no_retries"

    def be_strict(config: dict[str, Any]) -> None:
        give_up(config)
        config["pipeline"]["outputs"][0]["retry_limit"] = "1"

    shipper = await lab.fluent_bit(lab.fluent_bit_config(be_strict))
    await lab.ready(shipper, "stream processor started")
    assert (await page(lab, shipper, "/api/v1/health")).body == b"ok\n"
    for number in range(2):
        write_log(lab, json.dumps({"n": number}))
        await lab.until(lambda number=number: sum("cannot be retried" in line for line in lab.log(shipper)) > number)
    bad = await page(lab, shipper, "/api/v1/health")
    assert (bad.status, bad.body) == (500, b"error\n")
    assert json.loads((await page(lab, shipper, "/api/v2/health")).body)["retries_failed"] == 2
    assert (await page(lab, shipper, "/")).status == 200


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


def sized(escaped: int, character: str = "a") -> str:
    """A line of JSON whose message has so many bytes once it is escaped."""
    frame = len(escaped_text('{"x":""}'))
    each = len(escaped_text(character))
    count, rest = divmod(escaped - frame, each)
    return '{"x":"' + character * count + "z" * rest + '"}'


async def test_messages_are_whole_up_to_a_million_escaped_bytes_then_cut_then_left_out(lab: Any) -> None:
    await lab.grant()
    lines = [sized(1_000_000), sized(1_000_001), sized(1_048_572), sized(1_048_573), sized(1_000_000, "é"), ALERT]
    write_log(lab, *lines)
    shipper = await lab.fluent_bit(lab.fluent_bit_config(with_room))
    found = await all_messages(lab, 5)
    assert {lines[0], lines[4], ALERT} <= set(found)
    assert len(lines[4].encode()) < 350_000
    cut = [message for message in found if message not in lines]
    assert len(cut) == 2
    assert all(any(line.startswith(message) for line in lines[1:3]) for message in cut)
    assert [len(escaped_text(message)) for message in cut] == [1_000_000, 1_000_000]
    label = "[ warn] [output:cloudwatch_logs:cloudwatch_logs.0]"
    said = [line.partition("] ")[2] for line in lab.log(shipper) if "[ warn]" in line]
    assert sorted(said) == [  # chunks are sent at the same time
        f"{label} Discarding massive log record",
        f"{label} [size=1000001] Truncating event which is larger than max size allowed by CloudWatch",
        f"{label} [size=1048572] Truncating event which is larger than max size allowed by CloudWatch",
    ]


@pytest.mark.parametrize(("character", "poisonous"), [("é", True), ("\\", False), ("a", False)])
async def test_a_cut_inside_an_escape_poisons_its_chunk_and_no_other(lab: Any, character: str, poisonous: bool) -> None:
    await lab.grant()
    frame = len(escaped_text('{"x":"'))
    count = (1_000_010 - frame) // len(escaped_text(character))
    write_log(lab, '{"x":"' + "-" * ((1_000_000 - frame - 3) % 6) + character * count + '"}', '{"n":1}')
    shipper = await lab.fluent_bit(lab.fluent_bit_config(lambda c: (with_room(c), end_soon(c))))
    if poisonous:
        refused = "PutLogEvents API responded with error='SerializationException'"
        await lab.until(lambda: sum(refused in line for line in lab.log(shipper)) > 1)  # it is tried again and again
    write_log(lab, '{"n":2}')
    delivered = await all_messages(lab, 1 if poisonous else 3)
    assert delivered[-1] == '{"n":2}'
    assert len(delivered) == (1 if poisonous else 3)


async def test_a_line_has_to_fit_into_the_buffer_with_its_newline(lab: Any) -> None:
    await lab.grant()
    frame = len("2026-11-23T04:15:07.000000000Z stdout F ") + len('{"n":9,"x":""}')
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000000000Z")
    lines = [
        f'{now} stdout F {{"n":{number},"x":"{"x" * (size - frame)}"}}\n'
        for number, size in enumerate((32_767, 32_768, 33_000, 70_000, 32_767))
    ]
    write_log(lab)
    lab.node.filesystem.append_bytes("/var/log/pods/falco_falco-x7k2p_uid/falco/0.log", "".join(lines).encode())
    shipper = await lab.fluent_bit()
    assert [json.loads(message)["n"] for message in await lab.delivered(2)] == [0, 4]
    assert sum("have long lines. Skipping long lines." in line for line in lab.log(shipper)) == 1  # once per file
    assert (await metrics(lab, shipper))['fluentbit_input_long_line_skipped_total{name="tail.0"}'] == 3


async def test_whatever_is_in_a_log_the_program_goes_on(lab: Any) -> None:
    await lab.grant()
    write_log(lab)
    now = dt.datetime.now(dt.UTC)
    stamp = now.strftime("%Y-%m-%dT%H:%M:%S")
    lines = [
        b'%b.1Z stdout F {"n":1}\r',
        b'%b.1Z stdout F {"n":2}\r\r',
        b'%b.1Z stdout F {"n":"a\x00b\x1bc"}',
        b'%b.1Z stdout F {"n":"caf\xc3"}',
        b'%b.1Z stdout F:tag {"n":"flag"}',
        b' %b.1Z stdout F {"n":"blank"}',
        b'2026-13-45T99:99:99Z stdout F {"n":"never"}',
        b'0000-00-00T00:00:00.0Z stdout F {"n":"never"}',
        b'\xff\xfe stdout F {"n":"never"}',
        b"",
        b'{"n":"no cri"}',
        b'%b.1Z stdout P {"n":"',
        b'%b.1Z stderr F {"n":"between"}',
        b'%b.1Z stdout F joined"}',
    ]
    text = b"\n".join(line.replace(b"%b", stamp.encode()) for line in lines) + b"\n"
    lab.node.filesystem.append_bytes("/var/log/pods/falco_falco-x7k2p_uid/falco/0.log", text)
    shipper = await lab.fluent_bit()
    await lab.delivered(7)
    write_log(lab, '{"n":"last"}')
    delivered = await lab.delivered(8)
    assert sorted(delivered) == sorted(
        [
            '{"n":1}',
            '{"n":2}\r',
            '{"n":"a\0b\x1bc"}',
            '{"n":"caf\ue0c3"}',
            '{"n":"no cri"}',
            '{"n":"between"}',
            '{"n":"never"}{"n":"never"}{"n":"joined"}',  # what had an impossible time comes before the next line
            '{"n":"last"}',
        ]
    )
    assert shipper.state == "running"
    assert sum("[error] [multiline] error packing event" in line for line in lab.log(shipper)) == 3


async def test_many_events_go_in_several_requests(lab: Any) -> None:
    await lab.grant()
    write_log(lab, *(f'{{"n":{number}}}' for number in range(12_000)))
    await lab.fluent_bit()
    messages = await all_messages(lab, 12_000)
    # Requests are on their way at the same time: what has the same millisecond may change places.
    assert sorted(json.loads(message)["n"] for message in messages) == list(range(12_000))


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
        lab.fluent_bit_config(lambda c: c["pipeline"]["outputs"][0].update({"storage.total_limit_size": "2500"}))
    )
    await lab.ready(shipper, "stream processor started")
    for number in range(4):
        write_log(lab, json.dumps({"n": number, "x": "a" * 900}))
        await lab.until(lambda number=number: sum("Creating log stream" in x for x in lab.log(shipper)) > number)
    evicted = await lab.until(lambda: [line for line in lab.log(shipper) if "evicted" in line])
    assert re.search(
        r"\[ warn\] \[input chunk\] chunk '1-\d+\.\d+\.flb' evicted from output queue to make room under "
        r"storage.total_limit_size: task_id=\d+, input=tail.0 > output=cloudwatch_logs.0 \(out_id=0\), "
        r"bytes=1\d\d\d, limit=2500$",
        evicted[0],
    )
    counted = await metrics(lab, shipper)
    assert counted['fluentbit_output_dropped_records_total{name="cloudwatch_logs.0"}'] == len(evicted)
    assert counted['fluentbit_output_errors_total{name="cloudwatch_logs.0"}'] == 0
    drops = 'fluentbit_routing_logs_drop_records_total{input="tail.0",output="cloudwatch_logs.0"}'
    assert counted[drops] == len(evicted)
    assert counted['fluentbit_output_chunk_available_capacity_percent{name="cloudwatch_logs.0"}'] < 30
    await lab.allow()
    numbers = [json.loads(message)["n"] for message in await lab.delivered(2)]
    assert 0 not in numbers
    assert 3 in numbers


async def test_a_request_without_an_answer_is_given_up_and_made_again(lab: Any) -> None:
    await lab.grant()
    served = lab.aws.handle
    asked = 0

    async def handle(request: HttpRequest) -> HttpResponse:
        nonlocal asked
        if request.header("x-amz-target").endswith("PutLogEvents"):
            asked += 1
            if asked == 1:
                await asyncio.Event().wait()
        answer: HttpResponse = await served(request)
        return answer

    lab.answer = handle
    shipper = await lab.fluent_bit(
        lab.fluent_bit_config(lambda c: c["pipeline"]["outputs"][0].update({"net.io_timeout": "2"}))
    )
    write_log(lab, ALERT)
    await lab.until(lambda: asked)
    write_log(lab, '{"rule":"meanwhile"}')
    assert await lab.delivered() == ['{"rule":"meanwhile"}']  # on a connection of its own
    assert len(await lab.delivered(2)) == 2
    host = "logs.us-east-1.amazonaws.com:443"
    log = "\n".join(lab.log(shipper))
    assert re.search(
        rf"\[error\] \[upstream\] connection #\d+ to tcp://{host} timed out after 2 seconds \(IO timeout\)", log
    )
    assert f"[error] [http_client] upstream I/O timeout reached while waiting for response from {host}" in log


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (ConnectionRefusedError(), 2 * ["[error] [aws_client] connection initialization error"]),
        (
            ConnectionResetError(),
            2
            * [
                "[error] [tls] error: error:0A000126:SSL routines::unexpected eof while reading",
                "[error] [http_client] broken connection to logs.us-east-1.amazonaws.com:443 ?",
            ],
        ),
        (
            HttpResponse(503, {}, b"<busy/>"),
            ["[ warn] [output:cloudwatch_logs:cloudwatch_logs.0] PutLogEvents: Raw response: <busy/>"],
        ),
        (
            HttpResponse(400, {}, b'{"__type":"ThrottlingException","message":"Rate exceeded"}'),
            [
                "[error] [output:cloudwatch_logs:cloudwatch_logs.0] PutLogEvents API responded with "
                "error='ThrottlingException', message='Rate exceeded'"
            ],
        ),
    ],
)
async def test_each_way_to_fail_has_its_lines(lab: Any, failure: Exception | HttpResponse, said: list[str]) -> None:
    await lab.grant()
    served = lab.aws.handle
    failures = [failure, *([failure] if isinstance(failure, Exception) else [])]  # it asks again at once

    async def handle(request: HttpRequest) -> HttpResponse:
        if request.header("x-amz-target").endswith("PutLogEvents") and failures:
            answer = failures.pop()
            if isinstance(answer, Exception):
                raise answer
            return answer
        return await served(request)

    lab.answer = handle
    shipper = await lab.fluent_bit()
    write_log(lab, ALERT)
    await lab.delivered()
    await lab.ready(shipper, "succeeded at retry 1")  # it hears of it a moment later
    lines = [line.partition("] ")[2] for line in lab.log(shipper)]
    output = "[output:cloudwatch_logs:cloudwatch_logs.0]"
    failed = lines[lines.index(f"[ info] {output} Created log stream alerts") + 1 :]
    assert failed[:-2] == [
        *said,
        *2 * [f"[error] {output} Failed to send log events"],
        f"[error] {output} Failed to send events",
    ]
    where = r"task_id=0, input=tail.0 > output=cloudwatch_logs.0 \(out_id=0\)"
    assert re.fullmatch(
        rf"\[ warn\] \[engine\] failed to flush chunk '\S+\.flb', retry in [23] seconds: {where}", failed[-2]
    )
    assert re.fullmatch(rf"\[ info\] \[engine\] flush chunk '\S+\.flb' succeeded at retry 1: {where}", failed[-1])


LOG = "/var/log/pods/falco_falco-x7k2p_uid/falco/0.log"


async def test_a_log_that_was_renamed_is_followed_while_its_writer_has_it_open(lab: Any) -> None:
    await lab.grant()
    write_log(lab, '{"n":0}')
    shipper = await lab.fluent_bit(lab.fluent_bit_config(lambda c: c["pipeline"]["inputs"][0].update(rotate_wait="1")))
    await lab.delivered()
    files = lab.node.filesystem
    writer = files.open_file(LOG)  # it has the old file open, whatever that is called
    files.rename(LOG, f"{LOG}.20261123-041507")
    stamp = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for number in range(1, 4):
        files.append_bytes(LOG, f'{stamp} stdout F {{"n":{10 * number}}}\n'.encode())
        line = f'{stamp} stdout F {{"n":{number}}}\n'.encode()
        writer.write_at(writer.size(), line, 0)
        await asyncio.sleep(0.1)
    numbers = sorted(json.loads(message)["n"] for message in await lab.delivered(7))
    assert numbers == [0, 1, 2, 3, 10, 20, 30]
    link = f"/var/log/containers/falco-x7k2p_falco_falco-{'0' * 64}.log"
    old, new = writer.ino, files.walk(LOG).inode.ino
    label = "[ info] [input:tail:tail.0]"
    released = f"{label} inotify_fs_remove(): inode={old} watch_fd=2"
    lines = await lab.until(
        lambda: (said := [line.partition("] ")[2] for line in lab.log(shipper)]) and released in said and said,
        timeout=15,
    )
    assert [line for line in lines if "otif" in line or "rotation" in line] == [
        f"{label} inotify_fs_add(): inode={old} watch_fd=1 name={link}",
        f"{label} inode={old} handle rotation(): {link} => {LOG}.20261123-041507",
        f"{label} inotify_fs_remove(): inode={old} watch_fd=1",
        f"{label} inotify_fs_add(): inode={old} watch_fd=2 name={LOG}.20261123-041507",
        f"{label} inotify_fs_add(): inode={new} watch_fd=3 name={link}",
        released,
    ]


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ("nothing", False),
        ("renamed", True),  # what was written between the stop and the rotation
        ("deleted", True),
        ("cut and written anew", False),
        ("same inode, longer", False),
    ],
)
async def test_what_happens_to_a_log_while_fluent_bit_is_away(lab: Any, change: str, lost: bool) -> None:
    await lab.grant()
    write_log(lab, '{"n":"before"}')
    first = await lab.fluent_bit()
    await lab.delivered()
    await lab.node.runtime.stop(first, grace=10.0)
    files = lab.node.filesystem
    if change in ("nothing", "renamed", "deleted"):
        write_log(lab, '{"n":"late"}')
    if change == "renamed":
        files.rename(LOG, f"{LOG}.20261123-041507")
    elif change == "deleted":
        files.remove(LOG)
    elif change != "nothing":
        files.open_file(LOG).truncate(0, 0)
    stamp = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    texts = ['{"n":"new"}'] if change != "same inode, longer" else [json.dumps({"n": n}) for n in range(20)]
    files.append_bytes(LOG, "".join(f"{stamp} stdout F {text}\n" for text in texts).encode())
    second = await lab.fluent_bit()
    late = ['{"n":"late"}'] if change == "nothing" else []
    expected = ['{"n":"before"}', *late, *texts]
    assert sorted(await lab.delivered(len(expected))) == sorted(expected)
    write_log(lab, '{"n":"end"}')
    assert len(await lab.delivered(len(expected) + 1)) == len(expected) + 1
    stale = int(change in ("renamed", "deleted"))
    assert lost == bool(stale)
    assert any(f"db: delete unmonitored stale inodes from the database: count={stale}" in x for x in lab.log(second))


async def test_a_part_whose_end_never_comes_is_sent_at_the_stop(lab: Any) -> None:
    await lab.grant()
    write_log(lab, ALERT)
    shipper = await lab.fluent_bit()
    await lab.delivered()
    stamp = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    lab.node.filesystem.append_bytes(LOG, f'{stamp} stdout P {{"part":\n{stamp} stdout F half a'.encode())
    await asyncio.sleep(0.3)
    await lab.node.runtime.stop(shipper, grace=10.0)
    assert (await lab.delivered(2))[-1] == '{"part":'
    lab.node.filesystem.append_bytes(LOG, f' line}}\n{stamp} stdout F {{"n":2}}\n'.encode())
    await lab.fluent_bit()
    assert (await lab.delivered(3))[-1] == '{"n":2}'


async def test_of_a_hundred_thousand_lines_none_is_lost_and_other_calls_are_answered(lab: Any) -> None:
    await lab.grant()
    shipper = await lab.fluent_bit()
    await lab.ready(shipper, "stream processor started")
    line = json.dumps({"pad": "x" * 500})
    loud = await lab.start(
        "falco",
        "docker.io/library/nginx:1.29.3",
        namespace="falco",
        command=("sh", "-c", f"yes '{line}' | head -n 100000"),
    )
    client, waits = lab.client("logs"), []
    counted: dict[str, float] = {}
    while counted.get('fluentbit_output_proc_records_total{name="cloudwatch_logs.0"}', 0) < 100_000:
        began = time.monotonic()
        await asyncio.to_thread(client.describe_log_groups)
        waits.append(time.monotonic() - began)
        counted = await metrics(lab, shipper)
        assert sum(waits) < 200, counted
        await asyncio.sleep(0.1)
    assert await loud.wait() == 0
    assert counted['fluentbit_output_proc_records_total{name="cloudwatch_logs.0"}'] == 100_000
    assert counted['fluentbit_output_dropped_records_total{name="cloudwatch_logs.0"}'] == 0
    assert sorted(waits)[len(waits) * 19 // 20] < 0.5
    streams = (await lab.call("logs", "describe_log_streams", logGroupName="falco"))["logStreams"]
    assert streams[0]["lastIngestionTime"]


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda c: c["service"].update(flush="0"), 1, ["invalid flush value, aborting."]),
        (lambda c: c["service"].update({"scheduler.cap": "1", "scheduler.base": "5"}), None, []),
        (
            lambda c: c["service"].pop("storage.path"),
            255,
            [
                "[storage] instance 'tail.0' requested filesystem storage but no filesystem path was defined.",
                "[storage] could not create storage for instance: tail.0",
                "[engine] storage creation failed",
            ],
        ),
        (
            lambda c: c["pipeline"]["inputs"][0].update({"multiline.parser": "crio"}),
            255,
            [
                "[multiline] parser 'crio' not registered",
                "[input:tail:tail.0] could not load multiline parsers",
                "failed initialize input tail.0",
                "[engine] input initialization failed",
            ],
        ),
        (
            lambda c: c["pipeline"]["inputs"][0].update(skip_long_lines="maybe"),
            255,
            [
                "[config map] invalid value for boolean property 'skip_long_lines=maybe'",
                "failed initialize input tail.0",
                "[engine] input initialization failed",
            ],
        ),
        (
            lambda c: c["pipeline"]["filters"][0].update(regex="log ("),
            255,
            [
                "[filter:grep:grep.0] could not compile regex pattern '('",
                "Failed initialize filter grep.0",
                "[engine] filter initialization failed",
            ],
        ),
    ],
)
async def test_a_configuration_that_cannot_work_ends_the_program_as_it_does_fluent_bit(
    lab: Any, change: Any, code: int | None, said: list[str]
) -> None:
    shipper = await lab.fluent_bit(lab.fluent_bit_config(change))
    if code is None:
        await lab.ready(shipper, "stream processor started")
        assert shipper.state == "running"
        return
    assert await shipper.wait() == code
    assert [line.partition("[error] ")[2] for line in lab.log(shipper) if "[error]" in line] == said


async def test_a_rejected_chunk_is_kept_if_that_is_configured_and_never_sent(lab: Any) -> None:
    await lab.grant()

    def keep(config: dict[str, Any]) -> None:
        config["service"] |= {"storage.keep.rejected": "on", "storage.rejected.path": "rejected"}

    write_log(lab, ALERT)
    shipper = await lab.fluent_bit(lab.fluent_bit_config(keep))
    await lab.delivered()
    await lab.call("logs", "delete_log_stream", logGroupName="falco", logStreamName="alerts")
    write_log(lab, '{"rule":"in hand"}')
    await lab.until(lambda: any("quarantined rejected chunk into DLQ stream (bytes=" in x for x in lab.log(shipper)))
    await lab.node.runtime.stop(shipper, grace=10.0)
    kept = lab.state.root.lookup("storage").lookup("rejected")
    (name,) = kept.names()
    assert re.fullmatch(r"falco\.alerts_0_cloudwatch_logs\.0_0x7f[0-9a-f]+\.flb", name)
    assert b'{"rule":"in hand"}' in kept.lookup(name).content()
    again = await lab.fluent_bit(lab.fluent_bit_config(keep))
    write_log(lab, '{"rule":"after"}')
    assert await lab.delivered() == ['{"rule":"after"}']
    assert not any("register" in line for line in lab.log(again))
