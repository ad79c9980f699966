"""Figures of taxi rides from which credible rides can be drawn without the table.

A ride is drawn step by step: a pair of areas; miles as a multiple of what is typical of the pair; a fare as a multiple of
what a plain meter shows after so many miles; a tip as a share of the fare; hour and day by themselves.
"""

import numpy as np
import pandas as pd

from figures import PROBABILITIES

# What the multiples of fares refer to, dollars; a mean of the table's fares, not the city's tariff.
METER = {"start": 4.0, "per_mile": 2.0}
# Bands from these typical miles, and from these miles, up to the next: spreads differ between short and long ways.
TYPICAL_MILES = [0, 1, 2, 4, 8, 12]
MILES = [0, 0.15, 0.5, 1, 2, 3, 5, 8, 12, 20]


def describe_rides(rides: pd.DataFrame) -> dict:
    typical = rides.groupby("pair").trip_miles.median().round(2)
    shares = rides.pair.value_counts(normalize=True).sort_index(kind="stable")
    typical_of_ride = rides.pair.map(typical)
    return {
        "probabilities": PROBABILITIES,
        "pairs": [[pair, round(share, 5), float(typical[pair])] for pair, share in shares.items()],
        "hours": shares_of(rides.hour),
        "days": shares_of(rides.day),
        "miles": bands(rides.trip_miles / typical_of_ride, typical_of_ride, TYPICAL_MILES),
        "meter": METER,
        "fares": bands(rides.fare / meter(rides.trip_miles), rides.trip_miles, MILES),
        "tips": quantiles((rides.tips / rides.fare.clip(lower=1)).clip(upper=1)),
    }


def meter(miles):
    return METER["start"] + METER["per_mile"] * miles


def bands(values: pd.Series, by: pd.Series, starts: list[float]) -> list[dict]:
    ends = [*starts[1:], np.inf]
    return [{"from": start, "quantiles": quantiles(values[(by >= start) & (by < end)])} for start, end in zip(starts, ends)]


def quantiles(values: pd.Series) -> list[float]:
    return [round(float(value), 3) for value in np.quantile(values, PROBABILITIES)]


def shares_of(column: pd.Series) -> dict[str, float]:
    return {str(value): round(share, 5) for value, share in column.value_counts(normalize=True).sort_index().items()}


def draw_rides(figures: dict, count: int, random: np.random.Generator) -> pd.DataFrame:
    """The reference for what the pipeline's `sample` does."""
    rides = []
    for _ in range(count):
        pair, _, typical = pick([(row, row[1]) for row in figures["pairs"]], random.random())
        miles = round(typical * banded(figures, "miles", typical, random.random()), 2)
        fare = round(meter(miles) * banded(figures, "fares", miles, random.random()) * 20) / 20
        hour = int(pick(figures["hours"].items(), random.random()))
        day = int(pick(figures["days"].items(), random.random()))
        rides.append({"pair": pair, "trip_miles": miles, "fare": fare, "hour": hour, "day": day})
    return pd.DataFrame(rides)


def pick(shares, uniform: float):
    cumulated = 0.0
    for value, share in shares:
        cumulated += share
        if cumulated >= uniform:
            return value
    return value


def banded(figures: dict, name: str, by: float, uniform: float) -> float:
    band = next(band for band in reversed(figures[name]) if by >= band["from"])
    return float(np.interp(uniform, figures["probabilities"], band["quantiles"]))
