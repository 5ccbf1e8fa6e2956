# `make help` lists the commands, what each proves and how long it takes.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One plugin for each Slurm major.minor; PLUGIN_VERSIONS="25.05" builds for another.
PLUGIN_VERSIONS ?= 22.05 24.11 26.05
SLURM ?= 24.11
DESTDIR ?=
prefix ?= /usr
PLUGINS := target/plugins

# What is built carries no path of the machine that built it: `make reproducible` holds it to that.
export REMAP := --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo --remap-path-prefix=$(CURDIR)=/tenantry
build plugins fault-plugins fault-daemon: export RUSTFLAGS := $(REMAP)

.PHONY: help postgres doors reconcile sacct deps build plugins fault-plugins install lint unit test demo conformance lab escape bench bench-start bench-sampler bench-storage prometheus compat neighbour stress crash fault-daemon drill-tools failover failover-patroni bench-ingest packages sign reproducible install-test quickstart-test hardening

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

deps: ## installs what a build and the tests need, from the distribution's packages (as root)
	tests/deps

build: ## the daemons, the server, the command and the drills' load, optimised (6 min from nothing)
	cargo build --release --locked -p tenantryd -p tenantry-warden -p tenantry-server -p tenantry -p tenantry-load

plugins: ## the plugin, once for each of PLUGIN_VERSIONS (1 min from nothing)
	@mkdir -p $(PLUGINS)
	for version in $(PLUGIN_VERSIONS); do \
	  TENANTRY_SLURM_VERSION=$$version cargo build --release --locked -p spank-tenantry; \
	  install -m 0755 target/release/libspank_tenantry.so $(PLUGINS)/spank_tenantry-$$version.so; \
	  strip --strip-debug $(PLUGINS)/spank_tenantry-$$version.so; \
	done

fault-plugins: ## the plugins with panics on demand, for the tests only
	@mkdir -p $(PLUGINS)/fault
	for version in $(PLUGIN_VERSIONS); do \
	  TENANTRY_SLURM_VERSION=$$version cargo build --release --locked -p spank-tenantry \
	    --features fault-injection; \
	  install -m 0755 target/release/libspank_tenantry.so $(PLUGINS)/fault/spank_tenantry-$$version.so; \
	done

fault-daemon: ## tenantryd that dies between two steps on demand, for the tests only
	@mkdir -p target/fault
	cargo build --release --locked -p tenantryd --features fault-injection
	install -m 0755 target/release/tenantryd target/fault/tenantryd
	cargo build --release --locked -p tenantryd

install: ## what build and plugins made, into DESTDIR; the plugin is off until slurmd starts and `tenantry plugin` finds it fit
	install -d -m 0755 $(DESTDIR)$(prefix)/{bin,sbin,lib/tenantry,lib/systemd/system,lib/sysusers.d,lib/tmpfiles.d}
	install -d -m 0755 $(DESTDIR)/etc/tenantry $(DESTDIR)/etc/slurm/plugstack.conf.d $(DESTDIR)/var/lib/tenantry-plugin
	install -m 0755 target/release/tenantry $(DESTDIR)$(prefix)/bin/
	install -m 0755 target/release/{tenantryd,tenantry-warden,tenantry-server} $(DESTDIR)$(prefix)/sbin/
	install -m 0755 $(PLUGINS)/spank_tenantry-*.so $(DESTDIR)$(prefix)/lib/tenantry/
	install -m 0755 packaging/slurm/tenantry-prolog $(DESTDIR)$(prefix)/lib/tenantry/
	install -m 0644 packaging/systemd/*.{service,socket} $(DESTDIR)$(prefix)/lib/systemd/system/
	install -D -m 0644 -t $(DESTDIR)$(prefix)/lib/systemd/system/slurmd.service.d packaging/slurmd.service.d/tenantry.conf
	install -D -m 0644 -t $(DESTDIR)$(prefix)/lib/systemd/system/slurmd@.service.d packaging/slurmd.service.d/tenantry.conf
	install -D -m 0644 -t $(DESTDIR)$(prefix)/share/tenantry/systemd packaging/systemd/network/*.conf
	install -m 0644 packaging/sysusers.d/tenantry.conf $(DESTDIR)$(prefix)/lib/sysusers.d/
	install -m 0644 packaging/tmpfiles.d/tenantry.conf $(DESTDIR)$(prefix)/lib/tmpfiles.d/
	for file in packaging/config/*.toml; do \
	  [ -e $(DESTDIR)/etc/tenantry/$${file##*/} ] || install -m 0644 $$file $(DESTDIR)/etc/tenantry/; \
	done
	install -m 0644 packaging/plugstack.conf.d/tenantry.conf $(DESTDIR)/etc/slurm/plugstack.conf.d/
	[ -e $(DESTDIR)/var/lib/tenantry-plugin/plugstack.conf ] || install -m 0644 /dev/null $(DESTDIR)/var/lib/tenantry-plugin/plugstack.conf

lab: ## builds and caches the lab: a kernel, and an image for each Slurm (7 min from nothing)
	tests/lab/lab all

demo: ## real jobs of two tenants on a real Slurm, billed and compared with the kernel (2 min; 20 from nothing); LEDGER=postgres|moved, WAY=network
	tests/demo $(if $(LEDGER),--ledger $(LEDGER)) $(if $(WAY),--way $(WAY))

unit: ## unit, property, interface and golden tests (3 min from nothing)
	tests/units

lint: ## formatting, clippy, shellcheck, licences
	tests/lint

conformance: ## the main job on the Slurm of SLURM=YY.MM: billed = kernel, and what may go wrong (4 min)
	tests/conformance/run --slurm $(SLURM)

escape: ## what a hostile tenant may try, tried in real jobs on the Slurm of SLURM=YY.MM; none may succeed (5 min)
	tests/escape/run --slurm $(SLURM)

compat: ## what sites do with the Slurm of SLURM=YY.MM, each tried once, as in docs/compatibility.md (6 min)
	tests/compat/run --slurm $(SLURM)

reconcile: ## a fault in the middle of a job, again and again, on the Slurm of SLURM=YY.MM; each must be mended (8 min)
	tests/reconcile/run --slurm $(SLURM)

sacct: ## 103 jobs of every kind beside sacct and the kernel, each difference with its cause (8 min)
	tests/reconcile-sacct/run --slurm $(SLURM)

crash: ## everything that may happen to a reading on its way to the ledger, on the Slurm of SLURM=YY.MM (25 min)
	tests/crash/run --slurm $(SLURM)

test: ## every test, on three Slurm versions; ends with how many passed, failed and were skipped
	tests/run

drill-tools: build
	tests/failover/packages

failover: drill-tools ## PostgreSQL and servers killed and cut off under load; acknowledged blocks compared one by one (3 min)
	tests/failover/run

failover-patroni: drill-tools ## the same over three nodes of Patroni and etcd, as in packaging/examples/patroni (4 min)
	tests/failover/packages patroni etcd
	tests/failover/ha

bench-ingest: drill-tools ## 10,000 nodes into PostgreSQL with a synchronous standby, beside a bare insert and keyed rows (5 min; MINUTES=10: 17, and 46 GB of disk)
	tests/bench/ingest --minutes $(or $(MINUTES),1)

bench: bench-start bench-sampler bench-storage ## all benches

bench-start: ## srun with the plugin against srun without, in pairs; the prolog's and the epilog's own time (5 min)
	tests/bench/start

bench-sampler: ## a sampling round beside bare loops, below 0.9 and a BPF iterator, over the same files (4 min; 8 from nothing)
	tests/bench/sampler

bench-storage: ## bytes that a sample takes in our blocks and in VictoriaMetrics (2 min)
	tests/bench/storage

postgres: ## the ledger on a real PostgreSQL with a synchronous standby: its tests, the traps, the doors (3 min)
	tests/postgres/run

doors: ## every door to the ledger that must be closed, tried as tenant, reader, writer, owner and stranger (1 min)
	cargo build -q --locked -p tenantry-server
	tests/postgres/doors

prometheus: ## rules, dashboard and /metrics by promtool (1 min)
	tests/prometheus/run

neighbour: ## what a tenant keeps of its CPU, memory and disk beside one that takes all it gets, with and without Tenantry (4 min)
	tests/neighbour/run --slurm $(SLURM)

stress: ## 500 short jobs at once: nothing left, each billed once, no complaint; how much longer a job takes (5 min)
	tests/stress/run --slurm $(SLURM)

packages: build plugins ## DEBs and RPMs with checksums, licences and parts lists, into target/packages (1 min; 10 the first time)
	packaging/build

sign: ## signs target/packages with the site's key: KEY=FINGERPRINT, of gpg's secret keys
	packaging/sign $(KEY)

reproducible: ## the packages built a second time from nothing, at another path: every byte must be the same (10 min)
	tests/packages/reproducible

install-test: ## what an admin does with the DEBs, on three Slurm versions: install, upgrade beside jobs, remove, purge (15 min)
	tests/install/run

quickstart-test: ## the commands of docs/quickstart.md as they stand there, on the Slurm of SLURM=YY.MM (1 min)
	tests/quickstart/run --slurm $(SLURM)

hardening: ## what systemd-analyze says of each unit, against what it must stay below
	tests/hardening/run
