"""Turns a LightGBM booster into one ONNX TreeEnsembleRegressor node."""

import lightgbm
import numpy as np
from onnx import helper


def tree_ensemble_node(booster: lightgbm.Booster, input_name: str, output_name: str):
    """The booster as a node of the domain ai.onnx.ml: float32 [N, features] in, float32 [N, 1] out.

    The output is the raw score: a binary objective still needs a Sigmoid (onnxruntime ignores LOGISTIC here).
    """
    nodes = {"treeids": [], "nodeids": [], "featureids": [], "values": [], "modes": []}
    nodes |= {"truenodeids": [], "falsenodeids": []}
    leaves = {"treeids": [], "nodeids": [], "ids": [], "weights": []}

    def add(tree: int, node: dict, number: int) -> int:
        """Appends the node's subtree, numbered from `number` on; returns the next free number."""
        is_leaf = "leaf_value" in node
        row = len(nodes["nodeids"])
        nodes["treeids"].append(tree)
        nodes["nodeids"].append(number)
        nodes["modes"].append("LEAF" if is_leaf else "BRANCH_LEQ")
        nodes["featureids"].append(0 if is_leaf else node["split_feature"])
        nodes["values"].append(0.0 if is_leaf else float32_below(node["threshold"]))
        nodes["truenodeids"].append(0)
        nodes["falsenodeids"].append(0)
        if is_leaf:
            leaves["treeids"].append(tree)
            leaves["nodeids"].append(number)
            leaves["ids"].append(0)
            leaves["weights"].append(node["leaf_value"])
            return number + 1
        if node["decision_type"] != "<=":
            raise ValueError(f"Tree {tree} splits with {node['decision_type']}: only numeric splits are exported.")
        nodes["truenodeids"][row] = number + 1
        right = add(tree, node["left_child"], number + 1)
        nodes["falsenodeids"][row] = right
        return add(tree, node["right_child"], right)

    for tree in booster.dump_model()["tree_info"]:
        add(tree["tree_index"], tree["tree_structure"], 0)

    return helper.make_node(
        "TreeEnsembleRegressor",
        [input_name],
        [output_name],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        **{f"nodes_{name}": values for name, values in nodes.items()},
        **{f"target_{name}": values for name, values in leaves.items()},
    )


def float32_below(threshold: float) -> float:
    """The largest float32 not above the threshold.

    LightGBM compares float32 features with float64 thresholds, ONNX with float32 ones. Rounding down, and only down,
    sends every float32 feature value the same way.
    """
    rounded = np.float32(threshold)
    return float(np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded)
