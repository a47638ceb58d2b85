#!/usr/bin/env bash
# A Ray cluster of two nodes on this one machine, to try things in.
#
#   two_nodes.sh COMMAND...      runs it while the cluster is up, then takes the cluster down
#
# The command finds the cluster by RAY_ADDRESS, and in HEAD_PID and WORKER_PID what to kill to lose
# a node. Settings are variables: CPUS and STORE_MB of each node (see ray_node.sh).
#
# Everything runs in a network of its own, which has the loopback interface and nothing else, so
# that no port is open to anyone; and in a process tree of its own, so that nothing is left behind
# and no other Ray of this machine is touched. Linux must allow that (`unshare`; as root it does).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
if [[ -z ${RECENV_ALONE:-} ]]; then
  folder=$(mktemp -d /tmp/ray2.XXXX)  # short: sockets have paths of at most 107 characters
  trap 'rm -rf "$folder"' EXIT
  RECENV_ALONE=$folder setpriv --pdeathsig KILL \
    unshare --map-root-user --net --pid --fork --kill-child --mount-proc \
    "$here/two_nodes.sh" "$@"
  exit
fi

folder=$RECENV_ALONE
ip link set lo up
head_ip=127.0.0.2 worker_ip=127.0.0.3  # two machines to Ray, one wire to Linux
export TOKEN_FILE=$folder/token CPUS=${CPUS:-1} GPUS=${GPUS:-0} STORE_MB=${STORE_MB:-500}
(umask 077 && od -An -tx1 -N32 /dev/urandom | tr -d ' \n' > "$TOKEN_FILE")

node() {  # name, then how ray_node.sh is called; sets "started" to its process
  local log=$folder/$1.log
  for _ in 1 2 3; do  # a raylet gives up after 15 s, which a busy machine may need
    TEMP=$folder/$1 "$here/ray_node.sh" "${@:2}" > "$log" 2>&1 &
    started=$!
    while kill -0 "$started" 2> /dev/null; do
      grep -qs "Ray runtime started" "$log" && return
      sleep 0.5
    done
  done
  echo "The node did not start:" >&2
  cat "$log" >&2
  exit 1
}

NODE_IP=$head_ip PORT=6379 FIRST_PORT=6400 node head head
export HEAD_PID=$started
NODE_IP=$worker_ip FIRST_PORT=6700 node worker worker $head_ip:6379
export WORKER_PID=$started

export RAY_ADDRESS=$head_ip:6379 RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$TOKEN_FILE
status=0
"$@" || status=$?
exit $status  # the end of this process ends all others of its tree
