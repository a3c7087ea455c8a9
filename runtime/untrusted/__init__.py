"""What strangers' files and names must pass: typed_json, finite, printable, foreign, seal."""
