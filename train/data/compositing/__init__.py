"""Training frames made of real photographs: masked objects, plausible depth, frames of real depth sensors.

Reading order: pairs (two folders of one set) → photographs (RGB and masks, no depth) → plausible (a depth map that
could be the photograph's) → sensor (frames of a real depth sensor) → paste (an object into a frame, with depth,
occlusion and shadow) → scenes (whole composites: into a sensor frame, onto a table) → faults (what goes wrong with
depth) → sets (``photo:ROOT`` as DATA). Which kind of frame a slot of a batch gets: ``train/fitting/batches/photo.py``.

The point of the mixture: depth is evidence and never the answer. What is near is not always salient, what is salient
is not always near, the map may belong to another picture, be full of holes, or be missing.
"""
