"""Two pictures of one simulated scene: SAR amplitude with speckle, and an optical-like rendering.

Scenes of version 2 have renderings of their own (`fusargpt.simulator.version2.scene`), registered where they are made.
"""

from functools import singledispatch

import numpy as np
from PIL import Image

from fusargpt.geo.land_classes import BUILT, CROPS, LANDCOVER_CLASSES, WATER
from fusargpt.simulator.simulated_scene import IMAGE_SIZE, SIMULATOR_VERSION, Scene, smooth_noise

POLARIZATIONS = ("VV", "VH")
DISPLAY_DB = {"VV": (-25.0, 0.0), "VH": (-33.0, -8.0)}  # the dB that become 0 and 255: fixed, the same for every scene
LOOKS = 3.0

# Standard deviation (dB) of slow and of pixel-scale backscatter variation inside a region, by class.
_TEXTURE_DB = {"water": (0.7, 0.2), "trees": (0.8, 1.6), "built area": (1.5, 3.0), "crops": (1.0, 0.4)}
_DEFAULT_TEXTURE_DB = (0.9, 0.7)
# Mean colour of each class in the optical-like rendering.
_COLOURS = np.array(
    [
        (28, 58, 96),
        (34, 78, 40),
        (110, 150, 72),
        (74, 104, 92),
        (176, 160, 76),
        (128, 118, 70),
        (150, 140, 138),
        (186, 150, 112),
        (236, 240, 246),
    ],
    dtype=np.float32,
)
_APRON_COLOUR = np.array((96, 98, 104), dtype=np.float32)
# Point response: a bright scatterer leaks into its neighbours in range (columns) and azimuth (rows).
_POINT_RESPONSE = np.array([0.06, 0.03, 0.1, 0.4, 1.0, 0.4, 0.1, 0.03, 0.06])


def _blur(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Separable convolution along both axes, edges repeated; image [H, W], kernel of odd length."""
    half = len(kernel) // 2
    for axis in (0, 1):
        padding = [(half, half) if index == axis else (0, 0) for index in (0, 1)]
        padded = np.pad(image, padding, mode="edge")
        size = image.shape[axis]
        parts = (weight * padded.take(range(k, k + size), axis) for k, weight in enumerate(kernel))
        image = sum(parts, np.zeros_like(image))
    return image


def _add_scatterers(power: np.ndarray, positions: np.ndarray, level_db: np.ndarray) -> None:
    """Add point scatterers of `level_db` at pixels [N, 2] (row, column), spread by the point response, in place."""
    half = len(_POINT_RESPONSE) // 2
    response = np.outer(_POINT_RESPONSE, _POINT_RESPONSE) ** 2
    for (row, column), level in zip(positions, level_db, strict=True):
        top, left = max(row - half, 0), max(column - half, 0)
        bottom, right = min(row + half + 1, power.shape[0]), min(column + half + 1, power.shape[1])
        window = response[top - row + half : bottom - row + half, left - column + half : right - column + half]
        power[top:bottom, left:right] += 10 ** (level / 10) * window


def noise(rng: np.random.Generator, cells: int, shape: tuple[int, int]) -> np.ndarray:
    """Standard-normal noise [H, W] of `cells` a side for each `IMAGE_SIZE` pixels, so that size changes no texture."""
    side = max(shape)
    return smooth_noise(rng, round(cells * side / IMAGE_SIZE), side)[: shape[0], : shape[1]]


def _pattern(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """What has a direction on the ground, dB [H, W]: swell on water, fields in crops."""
    rows, columns = np.indices(scene.region.shape).astype(np.float32)
    angle, wavelength = rng.uniform(0, np.pi), rng.uniform(7, 16)
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    swell = rng.uniform(0, 0.8) * np.sin(2 * np.pi * (along + 3 * noise(rng, 8, scene.region.shape)) / wavelength)
    parcels = rng.normal(0, 1.3, (32, 32))[(along // 26).astype(int) % 32, (across // 17).astype(int) % 32]
    cover = scene.landcover[scene.region]
    if scene.apron is not None:
        cover[scene.region == scene.apron] = BUILT
    return np.where(cover == WATER, swell, 0) + np.where(cover == CROPS, parcels, 0)


def render_sar(scene: Scene, polarization: str = "VV") -> Image.Image:
    """The SAR image: 8-bit grey [H, W], dB stretched between the fixed limits of `DISPLAY_DB`.

    Raises KeyError for a polarization other than "VV" and "VH".
    """
    low, high = DISPLAY_DB[polarization]
    grey = (render_backscatter(scene, polarization) - low) / (high - low) * 255
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))


@singledispatch
def render_backscatter(scene: Scene, polarization: str = "VV") -> np.ndarray:
    """Backscatter with texture, speckle, clutter and targets, dB, float64 [H, W].

    Raises KeyError for a polarization other than "VV" and "VH".
    """
    low, _ = DISPLAY_DB[polarization]
    channel = POLARIZATIONS.index(polarization)
    rng = np.random.default_rng([SIMULATOR_VERSION, scene.seed, 1])
    level = scene.backscatter[:, channel]
    textures = [_TEXTURE_DB.get(LANDCOVER_CLASSES[index], _DEFAULT_TEXTURE_DB) for index in scene.landcover]
    if scene.apron is not None:
        textures[scene.apron] = _TEXTURE_DB["water"]
    slow, fine = np.array(textures, dtype=np.float32).T[:, :, None]
    shape = scene.region.shape
    decibel = level[scene.region] + slow[scene.region, 0] * noise(rng, 12, shape)
    decibel += fine[scene.region, 0] * noise(rng, IMAGE_SIZE // 2, shape)
    decibel += _pattern(scene, rng)
    power = 10 ** (decibel / 10)
    speckle = rng.standard_gamma(LOOKS, power.shape) / LOOKS
    power = _blur(power * speckle, np.array([0.1, 0.8, 0.1]))
    # Relative to the co-polarised return, everything bright is weaker in VH as the ground is.
    offset = (low - DISPLAY_DB["VV"][0]) if polarization == "VH" else 0.0

    built = np.isin(scene.region, [i for i, cover in enumerate(scene.landcover) if cover == BUILT and i != scene.apron])
    candidates = np.argwhere(built)
    if len(candidates):  # corner reflections of buildings
        chosen = candidates[rng.integers(0, len(candidates), len(candidates) // 90)]
        _add_scatterers(power, chosen, rng.uniform(-4, 10, len(chosen)) + offset)
    dark = [i for i, cover in enumerate(scene.landcover) if cover == WATER or i == scene.apron]
    candidates = np.argwhere(np.isin(scene.region, dark))
    if len(candidates):  # buoys and vehicles: single bright points that are no targets
        most = max(round(5 * scene.region.size / IMAGE_SIZE**2), 1)
        chosen = candidates[rng.integers(0, len(candidates), rng.integers(0, most))]
        _add_scatterers(power, chosen, rng.uniform(-8, -2, len(chosen)) + offset)
    for target in scene.targets:
        x, y = target.box[:2]
        rows, columns = np.nonzero(target.mask)
        body = 10 ** ((rng.uniform(-12, -5) + offset) / 10) * rng.standard_gamma(2.0, len(rows)) / 2
        power[y + rows, x + columns] += body
        positions = np.stack([y + rows, x + columns], -1)
        count = max(3, len(rows) // 9)
        chosen = rng.integers(0, len(rows), count)
        _add_scatterers(power, positions[chosen], rng.uniform(-6, 8, count) + offset)
    return 10 * np.log10(np.maximum(power, 1e-9))


@singledispatch
def render_optical(scene: Scene) -> Image.Image:
    """An optical-like picture of the same scene: 8-bit RGB [168, 168], classes told apart by colour."""
    rng = np.random.default_rng([SIMULATOR_VERSION, scene.seed, 3])
    colours = _COLOURS[scene.landcover].copy()
    if scene.apron is not None:
        colours[scene.apron] = _APRON_COLOUR
    colours += rng.normal(0, 7, colours.shape)
    image = colours[scene.region]
    shade = 6 * smooth_noise(rng, 12) + 5 * rng.standard_normal((IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
    image += shade[..., None]
    built = np.isin(scene.region, [i for i, cover in enumerate(scene.landcover) if cover == BUILT and i != scene.apron])
    image[built] += 22 * np.sign(smooth_noise(rng, IMAGE_SIZE // 3))[built][:, None]
    for target in scene.targets:
        x, y = target.box[:2]
        rows, columns = np.nonzero(target.mask)
        paint = rng.uniform(180, 250) if target.label == "aircraft" else rng.uniform(120, 235)
        tint = rng.normal(0, 14, 3) if target.label == "ship" else np.zeros(3)
        image[y + rows, x + columns] = paint + tint + rng.normal(0, 8, (len(rows), 1))
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
