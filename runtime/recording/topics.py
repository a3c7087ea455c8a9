"""The topics of a recording (docs/recording.md), and what its header names as the writer."""

from __future__ import annotations

LIBRARY = "mutualformer"
COLOUR = "/camera/color/image"
DEPTH = "/camera/depth/image"
NIR = "/camera/nir/image"
INFO = "/camera/color/camera_info"
FRAME = "/mutualformer/frame"
OUTPUT = "/mutualformer/output/"
# Endings of the topics of compressed images, as ROS's image_transport names them.
COMPRESSED, COMPRESSED_DEPTH = "/compressed", "/compressedDepth"
