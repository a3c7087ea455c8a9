# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := train,export,plugin,rtx,realsense,oak,ros,dev
STAMP := $(VENV)/.installed
export MPLBACKEND := Agg

.PHONY: setup plugin demo test test-all lint format bench clean
.DELETE_ON_ERROR:

setup: $(STAMP) plugin  ## everything into .venv, and the plugin

$(STAMP): pyproject.toml constraints.txt tools/system_packages.sh
	@sh tools/system_packages.sh
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Python packages into $(VENV) (a few GB, minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade -c constraints.txt pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

plugin: $(STAMP)  ## kernels → cubins → build/plugins/libmutualformer_plugin.so
	@$(BIN)/python -m mutualformer.plugins.build

demo: setup  ## train, export, compile, run on a real RGB-D pair, compare
	@$(BIN)/python export/demo.py --out out/demo

test: setup  ## every test; those that need a GPU say so and skip
	@$(BIN)/python -m pytest -q

test-all: setup  ## the long grids too
	@MUTUALFORMER_FULL_GRID=1 $(BIN)/python -m pytest -q

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	@$(BIN)/clang-format --dry-run --Werror plugins/cpp/*.h plugins/cpp/*.cpp plugins/standins/*.h plugins/standins/*.cpp $$(find tests -name '*.cpp' -o -name '*.h')

format: setup
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .
	@$(BIN)/clang-format -i plugins/cpp/*.h plugins/cpp/*.cpp plugins/standins/*.h plugins/standins/*.cpp $$(find tests -name '*.cpp' -o -name '*.h')

bench: setup demo
	@$(BIN)/mutualformer bench cda --out out/bench
	@$(BIN)/mutualformer bench model --model out/demo/model.onnx --out out/bench
	@$(BIN)/mutualformer bench kernels --out out/bench
	@$(BIN)/mutualformer bench stream --out out/bench

clean:  ## everything made here except .venv
	rm -rf build out .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
