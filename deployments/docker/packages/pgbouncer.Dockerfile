# PgBouncer from Debian 13's package, by the variables that edoburu/pgbouncer takes. Context: deployments/docker.
ARG BASE_IMAGE=debian:trixie-slim
FROM ${BASE_IMAGE}
RUN groupadd -r -g 999 postgres && useradd -r -u 999 -g postgres -d /var/lib/postgresql postgres \
 && apt-get update && apt-get install -y --no-install-recommends tini pgbouncer postgresql-client-17 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /usr/share/doc /usr/share/man /usr/share/locale \
 && install -d -o postgres -g postgres -m 0700 /run/pgbouncer
COPY packages/pgbouncer.sh /usr/local/bin/entrypoint
USER postgres
EXPOSE 6432
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/entrypoint"]
