# make help lists the targets.
SHELL := /bin/bash
export CARGO_TERM_COLOR ?= auto
IMAGE ?= postgres-backup-job
IMAGE_TAG ?= dev
PG_MAJORS ?= 14 15 16 17 18
PG_SOURCE ?= pgdg
ARCHES ?= x86_64 aarch64
NAMESPACE ?= postgres-backup
RELEASE ?= postgres-backup

.PHONY: help demo first-steps test restore-test extensions-test fuzz lint fmt docs bench dist image image-test pod-test clean \
    k8s-ns k8s-secret k8s-deploy k8s-test k8s-backup k8s-logs k8s-pvc k8s-status k8s-download k8s-list k8s-restore k8s-clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## back up a throwaway sample shop, restore it with psql, and stop everything again
	@tests/tools/setup.sh demo
	@tests/tools/demo.sh

first-steps: ## run the README's first five minutes, as they are written there, against a throwaway PostgreSQL
	@tests/tools/setup.sh demo
	@tests/tools/stranger.sh

test: ## run every test against real servers, and print how many ran
	@tests/tools/setup.sh test
	@tests/tools/test.sh

restore-test: ## restore the newest backup of ./backups on an isolated PostgreSQL, and write the report to ./reports
	@mkdir -p reports
	@docker compose --profile verify run --rm --user "$$(id -u):$$(id -g)" verify; code=$$?; \
	    docker compose --profile verify rm --stop --force --volumes verify-postgres >/dev/null; exit $$code

extensions-test: ## back up, verify and restore every extension that is installed on the test server
	@tests/tools/setup.sh test
	@tests/tools/extensions.sh

fuzz: ## read made-up dumps for a minute each (FUZZ_SECONDS); building takes ten minutes first
	@tests/tools/fuzz.sh

lint: ## formatting, clippy with warnings as errors, documentation builds
	cargo fmt --all --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --locked

bench: ## speed, size and memory against PostgreSQL's own tools, gzip and pigz; 1 GB, 200 small databases, several connections, restores, 5,000 backups, a look into one, 100,000 tables
	@tests/tools/setup.sh test
	@tests/bench/run.sh
	@tests/bench/databases.sh
	@tests/bench/connections.sh
	@tests/bench/restore.sh
	@tests/bench/catalogue.sh
	@tests/bench/inspection.sh
	@tests/bench/objects.sh

dist: ## build what a release holds into ./dist: static binaries, Debian packages, chart, bill of materials (ARCHES)
	@tests/tools/setup.sh dist
	@ARCHES='$(ARCHES)' tests/tools/dist.sh

image: ## build the container image (PG_MAJORS, PG_SOURCE, IMAGE, IMAGE_TAG)
	docker build -t $(IMAGE):$(IMAGE_TAG) --build-arg "PG_MAJORS=$(PG_MAJORS)" --build-arg "PG_SOURCE=$(PG_SOURCE)" .

image-test: ## run the image as people do: --env-file, read-only root, a real PostgreSQL, SIGTERM
	@tests/tools/image.sh $(IMAGE):$(IMAGE_TAG)

pod-test: ## run the chart's pods in the image, as rendered: backup, verification, restore, SIGTERM
	@tests/tools/setup.sh test
	@docker image inspect postgres:17 >/dev/null 2>&1 || docker pull postgres:17
	BACKUP_IMAGE=$(IMAGE):$(IMAGE_TAG) cargo test --locked --test pods

# what was typed, to the letter: make would expand a $ in a name
$(foreach name,ARGS BACKUP CONFIRM DATABASE FROM OUTPUT,$(if $(filter-out undefined,$(origin $(name))),\
    $(eval override $(name) := $$(value $(name)))$(eval export $(name))))
# the chart's image unless another one is named on the command line or in the environment
k8s = NAMESPACE='$(NAMESPACE)' RELEASE='$(RELEASE)' IMAGE='$(if $(filter file,$(origin IMAGE)),,$(IMAGE))' \
    IMAGE_TAG='$(if $(filter file,$(origin IMAGE_TAG)),,$(IMAGE_TAG))' charts/k8s.sh

k8s-ns: ## Kubernetes (NAMESPACE, RELEASE, IMAGE_TAG for all): create the namespace, for restricted pods only
	@$(k8s) ns

k8s-secret: ## make the Secret from the secrets of ENV_FILE (.env)
	@$(k8s) secret

k8s-deploy: ## install or upgrade the release (VALUES=file)
	@$(k8s) deploy

k8s-test: ## run the nightly job now, follow it to its end, and print its exit code if it fails (CLUSTER=)
	@$(k8s) test

k8s-backup: ## make a backup now that retention never deletes (CLUSTER=)
	@$(k8s) backup

k8s-logs: ## the log of the newest pod (COMPONENT=backup, verify or restore)
	@$(k8s) logs

k8s-pvc: ## the volumes, and how full they are
	@$(k8s) pvc

k8s-status: ## CronJobs, Jobs, pods, and `backup status`
	@$(k8s) status

k8s-download: ## copy a backup to this machine and check it (BACKUP=latest, DATABASE=, OUTPUT=downloads)
	@$(k8s) download

k8s-list: ## the backups that exist (DATABASE=)
	@$(k8s) list

k8s-restore: ## restore after a question (DATABASE=, BACKUP=latest, FROM=, ARGS="--replace --disconnect", APP=deployment/x, APP_NAMESPACE=)
	@$(k8s) restore

k8s-clean: ## uninstall; the backups stay unless DELETE_DATA=yes
	@$(k8s) clean

clean: ## remove what was built
	cargo clean
	rm -rf dist
