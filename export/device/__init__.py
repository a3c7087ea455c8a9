"""What a device is given: models, wheel, scripts, archive."""
