"""A batch: one bad image does not stop the rest, no image is restored twice, and the report is right."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import swin2sr_ops
from swin2sr_ops.batch import runner
from swin2sr_ops.batch.collect import collect
from swin2sr_ops.batch.report import STATES, BatchReport, ImageResult
from swin2sr_ops.batch.runner import hits_all, run_batch, run_entry
from swin2sr_ops.errors import ClusterError, FormatError, OutputError, TileError
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.spec import ModelSpec

from .helpers import plate_zarr

BAD = "in/c.tif"


@pytest.fixture
def request_of(gray_model: ModelSpec) -> RestoreRequest:
    return RestoreRequest(model=gray_model.weights, tile=16)


@pytest.fixture(autouse=True)
def images(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Six images, the third of them truncated."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    pixels = [rng.integers(0, 255, (20 + k, 24), dtype="u1") for k in range(6)]
    for name, image in zip("abcdef", pixels, strict=True):
        tifffile.imwrite(f"in/{name}.tif", image)
    whole = Path(BAD).read_bytes()
    Path(BAD).write_bytes(whole[: len(whole) // 2])
    return pixels


def states(report: BatchReport) -> list[str]:
    return [image.state for image in report.images]


def outputs() -> set[str]:
    return {p.name for p in Path("out").iterdir()} if Path("out").is_dir() else set()


def expected(names: str) -> set[str]:
    return {f"{name}_x2.ome.tif" for name in names}


def failing(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """`run` raises ``error`` for the image ``name``."""
    run = runner.run

    def fail(job: Any, dst: str, **options: Any) -> Any:
        if name in job.source.uri:
            raise error
        return run(job, dst, **options)

    monkeypatch.setattr(runner, "run", fail)


def test_one_bad_image_does_not_stop_the_rest(images: list[np.ndarray], request_of: RestoreRequest) -> None:
    report = run_batch(collect(["in"], "out"), request_of)
    assert states(report) == ["done", "done", "failed", "done", "done", "done"]
    assert (report.ok, report.stopped, report.counts) == (False, False, {"done": 5, "failed": 1})
    assert "in/c.tif" in report.images[2].reason
    assert "truncated" in report.images[2].reason
    assert outputs() == expected("abdef")
    whole = swin2sr_ops.restore(images[3], model=request_of.model).compute()
    np.testing.assert_array_equal(tifffile.imread("out/d_x2.ome.tif"), whole)


def test_a_second_run_does_nothing_again(request_of: RestoreRequest) -> None:
    entries = collect(["in/a.tif", "in/b.tif"], "out")
    run_batch(entries[:1], request_of)
    before = Path("out/a_x2.ome.tif").stat()
    report = run_batch(entries, request_of)
    assert states(report) == ["already", "done"]
    assert report.ok
    assert Path("out/a_x2.ome.tif").stat() == before


def test_outputs_keep_their_folders(request_of: RestoreRequest) -> None:
    Path("in/deep/er").mkdir(parents=True)
    Path("in/a.tif").rename("in/deep/er/a.tif")
    assert run_batch(collect(["in/deep/er/a.tif", "in/b.tif"], "out"), request_of).ok
    assert Path("out/deep/er/a_x2.ome.tif").is_file()
    assert Path("out/b_x2.ome.tif").is_file()


def test_fail_fast(request_of: RestoreRequest) -> None:
    report = run_batch(collect(["in"], "out"), request_of, fail_fast=True)
    assert states(report) == ["done", "done", "failed", *["not started"] * 3]
    assert not report.ok


def full_disk() -> OutputError:
    error = OutputError("The disk is full.")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    return error


@pytest.mark.parametrize("make", [full_disk, lambda: ClusterError("The cluster is gone.")])
def test_an_error_that_affects_all_images_ends_the_batch(
    request_of: RestoreRequest, monkeypatch: pytest.MonkeyPatch, make: Callable[[], Exception]
) -> None:
    failing(monkeypatch, "d.tif", make())
    report = run_batch(collect(["in"], "out"), request_of)
    assert states(report) == ["done", "done", "failed", "failed", "not started", "not started"]


def test_hits_all_looks_at_causes() -> None:
    wrapped = OutputError("kept")
    wrapped.__cause__ = full_disk()
    assert hits_all(wrapped)
    assert hits_all(ClusterError("gone"))
    assert not hits_all(FormatError("damaged"))
    denied = OutputError("denied")
    denied.__cause__ = PermissionError(errno.EACCES, "denied")
    assert not hits_all(denied)


def test_an_interrupt_is_reported(request_of: RestoreRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "b.tif", KeyboardInterrupt())
    report = run_batch(collect(["in"], "out"), request_of)
    assert states(report) == ["done", "stopped", *["not started"] * 4]
    assert report.stopped
    assert report.to_dict()["state"] == "stopped"


def test_an_unexpected_error_ends_one_image_only(request_of: RestoreRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "b.tif", ZeroDivisionError("a bug"))
    report = run_batch(collect(["in"], "out"), request_of)
    assert states(report)[:2] == ["done", "failed"]
    assert "not started" not in states(report)
    assert "unexpected ZeroDivisionError" in report.images[1].reason


def test_a_source_of_the_batch_is_never_replaced(request_of: RestoreRequest) -> None:
    """``a`` would become ``a_x2``, which is a source as well."""
    Path("in/b.tif").rename("in/a_x2.ome.tif")
    before = Path("in/a_x2.ome.tif").read_bytes()
    report = run_batch(collect(["in/a.tif", "in/a_x2.ome.tif"], "in"), request_of, overwrite=True)
    assert states(report) == ["failed", "done"]
    assert "a source of this batch" in report.images[0].reason
    assert Path("in/a_x2.ome.tif").read_bytes() == before


def test_events(request_of: RestoreRequest) -> None:
    events: list[Any] = []
    run_batch(collect(["in/a.tif", BAD], "out"), request_of, progress=events.append)
    kinds = [event.kind for event in events]
    assert kinds[0] == "image"
    assert [kinds.count(k) for k in ("image", "start", "end", "image end")] == [2, 1, 1, 2]
    ends = [event for event in events if event.kind == "image end"]
    assert [(e.done, e.total, e.source, e.state) for e in ends] == [
        (1, 2, "in/a.tif", "done"),
        (2, 2, BAD, "failed"),
    ]
    assert sum(e.pixels for e in events if e.kind == "tile") == ends[0].pixels == 40 * 48


def test_only_what_was_given_is_passed_on(request_of: RestoreRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    run = runner.run

    def watch(job: Any, dst: str, **options: Any) -> Any:
        seen.append({**options, "progress": None})
        return run(job, dst, progress=options["progress"])

    monkeypatch.setattr(runner, "run", watch)
    (entry,) = collect(["in/a.tif"], "a.zarr")
    run_entry(entry, request_of)
    run_entry(entry, request_of, overwrite=True, restart=True, output_options={"pyramid": False, "ngff": None})
    assert seen == [
        {"progress": None, "executor": None},
        {"progress": None, "executor": None, "overwrite": True, "restart": True, "pyramid": False},
    ]


def test_run_entry_raises(request_of: RestoreRequest) -> None:
    (entry,) = collect([BAD], "c.zarr")
    with pytest.raises(FormatError, match="truncated"):
        run_entry(entry, request_of)


# --- the report -------------------------------------------------------------------------------------


def test_report_for_programs_and_people(request_of: RestoreRequest) -> None:
    seen: list[dict[str, int]] = []
    report = run_batch(collect(["in/a.tif", BAD], "out"), request_of, after_each=lambda r: seen.append(r.counts))
    assert seen == [{"done": 1, "not started": 1}, {"done": 1, "failed": 1}]
    report.write("report.json")
    found = json.loads(Path("report.json").read_text())
    assert (found["state"], found["counts"]) == ("failed", {"done": 1, "failed": 1})
    assert found["model"] == report.model != ""
    good, bad = found["images"]
    assert (good["output"], good["state"], good["pixels"], good["tiles"]) == ("out/a_x2.ome.tif", "done", 1920, 4)
    assert good["seconds"] > 0
    assert good["settings"]["scale"] == 2
    assert (bad["source"], bad["state"]) == (BAD, "failed")
    assert "truncated" in bad["reason"]
    text = str(report)
    assert "failed: in/c.tif\n" in text
    assert "2 images: 1 restored, 1 failed in " in text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
def test_a_report_has_the_permissions_of_other_files(tmp_path: Path) -> None:
    Path("other").touch()
    before = os.umask(0o027)
    try:
        BatchReport([]).write("private.json")
    finally:
        os.umask(before)
    BatchReport([]).write("report.json")
    assert Path("report.json").stat().st_mode == Path("other").stat().st_mode
    assert stat.S_IMODE(Path("private.json").stat().st_mode) == 0o640


def test_states_are_counted_in_order() -> None:
    images = [ImageResult("s", "o", state) for state in (*reversed(STATES), "done")]
    assert BatchReport(images).counts == {"done": 2} | dict.fromkeys(STATES[1:], 1)
    assert BatchReport([ImageResult("s", "o", "already")]).ok


def test_a_report_replaces_the_old_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = BatchReport([ImageResult("s", "o", series=1)])
    report.write("report.json")
    before = Path("report.json").read_text()
    monkeypatch.setattr(json, "dump", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OutputError, match=r"report\.json.*cannot be written"):
        report.write("report.json")
    assert Path("report.json").read_text() == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".report")]
    with pytest.raises(OutputError, match="cannot be written"):
        report.write("nowhere/report.json")
    assert report.images[0].name == "s (series 1)"


def test_a_tile_error_is_one_image(request_of: RestoreRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "a.tif", TileError("y=0:16 failed"))
    assert states(run_batch(collect(["in/a.tif", "in/b.tif"], "out"), request_of)) == ["failed", "done"]


# --- archives ---------------------------------------------------------------------------------------


def test_an_archive_that_lacks_an_image(request_of: RestoreRequest) -> None:
    """The report says that the archive is unfinished, and what to do."""
    plate_zarr("p.zarr")
    Path("p.zarr/A/1/1/0/.zarray").unlink()
    report = run_batch(collect(["p.zarr", "in/a.tif"], "out"), request_of)
    assert states(report) == ["failed", "done"]
    assert not Path("out/p_x2.ome.zarr").exists()
    text = str(report)
    assert "failed: p.zarr\n        A/1/1: " in text
    assert "The restored part is kept (1 image). The same command tries the other again" in text
    assert "--allow-missing finishes without it." in text
    report = run_batch(collect(["p.zarr"], "out"), request_of, output_options={"allow_missing": True})
    assert states(report) == ["done"]
    assert "left out: 1 image of p.zarr\n        A/1/1: " in str(report)


def test_a_plate_is_one_image_of_the_batch(request_of: RestoreRequest) -> None:
    plate_zarr("p.zarr")
    events: list[Any] = []
    entries = collect(["p.zarr", "in/a.tif"], "out")
    report = run_batch(entries, request_of, output_options={"allow_missing": True}, progress=events.append)
    assert states(report) == ["done", "done"]
    assert report.images[0].pixels == 2 * 48 * 4
    assert swin2sr_ops.open_source("out/p_x2.ome.zarr/A/1/1").info.shape == (12, 16)
    kinds = [event.kind for event in events]
    assert [kinds.count(k) for k in ("image", "image end", "part", "part end")] == [2, 2, 2, 2]
    assert states(run_batch(entries, request_of)) == ["already", "already"]
