"""A job's pieces: every pixel of every plane once, each piece known by its number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.job import Job, prepare
from swin2sr_ops.spec import ModelSpec


def check_pieces(job: Job) -> None:
    pieces = list(job.pieces())
    assert len(pieces) == job.count
    assert [job.piece(number) for number in (0, job.count // 2, job.count - 1)] == [
        pieces[0], pieces[job.count // 2], pieces[-1],
    ]  # fmt: skip
    covered = np.zeros(job.output.shape, int)
    for piece in pieces:
        for band in piece.bands or (None,):
            index = list(piece.write)
            if band is not None and job.order.channel is not None:
                index[job.order.channel] = slice(band, band + 1)
            covered[tuple(index)] += 1
    assert (covered == 1).all()
    firsts = [tuple(part.start for a, part in enumerate(p.write) if a in job.order.planes) for p in pieces]
    assert firsts == sorted(firsts)


def test_planes_that_are_restored_alone(gray_model: ModelSpec, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", np.zeros((2, 3, 40, 50), "u2"), imagej=True, metadata={"axes": "ZCYX"})
    job = prepare(tmp_path / "in.tif", RestoreRequest(model=gray_model, tile=16))
    assert job.count == 2 * 3 * 3 * 4
    check_pieces(job)


def test_bands_that_are_restored_together(rgb_model: ModelSpec, gray_model: ModelSpec, tmp_path: Path) -> None:
    pytest.importorskip("rasterio", reason="GeoTIFF needs rasterio")
    from tests.run.test_geo import write

    src = write(tmp_path / "in.tif", np.ones((5, 40, 50), "u2"), "undefined blue green red alpha")
    job = prepare(src, RestoreRequest(model=f"{rgb_model.weights},{gray_model.weights}", tile=16))
    assert job.count == 3 * 3 * 4
    check_pieces(job)


def test_warnings_about_the_source_are_kept(gray_model: ModelSpec, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", np.zeros((3, 40, 50), "u2"), photometric="minisblack")
    assert prepare(tmp_path / "in.tif", RestoreRequest(model=gray_model, axes="TYX", series=0)).reading == {
        "axes": "TYX"
    }
    assert prepare(tmp_path / "in.tif", RestoreRequest(model=gray_model)).reading == {}
