#!/bin/sh
# Writes pgbouncer.ini and userlist.txt and becomes PgBouncer.
set -eu
umask 077
printf '"%s" "%s"\n' "$DB_USER" "$DB_PASSWORD" > /run/pgbouncer/userlist.txt
cat > /run/pgbouncer/pgbouncer.ini <<INI
[databases]
* = host=$DB_HOST port=$DB_PORT auth_user=$DB_USER
[pgbouncer]
listen_addr = 0.0.0.0
listen_port = $LISTEN_PORT
unix_socket_dir =
auth_file = /run/pgbouncer/userlist.txt
auth_type = $AUTH_TYPE
pool_mode = $POOL_MODE
default_pool_size = $DEFAULT_POOL_SIZE
max_client_conn = $MAX_CLIENT_CONN
ignore_startup_parameters = extra_float_digits
admin_users = postgres
INI
unset DB_PASSWORD
exec pgbouncer /run/pgbouncer/pgbouncer.ini
