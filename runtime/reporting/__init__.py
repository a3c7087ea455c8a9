"""What people are told: progress, tables, charts."""
