"""The meaning of ``precision="auto"``, tested with a fake GPU."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from swin2sr_ops import ModelSpec, Restorer, TileError, restore
from swin2sr_ops.engine.devices import auto_precision
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.fingerprint import settings_of
from swin2sr_ops.run.job import prepare
from swin2sr_ops.spec import Reach


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Pretend that there is a GPU of compute capability 8.0."""
    monkeypatch.setattr("swin2sr_ops.engine.devices.choose_device", lambda device: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    return monkeypatch


@pytest.mark.usefixtures("gpu")
def test_on_a_gpu(gray_model: ModelSpec) -> None:
    assert auto_precision("auto") == Restorer(gray_model).precision == "bfloat16"
    assert Restorer(gray_model, precision="float32").precision == "float32"
    foreign = ModelSpec(name="theirs", architecture="dncnn", scale=1, reach=Reach(halo=16))
    assert Restorer(foreign).precision == "float32"


def test_on_other_devices(gpu: pytest.MonkeyPatch) -> None:
    gpu.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert auto_precision("cuda") == "float32"
    for device in ("mps", "xpu", "cpu"):
        gpu.setattr("swin2sr_ops.engine.devices.choose_device", lambda _, device=device: torch.device(device))
        assert auto_precision("auto") == "float32"


def test_a_device_that_only_workers_have() -> None:
    assert not torch.cuda.is_available() or auto_precision("cuda:99") == "float32"
    assert auto_precision("nonsense") == "float32"  # refused where it is used


def test_all_workers_of_a_run_use_one_precision(gpu: pytest.MonkeyPatch, gray_model: ModelSpec, tmp_path: Path) -> None:
    """The run decides before its restorers are sent to workers, which may have no GPU."""
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 20), "u1"))
    job = prepare(tmp_path / "a.tif", RestoreRequest(model=gray_model, tile=16))
    gpu.setattr("swin2sr_ops.engine.runner.choose_device", lambda device: torch.device("cuda", 0))
    assert settings_of(job)["precision"] == "bfloat16"
    sent = pickle.dumps(job.restorer)
    gpu.undo()
    assert pickle.loads(sent).precision == "bfloat16"
    assert Restorer(gray_model).precision == "float32"


@pytest.mark.usefixtures("gpu")
def test_graphs_are_the_same_anywhere(gray_model: ModelSpec) -> None:
    """A graph leaves the choice to its tasks, no matter if the client has a GPU."""
    restorer = Restorer(gray_model)
    assert restorer.precision == "bfloat16"
    assert restorer.bare().placement.precision == restorer.placement.precision == "auto"
    assert restorer.__dask_tokenize__() == Restorer(gray_model).__dask_tokenize__()


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize(
    ("precision", "advice"),
    [("float32", "give an intensity range that contains"), ("bfloat16", r"use precision='float32'\.$")],
)
def test_a_precision_in_use_is_not_advised(precision: str, advice: str, gray_model: ModelSpec) -> None:
    with pytest.raises(TileError, match=f"in {precision} precision: {advice}"):
        restore(np.eye(9) * 1e300, model=gray_model, range=(0, 1), precision=precision).compute()
