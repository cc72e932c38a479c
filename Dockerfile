FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /consentwire ./cmd/consentwire && mkdir -m 0700 /data

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /consentwire /consentwire
COPY --from=build --chown=nobody:nogroup /data /data
USER nobody
ENV CONSENTWIRE_LISTEN=0.0.0.0:8080 CONSENTWIRE_DATA_DIR=/data
EXPOSE 8080
ENTRYPOINT ["/consentwire"]
CMD ["serve"]
