"""Trains the models of the zoo on data that scikit-learn ships, and exports each with millrace_export.

    python tests/zoo/zoo.py PROJECT

writes a project with a pipeline for each model, and beside it `PROJECT/held-out/<name>.json`: rows that were not
trained on, and what the library itself predicts for them.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2] / "models" / "training"))

import millrace_export as exporter  # noqa: E402
import numpy as np  # noqa: E402
from zoo_models import models  # noqa: E402

HELD_OUT = 40


def main() -> None:
    project = Path(sys.argv[1])
    only = sys.argv[2:]
    (project / "held-out").mkdir(parents=True, exist_ok=True)
    index = []
    for name, library, train in models():
        if only and name not in only:
            continue
        started = time.perf_counter()
        entry = {"name": name, "library": library}
        try:
            model, rows, held_out, options = train()
            entry["model"] = options.pop("title", type(model).__name__)
            exporter.export(model, rows, project, name, **options)
            write_held_out(project / "held-out" / f"{name}.json", model, held_out, options)
        except exporter.ExportError as error:
            entry["refused"] = str(error)
        except Exception:  # noqa: BLE001 - one model that fails is one line of the table
            entry["failed"] = traceback.format_exc()[-1500:]
        index.append(entry)
        word = "refused" if "refused" in entry else "FAILED" if "failed" in entry else "exported"
        print(
            f"{name}: {word} in {time.perf_counter() - started:.1f} s {entry.get('refused', entry.get('failed', ''))}"
        )
    (project / "zoo.json").write_text(json.dumps(index, indent=2) + "\n")


def write_held_out(path: Path, model, held_out, options) -> None:
    names = exporter.feature_names(model, held_out, options.get("key"), exporter.library_of(model))
    expected, _ = exporter.READERS[exporter.library_of(model)](model, held_out[names], options.get("classes"))
    rows = []
    for row in range(min(HELD_OUT, len(held_out))):
        values = np.asarray(expected.values[row], float)
        rows.append(
            {
                "event": {column: exporter.plain(held_out[column].iloc[row]) for column in held_out},
                "label": None if expected.labels is None else exporter.text_of(expected.labels[row]),
                "values": values.tolist(),
            }
        )
    classes = None if expected.classes is None else [exporter.text_of(one) for one in expected.classes]
    path.write_text(json.dumps({"classes": classes, "rows": rows}, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
