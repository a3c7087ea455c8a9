"""The page's own files and who may have them; all addresses in them are relative, for proxies with a prefix."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent / "page"
SCRIPT, STYLE = "text/javascript", "text/css"
FILES = {
    "/": ("page.html", "text/html"),
    "/style.css": ("style.css", STYLE),
    **{f"/{name}.js": (f"{name}.js", SCRIPT) for name in ("app", "multipart", "pictures", "panel", "charts", "words")},
    "/uPlot.iife.min.js": ("vendor/uPlot.iife.min.js", SCRIPT),
    "/uPlot.min.css": ("vendor/uPlot.min.css", STYLE),
    # What the form that asks for the token needs.
    "/login.js": ("login.js", SCRIPT),
    "/login.css": ("login.css", STYLE),
}


def read(name: str) -> bytes:
    """A file of the page, fresh from the disk: whoever works on the page sees a change at once."""
    return (HERE / name).read_bytes()
