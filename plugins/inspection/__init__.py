"""What the compiled kernels take and could reach: usage (registers, occupancy), roofline, bench."""
