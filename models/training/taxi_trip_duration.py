"""Trains `taxi-trip-duration`: how many minutes a taxi ride in Chicago takes.

Writes a version folder for the registry and the figures of the table. README.md beside this file has the command.
"""

import argparse
from pathlib import Path

import lightgbm
import numpy as np
import onnxruntime
import pandas as pd
from onnx import helper, numpy_helper
from sklearn.model_selection import KFold

from ride_figures import describe_rides, draw_rides
from regression import cross_validate, linear_baseline, median_baseline, versions
from taxi_trip_duration_card import card
from tree_ensemble import tree_ensemble_node
from version_folder import make_model, write_json, write_version

SEED = 20261121
FOLDS = 5
TREES = 300
PARAMETERS = {
    "objective": "regression",
    "learning_rate": 0.05,
    "max_depth": 7,
    "num_leaves": 31,
    "min_data_in_leaf": 30,
    "lambda_l2": 5.0,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "use_missing": False,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "seed": SEED,
    "verbose": -1,
}
# A meter that ran on over night says nothing of a ride: beyond two hours a duration counts as two hours in training.
LONGEST_MINUTES = 120
# A pair of areas has a code of its own from so many rides on; with fewer it is "other".
FEWEST_RIDES = 8
# The code of a pair is drawn towards that of "other" as by so many rides of average length.
PRIOR_RIDES = 10
# The meter's step. A shorter ride counts as one step where it is divided by.
SHORTEST_MILES = 0.1
# Each ride is seen again without its fare and without its miles, at this weight: either may be 0 in an event.
INCOMPLETE_WEIGHT = 0.1


def load(file: Path) -> pd.DataFrame:
    table = pd.read_csv(file)
    rides = table[(table.trip_miles > 0) & (table.trip_seconds > 0)].dropna(subset=["pickup_community_area", "dropoff_community_area"])
    rides = rides.reset_index(drop=True)
    areas = rides[["pickup_community_area", "dropoff_community_area"]].astype(int).astype(str)
    start = pd.to_datetime(rides.trip_start_timestamp, unit="s")
    return rides.assign(
        pair=areas.pickup_community_area + "-" + areas.dropoff_community_area,
        hour=start.dt.hour,
        day=(start.dt.day_of_week + 1) % 7 + 1,
        minutes=rides.trip_seconds / 60,
    )


def features(codes: np.ndarray, miles: np.ndarray, fares: np.ndarray, rides: pd.DataFrame) -> np.ndarray:
    """The model's inputs: what the pipeline's `features` makes of an event. Has to do the same."""
    weekend = rides.day.isin([1, 7])
    fare_per_mile = fares / np.maximum(miles, SHORTEST_MILES)
    return np.column_stack([codes, miles, fare_per_mile, rides.hour, rides.day, weekend]).astype(np.float32)


def derive(rows: np.ndarray) -> np.ndarray:
    """The inputs and the fare. Has to do in float32 exactly what `export` does in the graph."""
    fare = rows[:, 2:3] * np.maximum(rows[:, 1:2], np.float32(SHORTEST_MILES))
    return np.hstack([rows, fare])


def log_minutes(rides: pd.DataFrame) -> np.ndarray:
    return np.log(np.minimum(rides.minutes.to_numpy(), LONGEST_MINUTES))


def encode(rides: pd.DataFrame) -> tuple[dict[str, float], float]:
    """Typical minutes (geometric mean) of each frequent pair, smoothed, and of all rides."""
    logs = pd.Series(log_minutes(rides)).groupby(rides.pair.to_numpy()).agg(["sum", "size"])
    average = log_minutes(rides).mean()
    frequent = logs[logs["size"] >= FEWEST_RIDES]
    codes = np.exp((frequent["sum"] + PRIOR_RIDES * average) / (frequent["size"] + PRIOR_RIDES))
    return {pair: round(float(code), 3) for pair, code in codes.items()}, round(float(np.exp(average)), 3)


def codes_of(rides: pd.DataFrame, encoding: dict[str, float], other: float) -> np.ndarray:
    return rides.pair.map(encoding).fillna(other).to_numpy()


def codes_unseen(rides: pd.DataFrame) -> np.ndarray:
    """Each ride's code as made without it: a code that knows its own ride's duration would be trusted too much."""
    codes = np.empty(len(rides))
    for seen, held in KFold(FOLDS, shuffle=True, random_state=SEED).split(rides):
        codes[held] = codes_of(rides.iloc[held], *encode(rides.iloc[seen]))
    return codes


def train(rides: pd.DataFrame) -> lightgbm.Booster:
    codes, miles, fares = codes_unseen(rides), rides.trip_miles.to_numpy(), rides.fare.to_numpy()
    none = np.zeros(len(rides))
    rows = [features(codes, miles, fares, rides), features(codes, miles, none, rides), features(codes, none, fares, rides)]
    weights = np.repeat([1, INCOMPLETE_WEIGHT, INCOMPLETE_WEIGHT], len(rides))
    data = lightgbm.Dataset(derive(np.vstack(rows)), np.tile(log_minutes(rides), 3), weight=weights)
    return lightgbm.train(PARAMETERS, data, TREES)


def predict(booster: lightgbm.Booster, rows: np.ndarray) -> np.ndarray:
    return np.exp(booster.predict(derive(rows)))


def validate(rides: pd.DataFrame) -> dict:
    trained: dict[int, tuple] = {}

    def predictor(distort=lambda codes, miles, fares, other: (codes, miles, fares)):
        def predict_held(seen: np.ndarray, held: np.ndarray) -> np.ndarray:
            # The first row held out tells one fold from another.
            fold = int(held[0])
            if fold not in trained:
                trained[fold] = train(rides.iloc[seen].reset_index(drop=True)), *encode(rides.iloc[seen])
            booster, encoding, other = trained[fold]
            rest = rides.iloc[held]
            inputs = distort(codes_of(rest, encoding, other), rest.trip_miles.to_numpy(), rest.fare.to_numpy(), other)
            return predict(booster, features(*inputs, rest))

        return predict_held

    minutes = rides.minutes.to_numpy()
    miles = rides[["trip_miles"]].to_numpy()
    found = cross_validate(
        minutes,
        FOLDS,
        SEED,
        {
            "model": predictor(),
            "median": median_baseline(minutes),
            "linear_on_miles": linear_baseline(miles, minutes),
            "fare_is_0": predictor(lambda codes, miles, fares, other: (codes, miles, fares * 0)),
            "miles_are_0": predictor(lambda codes, miles, fares, other: (codes, miles * 0, fares)),
            "pair_is_other": predictor(lambda codes, miles, fares, other: (np.full(len(codes), other), miles, fares)),
        },
    )
    return {
        "folds": FOLDS,
        "rows": len(rides),
        "unit": "minutes",
        **found["model"],
        "baselines": {name: found[name] for name in ("median", "linear_on_miles")},
        "odd_inputs": {name: found[name] for name in ("fare_is_0", "miles_are_0", "pair_is_other")},
    }


def export(booster: lightgbm.Booster):
    constants = [
        numpy_helper.from_array(np.array([1], np.int64), "one"),
        numpy_helper.from_array(np.array([2], np.int64), "two"),
        numpy_helper.from_array(np.array([3], np.int64), "three"),
        numpy_helper.from_array(np.array([[SHORTEST_MILES]], np.float32), "shortest"),
    ]
    nodes = [
        helper.make_node("Slice", ["features", "one", "two", "one"], ["miles"]),
        helper.make_node("Slice", ["features", "two", "three", "one"], ["fare_per_mile"]),
        helper.make_node("Max", ["miles", "shortest"], ["divisor"]),
        helper.make_node("Mul", ["fare_per_mile", "divisor"], ["fare"]),
        helper.make_node("Concat", ["features", "fare"], ["derived"], axis=1),
        tree_ensemble_node(booster, "derived", "log_minutes"),
        helper.make_node("Exp", ["log_minutes"], ["column"]),
        helper.make_node("Squeeze", ["column", "one"], ["minutes"]),
    ]
    return make_model("taxi-trip-duration", nodes, constants, "features", 6, "minutes")


def golden_rows(figures: dict, encoding: dict[str, float], other: float) -> np.ndarray:
    """Rides that are nobody's: 58 drawn from the figures, then corners."""
    drawn = draw_rides(figures, 58, np.random.default_rng(SEED))
    rows = features(codes_of(drawn, encoding, other), drawn.trip_miles.to_numpy(), drawn.fare.to_numpy(), drawn)
    corners = [
        [other, 0, 0, 0, 1, 1],
        [other, 0, 70, 12, 4, 0],
        [other, 1000, 10, 23, 7, 1],
        [min(encoding.values()), 0.5, 0, 5, 2, 0],
        [max(encoding.values()), 20, 2.2, 17, 6, 0],
        [other, 0.01, 100_000, 3, 3, 0],
    ]
    return np.vstack([rows, np.array(corners, np.float32)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the taxi trips as CSV")
    parser.add_argument("--out", type=Path, required=True, help="the version folder to write")
    parser.add_argument("--figures", type=Path, required=True, help="the figures file to write")
    options = parser.parse_args()

    rides = load(options.data)
    metrics = {"cross_validation": validate(rides)}
    booster = train(rides)
    encoding, other = encode(rides)
    rows = features(codes_of(rides, encoding, other), rides.trip_miles.to_numpy(), rides.fare.to_numpy(), rides)

    model = export(booster)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = predict(booster, rows)
    difference = np.abs(session.run(None, {"features": rows})[0] / expected - 1).max()
    if difference > 5e-6:
        raise SystemExit(f"The exported graph differs from LightGBM by up to {difference:.1e} of the prediction.")

    figures = describe_rides(rides)
    golden = golden_rows(figures, encoding, other)
    training = {
        "script": f"models/training/{Path(__file__).name}",
        "algorithm": f"LightGBM, {TREES} trees of depth {PARAMETERS['max_depth']}, least squares on the logarithm of minutes",
        "seed": SEED,
        "parameters": PARAMETERS,
        "rows": len(rides),
        "versions": versions(),
    }
    manifest = card(rows, rides, encoding, other) | {"metrics": metrics, "training": training}
    write_version(options.out, model, manifest, golden, predict(booster, golden))
    write_json(options.figures, figures)
    print(f"{metrics}\nlargest difference of the export {difference:.1e}, {len(encoding)} pairs with a code")


if __name__ == "__main__":
    main()
