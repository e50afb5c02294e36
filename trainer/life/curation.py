"""Decisions about pictures, in and out: as CSV, and as folders in the layout of MVTec AD.

A picture is decided about by its SHA-256 and must lie in the archive. Frames of the line lie there already, where they were
kept; pictures of a folder are put there as they are imported.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from infra.archive import Archive, reference_of
from infra.errors import BadFrameError, CurationError
from infra.frames import sha256_hex
from infra.pictures import decode, picture_files
from infra.spreadsheet import cell, text_of
from infra.store.curation import (
    RULE_PREFIX,
    Decision,
    KeptFrame,
    NewDecision,
    decide,
    kept_frames,
    newest_decisions,
    open_frames,
    products_of_pictures,
)
from infra.store.tables import FrameDecision
from trainer.groups import read_names
from trainer.images import PictureSet, StoredPicture

GOOD = "good"
CHALLENGE_CLASS = "challenge"
_FRAME_COLUMNS = ("camera", "frame_id", "part_id", "run", "state", "score", "p_value")
_COLUMNS = ("product", "sha256", "decision", "challenge", "who", "reason", "decided_at", *_FRAME_COLUMNS, "received_at")
_PNG = b"\x89PNG"


@dataclass(frozen=True)
class Imported:
    """What became of an import.

    Attributes:
        recorded: Decisions that were put on record.
        unchanged: Pictures that had that decision already.
        repeated: Pictures that came more than once.
        skipped: Files that are no pictures, with the reason of each.
    """

    recorded: int
    unchanged: int
    repeated: int
    skipped: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it in a line or more."""
        head = f"{self.recorded} decisions put on record, {self.unchanged} pictures had them already"
        twice = f", {self.repeated} came more than once" if self.repeated else ""
        return "\n".join([head + twice, *(f"skipped {line}" for line in self.skipped)])


@dataclass
class Curator:
    """Decides about the pictures of one product, in one person's name.

    Attributes:
        database: Where decisions are.
        archive: Where pictures are.
        product: Of which product.
        who: Who decides.
        max_pixels: Largest width x height that is decoded.
    """

    database: sa.Engine
    archive: Archive
    product: str
    who: str
    max_pixels: int

    def import_folder(self, folder: Path, runs: Path | None = None) -> Imported:
        """Take a folder in the layout of MVTec AD: `train/good` and `test/good` are released, `test/CLASS` are challenge parts.

        Without any of these the pictures right in the folder, and below it, are released.

        Args:
            folder: Where to look; `ground_truth` is left alone.
            runs: CSV with a header and two columns, file and production run; a file is named by itself or by its path.

        Raises:
            CurationError: No pictures, the same picture in two classes, or seen by the line for other products only.
            TrainingSetError: The CSV is not what it should be.
            ArchiveAwayError: The archive does not answer.
        """
        run_of = read_names(runs) if runs else {}
        made: list[NewDecision] = []
        skipped: list[str] = []
        for path in self._pictures_in(folder):
            inside = path.relative_to(folder).as_posix()
            data = path.read_bytes()
            try:
                decode(data, self.max_pixels)
            except BadFrameError as error:
                skipped.append(f"{inside}: {error}")
                continue
            kind = inside.split("/")[1] if inside.startswith("test/") else GOOD
            run = run_of.get(inside, run_of.get(path.name))
            made.append(self._of_file(data, kind, inside, run))
        self._refuse_other_products([each.sha256 for each in made])
        return self._record(made, tuple(skipped))

    def release_training(self, pictures: PictureSet) -> Imported:
        """Keep the pictures that a person learns a product from, as released: a refit learns from them too.

        Raises:
            CurationError: A picture was rejected, or is of another product.
            ArchiveAwayError: The archive does not answer.
        """
        files = [picture for picture in pictures.pictures if isinstance(picture, StoredPicture)]
        known = newest_decisions(self.database, self.product, [picture.sha256 for picture in files])
        if rejected := [each for each in known if each.decision is FrameDecision.REJECTED]:
            first = rejected[0]
            raise CurationError(
                f"{len(rejected)} of these pictures were rejected, first {first.sha256} by {first.who}: {first.reason}"
            )
        self._refuse_other_products([picture.sha256 for picture in files])
        made = [self._of_file(each.path.read_bytes(), GOOD, each.path.name, each.run) for each in files]
        return self._record(made)

    def import_csv(self, file: Path) -> Imported:
        """Take decisions from a CSV with the columns `sha256` (or `camera` and `frame_id`), `decision` and `reason`.

        The columns `product`, `challenge` and `run` are taken too, where they are there; others are left alone.

        Raises:
            CurationError: A row is not what it should be; nothing was put on record.
            ArchiveAwayError: The archive does not answer.
        """
        rows = _read_csv(file)
        frames = kept_frames(self.database, self.product)
        by_name = {(frame.camera, frame.frame_id): frame for frame in frames}
        by_hash = {frame.sha256: frame for frame in frames}
        made = []
        for number, row in enumerate(rows, start=2):
            where = f"{file}, line {number}"
            made.append(self._of_row(row, where, by_name, by_hash))
        self._refuse_other_products([each.sha256 for each in made])
        return self._record(made)

    def set(self, sha256: Sequence[str], decision: FrameDecision, reason: str, *, challenge: bool = False) -> Imported:
        """Decide about pictures by their hashes.

        Raises:
            CurationError: A picture is not kept, or the reason is missing.
        """
        if not reason.strip():
            raise CurationError("a decision needs a reason: it stays on record")
        kept = {frame.sha256: frame for frame in kept_frames(self.database, self.product, sha256)}
        made = [
            self._new(each, decision, reason, kept.get(each), challenge=challenge, where=f"{each}") for each in sha256
        ]
        self._refuse_other_products(sha256)
        return self._record(made)

    def release_by_rule(self, least_p_value: float, quarantine: float) -> tuple[Imported, int]:
        """Release the open frames that a model found good and whose p-value is high enough; never a quarantined one.

        Args:
            least_p_value: What a frame's p-value must reach.
            quarantine: Below it only a person may release.

        Returns:
            What became of it, and how many frames stay open in quarantine.

        Raises:
            CurationError: The rule would release quarantined frames.
        """
        if least_p_value < quarantine:
            raise CurationError(
                f"frames with a p-value below {quarantine:g} are in quarantine: a rule cannot release from {least_p_value:g} on"
            )
        rule = f"{RULE_PREFIX}GOOD with a p-value of {least_p_value:g} or more"
        frames = open_frames(self.database, self.product)
        taken = [f for f in frames if not f.quarantined(quarantine) and (f.p_value or 0.0) >= least_p_value]
        made = [self._new(f.sha256, FrameDecision.RELEASED, rule, f, where=f.sha256) for f in taken]
        return self._record(made), sum(frame.quarantined(quarantine) for frame in frames)

    def counts(self, quarantine: float) -> list[str]:
        """Say how many pictures are released, rejected, challenge parts and open, a line each."""
        decided = newest_decisions(self.database, self.product)
        states = Counter(each.decision for each in decided)
        waiting = open_frames(self.database, self.product)
        quarantined = sum(frame.quarantined(quarantine) for frame in waiting)
        return [
            f"{states[FrameDecision.RELEASED]} released",
            f"{states[FrameDecision.REJECTED]} rejected, {sum(each.challenge for each in decided)} of them challenge parts",
            f"{len(waiting)} open, {quarantined} of them in quarantine: a p-value below {quarantine:g}, or not GOOD",
        ]

    def export_csv(self, file: Path) -> int:
        """Write every kept frame and every decided picture, a row each, with the newest decision; open ones say `open`.

        Returns:
            How many rows.
        """
        decided = {each.sha256: each for each in newest_decisions(self.database, self.product)}
        kept = {frame.sha256: frame for frame in kept_frames(self.database, self.product)}
        with file.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, _COLUMNS)
            writer.writeheader()
            for sha256 in [*decided, *(each for each in kept if each not in decided)]:
                writer.writerow(_row(self.product, sha256, decided.get(sha256), kept.get(sha256)))
        return len(decided.keys() | kept.keys())

    def export_folder(self, folder: Path) -> Counter[str]:
        """Write the pictures in the layout of MVTec AD, and `decisions.csv` beside them.

        Released ones go to `train/good`, rejected ones to `test/rejected`, challenge parts to `test/challenge`.

        Returns:
            How many pictures went where.

        Raises:
            CurationError: The folder is not empty, or a picture is gone or altered.
        """
        if folder.exists() and any(folder.iterdir()):
            raise CurationError(f"{folder} is not empty")
        counts: Counter[str] = Counter()
        for each in newest_decisions(self.database, self.product):
            place = _place(each)
            if place is None:
                continue
            try:
                data = self.archive.read(reference_of(each.sha256))
            except FileNotFoundError as error:
                raise CurationError(f"{each.sha256}: gone from the archive, or altered: {error}") from error
            (folder / place).mkdir(parents=True, exist_ok=True)
            suffix = ".png" if data.startswith(_PNG) else ".jpg"
            (folder / place / (each.sha256 + suffix)).write_bytes(data)
            counts[place] += 1
        folder.mkdir(parents=True, exist_ok=True)
        self.export_csv(folder / "decisions.csv")
        return counts

    def _pictures_in(self, folder: Path) -> list[Path]:
        if not folder.is_dir():
            raise CurationError(f"{folder} is not a folder")
        in_layout = (folder / "train").is_dir() or (folder / "test").is_dir()
        parts = [folder / "train" / GOOD, folder / "test"] if in_layout else [folder]
        paths = [path for part in parts if part.is_dir() for path in picture_files(part)]
        if not paths:
            raise CurationError(f"{folder} holds no JPEG or PNG pictures")
        return paths

    def _of_file(self, data: bytes, kind: str, inside: str, run: str | None) -> NewDecision:
        self.archive.write(data)
        decision = FrameDecision.RELEASED if kind == GOOD else FrameDecision.REJECTED
        challenge = decision is FrameDecision.REJECTED
        reason = f"imported as {inside}"
        return NewDecision(self.product, sha256_hex(data), decision, self.who, reason, run=run, challenge=challenge)

    def _of_row(
        self,
        row: dict[str, str],
        where: str,
        by_name: dict[tuple[str, str], KeptFrame],
        by_hash: dict[str, KeptFrame],
    ) -> NewDecision:
        if row.get("product") not in (None, "", self.product):
            raise CurationError(f"{where}: it is about {row['product']}, not {self.product}")
        frame = by_name.get((row.get("camera", ""), row.get("frame_id", "")))
        sha256 = row.get("sha256") or (frame.sha256 if frame else "")
        if not sha256:
            raise CurationError(
                f"{where}: neither a sha256 nor the camera and frame_id of a kept frame of {self.product}"
            )
        if not row.get("reason", "").strip():
            raise CurationError(f"{where}: a decision needs a reason")
        try:
            decision = FrameDecision(row.get("decision", ""))
        except ValueError:
            known = ", ".join(FrameDecision)
            raise CurationError(f"{where}: a decision is one of {known}, not {row.get('decision')!r}") from None
        challenge = row.get("challenge", "").strip().lower() in ("1", "true", "yes")
        kept = by_hash.get(sha256)
        made = self._new(sha256, decision, row["reason"].strip(), kept, challenge=challenge, where=where)
        return made if kept or not row.get("run") else replace(made, run=row["run"])

    def _new(
        self,
        sha256: str,
        decision: FrameDecision,
        reason: str,
        frame: KeptFrame | None,
        *,
        challenge: bool = False,
        where: str,
    ) -> NewDecision:
        if challenge and decision is not FrameDecision.REJECTED:
            raise CurationError(f"{where}: a challenge part is a rejected one")
        if frame is None and not self.archive.holds(reference_of(sha256)):
            raise CurationError(f"{where}: the archive has no picture {sha256[:80]!r}")
        made = NewDecision(self.product, sha256, decision, self.who, reason, challenge=challenge)
        if frame is None:
            return made
        return replace(made, camera=frame.camera, frame_id=frame.frame_id, run=frame.run)

    def _refuse_other_products(self, sha256: Iterable[str]) -> None:
        """A picture that the line took for other products only would teach this one something wrong."""
        for picture, seen in products_of_pictures(self.database, list(sha256)).items():
            if self.product not in seen:
                raise CurationError(f"{picture} is a frame of {', '.join(sorted(seen))}, not of {self.product}")

    def _record(self, made: Sequence[NewDecision], skipped: tuple[str, ...] = ()) -> Imported:
        pictures = len({each.sha256 for each in made})
        recorded = decide(self.database, made)
        return Imported(recorded, pictures - recorded, len(made) - pictures, skipped)


def _place(decision: Decision) -> str | None:
    if decision.decision is FrameDecision.RELEASED:
        return f"train/{GOOD}"
    if decision.decision is FrameDecision.OPEN:
        return None
    return f"test/{CHALLENGE_CLASS}" if decision.challenge else "test/rejected"


def _row(product: str, sha256: str, decision: Decision | None, frame: KeptFrame | None) -> dict[str, object]:
    row: dict[str, object] = {"product": product, "sha256": sha256, "decision": FrameDecision.OPEN, "challenge": "no"}
    if frame is not None:
        row |= {
            name: getattr(frame, name) for name in ("camera", "frame_id", "part_id", "run", "state", "score", "p_value")
        }
        row["received_at"] = frame.received_at.isoformat()
    if decision is not None:
        row |= {name: getattr(decision, name) for name in ("decision", "who", "reason")}
        row["decided_at"] = decision.decided_at.isoformat()
        row["challenge"] = "yes" if decision.challenge else "no"
        row["run"] = decision.run or row.get("run")
    return {name: cell(value) if type(value) is str else value for name, value in row.items()}


def _read_csv(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, strict=True)
            rows = [{name: text_of(value or "") for name, value in row.items() if name} for row in reader]
            columns = set(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CurationError(f"{file}: {error}") from error
    if not {"decision", "reason"} <= columns or not ({"sha256"} <= columns or {"camera", "frame_id"} <= columns):
        raise CurationError(f"{file} needs the columns sha256 (or camera and frame_id), decision and reason")
    return rows
