"""Tables for the zoo: those that scikit-learn ships, and passengers drawn at random. All seeded."""

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.model_selection import train_test_split


def split(rows: pd.DataFrame, target):
    """(rows, target) for training, and rows held out."""
    rows, held_out, target, _ = train_test_split(rows, target, test_size=40, random_state=1)
    return rows.reset_index(drop=True), np.asarray(target), held_out.reset_index(drop=True)


def shipped(loader, columns: int | None = None):
    bunch = loader(as_frame=True)
    rows = bunch.data.rename(
        columns=lambda name: name.replace(" (cm)", "").replace(" ", "_").replace("/", "_")
    )
    return rows.iloc[:, :columns].astype(float), bunch


def iris(names: bool = True):
    rows, bunch = shipped(datasets.load_iris)
    return split(rows, bunch.target_names[bunch.target] if names else bunch.target)


def wine():
    rows, bunch = shipped(datasets.load_wine)
    return split(rows, bunch.target)


def cancer(names: bool = False):
    rows, bunch = shipped(datasets.load_breast_cancer, 10)
    return split(rows, bunch.target_names[bunch.target] if names else bunch.target)


def diabetes():
    rows, bunch = shipped(datasets.load_diabetes)
    return split(rows, bunch.target)


def exercises():
    """Three numbers in, three out."""
    rows, bunch = shipped(datasets.load_linnerud)
    noise = np.random.default_rng(1).normal(0, 1, (200, 6))
    rows = pd.DataFrame(rows.to_numpy()[np.arange(200) % 20] + noise[:, :3], columns=rows.columns)
    target = bunch.target.to_numpy()[np.arange(200) % 20] + noise[:, 3:]
    return split(rows, target)


def digits():
    rows, bunch = shipped(datasets.load_digits)
    return split(rows, bunch.target)


def with_gaps(table, share: float = 0.1):
    """The table with cells missing at random, in the rows held out as well."""
    rows, target, held_out = table
    random = np.random.default_rng(2)
    return (
        rows.mask(random.random(rows.shape) < share),
        target,
        held_out.mask(random.random(held_out.shape) < share),
    )


def counts():
    """Whole numbers in, counts out."""
    random = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "visits": random.poisson(4, 400),
            "age": random.integers(18, 80, 400),
            "member": random.random(400) < 0.4,
        }
    )
    return split(rows, random.poisson(np.exp(0.1 * rows["visits"] + 0.5 * rows["member"])) + 1)


def passengers(gaps: bool = True):
    """Made-up passengers: texts, numbers, whole numbers, a boolean, some ages and ports unknown."""
    random = np.random.default_rng(4)
    size = 500
    sex = random.choice(["female", "male"], size, p=[0.35, 0.65])
    ticket_class = random.choice([1, 2, 3], size, p=[0.25, 0.2, 0.55])
    age = np.round(random.gamma(10, 6, size)) / 2
    chance = 1 / (1 + np.exp(-(1.2 - 2.4 * (sex == "male") - 0.8 * (ticket_class - 2) - 0.02 * (age - 30))))
    rows = pd.DataFrame(
        {
            "passenger_id": np.arange(size),
            "ticket_class": ticket_class,
            "sex": sex,
            "age": age,
            "fare": np.round(random.lognormal(3.6 - 0.8 * (ticket_class - 1), 0.5), 2),
            "alone": random.random(size) < 0.6,
            "port": random.choice(["Southampton", "Cherbourg", "Queenstown"], size, p=[0.7, 0.2, 0.1]),
        }
    )
    if gaps:
        rows["age"] = rows["age"].mask(random.random(size) < 0.2)
        rows["port"] = rows["port"].mask(random.random(size) < 0.05)
    return split(rows, np.where(random.random(size) < chance, "survived", "died"))
