"""Token-wise Linear Modulation (TLM): a geospatial prior modulates visual tokens where its anchors lie.

FUSAR-GPT, arXiv 2602.19190, section 3.2. Three steps: every anchor's embedding becomes a modulation; a Gaussian of
the distance between anchor and token aligns anchors with tokens; every token is scaled and shifted.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from .configuration_fusargpt import TlmConfig

EPSILON = 1e-6


def gaussian_alignment(
    positions: Tensor,
    mask: Tensor,
    present: Tensor,
    patch_grids: list[tuple[int, int]],
    merge_size: int,
    sigma: float,
    gaussian_grid: str,
) -> list[Tensor]:
    """Weights of the anchors in every token, in float32, computed at once for images of different grids.

    Args:
        positions: `[num_images, S, 2]`, (y, x) in [0, 1].
        mask: bool `[num_images, S]`, the anchors that count.
        present: bool `[num_images, S]`, False in slots that only pad the batch. An anchor that is present without
            counting has no weight of its own, but its share of the first normalisation of the `"patch"` grid.
        patch_grids: (H, W) of every image, in patches.
        merge_size: Patches that a token spans along each axis.
        sigma: Standard deviation, in cells of `gaussian_grid`.
        gaussian_grid: `"patch"` or `"token"`.

    Returns:
        For each image `[h w, S]`, row-major over its token grid. The weights of a token sum to less than 1, and fade
        to 0 far from every anchor.
    """
    patches_a_cell = 1 if gaussian_grid == "patch" else merge_size
    cells_a_token = merge_size // patches_a_cell
    # A GPU takes these few numbers without being waited for.
    on_device = torch.tensor(patch_grids).to(positions.device, non_blocking=positions.is_cuda)
    grids = on_device // patches_a_cell
    height, width = (max(sizes) // patches_a_cell for sizes in zip(*patch_grids, strict=True))

    # The Gaussian of a squared distance is a product over the axes, so exp runs over S (H + W) cells, not S H W.
    centres = positions.float() * (grids - 1)[:, None, :]
    rows = torch.arange(height, device=positions.device)
    columns = torch.arange(width, device=positions.device)
    along_y = torch.exp((rows - centres[..., :1]).square() / (-2 * sigma**2)) * present[..., None]
    along_x = torch.exp((columns - centres[..., 1:]).square() / (-2 * sigma**2))
    gaussian = along_y[..., :, None] * along_x[..., None, :]
    weights = gaussian * mask[..., None, None]
    total = weights.sum(1, keepdim=True)
    if gaussian_grid == "patch":
        # Normalised before and after the mask, u = g / (sum g + e) and m u / (sum m u + e), here in one division.
        weights = weights / (total + EPSILON * (gaussian.sum(1, keepdim=True) + EPSILON))
    else:
        weights = weights / (total + EPSILON)

    # Resizing bilinearly by a whole factor, corners not aligned, is the mean of the cells around a token's centre.
    central = slice((cells_a_token - 1) // 2, cells_a_token // 2 + 1)
    weights = weights.unflatten(3, (-1, cells_a_token)).unflatten(2, (-1, cells_a_token))
    weights = weights[:, :, :, central, :, central].mean((3, 5))
    return [
        weights[image, :, : rows // merge_size, : columns // merge_size].flatten(1).T
        for image, (rows, columns) in enumerate(patch_grids)
    ]


class TokenwiseLinearModulation(nn.Module):
    """Fuses anchors `a_i` with visual tokens `x`, in the way that `config.fusion` names.

    With `f(x) = sum_i w_i(x) (W2 SiLU(W1 a_i + b1) + b2)` over the anchors and `w(x) = sum_i w_i(x)`:

    - `"tlm"`: `x (1 + gamma) + beta`, where `(gamma, beta) = f(x)`;
    - `"sum"`: `x + f(x)`;
    - `"concat"`: `x + w(x) W3 [x; f(x)]`, so that it too fades to the identity far from every anchor;
    - `"none"`: `x`, without parameters.

    All of them start as the identity (W2 and b2 are zero, for `"concat"` W3), and are exactly the identity in an
    image without an anchor that counts. Alignment and modulation run in float32 whatever the dtype of the weights and
    of autocast, since 1 + gamma has no room for a small gamma in bfloat16; only the linear layers follow that dtype.

    Args:
        config: The TLM's configuration.
        channels: Width C of the visual tokens.
        merge_size: Patches that a visual token spans along each axis.

    Attributes:
        observer: Called in every forward, without a gradient, with gamma `[T, C]` (None but for `"tlm"`), what is added
            to the tokens (beta) `[T, C]` (for `"concat"` `[..., T, C]`), and the sum of the anchors' weights `[T, 1]`,
            in float32; None by default.
    """

    def __init__(self, config: TlmConfig, channels: int, merge_size: int):
        super().__init__()
        self.config = config
        self.merge_size = merge_size
        self.observer: Callable[[Tensor | None, Tensor, Tensor], None] | None = None
        if config.fusion == "none":
            return
        hidden_size = config.hidden_size if config.hidden_size is not None else max(128, 4 * channels)
        field_size = 2 * channels if config.fusion == "tlm" else channels
        self.input_projection = nn.Linear(config.prior_size, hidden_size)
        # b2 is apart from W2 because W2 may be applied to sums over anchors, whose weights do not sum to one.
        self.output_projection = nn.Linear(hidden_size, field_size, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(field_size))
        if config.fusion == "concat":
            self.fusion_projection = nn.Linear(2 * channels, channels, bias=False)

    def forward(
        self,
        tokens: Tensor,
        patch_grids: list[tuple[int, int]],
        prior_embeddings: Tensor,
        prior_positions: Tensor,
        prior_mask: Tensor,
    ) -> Tensor:
        """
        Args:
            tokens: `[..., T, C]`, the tokens of all images one after the other, each row-major over its token grid.
                Further axes in front are fused alike, and the alignment is computed once for all of them.
            patch_grids: (H, W) of every image, in patches; `T = sum H W / merge_size**2`.
            prior_embeddings: `[num_images, S, prior_size]`, unit vectors; zero in slots that only pad the batch.
            prior_positions: `[num_images, S, 2]`, (y, x) in [0, 1]; 0 and 1 are the centres of the first and last
                row or column.
            prior_mask: bool `[num_images, S]`, the anchors that count; the others may hold anything, NaN included.

        Returns:
            `[..., T, C]`, in the dtype of `tokens`.
        """
        if self.config.fusion == "none":
            return tokens
        located = prior_positions.isfinite().all(-1)
        present = prior_mask | (located & (prior_embeddings != 0).any(-1))
        positions = prior_positions.masked_fill(~located[..., None], 0)
        embeddings = prior_embeddings.masked_fill(~prior_mask[..., None], 0).to(self.output_bias.dtype)
        hidden = functional.silu(self.input_projection(embeddings))

        # W2 and the sum over anchors commute; multiplications decide, since either order may be far the cheaper one.
        anchors, hidden_size, field_size = prior_mask.numel(), hidden.shape[-1], len(self.output_bias)
        num_tokens = tokens.shape[-2]
        weighted_sums = num_tokens * prior_mask.shape[1]
        project_first = anchors * hidden_size * field_size + weighted_sums * field_size
        project_last = num_tokens * hidden_size * field_size + weighted_sums * hidden_size

        alignment = gaussian_alignment(
            positions, prior_mask, present, patch_grids, self.merge_size, self.config.sigma, self.config.gaussian_grid
        )
        coverage = torch.cat([weights.sum(1, keepdim=True) for weights in alignment])
        if project_first <= project_last:
            field = self._sum_over_anchors(alignment, self.output_projection(hidden))
        else:
            mean_hidden = self._sum_over_anchors(alignment, hidden)
            field = self.output_projection(mean_hidden.to(hidden.dtype)).float()
        field = field + coverage * self.output_bias.float()

        gamma, scaled = None, tokens.float()
        if self.config.fusion == "tlm":
            gamma, beta = field.chunk(2, dim=-1)
            scaled = scaled * (1 + gamma)
        elif self.config.fusion == "sum":
            beta = field
        else:
            pairs = torch.cat([scaled, field.expand_as(tokens)], dim=-1).to(self.output_bias.dtype)
            beta = coverage * self.fusion_projection(pairs).float()
        if self.observer is not None:
            self.observer(None if gamma is None else gamma.detach(), beta.detach(), coverage)
        return (scaled + beta).to(tokens.dtype)

    @staticmethod
    def _sum_over_anchors(alignment: list[Tensor], values: Tensor) -> Tensor:
        """`[T, F]` in float32 from values `[num_images, S, F]`."""
        with torch.autocast(values.device.type, enabled=False):
            return torch.cat([weights @ of_image.float() for weights, of_image in zip(alignment, values, strict=True)])


def check_priors(
    prior_embeddings: Tensor | None,
    prior_positions: Tensor | None,
    prior_mask: Tensor | None,
    num_images: int,
    prior_size: int,
    values: bool = True,
) -> tuple[Tensor, Tensor, Tensor] | None:
    """The prior, which is then a usable one, or None where no field of it is given.

    Args:
        prior_embeddings: Floating point `[num_images, S, prior_size]`.
        prior_positions: Floating point `[num_images, S, 2]`, (y, x) in [0, 1] where the mask is set.
        prior_mask: bool `[num_images, S]`.
        num_images: Images in the batch.
        prior_size: Width of an embedding.
        values: Whether values are checked as well, for which the device that holds them is waited for.

    Raises:
        ValueError: If only some of the fields are given, or one has a wrong shape, dtype or value. The message names
            the field, what was found and what was expected.
    """
    fields = {"prior_embeddings": prior_embeddings, "prior_positions": prior_positions, "prior_mask": prior_mask}
    missing = [name for name, value in fields.items() if value is None]
    if len(missing) == 3:
        return None
    if prior_embeddings is None or prior_positions is None or prior_mask is None:
        given = [name for name in fields if name not in missing]
        raise ValueError(f"{', '.join(missing)}: found nothing beside {', '.join(given)}, expected all three or none.")

    anchors = prior_embeddings.shape[1] if prior_embeddings.ndim == 3 else "S"
    expected_shapes = {
        "prior_embeddings": (num_images, anchors, prior_size),
        "prior_positions": (num_images, anchors, 2),
        "prior_mask": (num_images, anchors),
    }
    for name, value in (("prior_embeddings", prior_embeddings), ("prior_positions", prior_positions)):
        if not value.is_floating_point():
            raise ValueError(f"{name}: found dtype {value.dtype}, expected a floating point one.")
    if prior_mask.dtype != torch.bool:
        raise ValueError(f"prior_mask: found dtype {prior_mask.dtype}, expected torch.bool.")
    for name, value in (
        ("prior_embeddings", prior_embeddings),
        ("prior_positions", prior_positions),
        ("prior_mask", prior_mask),
    ):
        if tuple(value.shape) != expected_shapes[name]:
            raise ValueError(
                f"{name}: found shape {list(value.shape)}, expected {list(expected_shapes[name])} "
                f"for the {num_images} images of this batch, in their order."
            )

    if not values:
        return prior_embeddings, prior_positions, prior_mask
    masked = ~prior_mask[..., None]
    inside = (prior_positions >= 0) & (prior_positions <= 1)
    embeddings_finite, positions_inside = torch.stack(
        [(prior_embeddings.isfinite() | masked).all(), (inside | masked).all()]
    ).tolist()
    if not embeddings_finite:
        raise ValueError("prior_embeddings: found NaN or infinity in an unmasked anchor, expected finite values.")
    if not positions_inside:
        counted_positions = prior_positions[prior_mask]
        raise ValueError(
            f"prior_positions: found values from {counted_positions.min():g} to {counted_positions.max():g} in "
            "unmasked anchors, expected (y, x) within [0, 1]."
        )
    return prior_embeddings, prior_positions, prior_mask
