"""Writes the tiny models that tests of the plumbing use, so that they need no trained one.

    python models/training/toy_models.py models/testing
"""

import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from version_folder import make_model, write_version

WIDTH = 3


def constant(name: str, values: list[int]):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def first_column() -> tuple[list, list]:
    """The first feature of each row as `first`, float32 [batch]."""
    constants = [constant("from", [0]), constant("to", [1]), constant("columns", [1])]
    nodes = [
        helper.make_node("Slice", ["features", "from", "to", "columns"], ["column"]),
        helper.make_node("Squeeze", ["column", "columns"], ["first"]),
    ]
    return nodes, constants


def sum_model() -> tuple[list, list]:
    return [helper.make_node("ReduceSum", ["features", "columns"], ["result"], keepdims=0)], [constant("columns", [1])]


def fails_on_negative() -> tuple[list, list]:
    """Looks `first < 0` up in a table that ends before `true`: one such row fails the run of its whole batch."""
    nodes, constants = first_column()
    constants += [
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.array([0], np.float32), "table"),
    ]
    nodes += [
        helper.make_node("Less", ["first", "zero"], ["is_negative"]),
        helper.make_node("Cast", ["is_negative"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["nothing"]),
        helper.make_node("ReduceSum", ["features", "columns"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "nothing"], ["result"]),
    ]
    return nodes, constants


def nan_on_negative() -> tuple[list, list]:
    """Natural logarithm of the first feature: NaN below zero, -Infinity at zero."""
    nodes, constants = first_column()
    return [*nodes, helper.make_node("Log", ["first"], ["result"])], constants


def busy() -> tuple[list, list]:
    """Adds like `sum`, after as many idle rounds as the largest first feature says."""
    nodes, constants = first_column()
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still_go_on"]),
            helper.make_node("Identity", ["before"], ["after"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, ["batch"]),
        ],
        [
            helper.make_tensor_value_info("still_go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, ["batch"]),
        ],
    )
    nodes += [
        helper.make_node("ReduceMax", ["first"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["rounds"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["features", "columns"], ["sum"], keepdims=0),
        helper.make_node("Loop", ["rounds", "", "sum"], ["result"], body=body),
    ]
    return nodes, constants


def manifest(description: str, meaning: str) -> dict:
    return {
        "description": description,
        "inputs": [
            {"name": name, "dtype": "float32", "meaning": "any number"} for name in ("first", "second", "third")
        ],
        "output": {"name": "result", "dtype": "float32", "meaning": meaning},
        "metrics": {},
        "model_card": {"intended_use": "Tests of what carries models, not of models.", "limits": ["Predicts nothing."]},
    }


def main(root: Path) -> None:
    rows = np.array([[1, 2, 3], [0.5, -0.25, 4], [1000, 0, -1], [7, 7, 7]], np.float32)
    total, logarithm = rows.sum(axis=1, dtype=np.float64), np.log(rows[:, 0].astype(np.float64))
    toys = [
        ("sum", sum_model, total, "Adds its three features.", "sum of the features"),
        (
            "fails-on-negative",
            fails_on_negative,
            total,
            "Adds its three features; a negative first feature in any row fails the run of the whole batch.",
            "sum of the features",
        ),
        (
            "nan-on-negative",
            nan_on_negative,
            logarithm,
            "Natural logarithm of the first feature: NaN for a negative one, -Infinity for 0.",
            "logarithm of the first feature",
        ),
        (
            "busy",
            busy,
            total,
            "Adds its three features, after as many idle rounds as the largest first feature says: a run takes as long as its rows want.",
            "sum of the features",
        ),
    ]
    for name, build, predictions, description, meaning in toys:
        model = make_model(name, *build(), "features", WIDTH, "result")
        write_version(root / name / "1", model, manifest(description, meaning), rows, predictions)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
