"""The image tower of FUSAR-KLIP: BLIP's, into which prior and acquisition enter before one of its layers."""

# First: it refuses an older one.
from .transformers_release import MINIMUM_TRANSFORMERS  # noqa: F401  # pyright: ignore[reportUnusedImport]

# isort: split
import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import BlipVisionModel, initialization
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_fusarklip import FusarKlipConfig
from .geography import AcquisitionToken, check_acquisition
from .tlm import TokenwiseLinearModulation, check_priors


class FusarKlipVisionModel(BlipVisionModel):
    """BLIP's image tower with a TLM of the patch tokens and an acquisition token before layer `geography_layer`.

    The acquisition token is read by the layers that follow, and is not among the tokens that come out: those are the
    class token and the patches, whatever is known. An image without prior or acquisition in a batch where others have
    them is treated as if it were alone.

    Args:
        config: Of the whole model.
    """

    def __init__(self, config: FusarKlipConfig):
        super().__init__(config.vision)
        channels = config.vision.hidden_size
        self.geography_layer = config.geography_layer
        self.geography = config.geography
        self.tlm = TokenwiseLinearModulation(config.tlm, channels, merge_size=1)
        self.acquisition = AcquisitionToken(config.geography, channels)
        if config.losses.mim > 0:
            self.mask_token = nn.Parameter(torch.zeros(channels))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            for name, parameter in self.named_parameters(recurse=False):
                assert name == "mask_token", "its own, where there is one"
                initialization.zeros_(parameter)
        elif isinstance(module, AcquisitionToken):
            # Not by the tower's initializer_range, which is 1e-10 by default.
            for layer in module.children():
                if isinstance(layer, nn.Embedding):
                    initialization.normal_(layer.weight, std=0.02)
                elif isinstance(layer, nn.Linear):
                    _as_a_linear_layer(layer)
        elif isinstance(module, TokenwiseLinearModulation) and module.config.fusion != "none":
            _as_a_linear_layer(module.input_projection)
            initialization.zeros_(module.output_bias)
            # One zero layer makes the identity; two of them would leave both without a gradient.
            if module.config.fusion == "concat":
                _as_a_linear_layer(module.output_projection)
                initialization.zeros_(module.fusion_projection.weight)
            else:
                initialization.zeros_(module.output_projection.weight)

    def image_states(
        self, pixel_values: Tensor, interpolate_pos_encoding: bool = False, masked_patches: Tensor | None = None
    ) -> Tensor:
        """`[B, 1 + T, C]`, the output of the layers below `geography_layer`: class token, then T patches row-major.

        It depends on the pixels alone, so it may be computed once and kept where those layers are not trained.

        Args:
            pixel_values: `[B, 3, H, W]`, as the processor makes them.
            interpolate_pos_encoding: Takes images of another size than the configuration's.
            masked_patches: bool `[B, T]`, patches that are hidden (masked image modelling).

        Raises:
            ValueError: If the images have another size and `interpolate_pos_encoding` is not set.
        """
        side = self.config.image_size
        if pixel_values.ndim != 4 or (not interpolate_pos_encoding and pixel_values.shape[2:] != (side, side)):
            raise ValueError(
                f"pixel_values: found shape {list(pixel_values.shape)}, expected [B, 3, {side}, {side}]; "
                "interpolate_pos_encoding=True takes another size."
            )
        states = self.embeddings(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding)
        if masked_patches is not None:
            place = self.embeddings.position_embedding[:, 1:] + self.mask_token
            patches = torch.where(masked_patches[..., None], place.to(states.dtype), states[:, 1:])
            states = torch.cat([states[:, :1], patches], 1)
        return self._through(states, 0, self.geography_layer)

    def _through(self, states: Tensor, first: int, last: int, **kwargs: Any) -> Tensor:
        for layer in self.encoder.layers[first:last]:
            states = layer(states, **kwargs)
        return states

    # Every argument is passed by keyword.
    @merge_with_config_defaults
    @cast(Any, capture_outputs)(tie_last_hidden_states=False)
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        pixel_values: Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        image_states: Tensor | None = None,
        masked_patches: Tensor | None = None,
        prior_embeddings: Tensor | None = None,
        prior_positions: Tensor | None = None,
        prior_mask: Tensor | None = None,
        resolution_m: Tensor | None = None,
        sensor: Tensor | None = None,
        polarization: Tensor | None = None,
        month: Tensor | None = None,
        location: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """As the parent's, and from `image_states` of before instead of pixels where they are given.

        Args:
            pixel_values, interpolate_pos_encoding, masked_patches: As of `image_states`.
            image_states: `[B, 1 + T, C]` from the method of that name, of images of the configuration's size.
            prior_embeddings: float `[B, S, prior_size]`, unit vectors, zero in padding; all three prior fields or none.
            prior_positions: float `[B, S, 2]`, (y, x) in [0, 1]; 0 and 1 are the centres of the first and last row or
                column.
            prior_mask: bool `[B, S]`, False for padding.
            resolution_m: float `[B]`, metres a pixel of the image as the tower sees it; 0 where unknown, as in the
                further fields.
            sensor: int `[B]`, place in `geography_config.sensors` from 1.
            polarization: int `[B]`, alike.
            month: int `[B]`, 1 to 12.
            location: float `[B, 3]`, unit vectors; only where `geography_config.location` is "token".

        Returns:
            `last_hidden_state` `[B, 1 + T, C]` and `pooler_output` `[B, C]`.

        Raises:
            ValueError: If not one of pixels and states is given, or a field has a wrong shape, dtype or value.
        """
        patch, side = cast(int, self.config.patch_size), cast(int, self.config.image_size)
        if image_states is None and pixel_values is not None:
            states = self.image_states(pixel_values, interpolate_pos_encoding, masked_patches)
            grid = (pixel_values.shape[2] // patch, pixel_values.shape[3] // patch)
        elif image_states is not None and pixel_values is None:
            states, grid = image_states, (side // patch, side // patch)
            tokens, channels = 1 + grid[0] * grid[1], self.config.hidden_size
            if states.ndim != 3 or states.shape[1:] != (tokens, channels):
                raise ValueError(
                    f"image_states: found shape {list(states.shape)}, expected [B, {tokens}, {channels}], as "
                    "FusarKlipModel.image_states returns them."
                )
        else:
            found = "both" if pixel_values is not None else "neither"
            raise ValueError(f"pixel_values, image_states: found {found}, expected one of them.")
        num_images = len(states)

        priors = check_priors(prior_embeddings, prior_positions, prior_mask, num_images, self.tlm.config.prior_size)
        if priors is not None:
            patches = self.tlm(states[:, 1:].flatten(0, 1), [grid] * num_images, *priors)
            states = torch.cat([states[:, :1], patches.view(num_images, -1, states.shape[2])], 1)
        fields = {"resolution_m": resolution_m, "sensor": sensor, "polarization": polarization, "month": month}
        acquisition = check_acquisition({**fields, "location": location}, num_images, self.geography)
        if acquisition is None:
            states = self._through(states, self.geography_layer, len(self.encoder.layers), **kwargs)
        else:
            if self.training:
                acquisition = acquisition.drop(self.geography.drop_field, self.geography.drop_all)
            token = self.acquisition(acquisition)[:, None].to(states.dtype)
            states = self._with_token(states, token, acquisition.known(), **kwargs)

        last_hidden_state = self.post_layernorm(states)
        pooler_output = self.post_layernorm(last_hidden_state[:, 0])
        return BaseModelOutputWithPooling(last_hidden_state=last_hidden_state, pooler_output=pooler_output)

    def _with_token(self, states: Tensor, token: Tensor, known: Tensor, **kwargs: Any) -> Tensor:
        """Through the upper layers, in two groups: the parent's attention has no mask that could hide a token."""
        first, last = self.geography_layer, len(self.encoder.layers)
        groups: list[Tensor] = []
        with_token, without = known.nonzero()[:, 0], (~known).nonzero()[:, 0]
        if len(with_token):
            joined = torch.cat([states, token], 1)[with_token]
            groups.append(self._through(joined, first, last, **kwargs)[:, :-1])
        if len(without):
            groups.append(self._through(states[without], first, last, **kwargs))
        return torch.cat(groups)[torch.cat([with_token, without]).argsort()]


def _as_a_linear_layer(layer: nn.Linear) -> None:
    """As torch initialises one."""
    bound = 1 / math.sqrt(layer.in_features)
    initialization.kaiming_uniform_(layer.weight, a=math.sqrt(5))
    if layer.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]  # torch's annotation leaves None out
        initialization.uniform_(layer.bias, -bound, bound)


__all__ = ["FusarKlipVisionModel"]
