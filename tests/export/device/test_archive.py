"""Archives refuse what could leave their folder, hide, or mean something to a shell."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutualformer.export.device.archive import check_member, write_archive
from mutualformer.export.errors import ExportError

UNSAFE = [
    "",
    "/etc/passwd",
    "../escape",
    "a/../../escape",
    "a//b",
    "./a",
    "a/.hidden",
    "a\\b",
    "a b",
    "a\nb",
    "$(touch hacked)",
    "`id`",
    "-rf",
    "a\x00b",
    "ü",
    "a" * 300,
]


@pytest.mark.parametrize("path", UNSAFE, ids=repr)
def test_unsafe_members_are_refused_before_anything_is_written(tmp_path: Path, path: str) -> None:
    with pytest.raises(ExportError, match="is refused"):
        write_archive(tmp_path / "x.tar.gz", "folder", {"fine": b"", path: b""})
    with pytest.raises(ExportError):
        write_archive(tmp_path / "x.tar.gz", path, {"fine": b""})
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=40))
def test_what_is_accepted_stays_inside(path: str) -> None:
    """Whatever passes is a relative path of ordinary names."""
    try:
        check_member(path)
    except ExportError:
        return
    parts = path.split("/")
    assert all(part and part not in (".", "..") and part.isascii() for part in parts)
    assert not path.startswith(("/", "-"))


def test_accepted_names_arrive(tmp_path: Path) -> None:
    write_archive(tmp_path / "x.tar.gz", "folder", {"a/b-1.2+c_d": b"1", "run.sh": b"2"})
    with tarfile.open(tmp_path / "x.tar.gz") as tar:
        assert tar.getnames() == ["folder/SHA256SUMS", "folder/a/b-1.2+c_d", "folder/run.sh"]
