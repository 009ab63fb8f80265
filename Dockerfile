# Build arguments:
#   RUST_VERSION  toolchain of the build stage
#   SUITE         Debian suite of both stages
#   PG_MAJORS     majors whose client tools the image holds
#   PG_SOURCE     pgdg: the PostgreSQL project's own apt repository, which has every major (set up by the script that
#                 Debian's postgresql-common carries); debian: the suite's own packages, which have one major
ARG RUST_VERSION=1.95.0
ARG SUITE=trixie

FROM rust:${RUST_VERSION}-slim-${SUITE} AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
# dependencies first, so that a change of our own code builds in seconds from the cached layer
RUN mkdir src && echo 'fn main() {}' >src/main.rs && touch src/lib.rs \
    && cargo build --release --locked && rm -r src target/release/backup target/release/deps/*postgres_backup_job* target/release/deps/backup-*
COPY src src
RUN touch src/main.rs src/lib.rs && cargo build --release --locked && strip target/release/backup

FROM debian:${SUITE}-slim
ARG PG_MAJORS="14 15 16 17 18"
ARG PG_SOURCE=pgdg
RUN set -eu; export DEBIAN_FRONTEND=noninteractive; \
    apt-get update; \
    apt-get install -y --no-install-recommends ca-certificates postgresql-common; \
    if [ "$PG_SOURCE" = pgdg ]; then \
        for script in /usr/share/postgresql-common/pgdg/*.sh; do "$script" -y; done; \
    fi; \
    for major in $PG_MAJORS; do \
        apt-get install -y --no-install-recommends "postgresql-client-$major"; \
    done; \
    rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man; \
    mkdir /backups; chown 65532:65532 /backups
COPY --from=build /build/target/release/backup /usr/local/bin/backup
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="postgres-backup-job" \
      org.opencontainers.image.description="Dumps PostgreSQL to a folder or a bucket, proves, prunes, and tells people" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"
ENV BACKUP_DIR=/backups HOME=/tmp
USER 65532:65532
WORKDIR /
VOLUME /backups
# `backup schedule` with LISTEN_ADDR=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["backup"]
CMD ["run"]
