# shellcheck shell=bash
# launch/lib/common.sh: what setup, quickstart and test share. Sourced, never run.
#
# Third-party parts, caches, stamps and logs live in .deps/ of the checkout; nothing is written to the home
# folder. DAGPAM_PRESET=cpu|cuda|asan|tsan overrides the choice of the build preset.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
DEPS=$ROOT/.deps
LOGS=$DEPS/logs
PROGRAM=$(basename "$0")

export PIP_CACHE_DIR=$DEPS/pip
export CCACHE_DIR=$DEPS/ccache
export PIP_DISABLE_PIP_VERSION_CHECK=1

# One line for each step: what it is about, then what was done.
say() { printf '%s: %-10s %s\n' "$PROGRAM" "$1" "$2"; }

fail() {
  printf '%s: error: %s\n' "$PROGRAM" "$1" >&2
  exit "${2:-1}"
}

# run_logged NAME COMMAND...: output into .deps/logs/NAME.log; the command's exit status.
run_logged() {
  local log=$LOGS/$1.log
  shift
  mkdir -p "$LOGS"
  printf '+ %s\n' "$*" >"$log"
  "$@" >>"$log" 2>&1 </dev/null
}

# explain_failure NAME WHAT: ends with one line that says why NAME.log failed, as far as the log tells.
explain_failure() {
  local log=$LOGS/$1.log why="see $LOGS/$1.log"
  if grep -qiE 'no space left|not enough free space|disk quota' "$log"; then
    why="the disk is full: free some space and run again ($why)"
  elif grep -qiE 'could not resolve|failed to fetch|temporary failure|unable to connect|connection|network is unreachable|timed out|ssl' "$log"; then
    why="the network or the package index cannot be reached: check the connection and run again ($why)"
  elif grep -qiE 'permission denied|are you root|not permitted|a password is required' "$log"; then
    why="a permission is missing: run as root or with sudo rights ($why)"
  fi
  fail "$2 failed: $why"
}

# require_space GB FOLDER WHAT
require_space() {
  local free_kb
  free_kb=$(df -Pk "$2" | awk 'NR == 2 { print $4 }')
  if ((free_kb < $1 * 1000000)); then
    fail "$3 needs $1 GB in $2, $((free_kb / 1000000)) GB are free: free some space and run again"
  fi
}

# The release of the CUDA Toolkit's compiler, e.g. 13.0; empty without one.
toolkit_release() {
  local nvcc
  nvcc=$(command -v nvcc || true)
  if [[ -z $nvcc && -x /usr/local/cuda/bin/nvcc ]]; then
    nvcc=/usr/local/cuda/bin/nvcc
  fi
  if [[ -n $nvcc ]]; then
    "$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p'
  fi
}

# Sets PRESET and PRESET_REASON, and BUILD, its folder.
choose_preset() {
  local release
  release=$(toolkit_release)
  if [[ -n ${DAGPAM_PRESET:-} ]]; then
    PRESET=$DAGPAM_PRESET PRESET_REASON="DAGPAM_PRESET is set"
  elif [[ $release == 13.* ]]; then
    PRESET=cuda PRESET_REASON="CUDA Toolkit $release found"
  elif [[ -n $release ]]; then
    PRESET=cpu PRESET_REASON="CUDA Toolkit $release found, 13.x is needed"
  else
    PRESET=cpu PRESET_REASON="no CUDA Toolkit: nvcc not found"
  fi
  case $PRESET in
    cpu | cuda) BUILD=$ROOT/build ;;
    asan | tsan) BUILD=$ROOT/build-$PRESET ;;
    *) fail "DAGPAM_PRESET=$PRESET: expected cpu, cuda, asan or tsan" 2 ;;
  esac
}

# Compiler jobs: one a core, but 1.5 GB of memory each.
build_jobs() {
  local cores memory_kb jobs
  cores=$(nproc)
  memory_kb=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
  jobs=$((memory_kb / 1500000))
  ((jobs < cores)) || jobs=$cores
  ((jobs > 0)) || jobs=1
  echo "$jobs"
}

# build TESTS TARGET...: configures where needed (TESTS is ON or OFF; a folder that has tests keeps them),
# then builds the targets.
build() {
  local tests=$1 cache=$BUILD/CMakeCache.txt cuda=OFF seconds=$SECONDS
  shift
  [[ $PRESET == cuda ]] && cuda=ON
  if [[ -f $BUILD/build.ninja ]] && grep -q "^DAGPAM_CUDA:.*=$cuda$" "$cache" &&
    { [[ $tests == OFF ]] || grep -q '^DAGPAM_TESTS:.*=ON$' "$cache"; }; then
    say configure "$BUILD is configured, skipped"
  else
    say configure "preset $PRESET ($PRESET_REASON)"
    run_logged configure cmake --preset "$PRESET" -S "$ROOT" -B "$BUILD" -DDAGPAM_TESTS="$tests" ||
      fail "configuring failed: see $LOGS/configure.log"
  fi
  say build "$* with $(build_jobs) jobs"
  cmake --build "$BUILD" --parallel "$(build_jobs)" --target "$@" ||
    fail "the build failed: the messages are above"
  say build "done in $((SECONDS - seconds)) s"
}

# What Open MPI needs in containers and as root.
mpi_environment() {
  if ((EUID == 0)); then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
  export OMPI_MCA_btl_vader_single_copy_mechanism=none  # needs ptrace rights that containers lack
}

# run_job COMMAND...: a job of mpirun that a stop of this script (Ctrl-C, SIGTERM, a closed terminal) asks to save;
# its exit status, then 8. mpirun passes SIGUSR1 on to the ranks, but kills them a second after SIGINT or SIGTERM;
# so it runs in a session of its own, where a terminal's Ctrl-C does not reach it.
run_job() {
  local job status=0 stopped=0
  setsid "$@" </dev/null &
  job=$!
  trap 'stopped=1; kill -USR1 "$job" 2>/dev/null || true' INT TERM HUP
  wait "$job" || status=$?
  while ((stopped == 1)); do  # the signal ended the wait, not the job
    stopped=0 status=0
    wait "$job" || status=$?
  done
  trap - INT TERM HUP
  return "$status"
}
