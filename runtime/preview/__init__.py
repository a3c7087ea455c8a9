"""The live page: a small web server beside the stream, and what it shows."""
