"""The foundation suite: what the frozen features of an image tower, and of its text tower, hold about SAR images.

What a run leaves in its folder: `settings.json`; `features/` and `matches/`, which a run that was cut goes on with; and
at the end `results.json`, `report.html`, `radar.png` and `model_index.yaml`.
"""
