"""Everything that comes in, by one set of rules."""
