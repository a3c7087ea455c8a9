"""Pictures and depth maps: files, header, depth, depth_range; what is drawn of them: colours, rendering, salient."""
