#!/usr/bin/env bash
# Runs the whole pipeline: drawings -> prepared data -> network -> report -> SavedModel -> server -> predictions.
#   make quickstart                 uses generated doodles (about three minutes on two cores)
#   make quickstart DATA=DIR        uses the .ndjson files in DIR, all drawings whatever their `recognized` field says
# MINUTES limits the training time (default: 2.5, with DATA 15). OUT is the output directory (default: quickstart/, with
# DATA quickstart-data/). A second run skips what is already prepared and trained, and exports another version.
set -euo pipefail

out=${OUT:-quickstart${DATA:+-data}}
run() { printf '\n$ qdfast %s\n' "$*"; qdfast "$@"; }

if [[ -n ${DATA:-} ]]; then
    run prepare "$DATA" --recognized any --out "$out/data"
    held_out=$out/data # evaluate uses the validation split of the training data
    batch=256
    minutes=${MINUTES:-15}
else
    classes=(car cat envelope fish flower house ladder snowman star sun tree umbrella)
    run doodles "${classes[@]}" --out "$out/doodles" --per-class 600
    run doodles "${classes[@]}" --out "$out/held-out" --per-class 60 --seed 1
    run prepare "$out/doodles" --out "$out/data"
    held_out=$out/held-out
    batch=32 # with so few drawings, larger batches would give too few steps
    minutes=${MINUTES:-2.5}
fi

run train "$out/data" --out "$out/run" --batch "$batch" --max-minutes "$minutes"
run evaluate "$out/run" "$held_out" --out "$out/report"
run export "$out/run" --out "$out/models/doodles"

printf '\n$ qdfast serve %s --port 0 &\n' "$out/models/doodles"
coproc SERVER { exec qdfast serve "$out/models/doodles" --port 0; }
trap 'kill "$SERVER_PID" 2> /dev/null; wait "$SERVER_PID" 2> /dev/null || true' EXIT
read -r ready <&"${SERVER[0]}"
echo "$ready"

python - "${ready##* }" "$out/run" "$held_out" << 'EOF'
"""Classify the held-out drawings with the server, and print the accuracy."""
import sys

import numpy as np

from qdfast.client import Client
from qdfast.learn.training.runs import load_run
from qdfast.dataset.sources import load_rows

target, run, held_out = sys.argv[1:]
rows = load_rows([held_out], trained_on=[load_run(run).info["data"]])
drawings = rows.drawings(np.arange(len(rows)))
with Client(target, model="doodles") as client:
    answers = client.predict(drawings, k=3)
print(f"\n{len(answers):,} drawings classified over gRPC at {target}. A sample:")
for i in np.linspace(0, len(rows) - 1, 12).astype(int):
    print(f"  {drawings.word[i]:>14}:  " + "   ".join(f"{label} {score:.0%}" for label, score in answers[i]))
top1 = (answers.labels[:, 0] == drawings.word).mean()
print(f"\ntop-1 accuracy: {top1:.2%} on {len(rows):,} held-out drawings")
EOF
printf '\nReport: %s/report/report.html\nTo draw for the model yourself: %s play --model-dir %s/models/doodles\n' "$out" "$(command -v qdfast)" "$out"
