#!/usr/bin/env bash
# Gather what `python -m pipelines.stage2_bare` needs on a machine with CPython 3.12, torch, pyarrow, scipy and
# matplotlib but without a way to packages. Versions are the constraints file's.
#
#   carry_wheels.sh [FOLDER]            the default folder: .wheels, which git ignores
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.wheels}

# MuJoCo and what it loads, inverse kinematics for the motions that are synthesised, the command line.
needed=(mujoco absl-py etils fsspec glfw pyopengl mink qpsolvers daqp tyro docstring-parser typeguard)
platforms=()
for glibc in 28 27 24 17; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
platforms+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)

pinned=()
for name in "${needed[@]}"; do
    pin=$(grep -iE "^$name==" requirements/mujoco.txt) ||
        { echo "carry_wheels: requirements/mujoco.txt does not pin $name" >&2; exit 1; }
    pinned+=("$pin")
done

mkdir -p "$folder"
"${PYTHON:-python3}" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    "${platforms[@]}" -d "$folder" "${pinned[@]}"
echo "$(ls "$folder"/*.whl | wc -l) wheels, $(du -ch "$folder"/*.whl | tail -1 | cut -f1), in $folder; on the other side:"
echo "  python3 -m pip install -q --no-index --no-deps --no-compile --target site $folder/*.whl"
echo "  export PYTHONPATH=\$PWD/site"
