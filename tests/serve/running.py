"""A server in a thread of the tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.serve.app import create_app
from swin2sr_ops.serve.options import Options
from swin2sr_ops.serve.served import Served
from swin2sr_ops.serve.server import listen


@contextmanager
def running(src: Path | str, request: RestoreRequest, *, options: Options | None = None, **app: Any) -> Iterator[Any]:
    """Serve ``src``; yield the address and the served object."""
    served = Served(str(src), request, options or Options())
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(served, **app), log_level="warning", lifespan="off"))
        server.config.timeout_graceful_shutdown = 2
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/", served
        finally:
            server.should_exit = True
            thread.join(20)
            served.close()
