"""Figures of a table from which credible rows can be drawn without the table: marginals and a Gaussian copula."""

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata

PROBABILITIES = [0, 0.01, *(round(0.05 * step, 2) for step in range(1, 20)), 0.99, 0.999, 1]


def describe(
    table: pd.DataFrame, categorical: list[str], steps: dict[str, int], joint: dict[str, tuple[list[str], list[list]]] = {}
) -> dict:
    """`steps`: columns whose values are multiples of something other than 1.

    `joint`: columns that hold places in a list of values that go together, with the fields that have the values.
    """
    columns = []
    for name in table.columns:
        if name in joint:
            fields, values = joint[name]
            shares = table[name].value_counts(normalize=True)
            frequencies = [[each, round(shares.get(place, 0), 5)] for place, each in enumerate(values)]
            columns.append({"name": name, "kind": "joint", "fields": fields, "frequencies": frequencies})
        elif name in categorical:
            shares = table[name].value_counts(normalize=True).sort_index()
            frequencies = {str(value): round(share, 5) for value, share in shares.items()}
            columns.append({"name": name, "kind": "categorical", "frequencies": frequencies})
        else:
            quantiles = np.quantile(table[name], PROBABILITIES)
            column = {"name": name, "kind": "numeric", "step": steps.get(name, 1)}
            columns.append(column | {"quantiles": [round(float(value)) for value in quantiles]})
    scores = norm.ppf((rankdata(table.to_numpy(), axis=0) - 0.5) / len(table))
    correlation = np.round(np.corrcoef(scores, rowvar=False), 2)
    np.linalg.cholesky(correlation)  # raises when rounding has cost it its positive definiteness
    return {"probabilities": PROBABILITIES, "columns": columns, "correlation": correlation.tolist()}


def sample(figures: dict, count: int, random: np.random.Generator) -> np.ndarray:
    """Rows drawn as the figures say: correlated normals → uniforms → each column's own distribution. A text, or values that go together, are their place in the list."""
    factor = np.linalg.cholesky(np.array(figures["correlation"]))
    uniforms = norm.cdf(random.standard_normal((count, len(factor))) @ factor.T)
    rows = np.empty_like(uniforms)
    for index, column in enumerate(figures["columns"]):
        if column["kind"] != "numeric":
            listed = column["kind"] in ("text", "joint")
            values = np.arange(len(column["frequencies"])) if listed else np.array([float(value) for value in column["frequencies"]])
            bounds = np.cumsum([share for _, share in column["frequencies"]] if listed else list(column["frequencies"].values()))
            rows[:, index] = values[np.minimum(np.searchsorted(bounds, uniforms[:, index]), len(values) - 1)]
        else:
            drawn = np.interp(uniforms[:, index], figures["probabilities"], column["quantiles"])
            rows[:, index] = np.round(drawn / column["step"]) * column["step"]
    return rows
