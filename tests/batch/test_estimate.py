"""Estimate the cost of a batch before anything runs."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from swin2sr_ops.batch import probe
from swin2sr_ops.batch.collect import collect
from swin2sr_ops.batch.cost import Estimate, measured, span_of_time
from swin2sr_ops.batch.disk import check_disk
from swin2sr_ops.batch.estimate import estimate, network_pixels
from swin2sr_ops.batch.runner import run_batch
from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.errors import ModelError, OutputError
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.job import prepare
from swin2sr_ops.spec import ModelSpec

from .helpers import plate_zarr

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def request_of(gray_model: ModelSpec) -> RestoreRequest:
    return RestoreRequest(model=gray_model.weights, tile=16)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    tifffile.imwrite("in/a.tif", np.zeros((20, 24), "u2"))
    tifffile.imwrite("in/b.tif", np.zeros((3, 32, 24), "u2"), imagej=True)
    Path("in/c.tif").write_bytes(b"II*\0nonsense")
    return tmp_path


def test_totals(request_of: RestoreRequest) -> None:
    found = estimate(collect(["in"], "out"), request_of)
    a, b, c = found.images
    assert (a.output, a.pixels_in, a.pixels_out, a.tiles) == ("out/a_x2.ome.tif", 480, 1920, 4)
    assert (b.pixels_in, b.pixels_out, b.tiles) == (3 * 768, 3 * 768 * 4, 3 * 4)
    assert a.output_bytes == 1920 * 2 * 4 // 3
    assert "'in/c.tif'" in c.error
    assert (len(found.good), len(found.bad)) == (2, 1)
    assert found.pixels_out == a.pixels_out + b.pixels_out
    assert found.seconds is not None
    assert found.seconds == pytest.approx((a.seconds or 0) + (b.seconds or 0))
    assert found.free_bytes is not None
    assert found.free_bytes > 0
    assert not Path("out").exists()


def test_the_text_of_an_estimate(request_of: RestoreRequest) -> None:
    found = estimate(collect(["in"], "out"), request_of)
    text = str(found)
    assert "in/a.tif (YX 20 x 24 uint16) -> out/a_x2.ome.tif: 4 tiles" in text
    assert "in/c.tif: cannot be restored. " in text
    assert "images      2, 1 more cannot be restored" in text
    assert "from a probe of this device" in text
    told = json.loads(json.dumps(found.to_dict()))
    assert (told["count"], told["bad"], told["tiles"]) == (3, 1, 16)
    assert told["images"][0]["shape"] == [20, 24]


def test_a_plan_without_probe_or_output(request_of: RestoreRequest) -> None:
    seen: list[int] = []
    found = estimate(collect(["in"], None), request_of, probe=False, progress=lambda event: seen.append(event.done))
    assert (found.seconds, found.free_bytes) == (None, None)
    assert "time" not in str(found)
    assert "free disk unknown" in str(found)
    assert seen == [1, 2, 3]


def test_many_images_are_summed_up(request_of: RestoreRequest) -> None:
    for k in range(25):
        tifffile.imwrite(f"in/m{k}.tif", np.zeros((8, 8), "u1"))
    text = str(estimate(collect(["in/m*.tif"], "out"), request_of, probe=False))
    assert "... and 5 more" in text
    assert text.count("uint8") == 20


def test_an_archive_counts_all_its_images(request_of: RestoreRequest) -> None:
    plate_zarr("p.zarr")
    found = estimate(collect(["p.zarr"], "q.zarr"), request_of, probe=False)
    (plate,) = found.images
    assert (plate.error, plate.pixels_in, plate.pixels_out) == ("", 2 * 48, 2 * 48 * 4)
    assert (plate.kind, plate.count, plate.missing) == ("plate", 2, {})
    assert "p.zarr (plate of 2 images, each YX 6 x 8 uint16) -> q.zarr: 2 tiles" in str(found)
    assert "images      2\n" in str(found)
    assert found.to_dict()["count"] == 2


def test_missing_images_of_an_archive_are_listed(request_of: RestoreRequest) -> None:
    """A listed well does not exist, and an image cannot be restored."""
    plate_zarr("p.zarr")
    shutil.rmtree("p.zarr/A/1/1")
    found = estimate(collect(["p.zarr"], "q.zarr"), request_of, probe=False)
    assert (found.images[0].count, found.missing) == (1, 1)
    assert "  missing: A/1/1: " in str(found)
    assert "images      1, 1 more missing in archives" in str(found)
    plate_zarr("r.zarr")
    Path("r.zarr/A/1/0/0/.zarray").unlink()
    assert set(estimate(collect(["r.zarr"], "q.zarr"), request_of, probe=False).images[0].missing) == {"A/1/0"}


def test_finished_images_are_not_measured(request_of: RestoreRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    plate_zarr("p.zarr")
    entries = collect(["p.zarr", "in/a.tif", "in/b.tif"], "out")
    run_batch(entries[:2], request_of)
    monkeypatch.setattr(probe, "pixels_per_second", lambda _: 1.0)
    found = estimate(entries, request_of, output_options={})
    assert [image.finished for image in found.images] == [True, True, False]
    assert found.seconds == found.images[2].seconds != 0
    text = str(found)
    assert "out/in/a_x2.ome.tif: already finished with the same settings" in text
    assert "images      4, 3 of them already finished" in text
    assert "0.00 -> 0.01 megapixels, 12 tiles" in text  # for the remaining images
    other = estimate(entries, replace(request_of, range=(0, 9)), probe=False, output_options={})
    assert not any(image.finished for image in other.images)


def test_no_figures_if_everything_is_finished(request_of: RestoreRequest) -> None:
    entries = collect(["in/a.tif"], "out")
    run_batch(entries, request_of)
    found = estimate(entries, request_of, output_options={})
    assert str(found).splitlines()[1:] == ["images      1, 1 of them already finished"]


def test_all_is_counted_before_anything_is_measured(
    request_of: RestoreRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def measure(_: Restorer) -> float:
        order.append("measured")
        raise ModelError("its weights are gone.")

    monkeypatch.setattr(probe, "pixels_per_second", measure)
    before: list[Estimate] = []

    def tell(found: Estimate) -> None:
        order.append("counted")
        before.append(found)

    found = estimate(collect(["in"], "out"), request_of, counted=tell)
    assert order == ["counted", "measured", "measured"]
    assert (len(before[0].good), before[0].seconds) == (2, None)
    assert "time" not in str(before[0])
    told = list(measured(found, before[0]))
    assert [line.split(":")[0] for line in told] == ["in/a.tif", "in/b.tif"]  # c.tif was reported before


def test_png_has_no_pyramid(request_of: RestoreRequest) -> None:
    (image,) = estimate(collect(["in/a.tif"], "a.png"), request_of, probe=False).images
    assert image.output_bytes == 1920 * 2
    (image,) = estimate(collect(["in/a.tif"], "a.tif"), request_of, probe=False, pyramid=False).images
    assert image.output_bytes == 1920 * 2


def test_the_probe_is_made_once(request_of: RestoreRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    tile = Restorer.restore_tile

    def count(self: Restorer, *args: Any, **options: Any) -> Any:
        calls.append(1)
        return tile(self, *args, **options)

    monkeypatch.setattr(Restorer, "restore_tile", count)
    monkeypatch.setattr(probe, "_known", {})
    estimate(collect(["in"], "out"), request_of)
    assert 1 <= len(calls) <= 2
    assert len(probe._known) == 1


def test_network_pixels_count_what_is_computed(request_of: RestoreRequest, rgb_model: ModelSpec) -> None:
    tifffile.imwrite("rgb.tif", np.zeros((40, 24, 3), "u1"), photometric="rgb")
    job = prepare("rgb.tif", request_of)
    ((_, pixels),) = network_pixels(job)
    assert pixels == pytest.approx(3 * 40 * 24 * job.plan.over_compute)  # a gray model: each colour alone
    job = prepare("rgb.tif", RestoreRequest(model=rgb_model.weights))
    ((_, pixels),) = network_pixels(job)
    assert pixels == pytest.approx(40 * 24 * job.plan.over_compute)


# --- room on the disk ---------------------------------------------------------------------------------


def room(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, free))


def test_enough_space(request_of: RestoreRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    room(monkeypatch, 5120)  # as much as the output takes
    assert check_disk(estimate(collect(["in/a.tif"], "a.zarr"), request_of, probe=False)) == ""


def test_perhaps_enough_space(request_of: RestoreRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    room(monkeypatch, 3000)
    assert "may run full" in check_disk(estimate(collect(["in/a.tif"], "a.zarr"), request_of, probe=False))


def test_formats_encoded_at_the_end_need_twice_the_space(
    request_of: RestoreRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pixels are staged beside it until then; of several outputs, one at a time."""
    for free, says in ((10240, ""), (6000, "may run full"), (5000, "too little space")):
        room(monkeypatch, free)
        found = estimate(collect(["in/a.tif"], "a.tif"), request_of, probe=False)
        assert found.images[0].staged_bytes == found.images[0].output_bytes == 5120
        assert "0.0 MiB more until it is written" in str(found)
        if free == 5000:
            with pytest.raises(OutputError, match=rf"{says}.*until the largest is encoded"):
                check_disk(found)
        else:
            assert says in check_disk(found)
            assert bool(check_disk(found)) == bool(says)
    png = estimate(collect(["in/a.tif"], "a.png"), request_of, probe=False)
    assert png.images[0].staged_bytes == 1920 * 2
    tifffile.imwrite("in/d.tif", np.zeros((20, 24), "u2"))
    room(monkeypatch, int(3 * 5120 * 0.7))
    assert check_disk(estimate(collect(["in/[ad].tif"], "out"), request_of, probe=False)) == ""


def test_too_little_space(request_of: RestoreRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    room(monkeypatch, 2000)
    found = estimate(collect(["in/a.tif"], "a.zarr"), request_of, probe=False)
    with pytest.raises(OutputError, match=r"too little space: .* --no-disk-check"):
        check_disk(found)
    Path("a.zarr.partial/c").mkdir(parents=True)
    Path("a.zarr.partial/c/0").write_bytes(bytes(2500))  # of an earlier run, which is resumed
    assert check_disk(found) == ""
    Path("a.zarr").write_bytes(b"finished")
    assert check_disk(found) == ""
    with pytest.raises(OutputError, match="too little space"):
        check_disk(found, overwrite=True)


def test_an_object_store_has_space(request_of: RestoreRequest) -> None:
    found = estimate(collect(["in/a.tif"], "memory://out"), request_of, probe=False)
    assert found.free_bytes is None
    assert check_disk(found) == ""


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.5, "0.5 s"), (42.4, "42 s"), (600, "10 min"), (3 * 3600, "3.0 h"), (7 * 86400, "7.0 days")],
)
def test_times(seconds: float, told: str) -> None:
    assert span_of_time(seconds) == told
