#!/usr/bin/env bash
# What ten minutes on a GPU say: kernels equal to the CPU's, benchmarks, a short voc12 run.
#
#     studies/gpu.sh FOLDER [--device cuda|cpu] [--precision no|bf16|fp16] [--quick]
#
# Writes FOLDER/gpu.md, FOLDER/gpu.csv and a log of each step. Needs neither weights nor a network.
# A step that fails or takes too long is reported, the others go on; the same line again does only
# what is not done. Weights are random and photos are drawn. --quick takes minutes on a CPU and
# proves only that it works.
set -u
cd "$(dirname "$0")/.." || exit 1
[ $# -ge 1 ] || { sed -n '2,10s/^# \{0,1\}//p' studies/gpu.sh; exit 2; }
mkdir -p "$1" && folder=$(cd "$1" && pwd) || exit 1
shift
device=cuda precision=no quick=
while [ $# -gt 0 ]; do
    case $1 in
        --device) device=$2; shift 2 ;;
        --precision) precision=$2; shift 2 ;;
        --quick) quick=--quick; shift ;;
        *) echo "unknown: $1"; exit 2 ;;
    esac
done
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
csv=$folder/gpu.csv photos=$folder/photos
common=(--device "$device" ${quick:+$quick})
made="$device $precision $quick"
if [ "$(cat "$folder/made-with" 2>/dev/null || echo "$made")" != "$made" ]; then
    echo "$folder: holds results of other flags ($(cat "$folder/made-with")): name another folder"
    exit 2
fi
echo "$made" > "$folder/made-with"

step() {  # name, seconds, command
    local name=$1 limit=$2 begun=$SECONDS code
    shift 2
    if [ -e "$folder/$name.done" ]; then echo "$name: done before"; return; fi
    timeout "$limit" "$@" > "$folder/$name.log" 2>&1
    code=$?
    [ $code -eq 0 ] && touch "$folder/$name.done"
    echo "$name,$code,$((SECONDS - begun))" >> "$folder/steps.csv"
    echo "$name: code $code, $((SECONDS - begun)) s"
}

benchmark() {  # name, seconds, flags
    local name=$1 limit=$2
    shift 2
    step "$name" "$limit" python "benchmarks/$name.py" "$@" "${common[@]}" --repeats 3 --results "$csv"
}

step draw 60 python studies/gpu.py draw "$folder" "${common[@]}"
step kernels 120 python studies/gpu.py kernels "$folder" "${common[@]}"
step "run-$precision" 300 python studies/gpu.py run "$folder" "${common[@]}" --precision "$precision"
benchmark deform 90
benchmark walk 120 --grid 48 64
benchmark cams 90 ${quick:-"$photos" --classes --backbone resnet50}
benchmark train 120 ${quick:-"$photos" --config tags-folder --batch 8}
benchmark crf 120
python studies/gpu.py table "$folder" "${common[@]}"
