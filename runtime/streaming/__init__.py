"""Camera to sinks.

In reading order: pipeline, capture, flight, health, telemetry, sinks, recorder, rerun_sink, console,
stdout, gallery, tracking, outlets, playlist, run, signals.
"""
