# Two commands do everything on a machine that has only Python and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RAY_VENV := .venv-ray
RAY_BIN := $(RAY_VENV)/bin
RAY_STAMP := $(RAY_VENV)/.installed
DOCS_VENV := .venv-docs
DOCS_BIN := $(DOCS_VENV)/bin
DOCS_STAMP := $(DOCS_VENV)/.installed
PAGE_VENV := .venv-dashboard
PAGE_BIN := $(PAGE_VENV)/bin
PAGE_STAMP := $(PAGE_VENV)/.installed
PLATFORM_VENV := .venv-platforms
PLATFORM_BIN := $(PLATFORM_VENV)/bin
PLATFORM_STAMP := $(PLATFORM_VENV)/.installed
# Libraries that docs/recipes.md has a recipe for, by its heading, each in an environment of its own: their pins collide.
CLIENTS := rl_zoo3 TorchRL RLlib Tianshou Minari skrl d3rlpy
CLIENT_VENVS := .venv-clients
PACKAGES_rl_zoo3 := "rl_zoo3>=2.7,<3"
PACKAGES_TorchRL := "torchrl>=0.14,<0.15"
PACKAGES_RLlib := "ray[rllib]>=2.60,<3"
PACKAGES_Tianshou := "tianshou>=2,<3"
PACKAGES_Minari := "minari[hdf5,create]>=0.5,<0.6"
PACKAGES_skrl := "skrl>=2.1,<3"
PACKAGES_d3rlpy := "d3rlpy>=2.8,<3"
# torch first and by its bounded spec, so that no other package pulls a huge build of it.
TORCH := $(shell sed -n 's/^ *"\(torch[<>=].*\)",$$/\1/p' pyproject.toml)

.PHONY: demo test test-long bench models docs notebooks tree lint kernels-world kernels-edge clean

demo: $(STAMP)
	$(BIN)/nextone compare --out results/demo
	$(BIN)/nextone compare --users 200 --policies cloud_only,tag_momentum,edgerec,kir

# One core checks types, then compiles the networks, while the other compiles the world.
test: $(STAMP)
	@$(MAKE) --no-print-directory -j 2 kernels-world lint kernels-edge
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not long"

kernels-world kernels-edge: kernels-%: $(STAMP)
	@$(BIN)/python tests/kernels.py $*

# Ray, the documentation, the dashboard and libraries for A/B tests have environments of their own: who needs none of them
# installs none. The dashboard's tests open it in the system's Chromium.
test-long: $(STAMP) $(RAY_STAMP) $(DOCS_STAMP) $(PAGE_STAMP) $(PLATFORM_STAMP)
	$(BIN)/python -m pytest -n 2
	$(RAY_BIN)/python -m pytest tests/cluster/on_ray_tests.py
	$(DOCS_BIN)/python -m pytest tests/house/site_tests.py
	$(PAGE_BIN)/python -m pytest -p no:dash tests/output/browser_tests.py  # Dash's plugin for pytest uses what that warns of
	$(PLATFORM_BIN)/python -m pytest tests/ab/platforms_tests.py
	@for client in $(CLIENTS); do $(MAKE) --no-print-directory recipe-$$client || exit 1; done

recipe-%: $(CLIENT_VENVS)/%/.installed
	RAY_worker_niceness=0 $(CLIENT_VENVS)/$*/bin/python tests/recipes/page.py $*
	$(CLIENT_VENVS)/$*/bin/python tests/recipes/datasets.py $*

bench: $(STAMP)
	$(BIN)/nextone bench

# The checkpoints of edgerec, kir, context_aware and rl that come with the package; see docs/edge-models.md, docs/training.md.
models: $(STAMP)
	$(BIN)/python -m nextone.experiments.training.edge.ship results/models docs/evidence/edge-gates.md
	$(BIN)/nextone train rl --out results/models/rl --threads 1
	$(BIN)/python -m nextone.experiments.training.rl.ship results/models/rl

# The documentation site, build/docs/index.html: read without network. Warnings are errors.
docs: $(DOCS_STAMP)
	$(DOCS_BIN)/python -m sphinx -W --keep-going --quiet -b html docs build/docs
	@echo "The documentation is build/docs/index.html"

# Notebooks with their outputs, docs/notebooks/*.ipynb; others: make notebooks NAMES="one_session ..."
NAMES ?= $(basename $(notdir $(wildcard docs/notebooks/*.ipynb)))
notebooks: $(STAMP)
	$(BIN)/python docs/notebooks/execute.py $(NAMES)

# The import tree, nextone.sim and so on, as links in .typecheck/: mypy, pyright and editors do not read package-dir and find
# the links through pyproject.toml; other tools, such as grimp, with PYTHONPATH set to that folder.
tree:
	@rm -rf .typecheck && mkdir -p .typecheck/nextone
	@for path in nextone/* sim envs policies experiments; do ln -s "../../$$path" ".typecheck/nextone/$${path##*/}"; done

lint: $(STAMP) tree
	$(BIN)/ruff check .
	$(BIN)/mypy

# Installs again only when pyproject.toml changed. An interrupted venv (no pip in it) is made anew.
$(STAMP): pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

$(RAY_STAMP): pyproject.toml
	@$(RAY_BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(RAY_VENV)
	$(RAY_BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(RAY_BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[ray]" pytest hypothesis
	@touch $@

$(DOCS_STAMP): pyproject.toml
	@$(DOCS_BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(DOCS_VENV)
	$(DOCS_BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(DOCS_BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]" pytest hypothesis
	@touch $@

$(PAGE_STAMP): pyproject.toml
	@$(PAGE_BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(PAGE_VENV)
	$(PAGE_BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(PAGE_BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dashboard]" pytest hypothesis \
		"playwright>=1.50,<2"
	@touch $@

$(PLATFORM_STAMP): pyproject.toml
	@$(PLATFORM_BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(PLATFORM_VENV)
	$(PLATFORM_BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(PLATFORM_BIN)/python -m pip install --quiet --disable-pip-version-check --editable . pytest hypothesis \
		"tea-tasting>=1.14,<3" "statsmodels>=0.14,<1"
	@touch $@

# gymnasium again at the end, because d3rlpy pins one that is too old, and works with a newer one.
$(CLIENT_VENVS)/%/.installed: pyproject.toml
	@$(@D)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(PACKAGES_$*)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --editable . "gymnasium>=1.1"
	@touch $@

.PRECIOUS: $(CLIENT_VENVS)/%/.installed

clean:
	rm -rf $(VENV) $(RAY_VENV) $(DOCS_VENV) $(PAGE_VENV) $(PLATFORM_VENV) $(CLIENT_VENVS) .typecheck .mypy_cache .ruff_cache .pytest_cache build *.egg-info results
