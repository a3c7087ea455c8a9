"""Parts of self-contained HTML pages: verdict, bars, tables, pictures of frames."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.files import write_bytes
from mutualformer.runtime.images import rendering

Image = NDArray[np.uint8]

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1120px;padding:0 1rem;color:#1c2128;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}h3{font-size:.95rem;font-weight:500;margin:.2rem 0}
table{border-collapse:collapse;width:100%}p,td{overflow-wrap:anywhere}.scroll{overflow-x:auto}
th,td{text-align:left;padding:.35rem .7rem;border-bottom:1px solid #d8dee4;vertical-align:top}
th{font-weight:600;background:#f6f8fa}td.n{font-variant-numeric:tabular-nums}
.ok{color:#1a7f37;font-weight:600}.bad{color:#b42318;font-weight:600}.ok,.bad{font-size:1.25rem}
figure{margin:1rem 0}figure img{max-width:100%;border-radius:6px}figcaption{color:#57606a;font-size:.85rem}
code{background:#f6f8fa;padding:.1rem .3rem;border-radius:4px;word-break:break-all}
.bar{margin:.6rem 0;max-width:640px}.bar i{display:block;height:.7rem;background:#2f6fb7;min-width:2px}
.bar.over i{background:#b42318}.track{background:#eaeef2;border-radius:4px;position:relative;overflow:hidden}
.bar span{display:flex;justify-content:space-between;gap:1rem;font-variant-numeric:tabular-nums;font-size:.9rem}
.limit{position:absolute;left:80%;top:0;bottom:0;border-left:2px solid #1c2128}
.frame{margin:1.2rem 0}.frame>div{display:grid;gap:6px;grid-template-columns:repeat(auto-fit,minmax(150px,1fr))}
.frame figure{margin:0}.frame img{width:100%}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th,code{background:#161b22}
th,td{border-color:#30363d}.ok{color:#3fb950}.bad{color:#f85149}figcaption{color:#8d96a0}
.track{background:#30363d}.limit{border-color:#e6edf3}}
"""


def grey(unit: NDArray[Any]) -> Image:
    """[0, 1] map → 8-bit RGB grey."""
    levels = rendering.grey(np.nan_to_num(unit.astype(np.float32)))
    return np.repeat(levels[..., None], 3, axis=2)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return f'<td class="{"ok" if value else "bad"}">{"yes" if value else "no"}</td>'
    if isinstance(value, float):
        return f'<td class="n">{value:.6g}</td>'
    return f"<td>{html.escape('–' if value is None else str(value))}</td>"


def table(header: list[str], rows: list[list[Any]]) -> str:
    """HTML table; numbers are formatted, text is escaped."""
    head = "".join(f"<th>{html.escape(title)}</th>" for title in header)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def bar(label: str, value: float, limit: float, share: float) -> str:
    """A bar of ``share`` of the limit, which is marked at 80 % of the width; red beyond it."""
    over, width = not share <= 1, 80 * min(share, 1.25) if share == share else 100
    numbers = f"{value:.4g} of {limit:g}" if share == share else f"{value} of {limit:g}"
    return (
        f'<div class="bar{" over" if over else ""}"><span><b>{html.escape(label)}</b>{numbers}</span>'
        f'<div class="track"><i style="width:{width:.1f}%"></i><div class="limit"></div></div></div>'
    )


def row(name: str, pictures: list[tuple[str, Image]]) -> str:
    """A frame: its pictures side by side under their headings, stacked on a narrow screen."""
    cells = "".join(figure(picture, head) for head, picture in pictures)
    return f'<div class="frame"><h3>{html.escape(name)}</h3><div>{cells}</div></div>'


def figure(image: Image, caption: str) -> str:
    """Picture with a caption, embedded."""
    data = base64.b64encode(rendering.png(image)).decode()
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def verdict(problems: list[str]) -> str:
    """ "parity holds", or the list of what does not."""
    if not problems:
        return '<p class="ok">Parity holds: every budget is kept.</p>'
    return '<p class="bad">Parity is violated: ' + html.escape("; ".join(problems)) + "</p>"


def write_page(path: Path, title: str, sections: list[tuple[str, str]]) -> None:
    """Write the page: (heading, HTML) sections under one title."""
    body = "".join((f"<h2>{html.escape(heading)}</h2>" if heading else "") + content for heading, content in sections)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(title)}</h1>{body}</body></html>\n"
    )
    write_bytes(path, page.encode())
