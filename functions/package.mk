# How a package is made, for the Makefiles that `sam build` runs (BuildMethod: makefile): libraries,
# and packages of this repository. Those say what is in it:
#   PACKAGES      folders of packages
#   OMITTED       parts of them that nothing deployed imports
#   REQUIREMENTS  file of pinned libraries
#   UNUSED        parts of these, likewise
#   TESTS         folders of tests that a library imports all the same
#
# uv picks the wheels of the Lambda's platform, so that any machine builds for either
# architecture, without Docker and without a Python 3.13 of its own.

ifndef ARTIFACTS_DIR
$(error ARTIFACTS_DIR is not set: `sam build` sets it to the folder that is deployed)
endif

UV ?= uv

REQUIREMENTS ?= requirements.txt

# numpy loads its own only on use; it uses numpy.ma in np.median and the like, which what serves and
# watches does without.
UNUSED ?= \
  $(addprefix numpy/,f2py fft ma polynomial random testing) \
  obstore/fsspec.py \
  $(addprefix aws_lambda_powertools/event_handler/openapi/,compat.py dependant.py encoders.py \
    models.py params.py pydantic_loader.py schema_generator.py) \
  $(addprefix aws_lambda_powertools/utilities/,auth_alpha batch circuit_breaker data_masking \
    feature_flags idempotency kafka parameters parser streaming)

# Must agree with the template's parameter `Architecture`; `sam build` does not pass it on.
ARCHITECTURE ?= arm64
PLATFORM_arm64 := aarch64-manylinux_2_34
PLATFORM_x86_64 := x86_64-manylinux_2_34
PLATFORM = $(or $(PLATFORM_$(ARCHITECTURE)),\
  $(error ARCHITECTURE is "$(ARCHITECTURE)": arm64 or x86_64 is needed))

# A pyenv shim is found on the path but runs only where a version is chosen; without pyenv the
# variable means nothing.
PYTHON313 := $(shell PYENV_VERSION=3.13 $(UV) python find 3.13 --no-python-downloads 2>/dev/null)

# Deploying changes every mtime, which would void timestamp bytecode: hence unchecked hashes.
COMPILE = $(PYTHON313) -m compileall -q -j 0 --invalidation-mode unchecked-hash \
  -s "$(ARTIFACTS_DIR)" -p /var/task

.PHONY: installed slim libraries package size

installed:
	$(UV) pip install --quiet -r $(REQUIREMENTS) --target "$(ARTIFACTS_DIR)" --only-binary :all: \
	  --python-version 3.13 --python-platform $(PLATFORM) --link-mode copy

# Dropped again is also what only developers of the libraries need: executables, tests (some are
# extension modules), stubs, headers, static libraries. Of the dist-info, version and licence stay.
slim: installed
	cd "$(ARTIFACTS_DIR)" && rm -rf .lock bin numpy/_core/include $(UNUSED) \
	  *.dist-info/sboms *.dist-info/RECORD
	find "$(ARTIFACTS_DIR)" -type d -name tests $(patsubst %,! -path '*/%',$(TESTS)) -prune \
	  -exec rm -rf {} +
	find "$(ARTIFACTS_DIR)" -type f \( -name '*.py[ix]' -o -name '*.pxd' -o -name '*.[ah]' \
	  -o -name '_simd.*.so' -o -name '_*_tests.*.so' \) -delete

# Bytecode beside the sources would add 7 MiB. Of the libraries it replaces them (-b puts it in
# their place): tracebacks still name file and line, without the line's text.
libraries: slim
ifdef PYTHON313
	$(COMPILE) -b "$(ARTIFACTS_DIR)"
	find "$(ARTIFACTS_DIR)" -type f -name '*.py' -delete
	@echo "bytecode: compiled by $(PYTHON313)"
else
	@echo "bytecode: none, as no Python 3.13 was found here; cold starts will compile the sources"
endif

COPIES = $(addprefix $(ARTIFACTS_DIR)/,$(notdir $(PACKAGES)))

package: libraries
	cp -R $(PACKAGES) "$(ARTIFACTS_DIR)"
	cd "$(ARTIFACTS_DIR)" && rm -rf $(OMITTED)
	find $(COPIES) -type d -name __pycache__ -prune -exec rm -rf {} +
ifdef PYTHON313
	$(COMPILE) $(COPIES)
endif

size: package
	@find "$(ARTIFACTS_DIR)" -type f -exec cat {} + | wc -c | \
	  awk '{printf "size: %.1f MiB unzipped for $(ARCHITECTURE)\n", $$1 / 1048576}'
