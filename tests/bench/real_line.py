"""Labelled pictures in MVTec AD layout through the whole line: train, stream test/* as two cameras, ledger and AUROC.

usage: real_line.py DIR [--product P] [--trained]    DIR: with train/good and test/*; --trained: use the model in force

The data folder is the one of the settings (DIFFERLINE_DATA_DIR). Each class is sent as a job of its own, so that the
verdicts in PostgreSQL can be told apart.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from sklearn.metrics import roc_auc_score

from infra.engines import running_engines
from infra.ledger_report import current_ledger, ledger_table
from infra.settings import load_settings
from infra.store.connect import open_database
from infra.store.tables import verdicts

CAMERAS = ("line-a", "line-b")
IDLE_S = "20"


def differline(*arguments: str) -> None:
    """Run a command of differline."""
    subprocess.run([sys.executable, "-m", "infra", *arguments], check=True)


def stream(folder: Path, product: str) -> None:
    """Send every class in turns to the two cameras while a scorer runs."""
    scorer = subprocess.Popen(
        [sys.executable, "-m", "infra", "score", "--until-idle", IDLE_S], stderr=subprocess.DEVNULL
    )
    for place, name in enumerate(sorted(entry.name for entry in (folder / "test").iterdir())):
        camera = CAMERAS[place % len(CAMERAS)]
        differline(
            "ingest", "folder", str(folder / "test" / name), "--camera", camera, "--product", product, "--job", name
        )
    if scorer.wait():
        raise SystemExit(f"the scorer ended with exit code {scorer.returncode}")


def figures(database: sa.Engine) -> list[str]:
    """AUROC of all defects and of each class against good, and the share of each class that was flagged."""
    columns = (verdicts.c.job_id, verdicts.c.score, verdicts.c.state, verdicts.c.views)
    query = sa.select(*columns).where(verdicts.c.camera.in_(CAMERAS), verdicts.c.score.is_not(None))
    with database.connect() as connection:
        rows = list(connection.execute(query))
    classes = np.array([row.job_id for row in rows])
    scores = np.array([row.score for row in rows])
    flagged = np.array([row.state == "DEFECT" for row in rows])
    lines = ["| class | pictures | AUROC | flagged |", "| --- | --- | --- | --- |"]
    defects = [name for name in np.unique(classes) if name != "good"]
    for name, chosen in [("all defects", classes != "good"), *((name, classes == name) for name in defects)]:
        compared = chosen | (classes == "good")
        auroc = roc_auc_score(chosen[compared], scores[compared])
        lines.append(f"| {name} | {chosen.sum()} | {auroc:.3f} | {flagged[chosen].mean():.1%} |")
    good = classes == "good"
    lines.append(f"| good | {good.sum()} | | {flagged[good].mean():.1%} |")
    lines.append(f"\n{len(rows)} scored, {rows[0].views} views each")
    return lines


def main() -> None:
    """Print the ledger and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--product", default="tile")
    parser.add_argument("--trained", action="store_true", help="use the model in force")
    arguments = parser.parse_args()
    settings = load_settings()
    with running_engines(settings) as engines:
        if not arguments.trained:
            images = ("--images", str(arguments.folder / "train" / "good"))
            differline("train", "--product", arguments.product, *images, "--false-alarm-rate", "0.05")
        stream(arguments.folder, arguments.product)
        print(ledger_table(current_ledger(settings, engines)))
        database = open_database(engines.database_url)
        print("\n".join(figures(database)))
        database.dispose()


if __name__ == "__main__":
    main()
