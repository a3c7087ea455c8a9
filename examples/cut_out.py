"""A photograph in, its salient object out, on a transparent background.

python examples/cut_out.py photo.jpg cut-out.png [--depth depth.png] [--model sod-lite]
"""

import argparse
from pathlib import Path

import mutualformer
from mutualformer.runtime.images.rendering import png

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("photo")
parser.add_argument("out", type=Path)
parser.add_argument("--depth", help="its depth map: 16-bit millimetres or float metres")
parser.add_argument("--model", default="sod-lite")
args = parser.parse_args()

with mutualformer.load(args.model) as model:
    result = mutualformer.predict(model, args.photo, args.depth)

args.out.write_bytes(png(result.cutout()))
print(f"{args.out}: {100 * result.binary().mean():.0f} % of the picture")
for number, one in enumerate(result.objects, start=1):
    distance = "" if one.distance_m is None else f", {one.distance_m:.2f} m away"
    print(f"object {number}: {100 * one.area:.0f} %{distance}")
