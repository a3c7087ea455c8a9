"""Camera to sinks.

In reading order: pipeline, capture, flight, health, telemetry, sinks, recorder, rerun_sink, foxglove_sink, console,
stdout, gallery.
"""
