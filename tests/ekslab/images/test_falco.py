"""Falco on a node: what its files say goes, what it sees alerts, what is wrong is said in its own words."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest
import yaml

from ekslab.http import HttpRequest, HttpResponse
from ekslab.node import EmptyDir, Files, Mount
from falcorules.rulesets import TIERS, default_rules
from labkit.versions import pinned

WHOAMI = """\
- rule: Whoami run in container
  desc: d
  condition: spawned_process and container and proc.name = whoami
  output: whoami was run | user=%user.name
  priority: NOTICE
"""
ALONE = WHOAMI.replace("spawned_process and container and ", "evt.type = execve and ")  # needs no other file
OPENED = "Opening 'syscall' source with modern BPF probe."


async def test_it_starts_up_as_falco_does(lab: Any) -> None:
    falco = await lab.falco({"whoami.yaml": WHOAMI})
    await lab.ready(falco, OPENED)
    log = [line.partition(" 2026: ")[2] or line.partition(": ")[2] for line in lab.log(falco)]
    for line in (
        "Falco version: 0.44.1 (x86_64)",
        "   /etc/falco/falco.yaml | schema validation: ok",
        "Loaded plugin 'container@0.7.1' from file /usr/share/falco/plugins/libcontainer.so",
        "Loading rules from:",
        "   /etc/falco/falco_rules.yaml | schema validation: ok",
        "   /etc/falco/rules.d/whoami.yaml | schema validation: ok",
        "Hostname value has been overridden via environment variable to: ip-10-0-1-10.ec2.internal",
        "Starting health webserver with threadiness 2, listening on 0.0.0.0:8765",
        OPENED,
    ):
        assert line in log


async def test_a_shell_with_a_terminal_alerts_and_one_without_does_not(lab: Any) -> None:
    falco, nginx = await lab.falco(), await lab.nginx()
    await lab.ready(falco, OPENED)
    await lab.exec(nginx, "bash", "-c", "true")
    assert lab.alerts(falco) == []
    await lab.exec(nginx, "bash", "-c", "true", tty=True)
    (alert,) = await lab.until(lambda: lab.alerts(falco))
    assert alert["rule"] == "Terminal shell in container"
    assert alert["hostname"] == "ip-10-0-1-10.ec2.internal"
    fields = alert["output_fields"]
    assert fields["container.id"] == nginx.id[:12]
    assert (fields["k8s.ns.name"], fields["k8s.pod.name"]) == ("default", "nginx-x7k2p")
    assert fields["container.image.repository"] == "docker.io/library/nginx"
    assert fields["proc.pname"] == "containerd-shim"
    assert list(alert) == sorted(alert)


async def test_custom_rules_alert(lab: Any) -> None:
    falco, nginx = await lab.falco({"whoami.yaml": WHOAMI}), await lab.nginx()
    await lab.ready(falco, OPENED)
    await lab.exec(nginx, "whoami")
    (alert,) = await lab.until(lambda: lab.alerts(falco))
    assert (alert["rule"], alert["priority"]) == ("Whoami run in container", "Notice")


@pytest.mark.parametrize(
    ("rules", "code", "said"),
    [
        (
            WHOAMI.replace("proc.name = whoami", "tolower(proc.name, proc.exe) = whoami"),
            1,
            "Runtime error: unknown multivalue transformer. Exiting.",
        ),
        ("- []\n", 134, "JSON value is not an object."),
    ],
)
async def test_rules_that_falco_crashes_of_end_it(lab: Any, rules: str, code: int, said: str) -> None:
    falco = await lab.falco({"whoami.yaml": rules})
    assert await falco.wait() == code
    assert said in "\n".join(lab.log(falco))


async def test_a_rule_that_is_wrong_ends_it_with_falcos_error(lab: Any) -> None:
    falco = await lab.falco({"whoami.yaml": WHOAMI.replace("proc.name", "proc.nope")})
    assert await falco.wait() == 1
    log = "\n".join(lab.log(falco))
    assert "Error: /etc/falco/rules.d/whoami.yaml: Invalid" in log
    assert "LOAD_ERR_COMPILE_CONDITION (Error compiling condition)" in log
    assert "filter_check called with nonexistent field proc.nope" in log


async def test_without_privileges_it_cannot_open_the_probe(lab: Any) -> None:
    falco = await lab.falco(values={"unprivileged": True})
    assert await falco.wait() == 1
    assert "Error: Initialization issues during scap_init" in lab.log(falco)


async def test_the_stable_rules_need_the_container_plugin(lab: Any) -> None:
    plugins = [{"name": "container", "library_path": "libcontainer.so"}]
    falco = await lab.falco(values={"falco": {"load_plugins": [], "plugins": plugins}})
    assert await falco.wait() == 1
    text = "Error: Plugin requirement not satisfied, must load one of: container (>= 0.4.0)"
    assert text in lab.log(falco)


async def test_deprecated_fields_are_warned_of(lab: Any) -> None:
    rule = WHOAMI.replace("spawned_process and", "evt.type = execve and evt.dir = < and")
    falco = await lab.falco({"whoami.yaml": rule})
    await lab.ready(falco, OPENED)
    assert any("LOAD_DEPRECATED_ITEM" in line for line in lab.log(falco))


async def test_text_output(lab: Any) -> None:
    falco = await lab.falco({"whoami.yaml": WHOAMI}, values={"falco": {"json_output": False}})
    nginx = await lab.nginx()
    await lab.ready(falco, OPENED)
    await lab.exec(nginx, "whoami")
    line = await lab.until(lambda: [line for line in lab.log(falco) if "Notice whoami was run | user=root" in line])
    assert "container_name=nginx" in line[0]


async def test_buffered_output_without_a_terminal_waits_for_a_full_block(lab: Any) -> None:
    values = {"tty": False, "falco": {"buffered_outputs": True}}
    falco, nginx = await lab.falco({"whoami.yaml": WHOAMI}, values=values), await lab.nginx()
    await lab.ready(falco, OPENED)
    await lab.exec(nginx, "whoami")
    await asyncio.sleep(0.1)
    assert lab.alerts(falco) == []
    for _ in range(20):
        await lab.exec(nginx, "whoami")
    assert lab.alerts(falco)


CONTAINER = {"name": "container", "library_path": "libcontainer.so"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"priority": "HIGH"}, 'Error: Unknown priority "HIGH"--must be one of emergency, alert, critical, error, '),
        (
            {"stdout_output": {"enabled": False}},
            "Error: No output configured, please make sure at least one output is ",
        ),
        ({"webserver": {"ssl_enabled": True}}, "Runtime error: invalid webserver configuration. Exiting."),
        (
            {"plugins": [CONTAINER | {"init_config": {"with_size": "no way"}}], "load_plugins": ["container"]},
            "Runtime error: error in plugin container init config: In <root>[with_size], Value type not permitted by ",
        ),
        (
            {"plugins": [{"name": "x", "library_path": "libx.so"}], "load_plugins": ["x"]},
            "Runtime error: cannot load plugin /usr/share/falco/plugins/libx.so: can't load plugin dynamic library: ",
        ),
        (
            {"plugins": [CONTAINER, {**CONTAINER, "name": "again"}], "load_plugins": ["container", "again"]},
            "in inspector: found another plugin with name container. Aborting.. Exiting.",
        ),
        (
            {"metrics": {"enabled": True, "interval": "10ms", "output_rule": True}},
            "Error: Metrics interval must have a minimum value of 100ms",
        ),
    ],
)
async def test_settings_that_it_cannot_start_with(lab: Any, settings: dict[str, Any], said: str) -> None:
    given = {**settings, "webserver": {"enabled": True, "listen_port": 8765, **settings.get("webserver", {})}}
    falco = await lab.falco(values={"falco": given})
    assert await falco.wait() == 1
    assert any(said in line for line in lab.log(falco)), lab.log(falco)


async def test_settings_that_depart_from_the_schema_are_logged_and_run(lab: Any) -> None:
    falco = await lab.falco(values={"falco": {"json_output": "maybe", "append_output": [{"more": 1}]}})
    await lab.ready(falco, OPENED)
    said = "failed for <root>[append_output][0]: Object contains a property that could not be validated"
    assert any(f"/etc/falco/falco.yaml | schema validation: {said}" in line for line in lab.log(falco))


async def test_rules_that_change_on_disk_are_loaded_again(lab: Any) -> None:
    files = Files({"whoami.yaml": WHOAMI})
    falco, nginx = await lab.falco(rule_files=files), await lab.nginx()
    await lab.ready(falco, OPENED)
    files.update({"whoami.yaml": WHOAMI.replace("= whoami", "= id")})
    await lab.until(lambda: sum(OPENED in line for line in lab.log(falco)) == 2)
    assert any("SIGHUP received, restarting..." in line for line in lab.log(falco))
    await lab.exec(nginx, "whoami")
    await lab.exec(nginx, "id")
    await lab.until(lambda: lab.alerts(falco))
    assert len(lab.alerts(falco)) == 1
    files.update({"whoami.yaml": "- rule: broken\n"})
    failure = (await lab.until(lambda: lab.alerts(falco)[1:]))[0]  # an alert like any other, which isn't counted
    assert failure["rule"] == "Falco internal: hot restart failure"
    assert (failure["priority"], failure["source"], failure["output_fields"]) == ("Critical", "internal", {})
    assert failure["output"].startswith(f"{failure['rule']}: /etc/falco/rules.d/whoami.yaml: Invalid\n")
    await lab.exec(nginx, "id")
    await lab.until(lambda: len(lab.alerts(falco)) == 3)
    assert falco.state == "running"


async def test_rules_can_be_selected(lab: Any) -> None:
    selection = [{"disable": {"rule": "*"}}, {"enable": {"rule": "Whoami*"}}]
    falco = await lab.falco({"whoami.yaml": WHOAMI}, values={"falco": {"rules": selection}})
    nginx = await lab.nginx()
    await lab.ready(falco, OPENED)
    await lab.exec(nginx, "bash", "-c", "whoami", tty=True)
    await lab.until(lambda: lab.alerts(falco))
    assert [alert["rule"] for alert in lab.alerts(falco)] == ["Whoami run in container"]


async def test_it_ends_on_sigterm_with_its_statistics(lab: Any) -> None:
    falco, nginx = await lab.falco({"whoami.yaml": WHOAMI}), await lab.nginx()
    await lab.ready(falco, OPENED)
    await lab.exec(nginx, "whoami")
    await lab.node.runtime.stop(falco, grace=5.0)
    assert falco.exit_code == 0
    log = lab.log(falco)
    assert "Events detected: 1" in log
    assert "   Whoami run in container: 1" in log
    await lab.exec(nginx, "whoami")
    assert len(lab.alerts(falco)) == 1


async def test_health_and_versions_are_answered(lab: Any) -> None:
    falco = await lab.falco()
    await lab.ready(falco, OPENED)
    ip = falco.spec.pod_ip
    health = await lab.network.http(HttpRequest("GET", f"http://{ip}:8765/healthz"))
    assert (health.status, health.body) == (200, b'{"status": "ok"}')
    versions = await lab.network.http(HttpRequest("GET", f"http://{ip}:8765/versions"))
    assert json.loads(versions.body)["falco_version"] == "0.44.1"


async def test_metrics_count_system_calls_and_alerts_by_rule(lab: Any) -> None:
    falco, nginx = await lab.falco(), await lab.nginx()
    await lab.ready(falco, OPENED)
    request = HttpRequest("GET", f"http://{falco.spec.pod_ip}:8765/metrics")

    async def counted() -> dict[str, str]:
        answer = await lab.network.http(request)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4")
        lines = answer.body.decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    before = await counted()
    assert not [name for name in before if name.startswith("falcosecurity_falco_rules_matches_total")]
    for _ in range(2):
        await lab.exec(nginx, "bash", "-c", "true", tty=True)
    await lab.until(lambda: len(lab.alerts(falco)) == 2)
    after = await counted()
    assert int(after["falcosecurity_scap_n_evts_total"]) > int(before["falcosecurity_scap_n_evts_total"])
    matches = (
        'falcosecurity_falco_rules_matches_total{priority="5",rule_name="Terminal shell in container",'
        'source="syscall",tag_T1059="true",tag_container="true",tag_maturity_stable="true",'
        'tag_mitre_execution="true",tag_shell="true"}'
    )
    assert after[matches] == "2"


async def test_metrics_are_off_by_default(lab: Any) -> None:
    falco = await lab.falco(values={"falco": {"metrics": {"enabled": False}}})
    await lab.ready(falco, OPENED)
    answer = await lab.network.http(HttpRequest("GET", f"http://{falco.spec.pod_ip}:8765/metrics"))
    assert answer.status == 404


async def test_it_lists_its_rules(lab: Any) -> None:
    falco = await lab.falco({"whoami.yaml": WHOAMI})
    await lab.ready(falco, OPENED)
    code, text = await lab.exec(falco, "falco", "-L", "-o", "json_output=true")
    assert code == 0
    rules = json.loads(text)["rules"]
    assert len(rules) == 26
    assert rules[-1]["info"]["name"] == "Whoami run in container"
    shell = next(rule for rule in rules if rule["info"]["name"] == "Terminal shell in container")
    info, details = shell["info"], shell["details"]  # as written; with macros expanded and formats appended
    assert "and spawned_process and shell_procs" in info["condition"]
    assert "evt.type in (execve, execveat)" in details["condition_compiled"]
    assert "%container.id" not in info["output"]
    assert "container_id=%container.id" in details["output_compiled"]


async def test_it_validates_a_file(lab: Any) -> None:
    falco = await lab.falco({"whoami.yaml": WHOAMI})
    await lab.ready(falco, OPENED)
    rules = "/etc/falco/falco_rules.yaml"
    code, text = await lab.exec(falco, "falco", "-o", "json_output=false", "-V", rules)
    assert (code, text.strip()) == (0, f"{rules}: Ok")
    await lab.exec(falco, "sh", "-c", "echo '- rule: x' > /tmp/bad.yaml")
    code, text = await lab.exec(falco, "falco", "-o", "json_output=false", "-V", "/tmp/bad.yaml")
    summary, _, error = text.rstrip("\n").partition("\nError: ")
    assert (code, error) == (1, summary)
    assert "LOAD_ERR_YAML_VALIDATE" in error


async def test_a_file_that_it_crashes_of_has_no_report(lab: Any) -> None:
    falco = await lab.falco({"whoami.yaml": WHOAMI})
    await lab.ready(falco, OPENED)
    code, text = await lab.exec(falco, "sh", "-c", "echo '- []' >/tmp/a.yaml; falco -o json_output=true -V /tmp/a.yaml")
    assert (code, text) == (134, "JSON value is not an object.\n")


@pytest.fixture
async def run(lab: Any) -> Any:
    """Runs a command in a container with Falco; the config has one rule of its own."""
    falco = await lab.falco({"whoami.yaml": WHOAMI})

    async def run(*argv: str) -> tuple[int, str]:
        found: tuple[int, str] = await lab.exec(falco, *argv)
        return found

    return run


async def test_its_command_line(run: Any) -> None:
    assert (await run("falco", "--version"))[1].splitlines() == [
        "Falco version: 0.44.1",
        "Libs version:  0.25.4",
        "Engine:        0.62.0",
        "Driver:        modern_ebpf (built in)",
    ]
    for argv, said in (
        (["--nope"], "Option ‘nope’ does not exist"),
        (["-L", "-c"], "Option ‘c’ is missing an argument"),
        (["--page-size"], "[embedded lab] Falco's option page-size isn't emulated"),
        (["-V", "/nope.yaml"], "Could not open file /nope.yaml for reading"),
        (["-c", "/nope.yaml", "-L"], "Could not find configuration file at /nope.yaml"),
        (["-okey", "-L"], 'Error parsing config option "key". Must be of the form key=val or key.subkey=val'),
        (["-o", "rules_file=x", "-L"], "both 'rules_files' and 'rules_file' keys set"),
        (
            ["-o", "rules_files=/nope", "-L"],
            "You must specify at least one rules file/directory via -r or a rules_file",
        ),
        (["-o", "static_fields={a: b}", "-L"], "[embedded lab] static_fields aren't emulated"),
        (["-o", "webserver.enabled=false", "--disable-source=syscall"], "Must enable at least one event source"),
        (["--disable-source", "aws"], "Attempted disabling an unknown event source: aws"),
        (
            ["-o", "webserver.enabled=false", "-o", "engine.kind=kmod"],
            "error opening device /host/dev/falco0. Make sure",
        ),
    ):
        code, text = await run("falco", *argv)
        assert code == 1
        assert "Error: " in text, argv
        assert said in text, argv


async def test_a_rules_file_on_the_command_line_replaces_the_configured_ones(run: Any) -> None:
    await run("sh", "-c", f"cat > /tmp/one.yaml <<'E'\n{ALONE}E")
    code, text = await run("falco", "-r", "/tmp/one.yaml", "--option", "json_output=false", "-L")
    assert code == 0
    assert [line.rstrip() for line in text.splitlines()] == [
        f"{'Rule':<50} Description",
        f"{'----':<50} -----------",
        f"{'Whoami run in container':<50} d",
        "",
    ]


async def test_included_settings_grow_lists_and_replace_the_rest(run: Any) -> None:
    for path, text in (
        ("/tmp/one.yaml", ALONE),
        (
            "/tmp/falco.yaml",
            "config_files: [/tmp/conf.d, /tmp/more.yaml]\nrules_files: [/nope.yaml]\npriority: critical\n",
        ),
        ("/tmp/conf.d/a.yaml", "rules_files: [/tmp/one.yaml]\n"),
        ("/tmp/conf.d/b.txt", "engine: {kind: nodriver}\n"),  # whatever its name is
    ):
        await run("sh", "-c", f"mkdir -p $(dirname {path}); cat > {path} <<'E'\n{text}E")
    listed = ("falco", "-c", "/tmp/falco.yaml", "-L", "-o", "json_output=true")

    async def enabled() -> list[bool]:
        return [rule["info"]["enabled"] for rule in json.loads((await run(*listed))[1])["rules"]]

    assert await enabled() == [False]  # a notice is below critical
    await run("sh", "-c", "echo 'priority: debug' > /tmp/more.yaml")
    assert await enabled() == [True]
    await run("sh", "-c", "echo '[1]' > /tmp/more.yaml")
    said = "invalid node; this may result from using a map iterator as a sequence iterator, or vice-versa"
    assert await run(*listed) == (1, f"Error: {said}\n")
    await run("sh", "-c", f"echo 'a: {'[' * 600}' > /tmp/more.yaml")  # libyaml would crash, and with it the lab
    assert await run(*listed) == (1, "Error: yaml-cpp: error at line 2, column 1: bad file\n")


async def test_alerts_go_to_a_file_and_an_endpoint_as_well(lab: Any) -> None:
    posted: list[HttpRequest] = []

    async def answer(request: HttpRequest) -> HttpResponse:
        posted.append(request)
        return HttpResponse(200)

    lab.network.serve("sink.example", answer, ip="198.51.100.9", port=2801)
    outputs = {
        "stdout_output": {"enabled": False},
        "file_output": {"enabled": True, "filename": "/tmp/events.txt"},
        "http_output": {"enabled": True, "url": "http://sink.example:2801/in"},
        "config_files": [],
    }
    falco, nginx = await lab.falco({"whoami.yaml": WHOAMI}, values={"falco": outputs}), await lab.nginx()
    await lab.ready(falco, OPENED)
    await lab.exec(nginx, "whoami")
    await lab.until(lambda: posted)
    _, text = await lab.exec(falco, "cat", "/tmp/events.txt")
    assert json.loads(text)["rule"] == "Whoami run in container"
    assert [(p.method, p.url, p.body.decode()) for p in posted] == [("POST", "http://sink.example:2801/in", text)]
    assert lab.alerts(falco) == []


async def test_falcoctl_installs_only_types_that_are_allowed(lab: Any) -> None:
    config = {"artifact": {"allowedTypes": ["rulesfile"], "install": {"refs": ["container:0.7.1"]}}}
    installer = await _falcoctl(lab, config)
    assert await installer.wait() == 1
    assert "type not permitted" in json.loads(lab.log(installer)[-1])["msg"]


async def test_falcoctl_installs_plugins_where_the_config_says(lab: Any) -> None:
    config = {"artifact": {"install": {"refs": ["container"], "pluginsDir": "/plugins"}}}
    installer = await _falcoctl(lab, config)
    assert await installer.wait() == 0
    last = json.loads(lab.log(installer)[-1])
    assert (last["name"], last["type"], last["directory"]) == (
        "ghcr.io/falcosecurity/plugins/plugin/container", "plugin", "/plugins",
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "code"), [("auto", 0), ("modern_ebpf", 0), ("kmod", 1)])
async def test_the_driver_loader_finds_modern_ebpf_only(lab: Any, kind: str, code: int) -> None:
    image = "docker.io/falcosecurity/falco-driver-loader:0.44.1"
    loader = await lab.start("falco-driver-loader", image, namespace="falco", args=(kind,))
    assert await loader.wait() == code
    last = json.loads(lab.log(loader)[-1])
    assert last.get("driver", "") == ("modern_ebpf" if code == 0 else "")
    assert last["level"] == ("INFO" if code == 0 else "ERROR")


@pytest.mark.parametrize("tier", TIERS)
async def test_falcoctl_installs_a_tier_by_version_and_by_digest(lab: Any, tier: str) -> None:
    name, text = default_rules(tier)
    artifact = name.removesuffix(".yaml").replace("_", "-")
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    full = f"ghcr.io/falcosecurity/rules/{artifact}"
    for ref in (artifact, f"{artifact}@{digest}", f"{full}:1.2.3@{digest}"):
        installer = await _falcoctl(lab, {"artifact": {"install": {"refs": [ref], "rulesfilesDir": "/plugins"}}})
        assert await installer.wait() == 0, lab.log(installer)
        last = json.loads(lab.log(installer)[-1])
        assert (last["name"], last["type"]) == (
            ref if "/" in ref else f"ghcr.io/falcosecurity/rules/{ref}",
            "rulesfile",
        )


async def test_falcoctl_doesnt_find_a_short_name_with_version_and_digest(lab: Any) -> None:
    ref = f"falco-rules:5.1.0@sha256:{'0' * 64}"
    installer = await _falcoctl(lab, {"artifact": {"install": {"refs": [ref], "rulesfilesDir": "/plugins"}}})
    assert await installer.wait() == 1
    last = json.loads(lab.log(installer)[-1])
    assert last["msg"] == f"cannot find {ref} among the configured indexes, skipping"


@pytest.mark.parametrize("ref", ["falco-sandbox-rules:9", "falco-rules:4.0.0", f"falco-rules@sha256:{'0' * 64}"])
async def test_falcoctl_refuses_what_it_does_not_have(lab: Any, ref: str) -> None:
    config = {"artifact": {"install": {"refs": [ref], "rulesfilesDir": "/tmp"}}}
    installer = await _falcoctl(lab, config)
    assert await installer.wait() == 1
    last = json.loads(lab.log(installer)[-1])
    assert last["level"] == "ERROR"
    assert "embedded lab" in last["msg"]


async def _falcoctl(lab: Any, config: dict[str, Any]) -> Any:
    """A container that runs `falcoctl artifact install`."""
    return await lab.start(
        "falcoctl-artifact-install",
        f"docker.io/falcosecurity/falcoctl:{pinned()['falco']['falcoctl']}",
        namespace="falco",
        args=("artifact", "install"),
        mounts=(
            Mount("/etc/falcoctl", Files({"falcoctl.yaml": yaml.safe_dump(config)})),
            Mount("/plugins", EmptyDir()),
        ),
    )
