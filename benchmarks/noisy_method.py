"""On which images does ``train --noisy`` choose ``sure``?

    python benchmarks/noisy_method.py --data ../shared/data/eval

Prints for every image file how much of the noise that is measured in it each initial model removes, as a share of its
variance: about 1 where the measure is right, less where it takes fine texture for noise. Empty: no noise is measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from swin2sr_ops.errors import FormatError
from swin2sr_ops.hooks.dispatch import build_network, resolve_model
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.training.method import removed_share
from swin2sr_ops.training.recipe import Recipe

SUFFIXES = {".png", ".tif", ".tiff", ".jpg", ".bmp"}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of images")
    parser.add_argument("--models", default="small-x1-gray,small-x1-camera", help="initial models of one channel")
    args = parser.parse_args()
    torch.set_num_threads(1)
    nets = {name: build_network(resolve_model(name)) for name in args.models.split(",")}
    print(f"| image | {' | '.join(nets)} |\n|---|{'---|' * len(nets)}")
    for file in sorted(f for f in args.data.rglob("*") if f.suffix.lower() in SUFFIXES):
        cells = []
        for net in nets.values():
            assert isinstance(net, SwinNet)
            try:
                share = removed_share(Recipe(model=net.spec.to_dict(), noisy="blind", levels=0), file, net)
            except FormatError:  # no image
                share = None
            cells.append("" if share is None else f"{share:.2f}")
        print(f"| {file.relative_to(args.data)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
