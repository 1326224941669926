# Every target makes .venv by itself. PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
comma := ,
BIN := .venv/bin
STAMP := .venv/.complete
# OpenVINO is the fastest engine on processors; where there is an NVIDIA GPU, nobody needs it.
EXTRAS := dev$(if $(wildcard /dev/nvidia[0-9]*),,$(comma)openvino)
BROWSER := .venv/.browser
# Python may keep what it compiles, also where a machine forbids that: Ray starts many processes, and each imports torch.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo test test-fast test-slow test-install test-lowest fuzz storms check format lock bench gpu-check s3-second clean

setup: $(STAMP) $(BROWSER)

# uv installs six gigabytes in seconds; where it cannot reach an index that pip is configured for, pip does it.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS)]' \
		|| $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

# Pages and videos are tested in a real browser. Debian's is installed once, where that is possible; without it (no
# root, no apt-get, no network) those tests are skipped and say why: this target never fails.
APT := DEBIAN_FRONTEND=noninteractive timeout 480 apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20
$(BROWSER): $(STAMP)
	@command -v chromium || command -v chromium-browser || command -v google-chrome \
		|| { test "$$(id -u)" = 0 && command -v apt-get \
			&& $(APT) update && $(APT) install -y --no-install-recommends chromium fonts-liberation >/dev/null; } \
		|| echo "no Chromium could be installed: the tests that need one are skipped"
	@touch $@

demo: $(STAMP)
	$(BIN)/fcos demo --out demo-run

# Two processes. A file stays in one process, whose fixtures its tests share; the order of files stays, longest first.
test: $(STAMP) $(BROWSER)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# For the minutes between: what starts no Ray, command, S3 server or browser, and no long random search.
test-fast: $(STAMP)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not (gpu or slow or storm or install or ray or command or server or long)'

# The wheel, installed as users do, on every Python from 3.11 on that is at hand: newest versions, no constraints.
test-install: $(STAMP)
	$(BIN)/pytest -n 2 tests/install -m install

# The other end of the ranges in pyproject.toml: the oldest versions that we promise, in an environment beside .venv.
LOWEST := .venv-lowest
test-lowest: $(STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(LOWEST)
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct -e '.[openvino]'
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python -e '.[dev]'
	$(LOWEST)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not (gpu or slow or storm or install or ray or command or server or long)'

# Slow tests: full-size photos against torchvision, thousands of random datasets against pycocotools.
test-slow: $(STAMP)
	$(BIN)/pytest -m slow

# Thousands of damaged images, videos, annotations, archives, settings and shards; other ones with make fuzz SEED=7.
SEED ?= 0
fuzz: $(STAMP)
	FUZZ_SEED=$(SEED) $(BIN)/pytest tests/fuzz tests/fuzz/test_mutated_videos.py -m 'slow or not slow'

# Fifty long seeded storms for a night: workers, nodes and drivers die while a fifth of all S3 requests fail. Also the
# short one of the slow tests, and a network that loses a machine.
storms: $(STAMP)
	$(BIN)/pytest tests/chaos -m ray -rP

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The S3 tests against a second implementation of S3.
s3-second: $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python 'moto[server]'
	$(BIN)/pytest -k moto tests/jobs/storage tests/jobs/worker/test_s3_run.py tests/end_to_end/test_on_s3.py

# The installed versions, names and numbers only.
lock: $(STAMP)
	head -2 constraints.txt > .tmp-constraints
	$(BIN)/uv pip freeze | grep -vE '(file:|@ |^-e )' | sort -fu >> .tmp-constraints
	mv .tmp-constraints constraints.txt

bench: $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS),bench]'
	$(BIN)/python benchmarks/bench_detect.py
	$(BIN)/python benchmarks/bench_engines.py
	$(BIN)/python benchmarks/bench_precision.py
	$(BIN)/python benchmarks/bench_postprocessing.py
	$(BIN)/python benchmarks/bench_bpr.py
	$(BIN)/python benchmarks/bench_evaluate.py
	$(BIN)/python benchmarks/bench_dispatch.py
	$(BIN)/python benchmarks/bench_planning.py
	$(BIN)/python benchmarks/bench_video.py

# The CUDA engine on this machine's GPU, in nine minutes at most. On a machine without our environment:
# python3 benchmarks/gpu_check.py --out gpu-check
gpu-check: $(STAMP)
	$(BIN)/python benchmarks/gpu_check.py --out gpu-check

clean:
	rm -rf .venv demo-run demo-run-dataset demo-run-drawings
