"""The land-cover classes, those of Dynamic World."""

# Order and meaning of Dynamic World labels 0..8; the phrases are those of our descriptions.
LANDCOVER_CLASSES = (
    "water",
    "trees",
    "grass",
    "flooded vegetation",
    "crops",
    "shrubs",
    "built area",
    "bare ground",
    "snow",
)
WATER = LANDCOVER_CLASSES.index("water")
CROPS = LANDCOVER_CLASSES.index("crops")
BUILT = LANDCOVER_CLASSES.index("built area")
