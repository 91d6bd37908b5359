"""``rio restore`` through rasterio's own command line."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import swin2sr_ops
from swin2sr_ops.errors import RequestError
from swin2sr_ops.options import SIDES
from swin2sr_ops.spec import ModelSpec
from tests.run.test_trust import calibrated

rasterio = pytest.importorskip("rasterio", reason="rio is rasterio's command line")
from click.testing import CliRunner, Result  # noqa: E402
from rasterio.rio.main import main_group  # noqa: E402
from swin2sr_ops_rio.host import RioHost  # noqa: E402


def rio(*words: object) -> Result:
    return CliRunner().invoke(main_group, ["restore", *map(str, words)])


def script() -> Path:
    """Return the path of the command ``rio``."""
    found = Path(sys.executable).with_name("rio")
    if not found.exists():
        pytest.skip(f"there is no {found}")
    return found


@pytest.fixture
def scene(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two bands, rotated, with nodata."""
    path = tmp_path / "scene.tif"
    profile: dict[str, Any] = {"width": 40, "height": 30, "count": 2, "dtype": "uint16", "nodata": 0}
    turned = rasterio.Affine(10, 2, 5e5, 1, -10, 5e6)
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32633", transform=turned, **profile) as dataset:
        pixels = rng.integers(1, 3000, (2, 30, 40)).astype("u2")
        pixels[:, :5, :5] = 0
        dataset.write(pixels)
        dataset.descriptions = ("nir", "swir")
    return path


def test_pixels_and_place(scene: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    done = rio(scene, out, "--model", gray_model.weights, "--tile", "16,24", "--range", "0,3000")
    assert done.exit_code == 0, done.output
    assert "out.tif" in done.stdout
    with rasterio.open(scene) as before, rasterio.open(out) as after:
        expected = swin2sr_ops.restore(before.read(), model=gray_model, axes="CYX", range=(0, 3000), nodata=0)
        np.testing.assert_array_equal(after.read(), expected.compute())
        assert (after.crs, after.bounds, after.nodata) == (before.crs, before.bounds, 0)
        assert after.transform == before.transform @ rasterio.Affine.scale(0.5)
        assert after.descriptions == ("nir", "swir")


def test_options_reach_the_run(scene: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    mask = tmp_path / "mask.tif"
    with rasterio.open(scene) as dataset:
        profile = {**dataset.profile, "count": 1, "dtype": "uint8", "nodata": None}
    with rasterio.open(mask, "w", **profile) as dataset:
        dataset.write(np.pad(np.ones((1, 30, 20), "u1"), ((0, 0), (0, 0), (0, 20))))
    options = dict(model=gray_model.weights, halo=8, precision="float64", device="cpu", mask=mask, nodata=3, tile=16)
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    done = rio(scene, tmp_path / "rio.tif", *words, "--scale", 2, "--quiet", "--co", "compress=zstd", "--co", "LEVEL=1")
    assert (done.exit_code, done.output) == (0, "")
    swin2sr_ops.restore_image(scene, tmp_path / "python.tif", **options)  # type: ignore[arg-type]
    with rasterio.open(tmp_path / "rio.tif") as one, rasterio.open(tmp_path / "python.tif") as other:
        np.testing.assert_array_equal(one.read(), other.read())
        assert (one.compression.value, other.compression.value) == ("ZSTD", "DEFLATE")
        assert one.nodata == 3
        assert not one.dataset_mask()[:, 40:].any()


def test_bound_results_and_intervals(scene: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    """The output equals Python's; options that are not given are not passed on."""
    cal = calibrated(gray_model, tmp_path / "cal.json", consistent="mean")
    options = {"consistent": "mean", "interval": 90, "calibration": cal, "limit": 300, "noise": 20}
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    done = rio(scene, tmp_path / "rio.ome.zarr", "--model", gray_model.weights, *words, "--quiet")
    assert (done.exit_code, done.output) == (0, "")
    report = swin2sr_ops.restore_image(scene, tmp_path / "rio.ome.zarr", model=gray_model.weights, **options)  # type: ignore[arg-type]
    assert report.state == "already"
    plain = rio(scene, tmp_path / "plain.ome.zarr", "--model", gray_model.weights, "--quiet")
    assert plain.exit_code == 0
    assert swin2sr_ops.restore_image(scene, tmp_path / "plain.ome.zarr", model=gray_model.weights).state == "already"


def test_existing_outputs(scene: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    out.write_bytes(b"mine")
    refused = rio(scene, out, "--model", gray_model.weights)
    assert refused.exit_code == 1
    assert "--overwrite" in refused.output
    assert out.read_bytes() == b"mine"
    assert rio(scene, out, "--model", gray_model.weights, "--overwrite").exit_code == 0
    again = rio(scene, out, "--model", gray_model.weights)
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("missing.tif", "out.tif"), "missing.tif"),
        (("{scene}", "out.tif", "--model", "nothing"), "nothing"),
        (("{scene}", "out.tif", "--halo", "wide"), "'wide' is not exact or a number"),
        (("{scene}", "out.tif", "--tile", "1,2,3"), "'1,2,3' is not N or ROWS,COLUMNS"),
        (("{scene}", "out.docx"), "does not say a format"),
    ],
)
def test_errors_are_sentences(
    words: tuple[str, ...], message: str, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = rio(*(word.format(scene=scene) for word in words))
    assert done.exit_code in (1, 2)
    assert message in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "out.tif").exists()


def test_the_real_command(scene: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    """The installed ``rio`` writes a Cloud Optimized GeoTIFF with overviews."""
    out = tmp_path / "out.tif"
    words = ["restore", scene, out, "--model", gray_model.weights, "--tile", "16"]
    done = subprocess.run([script(), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"out\.tif: .* \d+ tiles", done.stdout)
    validate = pytest.importorskip("rio_cogeo", reason="the validator of COG").cog_validate
    assert validate(out, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(scene) as before, rasterio.open(out) as after:
        expected = swin2sr_ops.restore(before.read(), model=gray_model, axes="CYX", nodata=0)
        np.testing.assert_array_equal(after.read(), expected.compute())


#: rio's command, which gets a Ctrl-C when its 20th tile is computed, however busy the machine is.
STOPPING = """
import os, signal
from rasterio.rio.main import main_group
from swin2sr_ops.run.pipeline import TileWork

compute, tiles = TileWork.compute, []

def stopping(*given):
    tiles.append(given)
    if len(tiles) == 20:
        os.kill(os.getpid(), signal.SIGINT)
    return compute(*given)

TileWork.compute = stopping
main_group()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent in another way there")
def test_stopped_and_resumed(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    """Ctrl-C after the first tiles; the same command resumes the run."""
    scene, out = tmp_path / "wide.tif", tmp_path / "out.tif"
    profile: dict[str, Any] = {"width": 640, "height": 320, "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
    with rasterio.open(scene, "w", driver="GTiff", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), **profile) as to:
        to.write(rng.integers(1, 3000, (1, 320, 640)).astype("u2"))
    words = ["restore", scene, out, "--model", gray_model.weights, "--tile", "16", "--range", "0,3000"]
    stopped = subprocess.run(
        [sys.executable, "-c", STOPPING, *words], capture_output=True, text=True, check=False, timeout=300
    )
    told = stopped.stderr
    assert stopped.returncode == 130, told
    assert "resumes the run" in told
    assert "Traceback" not in told
    assert not out.exists()
    again = subprocess.run([script(), *words], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    resumed = re.search(r"(\d+) of them by an earlier run", again.stdout)
    assert resumed
    assert int(resumed[1]) > 0
    with rasterio.open(scene) as before, rasterio.open(out) as after:
        expected = swin2sr_ops.restore(before.read(1), model=gray_model, range=(0, 3000))
        np.testing.assert_array_equal(after.read(1), expected.compute())


def test_progress(scene: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    """A terminal shows a bar."""
    pty = pytest.importorskip("pty", reason="no terminals here")
    ours, theirs = pty.openpty()
    words = [script(), "restore", scene, tmp_path / "out.tif", "--model", gray_model.weights, "--tile", "16"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal goes with the process
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    assert process.wait() == 0
    assert b"restoring" in shown
    assert b"100%" in shown


def test_rio_lists_it() -> None:
    """In a process of its own: rio finds the entry point, and loads no heavy library."""
    code = (
        "import sys; from rasterio.rio.main import main_group\ntry:\n    main_group(['{0}'])\nexcept SystemExit:\n"
        "    print('torch' in sys.modules, 'dask' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code.format("--help")], capture_output=True, text=True, check=True)
    assert re.search(r"^  restore +Super-resolve or denoise", told.stdout, re.MULTILINE)
    assert told.stdout.endswith("False False\n")
    told = subprocess.run([script(), "restore", "--help"], capture_output=True, text=True, check=True)
    assert "Usage: rio restore [OPTIONS] INPUT OUTPUT" in told.stdout
    for option in SIDES.values():  # the texts of the command line, and of Fractal's forms, stand in one place
        words = option.line.replace("SRC", "INPUT").split()[1:]
        assert " ".join(words) in " ".join(told.stdout.split()), option.name


def test_host() -> None:
    status = RioHost().status()
    assert (status.present, status.registered, status.working) == (True, True, True)
    assert status.version == rasterio.__version__
    with pytest.raises(RequestError, match="Nothing needs to be installed"):
        RioHost().install()


def test_a_broken_command_does_not_count_as_working(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main_group.commands, "restore", object())
    assert (RioHost().status().registered, RioHost().status().working) == (True, False)
    monkeypatch.delitem(main_group.commands, "restore")
    assert not RioHost().status().registered


def test_without_rasterio() -> None:
    code = (
        "import sys; sys.modules['rasterio'] = None\n"
        "from swin2sr_ops_rio.host import RioHost; print(RioHost().status().detail)\n"
        "try:\n    RioHost().install()\nexcept ValueError as exc:\n    print(exc)\n"
        "try:\n    import swin2sr_ops_rio.command\nexcept ImportError as exc:\n    print(exc)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.count("pip install 'swin2sr-ops[geo]'") == 3
