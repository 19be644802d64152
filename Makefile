# Everything runs in a private virtual environment, made on first use. `make PYTHON=python3.13 test` picks the interpreter.
PYTHON ?= python3
SHELL := /bin/bash
JOBS := $(shell nproc 2>/dev/null || echo 2)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

VENV := .venv
BIN := $(VENV)/bin
EXT := .venv-extended
EXTRAS := cli,plot,test,lint
TORCH := torch==2.13.0
TORCHVISION := torch==2.14.1 torchvision==0.29.1 onnxscript==0.7.2
# A package index to look for torch in beside the usual one
TORCH_INDEX ?=

C_FILES := $(shell find csrc $(wildcard tests/c) -name '*.[ch]')
BUILD_FILES := $(shell find csrc -type f) setup.py tools/build_support.py
PACKAGE_FILES := $(shell find gradcam -type f -not -name '*.so' -not -name '*.pyc')

.PHONY: demo test test-torch extended experiments experiments-quick sanitize sanitize-tests sanitize-driver neon lint format bench build clean

demo: $(VENV)/built
	$(BIN)/gradcam demo -o demo.png
	@echo "The picture is $(CURDIR)/demo.png"

test: lint $(VENV)/built
	$(BIN)/python -X faulthandler -m pytest

test-torch: $(VENV)/built $(VENV)/torch
	$(BIN)/python -X faulthandler -m pytest -m torch

# Hours: every architecture of torchvision. `make extended EXTENDED="-k resnet18"` runs a part.
EXTENDED ?=
extended: $(EXT)/built
	PYTHONSAFEPATH=1 $(EXT)/bin/python -X faulthandler -m pytest tests/extended $(EXTENDED)

# The question of signs, measured: five training seeds, results and figures into docs/experiments, notebooks with their outputs.
experiments: $(VENV)/built
	$(BIN)/gradcam experiment all -o docs/experiments --models build/networks
	$(BIN)/python tools/write_experiments_page.py
	$(BIN)/python tools/execute_notebooks.py notebooks/experiments/*.ipynb

# The same with one seed and short training: whether all of it runs.
experiments-quick: $(VENV)/built
	$(BIN)/gradcam experiment all --quick -o build/experiments-quick

lint: $(VENV)/installed
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict gradcam

format: $(VENV)/installed
	$(BIN)/clang-format -i $(C_FILES)
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

bench:
	@echo "Speed beside other libraries, in an environment of its own (the docstring of the script lists what it needs):"
	@echo "  $(PYTHON) -m venv .venv-bench && .venv-bench/bin/pip install . torch==2.14.1 torchvision==0.29.1 onnx onnxruntime"
	@echo "  .venv-bench/bin/python ../shared/acceptance/bench_peers.py --networks resnet50 --libraries gradcam,onnxruntime"
	@echo "  benchmarks/README.md has the commands of all tables: kernels, growth, methods, arrays, training"

build: $(VENV)/installed
	rm -rf build/lib* dist
	$(BIN)/pip install --quiet build
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) $(SAN) $(EXT) .venv-bench build dist *.egg-info gradcam/_core*.so demo.png
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environments: `installed` follows pyproject.toml, `built` the C core

define make_venv
rm -rf $(1)
$(PYTHON) -m venv $(1)
$(1)/bin/pip install --quiet "setuptools>=77" "numpy>=2.0"
endef

$(VENV)/installed: pyproject.toml
	$(call make_venv,$(VENV))
	$(BIN)/pip install --quiet --no-build-isolation -e ".[$(EXTRAS)]"
	touch $@

$(VENV)/built: $(VENV)/installed $(BUILD_FILES)
	$(BIN)/python setup.py --quiet build_ext --inplace
	touch $@

$(VENV)/torch: $(VENV)/installed
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) "$(TORCH)"
	touch $@

# Really installed, as the sanitizers' below: this environment has an interpreter and an extension of its own.
$(EXT)/venv: pyproject.toml
	$(call make_venv,$(EXT))
	$(EXT)/bin/pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCHVISION)
	touch $@

$(EXT)/built: $(EXT)/venv $(BUILD_FILES) $(PACKAGE_FILES) pyproject.toml
	rm -rf build/lib*
	$(EXT)/bin/pip install --quiet --no-build-isolation ".[test]"
	touch $@

# --- sanitizers. The package is really installed here, not linked to the source folder, so that both environments keep
# their own extension; PYTHONSAFEPATH keeps the source folder out of sys.path, in subprocesses too.

SAN := .venv-sanitize
SANITIZERS := address,undefined,float-cast-overflow
SAN_CC := gcc
SAN_ENV = PYTHONSAFEPATH=1 PYTHONMALLOC=malloc OMP_NUM_THREADS=2 \
    LD_PRELOAD="$$($(SAN_CC) -print-file-name=libasan.so) $$($(SAN_CC) -print-file-name=libubsan.so)" \
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:strict_init_order=1:abort_on_error=1 \
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

sanitize: sanitize-tests sanitize-driver

$(SAN)/venv: pyproject.toml
	$(call make_venv,$(SAN))
	touch $@

$(SAN)/built: $(SAN)/venv $(BUILD_FILES) $(PACKAGE_FILES)
	rm -rf build/lib*
	GRADCAM_SANITIZE=$(SANITIZERS) CC=$(SAN_CC) $(SAN)/bin/pip install --quiet --no-build-isolation ".[cli,plot,test]"
	touch $@

# Two halves, each on a core.
SAN_PYTEST = $(SAN_ENV) $(SAN)/bin/python -X faulthandler -m pytest -x -s -p no:xdist --timeout=600 -m "not slow and not notebook"
SAN_HALF := $(addprefix tests/,ops methods train experiments)

sanitize-tests: $(SAN)/built
	nm $(SAN)/lib/python3*/site-packages/gradcam/_core*.so | grep -q __asan_init
	@mkdir -p build
	$(SAN_PYTEST) $(SAN_HALF) >build/sanitize-half.log 2>&1 & half=$$!; \
	$(SAN_PYTEST) tests $(addprefix --ignore=,$(SAN_HALF)); rest=$$?; \
	wait $$half || { cat build/sanitize-half.log; exit 1; }; \
	tail -n 3 build/sanitize-half.log; exit $$rest

# The C core without Python: leaks are found here (a stock interpreter leaks too much to look for ours).
DRIVER := build/driver
DRIVER_FILES := $(shell find csrc -name '*.c' -not -path 'csrc/python/*') tests/c/driver.c
DRIVER_FLAGS := -std=c11 -O1 -g -fopenmp -DGCAM_OPENMP=1 -fsanitize=$(SANITIZERS) -fno-sanitize-recover=all

sanitize-driver:
ifneq ($(wildcard tests/c/driver.c),)
	$(MAKE) --no-print-directory -j$(JOBS) $(DRIVER)/driver
	UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 OMP_NUM_THREADS=2 $(DRIVER)/driver
else
	@echo "tests/c/driver.c: not here, the C driver was not run"
endif

$(DRIVER)/driver: $(DRIVER_FILES:%.c=$(DRIVER)/%.o)
	$(SAN_CC) $(DRIVER_FLAGS) $^ -lm -o $@

$(DRIVER)/%.o: %.c $(BUILD_FILES) Makefile
	@mkdir -p $(@D)
	$(SAN_CC) $(DRIVER_FLAGS) -Icsrc -c $< -o $@

# --- 64-bit ARM on any machine: the C core without Python from a cross compiler (Debian: gcc-aarch64-linux-gnu,
# libc6-dev-arm64-cross), run by qemu (qemu-user), with the project's own flags and warnings. The tests of kernels and
# plans then run here and have their calls computed there.

ARM := build/arm64
ARM_CC := aarch64-linux-gnu-gcc
ARM_RUN := qemu-aarch64 -L /usr/aarch64-linux-gnu
ARM_FLAGS = $(shell $(BIN)/python -c 'import sys; sys.path.insert(0, "tools"); import build_support as b; print(*b.COMPILE, *b.WARNINGS)')
ARM_FILES := $(shell find csrc -name '*.c' -not -path 'csrc/python/*')
NEON := tests/ops tests/methods $(addprefix tests/graph/test_,layout.py operators.py fuse.py attention.py)

neon: $(VENV)/built
	$(MAKE) --no-print-directory -j$(JOBS) $(ARM)/driver $(ARM)/remote
	OMP_NUM_THREADS=4 $(ARM_RUN) $(ARM)/driver
	GRADCAM_TEST_REMOTE="$(ARM_RUN) $(ARM)/remote" $(BIN)/python -X faulthandler -m pytest -k "not scalar" $(NEON)

$(ARM)/driver $(ARM)/remote: $(ARM)/%: $(ARM_FILES:%.c=$(ARM)/%.o) $(ARM)/tests/c/%.o
	$(ARM_CC) -fopenmp $^ -lm -o $@

$(ARM)/%.o: %.c $(BUILD_FILES) Makefile
	@mkdir -p $(@D)
	$(ARM_CC) $(ARM_FLAGS) -fopenmp -DGCAM_OPENMP=1 -Icsrc -c $< -o $@
