# Patroni and PostgreSQL from Debian 13's packages, by the variables that Spilo's image takes. Context: deployments/docker.
ARG BASE_IMAGE=debian:trixie-slim
FROM ${BASE_IMAGE}
# Without the compiler behind PostgreSQL's JIT, as in ../Dockerfile.
RUN groupadd -r -g 999 postgres && useradd -r -u 999 -g postgres -d /home/postgres -s /bin/bash postgres \
 && mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf \
 && apt-get update && apt-get install -y --no-install-recommends tini patroni python3-etcd python3-psycopg2 postgresql-17 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /usr/share/doc /usr/share/man /usr/share/locale \
      /usr/lib/postgresql/*/lib/bitcode /usr/lib/postgresql/*/lib/llvmjit* /usr/lib/*/libLLVM* \
 && install -d -o postgres -g postgres -m 0700 /home/postgres /home/postgres/pgdata /run/patroni && install -d -o postgres -g postgres /run/postgresql
COPY packages/patroni.sh /usr/local/bin/entrypoint
COPY healthy.sh /usr/local/bin/healthy
ENV LANG=C.UTF-8
USER postgres
EXPOSE 5432 8008
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/entrypoint"]
