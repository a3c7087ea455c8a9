"""What a device is given: contents, models, plugin, wheel, scripts, sbom, repository, archive."""
