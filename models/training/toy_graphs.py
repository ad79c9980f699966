"""Writes small graphs as converters export them, for tests that read graphs.

    python models/training/toy_graphs.py models/testing/graphs

Needs the packages of requirements.txt. The models are fitted to a few rows and predict nothing.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

OPSET = {"": 17, "ai.onnx.ml": 3}


def classifiers() -> dict:
    rows, species = load_iris(return_X_y=True)
    names = load_iris().target_names[species]
    matrix = [("X", FloatTensorType([None, 4]))]
    doubles = [("X", DoubleTensorType([None, 4]))]
    linear = LogisticRegression(max_iter=500).fit(rows, names)
    whole = LogisticRegression(max_iter=500).fit(rows, np.array([-1, 0, 2**53 + 1])[species])
    nearest = KNeighborsClassifier().fit(rows[::5], names[::5])
    return {
        "iris-zipmap": convert_sklearn(linear, initial_types=matrix, target_opset=OPSET),
        "iris-columns": convert_sklearn(linear, initial_types=matrix, target_opset=OPSET, options={"zipmap": False}),
        "iris-each": convert_sklearn(linear, initial_types=matrix, target_opset=OPSET, options={"zipmap": "columns"}),
        "iris-double": convert_sklearn(linear, initial_types=doubles, target_opset=OPSET, options={"zipmap": False}),
        "iris-whole-number-labels": convert_sklearn(whole, initial_types=matrix, target_opset=OPSET),
        "iris-nearest": convert_sklearn(nearest, initial_types=matrix, target_opset=OPSET, options={"zipmap": False}),
    }


def regressor():
    rows, _ = load_iris(return_X_y=True)
    boosted = GradientBoostingRegressor(n_estimators=3, max_depth=2, random_state=1).fit(rows[:, :3], rows[:, 3])
    return convert_sklearn(boosted, initial_types=[("X", FloatTensorType([None, 3]))], target_opset=OPSET)


def passengers():
    """A pipeline with texts and missing values: one tensor for each column."""
    rows = pd.DataFrame(
        {
            "age": [20.0, 30, np.nan, 40, 50, 60] * 5,
            "sex": ["male", "female"] * 15,
            "pclass": [1, 2, 3] * 10,
            "fare": np.linspace(5, 100, 30),
        }
    )
    survived = np.array([0, 1, 0, 1, 1, 0] * 5)
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = ColumnTransformer(
        [("numbers", numbers, ["age", "fare"]), ("texts", OneHotEncoder(handle_unknown="ignore"), ["sex", "pclass"])]
    )
    model = make_pipeline(columns, LogisticRegression()).fit(rows, survived)
    one = [None, 1]
    types = [FloatTensorType(one), StringTensorType(one), Int64TensorType(one), FloatTensorType(one)]
    return convert_sklearn(model, initial_types=list(zip(rows.columns, types)), target_opset=OPSET)


def window():
    """The last and the mean value of a window [1, 6]: a vector of two numbers."""
    constants = [
        numpy_helper.from_array(np.array(values, np.int64), name)
        for name, values in {"from": [5], "to": [6], "axis": [2]}.items()
    ]
    nodes = [
        helper.make_node("Slice", ["window", "from", "to", "axis"], ["last"]),
        helper.make_node("Squeeze", ["last", "axis"], ["last_of_window"]),
        helper.make_node("ReduceMean", ["window"], ["mean_of_window"], axes=[2], keepdims=0),
        helper.make_node("Concat", ["last_of_window", "mean_of_window"], ["forecast"], axis=1),
    ]
    given = helper.make_tensor_value_info("window", TensorProto.FLOAT, ["batch", 1, 6])
    made = helper.make_tensor_value_info("forecast", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "window", [given], [made], constants)
    opsets = [helper.make_opsetid("", OPSET[""])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def main(folder: Path) -> None:
    graphs = classifiers() | {"petal": regressor(), "passengers": passengers(), "window": window()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, graph in graphs.items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
