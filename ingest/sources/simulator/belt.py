"""The belt below, the light above and the camera: turns a scene into the picture that is sent."""

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from ingest.sources.simulator.parts import HEIGHT, WIDTH, Layer, Map, Scene
from ingest.sources.simulator.seeds import stream

_LOOP_PX = 2048  # length of the belt until it comes round
_STEP_PX = 137  # how far it moves from frame to frame
_NOISE_ROOM = 160
_METAL = 118.0  # grey values of both under full light
_BELT = 50.0


def expose(scene: Scene, index: int, rng: np.random.Generator, lamp: float = 1.0) -> NDArray[np.uint8]:
    """Take the picture.

    Args:
        scene: The part with what lies on it.
        index: Which frame: the belt moves on by one step a frame.
        rng: Decides on light and noise. It is used in the same way whatever the scene holds, so that a defect changes the
            picture where it is and nowhere else.
        lamp: How bright the light is; 1: as usual.

    Returns:
        (HEIGHT, WIDTH, 3) uint8, red first.
    """
    light = _light(rng) * np.float32(lamp)
    azimuth = rng.uniform(3.7, 4.0)  # from the upper left
    belt = _belt_below(index, rng) * light
    belt *= 1 - np.float32(0.55) * _shadow(scene.coverage)
    metal = _shine(scene, azimuth) * light
    metal *= scene.coverage
    belt *= 1 - scene.coverage
    design = scene.design
    tones = zip(design.metal, design.belt, strict=True)
    colours = cv2.merge([cv2.addWeighted(metal, of_metal, belt, of_belt, 0) for of_metal, of_belt in tones])
    picture = np.asarray(colours, dtype=np.float32)
    for layer in scene.layers:
        _lay_on(picture, layer)
    sharp = cv2.GaussianBlur(picture, (3, 3), 0.6)  # the lens
    return np.asarray(cv2.add(sharp, _noise(rng), dtype=cv2.CV_8U), dtype=np.uint8)


def _light(rng: np.random.Generator) -> Map:
    """Brighter in the middle, sloping a little, and never twice quite the same."""
    slope_x, slope_y = rng.uniform(-0.05, 0.05, 2)
    exposure = rng.uniform(0.96, 1.04)
    x = np.linspace(-1, 1, WIDTH, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None]
    across = exposure * (1 + slope_x * x - 0.09 * x * x)
    down = 1 + slope_y * y - 0.08 * y * y
    return np.asarray(across * down, dtype=np.float32)


def _belt_below(index: int, rng: np.random.Generator) -> Map:
    start = (index * _STEP_PX + int(rng.integers(-3, 4))) % _LOOP_PX
    return _belt()[:, start : start + WIDTH]


def _shadow(coverage: Map) -> Map:
    """Soft shadow of the part on the belt, fallen to the lower right."""
    small = cv2.resize(coverage, (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA)
    move = np.array([[1, 0, 1.6], [0, 1, 1.9]])
    soft = cv2.GaussianBlur(cv2.warpAffine(small, move, (WIDTH // 4, HEIGHT // 4)), (9, 9), 1.8)
    return np.asarray(cv2.resize(soft, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _shine(scene: Scene, azimuth: float) -> Map:
    """Light a surface by its slopes: diffuse, with a highlight where it leans towards the lamp."""
    slope_x = cv2.Sobel(scene.height, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    slope_y = cv2.Sobel(scene.height, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    towards = cv2.addWeighted(slope_x, -np.cos(azimuth), slope_y, -np.sin(azimuth), 0)
    bright = np.clip(1 + np.float32(0.55) * towards, 0.25, 1.75)
    bright *= scene.finish
    bright *= np.float32(_METAL)
    return np.asarray(bright, dtype=np.float32)


def _lay_on(picture: Map, layer: Layer) -> None:
    height, width = layer.alpha.shape
    window = picture[layer.top : layer.top + height, layer.left : layer.left + width]
    window += layer.alpha[..., None] * (np.array(layer.colour, np.float32) - window)


def _noise(rng: np.random.Generator) -> Map:
    """A window of one large noise picture, turned over at random: fresh noise would cost half of the time of a frame."""
    top, left = rng.integers(0, _NOISE_ROOM, 2)
    step_y, step_x = rng.choice([-1, 1], 2)
    window = _noise_bank()[top : top + HEIGHT, left : left + WIDTH]
    return np.ascontiguousarray(window[::step_y, ::step_x])


@functools.cache
def _noise_bank() -> Map:
    rng = stream("noise")
    size = (HEIGHT + _NOISE_ROOM, WIDTH + _NOISE_ROOM)
    grey = rng.standard_normal((*size, 1), dtype=np.float32) * np.float32(2.0)
    colour = rng.standard_normal((*size, 3), dtype=np.float32) * np.float32(0.9)
    return grey + colour


@functools.cache
def _belt() -> Map:
    """The whole belt as (HEIGHT, loop + WIDTH) grey values: a woven pattern, wear along the way, dust."""
    rng = stream("belt")
    turns = np.arange(-WIDTH, _LOOP_PX + 2 * WIDTH)  # beyond both ends, so that the filters see an endless belt
    loop = turns % _LOOP_PX
    grain = rng.standard_normal((HEIGHT, _LOOP_PX), dtype=np.float32)[:, loop]
    specks = (rng.random((HEIGHT, _LOOP_PX)) > 0.9993).astype(np.float32)[:, loop]
    weave = np.sin(loop * (np.pi / 2)) * np.sin(np.arange(HEIGHT)[:, None] * (np.pi / 2) + loop * np.pi)
    blotches, wear = cv2.GaussianBlur(grain, (0, 0), 14), cv2.blur(grain, (401, 1))
    dust = cv2.GaussianBlur(specks, (0, 0), 0.9)
    tone = 1 + 0.07 * weave + 0.05 * grain + 0.05 * blotches / blotches.std() + 0.045 * wear / wear.std() + 2.2 * dust
    return np.ascontiguousarray(_BELT * tone[:, WIDTH : _LOOP_PX + 2 * WIDTH], dtype=np.float32)
