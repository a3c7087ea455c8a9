"""Trainings that are compared, in reading order.

runs (which there are, what is finished), witness (they begin alike and see the same batches), jobs (several at a
time), photographs (what each is scored on), outcome (all of it in one result).
"""
