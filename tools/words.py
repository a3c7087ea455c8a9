"""Fails on words that the glossary of CONTRIBUTING.md replaces, in source, messages and documentation.

python tools/words.py [FILE …]     without FILE: every tracked file below ROOT
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = {".py", ".md", ".cpp", ".h", ".c", ".js", ".css", ".html", ".sh", ".toml", ".txt", ".yaml", ".svg"}

# Pattern (whole words, any case) → the word to use instead.
FORBIDDEN = {
    r"doors?": "address (of a source) or connection (of a client)",
    r"visitors?|guests?": "client",
    r"patien(?:ce|t)": "timeout",
    r"damag(?:e|es|ed|ing)|mangled?": "corrupt",
    r"said aloud": "printed",
    r"(?:is|are|was|were|be|been) (?:said|told)(?! apart)": "print, warn or report, with a subject",
}

# (file, text): lines of this file that contain this text may use the words, because they are meant literally.
ALLOWED = [
    ("tools/words.py", ""),
    ("CONTRIBUTING.md", "| "),  # the glossary itself
    ("tests/test_docs.py", "door"),  # the test of this check
]


def tracked() -> list[Path]:
    """Every text file of the repository that git tracks or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    paths = [ROOT / name for name in names if Path(name).suffix in SUFFIXES]
    return [path for path in paths if path.is_file() and "vendor" not in path.parts]


def findings(paths: Iterable[Path]) -> Iterator[str]:
    """One line for every forbidden word: file, line, word, what to use instead."""
    patterns = [(re.compile(rf"\b(?:{words})\b", re.IGNORECASE), instead) for words, instead in FORBIDDEN.items()]
    for path in paths:
        name = os.path.relpath(path, ROOT)
        allowed = [text for file, text in ALLOWED if file == name]
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if any(text in line for text in allowed):
                continue
            for pattern, instead in patterns:
                for match in pattern.finditer(line):
                    yield f"{name}:{number}: {match[0]!r}, use {instead}"


def main() -> int:
    """Print what was found; returns 1 if a word was found."""
    found = list(findings([Path(name) for name in sys.argv[1:]] or tracked()))
    print("\n".join(found), end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
