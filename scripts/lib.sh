# Shared by the scripts beside it: what they install, and how. Sourced, never run.
# Packages come from the distribution alone, and only those that are missing are asked for.

say() { printf '\n== %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# need_packages PACKAGE…: installs those that are not there.
need_packages() {
    local missing p round
    # Installing some may remove others that do not go with them, so look again; the last look is no try.
    for round in 1 2 3 4; do
        missing=()
        for p in "$@"; do
            [ "$(dpkg-query -W -f='${Status}' "$p" 2>/dev/null)" = "install ok installed" ] || missing+=("$p")
        done
        [ ${#missing[@]} -gt 0 ] || return 0
        [ "$(id -u)" = 0 ] || die "these packages are missing and only root can install them: ${missing[*]}"
        [ "$round" != 4 ] || die "these packages do not go together: $*"
        say "installing ${missing[*]}"
        [ "$round" != 1 ] || apt-get update -q >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
    done
}

# What a host needs to run Sistemo.
RUN_PACKAGES=(qemu-system-x86 mmdebstrap e2fsprogs nftables iproute2 kmod xz-utils zstd cpio openssh-client ca-certificates)

# The oldest toolchain that builds this workspace (rust-version in Cargo.toml).
RUST_LEAST=1.87

rust_is_new_enough() {
    local version
    version=$(rustc --version 2>/dev/null | awk '{print $2}') || return 1
    [ -n "$version" ] && [ "$(printf '%s\n%s\n' "$RUST_LEAST" "$version" | sort -V | head -n1)" = "$RUST_LEAST" ]
}

# need_rust: a toolchain that is new enough, from the distribution if there is none: its own, or the newer one
# that Debian 12 and 13 carry for their browsers.
need_rust() {
    [ -x "$HOME/.cargo/bin/cargo" ] && PATH="$HOME/.cargo/bin:$PATH"
    need_packages gcc libc6-dev
    rust_is_new_enough && command -v cargo >/dev/null && return 0
    local pair
    apt-get update -q >&2
    for pair in "rustc cargo" "rustc-web cargo-web"; do
        local version
        version=$(LC_ALL=C apt-cache policy "${pair% *}" | awk '/Candidate:/ {print $2}')
        if [ -n "$version" ] && dpkg --compare-versions "$version" ge "$RUST_LEAST"; then
            # shellcheck disable=SC2086
            need_packages $pair
            rust_is_new_enough && return 0
        fi
    done
    die "Rust $RUST_LEAST or newer is needed and this distribution has none; install it with rustup"
}

# need_lints: rustfmt and clippy of the same toolchain, by the distribution's names for it.
need_lints() {
    local web
    web=$(dpkg-query -W -f='${Status}' rustc-web 2>/dev/null || true)
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && return 0
    if [ "$web" = "install ok installed" ]; then
        need_packages rustfmt-web rust-web-clippy
    else
        need_packages rustfmt rust-clippy
    fi
}

# build_agent PROFILE: the guest agent as one static file; prints its path. It has a target directory
# of its own, since its flags differ and would make cargo rebuild everything in turn.
build_agent() {
    local host dir=${CARGO_TARGET_DIR:-target}/agent
    host=$(rustc -vV | awk '/^host:/ {print $2}')
    RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR=$dir \
        cargo build --locked --quiet --release --package sistemo-agent --target "$host" >&2
    printf '%s\n' "$(realpath "$dir/$host/release/sistemo-agent")"
}
