#!/usr/bin/env bash
# Fetches the dependencies of the client programs; existing ones stay. Run it once, then
# `npm run test:clients`. kcat (Debian package `kcat`), a JDK 17, Maven, Go and Python 3 with venv must be installed.
set -u
cd "$(dirname "$0")"
failed=0

fetch() {
  local name=$1 tool=$2
  shift 2
  if ! command -v "$tool" >/dev/null; then
    echo "$name: not fetched, $tool is not installed"
  elif "$@"; then
    echo "$name: ready"
  else
    echo "$name: FAILED"
    failed=1
  fi
}

python_clients() {
  local venv="${XDG_CACHE_HOME:-$HOME/.cache}/millrace/python-clients"
  [ -x "$venv/bin/pip" ] || python3 -m venv "$venv" || return
  # Wheels only: compiling librdkafka takes a compiler and minutes.
  "$venv/bin/pip" install --quiet --only-binary :all: --requirement python/requirements.txt
}

mlflow_server() {
  local venv="${XDG_CACHE_HOME:-$HOME/.cache}/millrace/mlflow"
  [ -x "$venv/bin/pip" ] || python3 -m venv "$venv" || return
  "$venv/bin/pip" install --quiet --only-binary :all: --requirement python/requirements-mlflow.txt
}

fetch 'Apache Kafka tools' mvn node ../../scripts/apache-kafka-jars.mjs
fetch 'franz-go' go go -C go mod download
fetch 'Python clients' python3 python_clients
fetch 'MLflow' python3 mlflow_server
fetch '@platformatic/kafka' npm npm install --prefix node --no-package-lock --no-audit --no-fund
fetch 'Node 24, for @platformatic/kafka' npm node ../../scripts/with-node.mjs 24 -- node --version
exit "$failed"
