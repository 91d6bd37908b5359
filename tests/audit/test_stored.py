"""Arrays that a run wrote and that are missing or damaged: the audit names each, and blames no other one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.audit import AuditReport, audit
from swin2sr_ops.cli import main
from swin2sr_ops.spec import ModelSpec
from tests.conftest import write_model
from tests.run.test_trust import calibrated

SIDES = {
    "context": "labels/nodata_context",
    "not_trusted": "labels/not_trusted",
    "spread": "spread",
    "interval": "interval",
}
Output = tuple[ModelSpec, Path]


def edit(document: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON document."""
    found = json.loads(document.read_text())
    change(found)
    document.write_text(json.dumps(found))


def as_an_earlier_version(out: Path) -> None:
    """Remove what earlier versions did not note in the provenance."""

    def forget(document: dict[str, Any]) -> None:
        settings = document.get("attributes", document)["swin2sr_ops"]["settings"]
        del settings["beside"], settings["levels"]

    edit(out / "zarr.json" if (out / "zarr.json").exists() else out / ".zattrs", forget)


@pytest.fixture(scope="module", params=["0.5", "0.4"])
def output(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Output:
    """An output with everything beside its image, and two levels."""
    folder = tmp_path_factory.mktemp("output")
    spec = write_model(folder / "m.safetensors", depths=(1,), heads=(2,))
    image = np.random.default_rng(0).integers(1, 40_000, (24, 264)).astype("u2")
    image[4:8, 10:14] = 0
    tifffile.imwrite(folder / "in.tif", image)
    cal = calibrated(spec, folder / "cal.json", ensemble=8)
    swin2sr_ops.restore_image(
        folder / "in.tif", folder / "out.ome.zarr", model=spec, chunks=256, nodata=0, ensemble=8, context=True,
        spread=True, interval=90, calibration=cal, limit=6_000, ngff=request.param,
    )  # fmt: skip
    return spec, folder / "out.ome.zarr"


def audited(output: Output, damage: Callable[[Path], object]) -> AuditReport:
    """Audit a damaged copy of the output."""
    spec, out = output
    copy = out.with_name("copy.ome.zarr")
    shutil.copytree(out, copy, dirs_exist_ok=False)
    try:
        damage(copy)
        return audit(copy, model=spec.weights, sample=None)
    finally:
        shutil.rmtree(copy)


def documents(folder: Path) -> list[Path]:
    return [p for name in ("zarr.json", ".zarray", ".zgroup", ".zattrs") for p in [folder / name] if p.exists()]


@pytest.mark.parametrize("name", SIDES)
def test_an_array_beside_the_image_is_missing(output: Output, name: str) -> None:
    found = audited(output, lambda copy: shutil.rmtree(copy / SIDES[name]))
    (one,) = found.differences
    assert str(one) == f"{name} ({SIDES[name]}): cannot be read: the run wrote it, but the output lacks it."
    assert (found.ok, found.wrong, found.faults) == (False, 0, 1)
    assert found.statement == "1 difference concerns a whole array or the metadata."


@pytest.mark.parametrize("name", SIDES)
def test_an_array_beside_the_image_is_damaged(output: Output, name: str) -> None:
    """Text that is no JSON, JSON of a wrong type, and a missing document, of the group and of the array."""
    group = Path(SIDES[name])
    inside = output[1] / group
    spoilt = [
        (group / p.relative_to(inside))
        for p in (*documents(inside), *documents(inside / "0"))
        if p.parent == inside or p.name != ".zattrs"
    ]
    for path in spoilt:
        for text in ("{ no json", "[]", '{"zarr_format": "x"}', None):

            def damage(copy: Path, path: Path = path, text: str | None = text) -> None:
                (copy / path).unlink() if text is None else (copy / path).write_text(text)

            found = audited(output, damage)
            places = {one.place for one in found.differences}
            assert places == {f"{name} ({group.as_posix()})"}, (path, text, str(found))
            assert found.wrong == 0


def test_all_labels_are_missing(output: Output) -> None:
    found = audited(output, lambda copy: shutil.rmtree(copy / "labels"))
    assert [one.place.split()[0] for one in found.differences] == ["context", "not_trusted"]
    assert found.statement == "2 differences concern whole arrays or the metadata."


def test_an_array_of_another_type_or_size(output: Output) -> None:
    def other(copy: Path) -> None:
        shutil.rmtree(copy / "spread/0")
        zarr.create_array(copy / "spread/0", shape=(40, 40), dtype="u1", zarr_format=2 if _old(copy) else 3)

    (one,) = audited(output, other).differences
    assert one.place == "spread (spread)"
    assert "it is not the output of this source and model" in one.reason


def _old(copy: Path) -> bool:
    return (copy / ".zgroup").exists()


def test_an_output_of_an_earlier_version(output: Output) -> None:
    """Its provenance does not name the arrays: what is there is compared, and damage is still an error."""

    def nothing(copy: Path) -> None:
        as_an_earlier_version(copy)

    def absent(copy: Path) -> None:
        as_an_earlier_version(copy)
        shutil.rmtree(copy / "spread")

    def damaged(copy: Path) -> None:
        as_an_earlier_version(copy)
        documents(copy / "spread/0")[0].write_text("{")

    def listed(copy: Path) -> None:
        as_an_earlier_version(copy)
        shutil.rmtree(copy / "labels/nodata_context")

    def interval(copy: Path) -> None:
        as_an_earlier_version(copy)
        shutil.rmtree(copy / "interval")

    for damage in (nothing, absent):
        found = audited(output, damage)
        assert found.ok
        assert any("which an earlier version wrote" in note for note in found.notes)
    for damage, name in ((damaged, "spread"), (listed, "context"), (interval, "interval")):
        (one,) = audited(output, damage).differences
        assert one.place.startswith(f"{name} (")


def test_a_changed_half_width_is_still_found_without_the_other_arrays(output: Output) -> None:
    """What can be read is compared, whatever else is missing."""

    def damage(copy: Path) -> None:
        shutil.rmtree(copy / "spread")
        array = zarr.open_array(copy / "interval/0", mode="r+")
        array[:] = array[:] / 2

    found = audited(output, damage)
    assert found.wrong == found.checked
    assert {one.place.split()[0] for one in found.differences if not one.pixels} == {"spread"}


def test_a_missing_level(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    def unlisted(copy: Path) -> None:
        path = copy / (".zattrs" if _old(copy) else "zarr.json")

        def drop(found: dict[str, Any]) -> None:
            attributes = found.get("attributes", found)
            del attributes.get("ome", attributes)["multiscales"][0]["datasets"][1:]

        edit(path, drop)

    (one,) = audited(output, unlisted).differences
    assert str(one) == "level 1: cannot be read: the metadata list 1 of the 2 levels that the run wrote."
    (one,) = audited(output, lambda copy: shutil.rmtree(copy / "1")).differences
    assert one.place == "level 1"
    spec, out = output
    copy = out.with_name("cli.ome.zarr")
    shutil.copytree(out, copy)
    shutil.rmtree(copy / "1")
    assert main(["audit", str(copy), "--model", str(spec.weights)]) == 1
    assert "level 1: cannot be read" in capsys.readouterr().out
    shutil.rmtree(copy)


def test_an_output_without_levels_is_right(gray_model: ModelSpec, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", np.random.default_rng(0).integers(0, 255, (20, 264)).astype("u1"))
    out = tmp_path / "out.ome.zarr"
    swin2sr_ops.restore_image(tmp_path / "in.tif", out, model=gray_model, pyramid=False)
    assert audit(out, model=gray_model.weights).ok
    as_an_earlier_version(out)
    assert audit(out, model=gray_model.weights).ok
