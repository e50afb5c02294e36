"""The paper's simple baselines on the flow's own features: nearest neighbour and one-class SVM."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from torch import Tensor

PCA_DIMENSIONS = 64
MAX_TRAINING_VIEWS = 20_000  # both grow with the square of it

BASELINES = ("one_nearest_neighbour", "one_class_svm")


def baseline_scores(bank: Tensor, test: Tensor, seed: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Score test pictures by each baseline: every view is scored by itself, and a picture by the mean over its views.

    The neighbour's distance is taken after PCA to 64 dimensions and z-scoring; the SVM sees z-scored features and has
    scikit-learn's defaults. Nothing is tuned. Source: section 4.1 of the paper.

    Args:
        bank: (N, V, 768) float32 features of training views; at most 20,000 views of them are used, drawn by seed.
        test: (M, W, 768) float32 features of test views.
        seed: Seed of the draw and of PCA.

    Yields:
        Name, and (M,) float64 scores, larger for less likely pictures.
    """
    training = bank.flatten(0, 1).numpy()
    if len(training) > MAX_TRAINING_VIEWS:
        training = training[np.random.default_rng(seed).choice(len(training), MAX_TRAINING_VIEWS, replace=False)]
    views = test.flatten(0, 1).numpy()
    for name, score in zip(BASELINES, (_nearest_neighbour, _one_class_svm), strict=True):
        yield name, score(training, views, seed).reshape(test.shape[:2]).mean(axis=1)


def _nearest_neighbour(training: NDArray[np.float32], views: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    dimensions = min(
        PCA_DIMENSIONS, len(training) - 1, training.shape[1]
    )  # centred views span no more: rounding would be scaled up
    reduction = make_pipeline(PCA(dimensions, random_state=seed), StandardScaler()).fit(training)
    neighbours = NearestNeighbors(n_neighbors=1).fit(reduction.transform(training))
    distances, _ = neighbours.kneighbors(reduction.transform(views))
    return np.asarray(distances[:, 0], dtype=np.float64)


def _one_class_svm(training: NDArray[np.float32], views: NDArray[np.float32], seed: int) -> NDArray[np.float64]:  # noqa: ARG001 - deterministic
    model = make_pipeline(StandardScaler(), OneClassSVM()).fit(training)
    return -np.asarray(model.decision_function(views), dtype=np.float64)
