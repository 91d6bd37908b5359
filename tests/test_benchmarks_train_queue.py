"""``benchmarks/train_queue.py``: recipe after recipe; after a kill nothing is lost, and nothing is done twice."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from swin2sr_ops.errors import RequestError
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.weights.loader import resolve_spec

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "train_queue.py"
RECIPE = """\
steps = 6
batch = 1
patch = 16
warmup = 0
[model]
name = "recipe"
task = "denoise"
scale = 1
channels = 1
dim = 8
depths = [1]
heads = [2]
upsampler = ""
[degrade]
noise = { sigma = [20, 20] }
"""
QUEUE = """\
[[run]]
name = "first"
recipe = "RECIPE"
milestones = [2, 4]
against = "tiny-x1-gray"
measure = [{ data = "set", degrade = "noise:25", metric = "psnr" }]
[[run]]
name = "second"
recipe = "RECIPE"
steps = 2
"""


@pytest.fixture
def queue(tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_queue", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_queue"] = module
    spec.loader.exec_module(module)
    rng = np.random.default_rng(0)
    for name in ("data", "eval/set"):
        (tmp_path / name).mkdir(parents=True)
    tifffile.imwrite(tmp_path / "data" / "a.tif", rng.integers(0, 255, (64, 64), dtype="u1"))
    Image.fromarray(rng.integers(0, 255, (32, 32), dtype="u1")).save(tmp_path / "eval" / "set" / "b.png")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "queue.toml").write_text(QUEUE.replace("RECIPE", str(tmp_path / "recipe.toml")))
    return module


def work(queue: ModuleType, folder: Path) -> list[dict[str, str]]:
    state = folder / ".training"
    queue.work(queue.read_queue(folder / "queue.toml"), folder / "data", folder / "eval", state, save_every=1)
    rows: list[dict[str, str]] = queue.read_results(state / "results.csv")
    return rows


def test_killed_anywhere_and_started_again(queue: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    trained: list[int] = []
    step, measured = Trainer._train_step, queue.evaluate

    def dying(self: Trainer) -> float:
        if len(trained) in (3, 6):
            trained.append(-1)
            raise Killed
        trained.append(self.step)
        return step(self)

    def evaluate(*given: Any, **options: Any) -> Any:
        if len(trained) == 2:
            trained.append(-2)
            raise Killed
        return measured(*given, **options)

    monkeypatch.setattr(Trainer, "_train_step", dying)
    monkeypatch.setattr(queue, "evaluate", evaluate)
    for _ in range(3):
        with pytest.raises(Killed):
            work(queue, tmp_path)
    rows = work(queue, tmp_path)
    assert [t for t in trained if t >= 0] == [0, 1, 2, 3, 4, 5, 0, 1]  # no step is computed twice
    assert [(row["run"], row["step"]) for row in rows] == [("first", "2"), ("first", "4"), ("first", "6")]
    assert all(row["gain"][0] in "+-" for row in rows)
    state = tmp_path / ".training"
    assert [resolve_spec(state / run / f"{run}.safetensors").name for run in ("first", "second")] == ["first", "second"]
    monkeypatch.setattr(queue, "train", None)  # finished runs are not touched again
    assert work(queue, tmp_path) == rows


def test_it_waits_while_something_is_timed(queue: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pause, waited = tmp_path / ".training" / "pause", []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        pause.unlink()

    monkeypatch.setattr(queue.time, "sleep", sleep)
    pause.parent.mkdir()
    pause.touch()
    work(queue, tmp_path)
    assert waited == [queue.WAIT]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[run", "cannot be read"),
        ('[[run]]\nname = "a"', "neither recipe nor init"),
        ('[[run]]\nname = "a"\nrecipe = "x"\nspeed = 3', "unknown entries speed"),
        ('[[run]]\nname = "a"\nrecipe = "x"\n[[run]]\nname = "a"\nrecipe = "y"', "the same name"),
    ],
)
def test_a_wrong_queue_is_a_sentence(queue: ModuleType, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "queue.toml").write_text(text)
    with pytest.raises(RequestError, match=says):
        queue.read_queue(tmp_path / "queue.toml")
