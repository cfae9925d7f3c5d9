"""Which transformers this code takes. Imported before all else of it, so that an older one is named in one line."""

import transformers
from packaging.version import Version

# Before it, `generate` has no place where images are encoded once, and a prior may be dropped on the way.
MINIMUM_TRANSFORMERS = "5.23"

if Version(transformers.__version__).release < Version(MINIMUM_TRANSFORMERS).release:
    raise ImportError(
        f"FUSAR-GPT: found transformers {transformers.__version__}, expected {MINIMUM_TRANSFORMERS} or newer; "
        f"pip install --upgrade 'transformers>={MINIMUM_TRANSFORMERS}'"
    )

__all__ = ["MINIMUM_TRANSFORMERS"]
