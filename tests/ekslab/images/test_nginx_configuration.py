"""nginx's configuration files: what nginx takes, and what it says of the others."""

from __future__ import annotations

import fnmatch

import pytest

from ekslab.images.nginx_configuration import Configuration, ConfigurationError, read

MAIN = "/etc/nginx/nginx.conf"
EVENTS = "events { worker_connections 64; }\n"


def load(text: str, options: str = "", **more: str) -> Configuration:
    """Reads a main file, and others given as `conf.d` names."""
    files = {MAIN: text, **{f"/etc/nginx/conf.d/{name}.conf": other for name, other in more.items()}}

    def read_text(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory")
        return files[path]

    return read(MAIN, options, read_text, lambda pattern: sorted(fnmatch.filter(files, pattern)))


def server(body: str) -> str:
    return EVENTS + "http {\nserver {\n" + body + "\n}\n}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("garbage on;", 'unknown directive "garbage" in /etc/nginx/nginx.conf:1'),
        ("user nginx;\n}", 'unexpected "}" in /etc/nginx/nginx.conf:2'),
        ("user nginx }", 'unexpected "}" in /etc/nginx/nginx.conf:1'),
        ("user nginx", 'unexpected end of file, expecting ";" or "}" in /etc/nginx/nginx.conf:1'),
        ("user 'nginx;\n", 'unexpected end of file, expecting ";" or "}" in /etc/nginx/nginx.conf:2'),
        ("events {\n", 'unexpected end of file, expecting "}" in /etc/nginx/nginx.conf:2'),
        (";", 'unexpected ";" in /etc/nginx/nginx.conf:1'),
        ("user 'nginx'x;", 'unexpected "x" in /etc/nginx/nginx.conf:1'),
        ("daemon off {}", 'directive "daemon" is not terminated by ";" in /etc/nginx/nginx.conf:1'),
        ("events;", 'directive "events" has no opening "{" in /etc/nginx/nginx.conf:1'),
        ("listen 80;", '"listen" directive is not allowed here in /etc/nginx/nginx.conf:1'),
        ("user stranger;", 'getpwnam("stranger") failed in /etc/nginx/nginx.conf:1'),
        ("pid;", 'invalid number of arguments in "pid" directive in /etc/nginx/nginx.conf:1'),
        ("daemon maybe;", 'invalid value "maybe" in "daemon" directive, it must be "on" or "off" in'),
        ("worker_processes x;", '"worker_processes" directive invalid value in /etc/nginx/nginx.conf:1'),
        ("pid a;\npid b;", '"pid" directive is duplicate in /etc/nginx/nginx.conf:2'),
        ("events { worker_connections x; }", 'invalid number "x" in /etc/nginx/nginx.conf:1'),
        ("include no.conf;", 'open() "/etc/nginx/no.conf" failed (2: No such file or directory) in /etc/nginx/nginx'),
        ("user nginx;", 'no "events" section in configuration'),
        (server("listen 99999;"), 'invalid port in "99999" of the "listen" directive in /etc/nginx/nginx.conf:4'),
        (server("listen *:0;"), 'invalid port in "*:0" of the "listen" directive in'),
        (server("listen web:80;"), 'host not found in "web:80" of the "listen" directive in'),
        (server("listen 80\nserver_name a;"), 'invalid parameter "server_name" in /etc/nginx/nginx.conf:5'),
        (server("listen 80;\nlisten 80;"), "a duplicate listen 0.0.0.0:80 in /etc/nginx/nginx.conf:5"),
        (server("location /a {}\nlocation /a {}"), 'duplicate location "/a" in /etc/nginx/nginx.conf:5'),
        (server("error_page 200 /x;"), 'value "200" must be between 300 and 599 in'),
        (server("access_log /var/log/x main;"), 'unknown log format "main" in'),
        (server("location / {\nroot a;\nroot b;\n}"), '"root" directive is duplicate in /etc/nginx/nginx.conf:6'),
        (EVENTS + "http { types { a b; c { d e; } } }", 'unexpected "{" in'),
        ("include nginx.conf;", 'open() "/etc/nginx/nginx.conf" failed (24: Too many open files) in'),
        (server("location /a { " * 300), "takes no deeper blocks"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("daemon off", 'unexpected end of parameter, expecting ";" in command line'),
        ("nonsense on;", 'unknown directive "nonsense" in command line'),
        ("events {}", "block directives are not supported in -g option in command line"),
    ],
)
def test_options_of_the_command_line_are_directives_too(options: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(EVENTS, options)
    assert str(caught.value) == message


def test_files_that_are_included_count_their_own_lines() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(EVENTS + "http { include conf.d/*.conf; }", a="server { listen 81; }", b="\nserver { listn 82; }")
    assert str(caught.value) == 'unknown directive "listn" in /etc/nginx/conf.d/b.conf:2'


def test_what_the_server_acts_on() -> None:
    text = """
        worker_processes auto;  # a comment; with { signs }
        http {
            types { text/html html; image/x-own own ours; }
            root /srv;
            log_format main '$remote_addr "${request}"';
            access_log /var/log/nginx/access.log main;
            server { listen 80; listen [::]:80; server_name localhost; location / { index a.html b.html; } }
            server { listen 127.0.0.1:8080 default_server; server_name "x" y; root html; }
            server { server_name other; location ~ "\\.php$" { root /other; } location / { root /last; } }
        }
    """
    configuration = load(EVENTS + text, "daemon off;")
    assert configuration.workers == 2
    assert configuration.ports == [80, 8080]
    assert configuration.types["ours"] == "image/x-own"
    first, second, third = configuration.servers
    assert (first.root, first.index) == ("/srv", ("a.html", "b.html"))
    assert (second.root, second.names) == ("/etc/nginx/html", ["x", "y"])
    assert (third.root, third.ports) == ("/last", [80])
    assert configuration.server(80, "other") is third
    assert configuration.server(80, "anything") is first
    assert configuration.server(81, "") is None
    assert configuration.ignored == ["location"]


def test_directives_of_nginx_that_the_lab_knows_but_ignores() -> None:
    text = "gzip on; proxy_pass http://b; if ($a) { return 403; } limit_except GET { deny all; }"
    assert load(server(f"location / {{ {text} }}")).ignored == [
        "gzip",
        "proxy_pass",
        "if",
        "return",
        "limit_except",
        "deny",
    ]
    assert load(server("access_log /tmp/a;") + "error_log stderr;").ignored == ["access_log /tmp/a", "error_log stderr"]
    stream = "stream { upstream b { server 10.0.0.1:1; } server { listen 1; proxy_pass b; } }"
    configuration = load(EVENTS + stream + "http { map $a $b { default 1; hostnames; } }")
    assert configuration.ports == []
    assert "stream" in configuration.ignored
    load("load_module modules/ngx_http_js_module.so;" + EVENTS + "http { js_import a.js; }")
