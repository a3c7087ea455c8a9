"""Fails on words that the glossary of CONTRIBUTING.md replaces, in source, messages and documentation.

python tools/words.py [FILE …]     without FILE: every tracked file below ROOT
python tools/words.py --comments   the hardest modules of the wheel and how much their comments say
"""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
import tokenize
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
    r"stranger's|strangers(?=')": "untrusted",
    r"Python's lock": "the GIL",
    r"parted by": "separated by",
    r"how many (?:those|they) were": "returns their number",
    r"(?:cannot|not to) be had": "not available",
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


def branches(source: str) -> int:
    """How hard a module is to follow: its branches, loops, handlers and conditions."""
    kinds = (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.BoolOp, ast.comprehension)
    return sum(isinstance(node, kinds) for node in ast.walk(ast.parse(source)))


def comment_words(source: str) -> float:
    """Words of ``#`` comments for 100 lines of code; docstrings, blank lines and directives (noqa) do not count."""
    words, lines = 0, set[int]()
    before = tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        text = re.sub(r"#\s*(?:noqa|type:|fmt:|shellcheck).*", "", token.string)
        if token.type == tokenize.COMMENT:
            words += len(re.findall(r"[^\W_]+(?:['-][^\W_]+)*", text))
        elif token.type == tokenize.STRING and before in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            continue  # a docstring
        elif token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            lines.update(range(token.start[0], token.end[0] + 1))
        if token.type not in (tokenize.NL, tokenize.COMMENT):
            before = token.type
    return 100 * words / max(1, len(lines))


def hardest(count: int = 20) -> list[tuple[int, float, str]]:
    """Branches, comment words for 100 lines and name of the ``count`` modules of the wheel with most branches."""
    found = []
    for stage in ("plugins", "runtime", "train", "export"):
        for path in (ROOT / stage).rglob("*.py"):
            source = path.read_text(encoding="utf-8")
            found.append((branches(source), comment_words(source), os.path.relpath(path, ROOT)))
    return sorted(found, reverse=True)[:count]


def main() -> int:
    """Print what was found; returns 1 if a word was found."""
    if sys.argv[1:] == ["--comments"]:
        for branching, words, name in hardest():
            print(f"{name:<44} {branching:3d} branches, {words:3.0f} words of comments for 100 lines")
        return 0
    found = list(findings([Path(name) for name in sys.argv[1:]] or tracked()))
    print("\n".join(found), end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
