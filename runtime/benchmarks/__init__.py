"""Benchmarks: measure (timing and conditions), model, stream, frame_cost (computed, not measured)."""
