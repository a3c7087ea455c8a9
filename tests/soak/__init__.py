"""Hours of streaming with faults in random order; ``python -m tests.soak --minutes 60 --seed 1`` by hand."""
