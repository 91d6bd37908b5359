"""Write fidelity maps of measured images to files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from swin2sr_ops.errors import OutputError
from swin2sr_ops.evaluate.fidelity import fidelity_map
from swin2sr_ops.evaluate.sheet import heat

if TYPE_CHECKING:
    from swin2sr_ops.evaluate.scoring import Measured

__all__ = ["Maps"]

_GAIN = 8


class Maps:
    """Write a fidelity map for each measured image and model.

    ``NAME_MODEL.tif`` holds float32 in the image's unit. ``NAME_MODEL.png`` is for viewing: black for no
    difference, white for an eighth of the data range or more.

    Raises
    ------
    OutputError
        If the folder cannot be created.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise OutputError(f"The folder {str(folder)!r} for fidelity maps cannot be created: {exc}.") from exc

    def __call__(self, measured: Measured) -> None:
        """Write the maps of one image; the baseline gets none."""
        import tifffile
        from PIL import Image

        for model, output in measured.outputs.items():
            if model in ("bicubic", "input"):
                continue
            found = fidelity_map(output, measured.given, measured.scale, measured.degrade)
            name = f"{measured.name}_{model}".replace("/", "_").replace(" ", "_")
            try:
                tifffile.imwrite(self.folder / f"{name}.tif", found)
                Image.fromarray(heat(found / measured.levels.peak * _GAIN)).save(self.folder / f"{name}.png")
            except OSError as exc:
                raise OutputError(f"A fidelity map cannot be written into {str(self.folder)!r}: {exc}.") from exc
