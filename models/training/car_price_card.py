"""What the model.json of `car-price-a`, `-b` and `-c` says besides figures: groups, codes, synthetic effects, model card."""

import numpy as np
import pandas as pd

# Group → class in the table → vehicle_type in events. The table knows no bodies: a class stands for the one it is sold as.
GROUPS = {
    "A": {"A Class": "Sedan Car", "CL Class": "Coupe", "CLA Class": "Coupe", "GLA Class": "SUV"},
    "B": {"B Class": "Sedan Car", "GLB Class": "SUV"},
    "C": {"C Class": "Sedan Car", "CLC Class": "Coupe", "CLK": "Coupe", "SLK": "Roadster", "GLC Class": "SUV"},
}
VEHICLE_TYPES = {"Sedan Car": 0, "Sedan": 0, "Hatchback": 0, "Compact Car": 0, "Estate": 0, "Station Wagon": 0, "Coupe": 1, "Roadster": 2, "Cabriolet": 2, "Convertible": 2, "SUV": 3}
FUELS = {"Diesel": 0, "Petrol": 1, "Gasoline": 1, "Hybrid": 2}
GEARS = {"Manual": 0, "Automatic": 1, "Semi-Auto": 2, "Semi-Automatic": 2}

# Badge numbers by fuel: the first whose limit in litres is above the engine's size. From 4 litres on every badge is 63 (AMG).
BADGES = {
    "Diesel": [(1.7, 180), (2.0, 200), (2.3, 220), (2.6, 250), (4.0, 350)],
    "Petrol": [(1.5, 180), (1.6, 200), (1.7, 180), (2.0, 200), (2.5, 250), (3.0, 300), (4.0, 400)],
    "Hybrid": [(2.0, 250), (2.05, 350), (4.0, 300)],
}
BADGE_FROM_4_LITRES = 63

# Synthetic: value → (share of sampled cars, factor on the price). No public table has these columns.
EFFECTS = {
    "color": {
        "Black": (0.24, 1.01), "White": (0.2, 1), "Grey": (0.2, 1.005), "Silver": (0.12, 0.99), "Blue": (0.14, 1),
        "Red": (0.07, 0.99), "Green": (0.015, 0.97), "Brown": (0.015, 0.965),
    },
    "line": {"Base": (0.25, 0.955), "Sportline": (0.25, 1), "Avantgarde": (0.2, 1.01), "Exclusive": (0.1, 1.015), "AMG Line": (0.2, 1.04)},
    "doors": {"2 to 3": (0.1, 0.98), "4 to 5": (0.9, 1.002)},
    "seats": {"1 to 3": (0.02, 0.97), "4 to 5": (0.94, 1), "6 to 7": (0.04, 1.02)},
    "climate": {"No Air Conditioning": (0.02, 0.94), "Air Conditioning": (0.48, 0.99), "Automatic Climate Control": (0.5, 1.012)},
}  # fmt: skip
LIMITS = {
    "A": ["The table's 26 A Class cars of 4 litres cost £58,000 to £140,000, as no A Class does: listed under a wrong class, it seems. They are what badge 63 means in this group, and much of the square error of the baselines."],
    "B": ["Few cars: 501 listings."],
    "C": [],
}
REAL = ["model", "kilometers", "fuel_type", "gear_type", "vehicle_type", "age_in_months"]


def badge(fuel: str, litres: float) -> int:
    return next((number for limit, number in BADGES[fuel] if litres < limit), BADGE_FROM_4_LITRES)


def card(group: str, rows: np.ndarray, cars: pd.DataFrame) -> dict:
    """`rows`: the real inputs of `cars`, the cars trained on."""
    commonest = {name: int(pd.Series(rows[:, REAL.index(name)]).mode()[0]) for name in ("fuel_type", "gear_type", "vehicle_type")}
    badges = "; ".join(
        f"{fuel}: " + ", ".join(f"below {limit} l {number}" for limit, number in limits) for fuel, limits in BADGES.items()
    )
    real = {
        "model": {"meaning": f"badge number, as in A 180. Derived from fuel and engine size, which is all the table has ({badges}; any from 4 l: {BADGE_FROM_4_LITRES}, as AMG). Other numbers go with their neighbours"},
        "kilometers": {"meaning": "distance driven, kilometers; the table's miles × 1.609344"},
        "fuel_type": {"meaning": "fuel", "encoding": FUELS, "unknown": commonest["fuel_type"]},
        "gear_type": {"meaning": "gearbox", "encoding": GEARS, "unknown": commonest["gear_type"]},
        "vehicle_type": {"meaning": "kind of car, which stands for the class in the group", "encoding": VEHICLE_TYPES, "unknown": commonest["vehicle_type"]},
        "age_in_months": {"meaning": "age in months: 12 × (2020 − year of registration), plus a month drawn from 0 to 11, as the table has the year alone"},
    }  # fmt: skip
    inputs = [
        {"name": name, "dtype": "float32", "meaning": given["meaning"], "range": [int(column.min()), round(float(column.max()))]}
        | {key: value for key, value in given.items() if key != "meaning"}
        for (name, given), column in zip(real.items(), rows.T, strict=True)
    ]
    inputs += [
        {"name": name, "dtype": "float32", "meaning": f"{name}, as the factor that it puts on the price. SYNTHETIC: chosen, not learnt"}
        | {"encoding": {value: factor for value, (_, factor) in values.items()}, "unknown": 1}
        for name, values in EFFECTS.items()
    ]
    classes = ", ".join(f"{name} ({vehicle_type})" for name, vehicle_type in GROUPS[group].items())
    return {
        "description": f"Price of a used Mercedes-Benz of group {group}: {', '.join(GROUPS[group])}.",
        "inputs": inputs,
        "output": {"name": "price", "dtype": "float32", "meaning": "asking price in pounds sterling (GBP), the currency of the training table"},
        "training_data": {
            "source": "100,000 UK Used Car Data set, Mercedes table, 10,932 of its rows: those of this group's classes, each listing once",
            "url": "https://www.kaggle.com/datasets/adityadesai13/used-car-dataset-ford-and-mercedes",
            "license": "CC0-1.0",
            "rows": len(cars),
            "target": "price",
            "target_median": float(cars.price.median()),
        },
        "model_card": {
            "intended_use": "Demonstration of several models behind one pipeline; a starting point for a team that retrains it on its own cars.",
            "group": f"{group} is the class of that letter and what is built on it: {classes}. vehicle_type tells them apart. Other classes of the table (E, S, GLE, …) are in no group.",
            "synthetic": "color, line, doors, seats and climate are in no public table. The price that trees learnt from the real columns is multiplied by their factors, which are the numbers in `encoding`, weighted to 1 over the shares that sample events are drawn with. They carry no knowledge of the market. model (the badge) is derived from fuel and engine size, and the month of age_in_months is drawn.",
            "unknown_categories": "Text is compared without regard to case and spaces around it. A fuel, gearbox or vehicle type that is not in `encoding` counts as the commonest of the group (`unknown`); any other text as factor 1, an average car's.",
            "limits": [
                "Asking prices in the United Kingdom around 2020; the metrics are on the real columns, with every synthetic factor 1.",
                "A price never rises with age or distance: the model is held to that.",
                "Trees are flat outside the ranges seen in training: a car older or further driven than any there is priced as the extreme one.",
                "Rows with engine size 0 or the fuel or gearbox `Other` were left out.",
                *LIMITS[group],
            ],
        },
    }
