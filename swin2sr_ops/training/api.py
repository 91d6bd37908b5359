"""Train, fine-tune and export in one function, as ``swin2sr-ops train`` does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from torch import nn

from swin2sr_ops.calls import check_keywords, path_of
from swin2sr_ops.errors import ModelError, RequestError
from swin2sr_ops.events import Progress
from swin2sr_ops.hooks.dispatch import build_network, resolve_model
from swin2sr_ops.io.base import ImageSource
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.training.arrays import image_of
from swin2sr_ops.training.card import check_card, write_card, write_taught_card
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.method import AUTO, SURE_RATE, with_method
from swin2sr_ops.training.noisy import NoisySampler
from swin2sr_ops.training.places import check_data, check_export, check_out, check_own, check_steps
from swin2sr_ops.training.recipe import Recipe, recipe_values
from swin2sr_ops.training.structure import Structure
from swin2sr_ops.weights.qualities import model_of_quality
from swin2sr_ops.weights.save import save_model

__all__ = ["export", "train"]

#: Fields that a tuned model does not inherit: figures and history of the initial model.
_OF_THE_FILE = ("weights", "sha256", "size_bytes", "provenance", "quality", "halo_error", "reach")

#: What a run says first if its method was chosen for it.
_METHODS = {
    "sure": "method: sure",
    "blind": "method: blind, since sure needs noise that can be measured and that the initial model removes",
}


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
        model; with ``noisy`` and neither of them, the shipped ``good`` model of scale 1. A ``pixelshuffledirect``
        head for another scale repeats the old one's pixels at first, others are initialised anew; weights for
        missing channels are derived (`with_channels`); missing stages start as copies of existing ones that add
        nothing yet.
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
        Steps between two saves; the step at which to stop for now. With ``noisy`` the risk is estimated at multiples
        of ``save_every`` and at the last step of the recipe, so a resume needs the same ``save_every``.
    log : callable
        Receives a line at every save.
    progress : callable, optional
        Receives a `swin2sr_ops.events.StepDone` after every step.
    stop : callable
        Asked before every step; if it returns True, the state is saved and `swin2sr_ops.errors.Stopped` raised.
    **changes
        Fields of `Recipe` that replace the recipe's, such as ``steps=2000`` or ``noisy="blind"``; None changes
        nothing. ``noisy="auto"`` is ``"sure"`` if the noise of the images can be measured and the initial model
        removes about as much, else ``"blind"``. Without a recipe or ``lr``, ``"sure"`` has a learning rate of 1e-4.

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
    >>> train(noisy="auto", data=stack, axes="TYX", out="run2/", export_to="own.safetensors")  # doctest: +SKIP
    """
    image, out = image_of(data, axes), Path(path_of(out, "out"))
    path, held_out = (None if place is None else Path(place) for place in (export_to, validate))
    _check_names(changes)
    source, values = (None, {}) if recipe is None else _entries(recipe)
    values |= {field: value for field, value in changes.items() if value is not None}
    automatic, rated = values.get("noisy") == AUTO, "lr" in values
    if automatic:
        values["noisy"] = "blind"
    check_steps(save_every, until)
    check_data(image, held_out, single=bool(values.get("noisy")))
    check_out(out)
    if path is not None:
        check_export(path, {"init": init, "teacher": teacher})
    source, values, start = _begun(source, values, init, channels)
    given = {"name": name, "channels": channels, "planes": planes, "along": along, "licence": licence}
    chosen = Recipe.of(_taught(_modelled(values, start, given), teacher, teacher_licence), source)
    _check_axis(along, chosen)
    if automatic:
        chosen = with_method(chosen, image, start)
    if chosen.noisy == "sure" and not rated:
        chosen = replace(chosen, lr=SURE_RATE)
    if path is not None:
        check_own(path, chosen)
        if chosen.noisy or chosen.teacher:
            check_card(path, chosen)
    trainer = Trainer(chosen, image, out, device, start=start, validate=held_out, engine=engine)
    if automatic and trainer.team.leads:
        log(_METHODS[chosen.noisy])
    structure = _announce(trainer, start, log)
    trainer.run(save_every=save_every, until=until, log=log, progress=progress, stop=stop)
    if chosen.noisy and trainer.team.leads and trainer.step:
        for note in _outcome(trainer):
            log(note)
    if path is not None and trainer.team.leads:
        _write(trainer, path, structure, log)
    return trainer


def _begun(
    source: str | None, values: dict[str, Any], init: str | PathLike[str] | ModelSpec | None, channels: int | None
) -> tuple[str, dict[str, Any], SwinNet | None]:
    """Return a recipe's name and entries, those of the default recipe without a ``source``, and the initial net.

    A noisy run without a model of its own starts from the shipped one.
    """
    noisy = bool(values.get("noisy"))
    if noisy and init is None and "model" not in values:
        init = model_of_quality("good", 1, channels or 1)
    if source is None:
        source, others = _default_entries(noisy=noisy, init=init is not None)
        values = others | values
    return source, values, None if init is None else _weights(init)


def _announce(trainer: Trainer, start: SwinNet | None, log: Callable[[str], None]) -> Structure | None:
    """Log how the run begins; return the structure of the images' noise, if it is measured."""
    if trainer.team.leads:
        for note in _notes(trainer, start):
            log(note)
    structure = trainer.structure(_judge(trainer))
    if structure is not None and trainer.team.leads:
        log(_told(structure, trainer.recipe.noisy))
    return structure


def _outcome(trainer: Trainer) -> Iterator[str]:
    """Say which weights of a run on noisy images are kept, where these are not its latest best ones."""
    watch, noisy = trainer.watch, trainer.recipe.noisy
    if watch.at < trainer.step:
        yield (
            f"step {trainer.step} is between two estimates of the risk, which stopping must not change: the weights of"
            f" step {watch.step} are kept until the next one"
        )
    elif watch.keeps_first:
        yield watch.verdict(noisy)


def _write(trainer: Trainer, path: Path, structure: Structure | None, log: Callable[[str], None]) -> None:
    """Export the finished model, with a card if it was trained on noisy images or by a teacher."""
    export(trainer, path)
    recipe, images = trainer.recipe, len(trainer.sampler)
    if recipe.noisy:
        log(f"card: {write_card(path, recipe, trainer.watch, structure, images)}")
    elif recipe.teacher:
        log(f"card: {write_taught_card(path, recipe, trainer.step, images)}")


def _notes(trainer: Trainer, start: SwinNet | None) -> Iterator[str]:
    """Say how the run begins, and of a noisy run whether its method suits the images."""
    spec = trainer.recipe.spec
    if trainer.step == 0 and start is not None:
        if start.spec.channels != spec.channels:
            yield f"weights converted from {start.spec.channels} channel(s) to {spec.channels}"
        if start.spec.planes != spec.planes:
            yield (f"weights for {start.spec.planes} plane(s) taken for {spec.planes}: new neighbours add nothing yet")
        if len(start.spec.depths) < len(spec.depths):
            yield (
                f"the first {len(start.spec.depths)} of {len(spec.depths)} stages have the weights of"
                f" {start.spec.name}, the others are copies of them that add nothing yet"
            )
        if trainer.anew:
            yield f"initialised anew, since {spec.name} has another shape there: {', '.join(trainer.anew)}"
        if start.spec.licence != spec.licence:
            yield (
                f"licence: the initial weights of {start.spec.name} have {start.spec.licence or 'none that is stated'},"
                f" the trained model states {spec.licence or 'none'}: check that the first allows this"
            )
    if isinstance(trainer.sampler, NoisySampler) and not trainer.sampler.judged:
        yield (
            "no noise was measured in the held-out parts, which have none or are too small: the risk is the loss at"
            " hidden pixels, which may fall while the model becomes worse; compare the result with the initial model"
        )


def _judge(trainer: Trainer) -> SwinNet | None:
    """Return the shipped denoiser that shows the noise of the images, where the run's own network cannot yet."""
    recipe = trainer.recipe
    if trainer.from_trained or recipe.noisy not in ("blind", "sure") or recipe.spec.channels not in (1, 3):
        return None
    return _weights(model_of_quality("good", 1, recipe.spec.channels))


def _check_names(changes: dict[str, Any]) -> None:
    """Reject a keyword that is neither one of `train` nor a field of `Recipe`."""
    own = [name for name, one in inspect.signature(train).parameters.items() if one.kind is one.KEYWORD_ONLY]
    check_keywords("train", changes, dict.fromkeys([*own, *(field.name for field in fields(Recipe))]))


def _taught(values: dict[str, Any], teacher: str | PathLike[str] | None, licence: str | None) -> dict[str, Any]:
    """Return a recipe's entries with another teacher, or with the licence of its own."""
    table = values.get("teacher", {}) if teacher is None else {"model": fspath(teacher)}
    if licence is None or not isinstance(table, dict):  # validated as an entry of the recipe
        return values | {"teacher": table}
    if not table:
        raise RequestError("There is no teacher that could have a licence: give --teacher MODEL, too.")
    return values | {"teacher": table | {"licence": licence}}


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


def _entries(recipe: str | PathLike[str] | Recipe) -> tuple[str, dict[str, Any]]:
    """Return a name for messages and the entries of a recipe as it was given."""
    if isinstance(recipe, Recipe):
        return str(recipe.model["name"]), recipe.to_dict()
    file, values = recipe_values(recipe)
    return str(file), values


def _default_entries(*, noisy: bool, init: bool) -> tuple[str, dict[str, Any]]:
    """Return the name and the entries of the recipe that is used if none is given."""
    if not init:
        raise RequestError("There is no model to train: give a recipe (a TOML file or a name), or --init MODEL.")
    return _entries("noisy" if noisy else "finetune")


def _modelled(values: dict[str, Any], start: SwinNet | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe's entries with the initial model, where it describes none, and what is ``given`` of a model.

    Nothing is validated before: a recipe may be possible only with what is given.
    """
    model, init = values.get("model"), {}
    if start is not None:
        spec = start.spec
        own = {k: v for k, v in spec.to_dict().items() if k not in _OF_THE_FILE} | {"name": f"{spec.name}-tuned"}
        model = own if model is None else model
        init = {"name": spec.name, "sha256": spec.sha256} | ({"licence": spec.licence} if spec.licence else {})
        shape = ("channels", "planes")
        if values.get("noisy") or any(given[k] not in (None, getattr(spec, k)) for k in shape):
            given = given | {"advice": ""}  # the other model's advice does not apply
    if isinstance(model, dict):
        values = values | {"model": model | {k: v for k, v in given.items() if v is not None}}
    return values | {"init": init}


def _check_axis(along: str | None, recipe: Recipe) -> None:
    if along is not None and recipe.spec.planes == 1:
        raise RequestError(
            f"--along {along} names the axis of neighbouring planes, and {recipe.spec.name!r} takes single planes: give"
            " --planes N, an odd number above 1, or omit --along."
        )
