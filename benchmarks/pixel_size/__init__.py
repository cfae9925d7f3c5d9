"""What the prior is worth in counting ships, by the size of a pixel.

Places of the simulator's version 2 at sea and at coasts, each seen at several pixel sizes: the same ships, the same
platforms, rocks and jetties, the same prior. At fine pixels a ship is told by its shape, at coarse ones both are a few
bright pixels, and the prior knows what is always there. Arms: `true`, `none`, `blind` (the prior with a blank image)
each learn as they are asked; `shuffled` asks `true` with the prior of another place.

Nothing of the simulator was chosen by what comes out here: it was frozen before.
"""
