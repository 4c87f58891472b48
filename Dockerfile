# dripfeed as an Airbyte source, for any source: one static binary, CA certificates, a shell for the platform's launcher.
#
#   docker build -t source-asana --build-arg SOURCE=asana .
#   docker run --rm source-asana spec
#
# SOURCE is a built-in source. For a manifest of your own mount it, and name it: -v ./crm.yaml:/airbyte/crm.yaml:ro
# -e DRIPFEED_SOURCE=/airbyte/crm.yaml. Without either the manifest comes in the config, as Airbyte's Connector Builder
# injects it. `.ci/image` makes the same root file system without a Docker engine.
FROM rust:1-bookworm AS build
RUN apt-get update -q && apt-get install -qy --no-install-recommends busybox-static ca-certificates
WORKDIR /build
COPY . .
RUN .ci/image /image

FROM scratch
ARG SOURCE=
ARG VERSION=0.1.0
COPY --from=build /image /
LABEL io.airbyte.name="dripfeed" io.airbyte.version="${VERSION}" \
      org.opencontainers.image.title="dripfeed" org.opencontainers.image.licenses="MIT OR Apache-2.0"
ENV AIRBYTE_ENTRYPOINT="/airbyte/dripfeed" DRIPFEED_PROTOCOL="airbyte" DRIPFEED_SOURCE="${SOURCE}" \
    PATH="/airbyte:/bin" HOME="/airbyte" SSL_CERT_FILE="/etc/ssl/certs/ca-certificates.crt"
WORKDIR /airbyte
USER airbyte
ENTRYPOINT ["/airbyte/dripfeed"]
