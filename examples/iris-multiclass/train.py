"""Trains a classifier of three species on the iris table that scikit-learn ships, and converts it as most people do.

    python train.py

writes iris.onnx, which ends in a ZipMap, and rows.csv: rows that were not trained on, with the predictions of
scikit-learn itself.
"""

from pathlib import Path

from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

folder = Path(__file__).parent
iris = load_iris(as_frame=True)
rows = iris.data.rename(columns=lambda name: name.replace(" (cm)", "").replace(" ", "_"))
species = iris.target_names[iris.target]
train, test, train_species, test_species = train_test_split(rows, species, test_size=50, random_state=1)

model = LogisticRegression(max_iter=1000).fit(train.to_numpy(), train_species)
print(f"accuracy on 50 other flowers: {model.score(test.to_numpy(), test_species):.2f}")

matrix = [("X", FloatTensorType([None, 4]))]
graph = convert_sklearn(model, initial_types=matrix, target_opset={"": 17, "ai.onnx.ml": 3})
(folder / "iris.onnx").write_bytes(graph.SerializeToString())

probabilities = model.predict_proba(test.to_numpy())
for number, name in enumerate(model.classes_):
    test[f"p_{name}"] = probabilities[:, number]
test.to_csv(folder / "rows.csv", index=False)
