"""How models and what is asked of the trainer are said; as in `dashboard.words`, only our own words are Markdown."""

from dashboard.words import Badge
from infra.objections import exact_interval
from infra.store.model_requests import ModelRequest
from infra.store.promotions import ModelRow
from infra.store.tables import FrameDecision, ModelState, PromotionKind, RequestKind, RequestOutcome, SecondSource

SHADOW_BADGE = Badge("in shadow", ":material/visibility:", "gray")
_STATES = {
    ModelState.IN_FORCE: Badge("in force", ":material/verified:", "blue"),
    ModelState.CANDIDATE: Badge("candidate", ":material/science:", "orange"),
    ModelState.RETIRED: Badge("retired", ":material/history:", "gray"),
}
_STATE_SIGNS = {ModelState.IN_FORCE: "● in force", ModelState.CANDIDATE: "○ candidate", ModelState.RETIRED: "– retired"}
_KINDS = {
    PromotionKind.FIRST: "the first on record",
    PromotionKind.TRAINED: "trained",
    PromotionKind.PROMOTED: "promoted",
    PromotionKind.FORCED: "promoted by force",
    PromotionKind.ROLLED_BACK: "rolled back",
}
_STAGES = {
    "scan": "reading pictures",
    "features": "features of the pictures",
    "fit": "fitting the flow",
    "local": "cells of the pictures",
    "defect_map": "fitting the defect map",
    "probe": "scoring pictures that nothing learned from",
    "evidence": "scoring synthetic defects",
    "adapt": "adapting the extractor",
    "calibration": "calibrating on held-out pictures",
    "heatmaps": "colour scale of the heatmaps",
    "challenge": "scoring challenge parts",
    "register": "registering the candidate",
}
_OUTCOMES = {RequestOutcome.DONE: "done", RequestOutcome.REFUSED: "refused", RequestOutcome.FAILED: "failed"}
_DECISIONS = {FrameDecision.RELEASED: "released", FrameDecision.REJECTED: "rejected", FrameDecision.OPEN: "open"}
_SOURCES = {SecondSource.SHADOW: "live, in shadow", SecondSource.REPLAY: "by replay"}


def state_badge(state: ModelState) -> Badge:
    """Return the badge of a model's state."""
    return _STATES[state]


def state_sign(model: ModelRow) -> str:
    """Say a model's state in a cell, with a sign."""
    return _STATE_SIGNS[model.state] + (", in shadow" if model.shadow else "")


def promotion_kind(kind: PromotionKind) -> str:
    """Say how a model came into force."""
    return _KINDS[kind]


def decision(made: FrameDecision) -> str:
    """Say what was decided about a picture."""
    return _DECISIONS[made]


def source(of: SecondSource) -> str:
    """Say how a model came to see a frame."""
    return _SOURCES[of]


def challenge(model: ModelRow) -> str:
    """Say how many challenge parts a model found, with the exact 95 % interval of the share."""
    if not model.challenge_parts or model.challenge_found is None:
        return "none shown"
    low, high = exact_interval(model.challenge_found, model.challenge_parts)
    return f"{model.challenge_found} of {model.challenge_parts} ({low:.0%} to {high:.0%})"


def asked(request: ModelRequest) -> str:
    """Say what is asked for."""
    return wanted(request.what, request.version) + (" by force" if request.force else "")


def wanted(what: RequestKind, version: int | None) -> str:
    """Say what may be asked for."""
    match what:
        case RequestKind.REFIT:
            return "Refit"
        case RequestKind.ROLLBACK:
            return f"Roll back version {version}"
        case RequestKind.SHADOW:
            return "End shadow" if version is None else f"Version {version} in shadow"
        case RequestKind.PROMOTE:
            return f"Promote version {version}"


def how_far(request: ModelRequest) -> str:
    """Say how far a request is, in a word or a few."""
    if request.outcome is not None:
        return _OUTCOMES[request.outcome]
    if request.cancelled_at is not None:
        return "cancelled"
    if request.taken_at is None:
        return "waits"
    return _STAGES.get(request.stage or "", "being done")
