"""How far away is what stands out? One line a frame, from any source that `mutualformer stream --list` shows.

python examples/live_distance.py realsense:// [--model sod-lite] [--frames 100]
"""

import argparse

import mutualformer
from mutualformer.runtime.sources import opening
from mutualformer.runtime.streaming.pipeline import Pipeline

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("source", nargs="?", default="synthetic://")
parser.add_argument("--model", default="sod-lite")
parser.add_argument("--frames", type=int, help="stop after so many")
args = parser.parse_args()

with mutualformer.load(args.model) as model:
    # The pipeline keeps capturing while the model works and always takes the newest frame of a live camera.
    pipeline = Pipeline(lambda: opening.camera(args.source), model, frames=args.frames)
    for result in pipeline.results():
        found = [  # the nearest first
            f"object {one.identity} at {'?' if one.distance_m is None else f'{one.distance_m:.2f}'} m"
            for one in result.objects
        ]
        print(f"frame {result.number}: {', '.join(found) or 'nothing stands out'}")
