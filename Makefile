# make help lists the targets.
SHELL := /bin/bash
export CARGO_TERM_COLOR ?= auto
IMAGE ?= postgres-backup-job
IMAGE_TAG ?= dev
PG_MAJORS ?= 14 15 16 17 18
PG_SOURCE ?= pgdg

.PHONY: help demo test restore-test lint fmt docs bench image image-test clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## back up a throwaway sample shop, restore it with psql, and stop everything again
	@tests/tools/setup.sh demo
	@tests/tools/demo.sh

test: ## run every test against real servers, and print how many ran
	@tests/tools/setup.sh test
	@tests/tools/test.sh

restore-test: ## restore the newest backup of ./backups on a PostgreSQL apart from everything, report into ./reports
	@mkdir -p reports
	@docker compose --profile verify run --rm --user "$$(id -u):$$(id -g)" verify; code=$$?; \
	    docker compose --profile verify rm --stop --force --volumes verify-postgres >/dev/null; exit $$code

lint: ## formatting, clippy with warnings as errors, documentation builds
	cargo fmt --all --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --locked

bench: ## speed, size and memory against PostgreSQL's own tools, gzip and pigz; 1 GB, 200 small databases, restores, 5,000 backups
	@tests/tools/setup.sh test
	@tests/bench/run.sh
	@tests/bench/databases.sh
	@tests/bench/restore.sh
	@tests/bench/catalogue.sh

image: ## build the container image (PG_MAJORS, PG_SOURCE, IMAGE, IMAGE_TAG)
	docker build -t $(IMAGE):$(IMAGE_TAG) --build-arg "PG_MAJORS=$(PG_MAJORS)" --build-arg "PG_SOURCE=$(PG_SOURCE)" .

image-test: ## run the image as people do: --env-file, read-only root, a real PostgreSQL, SIGTERM
	@tests/tools/image.sh $(IMAGE):$(IMAGE_TAG)

clean: ## remove what was built
	cargo clean
