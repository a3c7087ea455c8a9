"""Broken and hostile inputs: mutations, targets, campaign; ``python -m tests.fuzz`` runs many by hand."""
