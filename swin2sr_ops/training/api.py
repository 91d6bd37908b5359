"""Train, fine-tune and export in one function, as ``swin2sr-ops train`` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from torch import nn

from swin2sr_ops.errors import ModelError, RequestError
from swin2sr_ops.events import Progress
from swin2sr_ops.hooks.dispatch import build_network, resolve_model
from swin2sr_ops.io.base import ImageSource
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.training.arrays import image_of
from swin2sr_ops.training.card import write_card, write_taught_card
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.noisy import NoisySampler
from swin2sr_ops.training.noisy_images import is_image
from swin2sr_ops.training.recipe import Recipe, recipe_values
from swin2sr_ops.training.structure import Structure
from swin2sr_ops.weights.qualities import model_of_quality
from swin2sr_ops.weights.save import save_model

__all__ = ["export", "train"]

#: Gain of photon noise, in units of the range, from which `sure`, exact to first order, is no guide: 30 photons.
_FEW_PHOTONS = 1 / 30

#: Fields that a tuned model does not inherit: figures and history of the initial model.
_OF_THE_FILE = ("weights", "sha256", "size_bytes", "provenance", "quality", "halo_error", "reach")


def train(
    recipe: str | PathLike[str] | Recipe | None = None,
    *,
    data: str | PathLike[str] | ImageSource | Any,
    axes: str | None = None,
    out: str | PathLike[str],
    init: str | PathLike[str] | ModelSpec | None = None,
    name: str | None = None,
    channels: int | None = None,
    planes: int | None = None,
    along: str | None = None,
    licence: str | None = None,
    teacher: str | PathLike[str] | None = None,
    teacher_licence: str | None = None,
    validate: str | PathLike[str] | None = None,
    export_to: str | PathLike[str] | None = None,
    device: str = "auto",
    engine: str = "auto",
    save_every: int = 200,
    until: int | None = None,
    log: Callable[[str], None] = print,
    progress: Progress | None = None,
    stop: Callable[[], bool] = bool,
    **changes: Any,
) -> Trainer:
    """Train a model on a folder of images, or resume a run that was stopped or killed.

    The same call resumes at the last save and ends with the same weights as an undisturbed run (on the same
    kind of device).

    Parameters
    ----------
    recipe : str, path or Recipe, optional
        A TOML file, the name of a built-in recipe, or a `Recipe`; ``"finetune"`` if ``init`` is given, ``"noisy"`` if
        ``noisy`` is.
    data : path, array or ImageSource
        Folder that contains the recipe's folders of images, TIFF stacks and Zarr archives, or of pairs. With
        ``noisy`` also one file or archive, an array (NumPy, Dask, Zarr), or a source of a plugin.
    axes : str, optional
        Letters of an array's dimensions, such as ``"TYX"``; by default as in `swin2sr_ops.restore`.
    out : path
        Folder of the run: ``state.pt``, ``log.csv``, ``recipe.json``, ``validation.png``.
    init : str, path or ModelSpec, optional
        Model with the initial weights, as in `swin2sr_ops.restore`; a recipe without ``[model]`` trains that
        model; with ``noisy`` and neither of them, the shipped ``good`` model of scale 1. A head for another scale
        is initialised anew; weights for missing channels are derived (`with_channels`); missing stages start as
        copies of existing ones that add nothing yet.
    name : str, optional
        Name of the trained model; by default the recipe's, or that of ``init`` with the suffix ``-tuned``.
    channels : int, optional
        Channels of the images for the trained model; by default the recipe's, or those of ``init``.
    planes, along : int, str, optional
        Number of neighbouring planes that enter for one, odd, and the letter of their axis, such as ``"Z"`` or ``"T"``;
        by default the recipe's, or those of ``init``. Images are then stacks along that axis.
    licence : str, optional
        Licence of the trained model; by default the recipe's, or that of ``init``.
    teacher : str or path, optional
        A larger model of the same scale and channels, whose outputs are a second target; it replaces the model of the
        recipe's ``[teacher]``. They are computed once and stored beside ``out``.
    teacher_licence : str, optional
        The teacher's licence, if its file states none.
    validate : path, optional
        Folder of held-out images (or pairs), for a PSNR and a picture at every save.
    export_to : path, optional
        A ``.safetensors`` file for the model once the run is finished; with ``noisy`` or a teacher a card is written
        beside it.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    engine : str
        ``"torch"``; ``"native"``, this package's kernels, on a CPU with a C compiler; or ``"auto"``, the kernels if
        they can run.
    save_every, until : int
        Steps between two saves; the step at which to stop for now.
    log : callable
        Receives a line at every save.
    progress : callable, optional
        Receives a `swin2sr_ops.events.StepDone` after every step.
    stop : callable
        Asked before every step; if it returns True, the state is saved and `swin2sr_ops.errors.Stopped` raised.
    **changes
        Fields of `Recipe` that replace the recipe's, such as ``steps=2000`` or ``noisy="blind"``; None changes
        nothing.

    Returns
    -------
    Trainer
        Has the weights (`Trainer.averaged_state`) and the step that was reached.

    Raises
    ------
    RequestError, ModelError, FormatError
        If recipe, images, weights and folder do not fit each other.

    Examples
    --------
    >>> from swin2sr_ops.training import train
    >>> train(init="tiny-x2-gray", data="fields/", out="run/", export_to="mine.safetensors")  # doctest: +SKIP
    >>> train(noisy="blind", data=stack, axes="TYX", out="run2/", export_to="own.safetensors")  # doctest: +SKIP
    """
    image, out = image_of(data, axes), Path(out)
    path = None if export_to is None else Path(export_to)
    values = _values(recipe)
    noisy = bool(changes.get("noisy") or values.get("noisy"))
    _check(image, path, None if validate is None else Path(validate), single=noisy)
    recipe = "noisy" if noisy and recipe is None else recipe
    if noisy and init is None and "model" not in values:
        init = model_of_quality("good", 1, channels or 1)
    start = None if init is None else _weights(init)
    given = {"name": name, "channels": channels, "planes": planes, "along": along, "licence": licence}
    chosen = _recipe(recipe, start, given, changes)
    chosen = _taught(chosen, teacher, teacher_licence)
    held_out = None if validate is None else Path(validate)
    trainer = Trainer(chosen, image, out, device, start=start, validate=held_out, engine=engine)
    begins = trainer.step == 0 and trainer.team.leads
    if begins and start is not None and start.spec.channels != chosen.spec.channels:
        log(f"weights converted from {start.spec.channels} channel(s) to {chosen.spec.channels}")
    if begins and start is not None and start.spec.planes != chosen.spec.planes:
        log(f"weights for {start.spec.planes} plane(s) taken for {chosen.spec.planes}: new neighbours add nothing yet")
    if begins and start is not None and len(start.spec.depths) < len(chosen.spec.depths):
        log(
            f"the first {len(start.spec.depths)} of {len(chosen.spec.depths)} stages have the weights of "
            f"{start.spec.name}, the others are copies of them that add nothing yet"
        )
    if begins and trainer.anew:
        log(f"initialised anew, since {chosen.spec.name} has another shape there: {', '.join(trainer.anew)}")
    gain = trainer.sampler.noise.gain if isinstance(trainer.sampler, NoisySampler) else 0.0
    if gain > _FEW_PHOTONS and trainer.team.leads:
        log(
            f"the images have about {1 / gain:.0f} photons over their range: with so few 'sure' misjudges the error,"
            " use --noisy blind"
        )
    structure = trainer.structure(_judge(trainer))
    if structure is not None and trainer.team.leads:
        log(_told(structure, chosen.noisy))
    trainer.run(save_every=save_every, until=until, log=log, progress=progress, stop=stop)
    if path is not None and trainer.team.leads:
        export(trainer, path)
        if chosen.noisy:
            log(f"card: {write_card(path, chosen, trainer.watch, structure, len(trainer.sampler))}")
        elif chosen.teacher:
            log(f"card: {write_taught_card(path, trainer.recipe, trainer.step, len(trainer.sampler))}")
    return trainer


def _judge(trainer: Trainer) -> SwinNet | None:
    """Return the shipped denoiser that shows the noise of the images, where the run's own network cannot yet."""
    recipe = trainer.recipe
    if trainer.from_trained or recipe.noisy not in ("blind", "sure") or recipe.spec.channels not in (1, 3):
        return None
    return _weights(model_of_quality("good", 1, recipe.spec.channels))


def _taught(recipe: Recipe, teacher: str | PathLike[str] | None, licence: str | None) -> Recipe:
    """Return the recipe with another teacher, or with the licence of its own."""
    if teacher is None and licence is None:
        return recipe
    table = recipe.teacher if teacher is None else {"model": fspath(teacher)}
    if not table:
        raise RequestError("There is no teacher that could have a licence: give --teacher MODEL, too.")
    return replace(recipe, teacher=table | ({} if licence is None else {"licence": licence}))


def _told(structure: Structure, noisy: str) -> str:
    if not structure.found or noisy == "repeats":
        return str(structure)
    return f"{structure}: {noisy!r} keeps such noise; use --noisy repeats or neighbours if there are several frames"


def export(trainer: Trainer, path: Path) -> None:
    """Write the averaged weights as float16, with the history of the run as provenance."""
    recipe = trainer.recipe
    provenance: dict[str, Any] = {
        "recipe": recipe.to_dict(),
        "steps_done": trainer.step,
        "images": len(trainer.sampler),
        "torch": torch.__version__,
        "loss": recipe.loss,
    }
    if recipe.init:
        provenance["init"] = recipe.init
    if recipe.noisy:
        provenance |= {"steps_done": trainer.watch.step, "loss": recipe.noisy, "risk": trainer.watch.best}
    spec = replace(recipe.spec, provenance=recipe.spec.provenance | provenance)
    save_model(path, trainer.averaged_state(), spec, dtype=torch.float16)


def _weights(init: str | PathLike[str] | ModelSpec) -> SwinNet:
    spec = resolve_model(init)
    net: nn.Module = build_network(spec)
    if not isinstance(net, SwinNet):
        raise ModelError(
            f"{spec.name!r} is another network ({spec.architecture}): only Swin2SR and SwinIR can be trained."
        )
    return net


def _values(recipe: str | PathLike[str] | Recipe | None) -> dict[str, Any]:
    """Return the entries of a recipe as it was given; none of None."""
    if isinstance(recipe, Recipe):
        return recipe.to_dict()
    return {} if recipe is None else recipe_values(recipe)[1]


def _recipe(
    recipe: str | PathLike[str] | Recipe | None,
    start: SwinNet | None,
    given: dict[str, Any],
    changes: dict[str, Any],
) -> Recipe:
    if recipe is None and start is None:
        raise RequestError("There is no model to train: give a recipe (a TOML file or a name), or --init MODEL.")
    model, init = None, {}
    if start is not None:
        model = {k: v for k, v in start.spec.to_dict().items() if k not in _OF_THE_FILE}
        model["name"] = f"{start.spec.name}-tuned"
        init = {"name": start.spec.name, "sha256": start.spec.sha256}
    if not isinstance(recipe, Recipe):
        recipe = Recipe.read("finetune" if recipe is None else fspath(recipe), model=model, **changes)
    shape = ("channels", "planes")
    if start is not None and (recipe.noisy or any(given[k] not in (None, getattr(start.spec, k)) for k in shape)):
        given = given | {"advice": ""}  # the other model's advice does not apply
    recipe = replace(recipe, model=recipe.model | {k: v for k, v in given.items() if v is not None})
    return replace(recipe, init=init)


def _check(data: Path | ImageSource, path: Path | None, validate: Path | None, *, single: bool) -> None:
    """Detect before training what would fail after it, or late in it; ``single`` data may be one image."""
    folder = data if isinstance(data, Path) and not (single and is_image(data)) else None
    images = (folder, "training images")
    for folder, what in (images, (validate, "held-out images")):
        if folder is not None and not folder.is_dir():
            raise RequestError(f"There is no folder {str(folder)!r} for {what}.")
    if path is None:
        return
    if path.suffix != ".safetensors":
        raise RequestError(f"--export {str(path)!r} must end with .safetensors, the suffix of models.")
    if not path.absolute().parent.is_dir():
        raise RequestError(f"The folder {str(path.parent)!r} of --export does not exist: create it first.")
