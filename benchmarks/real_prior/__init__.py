"""What the prior is worth where a question needs both, on real values: which cells of a scene are flooded?

Real Sentinel-1 and real AlphaEarth of the same places (`benchmarks.aef_probe` reads such files). A scene is a grid of
cells, each a real point: its own VV level with speckle, its own vector at an anchor. Flooded land is composed: the
place's own vector with the backscatter of a real water point of its region, and no other number changed. Backscatter
alone cannot tell flooded land from permanent water, the vector alone cannot tell flooded land from dry.

**What counts as a proof, fixed before anything was run.** In counting, over all held-out scenes, 3 x 3 and 4 x 4:
`true` minus `none` is at least 17.7 points (the paper's margin) and its 95 % intervals, over places and over seeds, lie
above 0; and `true` minus `blind` is above 0; in two of the three regions, each held out whole. `none` and `blind` are
models trained alike without a prior, and with a prior and a blank image. Iowa is expected to fail (flat fields, and a
prior that does not transfer) and is reported like the others. Beside it stands a linear discriminant of every cell with
the same arms.

"The AlphaEarth Foundations Satellite Embedding dataset is produced by Google and Google DeepMind." (CC BY 4.0)
Contains modified Copernicus Sentinel data 2024.
"""

MARGIN = 0.177
"""Of counts, `true` minus `none`: what the paper reports."""
REGIONS_NEEDED = 2
