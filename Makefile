# `make lab` opens the notebooks, `make test` checks everything; both set up .venv first.
PYTHON ?= python3
LAB_ARGS ?=
GPU_ARGS ?=
GPU_PYTHON ?= 3.12
GPU_HAS ?=
FOLDER ?= .whl
VENV := .venv
RUN := $(VENV)/bin/python
# JupyterLab refuses to start as root (containers) unless it is told that this is meant.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
# The repository is JupyterLab's root, so that links out of notebooks/ lead somewhere.
OPEN ?= notebooks/01_output_sizes.ipynb
FIRST := --LabApp.default_url=/lab/tree/$(OPEN)
EXPERIMENTS := busy_machine, c3_tables, data_parallel, distilled_lenet, full_lenet, modern_lenet, original_1998, refusal, speed or tutorial_lenet

# With uv where it is there, else with pip: the same versions, each held against its hash.
INSTALL = $(if $(shell command -v uv 2>/dev/null),uv pip install --python $(RUN),$(RUN) -m pip install --disable-pip-version-check)
# A thread that waits gives its core up soon: networks this small train many times slower on a busy machine otherwise.
export GOMP_SPINCOUNT ?= 1000
export KMP_BLOCKTIME ?= 0

.PHONY: help lab test test-colab test-browser test-ray lint lock notebook bench gpu gpu-wheels page translations mutants address clean

help:
	@echo "make lab                        open JupyterLab on the notebooks (LAB_ARGS=--no-browser passes options on;"
	@echo "                                OPEN=notebooks/zh/01_output_sizes.ipynb opens the Chinese one)"
	@echo "make test                       strict nbval over every notebook, and the unit tests"
	@echo "make test-colab                 every notebook as in Colab: alone in an empty folder, with Colab's versions"
	@echo "                                (COLAB_PYTHON=python3.13 chooses the Python)"
	@echo "make test-browser               the notebooks in JupyterLab, in a real browser (needs Chromium or Chrome)"
	@echo "make test-ray                   the experiments on a Ray cluster of two nodes on this machine, one of them killed"
	@echo "make lint                       ruff over the Python files, zizmor over the workflows"
	@echo "make notebook NAME=04_training  execute a notebook, store its outputs, tidy its metadata"
	@echo "make results-NAME               do what results/NAME.json lacks (minutes to hours; goes on where it stopped);"
	@echo "                                NAME is $(EXPERIMENTS)"
	@echo "make bench                      measure the ratios of speed that the notebooks print; writes results/bench_*.json"
	@echo "make gpu                        on a CUDA GPU: the tests for one, the ladder of speed, notebooks 02, 04, 06 and 07"
	@echo "                                (GPU_ARGS=\"tests 07_speed\" takes only these steps)"
	@echo "make gpu-wheels                 the wheels that \`make gpu\` needs where PyTorch is, but neither Jupyter nor a registry"
	@echo "                                (FOLDER=.whl GPU_PYTHON=3.12; GPU_HAS=\"requests pyyaml\": these are there too)"
	@echo "make page                       make draw.html, the drawing pad as one file, of pad/ and three stored networks"
	@echo "make translations               make the Chinese notebooks of the English ones and translations/zh/, or list what is out of date"
	@echo "make mutants                    make mistakes on purpose and list those that no test notices (hours)"
	@echo "make lock                       renew requirements.lock after a change of requirements.txt, with uv from PyPI"
	@echo "                                (LOCK_ARGS=--upgrade takes newer versions of what is not pinned there)"
	@echo "make address URL=https://...    write the repository's web address wherever it stands (without URL: origin's)"
	@echo "make clean                      remove the environments and the unpacked data"

# Made anew when the lock changes; the stamp is written last, so a broken installation is resumed.
$(VENV)/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14) and "Python 3.11 to 3.14 is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --quiet --require-hashes -r requirements.lock
	touch $@

lab: $(VENV)/installed
	$(RUN) -m jupyter lab $(AS_ROOT) $(FIRST) $(LAB_ARGS)

test: $(VENV)/installed
	$(RUN) -m pytest --nbval --durations=10

# Colab's versions, none of .venv's; report.txt says which could not be had.
$(VENV)-colab/installed: tools/colab_environment.py | $(VENV)/installed
	$(RUN) -m tools.colab_environment $(VENV)-colab $(COLAB_PYTHON)
	touch $@

test-colab: $(VENV)-colab/installed
	@cat $(VENV)-colab/report.txt
	$(RUN) -m pytest -m colab -n0 -rP tests/test_colab.py

# Playwright, scikit-image and JupyterLab's Chinese menus in an environment of their own, everything else by a link to .venv.
$(VENV)-browser/installed: $(VENV)/installed
	$(RUN) -m venv $(VENV)-browser
	$(RUN) -c 'import site; print(site.getsitepackages()[0])' > "$$($(VENV)-browser/bin/python -c 'import site; print(site.getsitepackages()[0])')/shared.pth"
	$(VENV)-browser/bin/python -m pip install --disable-pip-version-check --quiet playwright==1.65.2 scikit-image==0.26.0 jupyterlab-language-pack-zh-CN==4.5.post3
	touch $@

test-browser: $(VENV)-browser/installed
	$(VENV)-browser/bin/python -m pytest -m browser -n 2 --dist loadscope -rP --durations=20 tests/test_browser.py

# Ray in an environment of its own, everything else by a link to .venv.
$(VENV)-ray/installed: $(VENV)/installed
	$(RUN) -m venv $(VENV)-ray
	$(RUN) -c 'import site; print(site.getsitepackages()[0])' > "$$($(VENV)-ray/bin/python -c 'import site; print(site.getsitepackages()[0])')/shared.pth"
	$(VENV)-ray/bin/python -m pip install --disable-pip-version-check --quiet ray==2.60.0
	touch $@

test-ray: $(VENV)-ray/installed
	$(VENV)-ray/bin/python -m pytest -m ray -n0 -rP --durations=10 tests/test_ray.py

$(VENV)/lint: $(VENV)/installed
	$(RUN) -m pip install --disable-pip-version-check --quiet ruff==0.17.6 zizmor==1.32.0
	touch $@

lint: $(VENV)/lint
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(VENV)/bin/zizmor --offline --no-progress .github/workflows

$(VENV)-lock/installed:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --disable-pip-version-check --quiet uv==0.13.9
	touch $@

# For Linux, macOS and Windows, and every Python from 3.11 on; a version in the lock stays where it still fits.
lock: $(VENV)-lock/installed
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--no-emit-index-url --custom-compile-command "make lock" $(LOCK_ARGS) -o requirements.lock requirements.txt

notebook: $(VENV)/installed
	$(RUN) -m jupyter nbconvert --to notebook --execute --inplace notebooks/$(NAME).ipynb
	$(RUN) -m tools.notebook_rules --tidy

# Skips the runs that results/ already holds: remove a record there to make it anew.
results-%: $(VENV)/installed
	$(RUN) -m experiments.$*

bench: $(VENV)/installed
	$(RUN) -m experiments.bench

# The figures go to results/, logs and executed notebooks to gpu/.
gpu: $(VENV)/installed
	$(RUN) -m tools.gpu gpu $(GPU_ARGS)

# Prints what to type on that machine.
gpu-wheels: $(VENV)/installed
	$(RUN) -m tools.gpu_wheels $(FOLDER) $(GPU_PYTHON) $(GPU_HAS)

# mutmut in an environment of its own, everything else by a link to .venv. It changes a copy, mutants/.
$(VENV)-mutants/installed: $(VENV)/installed
	$(RUN) -m venv $(VENV)-mutants
	$(RUN) -c 'import site; print(site.getsitepackages()[0])' > "$$($(VENV)-mutants/bin/python -c 'import site; print(site.getsitepackages()[0])')/shared.pth"
	$(VENV)-mutants/bin/python -m pip install --disable-pip-version-check --quiet mutmut==3.8.1
	touch $@

# The step of 1998 as it is written, not compiled; a thread a process, because there are as many processes as cores.
mutants: $(VENV)-mutants/installed
	OMP_NUM_THREADS=1 TORCH_COMPILE_DISABLE=1 $(VENV)-mutants/bin/mutmut run
	$(RUN) -m tools.mistakes
	$(VENV)-mutants/bin/python -m tools.mutants

# notebooks/zh/, or a list of what is missing there or out of date.
translations: $(VENV)/installed
	$(RUN) -m tools.translations

page: $(VENV)/installed
	$(RUN) -m tools.page

address: $(VENV)/installed
	$(RUN) -m tools.repository_address $(URL)

clean:
	rm -rf $(VENV) $(VENV)-colab $(VENV)-browser $(VENV)-ray $(VENV)-lock $(VENV)-mutants mutants tests/screenshots gpu .whl data/MNIST/raw/*-ubyte
