"""Fractal's tasks: the manifest as Fractal's tool sees it, and the command-line contract; killed and run again."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from swin2sr_ops_fractal import images, plates
from swin2sr_ops_fractal.host import CHECK, Adapter

import swin2sr_ops
from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.output.provenance import read_provenance
from swin2sr_ops.options import OPTIONS, SIDES
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.spec import ModelSpec
from tests.plugins.fractal_plates import expected, level0, listed, plate_of, tree, write_plate

PACKAGE = Path(swin2sr_ops.__file__).parent
TASKS = PACKAGE / "fractal_tasks"
KILLED_AT_THIRD_TILE = """
import os, runpy, signal, sys, threading
from swin2sr_ops.run import pipeline
compute, write, count, written = pipeline.TileWork.compute, pipeline.TileWork.write, 0, threading.Event()
def counted(*args):
    global count
    count += 1
    if count == 3 and written.wait(60):
        os.kill(os.getpid(), signal.SIGKILL)
    return compute(*args)
def told(*args):
    write(*args)
    written.set()
pipeline.TileWork.compute, pipeline.TileWork.write = counted, told
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def validate() -> Any:
    return pytest.importorskip("yaozarrs", reason="yaozarrs validates OME-Zarr").validate_zarr_store


def run_task(
    name: str, folder: Path, args: dict[str, Any], *, before: str = ""
) -> tuple[subprocess.CompletedProcess[str], Any]:
    """Run a task as a Fractal server does; ``before`` is code that runs the task's file itself."""
    pytest.importorskip("fractal_task_tools", reason="fractal-task-tools runs tasks")
    number = len(list(folder.glob("args*.json")))
    args_json, out_json = folder / f"args{number}.json", folder / f"out{number}.json"
    args_json.write_text(json.dumps(args))
    command = [sys.executable, *(["-c", before] if before else []), str(TASKS / name)]
    done = subprocess.run(
        [*command, "--args-json", str(args_json), "--out-json", str(out_json)],
        capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return done, json.loads(out_json.read_text()) if out_json.exists() else None


# --- the check by Fractal's own tool ------------------------------------------------------------


def test_the_manifest_fits_the_tasks() -> None:
    pytest.importorskip("fractal_task_tools", reason="fractal-task-tools checks manifests")
    status = Adapter().status()
    assert (status.present, status.registered, status.working) == (True, True, True), status.detail
    assert CHECK[0] == "check"


def test_a_manifest_that_does_not_fit_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("fractal_task_tools", reason="fractal-task-tools checks manifests")
    monkeypatch.setattr("swin2sr_ops_fractal.host.CHECK", (*CHECK[:-1], "fractal_tasks.no_list"))
    status = Adapter().status()
    assert status.present
    assert not status.working
    assert "no_list" in status.detail


def test_files_that_a_server_needs_exist() -> None:
    manifest = json.loads((PACKAGE / "__FRACTAL_MANIFEST__.json").read_text())
    for task in manifest["task_list"]:
        for kind in ("executable_parallel", "executable_non_parallel"):
            assert kind not in task or (PACKAGE / task[kind]).is_file()
        assert task["output_types"] == {"restored": True}
    schema = manifest["task_list"][0]["args_schema_parallel"]
    assert schema["required"] == ["zarr_url"]
    assert all(p["description"] != "Missing description" for p in schema["properties"].values())


def test_tasks_share_parameters_with_the_public_functions() -> None:
    """Names, types and texts come from one place; defaults are those of `restore_image`, with None for "exact"."""
    pytest.importorskip("fractal_task_tools", reason="fractal-task-tools loads tasks")
    from swin2sr_ops.fractal_tasks.restore_image import restore_image
    from swin2sr_ops.fractal_tasks.restore_plate import restore_plate

    one, two = (inspect.signature(task).parameters for task in (restore_image, restore_plate))
    assert {*one} - {*two} == {"suffix"}
    assert {*two} - {*one} == {"init_args"}
    assert all(one[name] == two[name] for name in {*one} & {*two})
    shared = {field.name: field.default for field in fields(RestoreRequest)} | {"halo": None}
    assert {name: p.default for name, p in one.items() if name in shared} == {
        name: default for name, default in shared.items() if name in one
    }
    for task in json.loads((PACKAGE / "__FRACTAL_MANIFEST__.json").read_text())["task_list"]:
        for name, entry in task["args_schema_parallel"]["properties"].items():
            assert name not in OPTIONS | SIDES or entry["description"] == (OPTIONS | SIDES)[name].form


@pytest.mark.parametrize("module", ["restore_image", "init_restore_plate", "restore_plate", "task_list"])
def test_errors_without_the_tools(module: str) -> None:
    code = f"import sys; sys.modules['fractal_task_tools'] = None\nimport swin2sr_ops.fractal_tasks.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    told = done.stderr.strip().splitlines()[-1]
    assert told.startswith("ImportError: Fractal's tasks need fractal_task_tools")
    assert "swin2sr-ops[fractal]" in told


def test_status_without_the_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        from importlib.metadata import PackageNotFoundError

        raise PackageNotFoundError(name)

    monkeypatch.setattr("swin2sr_ops_fractal.host.version", missing)
    status = Adapter().status()
    assert (status.present, status.state) == (False, "absent")
    assert "swin2sr-ops[fractal]" in status.detail
    with pytest.raises(RequestError, match="server"):
        Adapter().install()


# --- the command-line contract ------------------------------------------------------------------


def test_an_image_of_a_plate(
    plate: tuple[Path, dict[str, np.ndarray]], gray_model: ModelSpec, tmp_path: Path, validate: Any
) -> None:
    path, pixels = plate
    field = path / "A/1/0"
    args = {"zarr_url": str(field), "model": str(gray_model.weights), "device": "cpu"}
    done, out = run_task("restore_image.py", tmp_path, args)
    assert done.returncode == 0, done.stderr
    new = path / "A/1/0_restored"
    assert out == {"image_list_updates": [{"zarr_url": str(new), "origin": str(field)}]}
    np.testing.assert_array_equal(level0(new), expected(pixels["A/1/0"], gray_model))
    assert listed(path / "A/1") == [{"path": p, "acquisition": 0} for p in ("0", "1", "0_restored")]
    assert plate_of(path)["field_count"] == 3
    provenance = zarr.open_group(new, mode="r").attrs["swin2sr_ops"]
    assert (provenance["model"], provenance["source"]) == (gray_model.name, str(field))
    validate(str(path))
    validate(str(new))


@pytest.mark.parametrize("plate", ["0.5"], indirect=True)
def test_a_task_that_fails_says_why(plate: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    path, _ = plate
    before = tree(path)
    for wrong, told in (({"scale": 3}, "scale"), ({"tile": "small"}, "tile"), ({"tiles": 3}, "tiles")):
        done, out = run_task("restore_image.py", tmp_path, {"zarr_url": str(path / "A/1/0"), **wrong})
        assert (done.returncode, out) == (1, None)
        assert told in done.stderr.split("Traceback")[-1]
    assert tree(path) == before


@pytest.mark.parametrize("plate", ["0.5"], indirect=True)  # each process loads torch: seconds
def test_killed_and_run_again(plate: tuple[Path, dict[str, np.ndarray]], gray_model: ModelSpec, tmp_path: Path) -> None:
    path, _ = plate
    write_plate(tmp_path / "whole.zarr", "0.5")
    args = {"model": str(gray_model.weights), "tile": 32, "device": "cpu"}
    images.restore_beside(str(tmp_path / "whole.zarr/A/1/0"), suffix="restored", **args)
    args["zarr_url"] = str(path / "A/1/0")
    done, out = run_task("restore_image.py", tmp_path, args, before=KILLED_AT_THIRD_TILE)
    assert (done.returncode, out) == (-9, None)
    assert [i["path"] for i in listed(path / "A/1")] == ["0", "1"]
    assert not (path / "A/1/0_restored").exists()
    done, out = run_task("restore_image.py", tmp_path, args)
    assert done.returncode == 0, done.stderr
    resumed = int(done.stderr.split("tiles, ")[1].split(" of them are finished")[0])
    assert resumed >= 1
    assert out["image_list_updates"][0]["zarr_url"] == str(path / "A/1/0_restored")
    new, whole = (tree(p / "A/1/0_restored/0") for p in (path, tmp_path / "whole.zarr"))
    assert new == whole
    assert [i["path"] for i in listed(path / "A/1")] == ["0", "1", "0_restored"]
    assert not [name for name in tree(path) if "partial" in name or "lock" in name]


@pytest.mark.parametrize("plate", ["0.4"], indirect=True)
def test_bound_results_and_flags(
    plate: tuple[Path, dict[str, np.ndarray]], gray_model: ModelSpec, tmp_path: Path
) -> None:
    """The tasks' parameters reach the run: means of the input, and flags beside the new image."""
    path, _ = plate
    args = {"zarr_url": str(path / "A/1/0"), "model": str(gray_model.weights), "device": "cpu", "noise": 3.0}
    done, _ = run_task("restore_image.py", tmp_path, {**args, "consistent": "mean"})
    assert done.returncode == 0, done.stderr
    new = path / "A/1/0_restored"
    assert "consistent" in str(read_provenance(str(new)))
    flags = zarr.open_array(new / "labels/not_trusted/0", mode="r")[:]
    assert not flags.any()  # the means are the input's


def test_into_a_new_plate(
    plate: tuple[Path, dict[str, np.ndarray]], gray_model: ModelSpec, tmp_path: Path, validate: Any
) -> None:
    path, pixels = plate
    before = tree(path)
    urls = [str(path / field) for field in ("A/1/0", "B/2/0")]
    init = {"zarr_urls": urls, "zarr_dir": str(tmp_path), "suffix": "x2"}
    done, out = run_task("init_restore_plate.py", tmp_path, init)
    assert done.returncode == 0, done.stderr
    new = tmp_path / "plate_x2.zarr"
    assert [task["init_args"]["origin_url"] for task in out["parallelization_list"]] == urls
    first, second = out["parallelization_list"]
    assert first["zarr_url"] == str(new / "A/1/0")
    given = {"model": str(gray_model.weights), "device": "cpu"}
    done, out = run_task("restore_plate.py", tmp_path, {**first, **given})
    assert done.returncode == 0, done.stderr
    (update,) = out["image_list_updates"]
    assert update == {"zarr_url": first["zarr_url"], "origin": urls[0], "attributes": {"plate": "plate_x2.zarr"}}
    plates.restore_field(second["zarr_url"], second["init_args"]["origin_url"], **given)
    for field in ("A/1/0", "B/2/0"):
        np.testing.assert_array_equal(level0(new / field), expected(pixels[field], gray_model))
    assert listed(new / "A/1") == [{"path": "0", "acquisition": 0}]
    validate(str(new))
    assert tree(path) == before


# --- images and plates from other programs ------------------------------------------------------


@pytest.mark.parametrize("version", ["v04", "v05"])
def test_an_image_with_label_and_table(
    version: str, shared: Path, gray_model: ModelSpec, tmp_path: Path, validate: Any
) -> None:
    """Written by ngio, the library of Fractal's own tasks."""
    image = tmp_path / "image.zarr"
    shutil.copytree(shared / f"data/formats/ome-zarr/ngio_{version}/test_image_czyx.zarr", image)
    rng = np.random.default_rng(0)
    for name, high in (("0", 999), ("labels/label/0", 9)):  # they come empty
        array = zarr.open_array(image / name, mode="r+")
        array[:] = rng.integers(0, high, array.shape)
    args = {"zarr_url": str(image), "model": str(gray_model.weights), "carry_labels": True, "device": "cpu"}
    done, out = run_task("restore_image.py", tmp_path, args)
    assert done.returncode == 0, done.stderr
    assert out["image_list_updates"] == [{"zarr_url": str(tmp_path / "image_restored.zarr"), "origin": str(image)}]
    old, new = (zarr.open_group(path, mode="r") for path in (image, tmp_path / "image_restored.zarr"))
    restored = swin2sr_ops.restore(old["0"][:], model=gray_model, axes="CZYX").compute()
    np.testing.assert_array_equal(new["0"][:], restored)
    label = old["labels/label/0"][:].repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(new["labels/label/0"][:], label)
    assert new["tables"].attrs["tables"] == ["well_ROI_table"]
    table = "tables/well_ROI_table"
    assert tree(tmp_path / "image_restored.zarr" / table) == tree(image / table)
    validate(str(tmp_path / "image_restored.zarr"))


@pytest.mark.parametrize("version", ["v04", "v05"])
def test_a_plate_of_real_cells(
    version: str, shared: Path, gray_model: ModelSpec, tmp_path: Path, validate: Any
) -> None:
    plate = tmp_path / "cells.zarr"
    shutil.copytree(shared / f"data/formats/generated/plate_{version}.ome.zarr", plate)
    urls = [str(plate / field) for field in ("A/1/0", "B/3/1")]
    done, out = run_task("init_restore_plate.py", tmp_path, {"zarr_urls": urls, "zarr_dir": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    for task in out["parallelization_list"]:
        given = {"model": str(gray_model.weights), "device": "cpu"}
        plates.restore_field(task["zarr_url"], task["init_args"]["origin_url"], **given)
    new = tmp_path / "cells_restored.zarr"
    assert [w["path"] for w in plate_of(new)["wells"]] == ["A/1", "B/3"]
    for field in ("A/1/0", "B/3/1"):
        np.testing.assert_array_equal(level0(new / field), expected(level0(plate / field), gray_model))
    validate(str(new))
