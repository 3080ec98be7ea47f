# The front door. `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev

.PHONY: demo test slow coverage lint format types imports bench peers torture fuzz screenshots synonyms clean

demo: $(READY)
	$(BIN)/cxr demo $(ARGS)

# Processes that share the tests: one more than two cores, because tests also wait.
WORKERS ?= 3
XDIST := -n $(WORKERS) --dist worksteal -q
PYTEST := $(BIN)/python -m pytest $(XDIST)
AGAIN := $(MAKE) --no-print-directory --keep-going

# Lint, types and import directions run beside the tests; what they say comes after what those say.
test: $(DEV_READY)
	@said=$$(mktemp); \
	$(AGAIN) lint types imports >$$said 2>&1 & \
	beside=$$!; \
	$(PYTEST) $(ARGS); tests=$$?; \
	wait $$beside; checks=$$?; \
	cat $$said; rm -f $$said; \
	test $$tests -eq 0 && test $$checks -eq 0

# The tests that `make test` leaves out, to stay short.
slow: $(DEV_READY)
	CXR_SLOW_TESTS=1 $(PYTEST) -m slow $(ARGS)

# Branches of ingest, store and ui that the tests of `make test` take, also in processes they start.
coverage: $(DEV_READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(XDIST) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: $(DEV_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV_READY)
	$(BIN)/mypy

imports: $(DEV_READY)
	$(BIN)/lint-imports

format: $(DEV_READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV_READY)
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python -m tests.benchmarks $(ARGS)
	$(BIN)/python -m tests.benchmarks.dashboard

# The other libraries that `make bench` measures when they are there.
peers: $(READY)
	$(BIN)/python -c "import pathlib, tomllib; print(*tomllib.loads(pathlib.Path('pyproject.toml').read_text())['dependency-groups']['bench'], sep='\n')" > $(VENV)/bench.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $(VENV)/bench.txt

# 100 kills, 100 simulated power losses, then 200 kills and 100 stops of seven processes beside each other, and
# 20 visitors of the dashboard; short versions run in `make test`.
torture: $(DEV_READY)
	$(BIN)/python -m tests.store.torture $(ARGS)
	$(BIN)/python -m tests.store.mixed
	$(BIN)/python -m tests.ui.crowd

# FUZZ_SECONDS=600 unless set; seconds of it run in `make test`.
fuzz: $(DEV_READY)
	$(BIN)/python -m tests.ingest.fuzz $(ARGS)

screenshots: $(DEV_READY)
	$(BIN)/python -m docs.screenshots $(ARGS)

# The picture of docs/architecture.md, drawn from the imports of the code.
.PHONY: architecture
architecture: $(DEV_READY)
	$(BIN)/python -m docs.architecture_picture

# Makes ingest/training/synonyms.txt anew, after the grammar. WORDNET: a folder of WordNet 3 (Debian: wordnet-base);
# MINILM: one of all-MiniLM-L6-v2 in the transformers layout.
WORDNET ?= /usr/share/wordnet
synonyms: $(DEV_READY)
	@test -n "$(MINILM)" || { echo "make synonyms MINILM=folder of all-MiniLM-L6-v2"; exit 2; }
	$(BIN)/python -m tools.build_synonyms $(WORDNET) $(MINILM)

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(READY): $(VENV)/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

# pip 25.1 learnt --group; older ones read the same list through a requirements file.
$(DEV_READY): $(READY)
	$(BIN)/python -c "import pathlib, tomllib; print(*tomllib.loads(pathlib.Path('pyproject.toml').read_text())['dependency-groups']['dev'], sep='\n')" > $(VENV)/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $(VENV)/dev.txt
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
