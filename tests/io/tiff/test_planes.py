"""Facts of single planes in OME-XML: stage positions, times and exposures follow the pixels."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from swin2sr_ops.io.tiff.planes import plane_attributes
from swin2sr_ops.io.tiff.sink import create_sink
from swin2sr_ops.io.tiff.source import open_source
from swin2sr_ops.io.zarr.sink import create_sink as create_zarr
from swin2sr_ops.io.zarr.source import open_source as open_zarr
from swin2sr_ops.testing import pieces
from tests.io.tiff.test_ome import valid

SIZE = {f"PhysicalSize{a}": 0.2 for a in "XY"} | {f"PhysicalSize{a}Unit": "µm" for a in "XY"}


def acquired(path: Path, shape: tuple[int, ...] = (20, 30), axes: str = "YX", **known: Any) -> Path:
    tifffile.imwrite(path, np.zeros(shape, "u2"), metadata={"axes": axes, **SIZE, **known})
    return path


def positions(count: int = 1, **given: tuple[Any, str]) -> dict[str, Any]:
    plane: dict[str, Any] = {}
    for axis, (values, unit) in given.items():
        plane |= {f"Position{axis}": values, f"Position{axis}Unit": unit if count == 1 else [unit] * count}
    return plane


def restored(path: Path, scale: int = 2, *, axes: str | None = None) -> list[Any]:
    """Write an output of the source's metadata, and return its planes."""
    source = open_source(str(path), axes=axes)
    assert source is not None
    info = source.info.scaled(scale)
    out = path.with_name("out.ome.tif")
    sink = create_sink(str(out), info, overwrite=True)
    assert sink is not None
    for region in pieces(info.shape, sink.write_unit):
        sink[region] = np.zeros([part.stop - part.start for part in region], info.dtype)
    sink.finish({})
    with tifffile.TiffFile(out) as tiff:
        planes: list[Any] = valid(tiff.ome_metadata).images[0].pixels.planes
    return planes


@pytest.mark.parametrize(
    ("size", "given", "value", "expected"),
    [
        ("µm", "µm", 12.5, 12.45),
        ("µm", "mm", 12.5, 12499.95),
        ("nm", "µm", 12.5, 12499.95),
        ("µm", "Å", 12000.0, 1.15),
        ("µm", "in", 0.5, 12699.95),
        ("pixel", "pixel", 7.0, 6.95),
    ],
)
def test_a_position_is_converted_to_the_unit_of_the_size(
    size: str, given: str, value: float, expected: float, tmp_path: Path
) -> None:
    units = {f"PhysicalSize{a}Unit": size for a in "XY"}
    plane = positions(X=(value, given), Y=(3.0, size))
    (out,) = restored(acquired(tmp_path / "a.ome.tif", **units, Plane=plane))
    assert out.position_x == pytest.approx(expected, abs=1e-9)
    assert out.position_y == pytest.approx(2.95)
    assert out.position_x_unit.value == size


def test_each_plane_keeps_its_own_position(tmp_path: Path) -> None:
    plane = positions(2, X=([1000.0, 1000.1], "µm"), Y=([0.5, 0.5], "mm"))
    path = acquired(tmp_path / "a.ome.tif", (2, 20, 30), "TYX", Plane=plane)
    out = restored(path)
    assert [p.position_x for p in out] == pytest.approx([999.95, 1000.05], abs=1e-9)
    assert [p.position_y for p in out] == pytest.approx([499.95, 499.95], abs=1e-9)
    assert [p.position_x for p in restored(path, 1)] == [1000.0, 1000.1]


def test_planes_keep_their_positions_at_a_coarser_level(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    plane = positions(2, X=([10.0, 20.0], "µm"), Y=([1.0, 2.0], "µm"))
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(np.zeros((2, 40, 60), "u2"), subifds=1, metadata={"axes": "TYX", **SIZE, "Plane": plane})
        tiff.write(np.zeros((2, 20, 30), "u2"), subfiletype=1)
    source = open_source(str(path), level=1)
    assert source is not None
    out = plane_attributes(source.info, "T")
    assert [p["PositionX"] for p in out] == pytest.approx([10.1, 20.1])  # pixels of 0.4, whose corner stays


@pytest.mark.parametrize("unit", ["reference frame", None])
def test_no_position_is_better_than_a_false_one(unit: str | None, tmp_path: Path) -> None:
    plane = {"PositionX": 12.5, "PositionY": 3.0, "PositionYUnit": "µm"}
    if unit:
        plane["PositionXUnit"] = unit
    with pytest.warns(UserWarning, match="stage position along X is not in the output: it has no unit"):
        (out,) = restored(acquired(tmp_path / "a.ome.tif", Plane=plane))
    assert out.position_x is None
    assert out.position_y == pytest.approx(2.95)


def test_a_position_without_a_pixel_size_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((20, 30), "u2"), metadata={"axes": "YX", "Plane": positions(X=(5.0, "mm"))})
    with pytest.warns(UserWarning, match="along X is not in the output"):
        (out,) = restored(path)
    assert out.position_x is None


def test_positions_along_z(tmp_path: Path) -> None:
    steps = {"PhysicalSizeZ": 1.0, "PhysicalSizeZUnit": "µm"}
    odd = acquired(tmp_path / "a.ome.tif", (3, 20, 30), "ZYX", **steps, Plane=positions(3, Z=([1.0, 2.0, 3.25], "µm")))
    assert [p.position_z for p in restored(odd)] == [1.0, 2.0, 3.25]
    even = acquired(tmp_path / "b.ome.tif", (3, 20, 30), "ZYX", **steps, Plane=positions(3, Z=([1.0, 2.0, 3.0], "µm")))
    assert open_source(str(even)).info.extra.get("planes") is None
    assert [p.position_z for p in restored(even)] == [1.0, 2.0, 3.0]
    for unit in ("µm", "reference frame"):  # one plane has a focus, but no step along Z
        single = acquired(tmp_path / "c.ome.tif", **steps, Plane=positions(Z=(7.5, unit)))
        (out,) = restored(single)
        assert (out.position_z, out.position_z_unit.value) == (7.5, unit)


def test_times_and_exposures_follow_their_planes(tmp_path: Path) -> None:
    plane = {"DeltaT": [0.0, 1.5, 7.3, 9.0], "DeltaTUnit": ["s"] * 4, "ExposureTime": [100.0] * 4}
    plane["ExposureTimeUnit"] = ["ms"] * 4
    path = acquired(tmp_path / "a.ome.tif", (2, 2, 20, 30), "TCYX", Plane=plane)
    out = restored(path)
    assert {(p.the_t, p.the_c): p.delta_t for p in out} == {(0, 0): 0.0, (0, 1): 1.5, (1, 0): 7.3, (1, 1): 9.0}
    assert {(p.exposure_time, p.exposure_time_unit.value) for p in out} == {(100.0, "ms")}
    renamed = restored(path, axes="ZCYX")
    assert [p.delta_t for p in sorted(renamed, key=lambda p: (p.the_z, p.the_c))] == [0.0, 1.5, 7.3, 9.0]


def test_significant_bits_stay(tmp_path: Path) -> None:
    restored(acquired(tmp_path / "a.ome.tif", SignificantBits=12))
    with tifffile.TiffFile(tmp_path / "out.ome.tif") as tiff:
        assert valid(tiff.ome_metadata).images[0].pixels.significant_bits == 12


def test_zarr_has_one_position_and_says_so(tmp_path: Path) -> None:
    plane = positions(2, X=([1000.0, 1001.0], "µm"), Y=([500.0, 500.0], "µm"))
    info = open_source(str(acquired(tmp_path / "a.ome.tif", (2, 20, 30), "TYX", Plane=plane))).info
    with pytest.warns(UserWarning, match="different stage positions along X: OME-Zarr has one for all planes"):
        sink = create_zarr(str(tmp_path / "a.zarr"), info)
    for region in pieces(info.shape, sink.write_unit):
        sink[region] = np.zeros([part.stop - part.start for part in region], info.dtype)
    sink.finish({})
    assert open_zarr(str(tmp_path / "a.zarr")).info.origin["X"] == 1000.0


def test_noise_of_the_stage_is_no_news(tmp_path: Path) -> None:
    plane = positions(2, X=([1000.0, 1000.0005], "µm"), Y=([500.0, 500.0], "µm"))
    info = open_source(str(acquired(tmp_path / "a.ome.tif", (2, 20, 30), "TYX", Plane=plane))).info
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create_zarr(str(tmp_path / "a.zarr"), info).abort()


def test_many_planes_travel_light(tmp_path: Path) -> None:
    plane = {"DeltaT": [0.5 * k for k in range(2000)], "DeltaTUnit": ["s"] * 2000}
    source = open_source(str(acquired(tmp_path / "a.ome.tif", (2000, 2, 2), "TYX", Plane=plane)))
    assert len(source.info.extra["planes"]["DeltaT"]["values"]) == 2000
    assert len(pickle.dumps(source)) < 20_000
