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
from swin2sr_ops.io.geo.address import file_of
from swin2sr_ops.io.output.journal import OWN_FOLDER
from swin2sr_ops.io.output.lock import Lock, lock_for
from swin2sr_ops.io.output.sidecars import orphans, sidecars
from swin2sr_ops.io.storage.durable import sync_folder, sync_tree
from swin2sr_ops.io.storage.files import Files, LocalFiles, RemoteFiles
from swin2sr_ops.io.storage.moves import remove_path, replace_path
from swin2sr_ops.io.storage.paths import local_path, without_separator
from swin2sr_ops.io.zarr.documents import GROUP_DOCUMENTS

__all__ = ["RECORD", "Destination", "causes", "disk_errors", "is_disk_full", "missing_folder"]

#: What is being made there, and what a later run needs to know: `swin2sr_ops.io.output.claim`.
RECORD = f"{OWN_FOLDER}/run.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Iterate over ``error`` and what it came from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def is_disk_full(error: BaseException) -> bool:
    """Tell whether ``error``, or what it came from, says that there is no room left."""
    return any(isinstance(cause, OSError) and cause.errno in _FULL for cause in causes(error))


@contextmanager
def disk_errors(where: str | Path) -> Iterator[None]:
    """Turn an `OSError` met while writing ``where`` into an `OutputError` that says what to do."""
    try:
        yield
    except OutputError:
        raise
    except OSError as exc:
        if exc.errno not in _FULL:
            raise OutputError(f"{str(where)!r} cannot be written: {exc.strerror or exc}.") from exc
        folder = Path(where).parent
        free = f", {shutil.disk_usage(folder).free:,} bytes are free in {str(folder)!r}" if folder.is_dir() else ""
        raise OutputError(
            f"The disk is full: {str(where)!r} cannot be written{free}. Free some space and give the same command"
            " again: it resumes the run. Or choose another place."
        ) from exc


def missing_folder(folder: Path) -> str:
    """Say why ``folder`` cannot hold an output, and what to do."""
    try:
        os.stat(folder)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            return f"The links in {str(folder)!r} lead in a circle: choose another place, or mend them."
        if not isinstance(exc, FileNotFoundError | NotADirectoryError):
            return f"The folder {str(folder)!r} cannot be used ({exc.strerror or exc}): choose another place."
        return f"The folder {str(folder)!r} does not exist: create it first."
    return f"{str(folder)!r} is no folder: choose another place."


@dataclass(frozen=True)
class Destination:
    """The place that an output will take once it is finished.

    On a file system it grows in a folder beside, ``<path>.partial``, which is renamed. An object
    store cannot rename: there it grows in place, and what makes it an image is written last.

    Attributes
    ----------
    uri : str
        As the user gave it.
    path : Path or None
        Where the finished output will be; None in an object store.
    overwrite : bool
        Whether something may be there already: a file or folder stays until the new output takes
        its place, an object store's goes when the new run begins.
    inner : bool
        Whether this is one image of an archive that is not finished yet. Such an image keeps its journal, which is
        verified when the archive is resumed, and is not synced: the archive is, before it appears.
    """

    uri: str
    path: Path | None
    overwrite: bool = False
    inner: bool = False

    @classmethod
    def at(cls, uri: str, *, overwrite: bool = False, remote: bool = False, inner: bool = False) -> Destination:
        """The destination that ``uri`` names; on a file system unless ``remote`` is allowed."""
        path = local_path(uri)
        if path is None and not remote:
            raise OutputError(
                f"{uri!r} is not on this file system: only Zarr is written to object stores, other formats to folders."
            )
        # Absolute, because a worker may run in another folder; links are kept as the user named them.
        return cls(without_separator(uri), None if path is None else Path(os.path.abspath(path)), overwrite, inner)

    @property
    def partial(self) -> Path:
        """The folder, on the same file system, where a local output grows."""
        assert self.path is not None
        return self.path.with_name(self.path.name + ".partial")

    @property
    def files(self) -> Files:
        """Where the output grows."""
        return RemoteFiles(self.uri) if self.path is None else LocalFiles(self.partial)

    @property
    def name(self) -> str:
        """Last part of the address."""
        return self.uri.rsplit("/", 1)[-1] if self.path is None else self.path.name

    def lock(self) -> Lock:
        """What keeps a second run away."""
        return lock_for(self.files, None if self.path is None else self.lock_file, f"{OWN_FOLDER}/lock", self.uri)

    @property
    def lock_file(self) -> Path:
        """Beside a local output while it grows."""
        return self.partial.with_name(self.partial.name + ".lock")

    def occupied(self) -> bool:
        """Whether a finished output, or anything else, is there."""
        if self.path is not None:
            return os.path.lexists(self.path)
        return any(self.files.read(root) is not None for root in GROUP_DOCUMENTS)

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
        if source is not None:
            self._check_apart(source)
        if self.path is not None and not self.path.parent.is_dir():
            raise OutputError(missing_folder(self.path.parent))
        if not self.overwrite and self.occupied():
            raise OutputError(
                f"{self.uri!r} exists already: choose another name, or allow to overwrite it (--overwrite)."
            )

        self._check_beside()

    def _check_beside(self) -> None:
        """Refuse files that readers would take for a part of the new output."""
        if self.path is None or self.overwrite or os.path.lexists(self.partial):
            return
        left = orphans(self.path)
        if left:
            raise OutputError(
                f"{left[0].name!r} lies beside the place of {self.uri!r}, and readers would take it for a part of the"
                " new image: remove it, or allow to overwrite it (--overwrite)."
            )

    def _check_apart(self, source: str) -> None:
        origin = file_of(source) or local_path(source)
        if self.path is None or origin is None:
            here, there = self.uri + "/", source.rstrip("/") + "/"
            clash = here.startswith(there) or there.startswith(here)
        else:
            there_path = Path(os.path.realpath(origin))  # `Path.resolve` raises where links lead in a circle
            owns = [Path(os.path.realpath(own)) for own in (self.path, self.partial)]  # the latter is emptied, too
            clash = any(own.is_relative_to(there_path) or there_path.is_relative_to(own) for own in owns)
        if clash:
            raise OutputError(
                f"The output {self.uri!r} lies in or over the input {source!r}, which must stay as it is."
                " Choose another place."
            )

    def start(self) -> None:
        """An empty place to grow in; what was there goes first."""
        with disk_errors(self.files.where):
            if self.path is not None:
                remove_path(self.partial)
                self.partial.mkdir()
                return
            for root in GROUP_DOCUMENTS:  # first, so that what is left of the old output does not look finished
                self.files.remove(root)
            tops = {key.split("/", 1)[0] for key in self.files.listing()} - {OWN_FOLDER}
            for name in (*sorted(tops), f"{OWN_FOLDER}/done", f"{OWN_FOLDER}/run.json"):  # many at once; not the lock
                self.files.clear(name)

    def appear(self, finished: Path | None = None) -> None:
        """Give ``finished``, a file in the partial folder or by default that folder, its final name."""
        if self.path is not None:
            with disk_errors(self.path):
                if os.path.lexists(self.path) and not self.overwrite:
                    raise OutputError(f"{self.uri!r} has come into being meanwhile: nothing was overwritten.")
                self._put_in_place(finished or self.partial)
        self.tidy()

    def tidy(self) -> None:
        """Remove what a run keeps for itself from, and beside, a finished output."""
        if self.inner:
            return
        if self.path is None:
            for name in ("done", "run.json"):  # many at once; not the lock
                self.files.clear(f"{OWN_FOLDER}/{name}")
            return
        with disk_errors(self.path):
            self._remove_partial()
            remove_path(self.path.with_name(self.path.name + ".replaced"))
            if self.path.is_dir():
                remove_path(self.path / OWN_FOLDER)

    def _remove_partial(self) -> None:
        """Its record goes last, so that a kill in between leaves what can be told to be ours."""
        if self.partial.is_dir():
            for item in self.partial.iterdir():
                if item.name != OWN_FOLDER:
                    remove_path(item)
            for item in (self.partial / OWN_FOLDER).glob("*"):
                if item.is_dir():
                    remove_path(item)
        remove_path(self.partial)

    def _put_in_place(self, finished: Path) -> None:
        assert self.path is not None
        if not self.inner:
            for item in (finished, *sidecars(finished)):
                sync_tree(item)  # else a power cut may leave the name with empty files
        if finished.is_file():
            self._dress(finished)
        self._rename(finished)
        if not self.inner:
            sync_folder(self.path.parent)

    def _rename(self, finished: Path) -> None:
        assert self.path is not None
        if not os.path.lexists(self.path) or not (finished.is_dir() or self.path.is_dir()):
            replace_path(finished, self.path)
            return
        # A folder cannot be replaced in one step: the old one moves aside, and back if that fails.
        aside = self.path.with_name(self.path.name + ".replaced")
        remove_path(aside)
        replace_path(self.path, aside)
        try:
            replace_path(finished, self.path)
        except OSError:
            replace_path(aside, self.path)
            raise
        remove_path(aside)

    def _dress(self, finished: Path) -> None:
        """Put the files beside ``finished`` beside the output, before it appears; an old output's go first."""
        assert self.path is not None
        for old in sidecars(self.path):
            remove_path(old)
        for new in sidecars(finished):
            replace_path(new, self.path.with_name(self.path.name + new.name.removeprefix(finished.name)))

    def reopen(self) -> None:
        """Make a finished `inner` image unfinished again, so that a run verifies it and mends what is torn."""
        if self.path is None:
            if self.files.read(RECORD) is not None:
                for root in GROUP_DOCUMENTS:
                    self.files.remove(root)
        elif (self.path / RECORD).is_file() and not os.path.lexists(self.partial):
            replace_path(self.path, self.partial)

    def discard(self) -> None:
        """Remove what has grown so far."""
        if self.path is None:
            self.files.clear()
            return
        with disk_errors(self.partial):
            self._remove_partial()
