"""Writes one version of a model as the registry reads it: model.onnx, model.json, golden.json."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

OPSETS = {"ai.onnx": 17, "ai.onnx.ml": 3}


def make_model(name: str, nodes: list, constants: list, input_tensor: str, width: int, output_tensor: str):
    """A checked ONNX model: float32 [batch, width] in, float32 [batch] out."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(input_tensor, TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info(output_tensor, TensorProto.FLOAT, ["batch"])],
        constants,
    )
    opsets = [helper.make_opsetid("" if domain == "ai.onnx" else domain, number) for domain, number in OPSETS.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="millrace")
    onnx.checker.check_model(model, full_check=True)
    return model


def write_version(folder: Path, model, manifest: dict, rows: np.ndarray, predictions: np.ndarray) -> None:
    """`manifest` lacks what is known only here: name, version (both from the folder), digest and opsets.

    `predictions` are the training library's own, float64, for `rows` (float32): they check the export.
    """
    if not (np.isfinite(rows).all() and np.isfinite(predictions).all()):
        raise ValueError("Golden rows and predictions have to be finite.")
    folder.mkdir(parents=True, exist_ok=True)
    data = model.SerializeToString(deterministic=True)
    (folder / "model.onnx").write_bytes(data)
    head = {
        "name": folder.parent.name,
        "version": folder.name,
        "digest": hashlib.sha256(data).hexdigest(),
        "license": "Apache-2.0",
        "runtime": {
            "format": "onnx",
            "opsets": {opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
            "input_tensor": model.graph.input[0].name,
            "output_tensor": model.graph.output[0].name,
        },
    }
    write_json(folder / "model.json", head | manifest)
    golden = [
        json.dumps({"features": [shortest(value) for value in row], "prediction": float(prediction)})
        for row, prediction in zip(rows, predictions, strict=True)
    ]
    (folder / "golden.json").write_text('{\n  "rows": [\n    ' + ",\n    ".join(golden) + "\n  ]\n}\n")


def write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def shortest(value: np.float32) -> float | int:
    """The float32 as JSON: whole numbers without a point, others with the fewest digits that read back the same."""
    return int(value) if value == np.trunc(value) else float(str(value))
