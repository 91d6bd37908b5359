"""Commands beside restoring: export and shell completion, with their help texts. Only argparse is loaded."""

from __future__ import annotations

import argparse

from swin2sr_ops.cli.arguments import whole

__all__ = ["add_completion", "add_export"]

_EXPORT = """\
Write a model for another runtime: an ONNX graph of one fixed tile. Its metadata say the halo to crop,
the scale, and the grid on which tiles start; docs/export.md has a script that tiles an image around it.
"""

_EXPORT_EPILOG = """\
examples:
  swin2sr-ops export tiny-x2-gray --to onnx --output tiny.onnx
  swin2sr-ops export mine.safetensors --to onnx --output mine.onnx --tile 512
"""

_COMPLETION_EPILOG = """\
examples:
  swin2sr-ops completion bash > ~/.local/share/bash-completion/completions/swin2sr-ops
  swin2sr-ops completion zsh > ~/.zfunc/_swin2sr-ops     a folder of $fpath
  swin2sr-ops completion tcsh > ~/.swin2sr-ops.tcsh      to be sourced by ~/.tcshrc
"""


def add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``swin2sr-ops export``."""
    parser = commands.add_parser(
        "export",
        help="write a model for another runtime",
        description=_EXPORT,
        epilog=_EXPORT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a name from `models`, or a checkpoint")
    parser.add_argument("--to", choices=("onnx",), required=True, help="the format")
    parser.add_argument("--output", metavar="FILE", required=True, help="the file to write")
    parser.add_argument(
        "--tile", metavar="N", type=whole, default=256, help="side of the input in pixels (default: 256)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def add_completion(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``swin2sr-ops completion``."""
    parser = commands.add_parser(
        "completion",
        help="let a shell complete commands, options, models",
        description="Print a script with which a shell completes commands, options, models and files.",
        epilog=_COMPLETION_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "tcsh"), help="bash, zsh or tcsh")
