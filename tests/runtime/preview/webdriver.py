"""The few WebDriver calls the page tests need, over plain HTTP: no Selenium."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")


class Browser:
    """A headless Chromium driven by its own chromedriver process."""

    def __init__(self, width: int = 1200, height: int = 900) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._profile = tempfile.TemporaryDirectory(prefix="page-test-", ignore_cleanup_errors=True)
        assert CHROMIUM is not None
        assert DRIVER is not None
        self._driver = subprocess.Popen(
            [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._base = f"http://127.0.0.1:{port}"
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        # Nothing but the page: no updates, no reports, no first-run pages.
        arguments += ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
        arguments += ["--disable-component-update"]
        arguments += [f"--window-size={width},{height}", f"--user-data-dir={self._profile.name}"]
        options = {"binary": CHROMIUM, "args": arguments}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._wait_for_driver()
        self._session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def _wait_for_driver(self) -> None:
        for _ in range(100):
            try:
                if self._call("GET", "/status")["ready"]:
                    return
            except (OSError, KeyError):
                time.sleep(0.1)
        raise RuntimeError("chromedriver did not start within ten seconds")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()[:800]) from error

    def open(self, url: str) -> None:
        self._call("POST", f"/session/{self._session}/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value the JavaScript returns."""
        body = {"script": script, "args": list(arguments)}
        return self._call("POST", f"/session/{self._session}/execute/sync", body)

    def until(self, script: str, seconds: float = 15.0) -> Any:
        """Run ``script`` until it returns something true. Raises AssertionError with the last value."""
        end = time.monotonic() + seconds
        while True:
            value = self.run(script)
            if value or time.monotonic() > end:
                assert value, f"still {value!r} after {seconds:g} s: {script}"
                return value
            time.sleep(0.1)

    def console(self) -> list[str]:
        """Errors the browser logged."""
        entries = self._call("POST", f"/session/{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def viewport(self, width: int, height: int, *, touch: bool = False) -> None:
        """The page's own size in CSS pixels, smaller than any window if need be: a phone's, for example."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        body = {"cmd": "Emulation.setDeviceMetricsOverride", "params": size}
        self._call("POST", f"/session/{self._session}/goog/cdp/execute", body)

    def click(self, x: float, y: float) -> None:
        """A real click at a point of the window, in CSS pixels."""
        for kind in ("mousePressed", "mouseReleased"):
            event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
            body = {"cmd": "Input.dispatchMouseEvent", "params": event}
            self._call("POST", f"/session/{self._session}/goog/cdp/execute", body)

    def screenshot(self) -> bytes:
        import base64

        return base64.b64decode(self._call("GET", f"/session/{self._session}/screenshot"))

    def close(self) -> None:
        try:
            self._call("DELETE", f"/session/{self._session}")
        finally:
            self._driver.terminate()
            self._driver.wait(10)
            self._profile.cleanup()
