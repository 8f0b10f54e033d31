# Every verb sets up what it needs in .venv; a bare clone needs python3 (3.11 or newer) and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := train,report,eval,dev
STAMP := $(VENV)/.installed
VLLM := .venv-vllm
# Half the cores' threads fighting each other is slower than one thread each.
export OMP_NUM_THREADS := 1
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE ?= 1
export HF_HUB_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1

.PHONY: demo test test-vllm check fix docs soak bench verify-data clean setup

demo: $(STAMP) ## the study, end to end, offline (ARGS="--quick" or "--full")
	$(BIN)/mixdistill demo $(ARGS)

test: $(STAMP) ## all tests
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

test-vllm: $(VLLM)/.installed ## the backend `vllm` and `serve: vllm` with real vLLM, in an environment of its own (3 GB)
	$(VLLM)/bin/python -m pytest tests/with_vllm $(ARGS)

check: $(STAMP) ## lint, formatting, types, generated docs in step with the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check
	$(BIN)/python docs/generate.py --check

fix: $(STAMP) ## mend what can be mended mechanically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## write the generated reference pages
	$(BIN)/python docs/generate.py

soak: $(STAMP) ## killed before every durable operation, 100 times in whole demo runs, and while a faulty server is asked; a million hostile answers (two to three hours)
	KILL_EVERY=1 $(BIN)/pytest tests/faults/test_kills.py
	$(BIN)/python tests/faults/soak.py $(ARGS)
	$(BIN)/python tests/faults/teachers.py
	$(BIN)/python tests/faults/fuzz.py
	$(BIN)/python tests/faults/fuzz.py --inputs 400000 --verifiers choice exact numeric json

bench: $(STAMP) ## speed ratios against named peers, side by side in one run; how often a study of nothing says "helps", and a study of something the same again (three hours)
	$(BIN)/python benchmarks/generation.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/teachers.py --transports
	$(BIN)/python benchmarks/planning.py
	$(BIN)/python benchmarks/resume.py
	$(BIN)/python benchmarks/verifying.py
	$(BIN)/python benchmarks/mixing.py
	$(BIN)/python benchmarks/still_moving.py
	$(BIN)/python benchmarks/sign_rule.py
	$(BIN)/python benchmarks/null_studies.py
	$(BIN)/python benchmarks/coverage.py
	$(BIN)/python benchmarks/unpaired_seeds.py
	$(BIN)/python benchmarks/replication.py --studies 22 --seeds 4

verify-data: $(STAMP) ## how reliable verdicts are, and how fast, on real problems and traces (DATA=folder, see benchmarks/answers.py)
	$(BIN)/python benchmarks/answers.py --data $(DATA) $(ARGS)
	$(BIN)/python benchmarks/verifying.py --data $(DATA)
	$(BIN)/python benchmarks/decontamination.py --data $(DATA)

setup: $(STAMP)

# Only a change of what is installed asks for installing again; the package itself is installed editable.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $(STAMP)

$(VLLM)/.installed: pyproject.toml constraints.txt tests/with_vllm/setup.sh
	PYTHON=$(PYTHON) tests/with_vllm/setup.sh $(VLLM)
	touch $@

clean:
	rm -rf $(VENV) $(VLLM) .pytest_cache .ruff_cache
