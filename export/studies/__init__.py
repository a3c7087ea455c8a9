"""Studies of quantisation, layer by layer: study, trial, sweep."""
