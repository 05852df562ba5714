#!/usr/bin/env bash
# Write scripts/constraints.txt anew: one pin of each package that the image can need, whatever its ACCEL.
# All accelerators are resolved at once, so the pins hold for each. The tests run on the oldest Python, so it decides
# (newer releases may have dropped it), and the Python of the image has to accept its choice. Needs uv (pip install uv).
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
touch "$scratch/none.txt"

pin() { # PYTHON CONSTRAINTS OUTPUT
    # hatchling builds our own package. manylinux_2_36 is Debian 12, so what the image's Debian takes or less.
    echo hatchling | uv pip compile --quiet --no-header --no-annotate --only-binary :all: \
        --python-version "$1" --python-platform x86_64-manylinux_2_36 --constraints "$2" --output-file "$3" \
        --extra vertex --extra sklearn --extra tpu --extra cuda12 --extra cuda13 pyproject.toml - >&2
}

pin 3.11 "$scratch/none.txt" "$scratch/oldest.txt"
pin 3.12 "$scratch/oldest.txt" "$scratch/image.txt"
# A package that only one of the two needs is kept as well.
{
    echo "# Written by scripts/pin.sh."
    sort --unique "$scratch/oldest.txt" "$scratch/image.txt"
} >scripts/constraints.txt
