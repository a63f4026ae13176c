# Start with `make quickstart` or `make test`. They need only Python >= 3.10 and a C compiler.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PACKAGE_INPUTS := pyproject.toml setup.py $(wildcard csrc/*) $(wildcard qdfast/*.pyx qdfast/*.pxi qdfast/*.pxd)

.PHONY: quickstart test test-fast coverage check sanitize fuzz fuzz-forms hostile soak kills bench bench-train bench-blog bench-accuracy bench-ablation bench-gpu bench-serving test-beam bench-play docs clean

quickstart: $(VENV)/installed
	PATH="$(abspath $(BIN)):$$PATH" ./quickstart.sh

# A file's tests go to one process, which makes their fixtures once. The longest files are not the last in order.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder
test: check
	$(BIN)/pytest $(PARALLEL)

# For the loop of a developer: without what trains, serves or starts processes.
test-fast: $(VENV)/installed
	$(BIN)/pytest $(PARALLEL) -m "not slow"

# Lines covered: of the Python by all tests, with a floor (pyproject.toml); of the C by the tests of the kernels.
COVERED := build/covered
coverage: $(VENV)/installed
	$(BIN)/pytest $(PARALLEL) --cov --cov-report=term
	rm -rf $(COVERED) $(COVERED)-objects
	QDFAST_COVERAGE=1 $(BIN)/python setup.py --quiet build --build-base $(COVERED)-objects --build-lib $(COVERED)
	PYTHONPATH=$(abspath $(COVERED)) PYTHONSAFEPATH=1 QDFAST_EXPECT=$(abspath $(COVERED)) $(BIN)/pytest $(PARALLEL) tests/core tests/ndjson
	gcov --no-output --object-directory "$$(dirname "$$(find $(COVERED)-objects -name scan.gcno)")" csrc/*.c

check: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/installed: $(PACKAGE_INPUTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[train,client,serve,play,onnx,openvino,test]'
	touch $@

# In an environment of its own: Apache Beam requires older versions of protobuf and pyarrow than the other tests use.
test-beam: $(VENV)-beam/installed
	$(VENV)-beam/bin/pytest -W default tests/dataset/test_beam.py tests/dataset/test_shard_writer.py tests/dataset/test_prepare.py

$(VENV)-beam/installed: $(PACKAGE_INPUTS)
	test -x $(VENV)-beam/bin/python || $(PYTHON) -m venv $(VENV)-beam
	$(VENV)-beam/bin/pip install --quiet --disable-pip-version-check --editable '.[beam]' 'pytest>=8' 'hypothesis>=6.100' 'safetensors>=0.4'
	touch $@

# The documentation, in build/docs. A warning, such as a link to nothing, is an error.
docs: $(VENV)-docs/installed
	$(VENV)-docs/bin/sphinx-build -q -W --keep-going -E docs build/docs

$(VENV)-docs/installed: $(PACKAGE_INPUTS)
	test -x $(VENV)-docs/bin/python || $(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/pip install --quiet --disable-pip-version-check --editable '.[client,docs]'
	touch $@

# Run the tests on kernels built with AddressSanitizer and UndefinedBehaviorSanitizer. TESTS= selects some of them.
SANITIZED := build/sanitized
sanitize: $(VENV)/installed
	rm -rf $(SANITIZED)
	QDFAST_SANITIZE=1 $(BIN)/python setup.py --quiet build --build-base build/sanitized-objects --build-lib $(SANITIZED)
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=16 PYTHONMALLOC=malloc \
	PYTHONPATH=$(abspath $(SANITIZED)) PYTHONSAFEPATH=1 QDFAST_EXPECT=$(abspath $(SANITIZED)) $(BIN)/pytest $(TESTS)

# Fuzz the scanner with coverage feedback for SECONDS. DATA= adds real lines to the seeds.
SECONDS ?= 60
fuzz: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check atheris || true
	PYTHON=$(BIN)/python tests/fuzz/run $(SECONDS) $(DATA)

# Read mutated files of each format for SECONDS each. FORMS= selects some, such as "binary tar".
fuzz-forms: $(VENV)/installed
	$(BIN)/python tests/fuzz/fuzz_forms.py $(SECONDS) $(FORMS)

# Send hostile input to the servers, the client, downloads and files; fails if anything but a clean outcome is seen.
REQUESTS ?= 100000
hostile: $(VENV)/installed
	$(BIN)/python tests/hostile_all.py $(REQUESTS)

# Mixed load on a server for MINUTES: memory, open files and threads must not grow.
MINUTES ?= 10
soak: $(VENV)/installed
	$(BIN)/python tests/soak.py $(MINUTES)

# Kill commands that write, KILLS times in all, and compare what they leave in the end with an undisturbed run.
KILLS ?= 100
kills: $(VENV)/installed
	$(BIN)/python tests/kills.py $(KILLS)

# Install the libraries that the benchmarks compare qdfast with.
$(VENV)/peers: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

bench: $(VENV)/peers
	$(BIN)/python benchmarks/bench_parse.py $(DATA)
	$(BIN)/python benchmarks/bench_batches.py $(DATA)
	$(BIN)/python benchmarks/bench_prepare.py $(DATA)
	$(BIN)/python benchmarks/bench_simplify.py $(RAW)
	$(BIN)/python benchmarks/bench_bitmaps.py $(DATA)
	$(BIN)/python benchmarks/bench_instructions.py
	$(BIN)/python benchmarks/bench_wire.py
	$(BIN)/python benchmarks/bench_report.py

# Benchmarks that take from a quarter of an hour to hours. bench-accuracy and bench-ablation keep their runs in WORK and
# resume from there.
WORK ?= bench-runs
bench-train: $(VENV)/installed
	$(BIN)/python benchmarks/bench_train.py $(DATA)

bench-blog: $(VENV)/installed
	$(BIN)/python benchmarks/bench_blog.py $(BITMAPS) $(if $(DATA),--strokes $(DATA))

bench-gpu: $(VENV)/installed
	$(BIN)/python benchmarks/bench_gpu.py $(DATA)

bench-accuracy: $(VENV)/installed
	$(BIN)/python benchmarks/bench_accuracy.py $(DATA) --out $(WORK)/accuracy

bench-ablation: $(VENV)/installed
	$(BIN)/python benchmarks/bench_ablation.py $(DATA) --out $(WORK)/ablation

bench-play: $(VENV)/installed
	$(BIN)/python benchmarks/bench_play.py $(MODEL) $(if $(DATA),--data $(DATA))

# MODEL= is a directory that `qdfast export` wrote. Takes ten minutes.
bench-serving: $(VENV)/installed
	$(BIN)/python benchmarks/bench_serving.py $(MODEL)
	$(BIN)/python benchmarks/bench_reload.py $(MODEL)

clean:
	rm -rf build dist quickstart quickstart-data qdfast/*.c qdfast/*.so *.egg-info
