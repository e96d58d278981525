# The node's init for aarch64; common.sh sources this. Why so: docs/decisions/0015.

# What the test bed needs besides, for machines of this architecture.
AARCH64_PACKAGES=(
    gcc-aarch64-linux-gnu    # links for it,
    libc6-dev-arm64-cross    # with its static C library
    qemu-system-arm          # the machines
    qemu-efi-aarch64         # UEFI for them
)

AARCH64_TARGET=aarch64-unknown-linux-gnu
DEBIAN_RUST=$PWD/target/debian-rust

# With the usual compiler, if rustup was told to add the target, else with Debian's.
build_init_aarch64() {
    local rustc=rustc
    if [[ ! -d $(rustc --print sysroot)/lib/rustlib/$AARCH64_TARGET ]]; then
        rustc=$DEBIAN_RUST/rustc
        [[ -x $rustc ]] || unpack_debian_rust
    fi
    RUSTC=$rustc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS=$INIT_RUSTFLAGS \
        cargo build --locked --profile init --target "$AARCH64_TARGET" --package node-initramfs
}

# Debian's Rust and rustup conflict, so it is not installed but unpacked, in a place of its own.
# It is complete with its last file, the script that calls it.
unpack_debian_rust() {
    local debs=$DEBIAN_RUST/debs root=$DEBIAN_RUST/root version deb
    local packages=(rustc-web)
    rm -rf "$DEBIAN_RUST"
    mkdir -p "$debs" "$DEBIAN_RUST/apt/lists/partial"
    mapfile -t -O 1 packages < <(libraries_not_installed rustc-web)
    echo "unpacking Debian's Rust: ${packages[*]}"
    pushd "$debs" >/dev/null
    apt-get --quiet=2 -o APT::Sandbox::User=root download "${packages[@]}"
    version=$(dpkg-deb --field rustc-web_*.deb Version)
    apt_arm64 update
    apt_arm64 download "libstd-rust-web-dev=$version"
    popd >/dev/null
    for deb in "$debs"/*.deb; do
        dpkg-deb --extract "$deb" "$root"
    done
    rm -r "$debs"
    cat >"$root/rustc" <<'EOF'
#!/bin/sh
root=${0%/*}/root
export LD_LIBRARY_PATH="$root/usr/lib/x86_64-linux-gnu"
exec "$root/usr/bin/rustc" --sysroot "$root/usr" "$@"
EOF
    chmod +x "$root/rustc"
    mv "$root/rustc" "$DEBIAN_RUST/rustc"
}

# libraries_not_installed PACKAGE: those that it needs, directly or not.
libraries_not_installed() {
    apt-cache depends --recurse --important --no-conflicts --no-breaks --no-replaces "$1" |
        grep '^lib[^:]*$' |
        while read -r package; do
            if [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
                echo "$package"
            fi
        done
}

# apt_arm64 ARGUMENTS...: apt-get for arm64 packages, with lists of its own, so that this
# machine's dpkg need not know that architecture.
apt_arm64() {
    local state=$DEBIAN_RUST/apt
    apt-get --quiet=2 -o APT::Sandbox::User=root \
        -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
        -o Dir::State="$state" -o Dir::State::status=/dev/null -o Dir::Cache="$state" "$@"
}
