"""What a training step gets: sod_batches (and what all kinds share), reid_batches."""
