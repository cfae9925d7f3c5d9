"""Hostile and unlucky input to every verb: no traceback, no hang, no good item lost.

    python -m tests.fuzz --inputs 6000 [--seed N] [--only KIND] [--first N]

An input is known by its kind, its number and the seed, so that it can be tried again alone. `kinds` makes the inputs of
`mutations` of what `material` has written; `trial` runs one, in this process, with tiny models.
"""
