from infra.errors import PeerAwayError
from infra.outputs.window import Window
from infra.store.outbox import DeadLetter, OutboxKey, OutboxRow

BEGIN = OutboxKey(1, 0)


def rows(*cameras: str, first: int = 1) -> list[OutboxRow]:
    return [
        OutboxRow(OutboxKey(1, number), DeadLetter(None, "", 0, 0, "", camera, "", "", b"", None))  # type: ignore[arg-type]
        for number, camera in enumerate(cameras, first)
    ]


def ids(found: list[OutboxRow]) -> list[int]:
    return [row.key.id for row in found]


def test_of_each_camera_one_goes_at_a_time_and_in_order() -> None:
    window = Window(BEGIN)
    window.fill(rows("a", "b", "a", "a"))
    assert ids(window.heads()) == [1, 2]
    window.settle(window.heads()[0])
    assert ids(window.heads()) == [3, 2] or ids(window.heads()) == [2, 3]


def test_it_has_passed_only_what_lies_before_the_first_that_is_not_settled() -> None:
    window = Window(BEGIN)
    first, second, third = rows("a", "b", "c")
    window.fill([first, second, third])
    window.settle(third)
    assert (window.passed, window.oldest, len(window)) == (BEGIN, first, 3)
    window.settle(first)
    assert (window.passed, window.oldest, len(window)) == (first.key, second, 2)
    window.settle(second)
    assert (window.passed, window.oldest, len(window)) == (third.key, None, 0)


def test_a_held_camera_waits_until_it_is_released_and_keeps_its_place() -> None:
    window = Window(BEGIN)
    window.fill(rows("a", "b", "a"))
    first, second = window.heads()
    away = PeerAwayError("away")
    window.hold(first, away)
    assert ids(window.heads()) == [2]
    window.settle(second)
    window.fill(rows("b", "a", first=4))
    assert (ids(window.heads()), window.end, window.passed) == ([4], OutboxKey(1, 5), BEGIN)
    assert window.release() is away
    assert window.release() is None
    assert sorted(ids(window.heads())) == [1, 4]
