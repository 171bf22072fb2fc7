"""Reverse proxies of Debian in front of a server, with time-outs of few seconds."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket

from tests.support.ports import free_port

from .programs import program, running

CUT = 2
"""Seconds after which each proxy cuts what it takes for idle."""

NGINX = """
daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;
events {{ worker_connections 200; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{backend};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_read_timeout {cut}s;
            send_timeout {cut}s;
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client {cut}s
    timeout server {cut}s
frontend live
    bind 127.0.0.1:{port}
    default_backend live
backend live
    server a 127.0.0.1:{backend}
"""

LIGHTTPD = """
server.document-root = "{folder}"
server.port = {port}
server.bind = "127.0.0.1"
server.modules = ( "mod_proxy" )
server.max-read-idle = {cut}
proxy.header = ( "upgrade" => "enable" )
proxy.server = ( "" => ( ( "host" => "127.0.0.1", "port" => {backend} ) ) )
"""

APACHE = """
ServerRoot {folder}
ServerName 127.0.0.1
PidFile {folder}/pid
DefaultRuntimeDir {folder}
ErrorLog /dev/stderr
Listen 127.0.0.1:{port}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
User {user}
Timeout {cut}
ProxyPass / http://127.0.0.1:{backend}/ upgrade=websocket
"""

CADDY = """
{{
    admin off
    auto_https off
    storage file_system {folder}/caddy
}}
http://127.0.0.1:{port} {{
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{backend} {{
        transport http {{
            read_timeout {cut}s
        }}
    }}
}}
"""

PROXIES = {
    "nginx": (NGINX, lambda path: [program("nginx"), "-c", str(path), "-e", "stderr"]),
    "haproxy": (HAPROXY, lambda path: [program("haproxy"), "-f", str(path), "-db"]),
    "lighttpd": (LIGHTTPD, lambda path: [program("lighttpd"), "-D", "-f", str(path)]),
    "apache": (
        APACHE,
        lambda path: [program("apache2"), "-f", str(path), "-D", "FOREGROUND"],
    ),
    "caddy": (
        CADDY,
        lambda path: [program("caddy"), "run", "--config", str(path), "--adapter", "caddyfile"],
    ),
}
"""Their configurations, and how to run them."""


def listens(port):
    """Whether something accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def proxy(name, backend, folder):
    """Run a proxy in front of a port of this machine; its own port."""
    text, arguments = PROXIES[name]
    port, path = free_port(), folder / f"{name}.conf"
    user = pwd.getpwuid(os.geteuid()).pw_name
    settings = {"folder": folder, "port": port, "backend": backend, "cut": CUT}
    settings |= {
        "modules": "/usr/lib/apache2/modules",
        "user": "www-data" if user == "root" else user,
    }
    path.write_text(text.format(**settings))
    folder.chmod(0o755)
    with running(arguments(path), lambda: listens(port), folder / f"{name}.log"):
        yield port
