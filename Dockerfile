# dripfeed in a container, for any source: one static binary and CA certificates. It speaks the Airbyte protocol.
#
#   docker build -t source-asana --build-arg SOURCE=asana .
#   docker run --rm source-asana spec
#
# SOURCE is a built-in source. For a manifest of your own mount it, and name it: -v ./crm.yaml:/airbyte/crm.yaml:ro
# -e DRIPFEED_SOURCE=/airbyte/crm.yaml. Without either the manifest comes in the config, as Airbyte's Connector Builder
# injects it. There is no shell. Airbyte's platform needs one, for it starts connectors by `sh -c`: --build-arg WITH_SHELL=1.
# `.ci/image` makes the same root file system without a Docker engine.

# By version, not by digest: the digest of the day is the release workflow's to pin.
FROM rust:1.95.0-bookworm AS build
ARG WITH_SHELL=
# The image takes of these only busybox and the certificates, both as Debian has them on the day of the build.
# hadolint ignore=DL3008
RUN apt-get update -q \
    && apt-get install -qy --no-install-recommends busybox-static ca-certificates \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN .ci/image ${WITH_SHELL:+--shell} /image

FROM scratch
ARG SOURCE=
ARG VERSION=0.1.0
ARG REVISION=
COPY --from=build /image /
LABEL io.airbyte.name="source-${SOURCE:-dripfeed}" io.airbyte.version="${VERSION}" \
      org.opencontainers.image.title="source-${SOURCE:-dripfeed}" \
      org.opencontainers.image.description="Reads SaaS APIs incrementally from declarative manifests" \
      org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="https://github.com/dripfeed/dripfeed" \
      org.opencontainers.image.documentation="https://github.com/dripfeed/dripfeed/blob/main/docs/src/install.md" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
ENV AIRBYTE_ENTRYPOINT="/airbyte/dripfeed" DRIPFEED_PROTOCOL="airbyte" DRIPFEED_SOURCE="${SOURCE}" \
    PATH="/airbyte:/bin" HOME="/airbyte" SSL_CERT_FILE="/etc/ssl/certs/ca-certificates.crt"
WORKDIR /airbyte
USER 1000:1000
ENTRYPOINT ["/airbyte/dripfeed"]
