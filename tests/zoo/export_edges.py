"""What millrace_export refuses, and what it leaves behind: `python tests/zoo/export_edges.py`."""

import json
import os
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2] / "models" / "training"))

import millrace_export as exporter  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import pandas as pd  # noqa: E402
import zoo_tables as tables  # noqa: E402
from sklearn import ensemble, impute, linear_model, pipeline  # noqa: E402


class Export(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.project = Path(folder.name)
        self.rows, self.target, _ = tables.diabetes()

    def export(self, model=None, **columns):
        model = (model or linear_model.Ridge()).fit(self.rows, self.target)
        return exporter.export(model, self.rows.assign(**columns), self.project, "m")

    def test_columns_that_no_event_can_hold(self):
        size = len(self.rows)
        for values, problem in (
            ([np.inf] + [1.0] * (size - 1), "'note' holds an infinite number"),
            ([[1.0, -np.inf]] * size, "'note' holds an infinite number"),
            ([np.nan] * size, "'note' holds no value at all"),
            ([None] * size, "'note' holds no value at all"),
        ):
            with self.assertRaisesRegex(exporter.ExportError, problem):
                self.export(note=values)
        self.assertEqual(list(self.project.iterdir()), [])

    def test_missing_elements_are_null(self):
        self.export(note=[[1.0, np.nan]] * len(self.rows))
        example = (self.project / "examples" / "m.json").read_text("utf-8")
        self.assertEqual(json.loads(example)["note"], [1, None])
        contract = json.loads((self.project / "schemas" / "m" / "event.v1.avsc").read_text("utf-8"))
        self.assertEqual(contract["fields"][-1]["type"], {"type": "array", "items": ["null", "double"]})

    def test_a_version_is_replaced_as_a_whole_or_not(self):
        folder = self.export()
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        with unittest.mock.patch.object(exporter, "golden_rows", side_effect=RuntimeError("full")):
            with self.assertRaisesRegex(RuntimeError, "full"):
                self.export(linear_model.Ridge(alpha=9))
        self.assertEqual({file.name: file.read_bytes() for file in folder.iterdir()}, before)
        self.export(linear_model.Ridge(alpha=9))
        self.assertEqual([file.name for file in folder.parent.iterdir()], ["1"])
        self.assertTrue(all(file.read_bytes() != before[file.name] for file in folder.iterdir()))

    def test_a_nearest_neighbours_imputer(self):
        with self.assertRaisesRegex(exporter.ExportError, "KNNImputer"):
            self.export(pipeline.make_pipeline(impute.KNNImputer(), linear_model.Ridge()))

    def test_histogram_boosting_at_its_splits(self):
        model = ensemble.HistGradientBoostingRegressor(max_iter=20)
        folder = self.export(model)
        splits = [
            [*self.rows.iloc[0, :column], value, *self.rows.iloc[0, column + 1 :]]
            for column, ends in enumerate(model._bin_mapper.bin_thresholds_)
            for end in ends
            for value in (end, np.nextafter(end, np.inf), np.nextafter(end, -np.inf))
        ]
        session = onnxruntime.InferenceSession(folder / "model.onnx")
        (got,) = session.run(None, {"features": np.array(splits)})
        wanted = model.predict(pd.DataFrame(splits, columns=self.rows.columns))
        np.testing.assert_allclose(got.ravel(), wanted, rtol=1e-6)

    def test_histogram_boosting_without_64_bits_says_so(self):
        folder = self.export(
            pipeline.make_pipeline(impute.SimpleImputer(), ensemble.HistGradientBoostingRegressor(max_iter=5))
        )
        card = json.loads((folder / "model.json").read_text("utf-8"))["model_card"]
        self.assertIn("can take the other branch", card["limits"][0])


if __name__ == "__main__":
    unittest.main()
