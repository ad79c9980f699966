"""Logs models to an MLflow server as their makers do, each registered with an alias.

    mlflow_models.py TRACKING_URI CHAMPION_FOLDER

The folder is of the model that all of them could take the place of. Prints what was logged: for each model the score that
its own maker's library gives to the champion's first golden row.
"""

import hashlib
import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import mlflow
import numpy as np
import onnx
import pandas as pd
from mlflow.models import infer_signature
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

warnings.filterwarnings("ignore")
OPSET = {"": 17, "ai.onnx.ml": 3}


def main(uri: str, champion: Path) -> None:
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("credit")
    columns = [column["name"] for column in json.loads((champion / "model.json").read_text())["inputs"]]
    golden = json.loads((champion / "golden.json").read_text())["rows"]
    rows = pd.DataFrame([row["features"] for row in golden], columns=columns).astype("float64")
    late = np.array([row["prediction"] > 0.25 for row in golden]).astype(int)
    one = rows.head(1)

    boosted = GradientBoostingClassifier(n_estimators=10, random_state=1).fit(rows.values.astype("float32"), late)
    linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows.values, late)
    regressor = GradientBoostingRegressor(n_estimators=10, random_state=1).fit(rows.values.astype("float32"), late)
    signature = infer_signature(rows, boosted.predict_proba(rows.values))
    swapped = infer_signature(rows[columns[::-1]], boosted.predict_proba(rows.values))
    floats = [("features", FloatTensorType([None, len(columns)]))]
    doubles = [("features", DoubleTensorType([None, len(columns)]))]
    separate = [(name, FloatTensorType([None, 1])) for name in columns]
    three = LogisticRegression().fit(rows.values, np.arange(len(rows)) % 3)

    def convert(model, types, **options):
        return convert_sklearn(model, initial_types=types, target_opset=OPSET, options={id(model): options} if options else None)

    log("zipmap", convert(boosted, floats), signature=signature, input_example=rows.head(5))
    log("columns", convert(boosted, floats, zipmap=False), signature=signature)
    log("double", convert(linear, doubles, zipmap=False), signature=signature)
    log("regressor", convert(regressor, floats))
    weights, graph = external(len(columns))
    log("external", graph)
    documented = onnx.load(champion / "model.onnx")
    documented.doc_string = "Trained again."
    log("documented", documented, files=documents(champion, documented.SerializeToString()))
    log("one-by-one", convert(linear, separate, zipmap=False), signature=signature)
    log("swapped", convert(boosted, floats, zipmap=False), signature=swapped)
    log("three-classes", convert(three, floats, zipmap=False), signature=signature)
    whole = [("features", Int64TensorType([None, len(columns)]))]
    log("whole-numbers", convert(linear, whole, zipmap=False), signature=signature)
    log("staged", convert(boosted, floats, zipmap=False), signature=signature)
    # Servers before 2.9 have stages instead of aliases.
    mlflow.MlflowClient().transition_model_version_stage("staged", "1", "Production")
    log_pickle("no-onnx", linear)

    species = log_species()
    passengers = log_passengers()
    row = one.values
    print(json.dumps({
        "species": species,
        "passengers": passengers,
        "one-by-one": linear.predict_proba(row)[0, 1],
        "whole-numbers": linear.predict_proba(row)[0, 1],
        "zipmap": boosted.predict_proba(row.astype("float32"))[0, 1],
        "columns": boosted.predict_proba(row.astype("float32"))[0, 1],
        "double": linear.predict_proba(row)[0, 1],
        "regressor": regressor.predict(row.astype("float32"))[0],
        "external": float(1 / (1 + np.exp(-(row @ weights).sum()))),
    }))


def log_species() -> dict:
    """A classifier of three classes that ends in a ZipMap. Returns the classes' probabilities for one row."""
    iris = load_iris(as_frame=True)
    rows = iris.data.set_axis(["a", "b", "c", "d"], axis=1).astype("float32")
    model = LogisticRegression(max_iter=500).fit(rows.values, iris.target_names[iris.target])
    graph = convert_sklearn(model, initial_types=[("X", FloatTensorType([None, 4]))], target_opset=OPSET)
    signature = infer_signature(rows, model.predict_proba(rows.values))
    log("species", graph, signature=signature, input_example=rows.head(3))
    renamed = LogisticRegression(max_iter=500).fit(rows.values, iris.target)
    log("numbered", convert_sklearn(renamed, initial_types=[("X", FloatTensorType([None, 4]))], target_opset=OPSET), signature=signature)
    chances = model.predict_proba(rows.values[60:61])[0]
    return {name: float(chance) for name, chance in zip(model.classes_, chances)}


def log_passengers() -> dict:
    """A pipeline with texts and missing values, one tensor for each column. Returns the classes' probabilities."""
    rows = pd.DataFrame({
        "age": np.array([20, 30, np.nan, 40, 50, 60] * 5, "float32"),
        "sex": ["male", "female"] * 15,
        "pclass": [1, 2, 3] * 10,
        "fare": np.linspace(5, 100, 30).astype("float32"),
    })
    columns = ColumnTransformer([
        ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "fare"]),
        ("texts", OneHotEncoder(handle_unknown="ignore"), ["sex", "pclass"]),
    ])
    model = make_pipeline(columns, LogisticRegression(C=0.1)).fit(rows, np.array([0, 1, 1, 1, 0, 0] * 5))
    one = [None, 1]
    types = [FloatTensorType(one), StringTensorType(one), Int64TensorType(one), FloatTensorType(one)]
    graph = convert_sklearn(model, initial_types=list(zip(rows.columns, types)), target_opset=OPSET)
    signature = infer_signature(rows, model.predict_proba(rows))
    log("passengers", graph, signature=signature, input_example=rows.head(4))
    log_pickle("pickled-passengers", model, signature=signature)
    chances = model.predict_proba(pd.DataFrame([{"age": np.nan, "sex": "female", "pclass": 2, "fare": 12.5}]))[0]
    return {str(name): float(chance) for name, chance in zip(model.classes_, chances)}


def log_pickle(name: str, model, **details) -> None:
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            model,
            name="model",
            registered_model_name=name,
            pip_requirements=["scikit-learn"],
            serialization_format="cloudpickle",
            **details,
        )
    mlflow.MlflowClient().set_registered_model_alias(name, "champion", "1")


def log(name: str, graph, files: Path | None = None, **details) -> None:
    with mlflow.start_run():
        mlflow.log_metric("auc", 0.75)
        mlflow.log_param("trees", 10)
        # Without the list MLflow would install all requirements that it infers in a fresh environment.
        model = mlflow.onnx.log_model(
            graph, name="model", registered_model_name=name, pip_requirements=["onnx"], **details
        )
    client = mlflow.MlflowClient()
    if files is not None:
        client.log_model_artifacts(model.model_id, str(files))
    client.set_registered_model_alias(name, "champion", "1")
    client.set_model_version_tag(name, "1", "license", "MIT")


def documents(champion: Path, graph: bytes) -> Path:
    """Custom model.json and golden.json of a graph."""
    folder = Path(tempfile.mkdtemp())
    card = json.loads((champion / "model.json").read_text())
    card |= {"version": "2.1", "digest": hashlib.sha256(graph).hexdigest(), "description": "Its own card."}
    (folder / "model.json").write_text(json.dumps(card))
    shutil.copy(champion / "golden.json", folder)
    return folder


def external(width: int):
    """Weights over 1 kB, which MLflow keeps in a separate file."""
    weights = (np.random.default_rng(1).normal(size=(width, 64)) / 1e7).astype(np.float32)
    constants = [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([1], np.int64), "columns")]
    nodes = [
        helper.make_node("MatMul", ["features", "weights"], ["hidden"]),
        helper.make_node("ReduceSum", ["hidden", "columns"], ["sum"], keepdims=1),
        helper.make_node("Sigmoid", ["sum"], ["probability"]),
    ]
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", width])
    probability = helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 1])
    graph = helper.make_graph(nodes, "external", [features], [probability], constants)
    opsets = [helper.make_opsetid("", OPSET[""])]
    return weights, helper.make_model(graph, opset_imports=opsets, ir_version=8)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
