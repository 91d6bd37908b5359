"""Define the commands about this installation: plugins, hosts, shell completion. Only argparse is loaded."""

from __future__ import annotations

import argparse

from swin2sr_ops.cli.arguments import number

__all__ = ["add_completion", "add_hosts", "add_plugins"]

_PLUGINS_EPILOG = """\
examples:
  swin2sr-ops plugins                                    what is installed, and its state
  SWIN2SR_OPS_BLOCK=qgis swin2sr-ops plugins             the same without one plugin
  SWIN2SR_OPS_PLUGINS=0 swin2sr-ops plugins              the built-ins only

exit status:
  0 all enabled plugins are loaded; 1 a plugin is broken, and left out
"""

_HOSTS_EPILOG = """\
examples:
  swin2sr-ops hosts                                      one line per application
  swin2sr-ops hosts --json                               the same for programs
  swin2sr-ops hosts check napari                         exit status 0 only if napari can use the operator
  swin2sr-ops hosts install qgis                         register the operator in an application

exit status:
  0 no application is broken or unknown; with check, this one is working; 1 otherwise

states:
  working  it lists and loads the operator               present  it is installed, without the operator
  broken   it lists the operator but cannot load it      absent   it is not installed
  unknown  its adapter failed or took too long
"""

_COMPLETION_EPILOG = """\
examples:
  swin2sr-ops completion bash > ~/.local/share/bash-completion/completions/swin2sr-ops
  swin2sr-ops completion zsh > ~/.zfunc/_swin2sr-ops     a folder of $fpath
  swin2sr-ops completion tcsh > ~/.swin2sr-ops.tcsh      to be sourced by ~/.tcshrc
"""


def add_plugins(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``swin2sr-ops plugins``."""
    parser = commands.add_parser(
        "plugins",
        help="list plugins and their problems",
        description="List the installed plugins: model families, formats, hosts, observers of progress.\n"
        "A broken plugin is listed with the reason; everything else works without it.",
        epilog=_PLUGINS_EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="print as JSON")


def add_hosts(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``swin2sr-ops hosts``."""
    parser = commands.add_parser(
        "hosts",
        help="list applications that use the operator",
        description="Ask each application known to a plugin if it is installed, lists the operator, and can load it.",
        epilog=_HOSTS_EPILOG,
    )
    parser.add_argument(
        "action", nargs="?", choices=("check", "install"), help="ask one, or register the operator in it"
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="the application, for check and install")
    parser.add_argument("--timeout", type=number, default=30.0, metavar="S", help="seconds to wait (default: 30)")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def add_completion(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``swin2sr-ops completion``."""
    parser = commands.add_parser(
        "completion",
        help="let a shell complete commands, options, models",
        description="Print a script with which a shell completes commands, options, models and files.",
        epilog=_COMPLETION_EPILOG,
    )
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "tcsh"), help="bash, zsh or tcsh")
