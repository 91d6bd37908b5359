"""Plates and trees of images: plate in, plate out, each image a run of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

import swin2sr_ops
from swin2sr_ops.errors import FormatError, OutputError, RequestError
from swin2sr_ops.events import Event
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run import archive
from swin2sr_ops.run.archive import run_collection
from swin2sr_ops.spec import ModelSpec

FIELDS = ("A/1/0", "A/1/1", "B/02/0")


def write_image(group: zarr.Group, rng: np.random.Generator, version: str) -> np.ndarray:
    pixels = rng.integers(0, 999, (2, 40, 50)).astype("u2")
    group.create_array("0", data=pixels, chunks=(1, 32, 32))
    axes = [{"name": "c", "type": "channel"}] + [
        {"name": a, "type": "space", "unit": "micrometer"} for a in "yx"
    ]  # fmt: skip
    place = [{"type": "scale", "scale": [1, 0.5, 0.5]}]
    image = {"axes": axes, "name": "field", "datasets": [{"path": "0", "coordinateTransformations": place}]}
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    else:
        group.attrs["multiscales"] = [image | {"version": "0.4"}]
    group.attrs["stain"] = "Hoechst"
    return pixels


def write_plate(path: Path, version: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    root = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    wells = [
        {"path": "A/1", "rowIndex": 0, "columnIndex": 0},
        {"path": "B/02", "rowIndex": 1, "columnIndex": 1},
    ]
    plate = {
        "name": "screen", "rows": [{"name": "A"}, {"name": "B"}], "columns": [{"name": "1"}, {"name": "02"}],
        "wells": wells, "acquisitions": [{"id": 0, "name": "first"}], "field_count": 2,
    }  # fmt: skip
    found = {}
    for well in wells:
        fields = [f for f in FIELDS if f.startswith(str(well["path"]))]
        group = root.create_group(str(well["path"]))
        images = [{"path": f.rsplit("/", 1)[-1], "acquisition": 0} for f in fields]
        put(group, {"well": {"images": images, "version": version}}, version)
        for field in fields:
            found[field] = write_image(root.create_group(field), rng, version)
    put(root, {"plate": plate | {"version": version}}, version)
    return found


def put(group: zarr.Group, attributes: dict, version: str) -> None:
    if version == "0.5":
        inner = {k: {n: v for n, v in part.items() if n != "version"} for k, part in attributes.items()}
        group.attrs["ome"] = {"version": "0.5", **inner}
    else:
        group.attrs.update(attributes)


def tree(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.fixture(params=["0.4", "0.5"])
def plate(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    return tmp_path / "plate.zarr", write_plate(tmp_path / "plate.zarr", request.param)


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_plate_in_plate_out(
    plate: tuple[Path, dict[str, np.ndarray]], gray_model: ModelSpec, tmp_path: Path, ngff: str
) -> None:
    yaozarrs = pytest.importorskip("yaozarrs")
    path, pixels = plate
    before = tree(path)
    out = tmp_path / "plate_x2.zarr"
    report = run_collection(path, out, RestoreRequest(model=gray_model), ngff=ngff)
    assert (report.state, report.kind, report.images, report.failed) == ("done", "plate", 3, {})
    yaozarrs.validate_zarr_store(str(out))
    for field, image in pixels.items():
        source = swin2sr_ops.open_source(out / field)
        expected = swin2sr_ops.restore(image, model=gray_model, axes="CYX").compute()
        np.testing.assert_array_equal(zarr.open_group(out / field)["0"][:], expected)
        assert source.info.pixel_size["X"] == pytest.approx(0.25)
        assert zarr.open_group(out / field).attrs["stain"] == "Hoechst"
    attributes = zarr.open_group(out).attrs.asdict()
    plate_out = attributes.get("ome", attributes)["plate"]
    assert [w["path"] for w in plate_out["wells"]] == ["A/1", "B/02"]
    assert [c["name"] for c in plate_out["columns"]] == ["1", "02"]
    assert plate_out["acquisitions"] == [{"id": 0, "name": "first"}]
    assert not [name for name in tree(out) if ".partial" in name or ".swin2sr_ops" in name]
    assert tree(path) == before
    written = tree(out)
    assert run_collection(path, out, RestoreRequest(model=gray_model), ngff=ngff).state == "already"
    assert tree(out) == written
    with pytest.raises(OutputError, match="exists already"):
        run_collection(path, out, RestoreRequest(model=gray_model, halo=8), ngff=ngff)


def test_stopped_and_resumed(plate: tuple[Path, dict[str, np.ndarray]], gray_model: ModelSpec, tmp_path: Path) -> None:
    path, _ = plate
    run_collection(path, tmp_path / "whole.zarr", RestoreRequest(model=gray_model))

    class Stop(BaseException):
        pass

    def stop(event: Event) -> None:
        if event.kind == "image" and event.done == 2:
            raise Stop

    out = tmp_path / "out.zarr"
    with pytest.raises(Stop):
        run_collection(path, out, RestoreRequest(model=gray_model), progress=stop)
    assert not out.exists()
    with pytest.raises(OutputError, match="unfinished output of a different run"):
        run_collection(path, out, RestoreRequest(model=gray_model, halo=8))
    report = run_collection(path, out, RestoreRequest(model=gray_model))
    assert report.resumed == 4  # two fields of two channels
    assert tree(out) == tree(tmp_path / "whole.zarr")


def test_one_bad_field_does_not_stop_the_rest(
    plate: tuple[Path, dict[str, np.ndarray]], gray_model: ModelSpec, tmp_path: Path
) -> None:
    path, _ = plate
    for chunk in (p for p in (path / "A/1/1/0").rglob("*") if p.is_file() and not p.name.startswith((".z", "zarr"))):
        chunk.write_bytes(b"torn")
    out = tmp_path / "out.zarr"
    report = run_collection(path, out, RestoreRequest(model=gray_model))
    assert (report.state, report.images, list(report.failed)) == ("failed", 2, ["A/1/1"])
    assert "damaged" in report.reason
    assert not out.exists()
    report = run_collection(path, out, RestoreRequest(model=gray_model), allow_missing=True)
    assert (report.state, report.images) == ("done", 2)
    attributes = zarr.open_group(out / "A/1").attrs.asdict()
    assert [i["path"] for i in attributes["ome"]["well"]["images"]] == ["0"]
    assert zarr.open_group(out).attrs["swin2sr_ops"]["missing"] == ["A/1/1"]


def test_trees_and_plain_arrays(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    root = zarr.open_group(tmp_path / "in.zarr", mode="w")
    write_image(root.create_group("day1/mouse2"), rng, "0.5")
    plain = rng.integers(0, 99, (30, 30)).astype("u1")
    root.create_array("day2/plain", data=plain, attributes={"exposure": 3})
    out = tmp_path / "out.zarr"
    report = run_collection(tmp_path / "in.zarr", out, RestoreRequest(model=gray_model))
    assert (report.kind, report.images) == ("tree", 2)
    expected = swin2sr_ops.restore(plain, model=gray_model).compute()
    np.testing.assert_array_equal(zarr.open_group(out)["day2/plain/0"][:], expected)
    assert zarr.open_group(out)["day2/plain"].attrs["exposure"] == 3


def test_requests_that_are_refused(gray_model: ModelSpec, tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "one.zarr", data=np.zeros((9, 9), "u1"))
    with pytest.raises(FormatError, match="is one image"):
        run_collection(tmp_path / "one.zarr", tmp_path / "out.zarr", RestoreRequest(model=gray_model))
    write_plate(tmp_path / "plate.zarr", "0.5")
    with pytest.raises(RequestError, match=r"must end with \.zarr"):
        run_collection(tmp_path / "plate.zarr", tmp_path / "out.tif", RestoreRequest(model=gray_model))
    json.dumps(
        run_collection(tmp_path / "plate.zarr", tmp_path / "out.zarr", RestoreRequest(model=gray_model)).to_dict()
    )


def test_an_unexpected_error_ends_one_field(
    gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plate(tmp_path / "plate.zarr", "0.5")
    prepare = archive.prepare

    def odd(uri: str, request: RestoreRequest, **options: object) -> object:
        if request.array == FIELDS[1] and seen.count(FIELDS[1]):
            raise KeyError("omero")
        seen.append(str(request.array))
        return prepare(uri, request, **options)

    seen: list[str] = []
    monkeypatch.setattr(archive, "prepare", odd)
    report = run_collection(
        tmp_path / "plate.zarr", tmp_path / "out.zarr", RestoreRequest(model=gray_model), allow_missing=True
    )
    assert (report.images, list(report.failed)) == (2, [FIELDS[1]])
    assert "unexpected KeyError" in report.failed[FIELDS[1]]


def test_errors_of_the_progress_callback_pass(gray_model: ModelSpec, tmp_path: Path) -> None:
    """Hosts cancel by this: no field counts as failed."""
    write_plate(tmp_path / "plate.zarr", "0.5")

    class Cancelled(Exception):
        pass

    def cancel(event: object) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        run_collection(
            tmp_path / "plate.zarr", tmp_path / "out.zarr", RestoreRequest(model=gray_model), progress=cancel
        )
