"""What a program is."""

from collections.abc import Callable

import numpy as np

from trainer.pretrain.lighting import Picture

Program = Callable[[np.random.Generator, int], Picture]
"""Draws a picture of a program: chance and side in px, to (S, S, 3) uint8. The same chance gives the same picture."""

Family = Callable[[np.random.Generator], Program]
"""Draws the parameters of a program."""
