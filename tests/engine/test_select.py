"""The meaning of ``engine="auto"``: this package's kernels if they work, else torch; the report says why."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.engine import selftest as check
from swin2sr_ops.engine.native import build
from swin2sr_ops.engine.native.tile import NativeTile
from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.engine.runner import Placed
from swin2sr_ops.engine.select import choose_engine, why_engine
from swin2sr_ops.errors import RequestError
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.fingerprint import run_key, settings_of
from swin2sr_ops.run.job import prepare
from swin2sr_ops.run.report import new_report, provenance_of
from swin2sr_ops.spec import ModelSpec, Reach
from tests.conftest import NATIVE, small_spec, write_model

CPU = torch.device("cpu")


@pytest.fixture
def no_compiler(kernels_anew: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(build.shutil, "which", lambda _: None)


@NATIVE
def test_on_a_cpu() -> None:
    spec = small_spec()
    name = f"native {build.REVISION}"
    assert choose_engine("auto", CPU, torch.float32, spec) == choose_engine("native", CPU, torch.float32, spec) == name
    assert why_engine("auto", CPU, torch.float32, spec) == "the fastest on cpu"
    assert why_engine("native", CPU, torch.float32, spec) == "requested"


def test_networks_that_our_kernels_do_not_support() -> None:
    foreign = ModelSpec(name="theirs", architecture="dncnn", scale=1, reach=Reach(halo=16))
    for device, dtype, spec, why in (
        (CPU, torch.float64, small_spec(), "the package's own kernels do not compute in float64"),
        (CPU, torch.bfloat16, small_spec(), "the package's own kernels do not compute in bfloat16"),
        (torch.device("mps"), torch.float32, small_spec(), "the package's own kernels do not run on mps"),
        (CPU, torch.float32, foreign, "a network of a plugin"),
    ):
        assert choose_engine("auto", device, dtype, spec) == "torch"
        assert why_engine("auto", device, dtype, spec) == why


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler(gray_model: ModelSpec, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 20), "u1"))
    report = swin2sr_ops.restore_image(tmp_path / "a.tif", tmp_path / "b.tif", model=gray_model, device="cpu")
    assert report.settings["engine"] == "torch"
    assert "engine_why" not in provenance_of(report)["settings"]  # the output is the same for both requests
    assert "no cc, gcc, clang or ziglang that works was found: install one" in report.settings["engine_why"]


@NATIVE
@pytest.mark.usefixtures("kernels_anew")
def test_kernels_that_compute_something_else(
    gray_model: ModelSpec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The self test finds a compiler's fault before it reaches any pixels."""
    block = NativeTile.window

    def wrong(self: NativeTile, step: Any, index: int) -> None:
        block(self, step, index)
        self.plane.data[20:21, 20:21] += 0.01

    monkeypatch.setattr(NativeTile, "window", wrong)
    assert Restorer(gray_model, device="cpu").network.place()[2] == "torch"
    assert "not used" in caplog.text
    assert check.native_obstacle() == "the result of the C kernels differs from torch's"


@NATIVE
@pytest.mark.usefixtures("kernels_anew")
def test_the_check_leaves_random_numbers_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert check.native_obstacle() == ""
    assert torch.equal(torch.rand(3), expected)


@NATIVE
def test_all_workers_of_a_run_use_one_engine(
    gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers use the engine that the client chose; a worker without it raises an error."""
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 20), "u1"))
    job = prepare(tmp_path / "a.tif", RestoreRequest(model=gray_model, tile=16, device="cpu"))
    chosen = settings_of(job)["engine"]
    assert chosen.startswith("native ")
    sent = pickle.dumps(job.restorer)
    monkeypatch.delenv("CC", raising=False)
    build.find_compiler.cache_clear()
    try:
        monkeypatch.setattr(build.shutil, "which", lambda _: None)
        with pytest.raises(RequestError, match=r"needs a C compiler .* or give engine='torch'"):
            pickle.loads(sent).network.place()
    finally:
        monkeypatch.undo()
        build.find_compiler.cache_clear()


def test_workers_decide_where_they_compute(gray_model: ModelSpec, tmp_path: Path) -> None:
    """A client without a GPU, such as a login node, plans with the engine of its workers."""

    class Workers:
        def resolve_auto(self, restorers: Sequence[Restorer]) -> int:
            for one in restorers:
                one.network.resolve_auto(Placed("cuda:0", "bfloat16", "triton 3.6.0", "the fastest on cuda"))
            return 64 << 30

    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2400, 2400), "u1"))
    job = prepare(tmp_path / "a.tif", RestoreRequest(model=gray_model, chunks=512), workers=Workers())
    settings = settings_of(job)
    assert [settings[name] for name in ("device", "precision", "engine")] == ["cuda", "bfloat16", "triton 3.6.0"]
    assert job.plan.tile == (2048, 2048)
    assert prepare(tmp_path / "a.tif", RestoreRequest(model=gray_model, chunks=512), memory=64 << 30).plan.tile == (
        512,
        2048,
    )
    report = new_report(job, "b.tif", run_key(job, {}))
    assert {"device": "cuda:0", "engine_why": "the fastest on cuda"}.items() <= report.settings.items()
    sent = pickle.loads(pickle.dumps(job.restorer))
    assert (sent.precision, sent.network._chosen) == ("bfloat16", {"cuda": "triton"})


def test_workers_without_the_engine(
    no_compiler: None, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 20), "u1"))
    job = prepare(tmp_path / "a.tif", RestoreRequest(model=gray_model, tile=16, device="cpu"))
    assert "engine" not in settings_of(job)
    sent = pickle.dumps(job.restorer)
    monkeypatch.undo()
    for found in (build.find_compiler, check.native_obstacle):
        found.cache_clear()
    assert pickle.loads(sent).network.place()[2] == "torch"


@NATIVE
def test_a_graph_leaves_it_to_its_tasks(gray_model: ModelSpec) -> None:
    restorer = Restorer(gray_model, device="cpu")
    restorer.network.place()
    assert restorer.bare().placement.engine == restorer.placement.engine == "auto"
    assert restorer.__dask_tokenize__() == Restorer(gray_model, device="cpu").__dask_tokenize__()


@NATIVE
def test_the_command_line_names_the_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 20), "u1"))
    write_model(tmp_path / "m.safetensors")
    files = [str(tmp_path / name) for name in ("a.tif", "b.tif", "m.safetensors")]
    words = ["restore", *files[:2], "--model", files[2], "--device", "cpu"]
    assert main([*words, "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["engine"] == f"native {build.REVISION}"
    assert settings["engine_why"] == "the fastest on cpu"
    assert main([*words, "--restart", "--overwrite"]) == 0
    assert f"engine {settings['engine']}" in "".join(capsys.readouterr())
