"""Describe a training run as data: read from a small TOML file, stored in the exported model."""

from __future__ import annotations

import os
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from swin2sr_ops.errors import RequestError
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.training.camera_table import camera_problems
from swin2sr_ops.training.degrade_table import degrade_problems, is_number
from swin2sr_ops.training.volume_table import volume_problems

__all__ = ["NOISY", "RECIPES", "Recipe", "recipe_values"]

#: Folder of the recipes of the shipped models.
RECIPES = Path(__file__).parent / "recipes"
#: How to learn from noisy images alone; see `swin2sr_ops.training.noisy`.
NOISY = ("blind", "repeats", "neighbours", "sure")
#: The largest seed that torch takes, and the largest other whole number.
_SEED, _WHOLE = 2**64 - 1, 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Define everything that decides a run's result besides the images themselves.

    Parameters
    ----------
    model : dict
        Fields of `ModelSpec`.
    folders : dict of str to float
        Subfolders of the data folder, and how often each is drawn from, relative to each other.
    steps, batch, patch : int
        Optimiser steps; patches per step; side of a patch in input pixels.
    lr, lr_min, warmup : float, float, int
        Learning rate, final value of its cosine decay, steps of linear warm-up.
    optimiser : str
        ``"adam"``, or ``"muon"``: Muon for the matrices of the Swin blocks, Adam for the rest, see
        `swin2sr_ops.training.optimisers`.
    ema : float
        Decay of the exponential moving average of the weights; the average is exported.
    levels : int
        Input patches are rounded to this many levels, like stored images; 0: no rounding.
    detail : int
        Of this many random patches the one with most detail is taken, see `swin2sr_ops.training.data`.
    detail_of : str
        ``"image"``; or ``"teacher"``: detail is the difference between the teacher's output and the bicubically
        enlarged input, which is where a network can gain.
    shrink : float
        Half of the patches come from images reduced by a factor between 1 and this; 1: none. Reduced images
        have more detail per pixel; docs/models.md says how little that gained.
    contrast : float
        Strength of random brightness and contrast changes, 0 to 1: for images that do not use the full
        range of their type, as in microscopy.
    seed : int
        Seed of initial weights, patches and augmentations.
    degrade : dict
        How clean patches become inputs, see `swin2sr_ops.training.degrade`; empty: bicubic reduction.
    camera : dict
        The microscope and camera that record clean patches for a model that keeps the size of an image, see
        `swin2sr_ops.training.camera`; empty: none.
    volume : dict
        How planes are made of images that have only one, see `swin2sr_ops.training.volumes`; empty: a model of several
        planes learns from stacks only. For a model of single planes the plane itself is made alike.
    loss : dict of str to float
        Weights of ``l1``, ``charbonnier``, ``psnr``, ``auxiliary`` and ``hf``, see `swin2sr_ops.training.losses`;
        with a teacher also ``teacher``, the share of the loss (0 to 1, by default a half) that compares with the
        teacher's outputs instead of the images.
    teacher : dict
        ``model``, a larger model to learn from; ``licence``, if the model states none; ``ensemble``, 8 for the mean
        of its results in all orientations; see `swin2sr_ops.training.teacher`. Empty: there is none.
    schedule, milestones : str, list of float
        ``"cosine"``: from ``lr`` down to ``lr_min``; ``"step"``: halved at these shares of the steps, as in
        the papers.
    amp : bool
        Run the network in bfloat16 (autocast); weights and loss stay float32. For devices that support it: on
        a CPU without it a step takes several times as long.
    clip : float
        Largest norm of a step's gradient; 0: no limit.
    paired : bool
        The folders hold inputs and targets, see `swin2sr_ops.evaluate.data.find_cases`; nothing is degraded.
    noisy : str
        How to learn from noisy images alone: ``"blind"``, ``"repeats"``, ``"neighbours"`` or ``"sure"``, see
        `swin2sr_ops.training.noisy`; empty: the images are clean, or pairs.
    patience : int
        With ``noisy``: saves without a smaller risk after which the run stops; 0: it never stops early.
    init : dict
        ``name``, ``sha256`` and, if it is stated, ``licence`` of the model with the initial weights; empty: random
        weights.
    """

    model: dict[str, Any]
    folders: dict[str, float] = field(default_factory=lambda: {".": 1.0})
    steps: int = 10_000
    batch: int = 4
    patch: int = 48
    lr: float = 5e-4
    lr_min: float = 1e-6
    warmup: int = 100
    optimiser: str = "adam"
    ema: float = 0.999
    levels: int = 256
    detail: int = 1
    detail_of: str = "image"
    shrink: float = 1.0
    contrast: float = 0.0
    seed: int = 0
    degrade: dict[str, Any] = field(default_factory=dict)
    camera: dict[str, Any] = field(default_factory=dict)
    volume: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, float] = field(default_factory=lambda: {"l1": 1.0})
    teacher: dict[str, Any] = field(default_factory=dict)
    schedule: str = "cosine"
    milestones: list[float] = field(default_factory=lambda: [0.5, 0.8, 0.9, 0.95])
    amp: bool = False
    clip: float = 1.0
    paired: bool = False
    noisy: str = ""
    patience: int = 0
    init: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise RequestError(f"This recipe cannot be trained: {problem}.")

    def _problems(self) -> list[str]:
        whole = {"steps": 0, "batch": 1, "patch": 1, "warmup": 0, "levels": 0, "detail": 1, "seed": 0, "patience": 0}
        real = dict.fromkeys(("lr", "lr_min", "ema", "contrast"), (0.0, 1.0))
        real |= {"clip": (0.0, 1e9), "shrink": (1.0, 16.0)}
        problems = []
        for name, least in whole.items():
            value, most = getattr(self, name), _SEED if name == "seed" else _WHOLE
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                problems.append(f"{name}={value!r} must be a whole number of at least {least} and at most {most}")
        for name, (low, high) in real.items():
            value = getattr(self, name)
            if not is_number(value) or not low <= value <= high:
                problems.append(f"{name}={value!r} must lie between {low:g} and {high:g}")
        if self.levels == 1:
            problems.append("levels=1 would remove the picture; give 0 to round nothing")
        shares = self.folders.values() if isinstance(self.folders, dict) else ["no table"]
        if not all(is_number(s) and s >= 0 for s in shares) or not sum(shares) > 0:
            problems.append(
                f"folders={self.folders!r} must be a table of names and finite shares, not all of them zero"
            )
        if not isinstance(self.model, dict) or "name" not in self.model:
            problems.append("its [model] must be a table with a name, and fields of a ModelSpec")
        problems += self._loss_problems() + self._schedule_problems() + degrade_problems(self.degrade)
        scale = self.model.get("scale", ModelSpec.scale) if isinstance(self.model, dict) else 1
        problems += camera_problems(self.camera, scale) + self._noisy_problems(scale)
        return problems + self._teacher_problems() + self._plane_problems() + self._band_problems(scale)

    def _band_problems(self, scale: int) -> list[str]:
        coarse = self.degrade.get("coarse") if isinstance(self.degrade, dict) else None
        channels = self.model.get("channels", ModelSpec.channels) if isinstance(self.model, dict) else 1
        if not isinstance(coarse, dict) or not isinstance(coarse.get("bands"), list) or not isinstance(channels, int):
            return []
        problems = []
        last = max((b for b in coarse["bands"] if isinstance(b, int)), default=0)
        if last >= channels:
            problems.append(f"[degrade.coarse] names band {last}, and the model has {channels} from 0 on")
        if scale != 1:
            problems.append(f"[degrade.coarse] is for models that keep the size of an image, and the scale is {scale}")
        return problems

    def _teacher_problems(self) -> list[str]:
        share = self.loss.get("teacher") if isinstance(self.loss, dict) else None
        if self.teacher == {}:
            needs = ["the loss of a teacher"] if share is not None else []
            needs += ["detail_of='teacher'"] if self.detail_of == "teacher" else []
            return [f"{' and '.join(needs)} needs one: give [teacher] or --teacher MODEL"] if needs else []
        known = {"model", "licence", "ensemble", "sha256"}
        if (
            not isinstance(self.teacher, dict)
            or not set(self.teacher) <= known
            or not isinstance(self.teacher.get("model"), str)
        ):
            return [f"teacher={self.teacher!r} must be a table with a model, and perhaps its licence and ensemble"]
        problems = []
        if not is_number(self.teacher.get("ensemble", 1)) or self.teacher.get("ensemble", 1) not in (1, 8):
            problems.append(f"the teacher's ensemble={self.teacher['ensemble']!r} must be 1 or 8")
        if share is not None and not (is_number(share) and 0 < share <= 1):
            problems.append(f"the loss of the teacher, {share!r}, must be a share above 0 and at most 1; else omit it")
        defaults = {"degrade": {}, "camera": {}, "volume": {}, "noisy": ""}
        given = [name for name, default in defaults.items() if getattr(self, name) != default]
        if given:
            problems.append(
                f"a teacher answers once for each image, which {', '.join(given)} would change at each draw: omit"
                f" {', '.join(given)}, or the teacher"
            )
        return problems

    def _plane_problems(self) -> list[str]:
        planes = self.model.get("planes", 1) if isinstance(self.model, dict) else 1
        if not isinstance(planes, int):
            return [f"planes={planes!r} must be a whole number"]
        problems = volume_problems(self.volume)
        if planes > 1 and self.noisy not in ("", "blind"):
            problems.append(
                f"noisy={self.noisy!r} trains models of single planes: omit planes, or give noisy='blind', which trains"
                " models of several planes, too"
            )
        if planes > 1 and isinstance(self.degrade, dict) and "jpeg" in self.degrade:
            problems.append("[degrade.jpeg] would take neighbouring planes for colours: omit it")
        if planes > 1 and self.teacher:
            problems.append("a teacher sees images, not stacks: omit planes, or the teacher")
        channels = self.model.get("channels", ModelSpec.channels) if isinstance(self.model, dict) else 1
        if self.volume and channels != 1:
            problems.append(f"[volume] is for models of one channel, and this one has {channels}: omit [volume]")
        if self.volume and self.paired:
            problems.append("pairs are stacks already: omit [volume], or paired")
        return problems

    def _noisy_problems(self, scale: int) -> list[str]:
        if not self.noisy:
            return ["patience is for runs on noisy images (noisy = ...)"] if self.patience else []
        if self.noisy not in NOISY:
            return [f"noisy={self.noisy!r} must be one of {', '.join(NOISY)}; train takes auto, too"]
        problems = []
        if scale != 1:
            problems.append(
                f"noisy images train models that keep the size of an image, and this one's scale is {scale}"
            )
        channels = self.model.get("channels", ModelSpec.channels) if isinstance(self.model, dict) else 1
        if channels not in (1, 3):
            problems.append(
                f"noisy images train models of 1 or 3 channels, and this one has {channels}: for channels=1 each"
                " channel of an image is an image of its own"
            )
        shares = self.folders.values() if isinstance(self.folders, dict) else []
        if len(set(shares)) > 1:
            problems.append("noisy images are drawn alike from all folders: give the folders equal shares")
        of_clean = {"degrade": {}, "camera": {}, "paired": False, "contrast": 0, "shrink": 1, "detail": 1}
        given = [name for name, default in of_clean.items() if getattr(self, name) != default]
        if given or self.loss != {"l1": 1.0}:
            problems.append(f"noisy images are neither degraded nor compared: omit {', '.join(given) or 'loss'}")
        return problems

    def _loss_problems(self) -> list[str]:
        known = ("l1", "charbonnier", "psnr", "auxiliary", "hf")
        if isinstance(self.loss, dict) and set(self.loss) <= {*known, "teacher"}:
            weights = [weight for name, weight in self.loss.items() if name != "teacher"]
            if all(is_number(w) and w >= 0 for w in weights) and sum(weights) > 0:
                return []
        return [f"loss={self.loss!r} must be a table of finite weights of {', '.join(known)}, not all of them zero"]

    def _schedule_problems(self) -> list[str]:
        problems = []
        if self.schedule not in ("cosine", "step"):
            problems.append(f"schedule={self.schedule!r} must be 'cosine' or 'step'")
        if self.detail_of not in ("image", "teacher"):
            problems.append(f"detail_of={self.detail_of!r} must be 'image' or 'teacher'")
        if self.optimiser not in ("adam", "muon"):
            problems.append(f"optimiser={self.optimiser!r} must be 'adam' or 'muon'")
        shares = self.milestones if isinstance(self.milestones, list) else [-1]
        if not all(is_number(m) and 0 < m <= 1 for m in shares) or list(shares) != sorted(shares):
            problems.append(f"milestones={self.milestones!r} must be ascending shares of the steps in 0..1")
        switches = {"amp": self.amp, "paired": self.paired}
        problems += [f"{k}={v!r} must be true or false" for k, v in switches.items() if not isinstance(v, bool)]
        if self.paired and (self.degrade or self.camera):
            problems.append("pairs have inputs of their own: omit [degrade] and [camera], or paired")
        if self.paired and self.shrink != 1:
            problems.append("pairs cannot be reduced: omit shrink, or paired")
        return problems

    @property
    def spec(self) -> ModelSpec:
        """The model to train."""
        return ModelSpec.from_dict(self.model)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values that can be stored as JSON."""
        return asdict(self)

    @classmethod
    def read(cls, path: str | Path, *, model: dict[str, Any] | None = None, **changes: Any) -> Recipe:
        """Read a TOML file, or a built-in recipe by name; ``changes`` override single fields.

        ``model`` is used if the file has no ``[model]``: the model of the initial weights.
        """
        file, values = recipe_values(path)
        values |= {k: v for k, v in changes.items() if v is not None}
        return cls.of(({} if model is None else {"model": model}) | values, str(file))

    @classmethod
    def of(cls, values: dict[str, Any], source: str) -> Recipe:
        """Build a recipe from its entries; ``source`` names it in messages.

        Raises
        ------
        RequestError
            If an entry is unknown, no recipe can have its value, or there is no model that can be built.
        """
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown or "model" not in values:
            problem = f"unknown entries {', '.join(unknown)}" if unknown else "no [model] table, and there is no --init"
            known = ", ".join(f.name for f in fields(cls))
            raise RequestError(f"Recipe {source!r} has {problem}; possible entries are {known}.")
        recipe = cls(**values)
        try:
            _ = recipe.spec  # reject a model that cannot be built
        except (TypeError, ValueError, OverflowError) as exc:
            raise RequestError(f"The [model] of recipe {source!r} cannot be read: {exc}.") from exc
        return recipe


def recipe_values(path: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]]:
    """Find a recipe, a TOML file or a built-in one by name; return the file and its entries as they are.

    Raises
    ------
    RequestError
        If there is none, or it is not TOML.
    """
    file = Path(path)
    if not file.exists() and (RECIPES / f"{path}.toml").exists():
        file = RECIPES / f"{path}.toml"
    if not file.exists():
        names = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise RequestError(f"There is no recipe {str(path)!r}: give a TOML file or one of {names}.")
    try:
        return file, tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise RequestError(f"Recipe {str(file)!r} is not valid TOML: {exc}.") from exc
    except (OSError, ValueError) as exc:  # a folder, missing permission, not UTF-8
        raise RequestError(f"Recipe {str(file)!r} cannot be read ({exc}): give a TOML file in UTF-8.") from exc
