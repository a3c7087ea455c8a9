"""What a device gets: contents, models, plugin, wheel, scripts, sbom, repository, archive, deliver, pack."""
