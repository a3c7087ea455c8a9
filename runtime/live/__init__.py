"""The run behind ``mutualformer stream``, above the pipeline and everything that shows it.

``run``: the function, its sources and its end. ``sources``: one pipeline each, one model for all. ``outlets``: where
results go, and the addresses that are printed. ``signals``: what ends this verb, and every other, from outside.
"""
