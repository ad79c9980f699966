#!/usr/bin/env bash
# Fetches the Python packages of the zoo, the examples and the pages "From …"; existing ones stay. Run it once, then
# `npm run test:zoo`. Python 3.11 or later with venv must be installed.
set -eu
cd "$(dirname "$0")/../../models/training"
venv="${XDG_CACHE_HOME:-$HOME/.cache}/millrace/python-models"
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
# The files name every package that is needed: what else they depend on (plots, GPUs) is left out.
"$venv/bin/pip" install --quiet --no-deps --only-binary :all: --requirement requirements-zoo.txt
echo "$("$venv/bin/python" --version) with scikit-learn, LightGBM, XGBoost, CatBoost: ready"
"$venv/bin/pip" install --quiet --no-deps --only-binary :all: --requirement requirements-torch.txt
echo 'PyTorch: ready'
