#!/bin/bash
# Writes Patroni's configuration, with what Spilo's image sets where it matters for failover, and becomes Patroni.
set -euo pipefail
umask 077
name=$(hostname)
wait=$((TTL / 3))
cat > /run/patroni/patroni.yml <<YAML
scope: $SCOPE
name: $name
restapi:
  listen: 0.0.0.0:8008
  connect_address: $name:8008
etcd3:
  hosts: $ETCD3_HOSTS
bootstrap:
  dcs:
    ttl: $TTL
    loop_wait: $wait
    retry_timeout: $wait
    maximum_lag_on_failover: 33554432
    synchronous_mode: $SYNCHRONOUS_MODE
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters:
        max_connections: $MAX_CONNECTIONS
        max_wal_senders: 10
        max_replication_slots: 10
        wal_level: replica
        wal_log_hints: "on"
        hot_standby: "on"
  initdb:
    - encoding: UTF8
    - locale: C.UTF-8
    - auth-host: scram-sha-256
    - auth-local: scram-sha-256
    - data-checksums
postgresql:
  listen: "*:5432"
  connect_address: $name:5432
  data_dir: /home/postgres/pgdata/data
  bin_dir: /usr/lib/postgresql/17/bin
  pgpass: /run/patroni/pgpass
  use_unix_socket: true
  authentication:
    superuser: {username: postgres}
    replication: {username: standby}
  parameters:
    shared_buffers: $SHARED_BUFFERS
    password_encryption: scram-sha-256
    unix_socket_directories: /run/postgresql
  pg_hba:
    - local all all scram-sha-256
    - host all all 127.0.0.1/32 scram-sha-256
    - host all all samenet scram-sha-256
    - host replication standby samenet scram-sha-256
YAML
export PATRONI_SUPERUSER_PASSWORD=$PGPASSWORD_SUPERUSER PATRONI_REPLICATION_PASSWORD=$PGPASSWORD_STANDBY
unset PGPASSWORD_SUPERUSER PGPASSWORD_STANDBY
exec patroni /run/patroni/patroni.yml
