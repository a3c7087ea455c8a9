"""What is said about models: card (README.md and model card of a trained one), models (the verb that lists all)."""
