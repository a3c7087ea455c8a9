"""The command itself: help everywhere, also without the extras; misspelt verbs; errors as sentences."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import mutualformer
from mutualformer.runtime import cli
from mutualformer.runtime.commandline import running
from tests.runtime.fakes import write_model
from tests.runtime.prediction.conftest import write_pictures

ROOT = Path(mutualformer.__file__).resolve().parents[1]

# Run first in a fresh interpreter: the packages of every extra cannot be imported.
BLOCK = """
import importlib.machinery, sys
from mutualformer.runtime.cli import main
from mutualformer.extras import EXTRAS
find = importlib.machinery.PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.split(".")[0] in EXTRAS else find(name, path, target)
importlib.machinery.PathFinder.find_spec = find_spec
sys.exit(main(sys.argv[1:]))
"""


def run_without_extras(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in an interpreter that has the base dependencies only."""
    return subprocess.run(
        [sys.executable, "-c", BLOCK, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_itself_with_the_base_dependencies_only(verb: str) -> None:
    run = run_without_extras("help", verb)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"usage: mutualformer {verb}")
    assert run.stderr == ""


@pytest.mark.parametrize("name", ["export/to_onnx.py", "export/to_trt.py", "train/fit.py"])
def test_a_checkout_s_scripts_run_as_files(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / name), "--help"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"usage: mutualformer {Path(name).stem}")


def test_a_package_that_is_missed_late_is_named_with_its_extra(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"x")
    run = run_without_extras("evaluate", str(weights), "--data", "synthetic:1")
    assert run.returncode == 1
    assert "[train]" in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_a_verb_that_needs_an_extra_says_which_in_one_line() -> None:
    run = run_without_extras("fit", "sod-nano", "--data", "synthetic:4", "--out", "nowhere")
    assert run.returncode == 1
    assert run.stderr.startswith("mutualformer fit")
    assert "[train]" in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_importing_the_package_is_quick_and_pulls_in_nothing() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import mutualformer; spent = time.perf_counter() - start;"
        "print(spent, [m for m in ('torch', 'numpy', 'cv2', 'onnxruntime') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    spent, modules = run.stdout.split(maxsplit=1)
    assert float(spent) < 0.3
    assert modules.strip() == "[]"


def test_the_public_names_are_there() -> None:
    for name in mutualformer.__all__:
        assert getattr(mutualformer, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = mutualformer.lod


@pytest.mark.parametrize(
    ("word", "meant"), [("predit", "predict"), ("to-onnx", "to_onnx"), ("evalute", "evaluate"), ("dokter", "doctor")]
)
def test_a_misspelt_verb_is_answered_with_the_one_that_was_meant(
    word: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([word]) == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err


def test_a_word_like_no_verb_lists_them_and_shows_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["\x1b[2Jzzzz"]) == 2
    said = capsys.readouterr().err
    assert "expected one of predict, stream" in said
    assert "\x1b" not in said


@pytest.mark.parametrize("arguments", [["--version"], ["-V"], ["version"]])
def test_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.startswith(f"mutualformer {mutualformer.__version__} (Python ")


def test_usage_goes_to_where_it_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "usage: mutualformer VERB" in capsys.readouterr().err
    assert cli.main(["help", "--all"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in cli.VERBS)


def test_six_verbs_stand_first_and_the_others_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help"]) == 0
    out = capsys.readouterr().out
    shown = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert shown == ["predict", "stream", "models", "fit", "export", "doctor"]
    (rest,) = (line for line in out.splitlines() if line.endswith("mutualformer help --all"))
    assert set(rest.partition(":")[0].split(", ")) == set(cli.VERBS) - set(shown)


def test_a_terminal_without_unicode_gets_codes_and_no_traceback() -> None:
    run = run_without_extras("--help", PYTHONIOENCODING="ascii")
    assert run.returncode == 0
    assert "usage: mutualformer VERB \\u2026" in run.stdout


class _OursError(ValueError):
    __module__ = "mutualformer.somewhere"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (_OursError("the file\nis \x1b[31mred"), 1, "test: error: the file is \\x1b[31mred\n"),
        (ValueError("foreign"), 1, "test: error: ValueError: foreign\n"),
        (ModuleNotFoundError("x", name="ray.data"), 1, "[ray]"),
        (KeyError("inside"), 1, "this is a fault of the program"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "MemoryError"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(args: argparse.Namespace) -> int:
        raise error

    assert running.run_verb(argparse.ArgumentParser(prog="test"), command, []) == code
    printed = capsys.readouterr().err
    assert said in printed
    assert len(printed.strip().splitlines()) == 1


def test_a_reader_that_goes_away_is_no_error_of_ours() -> None:
    verbose = f"{sys.executable} -c {BLOCK!r} bench --help"
    code = f"{verbose} | head -c 1 > {os.devnull}; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "Traceback" not in run.stderr


def test_log_lines_are_sentences_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    running.prepare_output()
    logging.getLogger("mutualformer").warning("%s: odd", "na\x1b[2Jme")
    assert capsys.readouterr().err == "na\\x1b[2Jme: odd\n"


@pytest.mark.slow
def test_evaluating_predicting_and_checking_need_no_extra(tmp_path: Path) -> None:
    """What a person without PyTorch does: every exit code 0, every result there."""
    model = write_model(tmp_path / "red.onnx", (32, 48))
    write_pictures(tmp_path / "set", 3, depth=True)
    (tmp_path / "set/GT").mkdir()
    for index in range(3):
        mask = np.zeros((40, 60), np.uint8)
        mask[10:30, 10:40] = 255
        assert cv2.imwrite(str(tmp_path / f"set/GT/{index}.png"), mask)
    data, out = str(tmp_path / "set"), str(tmp_path / "out")
    for arguments in (
        ["evaluate", str(model), "--data", data, "--out", out],
        ["predict", data, "--model", str(model), "--out", out],
        ["data", "check", data],
        ["models"],
    ):
        run = run_without_extras(*arguments)
        assert run.returncode == 0, (arguments, run.stderr)
    assert (tmp_path / "out/metrics.json").is_file()
    assert (tmp_path / "out/mask/2.png").is_file()
    # The stand-in has no layer to be of any precision, which parity rightly reports; but it compares and writes.
    run = run_without_extras("parity", str(model), str(model), "--data", data, "--out", out)
    assert "max abs 0.00e+00" in run.stdout
    assert (tmp_path / "out/report.html").is_file()


def test_ctrl_c_while_modules_are_imported_is_an_interruption_and_no_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Modules in C turn the KeyboardInterrupt that strikes them into an ImportError."""

    def command(args: argparse.Namespace) -> int:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None
        return 0

    assert running.run_verb(argparse.ArgumentParser(prog="test"), command, []) == 130
    assert capsys.readouterr().err == "interrupted\n"
    (tmp_path / "slow_to_import.py").write_text("import os, signal, time\nos.kill(os.getpid(), 2)\ntime.sleep(5)\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert running.run_module("slow_to_import", "test", []) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    ("number", "code", "says"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_verb_that_is_ended_leaves_nothing_half_written(tmp_path: Path, number: int, code: int, says: str) -> None:
    program = (
        "import argparse, os, sys, time\n"
        "from mutualformer.runtime.commandline import running\n"
        "from mutualformer.runtime.files import replacing\n"
        "def command(args):\n"
        f"    with replacing({str(tmp_path / 'whole')!r}) as beside:\n"
        "        beside.write_bytes(b'half')\n"
        "        print('begun', flush=True)\n"
        "        time.sleep(60)\n"
        "    return 0\n"
        "sys.exit(running.run_verb(argparse.ArgumentParser(prog='test'), command, []))\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "begun\n"
    run.send_signal(number)
    _, errors = run.communicate(timeout=30)
    assert (run.returncode, errors) == (code, f"{says}\n")
    assert list(tmp_path.iterdir()) == []
