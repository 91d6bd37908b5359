"""Measure what an approximate halo loses with a model, and write it into the model's file.

    python benchmarks/halo_error.py swin2sr_ops/data/models/tiny-x2-gray.safetensors [--write]

For each halo: the largest difference from the exact result over the sample images of the package,
in tiles of 96 px, in fractions of full range (float32). `swin2sr-ops plan --halo N` shows it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import swin2sr_ops
from swin2sr_ops.io.samples import SAMPLES, sample_path
from swin2sr_ops.weights.loader import load_network, resolve_spec
from swin2sr_ops.weights.save import save_model


def samples(channels: int) -> list[np.ndarray]:
    """The samples as planes in 0..1: colour ones as they are or channel by channel."""
    found = []
    for name in SAMPLES:
        source = swin2sr_ops.open_source(sample_path(f"sample:{name}"))
        image = source.read(tuple(slice(0, n) for n in source.info.shape)).astype("f4")
        image = (image - image.min()) / (image.max() - image.min())
        if image.ndim == 3:
            found.append(image.transpose(2, 0, 1))
        elif channels == 1:
            found.append(image[None])
    return found


def main() -> None:
    """Measure the errors, and write them into the model's file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--halos", type=int, default=4, help="how many multiples of the window")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    spec = resolve_spec(args.model)
    errors = {}
    for n in range(1, args.halos + 1):
        halo = n * spec.window
        worst = 0.0
        for image in samples(spec.channels):
            options = {"model": spec, "axes": "SYX", "range": (0, 1), "tile": 96}
            exact = swin2sr_ops.restore(image, **options).compute()
            near = swin2sr_ops.restore(image, halo=halo, **options).compute()
            worst = max(worst, float(np.abs(exact - near).max()))
        errors[str(halo)] = round(worst, 6)
        print(f"{spec.name}: halo {halo} px, largest error {worst:.6f}", flush=True)
    if args.write:
        net = load_network(spec)
        save_model(args.model, net.state_dict(), replace(spec, halo_error=errors, sha256=""), dtype=torch.float16)


if __name__ == "__main__":
    main()
