"""Renames and removals that another program delays, as virus scanners do on Windows."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import swin2sr_ops
from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.output import lock
from swin2sr_ops.io.output.lock import FileLock
from swin2sr_ops.io.storage import moves
from swin2sr_ops.spec import ModelSpec
from tests.run.test_archive import tree


class Scanner:
    """Block every file once, just after its creation."""

    def __init__(self, patch: pytest.MonkeyPatch, times: int = 1) -> None:
        self.times, self.seen = times, dict[str, int]()
        patch.setattr(moves, "WINDOWS", True)
        patch.setattr(moves, "PAUSES", (0.0,) * 3)
        patch.setattr(os, "replace", self.holding(os.replace))
        patch.setattr(Path, "replace", lambda old, new: os.replace(old, new))
        patch.setattr(Path, "unlink", self.holding(Path.unlink))
        patch.setattr(shutil, "rmtree", self.holding(shutil.rmtree))

    def holding(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def held(path: Any, *args: Any, **kwargs: Any) -> Any:
            key = f"{change.__name__} {args[0] if change.__name__ == 'replace' else path}"
            count = self.seen[key] = self.seen.get(key, 0) + 1
            if count <= self.times and os.path.lexists(path):
                raise PermissionError(13, "used by another process", str(path))
            return change(path, *args, **kwargs)

        return held


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(1, 250, (70, 100)).astype("u1"))
    return path


@pytest.mark.parametrize("name", ["o.ome.zarr", "o.ome.tif", "o.png"])
def test_a_scanner_delays_and_does_not_stop_a_run(
    name: str, source: Path, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"model": gray_model, "tile": 32, "chunks": 64}
    swin2sr_ops.restore_image(source, tmp_path / f"whole_{name}", **options)
    (tmp_path / name).write_bytes(b"an old output")
    with monkeypatch.context() as patch:
        scanner = Scanner(patch)
        swin2sr_ops.restore_image(source, tmp_path / name, overwrite=True, **options)
        assert sum(scanner.seen.values()) > 10
    if name.endswith("zarr"):
        assert tree(tmp_path / name) == tree(tmp_path / f"whole_{name}")
    else:
        assert (tmp_path / name).read_bytes() == (tmp_path / f"whole_{name}").read_bytes()


def test_a_folder_without_rights_is_reported(
    source: Path, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Scanner(monkeypatch, times=99)
    with pytest.raises(OutputError, match=r"cannot be written: used by another process"):
        swin2sr_ops.restore_image(source, tmp_path / "o.ome.zarr", model=gray_model)


@pytest.mark.parametrize("others", [False, True], ids=["alone", "opened by another run"])
def test_an_open_lock_file_is_not_removed_on_windows(
    others: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WINDOWS", True)
    path, mine = tmp_path / "o.lock", FileLock(tmp_path / "o.lock", "o")
    mine.acquire()
    unlink = Path.unlink

    def refusing(self: Path, missing_ok: bool = False) -> None:
        if self == path and path.exists() and (mine._held.is_locked if mine._held is not None else others):
            raise PermissionError(13, "used by another process", str(path))
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refusing)
    mine.release()
    assert path.exists() == others
    second = FileLock(path, "o")
    second.acquire()
    second.release()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Scanner(monkeypatch)
    target = tmp_path / "facts.json"
    target.write_text("old")
    with pytest.raises(TypeError, match="must be str"), moves.replacing(target) as part:
        part.write_text(12)  # type: ignore[arg-type]
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("facts.json", "old")]
    with moves.replacing(target) as part:
        part.write_text("new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("facts.json", "new")]


@pytest.mark.skipif(os.name == "nt", reason="POSIX rights")
def test_new_files_have_the_rights_that_the_user_gives_new_files(
    tmp_path: Path, gray_model: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caches, models and exports can be read by a group that shares a folder: files of `tempfile` are private."""
    from swin2sr_ops.engine.runner import without_history
    from swin2sr_ops.export.weights import export_safetensors
    from swin2sr_ops.hooks.models import load_model
    from swin2sr_ops.weights import facts
    from swin2sr_ops.weights.save import save_model

    monkeypatch.setattr(facts, "cache_folder", lambda: tmp_path / "cache")
    before = os.umask(0o027)
    try:
        facts.remember_facts("reach", "key", {"a": 1})
        save_model(tmp_path / "a.safetensors", load_model(gray_model), without_history(gray_model))
        export_safetensors(gray_model, tmp_path / "b.safetensors")
    finally:
        os.umask(before)
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(found) == 3
    assert {oct(path.stat().st_mode & 0o777) for path in found} == {"0o640"}
    assert facts.remembered_facts("reach", "key") == {"a": 1}


def test_a_fact_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from swin2sr_ops.weights import facts

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(facts, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(moves, "replace_path", full)
    facts.remember_facts("reach", "key", {"a": 1})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    """As a device does, such as /dev/stdout: a report once took the place of a device."""
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with moves.replacing(pipe) as part:
        part.write_bytes(b"a report")
    reader.join(20)
    assert read == [b"a report"]
    assert pipe.is_fifo()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link.json", tmp_path / "there" / "real.json"
    link.symlink_to(target)
    for content in (b"first", b"2nd"):
        with moves.replacing(link) as part:
            part.write_bytes(content)
        assert target.read_bytes() == content
        assert link.is_symlink()
    with pytest.raises(FileNotFoundError), moves.replacing(link) as part:
        part.rename(tmp_path / "there" / "stolen")
    (tmp_path / "there" / "stolen").unlink()
    assert target.read_bytes() == b"2nd"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "there"]
