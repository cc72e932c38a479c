# What people type. Everything else is the go tool's; see CONTRIBUTING.md.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build dev test check format vet lint modules interop browser receivers screenshots tests bench bench-large fuzz cover clean

# The linters live in a module of their own: the program drags none of them.
TOOL := go tool -modfile=tools/go.mod
# The tag npm adds the tests that run what is not Go: the official JavaScript
# verifiers, real OAuth 2.0 servers, Chromium, receivers in other languages;
# the tag postgres those on a throwaway PostgreSQL.
TAGS := npm,postgres
# How often the crash test kills the server.
KILLS ?= 25
FUZZTIME ?= 20s

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

build: ## build bin/consentwire
	@tools/need go golang-go >/dev/null
	go build -trimpath -o bin/consentwire ./cmd/consentwire

dev: build ## build and start, with a demo application and the portal
	@exec ./bin/consentwire dev

test: ## the quick inner loop: embedded store, nothing to install
	@tools/need go golang-go >/dev/null
	@tools/gotest -short ./...
	@echo 'make test leaves out: the linters, the race detector, the crash test at $(KILLS) kills, the JavaScript verifiers and token servers, PostgreSQL. make check runs them all.'

check: format vet modules lint tests ## everything that must hold before a change lands

format:
	@tools/need go golang-go >/dev/null
	@bad=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); if [ -n "$$bad" ]; then echo "not formatted (gofmt -w them):"; echo "$$bad"; exit 1; fi
	@echo 'format: ok'

vet:
	@go vet -tags $(TAGS) ./...
	@echo 'vet: ok'

modules:
	@go mod verify >/dev/null
	@go -C tools mod verify >/dev/null
	@go -C signature/interop/svix mod verify >/dev/null
	@echo 'modules: ok, as go.sum has them'

lint:
	@$(TOOL) staticcheck -tags $(TAGS) ./...
	@echo 'staticcheck: ok'
	@$(TOOL) gosec -quiet -conf .gosec.json -exclude-dir bench ./...
	@echo 'gosec: ok'

interop:
	@tools/need "node nodejs" nodejs >/dev/null
	@tools/need npm npm >/dev/null
	@for dir in signature/interop internal/servertest/oauth/node internal/servertest/browser; do (cd $$dir && npm ci --no-audit --no-fund --loglevel=error); done

browser: interop
	@tools/need "chromium chromium-browser google-chrome" chromium >/dev/null

# What runs the receivers that the portal shows.
receivers:
	@tools/need python3 python3 >/dev/null
	@tools/need java default-jdk-headless >/dev/null
	@tools/need mcs mono-mcs >/dev/null
	@tools/need mono mono-runtime libmono-system-core4.0-cil >/dev/null
	@tools/need php php-cli >/dev/null

screenshots: browser ## take the pictures of the portal's pages anew, docs/screenshots
	@CONSENTWIRE_SCREENSHOTS=$(CURDIR)/docs/screenshots go test -tags $(TAGS) -count=1 -run TestBrowser_everyPage ./internal/servertest

tests: interop browser receivers
	@tools/need gcc gcc libc6-dev >/dev/null
	@tools/need curl curl >/dev/null
	@tools/need ip iproute2 >/dev/null
	@tools/need unshare util-linux >/dev/null
	@PATH="$$PATH:$$(printf ':%s' /usr/lib/postgresql/*/bin)" tools/need initdb postgresql >/dev/null
	@CGO_ENABLED=1 CONSENTWIRE_TEST_KILLS=$(KILLS) tools/gotest -race -tags $(TAGS) -timeout 20m ./...
	@echo 'the engine and the use cases once more, every fault and every random life, without the race detector:'
	@tools/gotest ./internal/dispatch ./internal/app

bench: ## measure against the bars; resumes by row (ROW=name, or rm bench/results.json)
	@go build -trimpath -o bin/consentwire ./cmd/consentwire
	@go run ./bench -server bin/consentwire $(if $(ROW),-row $(ROW))

bench-large: ## the rows that need minutes to prepare as well
	@go build -trimpath -o bin/consentwire ./cmd/consentwire
	@go run ./bench -server bin/consentwire -large $(if $(ROW),-row $(ROW))

fuzz: ## run each fuzz target for FUZZTIME (20s)
	@tools/fuzz $(FUZZTIME)

cover: ## statement coverage by package, and bin/cover.html
	@mkdir -p bin
	@go test -short -coverpkg=./... -coverprofile=bin/cover.out ./... | awk '/^ok|FAIL/{print $$1, $$2}'
	@go tool cover -html=bin/cover.out -o bin/cover.html
	@go tool cover -func=bin/cover.out | tail -1

clean: ## remove what was built
	rm -rf bin
