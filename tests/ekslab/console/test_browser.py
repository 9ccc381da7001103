"""The console in Chromium: what a person sees, with no alert and with ten thousand, and what other pages can't do."""

from __future__ import annotations

import http.server
import io
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ekslab import client
from ekslab.state import Endpoints
from labkit.kube.rollout import wait_rollout
from labkit.lab import Lab

pytestmark = [pytest.mark.browser, pytest.mark.in_order]
VIEWS = (
    *("pipeline", "logs", "logs?group=falco", "logs?group=falco&tab=filters", "tail", "insights", "metrics", "alarms"),
    *("dashboards", "nodes", "pods", "events", "rules", "terminal", "findings"),
)
OWN_POLICY = 'violates the following Content Security Policy directive: "s'  # script-src, style-src: not a frame's
PICTURES = os.environ.get("LABKIT_SCREENSHOTS")
# What a page of another origin tries.
ATTACK = """async target => {
    const tried = { fetch: '', stream: '', socket: '', image: '', frame: '', post: '', script: '' };
    const said = async (name, what) => { try { tried[name] = await what() } catch (error) { tried[name] = 'refused' } };
    const address = `${target}/api/about`;
    await said('fetch', async () => (await fetch(address, { credentials: 'include' })).text());
    const post = { method: 'POST', credentials: 'include', body: 'x' };
    await said('post', async () => (await fetch(address, post)).text());
    await said('stream', () => new Promise((got, failed) => {
        const source = new EventSource(`${target}/api/feed`, { withCredentials: true });
        source.onmessage = source.onopen = () => got('open'); source.onerror = failed;
    }));
    await said('socket', () => new Promise((got, failed) => {
        const socket = new WebSocket(`${target.replace('http', 'ws')}/api/terminal?namespace=default&pod=x`);
        socket.onopen = () => got('open'); socket.onerror = failed;
    }));
    await said('image', () => new Promise((got, failed) => {
        const image = new Image(); image.onload = () => got('loaded'); image.onerror = failed;
        image.src = `${target}/api/image?widget={}`;
    }));
    await said('script', () => new Promise((got, failed) => {
        const script = document.createElement('script'); script.onload = () => got('loaded'); script.onerror = failed;
        script.src = `${target}/static/app.js`; document.head.append(script);
    }));
    await said('frame', () => new Promise(got => {
        const frame = document.createElement('iframe');
        frame.onload = () => { try { got(frame.contentDocument.body.innerText) } catch { got('refused') } };
        frame.src = target; document.body.append(frame);
    }));
    return tried;
}"""


@pytest.fixture(scope="module")
def new_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a console's address in a browser of its own; fails for an error in the page."""
    faults: list[str] = []

    def opened(url: str, *, width: int = 1280, theme: str = "light") -> Any:
        size = {"width": width, "height": 820}
        page = chromium.new_context(viewport=size, color_scheme=theme, reduced_motion="reduce").new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if OWN_POLICY in said.text else None)
        page.goto(url)
        return page

    yield opened
    assert not faults


def until(page: Any, condition: str, seconds: float = 15.0, arg: object = None) -> Any:
    """What a function in the page returns, once it isn't falsy. (The page's policy forbids to evaluate texts in it.)"""
    deadline = time.monotonic() + seconds
    while not (found := page.evaluate(condition, arg)):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)
    return found


def show(page: Any, view: str) -> None:
    """Opens a view by its address."""
    page.evaluate("view => { location.hash = `/${view}` }", view)
    until(page, "name => document.getElementById('main').className === `view-${name}`", arg=view.partition("?")[0])
    until(page, "() => document.querySelector('#main h1')")


def rows(page: Any) -> int:
    return int(until(page, "() => document.querySelector('.list')?.getAttribute('aria-rowcount')"))


def wide(page: Any) -> bool:
    return bool(page.evaluate("() => document.documentElement.scrollWidth > innerWidth"))


def picture(page: Any, name: str) -> None:
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"console-{name}.png"))


@pytest.fixture(scope="module")
def empty(new_lab: Callable[..., Endpoints]) -> Endpoints:
    """A lab with nothing in it."""
    return new_lab()


def test_an_empty_lab_has_every_view(empty: Endpoints, new_page: Callable[..., Any]) -> None:
    page = new_page(client.console(empty))
    assert until(page, "() => document.querySelectorAll('.station[data-state=absent]').length === 7")
    assert "token=" not in page.evaluate("() => location.href")
    assert "key=" not in page.evaluate("() => location.href")
    for view in VIEWS:
        show(page, view)
        assert not wide(page), view
        if view not in ("logs?group=falco", "logs?group=falco&tab=filters"):
            page.wait_for_timeout(100)
            assert page.locator(".failure").count() == 0, view


def test_an_alert_is_seen_arriving(console_lab: Lab, endpoints: Endpoints, new_page: Callable[..., Any]) -> None:
    page = new_page(client.console(endpoints))
    until(page, "() => document.querySelectorAll('.station[data-state=ok]').length >= 5")
    before = rows(page)
    found = []
    for _ in range(5):
        begun = time.monotonic()
        console_lab.exec("deploy/nginx", "cat /etc/shadow")
        before += 1
        until(page, "n => document.querySelector('.list').getAttribute('aria-rowcount') >= n", arg=before)
        found.append(time.monotonic() - begun)
    assert sorted(found)[2] < 0.5, found
    page.locator(".list-row").first.click()
    until(page, "() => document.querySelector('#drawer .card')")
    assert "Read sensitive file untrusted" in page.locator("#drawer .card").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#drawer").is_hidden()


def test_log_lines_are_text_whatever_is_in_them(
    console_lab: Lab, endpoints: Endpoints, new_page: Callable[..., Any]
) -> None:
    logs = console_lab.aws.client("logs")
    logs.create_log_group(logGroupName="hostile")
    logs.create_log_stream(logGroupName="hostile", logStreamName="s")
    now = int(time.time() * 1000)
    lines = [
        '<img src=x onerror="document.title=1"><script>document.title = 2</script>',
        json.dumps({"rule": "<b onclick=x>", "priority": "Warning", "output": "</div><svg onload=document.title=3>"}),
        "a\x00\x1b[2J\x07\u202egnp.exe 🦅 é́",
        json.dumps({"rule": "long", "priority": "Notice", "output": "🦅" * 200_000}, ensure_ascii=False),
    ]
    events = [{"timestamp": now + i, "message": line} for i, line in enumerate(lines)]
    logs.put_log_events(logGroupName="hostile", logStreamName="s", logEvents=events)
    page = new_page(client.console(endpoints))
    show(page, "logs?group=hostile")
    until(page, "() => document.querySelector('.list')?.getAttribute('aria-rowcount') === '4'")
    for place in range(4):
        page.locator(".list-row").nth(place).click()
        until(page, "() => document.querySelector('#drawer .text')")
        begun = time.monotonic()
        assert page.locator("#drawer script, #drawer img, #drawer svg, .list img, .list script").count() == 0
        page.keyboard.press("Escape")
        assert time.monotonic() - begun < 2
    text = page.locator(".list").inner_text()
    assert "<img src=x onerror=" in text
    assert "‹U+202E›" in text
    assert "\u202e" not in text
    assert page.title() == "Log groups: embedded lab"


def test_a_terminal_in_a_pod(console_lab: Lab, endpoints: Endpoints, new_page: Callable[..., Any]) -> None:
    page = new_page(client.console(endpoints))
    show(page, "terminal")
    until(page, "() => /exec -it in default/.test(document.querySelector('.bar')?.innerText)")
    until(page, "() => document.querySelector('.xterm-rows')?.innerText.includes('root@nginx')")
    page.keyboard.type("echo $((6*7))-é\n")
    until(page, "() => document.querySelector('.xterm-rows').innerText.includes('42-é')")
    page.keyboard.type("echo ____\n")  # lower than a letter: a row that is too low clips it
    line = page.locator(".xterm-rows > div").filter(has_text=re.compile(r"^_{4}\s*$"))
    line.wait_for()
    drawn = Image.open(io.BytesIO(line.screenshot())).convert("L")
    assert len(set(drawn.crop((0, 3, *drawn.size)).tobytes())) > 1  # without the edge of the row above
    page.keyboard.type("mark=77; yes | head -c 3000000; echo $mark-all\n")
    until(page, "() => document.querySelector('.xterm-rows').innerText.includes('77-all')", 30)
    show(page, "pipeline")  # the session goes on meanwhile
    until(page, "() => document.querySelector('.station')")
    show(page, "terminal")
    page.keyboard.type("clear; echo $mark-again\n")
    until(page, "() => document.querySelector('.xterm-rows').innerText.includes('77-again')")
    before = page.evaluate("() => document.querySelector('.bar select').value")
    console_lab.kube.request("DELETE", console_lab.kube.path("v1", "Pod", *before.split("/")))
    until(page, "() => /killed in the pod/.test(document.querySelector('.bar').innerText)")
    wait_rollout(console_lab.kube, "Deployment", "nginx", "default", timeout=30)
    page.get_by_role("button", name="New session").click()
    until(page, "() => /exec -it in default/.test(document.querySelector('.bar').innerText)")
    assert page.evaluate("() => document.querySelector('.bar select').value") != before
    until(page, "() => document.querySelector('.xterm-rows').innerText.includes('root@nginx')")
    page.keyboard.type("exit\n")
    until(page, "() => /has ended/.test(document.querySelector('.bar').innerText)")
    show(page, "pipeline")  # and the shell was seen
    until(page, "() => document.querySelector('.list').innerText.includes('Terminal shell in container')")


def test_ten_thousand_alerts_stay_smooth(console_lab: Lab, endpoints: Endpoints, new_page: Callable[..., Any]) -> None:
    logs = console_lab.aws.client("logs")
    message = logs.filter_log_events(logGroupName="falco", filterPattern="{ $.rule = * }", limit=1)["events"][0][
        "message"
    ]
    logs.create_log_group(logGroupName="busy")
    logs.create_log_stream(logGroupName="busy", logStreamName="alerts")
    now = int(time.time() * 1000)
    for count in (1, 199, 9_800):
        for start in range(0, count, 500):
            batch = [{"timestamp": now, "message": message} for _ in range(min(500, count - start))]
            logs.put_log_events(logGroupName="busy", logStreamName="alerts", logEvents=batch)
        page = new_page(client.console(endpoints), width=1920 if count == 199 else 1280, theme="dark")
        show(page, "logs?group=busy")
        total = {1: 1, 199: 200, 9_800: 10_000}[count]
        until(page, "n => document.querySelector('.list')?.getAttribute('aria-rowcount') === String(n)", 30, arg=total)
        assert page.evaluate("() => document.querySelectorAll('.list-row').length") < 80
        usual = page.evaluate(
            """async () => {
                const list = document.querySelector('.list');
                const took = [];
                for (let i = 0; i <= 40; i += 1) {
                    const begun = performance.now();
                    list.scrollTop = list.scrollHeight * i / 40;
                    await new Promise(requestAnimationFrame);
                    took.push(performance.now() - begun);
                }
                return took.sort((a, b) => a - b)[20];
            }"""
        )
        assert usual < 100, usual  # ms; 16 where the machine does nothing else
        page.locator(".list").focus()
        page.keyboard.press("Home")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        until(page, "() => document.querySelector('#drawer .card')" if total > 1 else "() => true")
        page.context.close()


def test_every_view_in_both_themes(endpoints: Endpoints, new_page: Callable[..., Any]) -> None:
    for theme, width in (("light", 1280), ("dark", 1920)):
        page = new_page(client.console(endpoints), width=width, theme=theme)
        for view in VIEWS:
            show(page, view)
            until(page, "() => document.querySelector('#main .list, #main .board, #main .screen, #main .dashboard')")
            assert not wide(page), view
            assert page.locator(".failure").count() == 0, (view, page.locator(".failure").all_inner_texts())
            if PICTURES:
                page.wait_for_timeout(1500)
                picture(page, f"{view.partition('?')[0]}-{theme}-{width}")
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll('button, a, input, select, [role=grid]')].filter(one =>
                !(one.innerText?.trim() || one.getAttribute('aria-label') || one.closest('label'))).length"""
        )
        assert unnamed == 0
        page.context.close()


def test_the_keyboard_leads_everywhere(endpoints: Endpoints, new_page: Callable[..., Any]) -> None:
    page = new_page(client.console(endpoints))
    until(page, "() => document.querySelector('.board')")
    for key, view in {"l": "logs", "a": "alarms", "f": "findings", "o": "pods", "p": "pipeline"}.items():
        page.keyboard.press("g")
        page.keyboard.press(key)
        until(page, "view => document.getElementById('main').className === `view-${view}`", arg=view)
    page.keyboard.press("k")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    page.keyboard.press("?")
    assert page.locator("dialog").is_visible()


def test_pages_of_another_origin_can_neither_read_nor_change(
    endpoints: Endpoints, new_page: Callable[..., Any]
) -> None:
    class Evil(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>Another page</title><body>")

        def log_message(self, format: str, *args: object) -> None:
            pass

    url = client.console(endpoints)
    page = new_page(url)
    until(page, "() => document.querySelector('.station[data-state]')")
    console = page.evaluate("() => location.origin")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for host in ("127.0.0.1", "localhost"):  # of the same site, and of another
            page.goto(f"http://{host}:{server.server_address[1]}/")
            tried = page.evaluate(ATTACK, console)
            assert set(tried.values()) == {"refused"}, (host, tried)
    finally:
        server.shutdown()
        server.server_close()
    page.goto(console)  # and the person's own page goes on
    until(page, "() => document.querySelector('.station[data-state]')")
    again = new_page(url)  # the address was used: another browser doesn't get in by it
    until(again, "() => document.querySelector('.locked')")
    again.context.new_page().goto(client.console(endpoints))  # opened anew in another tab: the first goes on
    again.bring_to_front()
    until(again, "() => document.querySelector('.station[data-state]') && !document.querySelector('.locked')")


@pytest.mark.start_up
def test_a_page_says_that_the_lab_is_gone_and_goes_on_when_it_is_back(
    tmp_path: Path, new_page: Callable[..., Any]
) -> None:
    lab = client.ensure_running(tmp_path)
    try:
        page = new_page(client.console(lab))
        until(page, "() => document.querySelector('.lamp.on') && document.querySelector('.station[data-state]')")
        os.kill(lab.pid, signal.SIGKILL)
        until(page, "() => document.getElementById('gone')")
        assert "labkit up" in page.locator("#gone").inner_text()
        assert page.locator("#top .live").inner_text() == "no answer"
        again = client.ensure_running(tmp_path, on_loss=lambda home: None)
        assert again.id != lab.id
        until(page, "() => !document.getElementById('gone') && document.querySelector('.lamp.on')", 20)
        assert page.locator("#top .live").inner_text() == "live"
    finally:
        client.stop(tmp_path)
