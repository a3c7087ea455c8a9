"""Measurements: measure (how numbers are taken, and under which conditions), model, stream, frame_cost (on paper)."""
