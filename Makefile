# Everything here needs only make and Python >= 3.11 with venv. `make help` describes each target.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m dlopt_book
INSTALLED := $(VENV)/.installed-$(firstword $(shell cat requirements.txt pyproject.toml | cksum))

.DEFAULT_GOAL := help
.PHONY: help install book test lab serve bench seeds screenshots site-report pdf zip clean

help: ## describe each target
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "make %-12s %s\n", $$1, $$2}'

install: $(INSTALLED) ## create .venv with everything that requirements.txt pins

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "the book needs Python >= 3.11; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' \
	  || { echo "this Python has no venv; on Debian: apt-get install python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	@rm -f $(VENV)/.installed-*; touch $@

book: $(INSTALLED) ## run the chapters that changed and build the site, strictly, into _build/html
	@$(RUN) book

test: $(INSTALLED) ## make the book, then check everything: library, notebooks, site, JupyterLab
	@$(RUN) test

lab: $(INSTALLED) ## open JupyterLab in chapters/, on a page that lists them
	@cd chapters && ../$(BIN)/jupyter lab --LabApp.news_url=None welcome.ipynb

serve: book ## serve the site on http://localhost:8000
	@$(RUN) serve

bench: $(INSTALLED) ## measure what the book's numbers on speed rest on
	@$(BIN)/python -m dlopt.benchmarks

seeds: $(INSTALLED) ## run every chapter under DLOPT_SEED=1,2,3 and list the verdicts that change
	@$(RUN) seeds

screenshots: book ## photograph every page, at three widths, light and dark, into _build/screenshots
	@$(RUN) screenshots

site-report: book ## measure every page against its targets; RUNS=5 lets Lighthouse look five times
	@$(RUN) report $(RUNS)

pdf: book ## print the whole book into _build/book.pdf
	@$(RUN) pdf

zip: book ## pack the site into _build/book.zip, to read without a network
	@$(RUN) zip

clean: ## remove the site and the chapters' runs
	rm -rf _build
