"""A checkpoint of any kind becomes a ``.safetensors`` file that gives the same pixels, and needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.errors import ModelError, OutputError, RequestError
from swin2sr_ops.export.weights import export_safetensors
from swin2sr_ops.hooks.models import load_model
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.catalogue import find
from swin2sr_ops.weights.loader import load_parameters
from swin2sr_ops.weights.save import save_model
from tests.conftest import NATIVE

IMAGE = np.arange(30 * 26, dtype="u2").reshape(30, 26)
_HINTS = ["--value-range", "1", "--window", "8"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A file as the official code saves them; it states neither its range nor its window."""
    state = {name: torch.from_numpy(values) for name, values in load_parameters(find("nano-x2-gray")).items()}
    torch.save({"params": state}, tmp_path / "nano.pth")
    return tmp_path / "nano.pth"


@NATIVE
def test_the_same_pixels_without_torch(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = checkpoint.with_suffix(".safetensors")
    words = ["export", str(checkpoint), "--to", "safetensors", "--output", str(output), *_HINTS]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["size_bytes"] == output.stat().st_size
    code = (
        "import sys, numpy as np, swin2sr_ops\n"
        f"image = np.arange(30 * 26, dtype='u2').reshape(30, 26)\n"
        f"found = swin2sr_ops.restore(image, model={str(output)!r}, device='cpu').compute()\n"
        f"np.save({str(output.with_suffix('.npy'))!r}, found); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    expected = swin2sr_ops.restore(IMAGE, model="nano-x2-gray", device="cpu").compute()
    np.testing.assert_array_equal(np.load(output.with_suffix(".npy")), expected)
    assert main(words) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert "needs no torch" in capsys.readouterr().out


def test_a_word_of_several_views_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word, views in (("best", 8), ("good", 1)):
        output = tmp_path / f"{word}.safetensors"
        assert main(["export", word, "--to", "safetensors", "--output", str(output), "--json"]) == 0
        captured = capsys.readouterr()
        network = json.loads(captured.out)["model"]
        note = f"`restore --model {word}` averages 8 views of '{network}'; the file has the network, which gives one"
        assert (note in captured.err) is (views > 1)


def test_a_fact_that_the_checkpoint_lacks_is_asked_for(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(checkpoint), "--to", "safetensors", "--output", str(checkpoint.with_suffix(".safetensors"))]
    assert main(words) == 2
    assert "window=" in capsys.readouterr().err
    assert main([*words[:-1], str(checkpoint.with_suffix(".bin"))]) == 2
    assert "does not end in .safetensors" in capsys.readouterr().err
    assert main([*words, *_HINTS, "--tile", "64"]) == 2
    assert "--tile is for graphs" in capsys.readouterr().err


@pytest.mark.parametrize("to", ["onnx", "bioimageio", "safetensors"])
def test_the_facts_are_passed_on_for_every_format(
    to: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from swin2sr_ops.errors import ModelError

    given: list[dict[str, object]] = []

    def resolve(_model: object, **hints: object) -> None:
        given.append(hints)
        raise ModelError("enough")

    for module in ("onnx", "bioimageio", "weights"):
        monkeypatch.setattr(f"swin2sr_ops.export.{module}.resolve_model", resolve)
        if module != "weights":
            monkeypatch.setattr(f"swin2sr_ops.export.{module}._NEEDED", ())
    ending = {"onnx": ".onnx", "bioimageio": ".zip", "safetensors": ".safetensors"}[to]
    assert main(["export", str(checkpoint), "--to", to, "--output", str(checkpoint.with_suffix(ending)), *_HINTS]) == 2
    assert given == [{"value_range": 1.0, "window": 8}]


def test_a_full_disk(gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    net = load_model(gray_model)
    monkeypatch.setattr("safetensors.numpy.save_file", full)
    monkeypatch.setattr("swin2sr_ops.weights.save.save_file", full)
    with pytest.raises(OutputError, match=r"a\.safetensors' cannot be written: .*No space left"):
        export_safetensors(gray_model, tmp_path / "a.safetensors")
    with pytest.raises(OutputError, match=r"b\.safetensors' cannot be written: .*No space left"):
        save_model(tmp_path / "b.safetensors", net, gray_model)
    assert not [path for path in tmp_path.iterdir() if path.name in ("a.safetensors", "b.safetensors")]


def test_an_empty_name_is_neither_a_model_nor_a_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="model is an empty text"):
        export_safetensors("", tmp_path / "a.safetensors")
    with pytest.raises(RequestError, match="The output is an empty text"):
        export_safetensors("nano-x2-gray", "")
