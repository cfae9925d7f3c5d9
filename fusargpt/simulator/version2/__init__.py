"""Version 2 of the simulator: the places of version 1 seen by a radar of 2.5 to 30 m a pixel.

At 5 m a ship of version 1 is told by its shape. Here a place holds what looks alike from afar and stays where it is:
platforms, rocks, jetties. They are in the prior, since AlphaEarth sees them every year; ships are not. The coarser the
pixels, the less shape is left, and the more a count has to ask the place.

A place (`place`) is metres and says what lies where; a view (`view`) is one pass of one radar; `surface`, `buildings`
and `scatterers` say what every part of the ground sends back, `imaging` what a radar makes of that, and `scene` is the
result in pixels. Numbers have their sources beside them. They are of three kinds: physics; levels of the 2,160 real
Sentinel-1 points, by way of `landcover_statistics.npz`; amplitude statistics of the 928 chips of SSDD's training split
and of the ships of one Sentinel-1 scene off Los Angeles. No result of a model is among them.
"""
