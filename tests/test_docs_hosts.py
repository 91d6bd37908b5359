"""The pages about Fractal and ZarrNii: what they show runs, with files and models of the names that they use."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from swin2sr_ops.hooks import dispatch
from tests.conftest import write_model
from tests.docs_files import ngff, picture, plate
from tests.test_docs import blocks

ROOT = Path(__file__).parents[1]


def test_fractal(tmp_path: Path) -> None:
    """The two lines that do what a server does, on a plate."""
    pytest.importorskip("fractal_task_tools", reason="fractal.md uses it")
    plate(tmp_path / "plate.zarr")
    (block,) = (b for b in blocks("fractal") if "--args-json" in b.text)
    write, run = block.text.strip().splitlines()
    text, _, name = write.removeprefix("echo ").partition(" > ")
    (tmp_path / name).write_text(shlex.split(text)[0], encoding="utf-8")
    words = shlex.split(run)
    assert words[0] == "python"
    words[:2] = [sys.executable, str(ROOT / words[1])]
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert zarr.open_group(tmp_path / "plate.zarr/A/1/0_restored", mode="r")["0"].shape == (1, 48, 48)
    assert "0_restored" in (tmp_path / "out.json").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore")  # ZarrNii's and its libraries' own
def test_zarrnii(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script, with a small model instead of the one that must be fetched."""
    pytest.importorskip("zarrnii", reason="zarrnii.md uses it", exc_type=ImportError)
    ngff(tmp_path / "brain.ome.zarr", picture(1, 4, 40, 48), "CZYX", version="0.4", chunks=(32, 32))
    small = write_model(tmp_path / "x1.safetensors", scale=1, upsampler="", task="denoise")
    resolve = dispatch.resolve_model

    def resolved(model: Any = "auto", **wanted: Any) -> Any:
        return resolve(small if model == "swinir-denoise-gray-25" else model, **wanted)

    for module in [m for m in list(sys.modules.values()) if getattr(m, "resolve_model", None) is resolve]:
        monkeypatch.setattr(module, "resolve_model", resolved)
    monkeypatch.chdir(tmp_path)
    (block,) = (b for b in blocks("zarrnii") if "import zarrnii" in b.text)
    names: dict[str, Any] = {}
    exec(compile(block.text, "zarrnii.md", "exec"), names)
    clean = zarr.open_group(tmp_path / "clean.ome.zarr", mode="r")["s0"][:]
    assert clean.shape[-3:] == (4, 40, 48)
    assert np.isfinite(clean).all()
