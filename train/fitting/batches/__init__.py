"""What a training step is given: sod (and what all share), photo, reid."""
