"""A small detector learns from a large one. In reading order: teacher (the losses, where it begins), narrow."""
