"""Define where an output is written: protect existing files, and let the output appear atomically."""

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

#: Record of the run and what a later run must know: `swin2sr_ops.io.output.claim`.
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
    """Turn an `OSError` during writing of ``where`` into an `OutputError` that says what to do."""
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
            return f"The links in {str(folder)!r} form a loop: choose another place, or repair them."
        if not isinstance(exc, FileNotFoundError | NotADirectoryError):
            return f"The folder {str(folder)!r} cannot be used ({exc.strerror or exc}): choose another place."
        return f"The folder {str(folder)!r} does not exist: create it first."
    return f"{str(folder)!r} is not a folder: choose another place."


@dataclass(frozen=True)
class Destination:
    """Location of an output, before and after it is finished.

    On a file system the output is written to a folder beside it, ``<path>.partial``, which is renamed at the end.
    An object store cannot rename: there the output is written in place, and its root documents are written last.

    Attributes
    ----------
    uri : str
        Address as the user gave it.
    path : Path or None
        Path of the finished output; None in an object store.
    overwrite : bool
        Whether something may exist already: a file or folder stays until the new output replaces
        it; in an object store it is removed when the new run starts.
    inner : bool
        Whether this is one image of an unfinished archive. Such an image keeps its journal, which is
        verified when the archive is resumed. Neither it nor its record is synced: the archive's record is, and
        the whole archive before it appears.
    """

    uri: str
    path: Path | None
    overwrite: bool = False
    inner: bool = False

    @classmethod
    def at(cls, uri: str, *, overwrite: bool = False, remote: bool = False, inner: bool = False) -> Destination:
        """Create the destination for ``uri``; outside the file system only if ``remote`` is allowed."""
        path = local_path(uri)
        if path is None and not remote:
            raise OutputError(
                f"{uri!r} is not on this file system: object stores hold Zarr only, other formats need a folder."
            )
        # Absolute, because a worker may run in another folder; symbolic links stay as the user named them.
        return cls(without_separator(uri), None if path is None else Path(os.path.abspath(path)), overwrite, inner)

    @property
    def partial(self) -> Path:
        """Folder on the same file system in which a local output is written."""
        assert self.path is not None
        return self.path.with_name(self.path.name + ".partial")

    @property
    def files(self) -> Files:
        """Access to the location where the output is written."""
        return RemoteFiles(self.uri) if self.path is None else LocalFiles(self.partial)

    @property
    def name(self) -> str:
        """Last part of the address."""
        return self.uri.rsplit("/", 1)[-1] if self.path is None else self.path.name

    def lock(self) -> Lock:
        """Create the lock that excludes a second run."""
        return lock_for(self.files, None if self.path is None else self.lock_file, f"{OWN_FOLDER}/lock", self.uri)

    @property
    def lock_file(self) -> Path:
        """Lock file beside a local output while it is written."""
        return self.partial.with_name(self.partial.name + ".lock")

    def occupied(self) -> bool:
        """Return True if a finished output, or anything else, exists there."""
        if self.path is not None:
            return os.path.lexists(self.path)
        return any(self.files.read(root) is not None for root in GROUP_DOCUMENTS)

    def check(self, source: str | None = None) -> None:
        """Raise an error if the output would destroy something.

        Parameters
        ----------
        source : str, optional
            Address of the input. Inputs are never modified, so an output may neither replace nor
            contain the input, nor lie inside it.

        Raises
        ------
        OutputError
            If something exists already (without ``overwrite``), the parent folder is missing, or
            the destination and ``source`` overlap.
        """
        if source is not None:
            self.check_apart(source)
        if self.path is not None and not self.path.parent.is_dir():
            raise OutputError(missing_folder(self.path.parent))
        if not self.overwrite and self.occupied():
            raise OutputError(
                f"{self.uri!r} exists already: choose another name, or allow to overwrite it (--overwrite)."
            )

        self._check_beside()

    def _check_beside(self) -> None:
        """Refuse sidecar files that readers would take for a part of the new output."""
        if self.path is None or self.overwrite or os.path.lexists(self.partial):
            return
        left = orphans(self.path)
        if left:
            raise OutputError(
                f"{left[0].name!r} lies beside the output {self.uri!r}, and readers would take it for a part of the"
                " new image: remove it, or allow to overwrite it (--overwrite)."
            )

    def check_apart(self, source: str) -> None:
        """Raise an `OutputError` if the output lies in or above the input ``source``: an image, a mask, a model."""
        origin = file_of(source) or local_path(source)
        if self.path is None or origin is None:
            here, there = self.uri + "/", source.rstrip("/") + "/"
            clash = here.startswith(there) or there.startswith(here)
        else:
            there_path = Path(os.path.realpath(origin))  # `Path.resolve` raises where links form a loop
            owns = [Path(os.path.realpath(own)) for own in (self.path, self.partial)]  # the latter is emptied, too
            clash = any(own.is_relative_to(there_path) or there_path.is_relative_to(own) for own in owns)
        if clash:
            raise OutputError(
                f"The output {self.uri!r} lies in or above the input {source!r}, which must not change."
                " Choose another place."
            )

    def start(self) -> None:
        """Create an empty location for writing; remove previous contents first."""
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
        """Rename ``finished``, a file in the partial folder or by default that folder, to its final name."""
        if self.path is not None:
            with disk_errors(self.path):
                if os.path.lexists(self.path) and not self.overwrite:
                    raise OutputError(
                        f"{self.uri!r} was created by another program meanwhile: nothing was overwritten."
                    )
                self._put_in_place(finished or self.partial)
        self.tidy()

    def tidy(self) -> None:
        """Remove the run's own files from a finished output and from beside it."""
        if self.inner:
            return
        if self.path is None:
            for name in ("done", "run.json"):  # few calls, many keys each; not the lock
                self.files.clear(f"{OWN_FOLDER}/{name}")
            return
        with disk_errors(self.path):
            self._remove_partial()
            remove_path(self.path.with_name(self.path.name + ".replaced"))
            if self.path.is_dir():
                remove_path(self.path / OWN_FOLDER)

    def _remove_partial(self) -> None:
        """Remove the partial folder, its record last, so that after a kill it is still recognised as a run's."""
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
                sync_tree(item)  # otherwise a power cut may leave the name with empty files
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
        # A folder cannot be replaced in one step: move the old one aside, and back if the rename fails.
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
        """Move the sidecars of ``finished`` beside the output before it appears; remove an old output's first."""
        assert self.path is not None
        for old in sidecars(self.path):
            remove_path(old)
        for new in sidecars(finished):
            replace_path(new, self.path.with_name(self.path.name + new.name.removeprefix(finished.name)))

    def reopen(self) -> None:
        """Mark a finished `inner` image as unfinished, so that a run verifies it and repairs torn chunks.

        A power cut may have removed its record: nothing vouches for it then, and the run begins it anew.
        """
        if self.path is None:
            if self.files.read(RECORD) is not None:
                for root in GROUP_DOCUMENTS:
                    self.files.remove(root)
        elif os.path.lexists(self.path) and not os.path.lexists(self.partial):
            replace_path(self.path, self.partial)

    def discard(self) -> None:
        """Remove everything written so far."""
        if self.path is None:
            self.files.clear()
            return
        with disk_errors(self.partial):
            self._remove_partial()
