# Everything from nothing but Python 3.11 and git: `make run`, `make test`.
PYTHON ?= python3
# CrewAI does not run on Python 3.14 yet.
APART_PYTHON ?= $(PYTHON)
BIN := .venv/bin
READY := .venv/.ready
BENCH := .venv/.bench
DOCS := .venv/.docs
PROXY := .venv/proxy
PHOENIX := .venv/phoenix
CODERS := .venv/coders
GATEWAY := .venv/gateway
APART := .venv/crewai .venv/semantic-kernel
AIRFLOW := .venv/airflow
RAY := .venv/ray
OTHER := .venv/other-python
# The compiled wheel as it is published, and one for `make check`, whose C code is compiled in a fraction of the time.
WHEEL := .venv/wheel-O3
QUICK := .venv/wheel-O0
# Tests of what is compiled, and of what stands right above it; the whole suite runs interpreted.
QUICK_TESTS := $(addprefix tests/scheduler/test_,compiled.py scheduler.py joins.py expansion.py) tests/views/test_run_view.py \
  tests/store/test_codec.py tests/engine/test_virtual.py $(addprefix tests/insight/test_,outlook.py playback.py resources.py)
WHEEL_TESTS := $(QUICK_TESTS) $(addprefix tests/scheduler/test_,reopen.py reservations.py resumed.py state_changes.py) \
  tests/limits $(addprefix tests/store/test_,reader.py writer.py) \
  $(addprefix tests/engine/test_,whole.py cancel.py commit_order.py disk.py retry_rule.py standstill.py)
SUITE := $(BIN)/pytest -n 6 --dist worksteal  # in several processes: much of the time is waiting
# Tests of scheduler, limits, views, workflow and store that run in the process of pytest: their branches are counted.
COVERED := tests/scheduler tests/limits tests/views tests/workflow tests/store \
  $(addprefix tests/insight/test_,gantt.py step.py) $(addprefix tests/agents/test_,http.py kinds.py inner_steps.py) \
  tests/places tests/engine/test_gateway.py tests/console/test_questions.py \
  $(addprefix tests/engine/test_,rates.py refused.py estimate.py whole.py) \
  $(addprefix tests/api/test_,results.py run.py store.py questions.py)
BRANCHES := -p tests.branch_coverage --measure="$(COVERED)"
# The tests start hundreds of processes: compiled once, not by each of them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-live test-cli test-gateway test-frameworks test-airflow test-places check types compiled wheel bench screenshots soak docs coverage clean test-all

run: $(READY)  ## the console on a thousand orders that already run; headless where there is no terminal
	$(BIN)/agentdeck demo

test: $(READY)
	$(SUITE)

test-all: $(READY)  ## on every Python from 3.11 on that this machine has; PYTHONS="python3.12 /path/to/python" names them
	$(BIN)/python tests/every_python.py $(PYTHONS)

test-live: $(READY) $(PROXY)/.ready $(PHOENIX)/.ready  ## a real proxy, which makes its answers up; a receiver of spans
	PATH="$(CURDIR)/$(PROXY)/bin:$(CURDIR)/$(PHOENIX)/bin:$$PATH" $(BIN)/pytest -m live

test-cli: $(READY) $(CODERS)/.ready  ## Claude Code, Codex and Gemini CLI themselves, against a local server; needs npm
	PATH="$(CURDIR)/$(CODERS)/node_modules/.bin:$$PATH" $(BIN)/pytest -m live tests/agents/test_cli_live.py

test-gateway: $(READY) $(GATEWAY)/.ready .venv/crewai/.ready  ## the SDKs of OpenAI and Anthropic, LangChain, CrewAI, and coding agents that are there
	PATH="$(CURDIR)/$(CODERS)/node_modules/.bin:$$PATH" $(BIN)/pytest -m live tests/gateway

test-frameworks: $(READY) $(addsuffix /.ready,$(APART))  ## CrewAI and Semantic Kernel, each in an interpreter of its own
	$(BIN)/pytest -m live tests/agents/frameworks

test-airflow: $(READY) $(AIRFLOW)/.ready  ## Airflow itself, in an interpreter of its own and without a network
	$(BIN)/pytest -m live tests/airflow

test-places: $(READY) $(RAY)/.ready $(OTHER)/.ready  ## places on clusters of Ray and Dask: nodes that die, runs that are killed; some minutes
	$(BIN)/pytest -m places

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MAKE) --no-print-directory -j 2 types compiled  # mypy and the compiler use one core each
	$(SUITE) $(BRANCHES)

types: $(READY)
	$(BIN)/mypy
	$(BIN)/lint-imports

# The tests of a wheel see no source tree.
define test-wheel
	cd $(1)/checkout && ../bin/python -m pytest -n 2 $(2)
	cd $(1)/checkout && ../bin/agentdeck run workflows/order.yaml --db $(CURDIR)/$(1)/run.db
	$(1)/bin/agentdeck info | grep -x 'core *compiled'
endef

ifneq ($(shell command -v cc),)
compiled: $(QUICK)/.checkout  ## what could differ between compiled and interpreted code, on a wheel compiled in a hurry
	$(call test-wheel,$(QUICK),$(QUICK_TESTS))
else
compiled:
	@echo "There is no C compiler here (cc): the tests of the compiled core are skipped."
endif

wheel: $(WHEEL)/.checkout  ## the compiled wheel, and tests of what it installs
	$(call test-wheel,$(WHEEL),$(WHEEL_TESTS))

bench: $(BENCH) $(if $(shell command -v cc),$(WHEEL)/.checkout)
	$(BIN)/python benchmarks/bench.py $(if $(TRACES),--traces $(TRACES))
	$(BIN)/python -m benchmarks.growth

screenshots: $(READY)  ## the pictures of the README, from recorded runs
	$(BIN)/python -m screenshots.draw

coverage: $(READY)  ## the branches that these tests execute; too few fail
	$(SUITE) $(BRANCHES) $(COVERED)

docs: $(DOCS)  ## the documentation as a site, in site/; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

soak: $(READY)  ## a quarter of an hour of kills, AGENTDECK_SOAK=60 takes less of it; then new random runs of the scheduler
	$(BIN)/pytest -m soak -rP
	$(BIN)/pytest -n 4 --hypothesis-profile search tests/scheduler tests/views

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build site

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "agentdeck needs Python 3.11 or newer: make PYTHON=python3.11 …" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

$(PROXY)/.ready: | $(READY)  # apart: it wants an older rich than the console
	$(PYTHON) -m venv $(PROXY)
	$(PROXY)/bin/python -m pip install --quiet --disable-pip-version-check 'litellm[proxy]>=1.100'
	touch $@

$(PHOENIX)/.ready: | $(READY)  # apart: 620 MB
	$(PYTHON) -m venv $(PHOENIX)
	$(PHOENIX)/bin/python -m pip install --quiet --disable-pip-version-check 'arize-phoenix>=20'
	touch $@

$(GATEWAY)/.ready: | $(READY)
	$(PYTHON) -m venv $(GATEWAY)
	$(GATEWAY)/bin/python -m pip install --quiet --disable-pip-version-check openai anthropic langchain-openai
	touch $@

$(CODERS)/.ready: | $(READY)  # 800 MB
	npm install --silent --no-audit --no-fund --prefix $(CODERS) @anthropic-ai/claude-code @openai/codex @google/gemini-cli
	touch $@

$(addsuffix /.ready,$(APART)): %/.ready: | $(READY)  # apart: older pydantic and mcp; 820 MB and 410 MB
	$(APART_PYTHON) -m venv $*
	$*/bin/python -m pip install --quiet --disable-pip-version-check '$(notdir $*)>=$(if $(findstring crewai,$*),1.15,1.45),<2'
	touch $@

$(AIRFLOW)/.ready: | $(READY)  # apart: 130 packages, 200 MB
	$(PYTHON) -m venv $(AIRFLOW)
	$(AIRFLOW)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[airflow]' 'apache-airflow>=3.3,<3.4'
	touch $@

$(RAY)/.ready: | $(READY)  # apart: 300 MB, and nobody needs it to work on agentdeck; its engines use this source tree
	$(BIN)/python -m venv --without-pip $(RAY)
	{ echo "$(CURDIR)"; $(BIN)/python -c 'import site; print(site.getsitepackages()[0])'; } > \
	  $$($(RAY)/bin/python -c 'import site; print(site.getsitepackages()[0])')/dependencies.pth
	$(BIN)/python -m pip --python $(RAY) install --quiet --disable-pip-version-check 'ray>=2.49,<3'
	touch $@

$(OTHER)/.ready: | $(READY)  # for workers that do not fit; empty where this machine has no other Python
	$(BIN)/python -m tests.places.other_python $(OTHER)
	mkdir -p $(OTHER)
	touch $@

$(DOCS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	touch $@

.venv/wheel-O%/.ready: $(READY) hatch_build.py $(shell find agentdeck workflows themes -type f ! -name '*.pyc')
	rm -rf $(@D)
	MYPYC_OPT_LEVEL=$* $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(@D)/dist .
	$(BIN)/python -m venv --without-pip $(@D)
	$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' > \
	  $$($(@D)/bin/python -c 'import site; print(site.getsitepackages()[0])')/dependencies.pth
	$(BIN)/python -m pip --python $(@D) install --quiet --disable-pip-version-check --no-deps $(@D)/dist/*.whl
	touch $@

.SECONDARY: $(QUICK)/.ready $(WHEEL)/.ready
.venv/wheel-O%/.checkout: .venv/wheel-O%/.ready $(shell find tests benchmarks docs -type f ! -name '*.pyc')
	rm -rf $(@D)/checkout
	mkdir $(@D)/checkout
	cp -r tests benchmarks workflows docs pyproject.toml $(@D)/checkout
	touch $@

$(BENCH): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	touch $@
