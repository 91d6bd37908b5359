"""``swin2sr-ops evaluate``, and the pictures that it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from swin2sr_ops.cli import main
from swin2sr_ops.evaluate import fidelity_map, imresize
from swin2sr_ops.spec import ModelSpec
from tests.evaluate.test_evaluate import picture, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(2):
        save(tmp_path / "pictures" / f"{i}.png", picture(i, (96, 112, 3)))
    return tmp_path / "pictures"


def run(folder: Path, *words: str) -> int:
    return main(["evaluate", "--data", str(folder), "--scale", "2", "--quiet", *words])


def test_tables(folder: Path, rgb_model: ModelSpec, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = ["--model", rgb_model.weights]
    assert run(folder, *model, "--model", "tiny-x2-rgb", "--baseline") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pictures: 2 images, x2, bicubic, border 2 px, padding official; PSNR-Y / SSIM-Y"
    assert lines[2].split() == ["image", "bicubic", "rgb", "tiny-x2-rgb"]
    assert [line.split()[0] for line in lines[3:]] == ["0", "1", "mean"]
    assert run(folder, *model, "--markdown", "--metrics", "psnr,fidelity", "--json", str(tmp_path / "a.json")) == 0
    assert capsys.readouterr().out.splitlines()[2] == "| image | rgb |"
    told = json.loads((tmp_path / "a.json").read_text())
    assert {"psnr", "ssim", "psnr_y", "ssim_y", "fidelity"} <= set(told["mean"])
    assert [row["name"] for row in told["images"]] == ["0", "1"]
    for flag in (["--json"], ["--json", "-"]):
        assert run(folder, *model, *flag, "--limit", "1") == 0
        assert len(json.loads(capsys.readouterr().out)["images"]) == 1


def test_each_measured_image_is_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--data", str(folder), "--scale", "2"]) == 0  # the shipped model
    captured = capsys.readouterr()
    assert [line.split(" (")[0] for line in captured.err.splitlines()] == ["1: 0", "2: 1"]
    assert "auto" in captured.out


def test_contact_sheet(folder: Path, tmp_path: Path) -> None:
    """Rows of input, bicubic, result, truth, error; the truth's crop is where bicubic is worst."""
    truth = np.asarray(Image.open(folder / "1.png")).copy()
    truth[40:56, 92:112] = np.where(np.indices((16, 20)).sum(0) % 4 < 2, 0, 255)[..., None]  # bicubic loses this detail
    save(folder / "1.png", truth)
    path = tmp_path / "sheet.png"
    assert run(folder, "--model", "tiny-x2-rgb", "--sheet", str(path)) == 0
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (2 * 228 + 6, 5 * 198 + 6, 3)
    crop = sheet[-192 - 6 : -6, 6 + 3 * 198 : 6 + 3 * 198 + 192][::2, ::2]
    places = [
        (y, x)
        for y in range(0, 96 - 95, 2)
        for x in range(0, 112 - 95, 2)
        if np.array_equal(truth[y : y + 96, x : x + 96], crop)
    ]
    assert places == [(0, 16)]
    error = sheet[-192 - 6 : -6, 6 + 4 * 198 : 6 + 4 * 198 + 192]
    assert error.max() == 255  # the board is beyond the model


def test_fidelity_maps(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps = tmp_path / "maps"
    assert run(folder, "--model", "tiny-x2-rgb", "--fidelity", str(maps), "--limit", "1", "--metrics", "fidelity") == 0
    assert sorted(p.name for p in maps.iterdir()) == ["0_tiny-x2-rgb.png", "0_tiny-x2-rgb.tif"]
    found = tifffile.imread(maps / "0_tiny-x2-rgb.tif")
    assert found.shape == (48, 56)
    assert found.dtype == np.float32
    assert 0 < found.mean() < 5
    small = imresize(picture(0, (96, 112, 3)), (48, 56))
    blank = fidelity_map(np.zeros((96, 112, 3), "u1"), small, 2)
    assert found.mean() < blank.mean() / 20


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sheet", "sheet.jpg"], "must end with .png"),
        (["--sheet", "no/sheet.png"], "There is no folder"),
        (["--json", "no/a.json"], "There is no folder"),
        (["--data-range", "p1,p99"], "give two ascending numbers"),
        (["--model", "nothing"], "no model called 'nothing'"),
        (["--degrade", "blur"], "is not valid"),
        (["--metrics", "psnr,lpips"], "no figure called lpips"),
    ],
)
def test_refused_before_any_work(
    words: list[str], told: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert run(folder, *words) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert not captured.out
