"""The study of training settings runs, briefly; the same command repeats nothing, and draws what it measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
FOLDERS = (
    *("train/photo", "train/microscopy", "train/satellite", "eval/academic/Set5/HR", "eval/satellite"),
    *(f"eval/microscopy/{name}" for name in ("axon_sem", "bbbc013", "bbbc039", "cellprofiler", "em_vnc", "t98g")),
)


def study(data: Path, out: Path) -> str:
    words = ["--data", str(data), "--out", str(out), "--teacher", "nano-x2-rgb", "--minutes", "0.01"]
    command = [sys.executable, str(ROOT / "benchmarks" / "training_study.py"), *words]
    settings = "base;teacher 0.5;warm restart;continued, base"
    done = subprocess.run([*command, "--settings", settings], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_study_runs_and_resumes(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "runs"
    rng = np.random.default_rng(0)
    for name in FOLDERS:
        (data / name).mkdir(parents=True)
        y, x = np.mgrid[:140, :150] / rng.uniform(3, 9)
        pixels = (np.sin(x) + np.cos(y) + 2) * 60 + rng.normal(0, 2, x.shape)
        Image.fromarray(pixels.clip(0, 255).astype("u1")).save(data / name / "0.png")
    first = study(data, out)
    rows = (out / "rows.csv").read_text()
    assert "| base, seed 1 |" in first
    assert "| teacher 0.5 |" in first
    assert [line.split(",")[0] for line in rows.splitlines()].count("warm restart") == 2
    again = study(data, out)
    assert (out / "rows.csv").read_text() == rows
    assert again.strip().splitlines()[-4:] == first.strip().splitlines()[-4:]
    texts = [text.text for text in ElementTree.parse(out / "study.svg").iter() if text.tag.endswith("text")]
    assert {"teacher 0.5", "warm restart", "Set5"} <= set(texts)
