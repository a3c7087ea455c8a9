"""The command line itself: completion."""
