"""Exports a trained model into a Millrace project, ready to serve. Copy this one file to where you train.

    from millrace_export import export

    export(model, rows, "my-project", "churn", key="customer_id")

`model` is a fitted scikit-learn estimator or pipeline, a LightGBM, XGBoost or CatBoost model (native or with
scikit-learn's interface), or a PyTorch module. `rows` is a DataFrame of rows as events will bring them, twenty
or more; a column that is no feature of the model becomes a field of the event only. It writes

    models/<name>/<version>/         model.onnx, model.json, golden.json
    schemas/<name>/event.v1.avsc     one field for each column of `rows`
    processors/pipelines/<name>/     pipeline.json
    examples/<name>.json, .jsonl     an event, and more of them
    tests/<name>.test.mjs            a test, for node --test

Golden rows hold the predictions of the library that trained the model. Nothing is written if the exported
graph does not repeat them. Needs numpy, pandas, onnx, onnxruntime, and what your model is made with:
scikit-learn: skl2onnx. LightGBM, XGBoost: onnxmltools, skl2onnx. PyTorch: onnxscript.
"""

import contextlib
import copy
import hashlib
import io
import json
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd

OPSETS = {"": 18, "ai.onnx.ml": 3}
ONNXMLTOOLS_OPSET = 15
DTYPES = {"float32": np.float32, "float64": np.float64, "int64": np.int64, "bool": np.bool_, "string": object}
AVRO = {"float64": "double", "float32": "double", "int64": "long", "bool": "boolean", "string": "string"}
MISSING_TEXT = "<missing>"
MOST_ROWS = 1000
GOLDEN_ROWS = 20
ALONE_ROWS = 100
SAMPLES = 100
SPLITS_LIMIT = (
    "HistGradientBoosting splits at numbers of 64 bits, and this graph at numbers of 32: a row with a number within "
    "1e-7, relative, of a split can take the other branch."
)


class ExportError(Exception):
    """The model can't be exported. The message says why and what to change."""


@dataclass
class Predictions:
    """What the library itself predicts for the rows."""

    values: np.ndarray  # [rows] or [rows, …]: probabilities, scores of classes, or numbers
    labels: list | None = None  # one a row
    classes: list | None = None  # in the order of the columns of values


@dataclass
class Graph:
    """A graph and how its tensors are fed and read."""

    onnx: onnx.ModelProto
    inputs: list  # of Input, in the model's order
    matrix: str | None  # tensor whose columns are the inputs; None: each input is a tensor
    values: str  # output with the numbers of Predictions
    label: str | None = None  # output with the labels
    limits: list = field(default_factory=list)  # sentences for the model card
    session: object = None  # of onnxruntime, once it has run


@dataclass
class Input:
    name: str
    dtype: str
    shape: tuple = ()
    missing: object = None  # None: refused, "nan", or a value that takes its place
    encoding: dict | None = None  # text → number
    extra: dict = field(default_factory=dict)

    def tensor(self, column: pd.Series) -> np.ndarray:
        if self.shape:
            return np.stack([np.asarray(value, DTYPES[self.dtype]).reshape(self.shape) for value in column])
        if self.encoding is not None:
            column = column.map(self.encoding)
        if self.missing is not None and self.missing != "nan":
            column = column.astype(object).where(column.notna(), self.missing)
        return column.to_numpy(DTYPES[self.dtype])


def export(
    model,
    rows: pd.DataFrame,
    project,
    name: str,
    *,
    version: str = "1",
    key: str | None = None,
    label: str | None = None,
    classes: list | None = None,
    license: str = "NOASSERTION",
    description: str | None = None,
    intended_use: str | None = None,
    tolerance: float = 1e-5,
) -> Path:
    """Writes the model, its contract and its pipeline into the folder `project`, and returns the model's folder.

    key: column that orders events and picks their partition, such as a customer's number.
    label: column with the truth, which `rows` may still have: it is left out.
    classes: names of a PyTorch module's outputs, if it is a classifier that returns one number for each class.
    tolerance: largest difference between graph and library, relative to the largest prediction; at most 0.01.

    A folder of this version that exists is replaced, all at once: train again in place while `millrace up --dev`
    runs, and give a new version to what is released. Contract, pipeline and example are written once: they stay as
    they are if they exist. Raises ExportError if the model can't be exported; then nothing has changed.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise ExportError(
            f"The name '{name}' has to be lower-case words with hyphens between, such as churn-risk."
        )
    events = rows.drop(columns=[label] if label else []).reset_index(drop=True).head(MOST_ROWS)
    if len(events) < 2:
        raise ExportError(
            "rows has to have at least two rows: golden rows and the contract are made from them."
        )
    for column in [key] if key else []:
        if column not in events:
            raise ExportError(
                f"key '{column}' is no column of rows. There are: {', '.join(map(str, events))}."
            )
    check_columns(events)
    library = library_of(model)
    features = events[feature_names(model, events, key, library)]
    expected, candidates = READERS[library](model, features, classes)
    graph, outputs = best(candidates, features, expected, tolerance)
    folder = Path(project) / "models" / name / version
    files = version_files(
        folder, graph, features, expected, outputs, tolerance, license, description, intended_use
    )
    once = pipeline_files(name, events, key, expected)
    replace_folder(folder, files)
    for path, content in once.items():
        if not (Path(project) / path).exists():
            (Path(project) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(project) / path).write_bytes(content.encode())
    for limit in graph.limits:
        print(f"{folder}: {limit}")
    return folder


# What the model is


def library_of(model) -> str:
    modules = {cls.__module__.split(".")[0] for cls in type(model).__mro__}
    if "torch" in modules:
        return "pytorch"
    if "catboost" in modules:
        return "catboost"
    if type(model).__name__ == "Booster" and modules & {"lightgbm", "xgboost"}:
        return "lightgbm" if "lightgbm" in modules else "xgboost"
    if hasattr(model, "predict") or hasattr(model, "transform"):
        return "sklearn"
    raise ExportError(
        f"A {type(model).__module__}.{type(model).__name__} can't be exported: it is no scikit-learn, LightGBM, XGBoost, "
        "CatBoost or PyTorch model. If it can be saved as ONNX, use `millrace new NAME --model FILE.onnx --sample ROWS`."
    )


def feature_names(model, events: pd.DataFrame, key: str | None, library: str) -> list:
    """The model's features: by the names that it was trained with, else all columns but the key."""
    names = getattr(model, "feature_names_in_", None)
    if library == "lightgbm":
        names = model.feature_name()
    elif library in ("xgboost", "catboost"):
        names = getattr(model, "feature_names", None) or getattr(model, "feature_names_", None)
    elif library == "pytorch":
        names = [name for name in module_arguments(model) if name in events] or None
    elif names is None and hasattr(model, "steps"):
        names = getattr(model.steps[0][1], "feature_names_in_", None)
    if names is not None and all(name in events for name in names):
        return list(names)
    columns = [column for column in events if column != key]
    if names is not None and library in ("sklearn", "pytorch"):
        absent = [name for name in names if name not in events]
        raise ExportError(f"The model was trained with {', '.join(absent)}, which rows does not have.")
    wanted = len(names) if names is not None else getattr(model, "n_features_in_", len(columns))
    if wanted != len(columns):
        raise ExportError(
            f"The model has {wanted} features, and rows has {len(columns)} columns: {', '.join(columns)}."
        )
    return columns


def check_columns(events: pd.DataFrame) -> None:
    for column in events:
        if not isinstance(column, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", column):
            raise ExportError(
                f"The column '{column}' can't be a field of an event: a name is letters, digits and _, and starts with "
                "no digit. Rename it in rows before training, as in rows.rename(columns={…})."
            )
        present = events[column].dropna()
        if kind_of(events[column]) in ("float64", "array") and any(
            np.isinf(np.asarray(value, float)).any() for value in present
        ):
            raise ExportError(
                f"The column '{column}' holds an infinite number, which no event can hold: replace it in rows before "
                "training, for example with NaN if it stands for a missing value."
            )


def kind_of(column: pd.Series) -> str:
    """float64, int64, bool, string or array; a column with missing values has the kind of the others."""
    present = column[column.notna()]
    if present.empty:
        raise ExportError(
            f"The column '{column.name}' holds no value at all in the first {len(column)} rows. Drop it before "
            "training, or give rows that have a value of it: its type in events is made from them."
        )
    if pd.api.types.is_bool_dtype(column.dtype):
        return "bool"
    if pd.api.types.is_integer_dtype(column.dtype):
        return "int64"
    if pd.api.types.is_float_dtype(column.dtype):
        return "float64"
    types = {type(value) for value in present}
    if types <= {str, np.str_}:
        return "string"
    if types <= {bool, np.bool_}:
        return "bool"
    if all(issubclass(one, (int, np.integer)) for one in types):
        return "int64"
    if all(issubclass(one, (int, float, np.number)) for one in types):
        return "float64"
    if types <= {list, tuple, np.ndarray}:
        return "array"
    found = ", ".join(sorted(one.__name__ for one in types))
    raise ExportError(
        f"The column '{column.name}' holds {found}. A column is numbers, texts, booleans or arrays of numbers of one shape. "
        "Convert dates to numbers in rows before training, and give columns of mixed types one type."
    )


def inputs_of(features: pd.DataFrame, float_dtype: str, keep_integers: bool) -> list:
    inputs = []
    for name in features:
        column, kind = features[name], kind_of(features[name])
        any_missing = any(map(missing, column))
        if kind == "array":
            shapes = {np.shape(value) for value in column}
            if len(shapes) != 1:
                raise ExportError(
                    f"The arrays of the column '{name}' differ in shape: {sorted(map(str, shapes))[:4]}."
                )
            inputs.append(Input(name, float_dtype, shapes.pop(), "nan" if any_missing else None))
            continue
        dtype = kind
        if kind == "float64" or (kind in ("int64", "bool") and (any_missing or not keep_integers)):
            dtype = float_dtype
        inputs.append(Input(name, dtype, (), ("nan" if dtype != "string" else "") if any_missing else None))
    return inputs


# scikit-learn, and LightGBM and XGBoost with its interface


def read_sklearn(model, features, _classes):
    for part in parts_of(model):
        if type(part).__module__.startswith("xgboost"):
            check_trees(part.get_booster())
        if type(part).__name__ == "KNNImputer":
            raise ExportError(
                "The graph of a KNNImputer ends the process of onnxruntime 1.30, with which Millrace serves, at a row "
                "in which nothing is missing. Impute with a SimpleImputer."
            )
    with without_warnings():
        expected = sklearn_predictions(model, features)
    return expected, sklearn_candidates(model, features, expected)


def sklearn_predictions(model, features) -> Predictions:
    given = (
        features
        if getattr(model, "feature_names_in_", None) is not None or hasattr(model, "steps")
        else features.to_numpy()
    )
    kind = getattr(model, "_estimator_type", None) or sklearn_kind(model)
    if kind == "classifier":
        labels = np.asarray(model.predict(given))
        if labels.ndim > 1:
            raise ExportError(
                "A classifier of several labels a row can't be exported. Export one classifier for each label."
            )
        for method in ("predict_proba", "decision_function"):
            if callable(getattr(model, method, None)):
                values = np.asarray(getattr(model, method)(given), np.float64)
                return Predictions(values, list(labels), list(model.classes_))
        raise ExportError(
            f"{type(model).__name__} has neither predict_proba nor decision_function: it gives no score."
        )
    if kind == "outlier_detector":
        return Predictions(np.ravel(model.decision_function(given)), list(model.predict(given)))
    if kind == "clusterer":
        distances = np.asarray(model.transform(given))
        return Predictions(distances, list(model.predict(given)), list(range(distances.shape[1])))
    method = "predict" if hasattr(model, "predict") else "transform"
    return Predictions(np.asarray(getattr(model, method)(given), np.float64))


def sklearn_kind(model):
    from sklearn.base import is_classifier, is_clusterer, is_outlier_detector

    for test, kind in (
        (is_classifier, "classifier"),
        (is_outlier_detector, "outlier_detector"),
        (is_clusterer, "clusterer"),
    ):
        if test(model):
            return kind
    return None


def sklearn_candidates(model, features, expected):
    """From the usual to the unusual: each is tried until one repeats the library's predictions."""
    register_boosters()
    # Histogram boosting splits between numbers of 64 bits; all other trees between numbers of 32.
    wide = any(map(is_histogram_boosting, parts_of(model)))
    float_dtypes = ("float64", "float32") if wide else ("float32", "float64")
    if "string" not in map(kind_of, map(features.get, features)) and not selects_columns(model):
        for float_dtype in float_dtypes:
            inputs = inputs_of(features, float_dtype, False)
            yield lambda i=inputs, d=float_dtype: sklearn_graph(model, i, "features", d, expected)
        return
    for keep_integers in (True, False):
        for float_dtype in float_dtypes:
            for inputs in fillings(inputs_of(features, float_dtype, keep_integers), model):
                yield lambda i=inputs, d=float_dtype: sklearn_graph(model, i, None, d, expected)


def selects_columns(model) -> bool:
    """Whether a step of the model selects columns by name, so that each is a tensor of its own."""
    if type(model).__name__ == "ColumnTransformer":
        return True
    parts = [
        part
        for _, part, *_ in getattr(model, "steps", None) or getattr(model, "transformer_list", None) or []
    ]
    parts += [
        part
        for part in (getattr(model, "estimator", None), getattr(model, "regressor", None))
        if part is not None
    ]
    return any(selects_columns(part) for part in parts)


def fillings(inputs: list, model) -> list:
    """Ways to hand a missing text to the graph. Which one the model's encoder takes for missing is found by trying."""
    texts = [one for one in inputs if one.dtype == "string" and one.missing is not None]
    if not texts:
        return [inputs]
    ways = []
    imputed = any(fills_texts(part) for part in parts_of(model))
    for fill in ([MISSING_TEXT] if imputed else []) + ["", "None"]:
        ways.append([Input(i.name, i.dtype, i.shape, fill) if i in texts else i for i in inputs])
    return ways


def fills_texts(part) -> bool:
    """Whether it is an imputer of texts, whose graph takes a text for missing, and not NaN."""
    return (
        type(part).__name__ == "SimpleImputer"
        and part.statistics_.dtype == object
        and missing(part.missing_values)
    )


def parts_of(model):
    yield model
    for name in ("steps", "transformers_", "transformer_list"):
        for _, part, *_ in getattr(model, name, None) or []:
            if not isinstance(part, str):
                yield from parts_of(part)
    members = getattr(model, "estimators_", None)
    for part in members if isinstance(members, list) else []:
        yield from parts_of(part)


def sklearn_graph(model, inputs, matrix, float_dtype, expected) -> Graph:
    from skl2onnx import convert_sklearn
    from skl2onnx.common import data_types

    types = {
        "float32": data_types.FloatTensorType,
        "float64": data_types.DoubleTensorType,
        "int64": data_types.Int64TensorType,
        "bool": data_types.BooleanTensorType,
        "string": data_types.StringTensorType,
    }
    if matrix:
        initial = [(matrix, types[float_dtype]([None, len(inputs)]))]
    else:
        initial = [(one.name, types[one.dtype]([None, 1])) for one in inputs]
    options = {}
    if expected.classes is not None and sklearn_kind(model) == "classifier":
        options = {"zipmap": False}
        if not callable(getattr(model, "predict_proba", None)):
            options["raw_scores"] = True
    model = last = ready_to_convert(model)
    while hasattr(last, "steps"):
        last = last.steps[-1][1]
    attempts = [options, *({one: options[one]} for one in options), {}]
    # skl2onnx gives the options of a pipeline to its last step, and zipmap even if that has no such option.
    for target, attempt in [(id(one), attempt) for one in (model, last) for attempt in attempts]:
        try:
            with without_warnings(), numpy_booleans():
                options = {target: attempt} if attempt else None
                graph = convert_sklearn(model, initial_types=initial, target_opset=OPSETS, options=options)
            break
        except NameError as error:  # an option that this converter does not have
            problem = error
    else:
        raise problem
    if not matrix:
        inputs = drop_unused(graph, inputs)
    limits = []
    for part in filter(is_histogram_boosting, parts_of(model)):
        if float_dtype == "float64":
            split_at_bins(graph.graph, part)
        else:
            limits = [SPLITS_LIMIT]
    names = [output.name for output in graph.graph.output]
    if expected.labels is None:
        return Graph(graph, inputs, matrix, names[0], limits=limits)
    return Graph(graph, inputs, matrix, names[1], names[0], limits)


def is_histogram_boosting(part) -> bool:
    return type(part).__name__.startswith("HistGradientBoosting")


def split_at_bins(graph, part) -> None:
    """Lets the trees of histogram boosting split at numbers of bins, which the graph finds in 64 bits.

    skl2onnx rounds the numbers at which they split to 32 bits: a row close to one would take the other branch.
    """
    nodes = np.concatenate([tree.nodes for trees in part._predictors for tree in trees])
    splits = np.where(nodes["is_leaf"], 0, nodes["num_threshold"]).astype(np.float32)
    found = [
        (at, values)
        for at, node in enumerate(graph.node)
        for values in node.attribute
        if values.name == "nodes_values" and np.array_equal(values.floats, splits)
    ]
    if nodes["is_categorical"].any():
        raise ExportError(
            "skl2onnx does not convert categorical_features of HistGradientBoosting. Train without, and encode the "
            "categories as numbers before it, for example with a OneHotEncoder."
        )
    ((at, values),) = found
    values.floats[:] = np.where(nodes["is_leaf"], 0, nodes["bin_threshold"])
    ends = part._bin_mapper.bin_thresholds_
    table = np.full((len(ends), max(map(len, ends))), np.inf)
    for feature, row in enumerate(ends):
        table[feature, : len(row)] = row
    name = f"bins_{at}"
    for part, value in (("ends", table), ("axes", np.array([2])), ("nan", np.float32([np.nan]))):
        graph.initializer.append(onnx.numpy_helper.from_array(value, f"{name}_{part}"))
    trees = graph.node[at]
    steps = [
        ("Cast", [trees.input[0]], "wide", {"to": onnx.TensorProto.DOUBLE}),
        ("Unsqueeze", [f"{name}_wide", f"{name}_axes"], "each", {}),
        ("Greater", [f"{name}_each", f"{name}_ends"], "above", {}),
        ("Cast", [f"{name}_above"], "ones", {"to": onnx.TensorProto.FLOAT}),
        ("ReduceSum", [f"{name}_ones", f"{name}_axes"], "count", {"keepdims": 0}),
        ("IsNaN", [f"{name}_wide"], "missing", {}),
        ("Where", [f"{name}_missing", f"{name}_nan", f"{name}_count"], "bins", {}),
    ]
    trees.input[0] = f"{name}_bins"
    for output in graph.output:
        if output.name == trees.output[-1]:  # skl2onnx says 64 bits, and trees give numbers of 32
            output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for offset, (op, inputs, output, attributes) in enumerate(steps):
        graph.node.insert(at + offset, onnx.helper.make_node(op, inputs, [f"{name}_{output}"], **attributes))


def drop_unused(graph, inputs: list) -> list:
    """Leaves out columns that the model was given in training, but does not use, such as a row's number."""
    used = {name for node in graph.graph.node for name in node.input}
    kept = [one for one in graph.graph.input if one.name in used]
    del graph.graph.input[:]
    graph.graph.input.extend(kept)
    return [one for one in inputs if one.name in used]


def register_boosters() -> None:
    """Lets skl2onnx convert LightGBM's and XGBoost's estimators, alone and in pipelines."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes as classifier,
        calculate_linear_regressor_output_shapes as regressor,
    )

    choices = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    with contextlib.suppress(ImportError):
        import lightgbm
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        update_registered_converter(
            lightgbm.LGBMClassifier, "LgbmClassifier", classifier, convert_lightgbm, options=choices
        )
        update_registered_converter(
            lightgbm.LGBMRegressor, "LgbmRegressor", regressor, convert_lightgbm, options={"split": None}
        )
    with contextlib.suppress(ImportError):
        import xgboost
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

        for one in (xgboost.XGBClassifier, xgboost.XGBRFClassifier):
            update_registered_converter(
                one, "Xgb" + one.__name__, classifier, convert_xgboost, options=choices
            )
        for one in (xgboost.XGBRegressor, xgboost.XGBRFRegressor):
            update_registered_converter(one, "Xgb" + one.__name__, regressor, convert_xgboost)


@contextlib.contextmanager
def numpy_booleans():
    """skl2onnx gives onnx lists with numpy's booleans, which onnx from 1.19 refuses: whole numbers instead."""
    from skl2onnx.common import _container

    make_node = _container.make_node

    def plain(value):
        if isinstance(value, (list, tuple)) and any(isinstance(one, (bool, np.bool_)) for one in value):
            return [int(one) for one in value]
        return value

    _container.make_node = lambda *args, **attributes: make_node(
        *args, **{k: plain(v) for k, v in attributes.items()}
    )
    try:
        yield
    finally:
        _container.make_node = make_node


@contextlib.contextmanager
def without_warnings():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# Native LightGBM, XGBoost and CatBoost


def read_lightgbm(model, features, _classes):
    encoded, encodings = encode_categories(model, features)
    values = np.asarray(model.predict(encoded.to_numpy(np.float64)), np.float64)
    objective = str(model.params.get("objective") or model.dump_model().get("objective", "")).split(" ")[0]
    expected = booster_predictions(
        values, objective in ("binary", "cross_entropy"), objective.startswith("multi")
    )

    def candidate():
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        types = [("features", FloatTensorType([None, features.shape[1]]))]
        with without_warnings():
            graph = convert_lightgbm(model, initial_types=types, target_opset=ONNXMLTOOLS_OPSET, zipmap=False)
        return booster_graph(graph, inputs_with(features, encodings), expected)

    return expected, [candidate]


def encode_categories(model, features):
    """LightGBM's categories are numbers to the graph: each text gets the number that LightGBM gave it in training."""
    categories = model.pandas_categorical or []
    texts = [name for name in features if kind_of(features[name]) == "string"]
    if len(texts) != len(categories):
        raise ExportError(
            f"{', '.join(texts) or 'No column'} of rows holds texts, and the model was trained with {len(categories)} "
            "columns of the dtype 'category'. Give rows the columns that the model was trained with."
        )
    encodings = {
        name: {str(value): number for number, value in enumerate(values)}
        for name, values in zip(texts, categories)
    }
    encoded = features.copy()
    for name, encoding in encodings.items():
        encoded[name] = features[name].astype(object).map(encoding).astype(float)
    return encoded, encodings


def inputs_with(features, encodings: dict) -> list:
    numeric = features.copy()
    for name, encoding in encodings.items():
        numeric[name] = features[name].astype(object).map(encoding).astype(float)
    inputs = inputs_of(numeric, "float32", False)
    for one in inputs:
        one.encoding = encodings.get(one.name)
    return inputs


def read_xgboost(model, features, _classes):
    import xgboost

    check_trees(model)
    objective = json.loads(model.save_config())["learner"]["objective"]["name"]
    given = xgboost.DMatrix(features.to_numpy(np.float64), feature_names=model.feature_names)
    values = np.asarray(model.predict(given), np.float64)
    if objective == "multi:softmax":
        margins = np.asarray(model.predict(given, output_margin=True), np.float64)
        values = np.exp(margins - margins.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    expected = booster_predictions(values, objective == "binary:logistic", objective.startswith("multi:"))

    def candidate():
        from onnxmltools import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        types = [("features", FloatTensorType([None, features.shape[1]]))]
        with without_warnings():
            graph = convert_xgboost(
                ready_to_convert(model), initial_types=types, target_opset=ONNXMLTOOLS_OPSET
            )
        return booster_graph(graph, inputs_of(features, "float32", False), expected)

    return expected, [candidate]


def check_trees(booster) -> None:
    kind = json.loads(booster.save_config())["learner"]["gradient_booster"]["name"]
    if kind != "gbtree":
        raise ExportError(
            f"onnxmltools converts XGBoost's booster 'gbtree', and this one is '{kind}': train with gbtree."
        )


def ready_to_convert(model):
    """A copy as converters need it: XGBoost's features have numbers for names, and a missing text is a text."""
    model = copy.deepcopy(model)
    for part in parts_of(model):
        if fills_texts(part):
            part.missing_values = MISSING_TEXT
        booster = part.get_booster() if type(part).__module__.startswith("xgboost.sklearn") else part
        if type(booster).__module__ == "xgboost.core":
            booster.feature_names = None
            booster.feature_types = None
    return model


def booster_predictions(values, binary: bool, multiclass: bool) -> Predictions:
    if binary:
        values = np.column_stack([1 - values, values])
    if not (binary or multiclass):
        return Predictions(values)
    return Predictions(values, list(values.argmax(axis=1)), list(range(values.shape[1])))


def booster_graph(graph, inputs, expected) -> Graph:
    names = [output.name for output in graph.graph.output]
    if expected.labels is None:
        return Graph(graph, inputs, "features", names[-1])
    return Graph(graph, inputs, "features", names[1], names[0])


def read_catboost(model, features, _classes):
    if model.get_cat_feature_indices() or model.get_text_feature_indices():
        raise ExportError(
            "CatBoost writes no ONNX for a model with categorical or text features. Turn them into numbers before "
            "training, for example with scikit-learn's OneHotEncoder, and train without cat_features."
        )
    if not hasattr(model, "predict_proba") and len(model.classes_):
        values = np.asarray(model.predict(features, prediction_type="Probability"), np.float64)
    elif len(model.classes_):
        values = np.asarray(model.predict_proba(features), np.float64)
    else:
        values = np.asarray(model.predict(features), np.float64)
    expected = Predictions(values)
    if len(model.classes_):
        labels = np.ravel(model.predict(features, prediction_type="Class"))
        expected = Predictions(values, list(labels), list(model.classes_))

    def candidate():
        with tempfile.TemporaryDirectory() as folder:
            model.save_model(f"{folder}/model.onnx", format="onnx")
            graph = onnx.load(f"{folder}/model.onnx")
        return booster_graph(graph, inputs_of(features, "float32", False), expected)

    return expected, [candidate]


# PyTorch


def module_arguments(module) -> list:
    import inspect

    return [name for name in inspect.signature(module.forward).parameters]


def read_pytorch(module, features, classes):
    import torch

    module = module.eval()
    names = module_arguments(module)
    inputs = inputs_of(features, "float32", True)
    each = all(name in features for name in names)
    if each:
        given = tuple(torch.from_numpy(one.tensor(features[one.name])) for one in inputs)
    elif len(names) == 1:
        inputs = inputs_of(features, "float32", False)
        given = (torch.from_numpy(np.column_stack([one.tensor(features[one.name]) for one in inputs])),)
    else:
        raise ExportError(
            f"forward takes {', '.join(names)}. Name the columns of rows like that, each with the tensor of that argument "
            "(a number or an array a row), or let forward take one matrix of all features."
        )
    with torch.no_grad():
        result = module(*given)
    results = [
        one.numpy().astype(np.float64) for one in (result if isinstance(result, (tuple, list)) else [result])
    ]
    expected = Predictions(results[0].reshape(len(features), *results[0].shape[1:]))
    if classes is not None:
        if expected.values.shape != (len(features), len(classes)):
            raise ExportError(
                f"The module returns {expected.values.shape[1:]} a row, and classes names {len(classes)}: it has to return "
                "one number for each class."
            )
        expected = Predictions(
            expected.values, [classes[i] for i in expected.values.argmax(axis=1)], list(classes)
        )

    def candidate():
        outputs = ["output", *(f"output_{number}" for number in range(2, len(results) + 1))]
        tensors = names if each else ["features"]
        batch = torch.export.Dim("batch")
        with tempfile.TemporaryDirectory() as folder, without_warnings(), contextlib.redirect_stdout(
            io.StringIO()
        ):
            torch.onnx.export(
                module,
                given,
                f"{folder}/model.onnx",
                input_names=tensors,
                output_names=outputs,
                dynamic_shapes=tuple({0: batch} for _ in given),
                dynamo=True,
                external_data=False,
                optimize=True,
            )
            graph = onnx.load(f"{folder}/model.onnx")
        return Graph(graph, inputs, None if each else "features", outputs[0])

    return expected, [candidate]


READERS = {
    "sklearn": read_sklearn,
    "lightgbm": read_lightgbm,
    "xgboost": read_xgboost,
    "catboost": read_catboost,
    "pytorch": read_pytorch,
}


# Comparing the graph with the library


def best(candidates, features, expected: Predictions, tolerance: float):
    """The first graph that repeats the library's predictions, and its outputs for the rows."""
    problems, made = [], []
    for candidate in candidates:
        try:
            graph = candidate()
            outputs = run(graph, features)
            # Other machines and versions of onnxruntime round differently: one that is much closer comes first.
            if difference(outputs, graph, expected, tolerance / 10) is None:
                made.insert(0, (graph, outputs))
                break
            made.append((graph, outputs))
        except ExportError:
            raise
        except Exception as error:  # noqa: BLE001 - converters and onnxruntime raise whatever they like
            problems.append(told(error))
    for graph, outputs in made:
        problem = difference(outputs, graph, expected, tolerance)
        problem = problem or difference_alone(graph, features, outputs, tolerance)
        if problem is None:
            return graph, outputs
        problems.append(problem)
    raise ExportError(
        "The graph can't be made, or does not repeat the library's predictions. What was tried:\n- "
        + "\n- ".join(dict.fromkeys(problems))
    )


def told(error: Exception) -> str:
    if type(error).__name__ in ("MissingShapeCalculator", "MissingConverter"):
        (name,) = re.findall(r"\.(\w+)'>", str(error)) or [""]
        return f"skl2onnx has no converter for {name}"
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"


def run(graph: Graph, features: pd.DataFrame) -> dict:
    tensors = [one.tensor(features[one.name]) for one in graph.inputs]
    if graph.matrix:
        given = {graph.matrix: np.column_stack(tensors)}
    else:
        ranks = {one.name: len(one.type.tensor_type.shape.dim) for one in graph.onnx.graph.input}
        given = {
            one.name: tensor.reshape(-1, 1) if tensor.ndim == 1 and ranks[one.name] == 2 else tensor
            for one, tensor in zip(graph.inputs, tensors)
        }
    if graph.session is None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        graph.session = onnxruntime.InferenceSession(
            graph.onnx.SerializeToString(), options, ["CPUExecutionProvider"]
        )
    session = graph.session
    names = [output.name for output in session.get_outputs()]
    return {name: table(value) for name, value in zip(names, session.run(names, given))}


def difference_alone(graph: Graph, features: pd.DataFrame, outputs: dict, tolerance: float) -> str | None:
    """Rows alone have to give what they give among others: Millrace's batches have any size."""
    wanted = np.asarray(outputs[graph.values], np.float64)
    scale = max(1.0, float(np.abs(wanted).max()))
    for row in range(min(len(features), ALONE_ROWS)):
        got = np.asarray(run(graph, features.iloc[[row]])[graph.values], np.float64)[0]
        if not np.abs(got - wanted[row]).max() <= tolerance * scale:
            return f"row {row}: the graph says {wanted[row]} among other rows, and {got} alone"
    return None


def table(value) -> np.ndarray:
    """A tensor as it is, and a ZipMap's list of {class: probability} as a tensor with a column for each class."""
    return np.array([list(row.values()) for row in value]) if isinstance(value, list) else value


def difference(outputs: dict, graph: Graph, expected: Predictions, tolerance: float) -> str | None:
    wanted = expected.values
    got = np.asarray(outputs[graph.values], np.float64)
    if got.shape != wanted.shape and got.size == wanted.size:
        got = got.reshape(wanted.shape)
    if got.ndim == 2 and got.shape[1] == 2 and wanted.ndim == 1:
        expected.values = wanted = np.column_stack(
            [-wanted, wanted]
        )  # a linear score for each of two classes
        if np.abs(got - wanted[:, ::-1]).max() <= tolerance * max(1.0, float(np.abs(wanted).max())):
            expected.values, expected.classes = wanted[:, ::-1], expected.classes[::-1]
            wanted = expected.values
    if got.shape != wanted.shape:
        return f"the graph's output {graph.values} has the shape {got.shape}, the library's prediction {wanted.shape}"
    scale = max(1.0, float(np.abs(wanted).max()))
    distance = np.abs(got - wanted) / scale
    if not distance.max() <= tolerance:
        at = np.unravel_index(np.nanargmax(np.where(np.isnan(distance), np.inf, distance)), distance.shape)
        return (
            f"row {at[0]}: the graph says {got[at]}, the library {wanted[at]}: {distance[at]:.1g} apart, relative to the "
            f"largest; the tolerance is {tolerance}"
        )
    if expected.labels is None:
        return None
    if not can_name_labels(graph, outputs, expected):
        graph.label = None
    if graph.label is None:
        labels = [text_of(expected.classes[column]) for column in got.argmax(axis=1)]
    else:
        labels = [text_of(one) for one in np.ravel(outputs[graph.label])]
    for row, (one, label) in enumerate(zip(labels, expected.labels)):
        if one != text_of(label) and not is_tie(wanted[row], tolerance):
            return f"row {row}: the graph's label is {one}, the library's {text_of(label)}"
    return None


def can_name_labels(graph: Graph, outputs: dict, expected: Predictions) -> bool:
    if expected.classes is None:
        return True
    names = {text_of(one) for one in expected.classes}
    return graph.label is not None and {text_of(one) for one in np.ravel(outputs[graph.label])} <= names


def is_tie(values, tolerance: float) -> bool:
    ordered = np.sort(np.ravel(values))
    if len(ordered) == 1:
        return abs(ordered[0]) <= tolerance  # the score of an outlier detector, which decides by its sign
    return ordered[-1] - ordered[-2] <= 2 * tolerance * max(1.0, np.abs(ordered).max())


def text_of(label) -> str:
    if isinstance(label, (bool, np.bool_)):
        return "true" if label else "false"
    if isinstance(label, (float, np.floating)) and float(label).is_integer():
        return str(int(label))
    return str(label)


# What is written


def replace_folder(folder: Path, files: dict) -> None:
    """Writes a folder of files in one step, in place of one that exists."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as beside:
        new, old = Path(beside) / "new", Path(beside) / "old"
        new.mkdir()
        for name, content in files.items():
            (new / name).write_bytes(content)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise


def version_files(
    folder, graph, features, expected, outputs, tolerance, license, description, intended_use
) -> dict:
    data = graph.onnx.SerializeToString(deterministic=True)
    runtime = {
        "format": "onnx",
        "opsets": {opset.domain or "ai.onnx": opset.version for opset in graph.onnx.opset_import},
    }
    if graph.matrix:
        runtime["input_tensor"] = graph.matrix
    runtime["output_tensor"] = graph.values
    if graph.label:
        runtime["label_tensor"] = graph.label
    name = output_name(expected)
    main = {"name": name, "dtype": str(outputs[graph.values].dtype)}
    if expected.classes is not None:
        main["classes"] = [text_of(one) for one in expected.classes]
        if name == "scores":
            main["scale"] = "number"
    further = [
        {"name": one, "tensor": one, "dtype": "string" if value.dtype == object else str(value.dtype)}
        for one, value in outputs.items()
        if one not in (graph.values, graph.label)
    ]
    manifest = {
        "name": folder.parent.name,
        "version": folder.name,
        "digest": hashlib.sha256(data).hexdigest(),
        "license": license,
        "description": description or f"Exported by millrace_export: {name} of {folder.parent.name}.",
        "runtime": runtime,
        "inputs": [described(one, features[one.name]) for one in graph.inputs],
        "output": main,
        **({"outputs": further} if further else {}),
        "metrics": {},
        "model_card": {"intended_use": intended_use or "Not stated yet.", "limits": graph.limits},
    }
    rows = [to_json(row, None) for row in golden_rows(graph, features, expected, outputs, name, tolerance)]
    head = f'  "tolerance": {to_json(tolerance)},\n' if tolerance != 1e-5 else ""
    golden = "{\n" + head + '  "rows": [\n    ' + ",\n    ".join(rows) + "\n  ]\n}\n"
    return {
        "model.onnx": data,
        "model.json": f"{to_json(manifest)}\n".encode(),
        "golden.json": golden.encode(),
    }


def output_name(expected: Predictions) -> str:
    if expected.classes is None:
        return "prediction"
    values = expected.values
    sums = values.sum(axis=1) if values.ndim == 2 else values
    return "probabilities" if (values >= 0).all() and np.allclose(sums, 1, atol=1e-3) else "scores"


def described(one: Input, column: pd.Series) -> dict:
    result = {"name": one.name, "dtype": one.dtype}
    if one.shape:
        result["shape"] = list(one.shape)
    if one.missing is not None:
        result["missing"] = one.missing
    if one.encoding is not None:
        result["encoding"] = one.encoding
    elif not one.shape and one.dtype not in ("string", "bool"):
        result["range"] = [number(column.min()), number(column.max())]
    return result


def golden_rows(graph, features, expected, outputs, name, tolerance):
    """Rows that show every class and every missing input, and then any, up to GOLDEN_ROWS."""
    clear = [
        row
        for row in range(len(features))
        if expected.labels is None or not is_tie(expected.values[row], tolerance)
    ]
    chosen = []
    if expected.classes is not None:
        texts = [text_of(one) for one in expected.labels]
        chosen = [
            next(row for row in clear if texts[row] == one)
            for one in dict.fromkeys(texts[row] for row in clear)
        ]
    for column in features:
        chosen += [row for row in clear if missing(features[column].iloc[row])][:1]
    for row in list(dict.fromkeys(chosen + clear))[: max(GOLDEN_ROWS, len(set(chosen)))]:
        values = expected.values[row]
        golden = {"features": [plain(features[one.name].iloc[row]) for one in graph.inputs]}
        if expected.classes is not None:
            label = text_of(expected.labels[row])
            by_class = {text_of(one): number(value) for one, value in zip(expected.classes, np.ravel(values))}
            golden |= {"prediction": by_class[label], "label": label, "outputs": {name: by_class}}
        else:
            golden["prediction"] = number(np.ravel(values)[0])
            if expected.labels is not None:
                golden["label"] = text_of(expected.labels[row])
            if np.size(values) > 1:
                golden["outputs"] = {name: np.asarray(values, float).tolist()}
        yield golden


def pipeline_files(name: str, events: pd.DataFrame, key, expected) -> dict:
    """Contract, pipeline, examples and test: path in the project → content."""
    contract = {
        "type": "record",
        "name": "".join(word.capitalize() for word in name.split("-")) + "Event",
        "namespace": "millrace." + name.replace("-", "_"),
        "fields": [field_of(events[column]) for column in events],
    }
    clear = [
        row for row in range(len(events)) if expected.labels is None or not is_tie(expected.values[row], 1e-4)
    ]
    whole = [row for row in clear if not any(missing(value) for value in events.iloc[row])]
    example = (whole or clear or [0])[0]
    samples = [
        {column: plain(events[column].iloc[row]) for column in events} for row in (whole or clear)[:SAMPLES]
    ]
    pipeline = {**({"key": key} if key else {}), "sample": {"events": f"examples/{name}.jsonl"}}
    return {
        f"schemas/{name}/event.v1.avsc": f"{to_json(contract)}\n",
        f"processors/pipelines/{name}/pipeline.json": f"{to_json(pipeline)}\n",
        f"examples/{name}.json": f"{to_json({column: plain(events[column].iloc[example]) for column in events})}\n",
        f"examples/{name}.jsonl": "".join(f"{to_json(event, None)}\n" for event in samples),
        f"tests/{name}.test.mjs": test_of(name, *score_of(expected, example)),
    }


def score_of(expected: Predictions, row: int):
    """Score and label as Millrace gives them: of classes the number of the label."""
    label = None if expected.labels is None else text_of(expected.labels[row])
    classes = [text_of(one) for one in expected.classes or []]
    return number(np.ravel(expected.values[row])[classes.index(label) if label in classes else 0]), label


def test_of(name: str, score, label: str | None) -> str:
    expected_label = "" if label is None else f"  assert.equal(label, {to_json(label)});\n"
    return f"""import assert from 'node:assert/strict';
import {{ readFile }} from 'node:fs/promises';
import test from 'node:test';
import {{ scorePipeline }} from 'millrace/testing';

const example = new URL('../examples/{name}.json', import.meta.url);

test('{name} scores its example as in training', async () => {{
  const event = JSON.parse(await readFile(example, 'utf8'));
  const {{ score{"" if label is None else ", label"} }} = await scorePipeline('{name}', event);
  assert.ok(Math.abs(score - {score}) <= {1e-4 * max(1, abs(score))}, `the score is ${{score}}`);
{expected_label}}});
"""


def field_of(column: pd.Series) -> dict:
    kind = kind_of(column)
    avro = AVRO.get(kind)
    if kind == "array":
        avro = {"type": "array", "items": ["null", "double"] if any(map(missing, column)) else "double"}
    if column.isna().any():
        return {"name": column.name, "type": ["null", avro], "default": None}
    return {"name": column.name, "type": avro}


def missing(value) -> bool:
    """Whether it is missing, or an element of the array."""
    return bool(np.any(pd.isna(np.asarray(value, object))))


def plain(value):
    """The value as JSON: null where it is missing, arrays in one row."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(one) for one in np.ravel(value)]
    if missing(value):
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    return value if isinstance(value, str) else number(value)


def number(value):
    return int(value) if float(value).is_integer() and abs(float(value)) < 2**53 else float(value)


def to_json(value, indent: int | None = 2) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
