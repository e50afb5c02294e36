from collections.abc import Callable
from pathlib import Path

import pytest

from infra.pictures import RgbPicture, encode_png
from trainer.paper.labelled import LabelledSet, read_labelled

Draw = Callable[[int, bool], RgbPicture]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, part: Draw) -> Path:
    """Grey parts of 64 px, three pictures of each of 12; a defective one has a black bar, and a mask."""
    root = tmp_path_factory.mktemp("parts")
    rows = ["file,part"]
    for name, count in {"train/good": 30, "test/good": 6, "test/bar": 4, "ground_truth/bar": 4}.items():
        (root / name).mkdir(parents=True)
        for index in range(count):
            seed = len(name) * 1000 + index
            if name == "ground_truth/bar":
                mask = part(0, False) * 0
                mask[20:44, 26:38] = 255
                (root / name / f"bar-{index}_mask.png").write_bytes(encode_png(mask))
                continue
            kind = name.replace("/", "-") if name.endswith("good") else "bar"
            (root / name / f"{kind}-{index}.png").write_bytes(encode_png(part(seed, name == "test/bar")))
            if name.endswith("good"):
                rows.append(f"{kind}-{index}.png,{kind[:2]}{index // 3}")
    (root / "parts.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="session")
def labelled(folder: Path) -> LabelledSet:
    return read_labelled(folder, folder / "parts.csv")
