"""What `taxi-trip-duration`'s model.json says besides figures: the inputs' meaning and the model card."""

import numpy as np
import pandas as pd

DAYS = {"1": "Sunday", "2": "Monday", "3": "Tuesday", "4": "Wednesday", "5": "Thursday", "6": "Friday", "7": "Saturday"}


def card(rows: np.ndarray, rides: pd.DataFrame, encoding: dict[str, float], other: float) -> dict:
    """`rows`: the model's inputs for `rides`, the rides trained on."""
    inputs = [
        {
            "name": "pair",
            "meaning": "pickup and dropoff community area as `8-32`, as the typical minutes of rides between them; any other pair is \"other\", which is `unknown`",
            "encoding": encoding,
            "unknown": other,
        },
        {"name": "miles", "meaning": "trip_miles"},
        {"name": "fare_per_mile", "meaning": "fare in dollars divided by miles; less than 0.1 miles, the meter's step, counts as 0.1"},
        {"name": "hour", "meaning": "hour of trip_start_timestamp, 0 to 23, UTC"},
        {"name": "day_of_week", "meaning": "day of trip_start_timestamp, UTC", "categories": DAYS},
        {"name": "weekend", "meaning": "whether that day is a Saturday or Sunday", "categories": {"0": "no", "1": "yes"}},
    ]
    ranges = [[round(float(column.min()), 3), round(float(column.max()), 3)] for column in rows.T]
    return {
        "description": "How many minutes a taxi ride in Chicago takes.",
        "inputs": [
            {"name": given["name"], "dtype": "float32", "meaning": given["meaning"], "range": extent}
            | {key: value for key, value in given.items() if key in ("categories", "encoding", "unknown")}
            for given, extent in zip(inputs, ranges, strict=True)
        ],
        "output": {
            "name": "minutes",
            "dtype": "float32",
            "meaning": "duration in minutes, always above 0",
        },
        "training_data": {
            "source": "City of Chicago taxi trips 2013-2016, from the 15,002-row extract of TensorFlow Extended: the rides with miles, seconds and both community areas",
            "url": "https://data.cityofchicago.org/Transportation/Taxi-Trips-2013-2023-/wrvz-psew",
            "license": "public data",
            "rows": len(rides),
            "target": "trip_seconds / 60",
            "target_median": float(rides.minutes.median()),
        },
        "model_card": {
            "intended_use": "Demonstration of scheduled scoring; a starting point for a team that retrains it on its own rides.",
            "limits": [
                "The fare is known when a ride is over, and follows its time as well as its way: this estimates durations of finished or fixed-price rides, and is no forecast from a map.",
                "Hour and day are those of the UTC timestamp, as in the table. Fewest of its rides start at 5 and most at 20 o'clock, so the city's own clock seems to be written there as UTC: send trip_start_timestamp the same way.",
                "Start times in the table are rounded to 15 minutes, and miles often to 0.1: many short rides have 0.1 miles whatever their way.",
                "A fare of 0 or 0 miles is taken as not known: the model has seen each ride again without either. odd_inputs has the errors on such events.",
                "A pair of areas with fewer than 8 rides, or never seen, is \"other\"; odd_inputs has the error if all were.",
                "The square error is that of a few rides whose meter ran on for hours (the longest 20). In training they count as two hours.",
                "Trees are flat outside the ranges seen in training: beyond them a longer way changes the prediction only by its fare per mile.",
            ],
        },
    }
