"""Verdicts found by frame, part, camera, verdict, score and time, in a real PostgreSQL with 100,000 of them."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from infra.engines import Engines
from infra.store import verdicts as verdict_store
from infra.store.search import Search, SearchKey, search_query, search_verdicts
from infra.store.tables import VerdictState, ensure_day_partitions
from infra.store.verdicts import Verdict

from .filled import filled_database
from .plans import plan_nodes, rows_read
from .test_verdict_queries import add_model

NOW = datetime(2026, 3, 3, 18, tzinfo=UTC)
FRAMES = 100_000

# Four cameras over two days, and one that was silent since; of each part two frames. One frame in 50 is a DEFECT and one in
# 500 has no verdict, some with a score that is none; every hundredth time is that of the frame before.
_FILL = """
INSERT INTO verdicts (received_at, frame_id, result_id, topic, partition, bus_offset, camera, product, part_id, sha256,
                      captured_at, scored_at, state, reason, model_id, score, p_value, threshold, views)
SELECT :now - (n - CASE WHEN n % 100 = 99 THEN 1 ELSE 0 END) * interval '1.6 s', 'frame-' || n, 'result-' || n, 'frames', n % 4,
       n, CASE WHEN n > :frames - 10000 THEN 'silent' ELSE 'cam-' || n % 4 END, 'tile',
       CASE WHEN n % 10 <> 0 THEN 'MT-' || n / 2 END, repeat('0', 64), :now, :now,
       v.state, CASE v.state WHEN 'NO_VERDICT' THEN 'black' END, :model,
       CASE v.state WHEN 'DEFECT' THEN 30 + n % 7 WHEN 'GOOD' THEN 10 + n % 7
                    ELSE CASE WHEN n % 1000 = 8 THEN 'NaN'::double precision END END, 0.5, 20, 8
FROM generate_series(0, :frames - 1) AS n,
     LATERAL (SELECT CASE WHEN n % 50 = 7 THEN 'DEFECT' WHEN n % 500 = 8 THEN 'NO_VERDICT' ELSE 'GOOD' END AS state) AS v
"""


def fill(database: sa.Engine, frames: int) -> None:
    with database.begin() as connection:
        ensure_day_partitions(connection, (NOW - timedelta(days=6)).date(), 9)
        connection.execute(sa.text(_FILL), {"now": NOW, "model": add_model(connection), "frames": frames})
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE verdicts"))


@pytest.fixture(scope="module")
def filled(engines: Engines, template_database: str) -> Iterator[sa.Engine]:
    """A database with 100,000 verdicts, filled once; tests only read it."""
    with filled_database(engines, template_database, "test_search", NOW, partial(fill, frames=FRAMES)) as it:
        yield it


@pytest.fixture(scope="module")
def everything(filled: sa.Engine) -> list[Verdict]:
    """All of it, in the order in which it is found; read without a search."""
    query = sa.select(*verdict_store.verdict_columns()).select_from(
        verdict_store.verdicts.join(verdict_store.models, sa.text("models.id = model_id"))
    )
    with filled.connect() as connection:
        rows = [verdict_store.verdict_from_row(row) for row in connection.execute(query).mappings()]
    return sorted(rows, key=lambda one: (one.received_at, one.camera, one.frame_id), reverse=True)


def fits(search: Search, one: Verdict) -> bool:
    scored = one.score is not None and one.state is not VerdictState.NO_VERDICT
    score = one.score or 0.0
    return (
        search.frame_id in (None, one.frame_id)
        and search.part_id in (None, one.part_id)
        and search.camera in (None, one.camera)
        and search.state in (None, one.state)
        and (search.since is None or one.received_at >= search.since)
        and (search.until is None or one.received_at < search.until)
        and (search.least_score is None or (scored and score >= search.least_score))
        and (search.most_score is None or (scored and score <= search.most_score))
    )


def names(found: list[Verdict] | tuple[Verdict, ...]) -> list[tuple[str, str]]:
    return [(one.camera, one.frame_id) for one in found]


def pages(database: sa.Engine, search: Search, limit: int, look_through: int = 20_000) -> Iterator[tuple[Verdict, ...]]:
    after: SearchKey | None = None
    for _ in range(1000):
        found = search_verdicts(database, search, after=after, limit=limit, most_looked_through=look_through)
        yield found.verdicts
        if (after := found.more) is None:
            return
    pytest.fail("a search without an end")


HOUR = timedelta(hours=1)
SEARCHES = {
    "frame": Search(frame_id="frame-57"),
    "frame of another camera": Search(frame_id="frame-57", camera="cam-2"),
    "part": Search(part_id="MT-4003"),
    "part and verdict": Search(part_id="MT-4003", state=VerdictState.DEFECT),
    "defects": Search(state=VerdictState.DEFECT, until=NOW - 40 * HOUR),
    "no verdict": Search(state=VerdictState.NO_VERDICT),
    "defects of a camera": Search(state=VerdictState.DEFECT, camera="cam-1", least_score=35.0),
    "good of a camera": Search(state=VerdictState.GOOD, camera="cam-1", since=NOW - HOUR, until=NOW - HOUR / 2),
    "silent camera": Search(camera="silent"),
    "nobody's": Search(camera="nobody's"),
    "an hour": Search(since=NOW - HOUR, until=NOW),
    "the newest left out": Search(since=NOW - HOUR / 60, until=NOW),
    "scores": Search(since=NOW - HOUR, least_score=16.0, most_score=31.0),
    "score of no verdict": Search(state=VerdictState.NO_VERDICT, most_score=1e9),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_finds_what_fits_newest_first_page_by_page(
    filled: sa.Engine, everything: list[Verdict], name: str
) -> None:
    search = SEARCHES[name]
    expected = [one for one in everything if fits(search, one)]
    found = [one for page in pages(filled, search, limit=50) for one in page]
    assert names(found) == names(expected)
    assert bool(expected) is (name not in ("frame of another camera", "nobody's", "score of no verdict"))


def test_pages_of_any_length_and_any_look_hold_each_verdict_once(filled: sa.Engine, everything: list[Verdict]) -> None:
    search = Search(since=NOW - HOUR / 4, until=NOW, camera="cam-3")
    expected = names([one for one in everything if fits(search, one)])
    chance = random.Random(3)
    for _ in range(6):
        limit, look = chance.randint(1, 9), chance.randint(1, 12)
        found = [each for page in pages(filled, search, limit, look) for each in names(page)]
        assert found == expected, (limit, look)


def test_a_search_that_finds_nothing_says_how_far_it_went(filled: sa.Engine) -> None:
    found = search_verdicts(filled, Search(least_score=1e9), most_looked_through=500)
    assert (found.verdicts, found.gave_up) == ((), True)
    assert found.more is not None
    assert NOW - found.more.received_at == timedelta(seconds=499 * 1.6) - timedelta(
        seconds=1.6
    )  # 499 has the time of 498
    whole = search_verdicts(filled, Search(least_score=1e9, since=NOW - HOUR), most_looked_through=5000)
    assert (whole.verdicts, whole.more, whole.gave_up) == ((), None, False)
    full = search_verdicts(filled, Search(), limit=50, most_looked_through=50)
    assert (len(full.verdicts), full.gave_up) == (50, True)
    assert full.more is not None
    assert full.more.frame_id == full.verdicts[-1].frame_id


@pytest.mark.parametrize(
    ("search", "most"),
    [
        (Search(frame_id="frame-50000"), 10),
        (Search(part_id="MT-4003"), 10),
        (Search(part_id="no such part"), 10),
        (Search(camera="silent"), 150),
        (Search(camera="nobody's"), 10),
        (Search(camera="cam-2"), 150),
        (Search(camera="cam-2", least_score=1e9), 2 * 1000 + 10),
        (Search(state=VerdictState.NO_VERDICT), 700),  # one in ten that are not good
        (Search(state=VerdictState.DEFECT, until=NOW - 30 * HOUR), 150),
        (Search(since=NOW - 20 * HOUR), 150),
        (Search(least_score=1e9), 2 * 1000 + 10),
        (Search(), 150),
    ],
)
def test_no_search_reads_much_more_than_it_may_look_through(filled: sa.Engine, search: Search, most: int) -> None:
    first = search_verdicts(filled, search, limit=50, most_looked_through=1000)
    for after in {None, first.more}:
        nodes = list(plan_nodes(filled, search_query(search, after, 50, 1000)))
        scans = [node for node in nodes if node.get("Relation Name", "").startswith("verdicts")]
        assert scans
        assert sum(rows_read(node) for node in scans) <= most, [(node["Node Type"], rows_read(node)) for node in scans]
        assert "Seq Scan" not in {scan["Node Type"] for scan in scans if rows_read(scan)}


BAD = {
    "frame id": [Search(frame_id="a\0b"), Search(frame_id="x" * 10_000), Search(frame_id="\udce4")],
    "part id": [Search(part_id="x" * 10_000), Search(part_id="\0")],
    "camera": [Search(camera="\0")],
    "time range": [Search(since=NOW, until=NOW), Search(since=NOW, until=NOW - HOUR)],
    "score": [Search(least_score=2.0, most_score=1.0), Search(least_score=float("nan"))],
}


@pytest.mark.parametrize(("said", "search"), [(said, each) for said, all_of in BAD.items() for each in all_of])
def test_what_cannot_be_searched_for_is_said(filled: sa.Engine, said: str, search: Search) -> None:
    with pytest.raises(ValueError, match=said):
        search_verdicts(filled, search)


def test_the_longest_text_and_infinite_limits_are_searched_for(filled: sa.Engine) -> None:
    assert search_verdicts(filled, Search(part_id="x" * 500)).verdicts == ()
    assert search_verdicts(filled, Search(frame_id="ä" * 500)).verdicts == ()
    assert (
        len(search_verdicts(filled, Search(least_score=float("-inf"), most_score=float("inf")), limit=9).verdicts) == 9
    )


@pytest.mark.parametrize("number", [0, 4, 400, 498, 50_002, FRAMES - 1])
def test_the_frames_before_and_after_are_those_of_the_camera(
    filled: sa.Engine, everything: list[Verdict], number: int
) -> None:
    one = next(each for each in everything if each.frame_id == f"frame-{number}")
    of_camera = [each for each in everything[::-1] if each.camera == one.camera]
    place = of_camera.index(one)
    expected = [*of_camera[max(0, place - 3) : place], *of_camera[place + 1 : place + 4]]
    assert names(verdict_store.neighbours(filled, one.camera, one.frame_id, one.received_at, 3)) == names(expected)


def test_frames_of_one_moment_have_an_order_too(database: sa.Engine) -> None:
    fill(database, 40)
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE verdicts SET received_at = :now, camera = 'cam'"), {"now": NOW})
    found = verdict_store.neighbours(database, "cam", "frame-20", NOW, 2)
    ids = sorted(f"frame-{n}" for n in range(40))
    place = ids.index("frame-20")
    assert [one.frame_id for one in found] == [*ids[place - 2 : place], *ids[place + 1 : place + 3]]
    assert verdict_store.neighbours(database, "other", "frame-20", NOW, 2) == []


def test_neighbours_cost_a_few_steps(filled: sa.Engine) -> None:
    for camera in ("cam-1", "silent", "nobody's"):
        for later in (False, True):
            query = verdict_store.neighbours_query(camera, "frame-5", NOW - 8 * HOUR, 3, later=later)
            scans = [node for node in plan_nodes(filled, query) if node.get("Relation Name", "").startswith("verdicts")]
            assert sum(map(rows_read, scans)) <= 30, camera


def test_a_camera_next_to_each_other_by_name_is_another_one(filled: sa.Engine) -> None:
    assert names(search_verdicts(filled, Search(camera="cam-"), limit=9).verdicts) == []
