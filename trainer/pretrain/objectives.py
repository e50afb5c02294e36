"""What the network is asked to learn, one function an objective; each returns a mean over what it looks at."""

import torch
from torch import Tensor
from torch.nn import functional as F

_CELL_PX, _STEP_PX, _FIRST_PX = 24, 16, 3  # what a position of the feature map before the last pooling sees best
COVERED = 0.03  # share of a cell from which on it counts as defective; less is neither
_SHARED = 0.5  # share of the spread over all programs in a program's own, which a few pictures estimate badly


def class_loss(logits: Tensor, programs: Tensor) -> Tensor:
    """Cross entropy of telling programs apart, labels smoothed."""
    return F.cross_entropy(logits, programs, label_smoothing=0.1)


def picture_loss(logits: Tensor, defective: Tensor) -> Tensor:
    """Cross entropy of finding out whether a picture has a defect."""
    return F.binary_cross_entropy_with_logits(logits, defective)


def position_loss(logits: Tensor, changed: Tensor) -> Tensor:
    """Cross entropy of finding where defects are; positions that see a defect's outermost edge are left out.

    Args:
        logits: (N, s, s) float32.
        changed: (N, S, S) float32, 1 where a picture was changed.
    """
    return cell_loss(logits, cell_shares(changed))


def cell_loss(logits: Tensor, share: Tensor) -> Tensor:
    """Cross entropy of finding the cells of which a share was changed; those with less than counts are left out.

    Args:
        logits: (N, s, s) float32.
        share: (N, s, s) float32, in [0, 1].
    """
    target, weight = (share >= COVERED).float(), ((share >= COVERED) | (share == 0)).float()
    rare = torch.where(target > 0, 4.0, 1.0)  # few positions show a defect
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (losses * weight * rare).sum() / (weight * rare).sum()


def cell_shares(changed: Tensor) -> Tensor:
    """Return which share of what each position sees was changed: (N, S, S) to (N, s, s)."""
    return F.avg_pool2d(changed[:, None, _FIRST_PX:, _FIRST_PX:], _CELL_PX, _STEP_PX)[:, 0]


def novelty_loss(features: Tensor, support: int, queries: int, defective: Tensor) -> Tensor:
    """Ask that a defective picture lies farther from its program's support than a defect-free query does.

    This is the detector's own task in miniature: distance from the mean of known good pictures, in units of their spread.

    Args:
        features: (P, K, 256) float32: support, then defect-free queries, then pictures with a defect.
        support: Pictures of the support.
        queries: Defect-free queries.
        defective: (P, K) float32, 1 where a picture does have a visible defect.
    """
    known, asked = features[:, :support], features[:, support:]
    middle = known.mean(dim=1, keepdim=True)
    own = (known - middle).square().sum(dim=1, keepdim=True) / (support - 1)
    spread = _SHARED * own.mean(dim=0, keepdim=True) + (1 - _SHARED) * own
    distance = ((asked - middle).square() / (spread + 1e-4)).mean(dim=2).clamp_min(1e-6).log()
    good, bad = distance[:, :queries], distance[:, queries:]
    pairs = F.softplus(2.0 * (good[:, :, None] - bad[:, None, :] + 0.5))
    weight = defective[:, None, support + queries :].expand_as(pairs)
    return (pairs * weight).sum() / weight.sum().clamp_min(1.0)
