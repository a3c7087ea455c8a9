"""Measurements: model, stream."""
