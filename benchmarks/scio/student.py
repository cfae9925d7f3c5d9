"""The model that every arm trains: it sees as fusarklip-nano does and has its words, and cannot read yet."""

from pathlib import Path

import torch

from fusargpt.embedding.model_folder import read_klip
from fusargpt.files import partial_of
from modeling_fusarklip.modeling_fusarklip import FusarKlipModel

UNREAD = ("text_encoder.encoder.", "text_proj.")


def make_student(folder: Path, start: Path, seed: int) -> Path:
    """Write to `folder` the model `start` with layers of its text tower that are random by `seed`.

    fusarklip-nano itself has read clean captions of other places, so that it would be as good without any training, and
    what bad captions cost could not be told from what training costs.
    """
    if not folder.is_dir():
        known, processor = read_klip(str(start), "cpu")
        torch.manual_seed(seed)
        student = FusarKlipModel(known.config)
        seen = {name: value for name, value in known.state_dict().items() if not name.startswith(UNREAD)}
        student.load_state_dict(seen, strict=False)
        partial = partial_of(folder)
        student.save_pretrained(partial)
        processor.save_pretrained(partial)
        partial.rename(folder)
    return folder
