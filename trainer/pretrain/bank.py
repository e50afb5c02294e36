"""The bank: pictures of all programs, drawn once by all cores, in files that are mapped into memory."""

import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.pretrain.families import TRAINING, program_of
from trainer.pretrain.recipe import Recipe
from trainer.pretrain.reports import SILENT, Report

PROGRAMS_PER_FILE = 20


@dataclass(frozen=True)
class Bank:
    """Pictures of numbered programs.

    Attributes:
        files: Each (20, pictures, S, S, 3) uint8, mapped.
    """

    files: tuple[NDArray[np.uint8], ...]

    @property
    def programs(self) -> int:
        """How many programs there are."""
        return sum(len(file) for file in self.files)

    def pictures(self, program: int) -> NDArray[np.uint8]:
        """The pictures of a program: (pictures, S, S, 3) uint8."""
        return np.asarray(self.files[program // PROGRAMS_PER_FILE][program % PROGRAMS_PER_FILE])


@dataclass(frozen=True)
class _Order:
    """One file to be drawn."""

    path: Path
    members: tuple[tuple[str, int], ...]
    pictures: int
    size_px: int
    seed: int


def draw_bank(folder: Path, recipe: Recipe, seed: int, workers: int, report: Report = SILENT) -> Bank:
    """Draw what is missing of a bank; files that lie there already are used, so a killed run goes on where it was.

    Args:
        folder: Where the files lie; its name should tell the recipe, as nothing else of it is checked but shapes.
        recipe: How many programs and pictures of which side.
        seed: Seed of programs and pictures.
        workers: Processes that draw.
        report: Told how far it is.

    Raises:
        OSError: No room, or a file that cannot be written or read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    members = [(family, number) for family in TRAINING for number in range(recipe.programs_per_family)]
    orders = [
        _Order(
            folder / f"{start // PROGRAMS_PER_FILE:04}.npy",
            tuple(members[start : start + PROGRAMS_PER_FILE]),
            recipe.pictures_per_program,
            recipe.bank_px,
            seed,
        )
        for start in range(0, len(members), PROGRAMS_PER_FILE)
    ]
    missing = [order for order in orders if not order.path.exists()]
    report.drawn(len(orders) - len(missing), len(orders))
    if missing:
        with ProcessPoolExecutor(max_workers=workers, mp_context=get_context("spawn")) as pool:
            waiting = [pool.submit(_draw_file, order) for order in missing]
            for done, future in enumerate(as_completed(waiting), len(orders) - len(missing) + 1):
                future.result()
                report.drawn(done, len(orders))
    files = tuple(np.load(order.path, mmap_mode="r") for order in orders)
    for order, file in zip(orders, files, strict=True):
        if file.shape != (len(order.members), order.pictures, order.size_px, order.size_px, 3):
            raise OSError(f"{order.path} is of another recipe: remove the folder")
    return Bank(files)


def _draw_file(order: _Order) -> None:
    cv2.setNumThreads(1)
    shape = (len(order.members), order.pictures, order.size_px, order.size_px, 3)
    pictures = np.empty(shape, np.uint8)
    for row, (family, number) in enumerate(order.members):
        program = program_of(family, number, order.seed)
        for column in range(order.pictures):
            chance = np.random.default_rng([order.seed, 1, number, column, *family.encode()])
            pictures[row, column] = program(chance, order.size_px)
    unfinished = order.path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            np.save(file, pictures)
        unfinished.replace(order.path)
    finally:
        unfinished.unlink(missing_ok=True)
