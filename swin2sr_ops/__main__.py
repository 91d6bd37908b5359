"""``python -m swin2sr_ops``: the command line where its script is not in the path."""

import sys

from swin2sr_ops.cli import script

if __name__ == "__main__":
    sys.exit(script())
