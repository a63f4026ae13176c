# The two commands: `make quickstart` and `make test`. Python >= 3.10 and a C compiler are needed, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PACKAGE_INPUTS := pyproject.toml setup.py $(wildcard csrc/*) $(wildcard qdfast/*.pyx qdfast/*.pxi qdfast/*.pxd)

.PHONY: quickstart test check sanitize fuzz hostile bench bench-train bench-blog bench-accuracy bench-ablation bench-gpu bench-serving test-beam bench-play clean

quickstart: $(VENV)/installed
	PATH="$(abspath $(BIN)):$$PATH" ./quickstart.sh

test: check
	$(BIN)/pytest -n auto

check: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/installed: $(PACKAGE_INPUTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[train,client,serve,play,test]'
	touch $@

# Apart from the others, as Apache Beam asks for older versions of protobuf and pyarrow than those are tested with.
test-beam: $(VENV)-beam/installed
	$(VENV)-beam/bin/pytest tests/test_beam.py tests/test_pieces.py tests/test_prepare.py

$(VENV)-beam/installed: $(PACKAGE_INPUTS)
	test -x $(VENV)-beam/bin/python || $(PYTHON) -m venv $(VENV)-beam
	$(VENV)-beam/bin/pip install --quiet --disable-pip-version-check --editable '.[beam]' 'pytest>=8' 'hypothesis>=6.100' 'safetensors>=0.4'
	touch $@

# The same tests on kernels built with AddressSanitizer and UndefinedBehaviorSanitizer.
SANITIZED := build/sanitized
sanitize: $(VENV)/installed
	rm -rf $(SANITIZED)
	QDFAST_SANITIZE=1 $(BIN)/python setup.py --quiet build --build-base build/sanitized-objects --build-lib $(SANITIZED)
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=16 PYTHONMALLOC=malloc \
	PYTHONPATH=$(abspath $(SANITIZED)) PYTHONSAFEPATH=1 QDFAST_EXPECT=$(abspath $(SANITIZED)) $(BIN)/pytest $(TESTS)

# Coverage-guided fuzzing of the scanner; DATA= adds real lines to the seeds.
SECONDS ?= 60
fuzz: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check atheris || true
	PYTHON=$(BIN)/python tests/fuzz/run $(SECONDS) $(DATA)

# Requests that nobody should send, to the embedded server.
REQUESTS ?= 100000
hostile: $(VENV)/installed
	$(BIN)/python tests/hostile.py $(REQUESTS)

# The libraries that people use today, to be measured side by side.
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

# The long ones: a quarter of an hour, and hours. Those go on where they were killed, in WORK.
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

# MODEL= is a directory that `qdfast export` wrote. Ten minutes.
bench-serving: $(VENV)/installed
	$(BIN)/python benchmarks/bench_serving.py $(MODEL)
	$(BIN)/python benchmarks/bench_reload.py $(MODEL)

clean:
	rm -rf build dist quickstart quickstart-data qdfast/*.c qdfast/*.so *.egg-info
