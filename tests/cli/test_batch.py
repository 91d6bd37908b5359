"""Many images on the command line: exit status, report, plan, progress, and Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from swin2sr_ops import cli
from swin2sr_ops.cli.interrupts import two_interrupts
from swin2sr_ops.events import Event, ImageEnd, ImageStart, RunStart, TileDone
from swin2sr_ops.run.progress import ProgressBars
from swin2sr_ops.spec import ModelSpec
from tests.batch.helpers import plate_zarr

SCRIPT = Path(sys.executable).parent / "swin2sr-ops"
KEPT = "swin2sr-ops: stopped; the same command resumes the run\n"


@pytest.fixture
def model(gray_model: ModelSpec) -> list[str]:
    return ["--model", gray_model.weights]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six images in ``in``, the third of them truncated."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for k, name in enumerate("abcdef"):
        tifffile.imwrite(f"in/{name}.tif", rng.integers(0, 255, (20 + k, 24), dtype="u1"))
    whole = Path("in/c.tif").read_bytes()
    Path("in/c.tif").write_bytes(whole[: len(whole) // 2])
    return tmp_path


def ran(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    status = cli.main(args)
    out, err = capsys.readouterr()
    return status, out, err


def test_a_folder_with_a_bad_image(model: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command = ["restore", "in", "out", "--report", "report.json", *model]
    status, out, err = ran(capsys, *command)
    assert status == 1
    assert out.startswith("failed: in/c.tif\n")
    assert "6 images: 5 restored, 1 failed in" in out
    assert "[1/6] in/a.tif: out/a_x2.ome.tif, " in err  # not a terminal: a line per image
    assert "[3/6] in/c.tif: failed, " in err
    assert {p.name for p in Path("out").iterdir()} == {f"{name}_x2.ome.tif" for name in "abdef"}
    report = json.loads(Path("report.json").read_text())
    assert (report["state"], report["counts"]) == ("failed", {"done": 5, "failed": 1})
    assert "truncated" in report["images"][2]["reason"]

    status, out, err = ran(capsys, *command)  # the same again: nothing is left to do
    assert status == 1
    assert "6 images: 5 finished before, 1 failed in" in out
    assert "(finished before)" in err

    tifffile.imwrite("in/c.tif", np.zeros((9, 9), "u1"))
    assert ran(capsys, *command)[0] == 0
    assert json.loads(Path("report.json").read_text())["counts"] == {"done": 1, "already": 5}


def test_sources_of_all_kinds(model: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Options may stand between sources and output."""
    Path("list.txt").write_text("in/a.tif\nin/b.tif\n")
    status, out, _ = ran(capsys, "restore", "in/d.tif", "in/[ef].tif", *model, "out", "--list", "list.txt", "--json")
    assert status == 0
    images = json.loads(out)["images"]
    assert [i["source"] for i in images] == [f"in/{name}.tif" for name in "defab"]
    assert {i["state"] for i in images} == {"done"}


def test_output_options(model: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, _, _ = ran(
        capsys, "restore", "in/[ab].tif", "out", "--format", "zarr", "--ngff", "0.4", "--no-pyramid", "--chunks", "16",
        "--tile", "16", "--quiet", *model,
    )  # fmt: skip
    assert status == 0
    array = json.loads(Path("out/a_x2.ome.zarr/0/.zarray").read_text())
    assert (array["shape"], array["chunks"]) == ([40, 48], [16, 16])
    assert not Path("out/a_x2.ome.zarr/1").exists()


def test_no_figures_if_nothing_was_restored(model: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    plate_zarr("p.zarr")
    for words in (["in/[ab].tif", "out"], ["p.zarr", "q.zarr"]):
        assert ran(capsys, "restore", *words, *model)[0] == 0
        status, out, err = ran(capsys, "restore", *words, *model)
        assert (status, re.findall(r"\d\.\d", out + err)) == (0, [])  # no seconds, megapixels, rates
    assert "2 images: 2 finished before" in ran(capsys, "restore", "in/[ab].tif", "out", *model)[1]


def test_quiet(model: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(capsys, "restore", "in/[ab].tif", "out", "--quiet", *model) == (0, "", "")


def test_fail_fast(model: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ran(capsys, "restore", "in", "out", "--fail-fast", *model)
    assert status == 1
    assert "2 restored, 1 failed, 3 not started" in out


def test_one_bad_image_alone_is_an_error(model: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = ran(capsys, "restore", "in/c.tif", "c.zarr", "--report", "report.json", *model)
    assert (status, out) == (2, "")
    assert err.startswith("swin2sr-ops: error: ")
    assert "in/c.tif' is truncated" in err
    report = json.loads(Path("report.json").read_text())
    assert report["images"][0]["state"] == "failed"
    assert "is truncated" in report["images"][0]["reason"]


def test_the_report_of_one_image(model: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(capsys, "restore", "in/a.tif", "a.zarr", "--report", "report.json", *model)[0] == 0
    (image,) = json.loads(Path("report.json").read_text())["images"]
    assert (image["output"], image["state"], image["pixels"]) == ("a.zarr", "done", 1920)


def test_a_plate(model: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An archive is one image with one report; an error of the entire archive is an error of the command."""
    plate_zarr("p.zarr")
    status, out, err = ran(capsys, "restore", "p.zarr", "q.zarr", *model)
    assert (status, "2 images" in out) == (0, True)
    assert "images      2\n" in err
    assert err.index("images      2") < err.index("time        about")
    assert "[2/2] A/1/1: done" in err
    assert json.loads(ran(capsys, "restore", "p.zarr", "q.zarr", "--json", *model)[1])["state"] == "already"
    Path("p.zarr/A/1/1/0/.zarray").unlink()
    status, out, _ = ran(capsys, "restore", "p.zarr", "r.zarr", *model)
    assert status == 1
    assert out.startswith("r.zarr is not finished: plate, 1 image, ")
    assert "  failed: A/1/1: " in out
    assert "The restored part is kept (1 image)" in out
    assert "--allow-missing finishes without it." in out
    assert ran(capsys, "plan", "p.zarr", *model)[0] == 1
    status, out, err = ran(capsys, "restore", "p.zarr", "r.zarr", "--allow-missing", *model)
    assert status == 0
    assert "  left out: A/1/1: " in out
    status, _, err = ran(capsys, "restore", "p.zarr", "nowhere/r.zarr", *model)
    assert status == 2
    assert err.splitlines()[-1].startswith("swin2sr-ops: error: ")


# --- plans ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "restore in out --dry-run",
        "restore in/a.tif a.zarr --dry-run --report r.json",
        "plan in",
        "plan in --to out",
    ],
)
def test_a_plan_writes_nothing(
    folder: Path, model: list[str], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    before = sorted(p for p in folder.rglob("*"))
    status, out, _ = ran(capsys, *command.split(), *model)
    assert status == (0 if "a.tif" in command else 1)  # a bad image is reported now
    assert "images      " in out
    assert "time        about" in out
    if status:
        assert "in/c.tif: cannot be restored." in out
    assert sorted(p for p in folder.rglob("*")) == before
    status, out, _ = ran(capsys, *command.split(), "--json", *model)
    assert {"count", "pixels_in", "output_bytes", "free_bytes", "seconds", "images"} <= set(json.loads(out))


def test_a_plan_of_one_image_tells_the_time(model: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ran(capsys, "plan", "in/a.tif", *model)
    assert status == 0
    assert "time        about" in out
    assert json.loads(ran(capsys, "plan", "in/a.tif", "--json", *model)[1])["seconds"] > 0


def test_a_full_disk_is_refused_before_anything_runs(
    model: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    for command in (["in", "out"], ["in/a.tif", "a.zarr"]):
        status, out, err = ran(capsys, "restore", *command, *model)
        assert (status, out) == (2, "")
        assert "too little space" in err
        assert not Path(command[1]).exists()
    assert ran(capsys, "restore", "in/a.tif", "a.zarr", "--no-disk-check", *model)[0] == 0


# --- progress -----------------------------------------------------------------------------------------


def test_tiles_of_an_earlier_run_are_reported_but_do_not_count_as_speed(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProgressBars(True, 2000)
    progress.seen = True
    progress.whole = progress._bar(2000, "all images")
    whole = progress.whole
    progress(ImageStart(done=0, total=2, source="a", output="b"))
    progress(RunStart(done=120, total=400, pixels=1000, image="a"))
    assert progress.bar is not None
    assert (progress.bar.n, progress.bar.initial) == (300, 300)
    assert (whole.n, whole.initial) == (300, 300)
    progress(TileDone(done=400, total=400, pixels=700))
    progress(Event(done=1, total=1))
    ended = ImageEnd(done=1, total=2, source="a", output="b", state="done", pixels=1000, seconds=1.0)
    progress(ended)
    assert (whole.n, whole.initial) == (1000, 300)
    progress(ImageStart(done=1, total=2, source="a", output="b"))
    progress(replace(ended, done=2, state="already"))
    assert (whole.n, whole.initial) == (2000, 1300)
    progress.close()
    assert "resuming: 120 of 400 tiles are finished" in capsys.readouterr().err


def test_quiet_shows_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProgressBars(False, 2000)
    progress(RunStart(done=120, total=400, pixels=1000))
    progress(TileDone(done=121, total=400, pixels=7))
    progress.close()
    assert capsys.readouterr() == ("", "")


# --- Ctrl-C -----------------------------------------------------------------------------------------------


def test_two_interrupts_gives_the_handler_back(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), two_interrupts():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert "Ctrl-C again stops now" in capfd.readouterr().err


def until(there: Callable[[], Any], run: subprocess.Popen[str]) -> None:
    """Wait for another process."""
    end = time.monotonic() + 60
    while not there():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def start(*words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_after_ctrl_c_the_same_command_resumes(model: list[str]) -> None:
    tifffile.imwrite("in/c.tif", np.random.default_rng(0).integers(0, 255, (1200, 1200), dtype="u1"))
    command = [str(SCRIPT), "restore", "in", "out", "--tile", "128", "--report", "report.json", *model]
    marks = Path("out/c_x2.ome.tif.partial/.swin2sr_ops/done/0")
    run = start(*command)
    until(lambda: marks.is_dir() and len(list(marks.iterdir())) > 5, run)
    stopped(run, {"done": 2, "stopped": 1, "not started": 3})
    run = start(*command)
    assert run.stderr is not None
    lines = iter(run.stderr.readline, "")
    assert any(line.startswith("resuming: ") and "of 100 tiles are finished" in line for line in lines)
    stopped(run, {"already": 2, "stopped": 1, "not started": 3})


def stopped(run: subprocess.Popen[str], counts: dict[str, int]) -> None:
    """Press Ctrl-C once."""
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=180)
    assert run.returncode == 130
    assert err.endswith(KEPT)
    assert "1 interrupted" in out
    report = json.loads(Path("report.json").read_text())
    assert (report["state"], report["counts"]) == ("stopped", counts)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_ctrl_c_twice_stops_now(model: list[str]) -> None:
    """The first waits for a tile that takes a minute to write; the second does not."""
    code = (
        "import sys, time, pathlib\n"
        "from swin2sr_ops.run import pipeline\n"
        "def slow(self, piece, result):\n"
        "    pathlib.Path('writing').touch()\n"
        "    time.sleep(60)\n"
        "pipeline.TileWork.write = slow\n"
        "from swin2sr_ops.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    run = start(sys.executable, "-c", code, "restore", "in/a.tif", "a.zarr", *model)
    until(lambda: Path("writing").exists(), run)
    began = time.monotonic()
    run.send_signal(signal.SIGINT)
    assert run.stderr is not None
    until(lambda: "Ctrl-C again stops now" in run.stderr.readline(), run)  # type: ignore[union-attr]
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "stopped now" in err
    assert time.monotonic() - began < 30
    assert not Path("a.zarr").exists()
