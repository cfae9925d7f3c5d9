"""Batches of images with texts or classes: columns of a dataset to what the model is called with."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset

from fusargpt.geo.image import to_rgb
from fusargpt.geo.prior import PRIOR_COLUMNS
from fusargpt.tasks.facts import LANDFORM_COLUMN, PART_WEIGHT_COLUMN, TARGET_COLUMN, part_weights, trusted_phrases
from modeling_fusarklip.processing_fusarklip import FusarKlipProcessor
from trl_recipes.data.feature_cache import FeatureCache
from trl_recipes.data.rows import Batch
from trl_recipes.klip.arguments import KlipArguments
from trl_recipes.klip.image_arguments import ImageArguments
from trl_recipes.klip.priors import batch_priors
from trl_recipes.klip.rows import ACQUISITION_COLUMNS, Place
from trl_recipes.klip.texts import TextDrawer, TextEncoder, draw_seed

KEY = "image_key"
_DROPPED_PRIOR = 1  # tells what is drawn for a row from its text


class ImageCollator(ABC):
    """Makes the batch of given rows of one dataset, the same for the same rows, epochs and seed.

    Args:
        recipe: what is told of an image.
        processor: of the model.
        rows: the dataset; with `image_key` and the image's size instead of images where `states` has them.
        states: of the frozen layers' outputs; None reads images.
        seed: of what is drawn.
        training: whether priors are left out by chance.
    """

    def __init__(
        self,
        recipe: ImageArguments,
        processor: FusarKlipProcessor,
        rows: Dataset,
        states: FeatureCache | None,
        seed: int,
        training: bool,
    ) -> None:
        self.processor = processor
        self.states = states
        self.seed = seed
        self.has_acquisition = recipe.acquisition
        self.has_prior = recipe.prior == "true"
        self.prior_dropout = recipe.prior_dropout if training else 0.0
        self.columns = rows.remove_columns(["image"] if states is None else []).with_format("arrow")
        self.images = rows

    def __len__(self) -> int:
        """Rows that there are."""
        return len(self.images)

    def __call__(self, places: Sequence[Place]) -> Batch:
        """`image_states` or `pixel_values`, prior and acquisition of rows in given epochs, and what belongs to them."""
        rows = [row for row, _ in places]
        columns: pa.Table = self.columns[rows]
        batch = self.targets(columns, places)
        if self.states is not None:
            batch["image_states"] = torch.stack(self.states.batch(columns[KEY].to_pylist())[0].pooler_output).float()
            sizes = list(zip(columns["image_height"].to_pylist(), columns["image_width"].to_pylist(), strict=True))
        else:
            images = [to_rgb(row["image"]) for row in (self.images[row] for row in rows)]
            batch["pixel_values"] = self.processor.image_processor(images, return_tensors="pt")["pixel_values"]
            sizes = [(image.height, image.width) for image in images]
        if self.has_prior:
            kept = [self._keeps_prior(row, epoch) for row, epoch in places]
            batch |= batch_priors(columns.select(list(PRIOR_COLUMNS)), kept)
        if self.has_acquisition:
            batch |= self._acquisitions(columns, sizes)
        return batch

    @abstractmethod
    def targets(self, columns: pa.Table, places: Sequence[Place]) -> Batch:
        """What the images are learned with."""

    def _keeps_prior(self, row: int, epoch: int) -> bool:
        return draw_seed(self.seed, epoch, row, _DROPPED_PRIOR) >= self.prior_dropout * 2.0**63

    def _acquisitions(self, columns: pa.Table, sizes: Sequence[tuple[int, int]]) -> Batch:
        told = columns.select(list(ACQUISITION_COLUMNS)).to_pylist()
        return dict(self.processor.acquisitions(told, sizes))


class KlipCollator(ImageCollator):
    """Images with texts and facts.

    Args:
        recipe: which columns there are and what is drawn.
        encoder: of the processor's texts.
        processor, rows, states, seed, training: as of `ImageCollator`.
    """

    def __init__(
        self,
        recipe: KlipArguments,
        processor: FusarKlipProcessor,
        encoder: TextEncoder,
        rows: Dataset,
        states: FeatureCache | None,
        seed: int,
        training: bool,
    ) -> None:
        super().__init__(recipe, processor, rows, states, seed, training)
        self.encoder = encoder
        self.drawer = TextDrawer(encoder, seed, recipe.counterfactuals and recipe.itm > 0)
        self.caption_column = recipe.caption_column if recipe.texts == "caption" else None

    def targets(self, columns: pa.Table, places: Sequence[Place]) -> Batch:
        if self.caption_column is not None:
            return self.encoder.captions(columns[self.caption_column].to_pylist())
        weighted = [PART_WEIGHT_COLUMN] if PART_WEIGHT_COLUMN in columns.column_names else []
        described = columns.select([LANDFORM_COLUMN, TARGET_COLUMN, *weighted]).to_pylist()
        rows, epochs = zip(*places, strict=True)
        # A part that is held to be false would make a false text: it is not drawn, instead of not weighing alone.
        batch = self.drawer(rows, epochs, [trusted_phrases(row) for row in described])
        if weighted:
            batch["part_weights"] = torch.from_numpy(np.stack([part_weights(row) for row in described]))
        return batch


class ClassCollator(ImageCollator):
    """Images with the numbers of their classes.

    Args:
        label_column: of the rows, int.
        recipe, processor, rows, states, seed, training: as of `ImageCollator`.
    """

    def __init__(
        self,
        recipe: ImageArguments,
        processor: FusarKlipProcessor,
        label_column: str,
        rows: Dataset,
        states: FeatureCache | None,
        seed: int,
        training: bool,
    ) -> None:
        super().__init__(recipe, processor, rows, states, seed, training)
        self.label_column = label_column

    def targets(self, columns: pa.Table, places: Sequence[Place]) -> Batch:
        return {"labels": torch.tensor(columns[self.label_column].to_pylist(), dtype=torch.int64)}
