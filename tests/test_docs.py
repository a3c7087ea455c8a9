"""The documentation names files that exist, its commands run, and it stays short; its picture is what the script draws.

A block of shell commands runs here, unless the line above it in the page's source is ``<!-- not run: REASON -->``. The
options of those blocks are checked by the verbs' own parsers.
"""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

import mutualformer
from mutualformer.runtime.cli import VERBS, main
from mutualformer.runtime.sources import opening

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("plugins", "runtime", "train", "export", "tests", "tools", "docs", "examples", "lab")
MANUAL = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*MANUAL, *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "CHANGELOG", "SECURITY"))]
PAGES += [ROOT / "plugins" / "README.md", *sorted((ROOT / "lab").glob("**/*.md"))]
BUILD = {"MUTUALFORMER_ARCHITECTURES", "MUTUALFORMER_GENERATED", "MUTUALFORMER_SANITIZE"}  # CMake's, not environment
MACROS = {"MUTUALFORMER_EXPORT", "MUTUALFORMER_CUBINS"}

# Appended to a page's own options, so that a training takes seconds. The last value of an option counts.
SHORTER = {
    "fit": "--steps 2 --batch 2 --side 64 --workers 0",
    "ablation": "--steps 1 --batch 2 --side 64 --workers 0 --seeds 1 --fusions cda",
}


@dataclass(frozen=True)
class Block:
    """One fenced block of shell: its commands, and why the tests do not run it ("" when they do)."""

    page: Path
    commands: tuple[str, ...]
    not_run: str


def blocks(page: Path) -> Iterator[Block]:
    """Every block of shell on the page. A backslash at the end joins two lines."""
    text = page.read_text(encoding="utf-8")
    for reason, body in re.findall(r"(?:<!-- not run: (.+) -->\n)?```sh\n(.*?)```", text, re.S):
        yield Block(page, tuple(body.replace("\\\n", " ").splitlines()), reason)


BLOCKS = [block for page in MANUAL for block in blocks(page)]
RUN = [page for page in MANUAL if any(not block.not_run for block in blocks(page))]


def name(page: Path) -> str:
    """The page's path in the repository, as the test's name."""
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = set(re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*\w)`", text))
    missing = [path for path in paths if "NAME" not in path and not (ROOT / path).exists()]
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)\)", text)
    missing += [link for link in links if not (page.parent / link).exists()]
    assert not missing, f"{page.name} names {missing}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_sections_that_a_page_links_to_exist(page: Path) -> None:
    for link, section in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        target = (page.parent / link if link else page).read_text(encoding="utf-8")
        titles = re.findall(r"^#+ (.*)$", target, re.M)
        anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
        assert section in anchors, f"{page.name}: {link}#{section}"


def test_the_manual_is_short() -> None:
    assert sum(len(page.read_text(encoding="utf-8").split()) for page in MANUAL) <= 12_000
    first_screen = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")[0]
    assert len(re.sub(r"<!--.*-->|[|#*`]|---|\]\(.*?\)", " ", first_screen).split()) < 150


@pytest.mark.parametrize("page", [*MANUAL[1:], *ROOT.glob("*.md")], ids=name)
def test_no_line_of_prose_is_longer_than_120_characters(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert {page.name for page in MANUAL if page.parent.name == "docs"} - set(re.findall(r"\((\w+\.md)\)", index)) == {
        "README.md"
    }


def options_of(command: str) -> tuple[str, list[str]] | None:
    """Verb and arguments of a command of ours, plainly or through torchrun; None for another program's."""
    words = shlex.split(command.split(" > ")[0], comments=True)
    if words[:1] == ["mutualformer"]:
        return words[1], words[2:]
    if "mutualformer.train.fit" in words:
        return "fit", words[words.index("mutualformer.train.fit") + 1 :]
    return None


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{name(block.page)}: {block.commands[0]}")
def test_options_that_a_page_shows_are_understood(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for command in block.commands:
        words = shlex.split(command, comments=True)
        if words[:1] == ["make"]:
            assert words[1] in targets
        found = options_of(command)
        if found is None:
            assert block.not_run or words[0] == "make", f"{block.page.name}: why is {command} not run?"
            continue
        verb, arguments = found
        try:
            importlib.import_module(VERBS[verb][0]).parser().parse_args(arguments)
        except SystemExit:
            pytest.fail(f"{block.page.name}: {command}: {capsys.readouterr().err}")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages talk of: a photograph, a pair, two small data sets."""
    folder = tmp_path_factory.mktemp("desk")
    for target, seed, count in (("mine", 11, 12), ("mine_test", 12, 3)):
        scenes = opening.frames(f"synthetic:{count}?seed={seed}")
        for index in range(len(scenes)):
            frame = scenes[index]
            assert frame.mask is not None
            stored = {
                "RGB": (".jpg", frame.rgb[..., ::-1]),
                "depth": (".png", np.clip(frame.depth * 1000 + 0.5, 0, 65535).astype(np.uint16)),
                "GT": (".png", (frame.mask > 0).astype(np.uint8) * 255),
            }
            for kind, (ending, pixels) in stored.items():
                (folder / target / kind).mkdir(parents=True, exist_ok=True)
                small = cv2.resize(pixels, (160, 120), interpolation=cv2.INTER_NEAREST)
                cv2.imwrite(str(folder / target / kind / f"kitchen-{index}{ending}"), small)
    (folder / "photos").mkdir()
    for source, copy in (("RGB/kitchen-0.jpg", "photo.jpg"), ("RGB/kitchen-1.jpg", "photos/one.jpg")):
        (folder / copy).write_bytes((folder / "mine" / source).read_bytes())
    (folder / "photos/two.jpg").write_bytes((folder / "mine/RGB/kitchen-2.jpg").read_bytes())
    cv2.imwrite(str(folder / "rgb.png"), cv2.imread(str(folder / "mine/RGB/kitchen-0.jpg")))
    (folder / "depth.png").write_bytes((folder / "mine/depth/kitchen-0.png").read_bytes())
    return folder


@pytest.fixture(scope="module")
def done() -> set[str]:
    """Commands that a page has run already."""
    return set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [pytest.param(page, id=name(page), marks=[pytest.mark.full] * (page.name == "start.md")) for page in RUN]
)
def test_commands_that_a_page_shows_run(
    page: Path,
    desk: Path,
    done: set[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(desk)
    for command in (command for block in blocks(page) if not block.not_run for command in block.commands):
        found = options_of(command)
        if found is None or command in done:
            continue
        done.add(command)
        verb, arguments = found
        shorter = SHORTER.get(verb, "").split()
        if "--resume" in arguments and shorter:
            shorter[1] = "3"  # one step more than the run that goes on
        capsys.readouterr()
        code = main([verb, *arguments, *shorter])
        said = capsys.readouterr()
        assert code == 0, f"{command}: exit {code}\n{said.out[-1000:]}\n{said.err[-2000:]}"
        if " > " in command:
            Path(command.split(" > ")[1].strip()).write_text(said.out, encoding="utf-8")


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "predict.md"], ids=name)
def test_python_that_a_page_shows_runs(page: Path, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    for body in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        exec(compile(body, str(page), "exec"), {})
    assert (desk / "out/mask/photo.png").is_file()


def test_the_check_of_words_finds_a_replaced_word_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("One door for all.\nCorrupt files are refused.\nIt is said once.\nTwo that cannot be told apart.\n")
    found = list(runpy.run_path(str(ROOT / "tools" / "words.py"))["findings"]([page]))
    assert [line.split("page.md:")[1].split(",")[0] for line in found] == ["1: 'door'", "3: 'is said'"]


def test_every_variable_is_in_the_table() -> None:
    sources = [path for folder in FOLDERS[:5] for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".cpp")]
    read = {found for path in sources for found in re.findall(r"MUTUALFORMER_[A-Z0-9_]+", path.read_text("utf-8"))}
    table = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    written = set(re.findall(r"MUTUALFORMER_[A-Z0-9_]+", table))
    assert read - MACROS - written == set()
    assert written - BUILD - read == set(), "the table names what nobody reads"


def test_the_newest_release_of_the_changelog_is_this_version() -> None:
    releases = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)[1:]
    assert releases[0].split()[0] == mutualformer.__version__
    for release in releases:
        assert sum(line.startswith("- ") for line in release.splitlines()) <= 10


def test_the_architecture_picture_is_what_its_script_draws() -> None:
    picture = runpy.run_path(str(ROOT / "tools" / "architecture.py"))["picture"]
    assert (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8") == picture()
