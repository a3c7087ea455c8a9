"""The documents name files that exist and variables that are read; the picture is what its script draws."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
from pathlib import Path

import pytest

from mutualformer.runtime.cli import VERBS

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("plugins", "runtime", "train", "export", "tests", "tools", "docs", "examples")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "plugins" / "README.md"])
BUILD = {"MUTUALFORMER_ARCHITECTURES", "MUTUALFORMER_GENERATED", "MUTUALFORMER_SANITIZE"}  # CMake's, not environment
MACROS = {"MUTUALFORMER_EXPORT", "MUTUALFORMER_CUBINS"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = set(re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*\w)`", text))
    missing = [name for name in paths if "NAME" not in name and not (ROOT / name).exists()]
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)\)", text)
    missing += [link for link in links if not (page.parent / link).exists()]
    assert not missing, f"{page.name} names {missing}"


@pytest.mark.parametrize("page", ["README.md", "docs/train.md", "docs/data.md"])
def test_commands_that_a_page_shows_are_understood(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every line ``mutualformer VERB …`` in a block of shell goes through the verb's own parser."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("mutualformer ")]
    assert len(commands) >= 3
    for verb, *words in commands:
        parser = importlib.import_module(VERBS[verb].module).parser()
        try:
            parser.parse_args(words)
        except SystemExit:
            pytest.fail(f"{page}: mutualformer {verb} {' '.join(words)}: {capsys.readouterr().err}")


def test_every_variable_is_in_the_table() -> None:
    sources = [path for folder in FOLDERS[:5] for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".cpp")]
    read = {name for path in sources for name in re.findall(r"MUTUALFORMER_[A-Z0-9_]+", path.read_text("utf-8"))}
    table = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    written = set(re.findall(r"MUTUALFORMER_[A-Z0-9_]+", table))
    assert read - MACROS - written == set()
    assert written - BUILD - read == set(), "the table names what nobody reads"


def test_the_architecture_picture_is_what_its_script_draws() -> None:
    picture = runpy.run_path(str(ROOT / "tools" / "architecture.py"))["picture"]
    assert (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8") == picture()
