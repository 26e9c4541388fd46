#!/bin/bash
# What a container of this image runs: `node` (agent and PostgreSQL), `pooler`, `check-env`, or any other command as it is.
# Checks what the environment says, writes the configuration to /run/pgdba and becomes pgdba; check-env only checks.
set -euo pipefail
shopt -s inherit_errexit

refuse() { printf 'pgdba: %s\n' "$*" >&2; exit 78; }

# password NAME SAMPLE: at least 12 characters, upper case, lower case and digits, and not the line of .env.example.
password() {
  local name=$1 value=${!1-}
  local length=${#value} LC_ALL=C  # characters; below, letters are A to Z whatever the locale
  [ -n "$value" ] || refuse "$name is not set. Put it into .env, then: docker compose up -d"
  [ "$value" != "$2" ] || refuse "$name is still the sample of .env.example. Put a password of your own into .env"
  [ $length -ge 12 ] || refuse "$name has fewer than 12 characters"
  [[ $value == *[A-Z]* ]] || refuse "$name has no upper case letter"
  [[ $value == *[a-z]* ]] || refuse "$name has no lower case letter"
  [[ $value == *[0-9]* ]] || refuse "$name has no digit"
  [[ $value != *$'\n'* && $value != *\"* ]] || refuse "$name has a quotation mark or a line break, which the pooler's userlist cannot hold"
}

# As people write it: 010 would be 8 to this shell, and 08 nothing.
number='0|[1-9][0-9]{0,8}'

# matches NAME PATTERN WORDS
matches() { [[ ${!1-} =~ ^($2)$ ]] || refuse "$1 is '${!1-}', but it has to be $3"; }

passwords() {
  password POSTGRES_PASSWORD your_strong_password_here
  password REPLICATION_PASSWORD your_replication_password_here
  POOLER_PASSWORD=${POOLER_PASSWORD:-$REPLICATION_PASSWORD}
  password POOLER_PASSWORD ""
  matches SCOPE '[A-Za-z0-9_.-]+' "a name of letters, digits, '_', '.' and '-'"
  matches ETCD_HOSTS '[A-Za-z0-9_.:,-]+' "host:port, with commas between several"
}

yaml_list() { local IFS=,; printf '"%s", ' $1 | sed 's/, $//'; }

check_node() {
  passwords
  matches TTL "$number" "a number of seconds"
  [ "$TTL" -ge 2 ] || refuse "TTL is $TTL, but it has to be at least 2 seconds"
  matches SYNCHRONOUS_MODE 'quorum|on|off' "quorum, on or off"
  matches MAX_CONNECTIONS "$number" "a number"
  matches SHARED_BUFFERS '[0-9]+(kB|MB|GB)' "a size, such as 128MB"
  matches LOG_LEVEL 'DEBUG|INFO|WARNING|ERROR' "DEBUG, INFO, WARNING or ERROR"
  matches BOOTSTRAP_DELAY "$number" "a number of seconds"
  [ "${RESTAPI_USERNAME:+set}" = "${RESTAPI_PASSWORD:+set}" ] || refuse "RESTAPI_USERNAME and RESTAPI_PASSWORD belong together: set both or neither"
}

check_pooler() {
  passwords
  matches POOL_MODE 'session|transaction|statement' "session, transaction or statement"
  matches DEFAULT_POOL_SIZE "$number" "a number"
  matches MAX_CLIENT_CONN "$number" "a number"
  FAILOVER_HOLD_TIMEOUT=${FAILOVER_HOLD_TIMEOUT:-30}
  matches FAILOVER_HOLD_TIMEOUT "$number" "a number of seconds"
  AUTH_USER=${AUTH_USER:-pgdba_pooler}
  matches AUTH_USER 'pgdba_pooler|postgres' "pgdba_pooler, or postgres in front of a cluster that Patroni runs"
}

node() {
  local name=${NODE_NAME:-$(hostname)}
  check_node
  if [ -n "${RESTAPI_USERNAME:-}" ]; then export PATRONI_RESTAPI_USERNAME=$RESTAPI_USERNAME PATRONI_RESTAPI_PASSWORD=$RESTAPI_PASSWORD; fi
  local mode=$SYNCHRONOUS_MODE wait=$((TTL / 3 > 0 ? TTL / 3 : 1))
  [ "$mode" = off ] && mode=false
  [ "$mode" = on ] && mode=true
  cat > /run/pgdba/patroni.yml <<YAML
# Written at each start of the container.
scope: "$SCOPE"
name: "$name"
restapi:
  listen: 0.0.0.0:8008
  connect_address: $name:8008
etcd3:
  hosts: [$(yaml_list "$ETCD_HOSTS")]
log:
  level: $LOG_LEVEL
bootstrap:
  delay: $BOOTSTRAP_DELAY
  post_bootstrap: "$PG_BIN/psql -Xq -v ON_ERROR_STOP=1 -f /run/pgdba/pooler.sql"
  dcs:
    ttl: $TTL
    loop_wait: $wait
    retry_timeout: $wait
    maximum_lag_on_failover: 1048576
    synchronous_mode: $mode
    synchronous_node_count: 1
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters:
        max_connections: $MAX_CONNECTIONS
        shared_buffers: $SHARED_BUFFERS
        max_wal_senders: 10
        max_replication_slots: 10
        wal_level: replica
        wal_log_hints: "on"
        wal_keep_size: 128MB
        max_slot_wal_keep_size: 4GB
        hot_standby: "on"
        password_encryption: scram-sha-256
        log_timezone: UTC
        log_line_prefix: "%m [%p] %q%u@%d "
  initdb:
    - encoding: UTF8
    - locale: C.UTF-8
    - auth-host: scram-sha-256
    - auth-local: scram-sha-256
    - data-checksums
postgresql:
  listen: "*:5432"
  connect_address: $name:5432
  data_dir: /var/lib/postgresql/data
  bin_dir: $PG_BIN
  use_unix_socket: true
  authentication:
    superuser: {username: postgres}
    replication: {username: replicator}
    rewind: {username: postgres}
  parameters:
    unix_socket_directories: /run/postgresql
  # Only who shares a network with this container: the others, and by the published ports this machine.
  pg_hba:
    - local all all scram-sha-256
    - host all all 127.0.0.1/32 scram-sha-256
    - host all all samenet scram-sha-256
    - host replication replicator samenet scram-sha-256
  basebackup:
    - checkpoint: fast
  remove_data_directory_on_rewind_failure: true
  remove_data_directory_on_diverged_timelines: true
YAML
  export PATRONI_SUPERUSER_PASSWORD=$POSTGRES_PASSWORD PATRONI_REPLICATION_PASSWORD=$REPLICATION_PASSWORD
  export PATRONI_REWIND_PASSWORD=$POSTGRES_PASSWORD
  # A new cluster's role for the pooler gets a password; what it may do, the agent sees to. Never into a log.
  cat > /run/pgdba/pooler.sql <<SQL
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
SET password_encryption = 'scram-sha-256';
CREATE ROLE pgdba_pooler LOGIN PASSWORD '${POOLER_PASSWORD//\'/\'\'}';
SQL
  unset POSTGRES_PASSWORD REPLICATION_PASSWORD POOLER_PASSWORD RESTAPI_USERNAME RESTAPI_PASSWORD
  exec pgdba agent /run/pgdba/patroni.yml
}

pooler() {
  check_pooler
  # A cluster of pgdba's has a role and a function for it; in Patroni's the superuser looks passwords up, by PgBouncer's own query.
  local lookup='auth_query = SELECT uname, phash FROM pgdba.user_lookup($1)'
  [ "$AUTH_USER" = pgdba_pooler ] || lookup=""
  printf '"pgdba_pooler" "%s"\n"postgres" "%s"\n' "$POOLER_PASSWORD" "$POSTGRES_PASSWORD" > /run/pgdba/userlist.txt
  cat > /run/pgdba/pooler.ini <<INI
; Written at each start of the container.
[databases]
; Any database, on the primary, whoever that is; with _ro behind its name on a replica.
* = role=primary
*_ro = role=replica max_lag=16MB

[pgbouncer]
listen_addr = 0.0.0.0
listen_port = 6432
unix_socket_dir =
http_listen = 127.0.0.1:9127
pool_mode = $POOL_MODE
default_pool_size = $DEFAULT_POOL_SIZE
max_client_conn = $MAX_CLIENT_CONN
max_prepared_statements = 200
ignore_startup_parameters = extra_float_digits
auth_type = scram-sha-256
auth_file = /run/pgdba/userlist.txt
auth_user = $AUTH_USER
auth_dbname = postgres
$lookup
failover_hold_timeout = $FAILOVER_HOLD_TIMEOUT
admin_users = postgres
cluster_dcs = etcd://$ETCD_HOSTS
cluster_scope = $SCOPE
INI
  unset POSTGRES_PASSWORD REPLICATION_PASSWORD POOLER_PASSWORD
  exec pgdba pooler /run/pgdba/pooler.ini
}

umask 077
rm -f /run/pgdba/*
case "${1:-}" in
  node|pooler) "$@" ;;
  check-env) check_node; check_pooler ;;
  *) exec "$@" ;;
esac
