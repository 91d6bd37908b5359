"""Run ``swin2sr-ops restore``."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from swin2sr_ops.batch.collect import Entry
from swin2sr_ops.batch.cost import Estimate, measured
from swin2sr_ops.batch.disk import check_disk
from swin2sr_ops.batch.estimate import estimate
from swin2sr_ops.batch.report import BatchReport, check_report
from swin2sr_ops.batch.runner import run_batch, run_entry
from swin2sr_ops.cli.interrupts import two_interrupts
from swin2sr_ops.cli.notes import say, warnings_as_notes
from swin2sr_ops.cli.progress_json import JsonLines
from swin2sr_ops.cli.request import entries_of, output_options_of, request_of
from swin2sr_ops.cluster.executor import chosen_executor
from swin2sr_ops.errors import without_secrets
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.progress import ProgressBars

__all__ = ["main"]

_BETWEEN_REPORTS = 5.0  # seconds


def main(args: argparse.Namespace) -> int:
    """Plan, restore, show progress, print and write the report."""
    as_json = args.progress == "json"
    with two_interrupts(as_json=as_json), warnings_as_notes(as_json=as_json):
        entries, request = entries_of(args), request_of(args)
        for entry in entries:
            if entry.note:
                _say(args, f"swin2sr-ops: {entry.note}")
        report = BatchReport.of(entries, request)
        if args.report is not None:
            check_report(args.report, entries)
        with _written(report, None if args.dry_run else args.report):
            act = _one if len(entries) == 1 else _many
            workers = None if args.dry_run else args.workers  # a dry run starts no process
            with chosen_executor(workers, args.scheduler, args.device) as executor:
                return act(args, entries, request, report, executor)


@contextmanager
def _written(report: BatchReport, path: str | None) -> Iterator[None]:
    """Write the report before anything runs (so its file is writable), and again at the end, however it comes."""
    if path is None:
        yield
        return
    report.write(path)
    try:
        yield
    except KeyboardInterrupt:
        report.stopped = True
        raise
    finally:
        report.write(path)


def _one(
    args: argparse.Namespace, entries: list[Entry], request: RestoreRequest, report: BatchReport, executor: Any
) -> int:
    """Restore a single image or archive; a failure is an error of the command."""
    (entry,), (result,) = entries, report.images
    pixels = 0
    if args.dry_run or entry.collection or not args.no_disk_check:
        found = _planned(args, entries, request, executor, tell=entry.collection)
        if args.dry_run:
            return _status(args, found)
        if entry.collection:
            pixels = found.pixels_out
    began = time.monotonic()
    progress = _progress(args, without_secrets(entry.source), pixels)
    result.state = "stopped"
    try:
        made = run_entry(
            entry, request, executor=executor, progress=progress,
            overwrite=args.overwrite, restart=args.restart, output_options=output_options_of(args),
        )  # fmt: skip
        result.take(made)
    except Exception as exc:
        result.state, result.reason = "failed", str(exc)
        raise
    finally:
        report.seconds = result.seconds = time.monotonic() - began
        progress.close()
    _tell(args, made)
    return 1 if result.state == "failed" else 0


def _many(
    args: argparse.Namespace, entries: list[Entry], request: RestoreRequest, report: BatchReport, executor: Any
) -> int:
    """Restore a batch; report images that failed at the end."""
    found = _planned(args, entries, request, executor)
    if args.dry_run:
        return _status(args, found)
    progress = _progress(args, pixels=found.pixels_out)
    try:
        run_batch(
            entries, request, executor=executor, progress=progress, overwrite=args.overwrite,
            restart=args.restart, fail_fast=args.fail_fast, output_options=output_options_of(args),
            report=report, after_each=_now_and_then(args.report),
        )  # fmt: skip
    finally:
        progress.close()
    _tell(args, report)
    if report.stopped:
        raise KeyboardInterrupt
    return 0 if report.ok else 1


def _tell(args: argparse.Namespace, report: Any) -> None:
    """Print the report."""
    if args.json:
        print(json.dumps(report.to_dict()))
    elif not args.quiet:
        print(report)


def _say(args: argparse.Namespace, text: object) -> None:
    """Print a note during the run, for a person or a program."""
    as_json = args.progress == "json"
    if as_json or not args.quiet:
        say(str(text), as_json=as_json)


def _progress(args: argparse.Namespace, image: str = "", pixels: int = 0) -> ProgressBars | JsonLines:
    return JsonLines(image, pixels) if args.progress == "json" else ProgressBars(not args.quiet, pixels)


def _planned(
    args: argparse.Namespace, entries: list[Entry], request: RestoreRequest, executor: Any, *, tell: bool = True
) -> Estimate:
    """Estimate the cost; print the counts before measuring speed."""
    say, before = _teller(args, tell), Estimate()

    def counted(found: Estimate) -> None:
        nonlocal before
        before = found
        if say is not None and (found.todo or found.bad or args.dry_run):  # the report covers finished images
            say(found)
        warning = "" if args.no_disk_check else check_disk(found, overwrite=args.overwrite)
        if warning:
            _say(args, f"swin2sr-ops: {warning}")

    # Find finished images first: they are not measured and need no disk space.
    options = None if args.restart else output_options_of(args)
    probe = args.dry_run or (say is not None and args.progress != "json")
    found = estimate(
        entries, request, probe=probe, pyramid=not args.no_pyramid, progress=_progress(args),
        output_options=options, counted=counted, executor=executor,
    )  # fmt: skip
    if args.dry_run and args.json:
        print(json.dumps(found.to_dict()))
    elif say is not None and probe:
        for line in measured(found, before):
            say(line)
    return found


def _teller(args: argparse.Namespace, tell: bool) -> Callable[[object], None] | None:
    """Return the function that prints an estimate, or None; for a dry run the estimate is the result."""
    if args.dry_run:
        return None if args.json else partial(print, flush=True)
    return partial(_say, args) if tell and not args.quiet else None


def _status(args: argparse.Namespace, found: Estimate) -> int:
    return 1 if found.bad or (found.missing and not args.allow_missing) else 0


def _now_and_then(path: str | None) -> Callable[[BatchReport], None] | None:
    """Return a function that writes the report of a running batch at intervals: with many images it is long."""
    last = 0.0

    def write(report: BatchReport) -> None:
        nonlocal last
        if path is not None and time.monotonic() - last > _BETWEEN_REPORTS:
            report.write(path)
            last = time.monotonic()

    return write
