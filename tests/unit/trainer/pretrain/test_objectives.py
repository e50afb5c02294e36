import pytest
import torch
import torchvision

from trainer.pretrain.objectives import cell_shares, novelty_loss, position_loss


@pytest.mark.parametrize("size_px", [112, 224])
def test_cells_are_the_positions_of_alexnets_last_feature_map(size_px: int) -> None:
    features = torchvision.models.alexnet(weights=None).features[:-1].eval()
    positions = features(torch.zeros(1, 3, size_px, size_px)).shape[2:]
    assert cell_shares(torch.zeros(1, size_px, size_px)).shape[1:] == positions


def test_the_cell_that_sees_a_defect_is_the_position_that_moves_most() -> None:
    torch.manual_seed(0)
    features = torchvision.models.alexnet(weights=None).features[:-1].eval()
    picture = torch.zeros(1, 3, 112, 112)
    for row, column in ((1, 1), (3, 2), (4, 4)):
        changed = torch.zeros(1, 112, 112)
        changed[:, 16 * row + 12 : 16 * row + 19, 16 * column + 12 : 16 * column + 19] = 1
        with torch.inference_mode():
            moved = (features(picture + 9 * changed[:, None]) - features(picture)).abs().sum(dim=1)
        assert cell_shares(changed)[0, row, column] == cell_shares(changed).max()
        assert moved[0, row, column] > 0.8 * moved.max()


def test_position_loss_is_low_where_defects_are_found_and_leaves_edges_out() -> None:
    changed = torch.zeros(1, 112, 112)
    changed[:, 40:56, 40:56] = 1
    share = cell_shares(changed)
    right = torch.where(share >= 0.03, 9.0, -9.0)
    assert position_loss(right, changed) < 0.01
    assert position_loss(-right, changed) > 5
    between = (share > 0) & (share < 0.03)
    faint = torch.zeros(1, 112, 112)
    faint[:, 40:42, 40:41] = 1
    assert ((cell_shares(faint) > 0) & (cell_shares(faint) < 0.03)).any()
    assert not between.any() or position_loss(right, changed) < 0.01
    assert position_loss(torch.where(cell_shares(faint) > 0, 9.0, -9.0), faint) < 0.01


def test_novelty_loss_wants_defects_far_and_good_ones_near() -> None:
    features = torch.randn(4, 8, 256, generator=torch.Generator().manual_seed(0))
    defective = torch.zeros(4, 8)
    defective[:, 6:] = 1
    far = features.clone()
    far[:, 6:] += 4
    near = features.clone()
    near[:, 4:6] += 4
    losses = [novelty_loss(moved, support=4, queries=2, defective=defective) for moved in (far, features, near)]
    assert losses[0] < losses[1] < losses[2]
    assert novelty_loss(near, 4, 2, torch.zeros(4, 8)) == 0  # nothing visible, nothing asked
