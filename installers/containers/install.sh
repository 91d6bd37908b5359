#!/bin/sh
# Install the package into the active Python, from the repository's root.
#   install.sh wheel FOLDER   build the wheel with the kernels of this system, and the list of what it needs
#   install.sh cpu FOLDER     install both, without torch
#   install.sh cuda FOLDER    install both, with torch
set -eu

# Rasters, object stores, web servers, `serve`.
extras="geo http s3 serve"

case "$1" in
  wheel)
    python -m pip install --quiet "build>=1.2"
    SWIN2SR_OPS_PREBUILT=1 python -m build --wheel --outdir "$2" .
    # shellcheck disable=SC2086  # words
    python - $extras > "$2/requirements.txt" << 'LIST'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
needed = [*project["dependencies"], *(line for name in sys.argv[1:] for line in project["optional-dependencies"][name])]
print("\n".join(line for line in needed if not line.startswith("torch>")))
LIST
    ;;
  cpu)
    python -m pip install --quiet --no-cache-dir --requirement "$2/requirements.txt"
    python -m pip install --quiet --no-cache-dir --no-deps "$2"/*.whl
    ;;
  cuda)
    python -m pip install --quiet --no-cache-dir --requirement "$2/requirements.txt" "torch>=2.6" "triton>=3.2"
    python -m pip install --quiet --no-cache-dir --no-deps "$2"/*.whl
    ;;
  *)
    echo "usage: install.sh wheel|cpu|cuda FOLDER" >&2
    exit 2
    ;;
esac
