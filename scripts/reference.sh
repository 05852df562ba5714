#!/usr/bin/env bash
# The reference's two MovieLens environments with its example settings, side by side in DIR (default: runs/reference).
set -euo pipefail
out=${1:-runs/reference}
jaxbandit data fetch ml-100k
common=(--ratings ml-100k --factorizer svd --rank-k 20 --num-actions 20 --alpha 10 --tikhonov-weight 0.001)
jaxbandit run "${common[@]}" --env mf-per-arm --out "$out/mf-per-arm"
jaxbandit run "${common[@]}" --env mf --out "$out/mf"
