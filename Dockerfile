# syntax=docker/dockerfile:1
# One image a role, all from one build: docker build --target origin|edge|coordinator .

# --- build ------------------------------------------------------------------------------------------------------------
FROM swift:6.2-bookworm AS build
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends \
        libssl-dev libsrtp2-dev libsrt-openssl-dev libsqlite3-dev zlib1g-dev pkg-config \
        libavcodec-dev libswresample-dev libswscale-dev libavutil-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# The manifest first, so that dependencies are fetched again only when it changes.
COPY Package.swift ./
RUN mkdir -p Sources Tests && swift package resolve
COPY . .
RUN --mount=type=cache,target=/build \
    swift build -c release --static-swift-stdlib --scratch-path /build \
    && mkdir /out \
    && cp /build/release/origin /build/release/edge /build/release/coordinator /out/ \
    && strip /out/*

# --- what all roles share ---------------------------------------------------------------------------------------------
FROM debian:bookworm-slim AS runtime
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends \
        ca-certificates curl libsqlite3-0 libsrt1.5-openssl libsrtp2-1 libssl3 zlib1g \
        libavcodec59 libswresample4 libswscale6 libavutil57 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 weir \
    && useradd --system --uid 10001 --gid weir --home-dir /var/lib/weir --create-home --shell /usr/sbin/nologin weir
COPY --from=build /out/ /usr/local/bin/
COPY cluster-configs/ /etc/weir/
USER weir
WORKDIR /var/lib/weir
STOPSIGNAL SIGTERM

# --- the roles --------------------------------------------------------------------------------------------------------
FROM runtime AS origin
EXPOSE 1935 8080 8000/udp 8000/tcp 10080/udp 8554 20000-20999/udp 5060/udp 5060/tcp 9000/udp 9000/tcp
VOLUME /var/lib/weir
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:1985/api/v1/health"]
CMD ["origin", "--config", "/etc/weir/single-server.yaml"]

FROM runtime AS edge
EXPOSE 1935 8080 8000/udp 8000/tcp 10080/udp 8554 20000-20999/udp
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:1985/api/v1/health"]
CMD ["edge", "--config", "/etc/weir/edge.yaml"]

FROM runtime AS coordinator
EXPOSE 7000
VOLUME /var/lib/weir
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:7000/api/v1/health"]
CMD ["coordinator", "--config", "/etc/weir/coordinator.yaml"]

# --- a publisher to try things with -----------------------------------------------------------------------------------
FROM debian:bookworm-slim AS demo
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --shell /usr/sbin/nologin weir
USER weir
CMD ["ffmpeg", "-version"]
