"""Access servers: how to open them, which errors to retry, and which to report at once."""

from __future__ import annotations

import asyncio
import errno
import math
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from swin2sr_ops.errors import Swin2SROpsError

if TYPE_CHECKING:
    from zarr.abc.store import Store

__all__ = ["StorageError", "impatient", "opening", "patient", "retrying"]

_T = TypeVar("_T")
_TRIES = 4
#: Seconds before the second try; four times as many before each further one.
PAUSE = 0.2
#: Seconds until a server must accept a connection, and until it must send something.
CONNECT, ANSWER = 10.0, 15.0
#: Seconds after which no further try begins that would take as long as the last one.
PATIENCE = 35.0
#: For this number of seconds after a server did not respond, requests are not retried; time of that failure.
_GRACE = 30.0
_silent = [-math.inf]
#: The attribute of a file system that `impatient` has changed.
_CHANGED = "_swin2sr_ops_impatient"
#: Answers rather than failures: callers handle them.
_ANSWERS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
_REFUSED = (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ENAMETOOLONG, errno.ENOSPC, errno.EDQUOT)
_LATER = (408, 425, 429)  # client-error statuses that are temporary
#: Errors of client libraries that are no `OSError`; looked up only if the library is loaded.
_CLIENTS = (
    ("aiohttp", "ClientError"),
    ("azure.core.exceptions", "AzureError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)


class StorageError(OSError):
    """A server that cannot be reached, or does not answer as it should."""


def opening(url: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the options with which fsspec opens ``url``; those ``given`` by the user have priority."""
    options: dict[str, Any] = {"use_listings_cache": False}  # other runs may write there too
    if url.startswith(("s3:", "s3a:")):
        options["max_concurrency"] = 1  # read in one request; for parallel parts s3fs asks for the size first
        # botocore retries five times by default; `retrying` retries here.
        options["config_kwargs"] = {
            "connect_timeout": CONNECT, "read_timeout": ANSWER, "retries": {"total_max_attempts": 1}
        }  # fmt: skip
    if url.startswith(("http:", "https:", "gs:", "gcs:")) and find_spec("aiohttp") is not None:
        from aiohttp import ClientTimeout

        limits = ClientTimeout(total=None, sock_connect=CONNECT, sock_read=ANSWER)
        if url.startswith("http"):
            options["client_kwargs"] = {"timeout": limits}
        else:
            options |= {"requests_timeout": limits, "retry_timeout": CONNECT}
    return options | dict(given or {})


def impatient(filesystem: Any) -> Any:
    """Disable the retries of s3fs, gcsfs and adlfs, because `retrying` retries, and limit the time of an Azure request.

    Without limits, a Google server that does not answer takes two minutes per request, an Azure server more than five.
    fsspec caches file systems: one that was changed before is returned as it is, with its connections.
    """
    if getattr(filesystem, _CHANGED, False):
        return filesystem
    library = type(filesystem).__module__.partition(".")[0]
    if library == "gcsfs":  # its number of retries is fixed by a decorator
        once = getattr(type(filesystem)._request, "__wrapped__", None)
        if once is not None:
            filesystem._request = partial(once, filesystem)
    elif library == "adlfs":  # it has no options for its client, so another client of the same account takes its place
        client = filesystem.service_client
        filesystem.service_client = type(client)(
            client.url, credential=client.credential, retry_total=0, connection_timeout=CONNECT, read_timeout=ANSWER
        )
    elif hasattr(filesystem, "retries"):
        filesystem.retries = 1
    setattr(filesystem, _CHANGED, True)
    return filesystem


def retrying(function: Callable[[], _T], tries: int = _TRIES) -> _T:
    """Call ``function``, retry after a server's temporary failure with increasing pauses, and return the result.

    Raises
    ------
    OSError
        If the answer is final (not found, no permission), which is not retried; as a `StorageError` if
        the server fails ``tries`` times, or there are no credentials.
    """
    watch = _Watch(tries)
    for pause in watch.pauses():
        try:
            return function()
        except _errors() as exc:
            _judge(exc, pause, watch)
        time.sleep(pause or 0)
    raise AssertionError("the last try returns or raises")


async def _retrying(function: Callable[[], Awaitable[_T]]) -> _T:
    watch = _Watch(_TRIES)
    for pause in watch.pauses():
        try:
            return await function()
        except _errors() as exc:
            _judge(exc, pause, watch)
        await asyncio.sleep(pause or 0)
    raise AssertionError("the last try returns or raises")


class _Watch:
    """Limit the number of requests to a server, and their time."""

    def __init__(self, tries: int) -> None:
        self.tries = tries if time.monotonic() - _silent[0] > _GRACE else 1
        self.began = self.last = time.monotonic()

    def pauses(self) -> Iterator[float | None]:
        """Yield the seconds to wait after each try; None after the last."""
        for attempt in range(self.tries - 1):
            self.last = time.monotonic()
            yield PAUSE * 4**attempt
        self.last = time.monotonic()
        yield None

    def is_late(self) -> bool:
        """Tell whether another try, as long as the last one, would take too long."""
        now = time.monotonic()
        return now - self.began + (now - self.last) > PATIENCE


def _errors() -> tuple[type[Exception], ...]:
    found = (getattr(sys.modules.get(module), name, None) for module, name in _CLIENTS)
    # `ValueError` and `TypeError`: settings of a client library, which it reads at the first request.
    return (OSError, TimeoutError, ValueError, TypeError, *(kind for kind in found if kind is not None))


def _judge(exc: Exception, pause: float | None, watch: _Watch) -> None:
    """Return if a retry may help; otherwise raise the error to report."""
    if isinstance(exc, (*_ANSWERS, StorageError, Swin2SROpsError)):
        raise exc
    reason = f"{exc}".strip().rstrip(".") or type(exc).__name__
    if isinstance(exc, (ValueError, TypeError)):
        raise StorageError(reason) from exc
    status = getattr(exc, "status", None) or getattr(exc, "code", None)
    if status in (404, 410):
        raise FileNotFoundError(errno.ENOENT, reason) from exc
    if isinstance(status, int) and 400 <= status < 500 and status not in _LATER:
        raise PermissionError(errno.EACCES, reason) from exc
    if "Credentials" in type(exc).__name__ or getattr(exc, "errno", None) in _REFUSED:
        raise StorageError(reason) from exc
    spent = time.monotonic() - watch.began
    if watch.is_late() or (pause is None and spent > CONNECT / 2):
        _silent[0] = time.monotonic()
        raise StorageError(f"the server does not answer within {spent:.0f} s ({reason})") from exc
    if pause is None:
        often = f"{watch.tries} times in succession"
        raise StorageError(f"the storage does not answer as it should, {often} ({reason})") from exc


def patient(store: Store) -> Store:
    """Wrap ``store`` so that every call of zarr-python uses the retries of `retrying`."""
    from zarr.abc.store import Store
    from zarr.storage import WrapperStore

    class _Patient(WrapperStore[Any]):  # type: ignore[misc]  # zarr-python has no types for mypy
        async def get(self, *args: Any, **kwargs: Any) -> Any:
            return await _retrying(lambda: self._store.get(*args, **kwargs))

        async def get_partial_values(self, *args: Any, **kwargs: Any) -> Any:
            args = (*args[:1], *(list(ranges) for ranges in args[1:]))  # an iterator could not be read again
            return await _retrying(lambda: self._store.get_partial_values(*args, **kwargs))

        async def exists(self, key: str) -> bool:
            found: bool = await _retrying(lambda: self._store.exists(key))
            return found

        async def set(self, key: str, value: Any) -> None:
            await _retrying(lambda: self._store.set(key, value))

        async def delete(self, key: str) -> None:
            # zarr-python's store would read ``*``, ``?`` and ``[`` as a pattern, which other outputs may match.
            store: Any = self._store
            self._check_writable()
            with suppress(*store.allowed_exceptions):
                await _retrying(lambda: store.fs._rm_file(f"{store.path}/{key}"))

        async def delete_dir(self, prefix: str) -> None:
            await Store.delete_dir(self, prefix)  # key by key, as above

        async def clear(self) -> None:
            await self.delete_dir("")

        async def list_dir(self, prefix: str) -> AsyncIterator[str]:
            async def listed() -> list[str]:
                return [name async for name in self._store.list_dir(prefix)]

            for name in await _retrying(listed):
                yield name

    return _Patient(store)
