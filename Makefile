# virtio for MicroPython: the front door. Each command does the set-up it needs, once, under build/.

BOARD = QEMU_VIRT_ARM
MICROPYTHON_DIR = build/micropython-1.25.0
BUILD = build/$(BOARD)
PYTHON = build/venv/bin/python
FLASH_SIZE = 64M
# A checkout with its submodules has these itself.
THIRD = $(if $(wildcard $(MICROPYTHON_DIR)/lib/lwip/src),,build/third/lib/lwip build/third/lib/mbedtls)
WAYS = plain mpy native multi hosted
# The releases that this has been built from and tested with (docs/versions.md).
TRIED = 1.25 1.26 1.27 1.28 1.29
version = $(shell sed -n 's/^.define MICROPY_VERSION_M[AI][JN]OR //p' $(MICROPYTHON_DIR)/py/mpconfig.h 2>/dev/null | paste -sd.)

# What tools/ reads from the environment.
export BOARD DISK SHARE MODERN NET QEMU_ARGS UPDATE ROUNDS DIR IMAGE ROM CUTS SEED REQUESTS STEPS LARGE
export POINTS MOVED ECHOED RESETS SOAK_MINUTES MPREMOTE RULES
export PYTHONDONTWRITEBYTECODE = 1

MAKEFLAGS += --no-print-directory

.PHONY: help run repl demo test test-micropython bench bench-network bench-instructions bench-perf sweep soak image check layout lists \
    mutants watch villain firmware wheel release flash bench-firmware sweep-firmware virt-rv32 clean distclean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/make \1\t\2/p' Makefile | expand -t 26
	@echo
	@echo "Variables, for example make run DISK=card.img:"
	@echo "  DISK=path             another disk image for run and repl (raw), or none"
	@echo "  SHARE=folder          a folder that run and repl show at /host; at / with DISK=none"
	@echo "  IMAGE=path            a second disk for run and repl (raw), read-only"
	@echo "  ROM=path              another image of the ROM filesystem for run and repl"
	@echo "  MODERN=0              the legacy virtio interface for run and repl"
	@echo "  NET=isolated          the network of run and repl: user, isolated, none"
	@echo "  QEMU_ARGS='...'       more arguments for QEMU in run and repl"
	@echo "  MPREMOTE='ls'         commands of mpremote for repl, instead of its REPL"
	@echo "  WAYS='plain mpy'      the ways of test-micropython, without native"
	@echo "  MICROPYTHON_DIR=path  a MicroPython checkout instead of the fetched source"
	@echo "  MICROPYTHON_DIRS='a b' more checkouts, for wheel"
	@echo "  BOARD=name            a folder of boards/ (now $(BOARD))"

run: flash  ## boot the board, its REPL on this terminal (Ctrl-A X leaves)
	@$(PYTHON) tools/run.py

repl: flash  ## the same through mpremote's REPL (Ctrl-] leaves)
	@$(PYTHON) tools/run.py --mpremote

demo: flash  ## files and entropy, checked on the board and on the host
	@$(PYTHON) tools/demo.py

watch: flash  ## lines for the board, and after each its queues beside QEMU's view of them (MODERN=0)
	@PYTHONPATH=tools $(PYTHON) tools/watch.py

villain: flash  ## break the specification's rules against QEMU, and report what it does
	@PYTHONPATH=tools $(PYTHON) tools/villain.py

test: check flash sweep-firmware wheel build/programs virt-rv32  ## the style checks and every test, on the board and on the host
	@$(PYTHON) -m pytest -n auto --maxprocesses 8 --dist loadscope

bench: flash bench-firmware  ## the library beside C, U-Boot and Linux (some minutes; ROUNDS=5)
	@PYTHONPATH=tools:tests $(PYTHON) -m bench.compare
	@PYTHONPATH=tools:tests $(PYTHON) -m bench.folders
	@PYTHONPATH=tools:tests $(PYTHON) -m bench.network

bench-network: flash bench-firmware  ## that of the network alone (ROUNDS=5)
	@PYTHONPATH=tools:tests $(PYTHON) -m bench.network

# With the floors, bare drivers in C.
bench-firmware: $(MICROPYTHON_DIR)/py/mpconfig.h $(THIRD) build/venv/.made
	@mkdir -p build/bench
	@python3 tools/step.py "Building the benchmark's firmware" build/log/bench.log \
	    env -u MAKEFLAGS -u MFLAGS make -C firmware -j$(shell nproc) BOARD=$(BOARD) \
	    MICROPYTHON_DIR=$(realpath $(MICROPYTHON_DIR)) BUILD=$(abspath build/bench) \
	    USER_C_MODULES=$(abspath tests/bench/modules)

# With the hooks of tests/sweep/modules, by which a test chooses where Ctrl-C and the like come.
sweep-firmware: $(MICROPYTHON_DIR)/py/mpconfig.h $(THIRD) build/venv/.made
	@python3 tools/step.py "Building the sweeps' firmware" build/log/sweep.log \
	    env -u MAKEFLAGS -u MFLAGS make -C firmware -j$(shell nproc) BOARD=$(BOARD) \
	    MICROPYTHON_DIR=$(realpath $(MICROPYTHON_DIR)) BUILD=$(abspath build/sweep) \
	    USER_C_MODULES=$(abspath tests/sweep/modules)

# MicroPython's own port for QEMU's RISC-V machine, with more memory for its heap than that port takes.
# The compiler has a library for rv32imac, but does not find it by the name with zicsr.
RV32 = $(abspath build/VIRT_RV32)
virt-rv32: flash build/.packages-riscv
	@! command -v riscv64-unknown-elf-gcc >/dev/null || { mkdir -p $(RV32) && \
	    sed 's/LENGTH = 2M/LENGTH = 32M/' $(MICROPYTHON_DIR)/ports/qemu/mcu/rv32/virt.ld >$(RV32)/virt.ld && \
	    python3 tools/step.py "Building VIRT_RV32" build/log/virt-rv32.log \
	    env -u MAKEFLAGS -u MFLAGS MICROPY_GIT_TAG=v$(version) make -C $(MICROPYTHON_DIR)/ports/qemu \
	    -j$(shell nproc) BOARD=VIRT_RV32 BUILD=$(RV32) LDSCRIPT=$(RV32)/virt.ld \
	    RV32_ARCH=rv32imac AFLAGS='-mabi=ilp32 -march=rv32imac_zicsr' MICROPY_HEAP_SIZE=16777216 \
	    FROZEN_MANIFEST= MICROPY_MPYCROSS=$(abspath build/mpy-cross/mpy-cross) MICROPY_MPYCROSS_DEPENDENCY=; }

bench-instructions: flash  ## guest instructions an operation (UPDATE=1 keeps them)
	@PYTHONPATH=tools:tests $(PYTHON) -m bench.instructions

bench-perf: flash  ## MicroPython's perf_bench here and on upstream's SABRELITE board (ROUNDS=5)
	@PYTHONPATH=tools:tests $(PYTHON) -m bench.perf $(MICROPYTHON_DIR)

test-micropython: flash  ## MicroPython's own test suite, on the board, in five ways
	@$(PYTHON) tools/micropython_tests.py $(MICROPYTHON_DIR) "$(WAYS)"

soak: flash sweep-firmware build/.battery  ## the long tests (CUTS=200, SOAK_MINUTES=5)
	@PYTHONPATH=tools:tests $(PYTHON) -m soak.soak

sweep: sweep-firmware  ## one of the soak's sweeps again: make sweep ONE='FAT-cached-packed write CTRL_C'
	@PYTHONPATH=tools:tests $(PYTHON) -m sweep.sweep $(ONE)

build/.battery: tools/battery.py | build/.packages
	@python3 tools/battery.py build/battery
	@touch $@

image: build/.packages  ## a disk image from a folder: make image DIR=folder
	@python3 tools/image.py

mutants: flash  ## break the specification's rules in the library, and see their tests fail (long; RULES=5.2)
	@PYTHONPATH=tools:tests $(PYTHON) -m rules.mutants

check: build/venv/.made  ## ruff over all Python, the table of the specification's rules, what is generated, CI's files
	@$(PYTHON) tests/rules/rules.py
	@build/venv/bin/ruff check --quiet
	@build/venv/bin/ruff format --check --quiet --diff
	@python3 tools/layout.py --check
	@python3 tools/mip.py --check
	@build/venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows \
	    .github/workflows/*.yml examples/*/.github/workflows/*.yml
	@build/venv/bin/check-jsonschema --quiet --builtin-schema vendor.gitlab-ci examples/*/.gitlab-ci.yml

layout:  ## the numbers of lib/virtio/layout.py, in each module that names them
	@python3 tools/layout.py

lists:  ## the lists by which mip installs the library
	@python3 tools/mip.py

# The set-up, each step once. What is present already is not done again.

build/.packages: tools/packages.py
	@mkdir -p build
	@python3 tools/packages.py
	@touch $@

build/programs: tools/programs.py | build/.packages
	@python3 tools/programs.py $@

build/.packages-riscv: tools/packages.py | build/.packages
	@python3 tools/packages.py riscv
	@touch $@

build/venv/.made: requirements.txt tools/venv.py | build/.packages
	@python3 tools/venv.py
	@touch $@

build/micropython-1.25.0: | build/.packages
	@python3 tools/source.py micropython $@

build/third/lib/lwip build/third/lib/mbedtls: | build/.packages
	@python3 tools/source.py $(@F) $@

$(MICROPYTHON_DIR)/py/mpconfig.h: | $(filter build/micropython-1.25.0,$(MICROPYTHON_DIR))
	@[ -e $@ ] || { echo "$(MICROPYTHON_DIR) is not a MicroPython checkout: MICROPYTHON_DIR must name one." >&2; exit 1; }

# The submake decides what is out of date; a tree built from other sources is not mixed with these.
firmware: $(MICROPYTHON_DIR)/py/mpconfig.h $(THIRD) build/venv/.made  ## build firmware.elf and firmware.bin
	@mkdir -p $(BUILD)
	@echo '$(realpath $(MICROPYTHON_DIR))' | cmp -s - build/.built-from || rm -rf $(BUILD) build/mpy-cross $(RV32)
	@echo '$(realpath $(MICROPYTHON_DIR))' >build/.built-from
	@python3 tools/step.py "Building the firmware" build/log/firmware.log \
	    env -u MAKEFLAGS -u MFLAGS make -C firmware -j$(shell nproc) BOARD=$(BOARD) \
	    MICROPYTHON_DIR=$(realpath $(MICROPYTHON_DIR)) BUILD=$(abspath $(BUILD))
	@sed 's/.*/firmware\/patches\/&.patch does not apply to this MicroPython: docs\/versions.md says what that means./' \
	    $(BUILD)/mended/left-out
	@$(if $(filter $(version),$(TRIED)),,echo "MicroPython $(version) has not been tried here; $(TRIED) have: docs/versions.md.")

# As large as the flash bank that QEMU maps it to. Renamed into place: a board that runs keeps its own.
flash: firmware  ## build flash.img
	@[ $(BUILD)/flash.img -nt $(BUILD)/firmware.bin ] || { \
	    cp $(BUILD)/firmware.bin $(BUILD)/flash.new && truncate -s $(FLASH_SIZE) $(BUILD)/flash.new && \
	    mv $(BUILD)/flash.new $(BUILD)/flash.img; }

wheel: $(MICROPYTHON_DIR)/py/mpconfig.h $(THIRD) build/venv/.made  ## build the wheel micropython-virt (build/dist)
	@$(PYTHON) tools/wheel.py $(MICROPYTHON_DIR) $(MICROPYTHON_DIRS)

release: flash wheel  ## what a release consists of, in build/release
	@$(PYTHON) tools/release.py

clean:  ## delete what was built; keep what was fetched, and the disk image of make run
	rm -rf $(BUILD) $(RV32) build/sweep build/wheel build/dist build/release build/mpy-cross build/mpy-lib build/.built-from

distclean:  ## delete build/
	rm -rf build
