# `make` alone tells what there is. Scripts/ holds what does the work.

# Where `swift build` keeps its files. Outside the clone it survives the clone: WEIR_BUILD=/var/tmp/weir-build.
WEIR_BUILD ?= .build
override WEIR_BUILD := $(abspath $(WEIR_BUILD))
export WEIR_BUILD
BUILD ?= release
export BUILD
FUZZ_SECONDS ?= 15
export FUZZ_SECONDS

# Tests with sockets, disks and deadlines run one after the other, and real processes after them: beside everything
# else they would measure how busy the machine is.
CORE_TESTS := ^(Media|AMF|SDP|STUN|RTSP|SIP|MANSCDP|DigestAuthentication|MPEGPS|GB28181|SRTAccess|RTSPSessions|TransportStreams|WebRTC|RTPReceiving|RTPSending|FLV|ISOBMFF|MPEGTS|Playlists|RTMP|Streaming|Placement|Packaging|Recording|Access|Exposition|SRSConfig|NodeConfiguration)Tests\.
# Attacks, 50,000 names, tokens of all kinds, caches with 500 viewers, WebRTC over networks that lose packets and with nodes
# that die, cameras that come for each kind of viewer and go again, and every row of the matrix of protocols. `make test`
# has an hour on a fresh clone, and takes some of the rows; `make attack` runs these.
LONG_TESTS := (AttackTests|ChurnTests|AccessProcessTests|CDNTests|ClusterTests.*(WebRTC(Network|Address|Failure)|OnDemand|GB28181Viewer)Tests)
MATRIX_TESTS := ClusterTests.*MatrixTests
MATRIX_ROWS := rtmp-hevc,srt-h264,whip-h264,udp-hevc,rtsp-h264,gb28181-hevc,post-h264
SWIFT_TEST := Scripts/swift-test

SWIFT_BUILD := swift build --scratch-path "$(WEIR_BUILD)"
# What the formatter and the layer check look at.
SWIFT_SOURCES := Package.swift Sources Tests Fuzz Benchmarks

.DEFAULT_GOAL := help
.PHONY: help setup run build release test unit lint format docs fuzz attack simulate bench clean

help: ## What there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: WEIR_BUILD=FOLDER (build files), BUILD=debug|release and DEMO=0 (make run), FUZZ_SECONDS=15"

setup: ## Install what is missing on Debian or Ubuntu
	@Scripts/setup

run: ## Run a coordinator, an origin, two edges and a demo stream on this machine
	@Scripts/setup
	@Scripts/run-cluster --check-ports
	@$(SWIFT_BUILD) -c "$(BUILD)"
	@exec Scripts/run-cluster

build: ## Build for debugging
	@$(SWIFT_BUILD)

release: ## Build with optimisation
	@$(SWIFT_BUILD) -c release

test: ## Run every check: format, layers, unit, process and player tests, fuzzing
	@Scripts/setup --tests
	@$(MAKE) --no-print-directory lint
	@Scripts/check-compose --schema-only
	@$(SWIFT_BUILD) --build-tests
	@Scripts/check-compose --commands-only "$(WEIR_BUILD)/debug"
	@$(SWIFT_TEST) --filter '$(CORE_TESTS)'
	@$(SWIFT_TEST) --no-parallel --skip '$(CORE_TESTS)' --skip '^ClusterTests\.'
	@WEIR_TEST_MATRIX='$(MATRIX_ROWS)' \
		Scripts/beside 'Scripts/simulate && Scripts/fuzz' $(SWIFT_TEST) --filter '^ClusterTests\.' --skip '$(LONG_TESTS)'

unit: ## Run the tests only, in debug; FILTER=NAME chooses
	@swift test --scratch-path "$(WEIR_BUILD)" $(if $(FILTER),--filter "$(FILTER)")

lint: ## Check format and layers
	@swift format lint --strict --configuration .swift-format --parallel -r $(wildcard $(SWIFT_SOURCES))
	@Scripts/check-layers --self-test
	@Scripts/check-layers

format: ## Format all Swift sources
	@swift format --in-place --configuration .swift-format --parallel -r $(wildcard $(SWIFT_SOURCES))

docs: ## Write docs/configuration.md from the schema, and docs/protocols.md from the table of the matrix test
	@$(SWIFT_BUILD) --build-tests
	@"$(WEIR_BUILD)/debug/origin" --print-config-reference > docs/configuration.md
	@WEIR_WRITE_DOCS=docs $(SWIFT_TEST) --filter 'MatrixTests.document'

fuzz: ## Fuzz every parser for FUZZ_SECONDS each
	@Scripts/fuzz

attack: ## Run the tests that attack, churn, forge, lose packets and kill nodes; they take long
	@Scripts/setup --tests
	@$(SWIFT_BUILD) --build-tests
	@$(SWIFT_TEST) --filter '$(LONG_TESTS)' --filter '$(MATRIX_TESTS)'

simulate: ## Run the placement rules on a virtual network with faults, 10,000 times
	@Scripts/simulate

bench: ## Measure against the floor and nginx-rtmp; prints a table (docs/performance.md)
	@Benchmarks/run

clean: ## Remove build files, logs and state
	@rm -rf .build .weir
	@if [ -f "$(WEIR_BUILD)/workspace-state.json" ]; then rm -rf "$(WEIR_BUILD)"; fi
