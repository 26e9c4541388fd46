# The front door. `make help` lists what is here; every target does its own set-up and asks no question.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := build
.PHONY: help build up test check check-all peers long compose-test compose-bench soak bench format clean

JOBS ?= $(shell nproc)
ARGS ?=
POOLER_ARGS ?=

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

build: ## Builds bin/pgdba and bin/pgdba-sim (installs what is missing first)
	@tools/setup run
	@tools/build release

up: build ## Builds, then starts a three-node cluster on this machine (ARGS="--nodes 5 …" goes to pgdba up)
	@bin/pgdba up $(ARGS)

test: ## Everything that CI runs: unit tests, simulator, ASan, black-box tests on real PostgreSQL and etcd
	@tools/setup test
	@JOBS=$(JOBS) tools/test all

check: ## The inner loop, under 3 minutes: development build, unit and golden tests, 500 simulator seeds
	@tools/setup test
	@JOBS=$(JOBS) tools/test check

check-all: ## Before a release: clang 16, ThreadSanitizer, Debian 13's compiler, tests with real Patroni 4, long tests
	@tools/setup all
	@JOBS=$(JOBS) tools/test check-all

peers: ## Black-box tests against Patroni 4.0.7 and others from a Debian 13 tree (about 1 GB, root)
	@tools/setup all
	@JOBS=$(JOBS) tools/test peers

long: ## Black-box tests that take minutes each
	@tools/setup test
	@JOBS=$(JOBS) tools/test long

compose-test: ## The Docker Compose deployment on a real engine (its own, in a scratch folder, when none runs; that wants root)
	@tools/setup all
	@JOBS=$(JOBS) tools/test compose

compose-bench: ## Failover times in containers, beside Patroni 4.0 and PgBouncer 1.24 from Debian's packages (half an hour)
	@tools/setup all
	@tools/build release
	@engine=$$(mktemp -d); trap 'tools/docker-engine stop $$engine' EXIT; tools/docker-engine start $$engine; \
	  tools/docker-engine exec $$engine tools/docker-images packages; tools/docker-engine exec $$engine /usr/bin/python3 bench/compose.py $(ARGS)

soak: ## An hour of random traffic through the pooler, every answer checked, memory watched (ARGS="--minutes 10 --load 0.2 …")
	@tools/setup test
	@tools/build release
	@/usr/bin/python3 tests/soak.py $(ARGS)

bench: ## Failover times next to Patroni 4.0.7's, the pooler's cost next to PgBouncer 1.24.1's (root, an hour)
	@tools/setup all
	@tools/build release
	@tools/debian-tree 13 > /dev/null
	@code=0; /usr/bin/python3 bench/run.py $(ARGS) || code=$$?; /usr/bin/python3 bench/pooler.py $(POOLER_ARGS) || code=$$?; exit $$code

format: ## Formats the C++ sources
	@tools/setup all
	@git ls-files '*.h' '*.cpp' | xargs -r clang-format -i

clean: ## Deletes what was built here; clusters and their data stay
	@rm -rf build bin
