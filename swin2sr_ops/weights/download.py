"""Download released weights into the cache on request only; resume interrupted downloads and validate the files."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from swin2sr_ops.errors import CheckpointError, DownloadError
from swin2sr_ops.io.storage.moves import replace_path
from swin2sr_ops.io.storage.paths import user_path
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.catalogue import BUILTIN
from swin2sr_ops.weights.digest import file_sha256

if TYPE_CHECKING:
    import requests

__all__ = ["cache_folder", "cached", "fetch", "is_web_url", "place_of"]

_TIMEOUT = (10, 60)  # seconds to connect, seconds without a byte
_CHUNK = 1 << 16  # most bytes lost if the connection breaks
_PAUSES = (1.0, 4.0, 10.0)  # seconds between attempts


def is_web_url(text: str) -> bool:
    """Return True if ``text`` is an http or https URL."""
    return text.startswith(("http://", "https://"))


def cache_folder() -> Path:
    """Return the cache folder of downloaded weights: ``SWIN2SR_OPS_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("SWIN2SR_OPS_CACHE")
    if chosen:
        return user_path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("swin2sr-ops"))


def cached(spec: ModelSpec, *, cache: Path | None = None) -> Path | None:
    """Return the validated weights of ``spec`` from the cache; None if they are not there.

    Raises
    ------
    DownloadError
        If the cached file differs from what the catalogue, or the first download, states.
    """
    path = place_of(spec, cache)
    if path.is_symlink():
        raise DownloadError(
            f"{path}, the weights of {spec.name}, is a symbolic link, which is not followed: put the file itself there."
        )
    if not path.is_file():
        return None
    _check(path, spec)
    return path


def fetch(spec: ModelSpec, *, progress: bool = True, cache: Path | None = None) -> Path:
    """Return the path of the weights of ``spec``; download them into the cache if they are not there.

    An interrupted download leaves a ``.part`` file. The next call resumes at its end if the server supports
    that. If the catalogue has no SHA-256, a ``.sha256`` file beside the weights records the one of the first
    download, and later calls validate against it.

    Parameters
    ----------
    spec : ModelSpec
        Its ``weights`` is an ``http`` or ``https`` URL.
    progress : bool
        Whether to show a progress bar.
    cache : Path, optional
        Folder to use instead of `cache_folder`.

    Raises
    ------
    DownloadError
        If the server cannot be reached, does not have the file, or sends a different one.
    """
    if not is_web_url(spec.weights):
        raise DownloadError(f"The weights of {spec.name} are at {spec.weights!r}, which is not an http or https URL.")
    from filelock import FileLock

    path = place_of(spec, cache)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):  # one of several workers downloads; the others wait and use its file
            return cached(spec, cache=cache) or _retrieve(path, spec, progress)
    except OSError as exc:
        raise DownloadError(f"The weights of {spec.name} cannot be stored at {path}: {exc}.") from exc


def _retrieve(path: Path, spec: ModelSpec, progress: bool) -> Path:
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # its "Downloading data from ..." would break the progress bar
    try:
        # The hash is validated below: pooch's message would not say what to do.
        pooch.retrieve(
            spec.weights, None, fname=path.name, path=path.parent, downloader=_Resuming(path, spec, progress)
        )
    finally:
        logger.setLevel(level)
    try:
        _check(path, spec)
        if not spec.sha256:
            _check_opens(path, spec)
    except DownloadError:
        path.unlink()
        raise
    _record(path).unlink(missing_ok=True)  # replace a symbolic link instead of following it
    _record(path).write_text(file_sha256(path) + "\n", encoding="ascii")
    return path


def place_of(spec: ModelSpec, cache: Path | None = None) -> Path:
    """Return the path in the cache where the weights of ``spec`` lie, or will lie."""
    name = Path(urlsplit(spec.weights).path).name
    row = BUILTIN.get(spec.name)
    if row is None or row.weights != spec.weights:  # files of other origins may share a name
        name = f"{hashlib.sha256(spec.weights.encode()).hexdigest()[:8]}-{name}"
    return (cache or cache_folder()) / name


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _check(path: Path, spec: ModelSpec) -> None:
    """Validate size and SHA-256 against the spec, or against the record of the first download."""
    known = spec.sha256
    if not known and _record(path).is_file():
        known = _record(path).read_text(encoding="ascii").strip()
    size = path.stat().st_size
    if spec.size_bytes and size != spec.size_bytes:
        problem = f"has {size} bytes instead of {spec.size_bytes}"
    elif known and file_sha256(path) != known:
        problem = f"has SHA-256 {file_sha256(path)} instead of {known}"
    else:
        return
    raise DownloadError(f"{path}, the weights of {spec.name}, {problem}. Delete it and download it again.")


def _check_opens(path: Path, spec: ModelSpec) -> None:
    """Reject a file that is no checkpoint before its hash is recorded: a log-in page also comes with status 200."""
    from swin2sr_ops.weights.checkpoint import read_tensors

    try:
        read_tensors(path)
    except CheckpointError as exc:
        raise DownloadError(
            f"{spec.weights} did not send weights of {spec.name} but perhaps the log-in page of a network ({exc}). Open"
            " that address in a browser, then download again."
        ) from exc


class _Resuming:
    """A pooch downloader that continues a ``.part`` file with an HTTP range request."""

    def __init__(self, target: Path, spec: ModelSpec, progress: bool) -> None:
        self.part = target.with_name(target.name + ".part")
        self.tag = target.with_name(target.name + ".part.etag")
        self.target = target
        self.spec = spec
        self.progress = progress

    def __call__(self, url: str, output_file: str, _pooch: Any) -> None:
        """Fetch ``url`` into ``output_file``; the signature is pooch's."""
        import requests

        pauses = iter(_PAUSES)
        while True:
            try:
                self._attempt(url)
                break
            except (requests.RequestException, EOFError) as exc:
                pause = next(pauses, None)
                if pause is None or not _passing(exc):
                    raise self._error(exc) from exc
                time.sleep(pause)
        replace_path(self.part, output_file)
        self.tag.unlink(missing_ok=True)

    def _attempt(self, url: str) -> None:
        """Send one request that starts at the end of the partial file."""
        import requests

        for own in (self.part, self.tag):
            if own.is_symlink():  # never write through a link
                own.unlink()
        have = self.part.stat().st_size if self.part.is_file() else 0
        headers = {"Accept-Encoding": "identity"}  # a range counts the file's own bytes
        if have:
            headers["Range"] = f"bytes={have}-"
            if self.tag.is_file():  # if the file has changed since, the server must send all of it
                headers["If-Range"] = self.tag.read_text(encoding="latin-1")
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            if response.status_code == 416:  # nothing after our last byte: the server's file has changed
                self.part.unlink()
                raise EOFError("the partial file is longer than the file on the server")
            response.raise_for_status()
            self._receive(response, have if response.status_code == 206 else 0)

    def _receive(self, response: requests.Response, have: int) -> None:
        from tqdm import tqdm

        length = int(response.headers.get("Content-Length", 0))
        total = have + length if length else None
        etag = response.headers.get("ETag", "")
        if etag and not etag.startswith("W/"):  # weak tags do not guarantee equal bytes
            self.tag.write_text(etag, encoding="latin-1")
        with (
            self.part.open("ab" if have else "wb") as file,
            tqdm(
                total=total, initial=have, unit="B", unit_scale=True, desc=self.spec.name, disable=not self.progress
            ) as bar,
        ):
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            received = file.tell()
        if total is not None and received < total:
            raise EOFError(f"the connection ended after {received} of {total} bytes")

    def _error(self, exc: Exception) -> DownloadError:
        response = getattr(exc, "response", None)
        problem = f"{type(exc).__name__}: {exc}"
        if response is not None:
            problem = f"the server answered {response.status_code} {response.reason}"
        return DownloadError(
            f"The weights of {self.spec.name} could not be fetched from {self.spec.weights}: {problem}. "
            f"If this machine is offline, download that file elsewhere and save it as {self.target}."
        )


def _passing(exc: Exception) -> bool:
    """Return True if a retry may succeed: after a connection error, or if the server is busy or failing."""
    import requests

    if isinstance(exc, requests.HTTPError):
        return exc.response.status_code == 429 or exc.response.status_code >= 500
    return isinstance(
        exc, EOFError | requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError
    )
