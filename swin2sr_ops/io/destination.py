"""Where an output is put: what may not be overwritten, and how it appears whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.base import local_path

__all__ = ["Destination", "disk_errors"]

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` met while writing ``path`` into an `OutputError` that says what to do."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in _FULL:
            raise OutputError(f"{str(path)!r} cannot be written: {exc.strerror or exc}.") from exc
        free = shutil.disk_usage(path.parent).free
        raise OutputError(
            f"The disk is full: {str(path)!r} cannot be written, {free:,} bytes are free in {str(path.parent)!r}."
            " Free some space, or choose another place."
        ) from exc


@dataclass(frozen=True)
class Destination:
    """A path that an output will take once it is finished; until then it grows in a folder beside it.

    Attributes
    ----------
    path : Path
        Where the finished output will be.
    overwrite : bool
        Whether something may be there already: it stays until the new output takes its place.
    """

    path: Path
    overwrite: bool = False

    @classmethod
    def at(cls, uri: str, *, overwrite: bool = False) -> Destination:
        """The destination that ``uri`` names, which must be on a file system."""
        path = local_path(uri)
        if path is None:
            raise OutputError(f"{uri!r} is not on this file system: outputs are written to folders and files only.")
        # Absolute, because a worker may run in another folder; links are kept as the user named them.
        return cls(Path(os.path.abspath(path)), overwrite)

    @property
    def partial(self) -> Path:
        """The folder, on the same file system, where the output grows."""
        return self.path.with_name(self.path.name + ".partial")

    def check(self, source: str | None = None) -> None:
        """Refuse what would destroy something.

        Parameters
        ----------
        source : str, optional
            Where the input is: inputs are never written, so an output may neither replace nor
            hold it, nor lie in it.

        Raises
        ------
        OutputError
            Something is there already (without ``overwrite``), the parent folder is missing, or
            the destination and ``source`` overlap.
        """
        origin = None if source is None else local_path(source)
        if origin is not None:
            there = origin.resolve()
            for here in (self.path.resolve(), self.partial.resolve()):  # the partial folder is emptied, too
                if not (here.is_relative_to(there) or there.is_relative_to(here)):
                    continue
                raise OutputError(
                    f"The output {str(self.path)!r} lies in or over the input {source!r}, which must stay as it is."
                    " Choose another place."
                )
        if not self.path.parent.is_dir():
            raise OutputError(f"The folder {str(self.path.parent)!r} does not exist: create it first.")
        if os.path.lexists(self.path) and not self.overwrite:
            raise OutputError(f"{str(self.path)!r} exists already: choose another name, or allow to overwrite it.")

    def start(self) -> Path:
        """Make the empty folder where the output grows; what a killed run left there goes first."""
        with disk_errors(self.partial):
            _remove(self.partial)
            self.partial.mkdir()
        return self.partial

    def appear(self, finished: Path) -> None:
        """Give ``finished``, the partial folder itself or a file in it, its final name."""
        with disk_errors(self.path):
            if os.path.lexists(self.path) and not self.overwrite:
                raise OutputError(f"{str(self.path)!r} has come into being meanwhile: nothing was overwritten.")
            self._put_in_place(finished)
            _remove(self.partial)

    def _put_in_place(self, finished: Path) -> None:
        if not os.path.lexists(self.path) or not (finished.is_dir() or self.path.is_dir()):
            os.replace(finished, self.path)
            return
        # A folder cannot be replaced in one step: the old one moves aside, and back if that fails.
        aside = self.path.with_name(self.path.name + ".replaced")
        _remove(aside)
        os.replace(self.path, aside)
        try:
            os.replace(finished, self.path)
        except OSError:
            os.replace(aside, self.path)
            raise
        _remove(aside)

    def discard(self) -> None:
        """Remove what has grown so far."""
        with disk_errors(self.partial):
            _remove(self.partial)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
