"""The benchmark: models answer the questions of a dataset, with the prior true, absent, shuffled or without the
image, and are compared.

What a run leaves in its folder: `settings.json`; `predictions/*.jsonl`, to which a run that was cut goes on appending;
and at the end `results.json` and `report.html`.
"""
