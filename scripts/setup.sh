#!/usr/bin/env bash
# Build one of the project's environments: find a CPython 3.12 that runs, then let uv install from the
# environment's constraints file. PYTHON=/path/to/python3.12 overrides the search.
#
#   setup.sh mujoco .venv               the default: everything, on MuJoCo
#   setup.sh isaaclab .venv-isaaclab    the same on Isaac Lab, which pins another MuJoCo
#   setup.sh usd .venv-usd              the robot's converter to USD, which pins a third one
set -euo pipefail
name=$1 venv=$2
cd "$(dirname "$0")/.."

case $name in
    mujoco) packages=(-e '.[mujoco,play,dev,dev-s3]') size="3 GB" ;;
    isaaclab) packages=(-e '.[isaaclab,dev]') size="8 GB" ;;
    usd) packages=(mujoco-usd-converter) size="300 MB" ;;
    *) echo "setup: no environment '$name'; there are mujoco, isaaclab and usd" >&2; exit 1 ;;
esac

runs() { "$1" -c 'import sys, venv; raise SystemExit(sys.version_info[:2] != (3, 12))' >/dev/null 2>&1; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        runs "$PYTHON" && { echo "$PYTHON"; return; }
        echo "setup: PYTHON=$PYTHON is not a CPython 3.12 that runs" >&2
        exit 1
    fi
    # An inactive pyenv shim is on the path and answers 'command not found': only running tells.
    local candidate
    for candidate in python3.12 python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.12*/bin/python; do
        runs "$candidate" && { command -v "$candidate"; return; }
    done
    echo "setup: no CPython 3.12 found. Install one, or say where it is: make PYTHON=/path/to/python3.12" >&2
    exit 1
}

# OpenGL for off-screen rendering; videos need it, everything else does not.
if [ "$name" = mujoco ] && ! ldconfig -p 2>/dev/null | grep -q 'libEGL.so.1'; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libegl1 libgl1; } >/dev/null ||
            echo "setup: libegl1 and libgl1 could not be installed; videos will be left out" >&2
    else
        echo "setup: install libegl1 and libgl1 to get videos" >&2
    fi
fi

python=$(find_python)
tools=.venv-tools
[ -x "$tools/bin/uv" ] || { "$python" -m venv "$tools" && "$tools/bin/python" -m pip install -q uv; }
export UV_PYTHON_DOWNLOADS=never
[ -x "$venv/bin/python" ] || "$tools/bin/uv" venv -q --python "$python" "$venv"
echo "setup: installing into $venv (about $size on a first run)"
# Bytecode now: where Python may not write it later, every process would compile torch again, for six seconds.
"$tools/bin/uv" pip install -q --compile-bytecode --python "$venv/bin/python" -c "requirements/$name.txt" "${packages[@]}"
touch "$venv/.ready"
