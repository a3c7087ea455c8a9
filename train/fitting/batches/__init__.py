"""What a training step is given: sod_batches (and what all share), photo, reid_batches."""
