"""`run` with ``stop`` and ``on_block``: a caller stops a run and gets its blocks, without a class of the core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from swin2sr_ops.errors import RequestError, Stopped
from swin2sr_ops.events import Event
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.job import prepare
from swin2sr_ops.run.pipeline import Here
from swin2sr_ops.run.run import run
from swin2sr_ops.spec import ModelSpec


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, rng.integers(0, 255, (2, 150, 130)).astype("u1"))
    return path


class Observing(Here):
    """An executor of a host's own; it knows nothing of ``stop``."""


@pytest.mark.parametrize("executor", [None, Observing()], ids=["this process", "an executor"])
def test_stopped_and_resumed(source: Path, gray_model: ModelSpec, tmp_path: Path, executor: Here | None) -> None:
    out, whole = tmp_path / "out.zarr", tmp_path / "whole.zarr"
    options: dict[str, Any] = {"model": gray_model, "tile": 64, "chunks": 128}
    run(prepare(str(source), RestoreRequest(**options)), whole)
    done: list[str] = []

    def progress(event: Event) -> None:
        done.extend(["tile"] * (event.kind == "tile"))

    with pytest.raises(Stopped):
        run(
            prepare(str(source), RestoreRequest(**options)),
            out,
            progress=progress,
            stop=lambda: len(done) >= 4,
            executor=executor,
        )
    assert not out.exists()
    report = run(prepare(str(source), RestoreRequest(**options)), out)
    assert 4 <= report.resumed < report.tiles
    np.testing.assert_array_equal(zarr.open_group(out)["0"][:], zarr.open_group(whole)["0"][:])


def test_stopped_at_once(source: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    """It also stops while the range is computed; an output without pixels is removed."""
    with pytest.raises(Stopped):
        run(
            prepare(str(source), RestoreRequest(model=gray_model, range="p1,p99")),
            tmp_path / "o.zarr",
            stop=lambda: True,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tif"]


def test_blocks_are_those_of_the_output(source: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    seen = np.zeros((2, 300, 260), "u1")
    regions = []

    def look(region: tuple[slice, ...], block: np.ndarray) -> None:
        regions.append(region)
        seen[region] = block

    run(prepare(str(source), RestoreRequest(model=gray_model, tile=64)), tmp_path / "o.zarr", on_block=look)
    np.testing.assert_array_equal(zarr.open_group(tmp_path / "o.zarr")["0"][:], seen)
    assert len({str(region) for region in regions}) == len(regions) == 2 * 9


def test_blocks_do_not_travel(source: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    job = prepare(str(source), RestoreRequest(model=gray_model))
    with pytest.raises(RequestError, match="on_block cannot be used with an executor"):
        run(job, tmp_path / "o.zarr", on_block=lambda *_: None, executor=Here())
