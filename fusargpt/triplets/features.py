"""Column types of the dataset, as `datasets` reads and writes them."""

from dataclasses import fields

from datasets import Features, Image, List, Value

from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_LONLAT, PRIOR_POSITIONS
from fusargpt.tasks.eight_dimensions import Description
from fusargpt.tasks.target_dimensions import TargetDescription

_MESSAGES = List({"role": Value("string"), "content": Value("string")})
RECORD_FEATURES = Features(
    {
        "id": Value("string"),
        "image": Image(),
        PRIOR_EMBEDDINGS: List(List(Value("int8"), length=64)),
        PRIOR_POSITIONS: List(List(Value("float32"), length=2)),
        PRIOR_LONLAT: List(List(Value("float64"), length=2)),
        "year": Value("int32"),
        "bounds": List(Value("float64"), length=4),
        "crs": Value("string"),
        "sensor": Value("string"),
        "polarization": Value("string"),
        "resolution_m": Value("float32"),
        "acquired": Value("string"),
        "objects": List(
            {"bbox_2d": List(Value("int32"), length=4), "label": Value("string"), "fine_label": Value("string")}
        ),
        "task": Value("string"),
        "prompt": _MESSAGES,
        "completion": _MESSAGES,
    }
)

# Of what is built of annotations: for each of the objects its corners where it is rotated, or a polygon.
_CORNERS = {"corners": List(List(List(Value("float32"), length=2)))}

# Rows of `captions` tell the place and its targets in eight dimensions each, as far as both are known.
CAPTION_FEATURES = Features(
    {
        **RECORD_FEATURES,
        "description": {item.name: Value("string") for item in fields(Description)},
        "target_description": {item.name: Value("string") for item in fields(TargetDescription)},
    }
)

DOUBTED_FEATURE = {"answer": Value("string"), "spans": List(List(Value("int32"), length=2))}
"""Of a column `doubted`: an answer of which not all is held to be true, and first character and the one after the last
of each stretch that is not; null where nothing is doubted."""

BUILT_FEATURES = {
    "captions": Features({**CAPTION_FEATURES, **_CORNERS}),
    "instructions": Features({**RECORD_FEATURES, **_CORNERS}),
}
"""By config, what `triplets build` writes."""
