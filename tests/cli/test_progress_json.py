"""Progress for programs, and SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import swin2sr_ops
from swin2sr_ops import cli
from swin2sr_ops.cli import progress_json
from swin2sr_ops.cli.progress_json import JsonLines
from swin2sr_ops.events import Event, PyramidProgress, RunStart, TileDone
from swin2sr_ops.spec import ModelSpec
from tests.batch.helpers import plate_zarr

FIELDS = {"kind", "image", "done", "total", "level", "seconds_left", "text"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("a.tif", rng.integers(0, 255, (40, 48), dtype="u1"))
    return tmp_path


def events(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> list[dict[str, Any]]:
    """Every line on standard error is an event of the known fields."""
    assert cli.main(["restore", *words, "--progress", "json"]) == status
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    for event in found:
        assert event.keys() <= FIELDS
    return found


def test_one_image(gray_model: ModelSpec, capsys: pytest.CaptureFixture[str]) -> None:
    found = events(capsys, "a.tif", "a.zarr", "--tile", "16", "--model", gray_model.weights)
    kinds = [event["kind"] for event in found]
    assert kinds == ["estimate", "start", *["tile"] * 9, "end"]
    tiles = [event for event in found if event["kind"] == "tile"]
    assert [event["done"] for event in tiles] == list(range(1, 10))
    assert {(event["image"], event["total"]) for event in tiles} == {("a.tif", 9)}
    assert tiles[0]["seconds_left"] >= tiles[-1]["seconds_left"] == 0


def test_many_images_and_a_bad_one(gray_model: ModelSpec, capsys: pytest.CaptureFixture[str]) -> None:
    plate_zarr("p.zarr")
    Path("bad.tif").write_bytes(b"II*\0nonsense")
    found = events(capsys, "p.zarr", "a.tif", "bad.tif", "out", "--quiet", "--model", gray_model.weights, status=1)
    ends = [(e["image"], e["done"], e["total"]) for e in found if e["kind"] == "image end"]
    assert ends == [("p.zarr", 1, 3), ("a.tif", 2, 3), ("bad.tif", 3, 3)]
    assert found[-1]["text"].startswith("failed: ")
    parts = [(e["image"], e["text"]) for e in found if e["kind"] == "part end"]
    assert parts == [("p.zarr/A/1/0", "done"), ("p.zarr/A/1/1", "done")]
    again = events(capsys, "p.zarr", "a.tif", "out", "--model", gray_model.weights)
    assert [e["text"] for e in again if e["kind"] == "image end"] == ["already", "already"]


class SomethingNew(Event):
    """A kind that the command line does not know yet."""

    kind = "something new"


def test_time_left_counts_this_run_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """1000 of 4000 pixels were finished; 1000 take 10 s, so 2000 will take 20 s."""
    now = [0.0]
    monkeypatch.setattr(progress_json.time, "monotonic", lambda: now[0])
    tell = JsonLines("a", 4000)
    tell(RunStart(done=1, total=2, pixels=2000, image="x"))
    now[0] = 10.0
    tell(TileDone(done=2, total=2, pixels=1000, tile="x"))
    tell(SomethingNew(done=0, total=0))
    tell(PyramidProgress(done=1, total=3, level=1))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[1:] == [
        {"kind": "tile", "image": "a", "done": 2, "total": 2, "seconds_left": 20.0},
        {"kind": "pyramid", "image": "a", "done": 1, "total": 3, "level": 1},
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking")
def test_after_sigterm_the_same_command_resumes(gray_model: ModelSpec, rng: np.random.Generator) -> None:
    """A program that runs this one sends SIGTERM; test_batch.py tests Ctrl-C."""
    pixels = rng.integers(0, 255, (500, 500), dtype="u1")
    tifffile.imwrite("big.tif", pixels)
    words = ["restore", "big.tif", "big.zarr", "--tile", "96", "--progress", "json", "--model", gray_model.weights]
    code = "import sys; from swin2sr_ops.cli import main; sys.exit(main())"
    run = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.stderr is not None
    for line in iter(run.stderr.readline, ""):
        if json.loads(line)["kind"] == "tile":
            break
    run.send_signal(signal.SIGTERM)
    out, err = run.communicate(timeout=180)
    assert (run.returncode, out) == (130, "")
    *lines, last = err.splitlines()
    notes = [event["text"] for event in map(json.loads, lines) if event["kind"] == "note"]
    assert notes[0].startswith("stopping after the tiles in progress")
    assert last == "swin2sr-ops: stopped; the same command resumes the run"
    assert Path("big.zarr.partial").is_dir()
    assert not Path("big.zarr").exists()
    report = swin2sr_ops.restore_image("big.tif", "big.zarr", tile=96, model=gray_model.weights)
    assert 0 < report.resumed < report.tiles
