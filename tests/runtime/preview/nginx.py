"""A real nginx that runs the recipe of docs/stream.md in front of a page."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (apt install nginx-light)")
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "stream.md"
CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {recipe}
    }}
}}
"""


def recipe(upstream: int) -> str:
    """The ``location`` of the document, with the page's port."""
    match = re.search(r"^    location /cam1/ \{\n.*?^    \}$", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)
    assert match, "docs/stream.md has no recipe for nginx"
    assert match[0].count(":8080") == 1
    return match[0].replace(":8080", f":{upstream}")


class Nginx:
    """A context manager; ``port`` is its own, ``url`` the page's address through it."""

    def __init__(self, upstream: int, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/cam1/"
        self._file = folder / "nginx.conf"
        self._file.write_text(CONFIGURATION.format(folder=folder, port=self.port, recipe=recipe(upstream)))

    def __enter__(self) -> Nginx:
        assert NGINX is not None
        folder = self._file.parent
        self._process = subprocess.Popen(
            [NGINX, "-p", folder, "-c", self._file, "-e", folder / "error.log"], stderr=subprocess.DEVNULL
        )
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return self
            assert self._process.poll() is None, (folder / "error.log").read_text()
            time.sleep(0.05)
        raise AssertionError("nginx does not listen")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
