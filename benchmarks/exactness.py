"""Compare the results of all tilings, and the cost and error of approximate halos.

    python benchmarks/exactness.py IMAGE --model tiny-x2-rgb [--crop 600,900] [--halos 8,16,24,32]

Prints a Markdown table: for each cut the SHA-256 of the result, the largest difference from the
whole image in fractions of full range, and CPU seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import time

import dask.array as da
import numpy as np

import swin2sr_ops


def main() -> None:
    """Compare tilings and halos of one image, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--crop", type=lambda t: [int(n) for n in t.split(",")], default=[600, 900])
    parser.add_argument("--tiles", type=lambda t: [int(n) for n in t.split(",")], default=[96, 256, 400])
    parser.add_argument("--halos", type=lambda t: [int(n) for n in t.split(",")], default=[])
    args = parser.parse_args()
    source = swin2sr_ops.open_source(args.image)
    axes = source.info.axes
    sizes = dict(zip("YX", args.crop, strict=True))
    region = tuple(slice(0, min(n, sizes.get(a, n))) for a, n in zip(axes, source.info.shape, strict=True))
    image = source.read(region)
    odd = tuple(
        {"Y": (7, 250, 1, n - 258) if n > 258 else n, "X": 97}.get(a, n) for a, n in zip(axes, image.shape, strict=True)
    )
    print(f"{args.image} {image.shape} {image.dtype}, model {args.model}\n")
    print("| cut | halo | SHA-256 | largest difference | CPU s |\n|---|---|---|---|---|")
    whole = None
    cuts = [("whole image", max(image.shape), "exact", image)]
    cuts += [(f"tiles of {t} px", t, "exact", image) for t in args.tiles]
    cuts += [("tiles of 256 px, odd chunks", 256, "exact", da.from_array(image, chunks=odd))]
    cuts += [("tiles of 96 px", 96, halo, image) for halo in args.halos]
    for name, tile, halo, array in cuts:
        began = time.process_time()
        result = swin2sr_ops.restore(array, model=args.model, axes=axes, tile=tile, halo=halo).compute()
        seconds = time.process_time() - began
        whole = result if whole is None else whole
        full = np.iinfo(result.dtype).max if result.dtype.kind != "f" else 1
        difference = np.abs(result.astype("f8") - whole.astype("f8")).max() / full
        digest = hashlib.sha256(result.tobytes()).hexdigest()[:16]
        print(f"| {name} | {halo} | `{digest}` | {difference:.5f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
