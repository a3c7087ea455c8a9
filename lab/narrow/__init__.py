"""First weights of a narrow detector, solved for from a wide one's: solve (the equations), begin (a whole model)."""
