"""In which types a model's weights can be held and computed with. No torch here."""

from typing import Literal

Dtype = Literal["float32", "bfloat16"]
Quantization = Literal["none", "int8", "nf4"]
