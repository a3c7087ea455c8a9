"""A frame on paper: paper."""
