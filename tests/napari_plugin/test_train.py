"""A model is trained on a noisy layer in the background, and then listed in the Restore widget."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.training import METHODS, Training

from swin2sr_ops.errors import RequestError, Stopped
from swin2sr_ops.hosting import resolve_model
from tests.napari_plugin.conftest import spots


def noisy(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    return (spots(*shape) + rng.normal(300, 60, shape)).clip(0, 65535).astype("u2")


@pytest.mark.parametrize(("method", "axes"), [("auto", "YXS"), ("repeats", "TYX")])
def test_a_layer_trains_a_model_and_its_card(method: str, axes: str, tmp_path: Path) -> None:
    pixels = noisy(2, 96, 80)
    image = LayerImage((np.stack([pixels[0]] * 3, -1) if axes == "YXS" else pixels,), axes, "my cells")
    seen: list[Any] = []
    training = Training(image, str(tmp_path / "own.safetensors"), method, steps=1)
    training.check()
    said = training.work(seen.append, lambda: False)
    spec = resolve_model(tmp_path / "own.safetensors")
    assert (spec.name, spec.scale, spec.channels) == ("own", 1, 3 if axes == "YXS" else 1)
    assert spec.provenance["init"]["name"] == ("small-x1-rgb" if axes == "YXS" else "small-x1-camera")
    assert [(event.kind, event.done, event.total) for event in seen] == [("step", 1, 1)]
    assert said.line.startswith("own is trained and chosen in Restore")
    assert "card" in said.more
    assert sorted(p.name for p in tmp_path.iterdir()) == ["own.md", "own.safetensors"]


def test_a_stopped_training_writes_nothing(tmp_path: Path) -> None:
    training = Training(LayerImage((noisy(96, 80),), "YX"), str(tmp_path / "own.safetensors"))
    with pytest.raises(Stopped):
        training.work(lambda _: None, lambda: True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("own.pth", "must end with"),
        ("there.safetensors", "exists: choose another"),
        ("no/own.safetensors", "no folder"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_at_once(name: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "there.safetensors").touch()
    with pytest.raises(RequestError, match=says):
        Training(LayerImage((noisy(96, 80),), "YX"), str(tmp_path / name)).check()


def test_a_way_that_does_not_fit_is_said_in_the_words_of_the_window(tmp_path: Path) -> None:
    training = Training(LayerImage((noisy(96, 80),), "YX"), str(tmp_path / "own.safetensors"), "repeats", steps=1)
    with pytest.raises(RequestError, match="several frames or planes: 'One image of each place' needs one only"):
        training.work(lambda _: None, lambda: False)


@pytest.mark.skipif(sys.platform != "linux", reason="Mesa draws on Linux")
def test_training_beside_a_canvas_loads_no_second_llvm() -> None:
    """Triton's crashes the process where Mesa's is loaded; the package itself can still be imported afterwards."""
    code = (
        "import sys, torch; from swin2sr_ops_napari.training import load_optimisers; load_optimisers()\n"
        "weights = torch.nn.Parameter(torch.ones(2)); optimiser = torch.optim.Adam([weights])\n"
        "weights.sum().backward(); optimiser.step(); print(any(m.startswith('triton') for m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def opened(viewer: Any) -> Any:
    return viewer.window.add_plugin_dock_widget("swin2sr-ops", "Train")[1]


def test_the_window_trains_and_lists_the_model(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    found = opened(viewer)
    assert not found.train_button.isEnabled()
    layer = viewer.add_image(noisy(96, 80), name="my cells")
    assert found.layer == layer
    assert found.path_edit.text().endswith("my-cells-denoise.safetensors")
    assert [found.method_box.itemData(i) for i in range(found.method_box.count())] == list(METHODS)
    path = str(tmp_path / "own.safetensors")
    found.path_edit.setText(path)
    found.steps_box.setValue(2)
    lines: list[str] = []
    found.train_button.click()
    found.running.moved.connect(lambda line, *_: lines.append(line))
    assert found.cancel_button.isEnabled()
    qtbot.waitUntil(lambda: found.running is None, timeout=120_000)
    assert found.status.text().startswith("own is trained and chosen in Restore")
    assert lines[-1].startswith("2 of 2 steps")
    _, restore = viewer.window.add_plugin_dock_widget("swin2sr-ops", "Restore")
    assert restore.form.model_box.currentData() == path
    assert restore.form.spec().name == "own"


def test_a_path_is_proposed_for_any_name(viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a long name, and none once all names exist."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    found = opened(viewer)
    viewer.add_image(noisy(96, 80), name="x" * 400)
    assert Path(found.path_edit.text()).name == "x" * 100 + "-denoise.safetensors"
    for n in ("", *(f"-{i}" for i in range(2, 100))):
        (tmp_path / f"taken-denoise{n}.safetensors").touch()
    viewer.layers.clear()
    viewer.add_image(noisy(96, 80), name="taken")
    assert found.layer.name == "taken"
    assert found.path_edit.text() == ""
    found.train_button.click()
    assert "must end with .safetensors" in found.status.text()


def test_the_window_cancels_and_says_what_is_wrong(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    found = opened(viewer)
    viewer.add_image(noisy(96, 80))
    found.path_edit.setText(str(tmp_path / "own.safetensors"))
    found.train_button.click()
    found.cancel_button.click()
    qtbot.waitUntil(lambda: found.running is None, timeout=120_000)
    assert found.status.text() == "Cancelled; no model was written."
    assert not list(tmp_path.iterdir())
    found.path_edit.setText(str(tmp_path / "own.txt"))
    found.train_button.click()
    assert "must end with .safetensors" in found.status.text()
    viewer.layers.clear()
    viewer.add_image(noisy(20, 20))
    found.path_edit.setText(str(tmp_path / "own.safetensors"))
    found.train_button.click()
    qtbot.waitUntil(lambda: found.running is None, timeout=120_000)
    assert "contains no image of at least 48 x 48 px" in found.status.text()
