"""Cross-validated errors of regressions, each beside its baselines."""

import importlib.metadata
import platform
from collections.abc import Callable

import numpy as np
from sklearn.model_selection import KFold

# From the rows trained on and the rows held out, both as indices, to predictions for the latter.
Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]


def cross_validate(target: np.ndarray, folds: int, seed: int, predictors: dict[str, Predict]) -> dict:
    """Mean absolute error and root of the mean squared error of each predictor, mean and deviation over the same folds."""
    found = {name: {"mae": [], "rmse": []} for name in predictors}
    for seen, held in KFold(folds, shuffle=True, random_state=seed).split(target):
        for name, predict in predictors.items():
            difference = predict(seen, held) - target[held]
            found[name]["mae"].append(np.abs(difference).mean())
            found[name]["rmse"].append(np.sqrt((difference**2).mean()))
    return {
        name: {error: {"mean": significant(np.mean(values)), "sd": significant(np.std(values, ddof=1))} for error, values in both.items()}
        for name, both in found.items()
    }


def median_baseline(target: np.ndarray) -> Predict:
    return lambda seen, held: np.full(len(held), np.median(target[seen]))


def linear_baseline(columns: np.ndarray, target: np.ndarray) -> Predict:
    """Ordinary least squares with an intercept on `columns`, [rows, columns]."""
    design = np.column_stack([np.ones(len(columns)), columns])

    def predict(seen: np.ndarray, held: np.ndarray) -> np.ndarray:
        weights, *_ = np.linalg.lstsq(design[seen], target[seen], rcond=None)
        return design[held] @ weights

    return predict


def significant(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def versions() -> dict:
    """Of all that a trained model depends on."""
    libraries = ("lightgbm", "scikit-learn", "numpy", "onnx")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in libraries}
