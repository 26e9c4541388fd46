# etcd from Debian's package, for machines that cannot pull quay.io/coreos/etcd: same folders, same commands.
ARG BASE_IMAGE=debian:trixie-slim
FROM ${BASE_IMAGE}
RUN apt-get update && apt-get install -y --no-install-recommends etcd-server etcd-client \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /usr/share/doc /usr/share/man /usr/share/locale \
 && ln -s /usr/bin/etcd /usr/bin/etcdctl /usr/local/bin/ && install -d -m 0700 /etcd-data
EXPOSE 2379 2380
CMD ["/usr/local/bin/etcd"]
