#!/bin/sh
# NGINX, and beside it a watch over the gateways' addresses.
#
# NGINX looks the name `gateway` up when it reads its configuration, and not again. So it is
# looked up here, every two seconds; when gateways came or went NGINX reads its configuration
# once more. Requests that are open then stay with the old workers until they are answered.
set -eu

ulimit -Sn "$(ulimit -Hn)" # one for each connection

gateways() { getent ahosts gateway | cut -d' ' -f1 | sort -u; }

until known=$(gateways) && [ -n "$known" ]; do
  echo "waiting for the first gateway" >&2
  sleep 1
done

while sleep 2; do
  now=$(gateways)
  [ -n "$now" ] && [ "$now" != "$known" ] || continue
  nginx -s reload && known=$now && echo "gateways:" $now >&2 || :
done &

exec nginx -g 'daemon off;'
