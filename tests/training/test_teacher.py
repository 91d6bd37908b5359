"""Distillation: outputs of a teacher are computed once, fit their patches, and are named with their licence."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.errors import RequestError
from swin2sr_ops.hooks.dispatch import resolve_model
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.training import train
from swin2sr_ops.training.data import PatchSampler
from swin2sr_ops.training.degrade import bicubic_reduce
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.losses import loss_of
from swin2sr_ops.training.recipe import Recipe
from swin2sr_ops.training.teacher import TAUGHT_PEAK, Teacher, _shared
from swin2sr_ops.weights.save import save_model


def quiet(_: str) -> None:
    """Ignore log lines."""


def save_teacher(path: Path, recipe: Recipe, **changes: Any) -> Path:
    """Write a teacher with random weights."""
    spec = replace(recipe.spec, **({"name": "sage", "licence": "CC-BY-4.0"} | changes))
    torch.manual_seed(1)
    return save_model(path, SwinNet(spec), spec, dtype=torch.float32)


@pytest.fixture
def sage(tmp_path: Path, recipe: Recipe) -> Path:
    return save_teacher(tmp_path / "sage.safetensors", recipe)


@pytest.fixture
def taught(recipe: Recipe, sage: Path) -> Recipe:
    return replace(recipe, contrast=0.0, teacher={"model": str(sage)})


def teaching(recipe: Recipe, data: Path, out: Path) -> Trainer:
    trainer = Trainer(recipe, data, out)
    trainer.run(until=1, log=quiet)
    return trainer


def test_outputs_are_those_of_the_exact_engine(taught: Recipe, data: Path, tmp_path: Path, sage: Path) -> None:
    """Rounded to 16 bits; from inputs that are reduced and rounded as those of the training."""
    sampler = teaching(taught, data, tmp_path / "run").sampler
    assert isinstance(sampler, PatchSampler)
    _, target = sampler.images[0][0]
    even = torch.from_numpy(target[None, :, : target.shape[1] // 2 * 2, : target.shape[2] // 2 * 2].astype("f4"))
    given = (bicubic_reduce(even, 2)[0].clamp(0, 1) * 255).round() / 255
    wanted = swin2sr_ops.restore(given.numpy(), model=str(sage), axes="SYX", range=(0, 1)).compute()
    found = sampler.taught[0][0][:]
    assert found.dtype == np.uint16
    assert np.abs(found / TAUGHT_PEAK - wanted.clip(0, 1)).max() < 1e-5


@pytest.mark.parametrize("contrast", [0.0, 0.5])
def test_an_output_fits_its_patch(taught: Recipe, data: Path, tmp_path: Path, contrast: float) -> None:
    """Cut, turned, mirrored and changed in contrast like it: with the images as outputs both targets are equal."""
    trainer = teaching(replace(taught, contrast=contrast), data, tmp_path / "run")
    sampler = trainer.sampler
    assert isinstance(sampler, PatchSampler)
    sampler.taught = [
        [(b.astype("f8") * TAUGHT_PEAK).round().clip(0, TAUGHT_PEAK).astype("u2") for _, b in folder]
        for folder in sampler.images
    ]
    for step in range(6):
        source, target, theirs = sampler.batch(step)
        assert source.shape[-1] == 16
        assert torch.allclose(target, theirs, atol=2e-5)


def test_a_patch_is_a_part_of_what_the_teacher_saw(taught: Recipe, data: Path, tmp_path: Path) -> None:
    """The cut starts at a whole input pixel, so the teacher's input and the patch agree up to a level."""
    trainer = teaching(taught, data, tmp_path / "run")
    sampler = trainer.sampler
    assert isinstance(sampler, PatchSampler)
    whole = [
        [(bicubic_reduce(torch.from_numpy(b[None].astype("f4")), 2)[0] * 255).round() / 255 for _, b in folder]
        for folder in sampler.images
    ]
    # An output that holds the teacher's input, each pixel twice along each axis.
    sampler.taught = [
        [(x.repeat_interleave(2, 1).repeat_interleave(2, 2).clamp(0, 1) * TAUGHT_PEAK).round().numpy().astype("u2")
         for x in folder] for folder in whole
    ]  # fmt: skip
    source, _, theirs = sampler.batch(3)
    assert (source.clamp(0, 1) - theirs[..., ::2, ::2]).abs().max() < 1.5 / 255


def test_shrunk_patches_are_their_own_target(taught: Recipe, data: Path, tmp_path: Path) -> None:
    sampler = teaching(replace(taught, shrink=3.0, batch=16), data, tmp_path / "run").sampler
    _, target, theirs = sampler.batch(0)
    same = (target == theirs).flatten(1).all(1)
    assert same.any()
    assert not same.all()


def test_patches_where_the_teacher_knows_more(taught: Recipe, data: Path, tmp_path: Path) -> None:
    """Of several patches the one is taken whose output differs most from bicubic enlargement."""

    def difference(one: Recipe, name: str) -> float:
        source, _, theirs = teaching(one, data, tmp_path / name).sampler.batch(0)
        enlarged = torch.nn.functional.interpolate(source, scale_factor=2, mode="bicubic")
        return float(((theirs - enlarged) ** 2).mean())

    one = replace(taught, batch=12, folders={"blobs": 1.0}, detail=8)
    assert difference(replace(one, detail_of="teacher"), "chosen") > difference(replace(one, detail=1), "any")


def test_pairs_have_a_teacher_too(taught: Recipe, sage: Path, tmp_path: Path) -> None:
    import tifffile

    rng = np.random.default_rng(0)
    for name, side in (("HR", 64), ("LR/X2", 32)):
        (tmp_path / "pairs" / name).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "pairs" / name / "a.tif", rng.integers(0, 255, (side, side), dtype="u1"))
    one = replace(taught, paired=True, folders={".": 1.0}, detail=2, detail_of="teacher")
    sampler = teaching(one, tmp_path / "pairs", tmp_path / "run").sampler
    assert isinstance(sampler, PatchSampler)
    given, truth = sampler.images[0][0]
    assert given is not None
    wanted = swin2sr_ops.restore(given.astype("f4"), model=str(sage), axes="SYX", range=(0, 1)).compute()
    assert np.abs(sampler.taught[0][0][:] / TAUGHT_PEAK - wanted.clip(0, 1)).max() < 1e-5
    sampler.taught[0][0] = (truth.astype("f8") * TAUGHT_PEAK).round().clip(0, TAUGHT_PEAK).astype("u2")
    source, target, theirs = sampler.batch(0)
    assert source.shape[-1] * 2 == target.shape[-1]
    assert torch.allclose(target.clamp(0, 1), theirs, atol=2e-5)


def test_any_number_of_bands(recipe: Recipe, tmp_path: Path) -> None:
    import tifffile

    (tmp_path / "bands").mkdir()
    stack = np.random.default_rng(0).integers(0, 255, (5, 64, 60), dtype="u1")
    tifffile.imwrite(tmp_path / "bands" / "a.tif", stack, metadata={"axes": "CYX"}, photometric="minisblack")
    sage = save_teacher(tmp_path / "five.safetensors", recipe, channels=5)
    one = replace(recipe, model=recipe.model | {"channels": 5}, folders={"bands": 1.0}, teacher={"model": str(sage)})
    _, target, theirs = teaching(one, tmp_path, tmp_path / "run").sampler.batch(0)
    assert target.shape == theirs.shape == (2, 5, 32, 32)


def test_the_share_mixes_both_targets() -> None:
    image, truth, theirs = torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.1), torch.full((1, 1, 8, 8), 0.5)
    for share, wanted in ((0.25, 0.2), (1.0, 0.5)):
        loss = loss_of({"image": image}, truth, {"l1": 1.0, "teacher": share}, 2, theirs)
        assert loss.item() == pytest.approx(wanted)
    assert loss_of({"image": image}, truth, {"l1": 1.0}, 2, theirs).item() == pytest.approx(0.3)
    assert loss_of({"image": image}, truth, {"l1": 1.0}, 2).item() == pytest.approx(0.1)


def test_it_pulls_towards_the_teacher(taught: Recipe, data: Path, tmp_path: Path) -> None:
    """After the same steps a student that has only the teacher as target is nearer to it than one without."""
    nearer = []
    for share in (None, 1.0):
        one = replace(taught, steps=60, lr=1e-2, loss={"l1": 1.0} | ({} if share is None else {"teacher": share}))
        if share is None:
            one = replace(one, teacher={})
        trainer = Trainer(one, data, tmp_path / f"run{share}")
        trainer.run(log=quiet)
        judge = trainer if share else Trainer(taught, data, tmp_path / "judge")
        judge.run(until=1, log=quiet)
        with torch.no_grad():
            source, _, theirs = judge.sampler.batch(0)
            nearer.append(float((trainer.net(source) - theirs).abs().mean()))
    assert nearer[1] < 0.8 * nearer[0]


def test_a_killed_run_computes_what_is_missing(
    taught: Recipe, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    compute = Teacher._output

    def killed(self: Teacher, *images: Any) -> Any:
        if len(counted) == 2:
            raise KeyboardInterrupt
        counted.append(0)
        return compute(self, *images)

    monkeypatch.setattr(Teacher, "_output", killed)
    with pytest.raises(KeyboardInterrupt):
        teaching(taught, data, tmp_path / "run")
    images = sum(len(folder) for folder in Trainer(taught, data, tmp_path / "run").sampler.images)
    rest: list[int] = []

    def counting(self: Teacher, *images: Any) -> Any:
        rest.append(0)
        return compute(self, *images)

    monkeypatch.setattr(Teacher, "_output", counting)
    teaching(taught, data, tmp_path / "run")
    assert len(rest) == images - 2
    teaching(taught, data, tmp_path / "other run")  # beside the first one: the outputs are shared
    assert len(rest) == images - 2


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _zeroed(content: bytes) -> bytes:
    """Pixels that a file system lost; the heading and the length are right."""
    return content[:128] + bytes(len(content) - 128)


def _flipped(content: bytes) -> bytes:
    return content[:-100] + bytes([content[-100] ^ 4]) + content[-99:]


def _earlier(content: bytes) -> bytes:
    """As earlier versions wrote it, without the digest."""
    return content[:-32]


@pytest.mark.parametrize("damage", [_cut, _zeroed, _flipped, _earlier, lambda _: b""])
def test_a_damaged_output_is_computed_again(taught: Recipe, data: Path, tmp_path: Path, damage: Any) -> None:
    """It neither ends the run nor trains other weights."""
    whole = teaching(taught, data, tmp_path / "run")
    (folder,) = tmp_path.glob("teacher-*")
    files = sorted(folder.glob("*.npy"))
    before = [file.read_bytes() for file in files]
    assert np.load(files[0]).dtype == np.uint16
    for file in files:
        file.write_bytes(damage(file.read_bytes()))
    lines: list[str] = []
    again = Trainer(taught, data, tmp_path / "other")
    again.run(until=1, log=lines.append)
    assert f"{len(files)} stored outputs of sage are damaged or have no digest: they are computed again" in lines
    assert [file.read_bytes() for file in files] == before
    assert all(torch.equal(a, b) for a, b in zip(whole.net.parameters(), again.net.parameters(), strict=True))


_MANY_IMAGES = """
import resource, sys
from pathlib import Path
import numpy as np
from swin2sr_ops.hooks.dispatch import resolve_model
from swin2sr_ops.training.teacher import Teacher
Teacher._output = lambda self, given, target: target.astype(np.uint16)
images = [(None, np.full((1, 16, 16), i, np.float16)) for i in range(200)]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
outputs = Teacher(resolve_model("nano-x2-gray"), 1, 256, Path(sys.argv[1])).outputs(images)
assert all((output[:, 2:9, 3:5] == i).all() for i, output in enumerate(outputs))
"""


def test_more_images_than_a_process_may_hold_open_files(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="Windows has no such limit")
    done = subprocess.run(
        [sys.executable, "-c", _MANY_IMAGES, str(tmp_path / "taught")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_a_team_shares_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process computes its own share first, whatever the others did; then any, each in an order of its own."""
    images = [(None, np.full((1, 16, 16), i, np.float16)) for i in range(30)]
    computed: dict[int, list[int]] = {}
    for rank in range(3):

        def noted(_: Teacher, __: None, target: np.ndarray, rank: int = rank) -> np.ndarray:
            if len(computed.setdefault(rank, [])) == 10 and rank < 2:
                raise KeyboardInterrupt
            computed[rank].append(int(target.flat[0]))
            return target.astype("u2")

        monkeypatch.setattr(Teacher, "_output", noted)
        teacher = Teacher(resolve_model("nano-x2-gray"), 1, 256, tmp_path / "taught")
        with contextlib.suppress(KeyboardInterrupt):
            teacher.outputs(images, quiet, rank=rank, size=3)
    assert {rank: sorted(numbers) for rank, numbers in computed.items()} == {
        rank: list(range(rank, 30, 3)) for rank in range(3)
    }
    orders = [_shared(list(range(2, 30, 3)), rank, 3) for rank in (0, 1)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_files_of_killed_runs_are_removed(taught: Recipe, data: Path, tmp_path: Path) -> None:
    """But not those that another run may be writing."""
    teaching(taught, data, tmp_path / "run")
    (folder,) = tmp_path.glob("teacher-*")
    complete = sorted(folder.iterdir())
    left = [folder / "0123.4567.tmp", folder / ".89ab.cdef.npy"]
    writing = folder / ".0001.2345.npy"
    for part in (*left, writing):
        part.write_bytes(b"a part")
    for part in left:
        os.utime(part, (time.time() - 7200,) * 2)
    teaching(taught, data, tmp_path / "other")
    assert sorted(folder.iterdir()) == sorted([*complete, writing])


@pytest.mark.parametrize("change", [{"levels": 0}, {"teacher": "ensemble"}])
def test_other_settings_have_other_outputs(change: dict[str, Any], taught: Recipe, data: Path, tmp_path: Path) -> None:
    teaching(taught, data, tmp_path / "run")
    (folder,) = tmp_path.glob("teacher-*")
    before = len(list(folder.glob("*.npy")))
    changes = {"teacher": taught.teacher | {"ensemble": 8}} if "teacher" in change else change
    teaching(replace(taught, **changes), data, tmp_path / "other")
    assert len(list(folder.glob("*.npy"))) == 2 * before
    assert not list(folder.glob("*.tmp"))


def test_command_and_card(
    file: Path, data: Path, tmp_path: Path, sage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "run", tmp_path / "mine.safetensors"
    words = ["train", str(file), "--data", str(data), "--out", str(out), "--teacher", str(sage)]
    assert main([*words, "--steps", "2", "--export", str(model)]) == 0
    card = (tmp_path / "mine.md").read_text()
    sha = resolve_model(str(sage)).sha256
    for fact in ("sage", "CC-BY-4.0", sha, "50%", "CC0-1.0"):
        assert fact in card, fact
    kept = resolve_model(str(model)).provenance["recipe"]["teacher"]
    assert kept == {"model": "sage", "sha256": sha, "licence": "CC-BY-4.0", "ensemble": 1}
    assert str(tmp_path) not in str(kept)
    capsys.readouterr()
    assert main([*words[:-2], "--steps", "4"]) == 2  # the same run without its teacher
    assert "teacher" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        ({"scale": 4}, "scale 4, the trained model 'test-x2' has 2"),
        ({"channels": 3}, "--channels N --until 0"),
        ({"licence": ""}, "--teacher-licence"),
    ],
)
def test_a_teacher_that_does_not_fit(
    theirs: dict[str, Any], says: str, recipe: Recipe, data: Path, tmp_path: Path
) -> None:
    sage = save_teacher(tmp_path / "sage.safetensors", recipe, **theirs)
    with pytest.raises(RequestError, match=says):
        train(recipe, data=data, out=tmp_path / "run", teacher=sage)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"degrade": {"noise": {"sigma": [0, 9]}}}, "omit degrade, or the teacher"),
        ({"loss": {"l1": 1.0, "teacher": 1.5}}, "at most 1"),
        ({"loss": {"l1": 1.0, "teacher": 0}}, "above 0"),
        ({"loss": {"teacher": 1.0}}, "not all of them zero"),
        ({"teacher": {"licence": "MIT"}}, "must be a table with a model"),
        ({"teacher": {"model": "good", "size": 3}}, "must be a table with a model"),
        ({"teacher": {"model": "good", "ensemble": 4}}, "must be 1 or 8"),
        ({"teacher": []}, "must be a table with a model"),
        ({"teacher": "good"}, "must be a table with a model"),
        ({"teacher": {"model": 3}}, "must be a table with a model"),
        ({"teacher": {}, "detail_of": "teacher"}, "detail_of='teacher' needs one"),
        ({"detail_of": "edges"}, "must be 'image' or 'teacher'"),
    ],
)
def test_recipes_that_make_no_sense(changes: dict[str, Any], says: str, recipe: Recipe) -> None:
    with pytest.raises(RequestError, match=says):
        replace(recipe, **({"teacher": {"model": "good"}} | changes))


def test_a_share_without_a_teacher(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="needs one"):
        replace(recipe, loss={"l1": 1.0, "teacher": 0.5})
    with pytest.raises(RequestError, match="no teacher that could have a licence"):
        train(recipe, data=data, out=tmp_path / "run", teacher_licence="MIT")


def test_words_for_people(recipe: Recipe, tmp_path: Path) -> None:
    """`best` is a shipped model, with an ensemble."""
    trainer_recipe = replace(recipe, teacher={"model": "best"})
    from swin2sr_ops.training.teacher import with_teacher

    found, teacher = with_teacher(trainer_recipe, tmp_path / "run", "cpu")
    assert found.teacher["model"] == "small-x2-gray"
    assert teacher is not None
    assert teacher.ensemble == found.teacher["ensemble"] == 8
    again, _ = with_teacher(replace(recipe, teacher=found.teacher), tmp_path / "run", "cpu")
    assert again == found
    with pytest.raises(RequestError, match="another file"):
        with_teacher(replace(recipe, teacher=found.teacher | {"sha256": "0" * 64}), tmp_path / "run", "cpu")
