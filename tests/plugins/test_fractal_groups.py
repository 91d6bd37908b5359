"""Fractal's tasks on images, wells, plates and tables, without Fractal's tools."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from swin2sr_ops_fractal import groups, images, plates, tables

import swin2sr_ops
from swin2sr_ops.errors import FormatError, OutputError, RequestError
from swin2sr_ops.spec import ModelSpec
from tests.plugins.fractal_plates import expected, level0, listed, plate_of, tree, write_image, write_plate


def test_a_second_run_does_nothing_and_another_request_is_refused(
    plate: tuple[Path, dict[str, np.ndarray]], gray_model: ModelSpec
) -> None:
    path, pixels = plate
    url = str(path / "A/1/1")
    first = images.restore_beside(url, suffix="x2", model=gray_model)
    before = tree(path)
    assert images.restore_beside(url, suffix="x2", model=gray_model) == first
    assert tree(path) == before
    with pytest.raises(OutputError, match="exists already"):
        images.restore_beside(url, suffix="x2", model=gray_model, range="0,2000")
    assert tree(path) == before
    images.restore_beside(url, suffix="x2", model=gray_model, range="0,2000", overwrite=True)
    other = swin2sr_ops.restore(pixels["A/1/1"], model=gray_model, axes="CYX", range=(0, 2000)).compute()
    np.testing.assert_array_equal(level0(path / "A/1/1_x2"), other)
    assert [i["path"] for i in listed(path / "A/1")] == ["0", "1", "1_x2"]


def test_killed_between_image_and_well(plate: tuple[Path, dict[str, np.ndarray]], gray_model: ModelSpec) -> None:
    path, _ = plate
    url = str(path / "A/1/1")
    assert images.restore_to(url, f"{url}_x2", model=gray_model).state == "done"
    assert [i["path"] for i in listed(path / "A/1")] == ["0", "1"]
    images.restore_beside(url, suffix="x2", model=gray_model)
    assert [i["path"] for i in listed(path / "A/1")] == ["0", "1", "1_x2"]


def test_an_image_alone(gray_model: ModelSpec, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 99, (1, 40, 40)).astype("u2")
    write_image(zarr.open_group(tmp_path / "a.ome.zarr", mode="w", zarr_format=3), pixels, "0.5")
    out = images.restore_beside(str(tmp_path / "a.ome.zarr/"), suffix="restored", model=gray_model)
    assert out["image_list_updates"][0]["zarr_url"] == str(tmp_path / "a_restored.ome.zarr")
    np.testing.assert_array_equal(level0(tmp_path / "a_restored.ome.zarr"), expected(pixels, gray_model))


@pytest.mark.parametrize("labels", [False, True])
def test_tables_of_regions_are_copied(
    plate: tuple[Path, dict[str, np.ndarray]], gray_model: ModelSpec, labels: bool
) -> None:
    path, _ = plate
    wanted = ["FOV_ROI_table", "nuclei_ROI"] if labels else ["FOV_ROI_table"]
    url = str(path / "A/1/0")
    images.restore_beside(url, suffix="x2", model=gray_model, labels=labels)
    new = zarr.open_group(path / "A/1/0_x2", mode="r")
    assert new["tables"].attrs["tables"] == wanted
    np.testing.assert_array_equal(new["tables/FOV_ROI_table/X"][:], [[0, 20]])
    before = tree(path)
    assert tables.carry_tables(url, f"{url}_x2", labels=labels) == tuple(wanted)
    assert tree(path) == before
    assert "nuclei_area" not in new["tables"]


def test_fields_of_a_well_at_the_same_time(plate: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, _ = plate
    url = str(path / "A/1/0")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: groups.add_to_well(url, f"{url}_{n}"), range(24)))
    assert {i["path"] for i in listed(path / "A/1")} == {"0", "1", *(f"0_{n}" for n in range(24))}
    assert plate_of(path)["field_count"] == 26


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc, a folder that takes no files")
def test_a_folder_that_takes_no_files_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "PATIENCE", 5.0)
    began = time.monotonic()
    with pytest.raises(OutputError, match="takes no new files"), groups.alone("/proc"):
        pass
    assert time.monotonic() - began < 4


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_consolidated_metadata_do_not_hide_the_new_image(plate: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, _ = plate
    for group in (path, path / "A/1"):
        zarr.consolidate_metadata(group)
    url = str(path / "A/1/0")
    groups.add_to_well(url, f"{url}_x2")
    for well in (zarr.open_group(path / "A/1", mode="r"), zarr.open_group(path, mode="r")["A/1"]):
        attributes = well.attrs.asdict()
        assert attributes.get("ome", attributes)["well"]["images"][-1]["path"] == "0_x2"


def test_a_second_part_of_a_new_plate_keeps_the_first(
    plate: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    path, _ = plate
    for field in ("A/1/1", "B/2/0", "A/1/0"):
        plates.begin_plates([str(path / field)], str(tmp_path), "x2")
    new = tmp_path / "plate_x2.zarr"
    assert [w["path"] for w in plate_of(new)["wells"]] == ["A/1", "B/2"]
    assert [i["path"] for i in listed(new / "A/1")] == ["0", "1"]


def test_requests_that_are_refused(plate: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    path, _ = plate
    with pytest.raises(RequestError, match="suffix='a/b'"):
        images.restore_beside(str(path / "A/1/0"), suffix="a/b")
    with pytest.raises(FormatError, match="not an OME-Zarr image"):
        images.restore_beside(str(path / "A/1/7"), suffix="x2")
    with pytest.raises(RequestError, match="not the image of a plate"):
        plates.begin_plates([str(path)], str(tmp_path), "x2")
    with pytest.raises(FormatError, match="well does not list it"):
        plates.begin_plates([str(path / "A/1/7")], str(tmp_path), "x2")
    write_plate(tmp_path / "plate_x2.zarr", "0.5")
    before = tree(tmp_path / "plate_x2.zarr")
    with pytest.raises(RequestError, match="not a plate of this task"):
        plates.begin_plates([str(path / "A/1/0")], str(tmp_path), "x2")
    assert tree(tmp_path / "plate_x2.zarr") == before
