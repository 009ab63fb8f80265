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

# The client tools with the libraries that they load, and nothing else of their packages: no Perl, no server tools
FROM debian:${SUITE}-slim AS clients
ARG PG_MAJORS="14 15 16 17 18"
ARG PG_SOURCE=pgdg
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# The newest tools of each major are wanted, so no version is pinned. The C library stays that of the last stage.
# hadolint ignore=DL3008
RUN export DEBIAN_FRONTEND=noninteractive; \
    apt-get update; \
    apt-get install -y --no-install-recommends ca-certificates postgresql-common; \
    if [ "$PG_SOURCE" = pgdg ]; then \
        for script in /usr/share/postgresql-common/pgdg/*.sh; do "$script" -y; done; \
    fi; \
    for major in $PG_MAJORS; do \
        apt-get install -y --no-install-recommends "postgresql-client-$major"; \
        for tool in pg_dump pg_dumpall pg_restore psql; do \
            install -D -t "/out/usr/lib/postgresql/$major/bin" "/usr/lib/postgresql/$major/bin/$tool"; \
        done; \
    done; \
    rm -rf /var/lib/apt/lists/*; \
    ldd /out/usr/lib/postgresql/*/bin/* | sed -n 's|.* => \(/[^ ]*\) .*|\1|p' | sort -u | \
    grep -vE '/lib(c|m|resolv)\.so' | while read -r library; do \
        install -D -m 644 "$library" "/out/usr/${library#/usr/}"; \
    done; \
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt

FROM debian:${SUITE}-slim
COPY --from=clients /out /
RUN ldconfig && install -d -o 65532 -g 65532 /backups
COPY --from=build /build/target/release/backup /usr/local/bin/backup
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="postgres-backup-job" \
      org.opencontainers.image.description="Dumps PostgreSQL to a folder or a bucket, proves, prunes, and tells people" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"
# the authorities of sslrootcert=system, for the program and the client tools
ENV BACKUP_DIR=/backups HOME=/tmp SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
WORKDIR /
VOLUME /backups
# `backup schedule` with LISTEN_ADDR=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["backup"]
CMD ["run"]
