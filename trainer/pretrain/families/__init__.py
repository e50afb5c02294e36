"""The families of programs, by name; some are held out of training, to measure on."""

import numpy as np

from trainer.pretrain.families.boards import boards
from trainer.pretrain.families.bricks import bricks
from trainer.pretrain.families.cables import cables
from trainer.pretrain.families.castings import castings
from trainer.pretrain.families.cells import cells
from trainer.pretrain.families.composites import composites
from trainer.pretrain.families.discs import discs
from trainer.pretrain.families.fractals import fractals
from trainer.pretrain.families.gears import gears
from trainer.pretrain.families.gratings import gratings
from trainer.pretrain.families.knurls import knurls
from trainer.pretrain.families.labels import labels
from trainer.pretrain.families.leaves import leaves
from trainer.pretrain.families.noises import noises
from trainer.pretrain.families.plates import plates
from trainer.pretrain.families.spots import spots
from trainer.pretrain.families.strokes import strokes
from trainer.pretrain.families.tablets import tablets
from trainer.pretrain.families.threads import threads
from trainer.pretrain.families.waves import waves
from trainer.pretrain.families.weaves import weaves
from trainer.pretrain.program import Family, Program

TRAINING: dict[str, Family] = {
    family.__name__: family
    for family in (
        boards,
        bricks,
        castings,
        cells,
        composites,
        discs,
        fractals,
        gratings,
        knurls,
        labels,
        leaves,
        noises,
        plates,
        strokes,
        threads,
        waves,
    )
}
HELD_OUT: dict[str, Family] = {family.__name__: family for family in (cables, gears, spots, tablets, weaves)}

_FAMILIES = TRAINING | HELD_OUT


def program_of(family: str, number: int, seed: int) -> Program:
    """Return program `number` of a family; it depends on family, number and seed alone."""
    return _FAMILIES[family](np.random.default_rng([seed, number, *family.encode()]))
