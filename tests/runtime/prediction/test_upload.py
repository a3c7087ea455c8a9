"""``predict --page``: a server until Ctrl-C, and one sentence for what does not go with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from mutualformer.runtime.predict import main
from tests.runtime.prediction.conftest import write_pictures


def test_the_page_serves_until_ctrl_c(red: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mutualformer.runtime.cli",
        "predict",
        "--page",
        "127.0.0.1:0",
        "--model",
        str(red),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        name, url = process.stderr.readline().split()
        assert name == "page:"
        assert "ssh -L" in process.stderr.readline()
        with urlopen(url, timeout=10) as answer:
            assert b"drop.js" in answer.read()
        picture = (write_pictures(tmp_path, 1) / "0.png").read_bytes()
        with urlopen(Request(url + "predict", picture, {"X-Requested-With": "mutualformer"}), timeout=20) as answer:
            assert b'filename="cutout.png"' in answer.read()
    finally:
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=10)
    assert (process.returncode, rest) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photo.jpg", "--page", "8080"], "no SOURCE"),
        (["--page", "8080", "--model", "a", "--model", "b"], "one --model"),
        (["--page", "http"], "HOST:PORT"),
        ([], "SOURCE is missing"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    assert message in capsys.readouterr().err
