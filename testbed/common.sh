# Set-up that testbed/demo and testbed/test share; they source it after `set -euo pipefail`.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TERM_PROGRESS_WHEN=never
source testbed/cross.sh
TESTBED=target/release/testbed

# step TITLE COMMAND...: runs a command under a heading and says how long it took.
step() {
    local title=$1 began=$SECONDS
    shift
    printf '\n== %s\n' "$title"
    "$@"
    printf -- '-- %s: %d s\n' "$title" $((SECONDS - began))
}

# as_root COMMAND...: at once for root, else by sudo.
as_root() {
    if [[ $EUID == 0 ]]; then "$@"; else sudo "$@"; fi
}

check_host() {
    if [[ $EUID != 0 ]] && ! command -v sudo >/dev/null; then
        echo "This needs root, for a private network: run it as root, or install sudo." >&2
        return 1
    fi
    if ! command -v cargo >/dev/null; then
        echo "This needs a Rust toolchain: see https://rustup.rs" >&2
        return 1
    fi
    echo "root: $([[ $EUID == 0 ]] && echo yes || echo by sudo), $(cargo --version)"
}

# What is called at run time or by the build, as Debian packages.
PACKAGES=(
    qemu-system-x86      # the machines; brings SeaBIOS and the cards' iPXE (ipxe-qemu)
    ovmf                 # UEFI for them
    iproute2             # the private network
    gcc libc6-dev        # links Rust programs, compiles SQLite and zstd
    g++                  # with gcc and binutils: change signatures are tested on what they make
    grub-common          # grub-mkimage
    grub-pc-bin          # GRUB for BIOS
    grub-efi-amd64-bin   # GRUB for UEFI
    e2fsprogs            # mke2fs
    dosfstools mtools    # check FAT file systems in tests
    sqlite3              # the shell that people edit the catalog with
    skopeo               # checks that composites are OCI layouts
    minisign             # checks that signatures are minisign's
    qemu-utils           # qemu-io checks the disk server
    ipxe                 # the loaders that bootd hands to firmware
)

install_packages() {
    local package missing=()
    for package in "${PACKAGES[@]}"; do
        if [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
            missing+=("$package")
        fi
    done
    if ((${#missing[@]} == 0)); then
        echo "all ${#PACKAGES[@]} are installed"
        return
    fi
    echo "missing: ${missing[*]}"
    as_root apt-get update --quiet=2
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}"
}

# build_host_tools [--release]: bootd, catalog and the test bed.
build_host_tools() {
    cargo build "$@" --locked --package bootd --package catalog --package testbed
}

# The node's init: static, small. The flags hold for this target alone, so that build
# scripts and proc macros, which are for the host, are built without them.
INIT_TARGET=x86_64-unknown-linux-gnu
# Signatures by plain 64-bit arithmetic: smaller than the vector code, and no slower where a
# node makes two of them.
# It ends where it panics, so nothing is ever unwound.
INIT_RUSTFLAGS='-C target-feature=+crt-static --cfg curve25519_dalek_backend="serial"'
INIT_RUSTFLAGS+=' -C force-unwind-tables=no'
build_init() {
    # Relocations in a few bits each; the linker for aarch64 cannot do that yet.
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="$INIT_RUSTFLAGS -C link-arg=-Wl,-z,pack-relative-relocs" \
        cargo build --locked --profile init --target "$INIT_TARGET" --package node-initramfs
}

fetch_inputs() {
    if ! apt-cache show linux-image-cloud-amd64 >/dev/null 2>&1; then
        as_root apt-get update --quiet=2
    fi
    "$TESTBED" inputs
}

# testbed ARGUMENTS...: runs the test bed as root. What root leaves in target/ is given
# back at the end to the user, who must be able to clean it.
testbed() {
    if [[ $EUID != 0 ]]; then
        trap 'sudo chown -R "$(id -u):$(id -g)" target/testbed' EXIT
    fi
    as_root "$TESTBED" "$@"
}
