# shellcheck shell=bash disable=SC2034  # what it sets, its readers use
# launch/lib/cluster.sh: what mpirun_local, mpirun_hosts and slurm.sbatch share: the settings of
# launch/cluster.env.example, the words of the program, its environment. Sourced, never run.

# What is passed on to every rank.
SHARED_VARIABLES='^(NCCL_|UCX_|OMPI_MCA_|CUDA_|CUBLAS_|OMP_|PYTORCH_|TORCH_|MKL_|DAGPAM_|LD_LIBRARY_PATH$)'

# load_settings FILE: defaults, then the file, then checks.
load_settings() {
  CONFIG=() RUN_DIR='' TRAIN_OPTIONS=() DAGPAM=(dagpam)
  RANKS_PER_NODE='' THREADS=1 NODES=1 HOSTFILE='' PREFLIGHT=1 SLURM_OPTIONS=() MAX_RESTARTS=0
  prepare() { :; }
  [[ -r $1 ]] || fail "$1: no such settings: copy launch/cluster.env.example and edit it" 2
  # shellcheck source=/dev/null
  source "$1" || fail "$1: bash cannot read it: see above" 2
  local name
  for name in RANKS_PER_NODE THREADS NODES MAX_RESTARTS; do
    [[ ${!name:-0} =~ ^[0-9]+$ ]] || fail "$1: $name='${!name}': expected a whole number" 2
  done
  ((THREADS > 0 && NODES > 0)) || fail "$1: THREADS and NODES are 1 at least" 2
  [[ -n $RUN_DIR ]] || fail "$1: RUN_DIR is missing: say where the run is kept" 2
  ((${#CONFIG[@]} > 0)) || fail "$1: CONFIG is missing: say what is trained" 2
  prepare
  command -v "${DAGPAM[0]}" >/dev/null || fail "$1: DAGPAM: no '${DAGPAM[0]}' here: build it, or give its path" 2
  DAGPAM[0]=$(realpath -s -- "$(command -v "${DAGPAM[0]}")")
  export OMP_NUM_THREADS=$THREADS DAGPAM_THREADS=$THREADS
  mpi_environment
}

# GPUs of this node.
count_gpus() {
  if [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then
    tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c . || true
  elif command -v nvidia-smi >/dev/null; then
    { nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null || true; } | grep -c '^[0-9]' || true
  else
    echo 0
  fi
}

# ranks_of_node: as the settings say, else one a GPU, else one.
ranks_of_node() {
  local gpus
  if [[ -n $RANKS_PER_NODE ]]; then
    echo "$RANKS_PER_NODE"
    return
  fi
  gpus=$(count_gpus)
  echo $((gpus > 0 ? gpus : 1))
}

# doctor_words [OPTION...], train_words, words_for [ARGUMENT...]: set WORDS, the program's arguments. Without
# arguments it trains, `doctor` gets what it needs from the settings, anything else is taken as it is.
doctor_words() {
  WORDS=(doctor --run-dir "$RUN_DIR" "${CONFIG[@]/#/--config=}")
  config_overrides
  WORDS+=("$@")
}

# The --set of TRAIN_OPTIONS: what the doctor should know too.
config_overrides() {
  local i
  for ((i = 0; i < ${#TRAIN_OPTIONS[@]}; ++i)); do
    case ${TRAIN_OPTIONS[i]} in
      --set) WORDS+=(--set "${TRAIN_OPTIONS[i + 1]:-}") ;;
      --set=*) WORDS+=("${TRAIN_OPTIONS[i]}") ;;
    esac
  done
}

train_words() {
  WORDS=(train "${CONFIG[@]/#/--config=}" --run-dir "$RUN_DIR" "${TRAIN_OPTIONS[@]}" --resume auto)
}

words_for() {
  case ${1:-} in
    '') train_words ;;
    doctor) doctor_words "${@:2}" ;;
    *) WORDS=("$@") ;;
  esac
}

# preflight LAUNCHER...: the doctor as the run will be started; ends with its code where it finds an error.
preflight() {
  local status=0
  ((PREFLIGHT == 1)) || return 0
  doctor_words
  say doctor "looking at the nodes"
  "$@" "${DAGPAM[@]}" "${WORDS[@]}" || status=$?
  ((status == 0)) || fail "the doctor found an error (exit $status): mend it, or set PREFLIGHT=0 to start in spite of it" "$status"
}

# what_code_means CODE: in a few words.
what_code_means() {
  case $1 in
    0) echo "done" ;;
    2) echo "bad command line, configuration or set-up" ;;
    3) echo "bad or missing data" ;;
    4) echo "bad or missing checkpoint, a run folder in use, or three starts that got nowhere" ;;
    5) echo "loss or gradient not finite" ;;
    6) echo "a rank hangs or is lost" ;;
    7) echo "input or output error, e.g. a full disk" ;;
    8) echo "saved on a signal" ;;
    9) echo "memory or a processor has gone wrong" ;;
    *) (($1 > 128)) && echo "a rank was killed by signal $(($1 - 128))" || echo "not a code of the program" ;;
  esac
}

# Whether another start may get further: it was stopped, lost a rank, or was killed from outside.
may_go_on() { (($1 == 8 || $1 == 6 || $1 > 128)); }

# run_state: what the run folder says, in words: the last step saved, and of how many.
run_state() {
  local steps last
  steps=$(sed -n 's/^ *steps: *\([0-9]*\).*/\1/p' "$RUN_DIR/config.textproto" 2>/dev/null | head -n 1)
  last=$(find "$RUN_DIR/checkpoints" -maxdepth 1 -name 'step-*' 2>/dev/null | sed 's/.*step-0*//; s/^$/0/' | sort -n | tail -n 1)
  [[ -n $last ]] && echo "step $last of ${steps:-?} is saved" || echo "nothing is saved yet"
}

# exported_names: variables that mpirun passes on with -x.
exported_names() { compgen -e | grep -E "$SHARED_VARIABLES" | grep -v '^OMPI_MCA_' || true; }

# launch/lib/bind_rank gives each rank the cores beside its GPU, so mpirun leaves binding alone.
BIND_RANK=$(dirname "${BASH_SOURCE[0]}")/bind_rank
