"""Run the training loop: schedules, moving average, exact resume."""

from __future__ import annotations

import json
import math
import pickle
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from swin2sr_ops.engine.devices import choose_device, torch_device
from swin2sr_ops.errors import RequestError, Stopped
from swin2sr_ops.events import Progress, StepDone
from swin2sr_ops.io.base import ImageSource
from swin2sr_ops.io.storage.moves import replace_path
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.training.data import PatchSampler
from swin2sr_ops.training.kernels import use_engine
from swin2sr_ops.training.log_file import LogFile
from swin2sr_ops.training.losses import loss_of
from swin2sr_ops.training.noisy import NoisySampler, noisy_loss
from swin2sr_ops.training.optimisers import Optimisers
from swin2sr_ops.training.places import check_steps, make_folder
from swin2sr_ops.training.recipe import Recipe
from swin2sr_ops.training.start import start_as, start_as_interpolation
from swin2sr_ops.training.structure import Structure, structure_of
from swin2sr_ops.training.teacher import with_teacher
from swin2sr_ops.training.team import Team
from swin2sr_ops.training.validate import Validation
from swin2sr_ops.training.watch import Watch

__all__ = ["Trainer"]

Log = Callable[[str], None]
_DAMAGED = (zipfile.BadZipFile, zlib.error, pickle.UnpicklingError)


class Trainer:
    """Train one recipe: create it and call `run`; create it again on the same folder to resume.

    Parameters
    ----------
    recipe : Recipe
        The model and how to train it.
    data : path or ImageSource
        Folder of images; for a recipe with ``noisy`` also an image.
    out : path
        Folder of the run (``state.pt``, ``log.csv``, ``recipe.json``).
    device : str
        Device of the training; under ``torchrun`` each process uses its own GPU.
    start : SwinNet, optional
        Initial weights, possibly of another number of channels. Parameters whose shape differs in the recipe's
        network are initialised anew.
    validate : path, optional
        Folder of held-out images, measured at every save (``validation.png``).
    engine : str
        Computes the Swin blocks: ``"torch"``; ``"native"``, kernels that a C compiler builds for this CPU; or
        ``"auto"``, the kernels if they can run.

    Raises
    ------
    RequestError
        If ``out`` holds a run of another recipe, or an unreadable state; if ``start`` does not fit.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Path | ImageSource,
        out: Path,
        device: str = "cpu",
        *,
        start: SwinNet | None = None,
        validate: Path | None = None,
        engine: str = "auto",
    ) -> None:
        self.team, device = Team.join(device, recipe.batch)
        recipe, self.teacher = with_teacher(recipe, out, device)
        self.recipe, self.out, self.device = recipe, out, torch_device(choose_device(device))
        torch.manual_seed(recipe.seed)
        self.net = SwinNet(recipe.spec)
        start_as_interpolation(self.net)
        self.anew = [] if start is None else start_as(self.net, start)
        self.from_trained = start is not None and not self.anew
        self.net.to(self.device).train()
        self.engine = use_engine(self.net, engine, self.device, amp=recipe.amp)
        self.average = {k: v.clone() for k, v in self.net.state_dict().items()}
        self.optimisers = Optimisers(self.net.named_parameters(), recipe.optimiser)
        self.sampler: NoisySampler | PatchSampler
        if recipe.noisy:
            self.sampler = NoisySampler(recipe, data)
        elif isinstance(data, Path):
            self.sampler = PatchSampler(recipe, data)
        else:
            raise RequestError("An array trains on noisy images only: give noisy='blind', or a folder of images.")
        self.watch = Watch(recipe.patience)
        self.validation = None
        if validate is not None and isinstance(self.sampler, NoisySampler):
            raise RequestError("A run on noisy images holds out a part of them itself: omit the held-out images.")
        if validate is not None and isinstance(self.sampler, PatchSampler) and self.team.leads:
            self.validation = Validation(validate, self.sampler)
        self.step = 0
        self.save_every: int | None = None  # of a run on noisy images
        self.resumed_save_every: int | None = None  # the same of the state that was loaded
        self.losses: list[float] = []  # since the last row of the log
        self.log_file = LogFile(out, noisy=bool(recipe.noisy))
        self.state_file = out / "state.pt"
        if self.state_file.exists():
            self._restore()

    def run(
        self,
        *,
        save_every: int = 200,
        until: int | None = None,
        log: Log = print,
        progress: Progress | None = None,
        stop: Callable[[], bool] = bool,
    ) -> None:
        """Train to the recipe's last step (or to ``until``); save every ``save_every`` steps.

        ``progress`` receives a `StepDone` after each step; ``stop()`` is asked before each. A run on noisy images
        estimates its risk at multiples of ``save_every`` and at the recipe's last step, never because of ``until``:
        each estimate may choose the weights, and stopping must not.

        Raises
        ------
        RequestError
            If ``save_every`` is not positive, or not that of the run on noisy images that is resumed; if the loss or
            its gradient is not finite, before they change a weight.
        Stopped
            ``stop()`` was true; the state is saved, and the same call resumes there.
        """
        check_steps(save_every, until)
        make_folder(self.out)
        if self.team.leads:
            self._keep_recipe()
            self.log_file.forget_after(self.step)
            log(self.engine)
        last = self.recipe.steps if until is None else min(self.recipe.steps, until)
        if self.recipe.noisy and self.step < last:
            self._check_save_every(save_every)
        if self.recipe.noisy and self.watch.first is None and last:
            self._see()
        if self.teacher is not None and self.step < last and isinstance(self.sampler, PatchSampler):
            report = log if self.team.leads else lambda _: None
            self.sampler.teach(self.teacher, report, self.team.rank, self.team.size)
        spent, first = 0.0, self.step
        while self.step < last and not self.watch.stops:
            if stop():
                self.save()
                raise Stopped
            began = time.monotonic()
            self.losses.append(self._train_step())
            spent += time.monotonic() - began
            if progress is not None:
                progress(StepDone(done=self.step, total=last))
            due = self.step % save_every == 0 or self.step == self.recipe.steps
            if due or self.step == last:
                if self.recipe.noisy and due:
                    self._see()
                if self.team.leads:
                    self._record(spent / (self.step - first), log, last)
                self.losses.clear()
                if self.team.leads:
                    self.save()

    def _train_step(self) -> float:
        batch = tuple(self.team.share(x).to(self.device) for x in self.sampler.batch(self.step))
        if self.recipe.noisy:
            loss = noisy_loss(self.recipe.noisy, lambda x: self._outputs(x)["image"], batch)
        else:
            source, target, *taught = batch
            loss = loss_of(self._outputs(source), target, self.recipe.loss, self.recipe.spec.scale, *taught)
        self.net.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        loss = self.team.average(self.net.parameters(), loss)
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip or math.inf)
        self._check_finite(loss.item(), norm.item())
        self.optimisers.step(self.learning_rate(self.step))
        self.step += 1
        # Start with a short averaging time, so that the average forgets the initial weights.
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
        return loss.item()

    def _check_finite(self, loss: float, gradient: float) -> None:
        for name, value in (("loss", loss), ("gradient", gradient)):
            if not math.isfinite(value):
                raise RequestError(
                    f"The {name} of step {self.step + 1} is {value}, so the run stops there; {self.out} keeps the state"
                    " of its last save. Give a lower --lr or other weights in [loss], and another folder."
                )

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.amp):
            outputs = self.net.outputs(x)
        # Compute the loss in float32: bfloat16 is too coarse for a loss of a few thousandths.
        return {name: y.float() for name, y in outputs.items()}

    def _see(self) -> None:
        """Estimate the risk of the averaged weights; every process does, since all must stop at the same step."""
        assert isinstance(self.sampler, NoisySampler)
        net = self._averaged()
        self.watch.see(self.sampler.risks(lambda x: net(x).float(), self.device), self.step, self.average)

    def structure(self, judge: SwinNet | None = None) -> Structure | None:
        """Measure how much of the noise neighbouring pixels share; None where nothing shows it.

        Adjacent frames differ by motion, too; clean images have no noise. What a network removes is noise only if it
        was trained to denoise: a run without trained initial weights needs ``judge``, a network that was.
        """
        if not isinstance(self.sampler, NoisySampler) or self.recipe.noisy == "neighbours":
            return None
        if judge is None and not self.from_trained and self.recipe.noisy != "repeats":
            return None
        net = self._averaged() if judge is None else judge.to(self.device).eval()
        seen = net.spec.inputs  # a judge may know single planes only
        return structure_of(self.sampler.residuals(lambda x: net(x[:, :seen]).float(), self.device))

    def learning_rate(self, step: int) -> float:
        """Return the learning rate: linear warm-up, then half a cosine to ``lr_min``, or halvings at milestones."""
        r = self.recipe
        if step < r.warmup:
            return r.lr * (step + 1) / r.warmup
        if r.schedule == "step":
            return max(r.lr * 0.5 ** sum(step >= share * r.steps for share in r.milestones), r.lr_min)
        done = (step - r.warmup) / max(r.steps - r.warmup, 1)
        return r.lr_min + (r.lr - r.lr_min) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def _record(self, seconds: float, log: Log, last: int) -> None:
        loss, rate = sum(self.losses) / len(self.losses), self.learning_rate(self.step - 1)
        speed = self.recipe.batch / seconds
        quality, measured = "", ""
        if self.recipe.noisy and self.watch.at == self.step:
            quality = f"{self.watch.seen:.6g}"
            measured = f"  risk {self.watch.seen:.5g} (first {self.watch.first:.5g}, lowest {self.watch.lowest:.5g})"
        if self.validation is not None:
            psnr = self.validation.measure(self._averaged(), self.device, self.out / "validation.png")
            quality, measured = f"{psnr:.4f}", f"  held out {psnr:.2f} dB (input {self.validation.baseline:.2f})"
        self.log_file.append(str(self.step), f"{loss:.6f}", f"{rate:.3e}", f"{seconds:.3f}", f"{speed:.2f}", quality)
        left = (last - self.step) * seconds / 60
        log(f"step {self.step}/{last}  loss {loss:.5f}{measured}  {speed:.1f} patches/s  {left:.0f} min left")
        if self.watch.stops:
            log(f"stopped: the risk has not fallen for {self.watch.waited} saves; step {self.watch.step} is kept")

    def _averaged(self) -> SwinNet:
        net = SwinNet(self.recipe.spec)
        net.load_state_dict(self.average)
        return net.to(self.device).eval()

    def save(self) -> None:
        """Save the run's state atomically: after a kill the file is the old or the new one, never a part."""
        state = {
            "step": self.step,
            "net": self.net.state_dict(),
            "average": self.average,
            "optimiser": self.optimisers.state_dict(),
            "watch": self.watch.state_dict(),
            "save_every": self.save_every,
            "losses": self.losses,
        }
        temporary = self.state_file.with_suffix(".tmp")
        torch.save(state, temporary)
        replace_path(temporary, self.state_file)

    def _restore(self) -> None:
        self._check_recipe()
        try:
            with zipfile.ZipFile(self.state_file) as archive:  # torch does not compare the checksums
                if damaged := archive.testzip():
                    raise ValueError(f"the checksum of {damaged} differs")
            state: dict[str, Any] = torch.load(self.state_file, map_location=self.device, weights_only=True)
            self.net.load_state_dict(state["net"])
            self.optimisers.load_state_dict(state["optimiser"])
            self.average, self.step = state["average"], state["step"]
            self.resumed_save_every, self.losses = state.get("save_every"), state.get("losses", [])
            watch = state.get("watch", {})
            if "parts" in watch:  # earlier versions had none, or a risk at hidden pixels
                # Earlier versions without `at` estimated the risk at every save.
                self.watch.load_state_dict({"at": self.step} | watch)
        except (*_DAMAGED, RuntimeError, ValueError, LookupError, EOFError) as exc:
            raise RequestError(
                f"{self.state_file} is damaged or belongs to another model than {self.recipe.spec.name!r} "
                f"({repr(exc).splitlines()[0]}): give another folder, or remove this one to start anew."
            ) from exc

    def _settings(self) -> dict[str, Any]:
        """Return the settings that must not change on resume: all but the length and the model (its weights tell)."""
        values = self.recipe.to_dict()
        values["init"].pop("licence", None)  # earlier versions did not keep it, and the hash names the weights
        return {key: values[key] for key in sorted(values) if key not in ("steps", "model")}

    def _keep_recipe(self) -> None:
        file = self.out / "recipe.json"
        if not (file.exists() and self.state_file.exists()):
            temporary = file.with_suffix(".tmp")
            kept = self._settings() | {"images": self.sampler.digest()}
            temporary.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            replace_path(temporary, file)

    def _check_recipe(self) -> None:
        """Reject a resume with other settings or images: its result would belong to no recipe."""
        file = self.out / "recipe.json"
        if not file.exists():
            return
        try:
            kept = dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as exc:
            raise RequestError(f"{file} is damaged ({exc}): give another folder, or remove this one.") from exc
        # For settings unknown to an earlier version, its runs did what the default does.
        defaults = Recipe(model=self.recipe.model).to_dict()
        began, now = defaults | kept, self._settings()
        other = [f"{key}={began.get(key)!r}, not {now[key]!r}" for key in now if began.get(key) != now[key]]
        if other:
            raise RequestError(
                f"The run in {self.out} was started with {'; '.join(other)}: give another folder, or remove this one"
                " to start anew."
            )
        # Runs of earlier versions have no digest.
        if "images" in kept and kept["images"] != self.sampler.digest():
            raise RequestError(
                f"The run in {self.out} was started on other images than those given now: bring these back, in their"
                " order by name, or give another folder for a new run."
            )

    def _check_save_every(self, save_every: int) -> None:
        """Reject a resume that would estimate the risk at other steps: these estimates choose the weights."""
        began = self.resumed_save_every
        if began not in (None, save_every):
            raise RequestError(
                f"The run in {self.out} was started with save_every={began}, not {save_every}, and on noisy images the"
                f" risk at each save chooses the weights: give --save-every {began}, or another folder."
            )
        self.save_every = save_every

    def averaged_state(self) -> dict[str, Tensor]:
        """Return the weights to export: the moving average, on the CPU; of a run on noisy images the best one."""
        return {k: v.detach().cpu().clone() for k, v in (self.watch.weights or self.average).items()}
