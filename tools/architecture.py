"""Draws docs/architecture.svg: the four stages, the path of a frame and the path of a checkpoint.

python tools/architecture.py [docs/architecture.svg]
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

WIDTH, ROW, BOX_HEIGHT, LABEL = 1220, 96, 62, 185
COLOURS = {"train": "#dbe9f9", "export": "#fde7cf", "runtime": "#d9f2df", "plugins": "#ece2f7", "file": "#ffffff"}
Box = tuple[str, str, str]  # stage or "file", title, where it lives

ROWS: list[tuple[str, str, list[Box]]] = [
    (
        "a checkpoint",
        "from fit to a proven engine",
        [
            ("train", "data, scenes", "runtime/sources/folders, train/data"),
            ("train", "fit", "train/fitting"),
            ("file", "model.safetensors", "+ card"),
            ("export", "to_onnx", "export/graph, precision"),
            ("file", "model.onnx", "+ contract inside"),
            ("export", "to_trt", "export/engine"),
            ("file", "model.engine", "+ engine card"),
        ],
    ),
    (
        "the proof",
        "any two files, the same frames",
        [
            ("train", "evaluate", "train/evaluation"),
            ("export", "parity", "export/compare"),
            ("export", "layer list read", "export/engine/proof.py"),
            ("export", "acceptance", "export/checks, on a GPU"),
        ],
    ),
    (
        "the operator",
        "one source, run three ways",
        [
            ("plugins", "Triton kernels", "plugins/kernels"),
            ("plugins", "cubins, no GPU needed", "plugins/compile"),
            ("plugins", "IPluginV3 in C++", "plugins/cpp"),
            ("file", "libmutualformer_plugin.so", "+ sealed record"),
            ("plugins", "checked, then loaded", "plugins/library.py"),
        ],
    ),
    (
        "a frame",
        "from camera to saliency",
        [
            ("runtime", "camera, file or folder", "runtime/sources"),
            ("runtime", "capture, mailbox", "runtime/streaming"),
            ("runtime", "prepare", "runtime/preprocess.py"),
            ("runtime", "session", "ONNX Runtime or TensorRT"),
            ("runtime", "restore", "runtime/preprocess.py"),
            ("runtime", "sinks", "page, recording, viewers"),
        ],
    ),
]


def text(x: float, y: float, words: str, size: int, weight: str = "normal", anchor: str = "middle") -> str:
    """One line of text, ``x``, ``y`` in pixels of the picture."""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def row(index: int, title: str, about: str, boxes: list[Box]) -> list[str]:
    """One path: its name at the left, its boxes with arrows between them."""
    top = 16 + index * ROW
    gap = 16
    width = (WIDTH - LABEL - 16 - gap * (len(boxes) - 1)) / len(boxes)
    middle = top + BOX_HEIGHT / 2
    parts = [text(12, middle - 4, title, 16, "bold", "start"), text(12, middle + 14, about, 10, anchor="start")]
    for place, (stage, name, where) in enumerate(boxes):
        left = LABEL + place * (width + gap)
        dash = ' stroke-dasharray="4 3"' if stage == "file" else ""
        parts.append(
            f'<rect x="{left:.0f}" y="{top}" width="{width:.0f}" height="{BOX_HEIGHT}" rx="7" '
            f'fill="{COLOURS[stage]}" stroke="#57606a"{dash}/>'
        )
        parts.append(text(left + width / 2, middle - 3, name, 12, "bold"))
        parts.append(text(left + width / 2, middle + 15, where, 10))
        if place and title != "the proof":
            parts.append(
                f'<line x1="{left - gap:.0f}" y1="{middle}" x2="{left - 3:.0f}" y2="{middle}" '
                'stroke="#24292f" stroke-width="1.6" marker-end="url(#arrow)"/>'
            )
    return parts


def picture() -> str:
    """The whole SVG."""
    height = 16 + len(ROWS) * ROW + 26
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'fill="#24292f">',
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#24292f"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for index, (title, about, boxes) in enumerate(ROWS):
        parts += row(index, title, about, boxes)
    left, base = LABEL, 16 + len(ROWS) * ROW + 8
    for stage in ("plugins", "runtime", "train", "export"):
        parts.append(
            f'<rect x="{left}" y="{base - 11}" width="14" height="14" fill="{COLOURS[stage]}" stroke="#57606a"/>'
        )
        parts.append(text(left + 20, base, stage, 12, anchor="start"))
        left += 90
    parts.append(
        text(left + 10, base, "imports point to the left: plugins ← runtime ← train ← export", 12, anchor="start")
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Write the picture where the page looks for it, or where the first argument says."""
    default = Path(__file__).resolve().parents[1] / "docs" / "architecture.svg"
    Path(sys.argv[1] if len(sys.argv) > 1 else default).write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
