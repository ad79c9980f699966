"""What `credit-default`'s model.json says besides figures: the columns' meaning and the model card."""

import numpy as np

TARGET = "default.payment.next.month"

MONTHS = ["September", "August", "July", "June", "May", "April"]
STATUS_COLUMNS = ["PAY_0", "PAY_2", "PAY_3", "PAY_4", "PAY_5", "PAY_6"]
STATUS_CODES = {"-2": "no consumption", "-1": "paid in full", "0": "revolving credit, minimum paid"} | {
    str(months): f"payment {months} month{'s' if months > 1 else ''} late" for months in range(1, 9)
}
STATUS_CODES["9"] = "payment nine months late or more"

MEANINGS = {
    "LIMIT_BAL": "credit limit in New Taiwan dollars, family members' supplementary credit included",
    "SEX": "sex",
    "EDUCATION": "highest education",
    "MARRIAGE": "marital status",
    "AGE": "age in years",
    **{name: f"repayment status in {month} 2005" for name, month in zip(STATUS_COLUMNS, MONTHS)},
    **{f"BILL_AMT{n}": f"bill statement of {month} 2005, New Taiwan dollars" for n, month in enumerate(MONTHS, 1)},
    **{f"PAY_AMT{n}": f"amount paid in {month} 2005, New Taiwan dollars" for n, month in enumerate(MONTHS, 1)},
}
CATEGORIES = {
    "SEX": {"1": "male", "2": "female"},
    "EDUCATION": {
        "0": "undocumented",
        "1": "graduate school",
        "2": "university",
        "3": "high school",
        "4": "other",
        "5": "undocumented",
        "6": "undocumented",
    },
    "MARRIAGE": {"0": "undocumented", "1": "married", "2": "single", "3": "other"},
    **dict.fromkeys(STATUS_COLUMNS, STATUS_CODES),
}
FEATURES = list(MEANINGS)
CATEGORICAL = list(CATEGORIES)


def card(seen_rows: np.ndarray, target: np.ndarray, threshold: float) -> dict:
    """`seen_rows`: the rows trained on; `target`: the whole table's."""
    inputs = [
        {"name": name, "dtype": "float32", "meaning": MEANINGS[name]}
        | {"range": [int(seen_rows[:, index].min()), int(seen_rows[:, index].max())]}
        | ({"categories": CATEGORIES[name]} if name in CATEGORIES else {})
        for index, name in enumerate(FEATURES)
    ]
    return {
        "description": "Probability that a credit-card client fails to make next month's minimum payment.",
        "inputs": inputs,
        "output": {
            "name": "probability_of_default",
            "dtype": "float32",
            "meaning": "calibrated probability, 0 to 1, that the client defaults next month",
            "decision": {"threshold": threshold, "below": "no_default", "at_or_above": "default"},
        },
        "training_data": {
            "source": "UCI Machine Learning Repository, Default of Credit Card Clients (Taiwan, 2005), 25,000 of its 30,000 rows",
            "url": "https://archive.ics.uci.edu/dataset/350/default+of+credit+card+clients",
            "license": "CC BY 4.0",
            "rows": len(target),
            "target": TARGET,
            "target_rate": round(float(target.mean()), 4),
        },
        "model_card": {
            "intended_use": "Demonstration and benchmark of streaming scoring; a starting point for a team that retrains it on its own clients.",
            "limits": [
                "One bank, one country, April to September 2005, in the middle of a card-debt crisis: the rates do not carry over to other times and places.",
                "Trees are flat outside the ranges seen in training: a larger amount changes nothing there.",
                "EDUCATION 0, 5, 6 and MARRIAGE 0 occur in the data without a documented meaning and are rare; predictions for them lean on the other columns.",
                "No missing values: each of the 23 columns has to be given and finite.",
                "The decision threshold maximises F1 in cross-validation; a lender's costs call for another one.",
            ],
            "fairness": "SEX, AGE and MARRIAGE are inputs, as in the source. Lending law in many countries forbids their use; no fairness correction was made. Do not decide about people with this model.",
        },
    }
