"""Trains a scikit-learn pipeline on made-up passengers, and exports it into this project.

    python train.py

The passengers are drawn at random, by the process in `passengers`: no real person is among them. The pipeline has
texts, whole numbers, missing ages and missing ports, and its graph one tensor for each feature. In a project of yours,
copy millrace_export.py next to the script.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

folder = Path(__file__).parent
sys.path.insert(0, str(folder.parents[1] / "models" / "training"))
from millrace_export import export  # noqa: E402


def passengers(size: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Women, children and the first class are drawn to survive more often. One age in five, one port in twenty is unknown."""
    random = np.random.default_rng(1)
    sex = random.choice(["female", "male"], size, p=[0.35, 0.65])
    ticket_class = random.choice([1, 2, 3], size, p=[0.25, 0.2, 0.55])
    age = np.round(random.gamma(10, 6, size)) / 2
    log_odds = 1.2 - 2.4 * (sex == "male") - 0.8 * (ticket_class - 2) - 0.02 * (age - 30)
    rows = pd.DataFrame(
        {
            "passenger_id": np.arange(1, size + 1),
            "ticket_class": ticket_class,
            "sex": sex,
            "age": age,
            "fare": np.round(random.lognormal(3.6 - 0.8 * (ticket_class - 1), 0.5), 2),
            "port": random.choice(["Southampton", "Cherbourg", "Queenstown"], size, p=[0.7, 0.2, 0.1]),
        }
    )
    survived = random.random(size) < 1 / (1 + np.exp(-log_odds))
    rows["age"] = rows["age"].mask(random.random(size) < 0.2)
    rows["port"] = rows["port"].mask(random.random(size) < 0.05)
    return rows, np.where(survived, "survived", "died")


rows, fate = passengers(1000)
train, test, train_fate, test_fate = train_test_split(rows, fate, test_size=200, random_state=1)

texts = make_pipeline(
    SimpleImputer(strategy="constant", fill_value="unknown"), OneHotEncoder(handle_unknown="ignore")
)
columns = ColumnTransformer(
    [
        ("numbers", SimpleImputer(strategy="median"), ["age", "fare"]),
        ("texts", texts, ["sex", "port"]),
        ("class", OneHotEncoder(), ["ticket_class"]),
    ]
)
model = make_pipeline(columns, RandomForestClassifier(20, max_depth=5, random_state=1)).fit(train, train_fate)
print(f"accuracy on 200 other passengers: {model.score(test, test_fate):.2f}")

export(
    model,
    test,
    folder,
    "titanic",
    key="passenger_id",
    license="Apache-2.0",
    description="Whether a made-up passenger of a sinking ship survives.",
    intended_use="Shows texts, missing values and one tensor for each feature. The passengers are made up.",
)
test.to_csv(folder / "rows.csv", index=False)
