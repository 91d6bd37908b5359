"""What a command writes beside its result replaces no image, and no other file of the user."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import swin2sr_ops
from swin2sr_ops import cli
from swin2sr_ops.batch.collect import Entry
from swin2sr_ops.batch.report import BatchReport, check_report
from swin2sr_ops.errors import OutputError, RequestError
from swin2sr_ops.evaluate.sheet import Sheet
from swin2sr_ops.spec import ModelSpec

MODEL = ["--model", "nano-x2-gray"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in "ab":
        tifffile.imwrite(f"in/{name}.tif", rng.integers(0, 255, (32, 32), dtype="u1"))
    tifffile.imwrite("mask.tif", np.ones((32, 32), "u1"))
    Path("list.txt").write_text("in/a.tif\nin/b.tif\n")
    Path("notes.json").write_text('{"state": "my own notes"}')
    swin2sr_ops.restore_image("in/a.tif", "z.ome.zarr", model="nano-x2-gray")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        "in/a.tif out.tif --report in/a.tif",
        "in/a.tif out.tif --report ./in/../in/a.tif",
        "in/a.tif out.tif --report in/b.tif",
        "in/a.tif out.tif --mask mask.tif --report mask.tif",
        "@list.txt out --report list.txt",
        "in out --report notes.json",
        "in out --report in",
        "z.ome.zarr out.tif --report z.ome.zarr",
        "z.ome.zarr out.tif --report z.ome.zarr/report.json",
        "in/a.tif out.tif --report out.tif",
        "in/a.tif z.ome.zarr --report z.ome.zarr/report.json",
        "in . --report ./a_x2.ome.tif",
    ],
)
def test_a_report_replaces_no_other_file(words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(folder)
    assert cli.main(["restore", *words.split(), *MODEL, "--quiet", "--overwrite"]) == 2
    assert contents(folder) == before
    said = capsys.readouterr().err
    assert words.split("--report ")[1] in said or "a_x2.ome.tif" in said
    assert "Traceback" not in said


def test_a_report_replaces_an_earlier_one_or_an_empty_file(folder: Path) -> None:
    command = ["restore", "in", "out", *MODEL, "--quiet", "--report", "report.json"]
    Path("report.json").touch()
    assert cli.main(command) == 0
    assert json.loads(Path("report.json").read_text())["counts"] == {"done": 2}
    assert cli.main(command) == 0
    assert json.loads(Path("report.json").read_text())["counts"] == {"already": 2}
    with pytest.raises(OutputError, match="not an earlier report"):
        BatchReport().write("in/a.tif")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name")
def test_a_report_is_written_into_a_pipe(folder: Path) -> None:
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    BatchReport().write("pipe")
    assert json.loads(os.read(reader, 10_000))["images"] == []
    os.close(reader)


def test_an_output_whose_scale_is_not_known_yet(folder: Path) -> None:
    entries = [Entry("in/a.tif", "out/a", ending=".ome.tif")]
    for name in ("out/a_x2.ome.tif", "out/a_restored.ome.tif", "out/a_x4.ome.tif.partial"):
        with pytest.raises(OutputError, match="same place"):
            check_report(name, entries)
    check_report("out/a.json", entries)


@pytest.mark.parametrize("option", ["--calibrate", "--json", "--sheet"])
def test_files_of_an_evaluation_replace_no_image(
    option: str, folder: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(2):
        Path("data").mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (96, 96), dtype="u1")).save(f"data/{i}.png")
    command = ["evaluate", "--data", "data", "--scale", "2", "--quiet", *MODEL]
    before = contents(folder)
    assert cli.main([*command, option, "data/1.png"]) == 2
    assert cli.main([*command, option, "notes.json"]) == 2
    assert contents(folder) == before
    made = "made.png" if option == "--sheet" else "made.json"
    if option != "--calibrate":  # which needs more images
        for _ in range(2):  # the second replaces the first
            assert cli.main([*command, option, made]) == 0
    assert "data/1.png" in capsys.readouterr().err


def test_maps_do_not_lie_among_the_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("in", "in/maps"):
        assert cli.main(["evaluate", "--data", "in", "--scale", "2", *MODEL, "--fidelity", place]) == 2
        assert "would lie among the images" in capsys.readouterr().err
    assert not Path("in/maps").exists()


def test_files_of_an_evaluation_have_different_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--calibrate", "c.json", "--json", "./c.json"]
    assert cli.main(["evaluate", "--data", "in", "--scale", "2", *MODEL, *both]) == 2
    assert "a name of its own" in capsys.readouterr().err


def test_a_calibration_is_not_replaced_by_the_new_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--calibrate", "c.json", "--calibration", "c.json"]
    assert cli.main(["evaluate", "--data", "in", "--scale", "2", *MODEL, *both]) == 2
    assert "write the new one elsewhere" in capsys.readouterr().err


def test_a_broken_picture_is_no_sheet(folder: Path) -> None:
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(OutputError, match="not an earlier contact sheet"):
        Sheet("broken.png")


def test_a_model_is_not_exported_onto_itself(folder: Path, gray_model: ModelSpec) -> None:
    from swin2sr_ops.export.weights import export_safetensors
    from swin2sr_ops.training import train

    weights = gray_model.weights
    assert weights is not None
    before = Path(weights).read_bytes()
    with pytest.raises(OutputError, match="is the model itself"):
        export_safetensors(weights, weights, overwrite=True)
    for option in ("init", "teacher"):
        with pytest.raises(RequestError, match=f"the model of --{option}"):
            train(data="in", out="run", export_to=weights, **{option: weights})
    for content in (before, b"my notes"):
        Path("other.safetensors").write_bytes(content)
        with pytest.raises(RequestError, match="not an earlier export of"):
            train(data="in", out="run", export_to="other.safetensors", init="tiny-x2-gray")
        assert Path("other.safetensors").read_bytes() == content
    assert Path(weights).read_bytes() == before
    assert not Path("run").exists()
