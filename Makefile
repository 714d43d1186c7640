# `make lab` opens the notebooks, `make test` checks everything; both set up .venv first.
PYTHON ?= python3
LAB_ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/python
# JupyterLab refuses to start as root (containers) unless it is told that this is meant.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
EXPERIMENTS := c3_tables, modern_lenet, original_1998, speed or tutorial_lenet

.PHONY: help lab test test-colab test-browser lint notebook address clean

help:
	@echo "make lab                        open JupyterLab on the notebooks (LAB_ARGS=--no-browser passes options on)"
	@echo "make test                       strict nbval over every notebook, and the unit tests"
	@echo "make test-colab                 every notebook as in Colab: alone in an empty folder, with Colab's IPython"
	@echo "make test-browser               the notebooks in JupyterLab, in a real browser (needs Chromium or Chrome)"
	@echo "make lint                       ruff over the Python files, zizmor over the workflows"
	@echo "make notebook NAME=04_training  execute a notebook, store its outputs, tidy its metadata"
	@echo "make results-NAME               do what results/NAME.json lacks (minutes to hours; goes on where it stopped);"
	@echo "                                NAME is $(EXPERIMENTS)"
	@echo "make address URL=https://...    write the repository's web address wherever it stands"
	@echo "make clean                      remove the environments and the unpacked data"

# Made anew when the requirements change; the stamp is written last, so a broken installation is resumed.
$(VENV)/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --disable-pip-version-check --quiet -r requirements.txt
	touch $@

lab: $(VENV)/installed
	$(RUN) -m jupyter lab $(AS_ROOT) $(LAB_ARGS) notebooks

test: $(VENV)/installed
	$(RUN) -m pytest --nbval --durations=10

# IPython, ipykernel and ipywidgets as Colab has them (August 2026), everything else from .venv except d2l.
$(VENV)-colab/installed: $(VENV)/installed tools/colab_environment.py
	$(RUN) -m tools.colab_environment $(VENV)-colab
	touch $@

test-colab: $(VENV)-colab/installed
	$(RUN) -m pytest -m colab tests/test_colab.py

# Playwright and scikit-image in an environment of their own, everything else by a link to .venv.
$(VENV)-browser/installed: $(VENV)/installed
	$(RUN) -m venv $(VENV)-browser
	$(RUN) -c 'import site; print(site.getsitepackages()[0])' > "$$($(VENV)-browser/bin/python -c 'import site; print(site.getsitepackages()[0])')/shared.pth"
	$(VENV)-browser/bin/python -m pip install --disable-pip-version-check --quiet playwright==1.65.2 scikit-image==0.26.0
	touch $@

test-browser: $(VENV)-browser/installed
	$(VENV)-browser/bin/python -m pytest -m browser -rP --durations=20 tests/test_browser.py

$(VENV)/lint: $(VENV)/installed
	$(RUN) -m pip install --disable-pip-version-check --quiet ruff==0.17.6 zizmor==1.32.0
	touch $@

lint: $(VENV)/lint
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(VENV)/bin/zizmor --offline --no-progress .github/workflows

notebook: $(VENV)/installed
	$(RUN) -m jupyter nbconvert --to notebook --execute --inplace notebooks/$(NAME).ipynb
	$(RUN) -m tools.notebook_rules --tidy

# Skips the runs that results/ already holds: remove a record there to make it anew.
results-%: $(VENV)/installed
	$(RUN) -m experiments.$*

address: $(VENV)/installed
	$(RUN) -m tools.repository_address $(URL)

clean:
	rm -rf $(VENV) $(VENV)-colab $(VENV)-browser tests/screenshots data/MNIST/raw/*-ubyte
