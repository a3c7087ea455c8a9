"""Checks of untrusted files and names: typed_json, finite, printable, foreign, seal."""
