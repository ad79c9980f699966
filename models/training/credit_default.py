"""Trains `credit-default`: the probability that a credit-card client misses next month's payment.

Writes a version folder for the registry and the figures of the table. README.md beside this file has the command.
"""

import argparse
import importlib.metadata
import platform
from pathlib import Path

import lightgbm
import numpy as np
import onnxruntime
import pandas as pd
from onnx import TensorProto, helper, numpy_helper
from sklearn.metrics import brier_score_loss, f1_score, log_loss, precision_score, recall_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split

from credit_default_card import CATEGORICAL, FEATURES, TARGET, card
from figures import describe, sample
from tree_ensemble import tree_ensemble_node
from version_folder import make_model, write_json, write_version

SEED = 20261121
FOLDS = 5
TREES = 150
PARAMETERS = {
    "objective": "binary",
    "learning_rate": 0.05,
    "max_depth": 4,
    "num_leaves": 15,
    "min_data_in_leaf": 100,
    "lambda_l2": 10.0,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "use_missing": False,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "seed": SEED,
    "verbose": -1,
}
STATUS, BILLS, PAYMENTS = slice(5, 11), slice(11, 17), slice(17, 23)


def derive(rows: np.ndarray) -> np.ndarray:
    """The 23 columns and 15 derived ones. Has to do in float32 exactly what `derive_nodes` does in the graph."""
    limit = np.maximum(rows[:, :1], np.float32(1))
    total = np.zeros_like(limit)
    for column in range(PAYMENTS.start, PAYMENTS.stop):
        total = total + rows[:, column : column + 1]
    worst = rows[:, STATUS].max(axis=1, keepdims=True)
    late = (rows[:, STATUS] > 0).sum(axis=1, keepdims=True, dtype=np.float32)
    return np.hstack([rows, rows[:, BILLS] / limit, rows[:, PAYMENTS] / limit, worst, late, total / limit])


def derive_nodes() -> tuple[list, list]:
    """Element-wise sums rather than ReduceSum over the payments: their order cannot depend on the batch size."""
    constants = [
        numpy_helper.from_array(np.array([1], np.int64), "columns"),
        numpy_helper.from_array(np.array([[0]], np.float32), "zero"),
        numpy_helper.from_array(np.array([[1]], np.float32), "one"),
    ]
    nodes = []
    for name, part in (("limit_raw", slice(0, 1)), ("status", STATUS), ("bills", BILLS), ("payments", PAYMENTS)):
        constants += [
            numpy_helper.from_array(np.array([part.start], np.int64), f"{name}_from"),
            numpy_helper.from_array(np.array([part.stop], np.int64), f"{name}_to"),
        ]
        nodes.append(helper.make_node("Slice", ["features", f"{name}_from", f"{name}_to", "columns"], [name]))
    months = [f"payment_{month}" for month in range(6)]
    nodes += [
        helper.make_node("Max", ["limit_raw", "one"], ["limit"]),
        helper.make_node("Div", ["bills", "limit"], ["bills_of_limit"]),
        helper.make_node("Div", ["payments", "limit"], ["payments_of_limit"]),
        helper.make_node("ReduceMax", ["status"], ["worst"], axes=[1], keepdims=1),
        helper.make_node("Greater", ["status", "zero"], ["is_late"]),
        helper.make_node("Cast", ["is_late"], ["is_late_number"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["is_late_number", "columns"], ["late"], keepdims=1),
        helper.make_node("Split", ["payments"], months, axis=1),
        helper.make_node("Sum", months, ["total"]),
        helper.make_node("Div", ["total", "limit"], ["total_of_limit"]),
        helper.make_node(
            "Concat",
            ["features", "bills_of_limit", "payments_of_limit", "worst", "late", "total_of_limit"],
            ["derived"],
            axis=1,
        ),
    ]
    return nodes, constants


def export(booster: lightgbm.Booster):
    nodes, constants = derive_nodes()
    nodes += [
        tree_ensemble_node(booster, "derived", "score"),
        helper.make_node("Sigmoid", ["score"], ["column"]),
        helper.make_node("Squeeze", ["column", "columns"], ["probability"]),
    ]
    return make_model("credit-default", nodes, constants, "features", len(FEATURES), "probability")


def train(rows: np.ndarray, target: np.ndarray) -> lightgbm.Booster:
    return lightgbm.train(PARAMETERS, lightgbm.Dataset(derive(rows), target), TREES)


def cross_validate(rows: np.ndarray, target: np.ndarray) -> tuple[dict, np.ndarray]:
    """Figures over the folds, and every row's prediction by the model that did not see it."""
    unseen = np.empty(len(rows))
    figures = {"auc": [], "log_loss": [], "brier": [], "calibration_error": []}
    tables = []
    for seen, held_out in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(rows, target):
        unseen[held_out] = train(rows[seen], target[seen]).predict(derive(rows[held_out]))
        for name, value in quality(target[held_out], unseen[held_out]).items():
            figures[name].append(value)
        tables.append(calibration(target[held_out], unseen[held_out]))
    mean, deviation = np.mean(tables, axis=0), np.std(tables, axis=0, ddof=1)
    table = [
        {
            "decile": decile + 1,
            "predicted": spread(mean[decile, 0], deviation[decile, 0]),
            "observed": spread(mean[decile, 1], deviation[decile, 1]),
        }
        for decile in range(10)
    ]
    summary = {name: spread(np.mean(values), np.std(values, ddof=1)) for name, values in figures.items()}
    return {"folds": FOLDS, "rows": len(rows), **summary, "calibration": table}, unseen


def quality(target: np.ndarray, predicted: np.ndarray) -> dict:
    table = calibration(target, predicted)
    return {
        "auc": roc_auc_score(target, predicted),
        "log_loss": log_loss(target, predicted),
        "brier": brier_score_loss(target, predicted),
        "calibration_error": float(np.abs(table[:, 0] - table[:, 1]).mean()),
    }


def calibration(target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """[10, 2]: mean prediction and observed rate in each tenth of the rows, ordered by prediction."""
    tenths = np.array_split(np.argsort(predicted, kind="stable"), 10)
    return np.array([[predicted[tenth].mean(), target[tenth].mean()] for tenth in tenths])


def spread(mean: float, deviation: float) -> dict:
    return {"mean": round(float(mean), 4), "sd": round(float(deviation), 4)}


def best_threshold(target: np.ndarray, predicted: np.ndarray) -> float:
    candidates = np.round(np.arange(0.1, 0.6, 0.01), 2)
    return float(max(candidates, key=lambda threshold: f1_score(target, predicted >= threshold)))


def golden_rows(figures: dict) -> np.ndarray:
    """Rows that are nobody's: 48 drawn from the figures, then corners and the undocumented codes."""
    random = np.random.default_rng(SEED)
    drawn = sample(figures, 62, random).astype(np.float32)
    corners = drawn[48:]
    column = {name: index for index, name in enumerate(FEATURES)}
    for row, education in zip(corners[:4], (0, 4, 5, 6)):
        row[column["EDUCATION"]] = education
    corners[4, column["MARRIAGE"]] = 0
    corners[5, STATUS] = 8
    corners[6, STATUS] = -2
    corners[7, column["AGE"]], corners[8, column["AGE"]] = 21, 75
    corners[9, 0], corners[10, 0] = 10_000, 1_000_000
    corners[11, BILLS], corners[11, PAYMENTS] = -150_000, 0
    corners[12, BILLS], corners[12, PAYMENTS] = 900_000, 800_000
    corners[13, BILLS], corners[13, PAYMENTS] = 0, 0
    values = [column.get("quantiles") or [float(code) for code in column["frequencies"]] for column in figures["columns"]]
    ends = [[column[0] for column in values], [column[-1] for column in values]]
    return np.vstack([drawn, np.array(ends, np.float32)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the UCI table as CSV")
    parser.add_argument("--out", type=Path, required=True, help="the version folder to write")
    parser.add_argument("--figures", type=Path, required=True, help="the figures file to write")
    options = parser.parse_args()

    table = pd.read_csv(options.data)
    rows, target = table[FEATURES].to_numpy(np.float32), table[TARGET].to_numpy()
    seen_rows, held_rows, seen, held = train_test_split(rows, target, test_size=0.2, stratify=target, random_state=SEED)

    cross_validation, unseen = cross_validate(seen_rows, seen)
    threshold = best_threshold(seen, unseen)
    booster = train(seen_rows, seen)
    predicted = booster.predict(derive(held_rows))
    labels = predicted >= threshold
    metrics = {
        "cross_validation": cross_validation,
        "hold_out": {"rows": len(held), **{name: round(value, 4) for name, value in quality(held, predicted).items()}}
        | {"precision": round(precision_score(held, labels), 4), "recall": round(recall_score(held, labels), 4)},
    }

    model = export(booster)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    difference = np.abs(session.run(None, {"features": held_rows})[0] - predicted).max()
    if difference > 1e-6:
        raise SystemExit(f"The exported graph differs from LightGBM by up to {difference} on the held-out rows.")

    figures = describe(table[FEATURES], CATEGORICAL, {"LIMIT_BAL": 10_000})
    golden = golden_rows(figures)
    training = {
        "script": f"models/training/{Path(__file__).name}",
        "algorithm": f"LightGBM, {TREES} trees of depth {PARAMETERS['max_depth']}",
        "seed": SEED,
        "parameters": PARAMETERS,
        "rows": len(seen),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("lightgbm", "scikit-learn", "numpy", "onnx")},
    }
    manifest = card(seen_rows, target, threshold) | {"metrics": metrics, "training": training}
    write_version(options.out, model, manifest, golden, booster.predict(derive(golden)))
    write_json(options.figures, figures)
    print(f"{metrics}\nthreshold {threshold}\nlargest difference of the export {difference:.1e}")


if __name__ == "__main__":
    main()
