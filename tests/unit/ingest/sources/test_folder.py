import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.frames import MAX_TEXT
from ingest.sources.folder import FolderSource

NOON = datetime(2025, 5, 5, 12, tzinfo=UTC)


def put(folder: Path, name: str, body: bytes = b"x") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def source(folder: Path, max_bytes: int = 1000) -> FolderSource:
    return FolderSource(folder, max_bytes=max_bytes, job_id="job-1", clock=lambda: NOON)


def test_pictures_come_sorted_by_path_with_their_part_ids(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/10.jpg", "a.jpeg", "c.jpg", "b/deep/er/1.jpg", "notes.txt", "jpg", "d.jpg.tmp"):
        put(tmp_path, name)
    assert [picture.part_id for picture in source(tmp_path)] == ["a", "b/10", "b/2", "b/deep/er/1", "c"]


def test_bytes_are_handed_on_as_they_are_even_broken_or_empty(tmp_path: Path) -> None:
    bodies = {"a.jpg": b"", "b.jpg": b"no picture\0\xff", "c.png": bytes(range(256))}
    for name, body in bodies.items():
        put(tmp_path, name, body)
    pictures = list(source(tmp_path))
    assert [picture.body for picture in pictures] == list(bodies.values())
    assert [picture.name for picture in pictures] == list(bodies)
    assert [picture.content_type for picture in pictures] == ["image/jpeg", "image/jpeg", "image/png"]
    assert {(picture.captured_at, picture.job_id, picture.simulated) for picture in pictures} == {(NOON, "job-1", None)}


def test_of_a_huge_file_only_so_much_is_read_that_it_is_seen_to_be_too_large(tmp_path: Path) -> None:
    put(tmp_path, "huge.png", b"x" * 5000)
    assert [len(picture.body) for picture in source(tmp_path, max_bytes=100)] == [101]


def test_a_long_path_keeps_its_end_which_tells_files_apart(tmp_path: Path) -> None:
    long = "/".join(["n" * 100] * 4)
    put(tmp_path, f"{long}/1.jpg")
    put(tmp_path, f"{long}/2.jpg")
    ids = [picture.part_id or "" for picture in source(tmp_path)]
    assert [len(part_id) for part_id in ids] == [MAX_TEXT, MAX_TEXT]
    assert [part_id[-2:] for part_id in ids] == ["/1", "/2"]


def test_a_name_that_is_not_utf8_still_has_a_part_id_that_can_be_sent(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    assert [picture.part_id for picture in source(tmp_path)] == ["caf\N{REPLACEMENT CHARACTER}"]


def test_a_pipe_named_like_a_picture_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    put(tmp_path, "real.jpg")
    assert [picture.part_id for picture in source(tmp_path)] == ["real"]


def test_a_file_that_cannot_be_read_is_counted_and_the_others_are_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        put(tmp_path, name)
    opened = Path.open

    def refuse(path: Path, *args: str) -> object:
        if path.name == "b.jpg":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args)

    monkeypatch.setattr(Path, "open", refuse)
    folder = source(tmp_path)
    assert [picture.part_id for picture in folder] == ["a", "c"]
    assert (folder.unreadable, folder.unreadable_names) == (1, ["b.jpg"])
