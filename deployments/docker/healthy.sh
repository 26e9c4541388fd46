#!/bin/bash
# healthy node|pooler: what Docker's health check asks.
set -euo pipefail

# status PORT PATH: the HTTP status, by bash alone.
status() {
  exec 3<>"/dev/tcp/127.0.0.1/$1"
  printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
  local protocol code rest
  IFS=' ' read -r protocol code rest <&3
  printf '%s' "$code"
}

case "${1:-}" in
  # PostgreSQL runs, and as a replica it streams.
  node) [ "$(status 8008 /readiness)" = 200 ] ;;
  pooler)
    if [ ! -e /run/pgdba/was-ready ]; then
      export PGCONNECT_TIMEOUT=5
      # A write of its own, acknowledged when a replica has it, too. A transaction that only took a number would not wait for one.
      PGPASSWORD=$POSTGRES_PASSWORD psql -h 127.0.0.1 -p 6432 -U postgres -d postgres -qAtc "SELECT pg_logical_emit_message(true, 'pgdba.healthy', '')"
      # Other roles' passwords are looked up by a role of the pooler's own.
      if [ "${AUTH_USER:-pgdba_pooler}" = pgdba_pooler ]; then
        PGPASSWORD=${POOLER_PASSWORD:-$REPLICATION_PASSWORD} psql -h 127.0.0.1 -p 6432 -U pgdba_pooler -d postgres -qAtc "SELECT FROM pgdba.user_lookup('postgres')"
      fi
      touch /run/pgdba/was-ready
    fi
    [ "$(status 9127 /health)" = 200 ] ;;
  *) echo "usage: healthy node|pooler" >&2; exit 2 ;;
esac
