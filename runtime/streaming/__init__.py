"""Camera to sinks: pipeline, capture, health, telemetry, sinks, recorder, rerun_sink, console, gallery."""
