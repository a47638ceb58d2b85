#!/usr/bin/env bash
# One machine of a Ray cluster for training.
#
#   ray_node.sh head                 on the first machine
#   ray_node.sh worker HEAD_IP:PORT  on every other one
#
# Runs until it is stopped (Ctrl-C, or kill), and then takes down this machine's part alone;
# `ray stop` would take down every Ray of this machine. Settings are variables, as in
#
#   NODE_IP=10.0.0.1 CPUS=8 GPUS=1 TOKEN_FILE=~/cluster-token ray_node.sh head
#
# Train from any of the machines, with the same TOKEN_FILE:
#
#   RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=~/cluster-token \
#     recenv train --ray-address HEAD_IP:PORT --num-env-runners 8
set -euo pipefail

role=${1:?'say "head", or "worker HEAD_IP:PORT"'}

# The address that the other machines reach this one by. Ray listens on all of a machine's
# interfaces, whatever this says (but for 127.0.0.1, which no other machine can reach).
NODE_IP=${NODE_IP:-$(hostname -I | cut -d' ' -f1)}
CPUS=${CPUS:-$(nproc)}                  # processes that may run here: an env runner takes one
GPUS=${GPUS:-}                          # default: all that Ray finds
STORE_MB=${STORE_MB:-}                  # object store; default: 30 % of the memory
TEMP=${TEMP:-${TMPDIR:-/tmp}/ray}       # sockets and logs; keep the path short
RAY=${RAY:-ray}
command -v "$RAY" > /dev/null || {
  echo "There is no command $RAY: activate the environment that recenv is installed in." >&2
  exit 2
}

# Whoever reaches Ray's ports runs code here. With a token, only who has it.
# `openssl rand -hex 32 > FILE; chmod 600 FILE` makes one; copy it to every machine.
if [[ -n ${TOKEN_FILE:-} ]]; then
  [[ -r $TOKEN_FILE ]] || { echo "There is no token in $TOKEN_FILE." >&2; exit 2; }
  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$TOKEN_FILE
elif [[ ${RAY_AUTH_MODE:-} != disabled ]]; then
  echo "Set TOKEN_FILE, or RAY_AUTH_MODE=disabled if nobody else reaches this network." >&2
  exit 2
fi

# Spread processes over the machines, where Ray would first fill half of the one that asks.
export RAY_scheduler_spread_threshold=${SPREAD:-0.0}

# Ports that are not random, so that a firewall can open them between these machines and to
# nobody else. Two nodes on one machine need two values of FIRST_PORT.
FIRST_PORT=${FIRST_PORT:-6380}
WORKER_PORTS=${WORKER_PORTS:-200}       # one for each process of Ray on this machine
options=(
  --block --disable-usage-stats
  --node-ip-address "$NODE_IP"
  --num-cpus "$CPUS"
  --temp-dir "$TEMP"
  --node-manager-port "$FIRST_PORT"
  --object-manager-port "$((FIRST_PORT + 1))"
  --runtime-env-agent-port "$((FIRST_PORT + 2))"
  --dashboard-agent-grpc-port "$((FIRST_PORT + 3))"
  --dashboard-agent-listen-port "$((FIRST_PORT + 4))"
  --metrics-export-port "$((FIRST_PORT + 5))"
  --min-worker-port "$((FIRST_PORT + 20))"
  --max-worker-port "$((FIRST_PORT + 19 + WORKER_PORTS))"
)
[[ -n $GPUS ]] && options+=(--num-gpus "$GPUS")
[[ -n $STORE_MB ]] && options+=(--object-store-memory "$((STORE_MB * 1000000))")

case $role in
  head)
    exec "$RAY" start --head --port "${PORT:-6379}" --include-dashboard "${DASHBOARD:-false}" \
      --ray-client-server-port "$((FIRST_PORT + 6))" "${options[@]}"
    ;;
  worker)
    exec "$RAY" start --address "${2:?'say which head: worker HEAD_IP:PORT'}" "${options[@]}"
    ;;
  *)
    echo "Say head or worker, not $role." >&2
    exit 2
    ;;
esac
