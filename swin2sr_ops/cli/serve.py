"""``swin2sr-ops serve``."""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec
from urllib.parse import quote

from swin2sr_ops.cli.notes import say, warnings_as_notes
from swin2sr_ops.cli.request import output_options_of, request_of
from swin2sr_ops.errors import OutputError, RequestError
from swin2sr_ops.run.progress import ProgressBars

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """Open the source, listen, and answer until the process is interrupted."""
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise RequestError(f"A server needs {' and '.join(missing)}: install them with pip install swin2sr-ops[serve].")
    from swin2sr_ops.serve.access import check_token
    from swin2sr_ops.serve.options import Options
    from swin2sr_ops.serve.served import Served
    from swin2sr_ops.serve.server import listen, run_server

    if args.token is not None:  # an empty one would let everyone in
        check_token(args.token)
    request = request_of(args).for_image(axes=args.axes, level=args.level, series=args.series, array=args.array)
    if args.cache is not None:
        _make_folder(args.cache)
    given = output_options_of(args)
    options = Options(**given, cache=args.cache, limit=args.limit)
    listener = listen(args.host, args.port)  # before a look at the pixels: it takes no time
    with listener, warnings_as_notes():
        progress = ProgressBars(not args.quiet)
        try:
            served = Served(args.src, request, options, progress)
        finally:
            progress.close()
        if args.host not in ("127.0.0.1", "::1", "localhost") and not args.token and not args.quiet:
            say(f"swin2sr-ops: anyone who reaches {args.host} may read this: use --token to ask for a word")

        def ready(address: str) -> None:
            print(f"{address}  a page; stop with Ctrl-C", flush=True)
            print(f"{address}{quote(served.store)}  the Zarr", flush=True)

        run_server(
            served, listener, token=args.token or "", origins=tuple(args.origin or ()), most=args.most, ready=ready
        )
    return 0


def _make_folder(cache: str) -> None:
    try:
        os.makedirs(cache, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"The folder {cache!r} cannot be made ({exc.strerror}): choose another --cache.") from exc
