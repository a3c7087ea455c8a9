"""Makes the shipped models: training frames of real photographs, through the extension point of ``fit``.

Reading order: pairs (two folders of one set) → photographs (RGB and masks, no depth) → plausible (a depth map that
could be the photograph's) → sensor (frames of a real depth sensor) → paste (an object into a frame, with depth,
occlusion and shadow) → scenes (whole composites: into a sensor frame, onto a table) → faults (what goes wrong with
depth) → sets (the folders of ``photo:ROOT``) → mixture and batches (which kind of frame every slot of a batch gets) →
best (keeps the best validated weights) → teacher (a small detector learns from a large one) → kind (registers
``photo:`` with ``fit``).

The point of the mixture: depth is evidence and never the answer. What is near is not always salient, what is salient
is not always near, the map may belong to another picture, be full of holes, or be missing.
"""
