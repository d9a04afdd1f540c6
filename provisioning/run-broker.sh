#!/bin/sh
# Run mosquitto in a folder made by `shoudian-provision broker-config`, and have it read crl.pem whenever that changes.
#   sh provisioning/run-broker.sh DIR
# mosquitto reads a new revocation list only on SIGHUP; an old list runs out after 7 days and locks out every gateway.
set -eu
cd "$1"
look_every_s=${LOOK_EVERY_S:-5}

mosquitto -c mosquitto.conf &
broker=$!
trap 'kill -TERM "$broker" 2>/dev/null || true' TERM INT

seen=$(cksum <crl.pem)
while kill -0 "$broker" 2>/dev/null; do
  sleep "$look_every_s" &
  wait $! || true # a signal ends the wait
  now=$(cksum <crl.pem 2>/dev/null || echo "$seen")
  if [ "$now" != "$seen" ]; then
    seen=$now
    kill -HUP "$broker" 2>/dev/null || true
  fi
done
wait "$broker"
