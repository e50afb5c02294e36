import pytest

from trainer.bars import progress_shown
from trainer.progress import Stage


def test_without_a_terminal_a_stage_tells_its_begin_quarters_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_shown() as progress:
        for done in (0, 16, 32, 48, 60):
            progress(Stage.FEATURES, done, 60)
        progress(Stage.FIT, 0, 1)
        progress(Stage.FIT, 1, 1, "loss 2.0")
    assert capsys.readouterr().err.splitlines() == [
        "features of the training views: 0 of 60",
        "features of the training views: 16 of 60",
        "features of the training views: 32 of 60",
        "features of the training views: 48 of 60",
        "features of the training views: 60 of 60",
        "fitting the flow, epochs: 0 of 1",
        "fitting the flow, epochs: 1 of 1 loss 2.0",
    ]
