"""Benchmarks: measure (timing and conditions), model, frame_cost (computed, not measured)."""
