"""The acceptance checks, run against the stand-in driver; every planted fault is caught by the check that should."""
