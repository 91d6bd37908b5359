"""Paths as users write them, by the rules of both systems."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import swin2sr_ops
from swin2sr_ops.audit import audit
from swin2sr_ops.batch.collect import collect
from swin2sr_ops.batch.sources import find
from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.storage import paths
from swin2sr_ops.io.storage.paths import is_url, local_path, path_of_url, unreadable, user_path, without_separator


@pytest.mark.parametrize(
    ("url", "windows", "posix"),
    [
        ("file:///C:/data/a%20b.tif", "C:/data/a b.tif", "/C:/data/a b.tif"),
        ("file:///c|/data/a.tif", "c:/data/a.tif", "/c|/data/a.tif"),
        ("file://C:/data/a.tif", "C:/data/a.tif", "/data/a.tif"),
        ("file://localhost/C:/a.tif", "C:/a.tif", "/C:/a.tif"),
        ("file://server/share/a.tif", "//server/share/a.tif", "/share/a.tif"),
        ("file:///data/a.tif", "/data/a.tif", "/data/a.tif"),
    ],
)
def test_file_urls(url: str, windows: str, posix: str) -> None:
    assert path_of_url(url, windows=True) == windows
    assert path_of_url(url, windows=False) == posix


def test_drives_are_not_schemes() -> None:
    assert not is_url("C://data/a.tif")
    assert not is_url(r"C:\data\a.tif")
    assert is_url("s3://bucket/a.zarr")
    assert local_path(r"C:\data\a.tif") == Path(r"C:\data\a.tif")
    assert local_path("s3://bucket/a.zarr") is None
    assert local_path("FILE:///data/a.tif") == Path("/data/a.tif")


def test_trailing_backslashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert without_separator("C:\\out.zarr\\", windows=True) == "C:\\out.zarr"
    assert without_separator("out.zarr//", windows=True) == "out.zarr"
    assert without_separator("s3://bucket/a\\", windows=True) == "s3://bucket/a\\"
    assert without_separator("a\\", windows=False) == "a\\"
    monkeypatch.setattr(paths, "WINDOWS", True)
    (tmp_path / "a.tif").touch()
    (entry,) = collect([str(tmp_path / "a.tif")], f"{tmp_path}/out.ome.zarr\\", series=0)
    assert entry.output.rstrip("\\").endswith("out.ome.zarr")
    assert not entry.ending  # one output, no folder of outputs


def test_names_that_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / "in").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(tmp_path)
    Path("~root").touch()
    Path("~").mkdir()
    Path("~/a.tif").touch()
    assert user_path("~root") == Path("~root")
    assert user_path("~/a.tif") == Path("~/a.tif")
    assert user_path("~/in/a.tif") == home / "in/a.tif"
    assert user_path("~no-such-user.zarr") == Path("~no-such-user.zarr")


def test_sources_that_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "~root.tif").touch()
    (folder / "list.txt").write_text("\N{ZERO WIDTH NO-BREAK SPACE}~root.tif\n", encoding="utf-8")  # as Notepad does
    monkeypatch.chdir(tmp_path)
    assert [source.uri for source in find(["@images/list.txt"])] == ["images/~root.tif"]
    monkeypatch.chdir(folder)
    assert [Path(source.uri).name for source in find(["~root.tif", "*.tif", "."])] == ["~root.tif"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_why_something_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loop.tif").symlink_to(tmp_path / "loop.tif")
    (tmp_path / "dead.tif").symlink_to("nowhere.tif")
    (tmp_path / "a.tif").touch()
    os.mkfifo(tmp_path / "pipe.tif")
    sentences = {
        "none.tif": r"There is no file or folder at .*none\.tif'\.$",
        "loop.tif": "its links form a loop",
        "dead.tif": "it is a link to 'nowhere.tif', which is missing",
        "pipe.tif": "is a pipe, and images are read in parts, several times: save it as a file",
        "a.tif": "cannot be read: this user has no right to",
    }
    assert unreadable(tmp_path / "a.tif", "a.tif") == ""
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    for name, sentence in sentences.items():
        with pytest.raises(FormatError, match=sentence):
            swin2sr_ops.open_source(tmp_path / name)


def test_a_closed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "stat", denied)
    assert "cannot be reached (Permission denied): check its name, and the rights" in unreadable(
        tmp_path / "a.tif", "a.tif"
    )


@pytest.mark.parametrize(
    "call", [swin2sr_ops.open_source, audit, lambda path: swin2sr_ops.restore_image(path, "o.zarr")]
)
def test_an_empty_name_is_not_the_working_folder(call: Callable[[str], object]) -> None:
    """An unset variable of a shell gives one."""
    with pytest.raises(RequestError, match="is an empty text: give a path or a URL"):
        call("")


@pytest.mark.parametrize(("words", "dst"), [([""], "out"), (["a.tif", ""], "out"), (["a.tif"], "")])
def test_an_empty_word_of_a_command_is_not_the_working_folder(words: list[str], dst: str) -> None:
    with pytest.raises(RequestError, match="is an empty text"):
        collect(words, dst)


def test_standard_output_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="'-' is not an output"):
        collect([str(tmp_path)], "-")


def test_a_subfolder_that_cannot_be_listed_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.tif").touch()
    listed = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(FormatError, match=r"closed' cannot be searched for images \(Permission denied\)"):
        find([str(tmp_path)])
