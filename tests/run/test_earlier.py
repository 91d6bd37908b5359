"""Records that versions before 2026-12 wrote are known: torch for every engine, options as given, no shards."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.audit import audit
from swin2sr_ops.engine import runner
from swin2sr_ops.errors import OutputError
from swin2sr_ops.events import Event
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.archive import archive_finished, archive_key, run_collection
from swin2sr_ops.run.earlier import EarlierArchive
from swin2sr_ops.run.fingerprint import run_key
from swin2sr_ops.run.job import prepare
from swin2sr_ops.spec import ModelSpec
from tests.conftest import NATIVE

GIVEN: list[dict[str, Any]] = [{}, {"ngff": "0.5"}, {"pyramid": True, "context": False, "labels": "leave"}]


class Stop(BaseException):
    """An error like Ctrl-C."""


def stop(event: Event) -> None:
    if event.kind == "tile" and event.done >= 2:
        raise Stop


def digest(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def old_form(settings: dict[str, Any], given: dict[str, Any], torch: str = "2.0.0") -> dict[str, Any]:
    """Return settings as such a version stored them, with ``given`` options."""
    named = {f"output {name}": value for name, value in given.items()}
    return {"torch": torch} | {name: value for name, value in settings.items() if name != "shard"} | named


def age_unfinished(output: Path, given: dict[str, Any], torch: str = "2.0.0") -> None:
    """Rewrite the record of an unfinished output as such a version wrote it."""
    record = output.with_name(f"{output.name}.partial") / ".swin2sr_ops" / "run.json"
    found = json.loads(record.read_text())
    settings = old_form(found["settings"], given, torch)
    record.write_text(json.dumps({**found, "fingerprint": digest(settings), "settings": settings}))


def age_finished(output: Path, settings: dict[str, Any], given: dict[str, Any]) -> None:
    """Rewrite the provenance of a finished Zarr as such a version wrote it."""
    document = output / "zarr.json"
    found = json.loads(document.read_text())
    own = found["attributes"]["swin2sr_ops"]
    own["fingerprint"] = digest(old_form(settings, given))
    own["settings"] |= {"torch": "2.0.0"}
    document.write_text(json.dumps(found))


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    tifffile.imwrite(tmp_path / "a.tif", rng.integers(0, 255, (140, 60)).astype("u1"))
    return tmp_path / "a.tif"


@NATIVE
@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("now", [{}, {"ngff": "0.5"}])
def test_an_interrupted_run_is_resumed(
    source: Path, gray_model: ModelSpec, tmp_path: Path, given: dict[str, Any], now: dict[str, Any]
) -> None:
    options: dict[str, Any] = {"model": gray_model, "tile": 32, "chunks": 64, "device": "cpu"}
    with pytest.raises(Stop):
        swin2sr_ops.restore_image(source, tmp_path / "o.zarr", **options, progress=stop)
    age_unfinished(tmp_path / "o.zarr", given)
    assert swin2sr_ops.restore_image(source, tmp_path / "o.zarr", **options, **now).resumed >= 2


@NATIVE
def test_a_number_without_data_in_another_form(source: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    """Such a version stored the 0.0 of a file, or of a command line, as it is."""
    options: dict[str, Any] = {"model": gray_model, "tile": 32, "chunks": 64, "device": "cpu", "nodata": 0.0}
    with pytest.raises(Stop):
        swin2sr_ops.restore_image(source, tmp_path / "o.zarr", **options, progress=stop)
    record = tmp_path / "o.zarr.partial" / ".swin2sr_ops" / "run.json"
    settings = old_form(json.loads(record.read_text())["settings"], {}) | {"nodata": 0.0}
    record.write_text(json.dumps({"fingerprint": digest(settings), "settings": settings, "notes": {}}))
    assert swin2sr_ops.restore_image(source, tmp_path / "o.zarr", **options).resumed >= 2


@NATIVE
def test_shards_are_known(source: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": gray_model, "tile": 32, "chunks": 32, "shards": 64, "device": "cpu"}
    with pytest.raises(Stop):
        swin2sr_ops.restore_image(source, tmp_path / "o.zarr", **options, progress=stop)
    age_unfinished(tmp_path / "o.zarr", {})
    assert swin2sr_ops.restore_image(source, tmp_path / "o.zarr", **options).resumed >= 2


@NATIVE
@pytest.mark.parametrize("given", GIVEN)
def test_a_finished_output_is_left_alone_and_audited(
    source: Path, gray_model: ModelSpec, tmp_path: Path, given: dict[str, Any]
) -> None:
    job = prepare(source, RestoreRequest(model=gray_model, device="cpu"))
    swin2sr_ops.restore_image(source, tmp_path / "o.zarr", model=gray_model, device="cpu")
    age_finished(tmp_path / "o.zarr", dict(run_key(job, {}).settings), given)
    report = swin2sr_ops.restore_image(source, tmp_path / "o.zarr", model=gray_model, device="cpu")
    assert report.state == "already"
    assert audit(tmp_path / "o.zarr", model=gray_model.weights).agreement == "bit for bit"


def test_torch_that_computed_still_counts(source: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": gray_model, "tile": 32, "chunks": 64, "device": "cpu", "engine": "torch"}
    with pytest.raises(Stop):
        swin2sr_ops.restore_image(source, tmp_path / "o.zarr", **options, progress=stop)
    record = tmp_path / "o.zarr.partial" / ".swin2sr_ops" / "run.json"
    found = json.loads(record.read_text())
    settings = old_form(found["settings"], {"ngff": "0.5"}) | {"torch": "2.0.0"}
    record.write_text(json.dumps({**found, "fingerprint": digest(settings), "settings": settings}))
    with pytest.raises(OutputError, match=r"a different run: torch was .2\.0\.0., now [^;]*\. Give"):
        swin2sr_ops.restore_image(source, tmp_path / "o.zarr", **options)


@pytest.fixture
def tree(tmp_path: Path, rng: np.random.Generator) -> Path:
    group = zarr.open_group(tmp_path / "tree.zarr", mode="w", zarr_format=3)
    for name in "ab":
        array = group.create_array(name, shape=(70, 60), chunks=(64, 64), dtype="u1", dimension_names=("y", "x"))
        array[:] = rng.integers(0, 255, (70, 60))
    return tmp_path / "tree.zarr"


@NATIVE
@pytest.mark.parametrize("given", GIVEN)
def test_a_finished_archive_is_left_alone(
    tree: Path, gray_model: ModelSpec, tmp_path: Path, given: dict[str, Any]
) -> None:
    request, output = RestoreRequest(model=gray_model, device="cpu"), tmp_path / "o.zarr"
    run_collection(tree, output, request)
    settings = {path: dict(run_key(prepare(tree, request.for_image(array=path)), {}).settings) for path in "ab"}
    for path in "ab":
        age_finished(output / path, settings[path], given | {"anywhere": True})
    document = output / "zarr.json"
    found = json.loads(document.read_text())
    before = {path: digest(old_form(settings[path], given)) for path in "ab"}
    found["attributes"]["swin2sr_ops"]["fingerprint"] = digest(before)
    document.write_text(json.dumps(found))
    assert run_collection(tree, output, request).state == "already"
    assert run_collection(tree, output, request, ngff="0.5").state == "already"
    other = {path: run_key(prepare(tree, request.for_image(array=path)), {"ngff": "0.4"}) for path in "ab"}
    assert not archive_finished(str(output), archive_key(other, 2))


@NATIVE
@pytest.mark.parametrize("given", GIVEN)
def test_an_interrupted_archive_is_resumed(
    tree: Path, gray_model: ModelSpec, tmp_path: Path, given: dict[str, Any]
) -> None:
    request, output = RestoreRequest(model=gray_model, device="cpu", tile=16, chunks=32), tmp_path / "o.zarr"
    with pytest.raises(Stop):
        run_collection(tree, output, request, progress=stop)
    record = tmp_path / "o.zarr.partial" / ".swin2sr_ops" / "run.json"
    keys = {path: run_key(prepare(tree, request.for_image(array=path)), {}) for path in "ab"}
    before = {path: digest(old_form(dict(keys[path].settings), given)) for path in "ab"}
    found = json.loads(record.read_text())
    settings = old_form(found["settings"], given)
    record.write_text(json.dumps({**found, "fingerprint": digest(before), "settings": settings}))
    inner = tmp_path / "o.zarr.partial" / "a.partial" / ".swin2sr_ops" / "run.json"
    kept = json.loads(inner.read_text())
    settings = old_form(kept["settings"], given | {"anywhere": True})
    inner.write_text(json.dumps({**kept, "fingerprint": digest(settings), "settings": settings}))
    assert run_collection(tree, output, request).resumed >= 2


def test_an_archive_of_unknown_form_is_digested_no_further() -> None:
    earlier = EarlierArchive({"a": {"halo": "exact"}}, {"halo": "exact"})
    assert list(earlier.digests({"fingerprint": "x", "model": "m"})) == []
    image = {"fingerprint": "of no form", "settings": {"torch": "2.0.0"}}
    assert list(earlier.digests({"fingerprint": "x", "image": ("a", image)})) == []


@NATIVE
@pytest.mark.parametrize("name", ["o.zarr", "o.ome.tif", "o.png"])
def test_an_upgrade_of_torch_resumes_what_our_kernels_compute(
    source: Path, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    options: dict[str, Any] = {"model": gray_model, "tile": 32, "chunks": 64, "device": "cpu"}
    with pytest.raises(Stop):
        swin2sr_ops.restore_image(source, tmp_path / name, **options, progress=stop)
    monkeypatch.setattr(runner, "torch_version", lambda: "9.9.9")
    report = swin2sr_ops.restore_image(source, tmp_path / name, **options)
    assert report.resumed >= 2
    assert "torch" not in report.settings
    monkeypatch.setattr(runner, "torch_version", lambda: "")  # it was removed
    assert swin2sr_ops.restore_image(source, tmp_path / name, **options).state == "already"


def test_an_upgrade_of_torch_is_another_run_where_it_computes(
    source: Path, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"model": gray_model, "tile": 32, "chunks": 64, "device": "cpu", "engine": "torch"}
    with pytest.raises(Stop):
        swin2sr_ops.restore_image(source, tmp_path / "o.zarr", **options, progress=stop)
    monkeypatch.setattr(runner, "torch_version", lambda: "9.9.9")
    with pytest.raises(OutputError, match=r"a different run: torch was .*, now .9\.9\.9."):
        swin2sr_ops.restore_image(source, tmp_path / "o.zarr", **options)
