"""Checkpoints of every origin are read, and errors name the kind of other files."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from swin2sr_ops.errors import CheckpointError
from swin2sr_ops.weights.checkpoint import read_checkpoint
from swin2sr_ops.weights.loader import load_network, resolve_spec
from tests.nets.reference import perturb, spandrel_network, transformers_network
from tests.weights.helpers import TINY, TINY_IR, parameters, to_hugging_face, with_buffers

STATE = parameters(TINY)


def _same(found: dict[str, Tensor], expected: dict[str, Tensor] = STATE) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


# --- files that are read --------------------------------------------------------------------------

WRAPPERS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "flat": lambda s: s,
    "params": lambda s: {"params": s},
    "ema-first": lambda s: {"params": {"wrong": torch.zeros(1)}, "params_ema": s},
    "ema-dashed": lambda s: {"params-ema": s, "params": {"wrong": torch.zeros(1)}},
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model_state_dict": lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {}}},
    "model": lambda s: {"model": s},
    "net": lambda s: {"net": s},
    "only-dict": lambda s: {"generator": s, "iteration": 5},
    "twice": lambda s: {"state_dict": {"params": s}},
    "module.": lambda s: {f"module.{k}": v for k, v in s.items()},
    "netG.": lambda s: {"params": {f"netG.{k}": v for k, v in s.items()}},
    "module.netG.": lambda s: {f"module.netG.{k}": v for k, v in s.items()},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_torch_files(tmp_path: Path, wrapper: str, legacy: bool) -> None:
    path = tmp_path / "model.pth"
    torch.save(WRAPPERS[wrapper](with_buffers(STATE, TINY)), path, _use_new_zipfile_serialization=not legacy)
    checkpoint = read_checkpoint(path)
    _same(checkpoint.parameters)
    assert checkpoint.facts == {"window": 8}
    assert len(checkpoint.sha256) == 64


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt", ".weights"])
def test_the_name_of_a_torch_file_does_not_matter(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    torch.save(STATE, path)
    _same(read_checkpoint(path).parameters)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = {name: tensor.to(dtype) for name, tensor in STATE.items()}
    torch.save(stored, tmp_path / "model.pth")
    _same(read_checkpoint(tmp_path / "model.pth").parameters, {name: tensor.float() for name, tensor in stored.items()})


def test_safetensors_of_others(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({f"params_ema.{k}".removeprefix("params_ema."): v for k, v in STATE.items()}, path)
    checkpoint = read_checkpoint(path)
    _same(checkpoint.parameters)
    assert checkpoint.spec is None
    save_file(to_hugging_face(STATE), path)
    _same(read_checkpoint(path).parameters)


CONFIG = {
    "model_type": "swin2sr",
    "upscale": 2,
    "num_channels": 3,
    "embed_dim": 12,
    "depths": [2, 2],
    "num_heads": [2, 2],
    "window_size": 7,
    "img_range": 255.0,
    "upsampler": "pixelshuffledirect",
}


def _folder(path: Path, config: dict[str, Any] | None = None) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    return path


@pytest.mark.parametrize("kind", ["bin", "safetensors", "sharded"])
def test_hugging_face_folders(tmp_path: Path, kind: str) -> None:
    folder = _folder(tmp_path / "model")
    renamed = to_hugging_face(STATE)
    if kind == "bin":
        torch.save(renamed, folder / "pytorch_model.bin")
    elif kind == "safetensors":
        save_file(renamed, folder / "model.safetensors")
    else:
        where = {name: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(renamed)}
        for file in set(where.values()):
            save_file({name: renamed[name] for name in where if where[name] == file}, folder / file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    _same(read_checkpoint(folder).parameters)
    spec = resolve_spec(folder)
    assert (spec.name, spec.window, spec.value_range) == ("model", 7, 255.0)  # from config.json alone
    assert len(spec.sha256) == 64
    load_network(spec)


@pytest.mark.parametrize("upsampler", ["pixelshuffle", "pixelshuffledirect", "nearest+conv", "pixelshuffle_aux", ""])
def test_transformers_own_folders(tmp_path: Path, upsampler: str) -> None:
    """Written by save_pretrained; outputs agree for the heads in which the port is right."""
    scale = 4 if upsampler else 1
    theirs = transformers_network(TINY.__class__(**{**TINY.to_dict(), "upsampler": upsampler, "scale": scale}))
    perturb(theirs)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_network(resolve_spec(tmp_path / "theirs"))
    assert ours.spec.upsampler == upsampler
    if upsampler in ("pixelshuffle_aux", ""):
        return
    image = torch.rand(1, 3, 16, 24)
    with torch.inference_mode():
        assert (ours(image) - theirs(image).reconstruction).abs().max() <= 1e-5


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
@pytest.mark.parametrize("spec", [TINY, TINY_IR], ids=lambda spec: spec.architecture)
def test_official_state_dicts_with_their_buffers(tmp_path: Path, spec: Any) -> None:
    theirs = spandrel_network(spec, image_size=24)
    perturb(theirs)
    torch.save({"params": theirs.state_dict()}, tmp_path / "official.pth")
    ours = load_network(resolve_spec(tmp_path / "official.pth", value_range=1))
    image = torch.rand(1, 3, 19, 27)
    with torch.inference_mode():
        assert (ours(image) - theirs(image)).abs().max() <= 1e-5


# --- files that are refused -----------------------------------------------------------------------


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def _png(path: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 3), "u1")).save(path, format="PNG")


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def _cut(path: Path) -> None:
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:-500])


def _cut_legacy(path: Path) -> None:
    torch.save(STATE, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-500])


class _Evil:
    def __reduce__(self) -> Any:
        return print, ("a pickle ran code",)


def _program(path: Path) -> None:
    torch.save(_Evil(), path)


def _script(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/code/__torch__.py", "")
        archive.writestr("model/data.pkl", "")


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (_bytes(b""), "is empty; expected the weights of a Swin2SR"),
    "html": (_bytes(b"\n<!DOCTYPE html><html>404</html>"), "is an HTML page, probably the answer of a download link"),
    "lfs": (_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"), "git-lfs pointer"),
    "png": (_png, "is a PNG image"),
    "tiff": (_bytes(b"II*\0" + bytes(40)), "is a TIFF image"),
    "json": (_bytes(b'{"a": 1}'), "is a JSON text"),
    "gzip": (_bytes(gzip.compress(b"weights")), "is a gzip archive: unpack"),
    "text": (_bytes(b"hello world"), r"a file of unknown kind \(it begins with b'hello wo'\)"),
    "zip": (_zip, "is a zip archive of readme.txt"),
    "cut": (_cut, "is truncated"),
    "cut-legacy": (_cut_legacy, "is damaged or truncated"),
    "program": (_program, "holds more than tensors.*could run any code"),
    "pickled-program": (_bytes(pickle.dumps(_Evil())), "holds more than tensors"),
    "torchscript": (_script, "TorchScript program"),
    "list": (lambda path: torch.save([torch.zeros(1)], path), "holds a list"),
    "tensor": (lambda path: torch.save(torch.zeros(1), path), "holds a Tensor"),
    "no-tensors": (lambda path: torch.save({"epoch": 3}, path), "contains no tensors, only epoch"),
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", BAD)
def test_files_that_are_not_checkpoints(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    write, words = BAD[kind]
    path = tmp_path / "model.pth"
    write(path)
    with pytest.raises(CheckpointError, match=words) as info:
        read_checkpoint(path)
    assert "model.pth" in str(info.value)
    assert "ran code" not in capsys.readouterr().out


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"There is no file .*nothing\.pth"):
        read_checkpoint(tmp_path / "nothing.pth")


@pytest.mark.parametrize("content", [b"", b"12345678", bytes(64), b"\xff" * 64, b"\x02" + bytes(7) + b"[]"])
def test_files_that_are_not_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"is not a safetensors file|should have"):
        read_checkpoint(path)


def test_truncated_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match=r"should have \d+ bytes and has \d+: it is truncated"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (CONFIG, "neither model.safetensors nor pytorch_model.bin"),
        ({**CONFIG, "model_type": "swinv2"}, "'swinv2' model"),
        ({**CONFIG, "upscale": 4}, "scale=4 is in its config.json, but the weights have scale=2"),
    ],
)
def test_wrong_folders(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    folder = _folder(tmp_path / "model", config)
    if config is not CONFIG:
        save_file(to_hugging_face(STATE), folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=words):
        resolve_spec(folder)


def test_folders_that_lack_files(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"lacks one\.safetensors"):
        read_checkpoint(folder)
    (folder / "model.safetensors.index.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        read_checkpoint(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(CheckpointError, match=r"without config\.json"):
        read_checkpoint(folder)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_damage_anywhere_is_reported(tmp_path: Path, legacy: bool) -> None:
    """Files are truncated or overwritten anywhere: they are read as before, or refused with our error."""
    buffer = io.BytesIO()
    torch.save(
        {"params": {"a": torch.zeros(3), "b": torch.ones(2, 2)}}, buffer, _use_new_zipfile_serialization=not legacy
    )
    whole = buffer.getvalue()
    path = tmp_path / "model.pth"
    random = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        place = int(random.integers(len(whole)))
        if random.random() < 0.3:
            del damaged[place:]
        else:
            damaged[place] = int(random.integers(256))
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
        except CheckpointError:
            continue
