"""Trains a fraud classifier on made-up orders, and exports it into this project.

    python train.py

An order is an event with a record, an array and a map; the model has four inputs. pipeline.json says which part of the
event feeds which. The orders are drawn at random. In a project of yours, copy millrace_export.py next to the script.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

folder = Path(__file__).parent
sys.path.insert(0, str(folder.parents[1] / "models" / "training"))
from millrace_export import export  # noqa: E402


def orders(size: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Young accounts that order much from a phone are drawn to be fraud more often."""
    random = np.random.default_rng(1)
    rows = pd.DataFrame(
        {
            "account_days": random.integers(0, 2000, size),
            "country": random.choice(["AT", "CH", "DE"], size, p=[0.2, 0.2, 0.6]),
            "first_amount": np.round(random.lognormal(3.5, 0.8, size), 2),
            "channel": random.choice(["web", "phone"], size, p=[0.8, 0.2]),
        }
    )
    log_odds = (
        -4
        + 2 * (rows["account_days"] < 60)
        + 0.01 * rows["first_amount"]
        + 1.5 * (rows["channel"] == "phone")
    )
    return rows, np.where(random.random(size) < 1 / (1 + np.exp(-log_odds)), "fraud", "fine")


rows, verdict = orders(2000)
train, test, train_verdict, test_verdict = train_test_split(rows, verdict, test_size=300, random_state=1)

columns = ColumnTransformer(
    [("texts", OneHotEncoder(), ["country", "channel"])], remainder="passthrough", sparse_threshold=0
)
model = make_pipeline(columns, GradientBoostingClassifier(n_estimators=30, max_depth=2, random_state=1))
model.fit(train, train_verdict)
print(f"accuracy on 300 other orders: {model.score(test, test_verdict):.2f}")

# Contract, pipeline.json and examples are in the project already: only the model is written.
export(
    model,
    test,
    folder,
    "order-fraud",
    license="Apache-2.0",
    description="Whether a made-up order is fraud.",
    intended_use="Shows an event with a record, an array and a map. The orders are made up.",
)
test.to_csv(folder / "rows.csv", index=False)


def event(number: int, order) -> dict:
    """The order as a shop would send it."""
    return {
        "order_number": f"A-{number}",
        "customer": {"account_days": order.account_days, "country": order.country},
        "amounts": [order.first_amount, 4.9],
        "attributes": {"channel": order.channel, "campaign": "autumn"},
    }


events = [event(number, order) for number, order in enumerate(test.head(50).itertuples(), 1)]
(folder / "examples" / "order-fraud.json").write_text(json.dumps(events[0], indent=2) + "\n")
(folder / "examples" / "order-fraud.jsonl").write_text("".join(json.dumps(one) + "\n" for one in events))
