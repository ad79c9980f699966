"""Trains `car-price-a`, `-b` and `-c`: the price of a used Mercedes-Benz of one model group each.

Writes a version folder for each into the registry, and the figures of the table. README.md beside this file has the command.
"""

import argparse
from pathlib import Path

import lightgbm
import numpy as np
import onnxruntime
import pandas as pd
from onnx import helper, numpy_helper

from car_price_card import EFFECTS, FUELS, GEARS, GROUPS, REAL, VEHICLE_TYPES, badge, card
from figures import describe, sample
from regression import cross_validate, linear_baseline, median_baseline, versions
from tree_ensemble import tree_ensemble_node
from version_folder import make_model, write_json, write_version

SEED = 20261121
FOLDS = 5
TREES = 300
PARAMETERS = {
    "objective": "regression",
    "learning_rate": 0.06,
    "max_depth": 6,
    "num_leaves": 16,
    "min_data_in_leaf": 8,
    "lambda_l2": 2.0,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "monotone_constraints": [0, -1, 0, 0, 0, -1],
    "monotone_constraints_method": "advanced",
    "use_missing": False,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "seed": SEED,
    "verbose": -1,
}
KILOMETERS_PER_MILE = 1.609344
# The trees learn by how much the logarithm differs from this price's, so that their float32 sum stays small and exact.
USUAL_PRICE = 20_000
# A figures file holds what many cars share: rarer combinations of class, badge, fuel and gearbox are left out.
FEWEST_CARS = 5
# Columns whose values go together.
KIND = ["group", "vehicle_type", "model", "fuel_type", "gear_type"]


def load(file: Path) -> pd.DataFrame:
    """The real columns as events have them, `group`, and `price`."""
    table = pd.read_csv(file).drop_duplicates()
    group_of = {name: group for group, classes in GROUPS.items() for name in classes}
    type_of = {name: vehicle_type for classes in GROUPS.values() for name, vehicle_type in classes.items()}
    classes = table.model.str.strip()
    known = classes.isin(group_of) & table.fuelType.isin(FUELS) & table.transmission.isin(GEARS) & (table.engineSize > 0)
    table, classes = table[known].reset_index(drop=True), classes[known].reset_index(drop=True)
    months = np.random.default_rng(SEED).integers(0, 12, len(table))
    return pd.DataFrame(
        {
            "group": classes.map(group_of),
            "model": [badge(fuel, litres) for fuel, litres in zip(table.fuelType, table.engineSize)],
            "kilometers": (table.mileage * KILOMETERS_PER_MILE).round().astype(int),
            "fuel_type": table.fuelType,
            "gear_type": table.transmission,
            "vehicle_type": classes.map(type_of),
            "age_in_months": 12 * (2020 - table.year) + months,
            "price": table.price,
        }
    )


def real_inputs(cars: pd.DataFrame) -> np.ndarray:
    codes = {"fuel_type": FUELS, "gear_type": GEARS, "vehicle_type": VEHICLE_TYPES}
    return np.column_stack([cars[name].map(codes[name]) if name in codes else cars[name] for name in REAL]).astype(np.float32)


def train(rows: np.ndarray, price: np.ndarray) -> lightgbm.Booster:
    return lightgbm.train(PARAMETERS, lightgbm.Dataset(rows, np.log(price / USUAL_PRICE)), TREES)


def predict(booster: lightgbm.Booster, rows: np.ndarray) -> np.ndarray:
    """`rows`: all inputs, the real ones first, then the factors."""
    return predict_real(booster, rows[:, : len(REAL)]) * rows[:, len(REAL) :].astype(np.float64).prod(axis=1)


def predict_real(booster: lightgbm.Booster, rows: np.ndarray) -> np.ndarray:
    return np.exp(booster.predict(rows)) * USUAL_PRICE


def validate(rows: np.ndarray, price: np.ndarray) -> dict:
    age_and_distance = rows[:, [REAL.index("age_in_months"), REAL.index("kilometers")]]
    predictors = {
        "model": lambda seen, held: predict_real(train(rows[seen], price[seen]), rows[held]),
        "median": median_baseline(price),
        "linear_on_age_and_distance": linear_baseline(age_and_distance, price),
    }
    found = cross_validate(price, FOLDS, SEED, predictors)
    baselines = {name: found[name] for name in predictors if name != "model"}
    return {"folds": FOLDS, "rows": len(rows), "unit": "GBP", **found["model"], "baselines": baselines}


def export(name: str, booster: lightgbm.Booster):
    width = len(REAL) + len(EFFECTS)
    constants = [
        numpy_helper.from_array(np.array([1], np.int64), "columns"),
        numpy_helper.from_array(np.array([len(REAL)], np.int64), "first_factor"),
        numpy_helper.from_array(np.array([width], np.int64), "end"),
        numpy_helper.from_array(np.array([[USUAL_PRICE]], np.float32), "usual_price"),
    ]
    nodes = [
        tree_ensemble_node(booster, "features", "log_price"),
        helper.make_node("Exp", ["log_price"], ["times_usual"]),
        helper.make_node("Mul", ["times_usual", "usual_price"], ["product_0"]),
        helper.make_node("Slice", ["features", "first_factor", "end", "columns"], ["factors"]),
        helper.make_node("Split", ["factors"], list(EFFECTS), axis=1),
    ]
    # One product after the other rather than ReduceProd: their order cannot depend on the batch size.
    for step, factor in enumerate(EFFECTS):
        nodes.append(helper.make_node("Mul", [f"product_{step}", factor], [f"product_{step + 1}"]))
    nodes.append(helper.make_node("Squeeze", [f"product_{len(EFFECTS)}", "columns"], ["price"]))
    return make_model(name, nodes, constants, "features", width, "price")


def make_figures(cars: pd.DataFrame) -> dict:
    """Kinds of cars stand in the order of their typical price, so that the copula can say which are young and little driven."""
    kinds = cars[KIND].astype(str).agg("|".join, axis=1)
    shared = kinds.map(kinds.value_counts()) >= FEWEST_CARS
    cars, kinds = cars[shared], kinds[shared]
    order = cars.price.groupby(kinds).median().sort_values(kind="stable").index.tolist()
    columns = pd.DataFrame(
        {
            "kind": kinds.map({kind: place for place, kind in enumerate(order)}),
            "age_in_months": cars.age_in_months,
            "kilometers": cars.kilometers,
        }
    )
    fields = ["model_group", *KIND[1:]]
    values = [[*kind[:2], int(kind[2]), *kind[3:]] for kind in (text.split("|") for text in order)]
    figures = describe(columns, [], {"kilometers": 10}, {"kind": (fields, values)})
    for name, values in EFFECTS.items():
        frequencies = [[value, share] for value, (share, _) in values.items()]
        figures["columns"].append({"name": name, "kind": "text", "frequencies": frequencies})
        figures["correlation"] = [*([*row, 0] for row in figures["correlation"]), [*[0] * len(figures["correlation"]), 1]]
    return figures


def golden_rows(figures: dict, group: str, rows: np.ndarray) -> np.ndarray:
    """Cars that are nobody's: drawn from the figures, then corners."""
    drawn = sample(figures, 400, np.random.default_rng(SEED))
    kinds, *texts = [[value for value, _ in column["frequencies"]] for column in figures["columns"] if column["kind"] != "numeric"]
    cars = pd.DataFrame([kinds[int(place)] for place in drawn[:, 0]], columns=KIND)
    cars = cars.assign(age_in_months=drawn[:, 1], kilometers=drawn[:, 2])
    factors = np.column_stack(
        [
            [values[text[int(place)]][1] for place in drawn[:, 3 + position]]
            for position, (values, text) in enumerate(zip(EFFECTS.values(), texts, strict=True))
        ]
    )
    of_group = (cars.group == group).to_numpy()
    all_rows = np.hstack([real_inputs(cars), factors])[of_group][:40]
    none = np.ones(len(EFFECTS))
    corners = [
        [*rows.min(axis=0), *none],
        [*rows.max(axis=0), *none],
        [999, 0, 1, 1, 0, 0, *none],
        [1, 2_000_000, 0, 0, 0, 1200, *none],
    ]
    return np.vstack([all_rows, corners]).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the Mercedes table as CSV")
    parser.add_argument("--models", type=Path, required=True, help="the registry to write to, as models/<name>/<version>")
    parser.add_argument("--version", required=True, help="the version to write")
    parser.add_argument("--figures", type=Path, required=True, help="the figures file to write")
    options = parser.parse_args()

    cars = load(options.data)
    figures = make_figures(cars)
    for group in GROUPS:
        name = f"car-price-{group.lower()}"
        of_group = cars[cars.group == group]
        rows, price = real_inputs(of_group), of_group.price.to_numpy(float)
        metrics = {"cross_validation": validate(rows, price)}
        booster = train(rows, price)

        model = export(name, booster)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        inputs = np.hstack([rows, np.random.default_rng(SEED).uniform(0.9, 1.1, (len(rows), len(EFFECTS)))]).astype(np.float32)
        difference = np.abs(session.run(None, {"features": inputs})[0] / predict(booster, inputs) - 1).max()
        if difference > 5e-6:
            raise SystemExit(f"{name}: the exported graph differs from LightGBM by up to {difference:.1e} of the prediction.")

        golden = golden_rows(figures, group, rows)
        training = {
            "script": f"models/training/{Path(__file__).name}",
            "algorithm": f"LightGBM, {TREES} trees of depth {PARAMETERS['max_depth']}, least squares on the logarithm of the price",
            "seed": SEED,
            "parameters": PARAMETERS,
            "rows": len(rows),
            "versions": versions(),
        }
        manifest = card(group, rows, of_group) | {"metrics": metrics, "training": training}
        write_version(options.models / name / options.version, model, manifest, golden, predict(booster, golden))
        print(f"{name}: {metrics}\nlargest difference of the export {difference:.1e}")
    write_json(options.figures, figures)


if __name__ == "__main__":
    main()
