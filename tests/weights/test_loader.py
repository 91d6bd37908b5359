"""Resolve a model's name or file to its description, and load the network with its weights."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swin2sr_ops.errors import CheckpointError, ModelError
from swin2sr_ops.weights import catalogue
from swin2sr_ops.weights.checkpoint import read_checkpoint
from swin2sr_ops.weights.loader import load_network, resolve_spec, weights_path
from swin2sr_ops.weights.save import save_model
from tests.weights.helpers import TINY, TINY_IR, parameters, random_network, with_buffers


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with five shipped models; one has no word of quality."""
    folder = tmp_path / "package"
    folder.mkdir()
    monkeypatch.setattr(catalogue, "MODELS_FOLDER", folder)
    big = replace(TINY, name="small-x2-rgb", depths=(2, 2, 2), heads=(2, 2, 2))
    gray = replace(TINY_IR, name="small-x1-gray", channels=1, scale=1, upsampler="", task="denoise")
    other = replace(gray, name="gray", depths=(1,), heads=(2,))
    preview = replace(TINY, name="nano-x2-rgb", depths=(1,), heads=(2,))
    for spec in (TINY, big, gray, other, preview):
        save_model(folder / f"{spec.name}.safetensors", random_network(spec), spec)
    return folder


# --- names ----------------------------------------------------------------------------------------


def test_a_spec_is_itself() -> None:
    assert resolve_spec(TINY) is TINY
    assert resolve_spec(TINY, name="mine").name == "mine"


def test_a_name_is_its_row() -> None:
    assert resolve_spec("swinir-real-x4-gan") == catalogue.BUILTIN["swinir-real-x4-gan"]


def test_a_name_must_fit_the_request() -> None:
    with pytest.raises(ModelError, match=r"'swin2sr-classical-x2' has scale=2, but scale=4 was asked for"):
        resolve_spec("swin2sr-classical-x2", scale=4)
    with pytest.raises(ModelError, match="task="):
        resolve_spec("swin2sr-classical-x2", task="denoise")
    with pytest.raises(ModelError, match="window=7 does not fit"):
        resolve_spec("swin2sr-classical-x2", window=7)
    with pytest.raises(ModelError, match="colour='blue' is not a field of a model"):
        resolve_spec("swin2sr-classical-x2", colour="blue")


def test_unknown_name_and_missing_file_and_url(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Did you mean"):
        resolve_spec("swin2sr-classical")
    with pytest.raises(CheckpointError, match="There is no file"):
        resolve_spec("weights.pth")
    with pytest.raises(CheckpointError, match="There is no file"):
        resolve_spec(tmp_path / "weights")
    with pytest.raises(ModelError, match="is a URL: download"):
        resolve_spec("https://example.org/model.pth")


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        ({}, "small-x2-rgb"),
        ({"scale": 2}, "small-x2-rgb"),
        ({"scale": 2, "channels": 3}, "small-x2-rgb"),
        ({"task": "denoise"}, "small-x1-gray"),
        ({"scale": 1, "channels": 1}, "small-x1-gray"),
    ],
)
@pytest.mark.usefixtures("shipped")
def test_auto_takes_the_good_one_that_fits(request_: dict[str, object], name: str) -> None:
    spec = resolve_spec("auto", **request_)
    assert spec.name == name
    assert len(spec.sha256) == 64
    load_network(spec)


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        ({"channels": 1}, "small-x2-gray"),
        ({"task": "classical_sr", "channels": 3}, "small-x2-rgb"),
        ({"scale": 4, "channels": 1}, "small-x4-gray"),
        ({"scale": 4, "channels": 3}, "small-x4-rgb"),
        ({"scale": 1, "channels": 3}, "small-x1-rgb"),
    ],
)
def test_auto_of_this_package(request_: dict[str, object], name: str) -> None:
    """A scale of 4 must be requested."""
    assert resolve_spec("auto", **request_).name == name


@pytest.mark.usefixtures("shipped")
def test_the_error_of_auto_lists_the_models() -> None:
    with pytest.raises(
        ModelError, match=r"has scale=8, channels=3; shipped as fast, good, best are: .*denoise x1 with 1 channel"
    ):
        resolve_spec("auto", scale=8, channels=3)


# --- files ----------------------------------------------------------------------------------------


def test_a_file_becomes_a_spec_that_loads_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(with_buffers(parameters(TINY), TINY), tmp_path / "mine.pth")
    monkeypatch.chdir(tmp_path)
    spec = resolve_spec("mine.pth", value_range=1, licence="MIT")
    assert (spec.name, spec.task) == ("mine", "lightweight_sr")
    assert resolve_spec("mine.pth", value_range=1, task="real_sr").task == "real_sr"
    assert spec.weights == str(tmp_path / "mine.pth")
    assert spec.size_bytes == (tmp_path / "mine.pth").stat().st_size
    monkeypatch.chdir("/")
    net = load_network(pickle.loads(pickle.dumps(spec)))
    for name, value in parameters(TINY).items():
        torch.testing.assert_close(net.state_dict()[name], value, rtol=0, atol=0)


def test_a_released_file_is_known_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(with_buffers(parameters(TINY), TINY), tmp_path / "renamed.pth")
    digest = read_checkpoint(tmp_path / "renamed.pth").sha256
    row = replace(TINY, name="released", value_range=255.0, licence="Apache-2.0", sha256=digest)
    monkeypatch.setitem(catalogue.BUILTIN, "released", row)
    found = resolve_spec(tmp_path / "renamed.pth")
    assert (found.name, found.value_range, found.licence) == ("released", 255.0, "Apache-2.0")


def test_a_loaded_network_is_ready_to_run(tmp_path: Path) -> None:
    save_model(tmp_path / "tiny.safetensors", random_network(TINY), TINY)
    state = torch.get_rng_state()
    net = load_network(resolve_spec(tmp_path / "tiny.safetensors"))
    assert torch.equal(torch.get_rng_state(), state), "loading a model must not move the caller's random numbers"
    assert not net.training
    for tensor in (*net.parameters(), *net.buffers()):
        assert (tensor.device.type, tensor.dtype, tensor.requires_grad) == ("cpu", torch.float32, False)
    assert net.mean.flatten().tolist() == pytest.approx([0.4488, 0.4371, 0.4040])
    with torch.inference_mode():
        assert net(torch.rand(1, 3, 9, 11)).shape == (1, 3, 18, 22)


def test_no_weights_and_no_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWIN2SR_OPS_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="'tiny' does not state where its weights are"):
        load_network(TINY)
    words = r"not in the cache; run `swin2sr-ops models --download swinir-real-x4-gan` \(67 MB, Apache-2.0\)"
    with pytest.raises(ModelError, match=words):
        load_network(catalogue.find("swinir-real-x4-gan"))
    with pytest.raises(ModelError, match="reinstall"):
        weights_path(replace(TINY, weights="package:nothing.safetensors"))


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_model(path, random_network(TINY), TINY)
    spec = resolve_spec(path)
    save_model(path, random_network(TINY, seed=1), TINY)
    with pytest.raises(CheckpointError, match="is not the file that tiny was described from"):
        load_network(spec)


def test_weights_of_another_network_name_what_differs(tmp_path: Path) -> None:
    torch.save(parameters(TINY), tmp_path / "tiny.pth")
    where = str(tmp_path / "tiny.pth")
    with pytest.raises(CheckpointError, match=r"38 do not belong to this network \(layers\.1.*, \.\.\.\)"):
        load_network(replace(TINY, depths=(2,), heads=(2,), weights=where))
    with pytest.raises(CheckpointError, match=r"are missing \(layers\.2"):
        load_network(replace(TINY, depths=(2, 2, 2), heads=(2, 2, 2), weights=where))
    with pytest.raises(CheckpointError, match=r"have another shape \(upsample\.0\.weight \(12, 12, 3, 3\) instead of"):
        load_network(replace(TINY, scale=3, weights=where))
    torch.save(with_buffers(parameters(TINY), TINY), where)
    with pytest.raises(CheckpointError, match="has window 8, but tiny says 7"):
        load_network(replace(TINY, window=7, weights=where))


# --- our own files --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_save_and_load_again(tmp_path: Path, dtype: torch.dtype) -> None:
    spec = replace(TINY, provenance={"iterations": 9}, quality={"psnr": 30.5}, halo_error={"16": 0.01}, sha256="0" * 64)
    net = random_network(spec)
    path, new = (
        save_model(tmp_path / "model.safetensors", net, spec, dtype=dtype),
        tmp_path.parent / f"{tmp_path.name}.new",
    )
    new.touch()
    found = resolve_spec(path)
    assert replace(found, weights="", sha256="", size_bytes=0) == replace(spec, sha256="")
    assert found.weights == str(path)
    again = load_network(found).state_dict()
    for name, value in net.state_dict().items():
        assert torch.equal(again[name], value.to(dtype).float())
    assert path.stat().st_mode == new.stat().st_mode
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_saving_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, random_network(TINY), TINY)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(path, random_network(TINY, seed=1), TINY)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_networks_that_cannot_be_saved(tmp_path: Path) -> None:
    state = parameters(TINY)
    state["norm.weight"] = state["norm.weight"] + 1e6
    with pytest.raises(CheckpointError, match=r"norm\.weight would not be finite in torch\.float16"):
        save_model(tmp_path / "model.safetensors", state, TINY)
    with pytest.raises(CheckpointError, match="not those of tiny"):
        save_model(tmp_path / "model.safetensors", state, replace(TINY, scale=4))
    assert not list(tmp_path.iterdir())


def test_a_header_of_a_newer_version_is_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for text, words in (
        (json.dumps({**TINY.to_dict(), "flavour": "new"}), "does not support: flavour. Upgrade"),
        ("{", "cannot be read"),
    ):
        save_file(parameters(TINY), tmp_path / "m.safetensors", metadata={catalogue.HEADER_KEY: text})
        with pytest.raises(ModelError, match=words):
            resolve_spec(tmp_path / "m.safetensors")


@pytest.mark.usefixtures("shipped")
def test_our_own_files_are_described_without_torch(shipped: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from swin2sr_ops.weights import catalogue; from swin2sr_ops.weights import loader;"
        f"catalogue.MODELS_FOLDER = Path({str(shipped)!r});"
        f"print(loader.resolve_spec({str(shipped / 'gray.safetensors')!r}).name, loader.resolve_spec('auto').name);"
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.split()) == (0, ["gray", "small-x2-rgb"]), result.stderr
