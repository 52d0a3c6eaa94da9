# SPDX-License-Identifier: LGPL-2.1-or-later
# A thin front over Meson and Ninja.
#   make            build (in $(BUILD))
#   make demo       install what is missing (Debian), build, and show the main job on a real guest; needs root
#   make check      install what is missing, build, run every test; without root the tests with real guests are skipped
#   make check-long the same with the long form of the tests that have one: hours
#   make bench      install what is missing, build, measure
#   make install    as meson install; PREFIX and DESTDIR as usual
# Elsewhere than on Debian, or to keep apt out of it: make SETUP=: …
BUILD ?= build
PREFIX ?= /usr/local
SETUP ?= scripts/setup
MESON_FLAGS ?=

.PHONY: all setup demo check check-long bench install clean

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	meson setup $(BUILD) --prefix=$(PREFIX) $(MESON_FLAGS)

setup:
	@$(SETUP)

demo:
	@$(SETUP) build demo
	@scripts/quietly "built" $(MAKE) --no-print-directory all BUILD=$(BUILD)
	@scripts/quietly "the guest's kernel fetched and its initramfs made" tests/guest/build-guest
	@scripts/demo $(BUILD)

check:
	@$(SETUP)
	@scripts/check $(BUILD)

check-long: export VMUNDO_TEST_LONG ?= 1
check-long: check

bench:
	@$(SETUP)
	@scripts/quietly "built" $(MAKE) --no-print-directory all BUILD=$(BUILD)
	@bench/bench $(BUILD)

install: all
	meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD) $(BUILD)-clang $(BUILD)-sanitize $(BUILD).summary
