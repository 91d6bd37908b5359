"""Write the ``log.csv`` of a run: a row for each save, and each step once, wherever the run was killed."""

from __future__ import annotations

from pathlib import Path

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.storage.moves import replace_path

__all__ = ["LOG_COLUMNS", "LogFile"]

#: Columns of ``log.csv``: loss is the mean since the previous row; PSNR is that of the held-out images, if any. A run
#: on noisy images has ``risk`` instead of it.
LOG_COLUMNS = ("step", "loss", "learning_rate", "seconds_per_step", "patches_per_second", "psnr")


class LogFile:
    """The ``log.csv`` of a run; ``noisy`` runs have a risk instead of a PSNR."""

    def __init__(self, folder: Path, *, noisy: bool) -> None:
        self.file = folder / "log.csv"
        self.columns = (*LOG_COLUMNS[:-1], "risk") if noisy else LOG_COLUMNS

    def forget_after(self, step: int) -> None:
        """Drop rows after the last saved step, 0 if there is none: the run writes them again.

        Raises
        ------
        RequestError
            If the file is not a log of a training.
        """
        if not self.file.exists():
            return
        text = self.file.read_text(encoding="utf-8", errors="replace")
        lines = text.splitlines(keepends=True)
        lines = [line for line in lines if line.endswith("\n")]  # a kill may have cut the last one
        if lines and not lines[0].startswith(",".join(LOG_COLUMNS[:2])):
            raise RequestError(f"{self.file} is not a log of a training: choose another folder for the run.")
        steps = [row.split(",")[0] for row in lines]
        rows = zip(steps, lines, strict=True)
        known = "".join([*lines[:1], *(row for n, row in rows if n.isdecimal() and int(n) <= step)])
        if known != text:
            temporary = self.file.with_suffix(".tmp")
            temporary.write_text(known, encoding="utf-8")
            replace_path(temporary, self.file)

    def append(self, *values: str) -> None:
        """Add a row, in the order of `LOG_COLUMNS`."""
        head = "" if self.file.exists() and self.file.stat().st_size else ",".join(self.columns) + "\n"
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(head + ",".join(values) + "\n")
