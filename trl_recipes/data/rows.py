"""What travels from a dataset to the model."""

from typing import Any

Row = dict[str, Any]
"""A row by its columns, of types that `datasets` decides; `row_checks` reads them all before the first step."""
Message = dict[str, Any]
"""A turn of a conversation: its role, and its content as a text or in parts."""
Batch = dict[str, Any]
"""What a model is called with: tensors, and the outputs of an encoder."""
