"""Visual tokens on disk: computed once by a frozen vision tower, read again in every epoch of every run.

The folder holds a folder a fingerprint (of the tower that computed the tokens), and that holds safetensors shards: a
tensor [tokens, C] for each image, by the image's key, and their patch grids in the header. With deep-stack features it
is [1 + levels, tokens, C], the visual tokens first. Shards appear whole, by a rename under the folder's lock, and are
never changed. A run holds a lock file beside the shards it reads, so that no other run, short of room, takes them away.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from fusargpt.errors import InputError
from fusargpt.files import watching_disk, written_whole

SHARD_BYTES = 256 * 2**20
ENTRY_BYTES = 256  # at most, of a shard's header for one image
SUFFIX = ".safetensors"


@dataclass
class EncodedImages(BaseModelOutputWithPooling):
    """Visual tokens of a batch's images as the model takes them: `pooler_output` holds [h w, C] for each image.

    `deepstack_features` holds the same for each level of a tower that has them, and is None otherwise.

    Pinning a batch's memory updates a copy of it in place, which the outputs of transformers refuse.
    """

    # None by default, as transformers demands of every field.
    pooler_output: tuple[Tensor, ...] = None  # pyright: ignore[reportIncompatibleVariableOverride, reportAssignmentType]
    deepstack_features: list[tuple[Tensor, ...]] | None = None

    def update(self, values: Mapping[str, object]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for name, value in values.items():
            self[name] = value


class FeatureCache:
    """The visual tokens of one tower in one folder, bounded with those of all others in it.

    Several processes may build and read the same folder at once. Pickling leaves the open files behind, so that a
    process of its own reads them anew.

    Args:
        folder: of the recipe; made if it is not there.
        fingerprint: of what computed the tokens (`trl_recipes.data.visual_tokens.tower_fingerprint`).
        limit_bytes: that all shards in `folder` may take.

    Raises:
        InputError: for a folder that cannot be made, and a shard that cannot be read.
    """

    def __init__(self, folder: Path, fingerprint: str, limit_bytes: int) -> None:
        self.folder = folder
        self.shards = folder / fingerprint
        self.limit_bytes = limit_bytes
        self._needed: set[str] = set()
        self._files: dict[str, safe_open] = {}
        self._grids: dict[str, tuple[str, list[int]]] = {}  # shard and patch grid (t, h, w) by key
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"feature_cache: {folder} cannot be made a folder ({error.strerror}); choose one that can be written"
            ) from error
        with self._lock():
            self.shards.mkdir(exist_ok=True)
            self._in_use: FileLock | None = FileLock(self.shards / f"in_use-{uuid4().hex}.lock")
            self._in_use.acquire()
            self._is_used(self.shards)  # for what it clears away
            self._scan()

    def __contains__(self, key: str) -> bool:
        return key in self._grids

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_files": {}, "_in_use": None}

    def refresh(self) -> None:
        """See what other processes have added."""
        with self._lock():
            self._scan()

    def batch(self, keys: Iterable[str]) -> tuple[EncodedImages, Tensor]:
        """Visual tokens of the images `keys` and `image_grid_thw` [images, 3], in their order.

        Raises KeyError for an image that is not in the cache.
        """
        tokens, grids = [], []
        for key in keys:
            if key not in self._grids:
                raise KeyError(f"feature_cache: {self.shards} holds no visual tokens of image {key}")
            name, grid = self._grids[key]
            tokens.append(self._file(name).get_tensor(key))
            grids.append(grid)
        # A copy: a batch that a worker sends must not hold on to the whole file that a tensor is a view of.
        together, sizes = torch.cat(tokens, dim=-2), [image.shape[-2] for image in tokens]
        first, *levels = [level.split(sizes) for level in (together if together.ndim == 3 else together[None])]
        return EncodedImages(pooler_output=first, deepstack_features=levels or None), torch.tensor(grids)

    def reserve(self, needed: Mapping[str, int]) -> None:
        """Make room for the tokens of a data set, and keep those that are there from being removed by this run.

        Shards of other fingerprints go first, then those that hold none of `needed`, each time those not used for
        longest; never those that another run has open.

        Args:
            needed: bytes of every image's tokens, by key.

        Raises:
            InputError: when they do not fit; nothing has been removed then.
        """
        with self._lock():
            self._scan()
            self._needed = set(needed)
            missing = sum(size + ENTRY_BYTES for key, size in needed.items() if key not in self)
            self._make_room(missing, sum(needed.values()) + ENTRY_BYTES * len(needed))
            for name in {self._grids[key][0] for key in needed if key in self}:
                os.utime(self.shards / name)

    def add(self, entries: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Write a shard with the tokens [tokens, C] or [1 + levels, tokens, C] and the patch grid of images, by key.

        Those that another process has written meanwhile are left out. Raises InputError when they do not fit.
        """
        with self._lock():
            self._scan()
            new = {key: value for key, value in entries.items() if key not in self}
            if not new:
                return
            tensors = {key: tokens.cpu().contiguous() for key, (tokens, _) in new.items()}
            grids = json.dumps({key: grid.tolist() for key, (_, grid) in new.items()})
            size = sum(tensor.nbytes for tensor in tensors.values()) + ENTRY_BYTES * len(tensors)
            self._make_room(size, size)
            remedy = "free some, choose another folder, or train without feature_cache; what it holds is kept"
            with (
                written_whole(self.shards / f"{uuid4().hex}{SUFFIX}") as partial,
                watching_disk(self.folder, "feature_cache: a shard of visual tokens", size, remedy),
            ):
                save_file(tensors, partial, metadata={"grids": grids})
                with partial.open("rb") as file:
                    os.fsync(file.fileno())
            self._scan()

    def _lock(self) -> FileLock:
        return FileLock(self.folder / "lock")

    def _scan(self) -> None:
        known = {name for name, _ in self._grids.values()}
        for path in self.shards.glob(f"*{SUFFIX}"):
            if path.name not in known:
                grids = json.loads((self._file(path.name).metadata() or {}).get("grids", "{}"))
                self._grids.update({key: (path.name, grid) for key, grid in grids.items()})

    def _file(self, name: str) -> safe_open:
        if name not in self._files:
            try:
                self._files[name] = safe_open(self.shards / name, framework="pt")
            except (SafetensorError, OSError) as error:
                raise InputError(
                    f"feature_cache: {self.shards / name} cannot be read ({error}), expected a safetensors file; "
                    "delete it, and its tokens are computed again"
                ) from error
        return self._files[name]

    def _make_room(self, missing: int, needed: int) -> None:
        """Remove shards until `missing` bytes fit; `needed` are all that the data set takes, for the message."""
        # Whoever was writing these has died: writing takes the lock that is held here.
        for partial in self.folder.glob("*/*.partial"):
            partial.unlink()
        sizes = {path: path.stat().st_size for path in self.folder.glob(f"*/*{SUFFIX}")}
        held, going = sum(sizes.values()), []
        for path in self._removable(list(sizes)):
            if held + missing <= self.limit_bytes:
                break
            going.append(path)
            held -= sizes[path]
        free = shutil.disk_usage(self.folder).free + sum(sizes[path] for path in going)
        if held + missing > self.limit_bytes:
            beside = held + missing - needed
            raise InputError(
                f"feature_cache: the visual tokens take {needed:,} bytes"
                + (f" beside {beside:,} that are in use" if beside > 0 else "")
                + f", expected at most {self.limit_bytes:,} (feature_cache_gib: {self.limit_bytes / 2**30:g}) in "
                f"{self.folder}; raise feature_cache_gib, or train without feature_cache"
            )
        if missing > free:
            raise InputError(
                f"feature_cache: {missing:,} bytes are to be written to {self.folder}, whose disk has {free:,} free; "
                "free some, choose another folder, or train without feature_cache"
            )
        for path in going:
            self._files.pop(path.name, None)
            path.unlink()
        gone = {path.name for path in going}
        self._grids = {key: place for key, place in self._grids.items() if place[0] not in gone}

    def _removable(self, shards: list[Path]) -> list[Path]:
        """Those that may go, in the order in which they go."""
        kept = {self._grids[key][0] for key in self._needed if key in self}
        used = {folder for folder in {path.parent for path in shards} if self._is_used(folder)}
        free = [path for path in shards if path.parent not in used and path.name not in kept]
        return sorted(free, key=lambda path: (path.parent == self.shards, path.stat().st_mtime))

    def _is_used(self, folder: Path) -> bool:
        """Whether a process other than this one has the shards in `folder` open; files of dead ones are removed."""
        for path in folder.glob("in_use-*.lock"):
            if self._in_use is not None and path == Path(self._in_use.lock_file):
                continue
            try:
                with FileLock(path, timeout=0):
                    path.unlink()
            except Timeout:
                return True
        return False
