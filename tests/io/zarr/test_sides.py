"""Arrays beside an image stand in one table: names of a run, options of the sink, paths and types of the file."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import zarr

from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.zarr.ngff import label_attributes
from swin2sr_ops.io.zarr.sides import SIDE_ARRAYS
from swin2sr_ops.io.zarr.sink import create_sink
from swin2sr_ops.pixels.intervals import Interval
from swin2sr_ops.pixels.trust import Trust
from swin2sr_ops.run.sides import Sides

INFO = ImageInfo(shape=(40, 50), axes="YX", dtype=np.dtype("u2"), chunks=(40, 50))


def test_one_table() -> None:
    unused = object.__new__
    every = Sides(context=True, spread=True, interval=unused(Interval), trust=unused(Trust))
    assert set(every.names) == set(SIDE_ARRAYS)
    assert set(SIDE_ARRAYS) <= set(inspect.signature(create_sink).parameters)
    shape = (3, 4)
    assert {name: array.dtype for name, array in every.of_opacity(shape).items()} == {
        name: np.dtype(side.dtype) for name, side in SIDE_ARRAYS.items() if name != "context"
    }


@pytest.mark.parametrize("name", SIDE_ARRAYS)
@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
def test_each_is_written_where_the_table_says(name: str, ngff: str, tmp_path: Path) -> None:
    side, region = SIDE_ARRAYS[name], (slice(0, 40), slice(0, 50))
    sink = create_sink(str(tmp_path / "a.ome.zarr"), INFO, ngff=ngff, **{name: True})  # type: ignore[arg-type]
    assert sink is not None
    values = np.ones((40, 50), side.dtype)
    sink.write(region, np.ones((40, 50), "u2"), **{name: values})
    sink.finish({})
    root = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    array = root[side.path]
    assert array.dtype == np.dtype(side.dtype)
    np.testing.assert_array_equal(array[:], values)
    content = root[side.group].attrs.asdict()
    assert "multiscales" in (content["ome"] if ngff == "0.5" else content)
    labels = root["labels"].attrs.asdict() if side.label else {}
    assert ((labels["ome"] if ngff == "0.5" else labels)["labels"] if labels else []) == [side.label][: len(labels)]
    assert not side.label or label_attributes(INFO, version=ngff, name=side.label)
