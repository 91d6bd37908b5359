"""`serve`: listen at a port, and answer until stopped."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from swin2sr_ops.errors import RequestError
from swin2sr_ops.serve.served import Served

__all__ = ["listen", "run_server"]

_HIGHEST_PORT = 65535


def listen(host: str, port: int) -> socket.socket:
    """Bind a port; 0 takes any that is free.

    Raises
    ------
    RequestError
        The port is taken, may not be used or does not exist, or the host is not this machine's.
    """
    if not 0 <= port <= _HIGHEST_PORT:  # Python 3.11 leaves the socket open behind its OverflowError
        raise RequestError(f"Port {port} does not exist: give a --port from 0 to {_HIGHEST_PORT}.")
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
        )
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            reason = "another program listens there: give another --port, or 0 for any that is free"
        elif exc.errno == errno.EACCES:
            reason = "this needs rights that you do not have: give a --port above 1023"
        else:
            reason = f"{exc}: give the --host of this machine"
        raise RequestError(f"Port {port} of {host!r} cannot be used: {reason}.") from exc


def run_server(
    served: Served,
    listener: socket.socket,
    *,
    token: str = "",
    origins: tuple[str, ...] = (),
    most: int | None = None,
    ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Answer at ``listener`` until the process is interrupted; then close ``served``.

    Parameters
    ----------
    served : Served
    listener : socket
        From `listen`.
    token, origins, most
        See `swin2sr_ops.serve.app.create_app`.
    ready : callable
        Receives the address before the first request is answered.
    """
    import uvicorn

    from swin2sr_ops.serve.access import LOOPBACK
    from swin2sr_ops.serve.app import MOST, create_app

    host, port = listener.getsockname()[:2]
    local = host in ("127.0.0.1", "::1")
    app = create_app(
        served, token=token, hosts=LOOPBACK if local else ("*",), origins=origins, most=MOST if most is None else most
    )
    shown = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=3)
    ready(f"http://{shown}:{port}/" + (f"token/{token}/" if token else ""))
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        listener.close()
        served.close()
