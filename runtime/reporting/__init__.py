"""Output for people: progress, tables, charts."""
