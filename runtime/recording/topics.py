"""The topics of a recording (docs/recording.md)."""

from __future__ import annotations

COLOUR = "/camera/color/image"
DEPTH = "/camera/depth/image"
NIR = "/camera/nir/image"
INFO = "/camera/color/camera_info"
FRAME = "/mutualformer/frame"
OUTPUT = "/mutualformer/output/"
