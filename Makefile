# The only way anything is run. `make` alone lists the targets.

CARGO   ?= cargo
SHELL   := /bin/sh
LIMIT   := 1048576
GOAL    := 1000000

.DEFAULT_GOAL := help
.PHONY: help build test test-real test-proxies test-ignore test-fullscreen test-trees soak interop fuzz lint demo docs static size static-test check-windows test-windows bench bench-frames bench-deploys bench-logs bench-remote clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## both programs: target/debug/rig and target/debug/maxd
	$(CARGO) build --locked --features server --bins

test: ## all tests that need only Rust, a C compiler and POSIX tools
	$(CARGO) test --locked --features server

test-real: ## deploy published projects (needs Node, Python and their package registries)
	$(CARGO) test --locked --features server --test it real:: -- --ignored --nocapture

soak: build static ## thousands of commands and hundreds of megabytes, for some minutes
	$(CARGO) test --locked --features server --test it -- --ignored --nocapture --test-threads 1 exits:: bytes:: rollouts:: interrupted::

test-trees: build static ## deploy 30,000 published files, and a gibibyte (needs npm and its registry)
	$(CARGO) test --locked --features server --test it -- --ignored --nocapture --test-threads 1 trees::

# SEED=7 for other paths.
test-ignore: ## what is left out against git, for a hundred thousand paths (Debian: git)
	@command -v git >/dev/null || { echo "make test-ignore needs git (Debian: git)" >&2; exit 1; }
	$(CARGO) test --locked --features server --lib git_tests:: -- --ignored --nocapture

test-fullscreen: ## vim in a shell over a line that breaks again and again (Debian: vim)
	@command -v vim >/dev/null || { echo "make test-fullscreen needs vim (Debian: vim)" >&2; exit 1; }
	$(CARGO) test --locked --features server --test it fullscreen:: -- --ignored

interop: build ## the official Phoenix clients 1.7 and 1.8 against maxd (needs Node 20 and its package registry)
	@command -v npm >/dev/null || { echo "make interop needs Node (Debian: nodejs, npm)" >&2; exit 1; }
	cd tests/interop && npm ci --no-audit --no-fund && npm test

# Not this machine's loopback addresses, which rig asks no proxy for, but a network of its
# own; as the user who calls it.
test-proxies: build ## the main job through tinyproxy, microsocks and nginx (Debian packages; Linux)
	@for tool in unshare ip tinyproxy microsocks nginx; do \
		PATH="$$PATH:/usr/sbin:/sbin" command -v $$tool >/dev/null || { \
			echo "make test-proxies needs $$tool (Debian: util-linux iproute2 tinyproxy-bin microsocks nginx-light)" >&2; \
			exit 1; }; done
	$(CARGO) test --locked --features server --test it --no-run
	PATH="$$PATH:/usr/sbin:/sbin" unshare -rnm sh tests/proxies.sh \
		$(CARGO) test --locked --offline --features server --test it -- --ignored proxies::

# RUNS=10000000 for a long one; FUZZ=frame for one target; SANITIZER=none is several times
# as fast, but can't limit a single allocation. Stable Rust will do.
FUZZ      ?= frame client_events longpoll http_head args ignore untar manifest
RUNS      ?= 200000
SANITIZER ?= address
CARGO_FUZZ = RUSTC_BOOTSTRAP=1 $(CARGO) fuzz

fuzz: ## run each fuzz target RUNS times (needs cargo-fuzz)
	@$(CARGO) fuzz --version >/dev/null 2>&1 \
		|| { echo "make fuzz needs cargo-fuzz: cargo install cargo-fuzz" >&2; exit 1; }
	$(CARGO_FUZZ) build -s $(SANITIZER) --target-dir fuzz/target/$(SANITIZER)
	@for target in $(FUZZ); do \
		echo "== $$target"; mkdir -p fuzz/target/corpus/$$target; \
		$(CARGO_FUZZ) run -s $(SANITIZER) --target-dir fuzz/target/$(SANITIZER) \
			$$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
			-runs=$(RUNS) -rss_limit_mb=1024 -malloc_limit_mb=64 -timeout=10 -print_final_stats=1 || exit 1; \
	done

lint: ## rustfmt, and clippy with warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --features server -- -D warnings
	$(CARGO) clippy --locked --bin rig -- -D warnings

demo: build ## the main job with the real rig against a maxd of its own
	@$(CARGO) run --quiet --locked --features server --example demo

docs: ## write docs/commands.md from the command table
	UPDATE_DOCS=1 $(CARGO) test --locked --features server --test it help::the_command_reference

# The static binary: see docs/size.md for what each flag is for.

TARGET  := x86_64-unknown-linux-musl
WORK    := target/static-build
BUILT   := $(WORK)/$(TARGET)/release/rig
MUSL    ?= /usr/lib/x86_64-linux-musl
SMALL_C := -Os -fPIC -fno-stack-protector -fno-asynchronous-unwind-tables -fno-unwind-tables \
	-ffunction-sections -fdata-sections
LDFLAGS := --no-dynamic-linker -Bstatic --icf=all -O2 --gc-sections --build-id=none --no-eh-frame-hdr \
	--pack-dyn-relocs=relr -e rig_start -z relro -z now
empty   :=
comma   := ,
space   := $(empty) $(empty)
RUSTFLAGS_STATIC := -Zunstable-options -Cpanic=immediate-abort -Zfmt-debug=none \
	-Crelocation-model=pic -Ctarget-feature=+crt-static -Clink-self-contained=no \
	-Cllvm-args=-enable-machine-outliner=always --cfg=chacha20_backend=\"soft\" \
	-Clink-arg=-fuse-ld=lld -Clink-arg=-nostartfiles -Clink-arg=-nostdlib -Clink-arg=-static-pie \
	-Zpre-link-arg=$(WORK)/lib/start.o \
	-Clink-arg=$(MUSL)/rcrt1.o -Clink-arg=$(MUSL)/crti.o \
	-Clink-arg=-L$(MUSL) -Clink-arg=-L$(WORK)/lib \
	-Clink-arg=src/sys/static/discard.ld -Clink-arg=-Wl,$(subst $(space),$(comma),$(strip $(LDFLAGS))) \
	-Clink-arg=-Wl,--start-group,-lc,-lgcc,--end-group -Clink-arg=$(MUSL)/crtn.o \
	--remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(HOME)=~

# With its symbols, from which `size` tells what takes how much; `static` takes them away.
STATIC_BUILD = RUSTC_BOOTSTRAP=1 CARGO_PROFILE_RELEASE_STRIP=false \
	CC_x86_64_unknown_linux_musl=musl-gcc CFLAGS_x86_64_unknown_linux_musl="$(SMALL_C)" \
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=gcc \
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="$(RUSTFLAGS_STATIC)" \
	$(CARGO) build --locked --release --bin rig --target $(TARGET) --target-dir $(WORK) \
	-Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size

static: static-tools ## target/static/rig: x86_64 Linux, static-pie, no libc needed
	@mkdir -p $(WORK)/lib target/static
	@ln -sf "$$(gcc -print-file-name=libgcc_eh.a)" $(WORK)/lib/libunwind.a
	musl-gcc $(SMALL_C) -ffreestanding -c src/sys/static/start.c -o $(WORK)/lib/start.o
	$(STATIC_BUILD)
	@strip --strip-all -o target/static/rig $(BUILT)
	@ls -l target/static/rig

.PHONY: static-tools
static-tools:
	@command -v musl-gcc >/dev/null || { echo "make static needs musl (Debian: musl-tools)" >&2; exit 1; }
	@command -v ld.lld >/dev/null || { echo "make static needs lld (Debian: lld)" >&2; exit 1; }
	@test -d "$$(rustc --print sysroot)/lib/rustlib/src/rust/library" \
		|| { echo "make static needs the standard library's source: rustup component add rust-src" >&2; exit 1; }

size: static ## the static binary's size, its limit, and the ten largest crates
	@nm -S --radix=d -C $(BUILT) | awk ' \
		NF >= 4 && $$4 ~ /::/ { name = $$4; gsub(/^[<&(\[]+/, "", name); sub(/^(dyn|mut)$$/, "core", name); \
			sub(/::.*/, "", name); bytes[name] += $$2; next } \
		NF >= 4 { name = $$4 ~ /^ring_core/ ? "ring" : "(C, data)"; bytes[name] += $$2 } \
		END { for (name in bytes) printf "%9d %s\n", bytes[name], name }' | sort -rn | head -10
	@bytes=$$(wc -c < target/static/rig); echo "$$bytes bytes; limit $(LIMIT), goal $(GOAL)"; \
		[ "$$bytes" -le $(LIMIT) ] || { echo "target/static/rig is over the limit" >&2; exit 1; }

# The standard library is built too: its target can't always be installed.
WINDOWS   := x86_64-pc-windows-gnu
FOR_WINDOWS = RUSTC_BOOTSTRAP=1 $(CARGO) $(1) --locked --target $(WINDOWS) --target-dir target/windows

check-windows: windows-tools ## target/windows/rig.exe, built on Linux (Debian: gcc-mingw-w64-x86-64)
	$(call FOR_WINDOWS,build) --release --bin rig -Zbuild-std=std,panic_abort
	@cp target/windows/$(WINDOWS)/release/rig.exe target/windows/rig.exe
	@echo "$$(wc -c < target/windows/rig.exe) bytes: target/windows/rig.exe"

.PHONY: windows-tools
windows-tools:
	@command -v x86_64-w64-mingw32-gcc >/dev/null \
		|| { echo "make check-windows needs mingw-w64 (Debian: gcc-mingw-w64-x86-64)" >&2; exit 1; }
	@test -d "$$(rustc --print sysroot)/lib/rustlib/src/rust/library" \
		|| { echo "make check-windows needs the standard library's source: rustup component add rust-src" >&2; exit 1; }

test-windows: build check-windows ## rig.exe and its unit tests under Wine, against a maxd on Linux (Debian: wine64)
	@PATH="$$PATH:/usr/lib/wine" command -v wine64 >/dev/null \
		|| { echo "make test-windows needs Wine (Debian: wine64)" >&2; exit 1; }
	$(call FOR_WINDOWS,test) --lib --no-run -Zbuild-std=std,panic_abort,panic_unwind,test
	PATH="$$PATH:/usr/lib/wine" sh tests/wine.sh

static-test: build ## the static binary in an empty chroot does the main job over TLS (root)
	sh tests/chroot.sh

bench: build static ## ratios against references measured in the same run (Debian: pigz, curl)
	$(CARGO) bench --locked --bench startup
	$(CARGO) bench --locked --bench link
	$(CARGO) bench --locked --bench dashboard
	$(CARGO) bench --locked --bench lists
	$(CARGO) bench --locked --bench archive

bench-frames: ## frames a second against phoenix.js (needs Node 20 and its package registry)
	cd tests/interop && npm ci --no-audit --no-fund
	$(CARGO) bench --locked --bench frames

bench-deploys: static ## a second deploy of 20,000 files against tar, gzip and curl (Debian: curl)
	@command -v curl >/dev/null || { echo "make bench-deploys needs curl (Debian: curl)" >&2; exit 1; }
	$(CARGO) build --locked --profile server --features server --bin maxd
	$(CARGO) bench --locked --bench deploys

bench-logs: static ## lines through maxd to rig against a bare WebSocket and phoenix.js (needs Node 20 and its package registry)
	cd tests/interop && npm ci --no-audit --no-fund
	$(CARGO) build --locked --profile server --features server --bin maxd
	$(CARGO) bench --locked --bench logs

bench-remote: static ## shells and commands against OpenSSH (Debian: openssh-server, openssh-client)
	@for tool in sshd ssh ssh-keygen; do PATH="$$PATH:/usr/sbin" command -v $$tool >/dev/null || { \
		echo "make bench-remote needs $$tool (Debian: openssh-server openssh-client)" >&2; exit 1; }; done
	$(CARGO) build --locked --profile server --features server --bin maxd
	$(CARGO) bench --locked --bench remote

clean: ## remove everything that was built
	$(CARGO) clean
