# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
# PROFILE=all; demo: what `make demo` runs, which takes all where that is there; runtime: what a device needs, no PyTorch,
# no compiler (with EXTRAS=realsense,cuda or pycuda for more).
ifeq ($(MAKECMDGOALS)$(wildcard .venv/.installed-all),demo)
PROFILE ?= demo
else
PROFILE ?= all
endif
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
EXTRAS_runtime :=
EXTRAS_demo := train,export,plugin,rtx
EXTRAS_all := train,export,plugin,serving,rtx,realsense,oak,exr,rerun,dev
EXTRAS ?= $(EXTRAS_$(PROFILE))
STAMP := $(VENV)/.installed-$(PROFILE)
CPP = $$(find plugins tests -name '*.cpp' -o -name '*.h')
SHELL_SCRIPTS = .ci/run $$(find tools export examples tests -name '*.sh' 2>/dev/null)
export MPLBACKEND := Agg

.PHONY: setup plugin demo test test-all lint format bench clean
.DELETE_ON_ERROR:

setup: $(STAMP)  ## everything into .venv, and the plugin; PROFILE=runtime: the base dependencies only
ifneq ($(PROFILE),runtime)
setup: plugin
endif

$(STAMP): pyproject.toml constraints.txt tools/system_packages.sh tools/install.py
	@sh tools/system_packages.sh
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python tools/install.py --extras "$(EXTRAS)"
	@touch $@

plugin: $(STAMP)  ## kernels → cubins → build/plugins/libmutualformer_plugin.so
	@$(BIN)/python -m mutualformer.plugins.build

demo: setup  ## train, export, compile, run on a real RGB-D pair, compare
	@$(BIN)/python -m lab.demo --out out/demo

# The order is tests/conftest.py's: what loads the stand-in for the CUDA driver comes last.
PYTEST = $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder

test: setup  ## the tests, on JOBS cores; those that need a GPU say so and skip; SLOW=1: the slow ones too
	@$(PYTEST) $(if $(SLOW),,-m "not full and not slow") tests

test-all: setup  ## the long grids too
	@$(PYTEST) -m "full or not full" tests

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy examples tools
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/clang-format --dry-run --Werror $(CPP)
	@$(BIN)/shellcheck $(SHELL_SCRIPTS)
	@$(BIN)/codespell *.md docs plugins runtime train export lab mutualformer tests tools examples
	@$(BIN)/python tools/words.py

format: setup
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .
	@$(BIN)/clang-format -i $(CPP)

bench: setup demo
	@$(BIN)/mutualformer bench model --model out/demo/model.onnx --out out/bench
	@$(BIN)/python -m lab.kernels.usage --out out/bench
	@$(BIN)/python -m lab.streaming --out out/bench

clean:  ## everything made here except .venv
	rm -rf build out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
