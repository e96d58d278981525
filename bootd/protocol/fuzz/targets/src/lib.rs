//! Whatever the bytes: one function for each reader of foreign bytes, with what must hold.
//!
//! A [`Target`] reads an input as packets, a document or a disk, and panics if a promise is
//! broken: a reader panics, a machine answers with more than its protocol allows or to somebody
//! who has not asked, memory grows out of proportion. `cargo fuzz` searches for such inputs
//! (`../fuzz_targets`), `tests/replay.rs` tries those of `../seeds` and their neighbours.
//!
//! | module | whose bytes |
//! |---|---|
//! | `dhcp` | clients, relays and servers on a network |
//! | `tftp` | clients and servers of TFTP |
//! | `verify` | nodes and masters, keys of theirs included |
//! | `http` | HTTP clients of bootd, the HTTP server of init |
//! | `document` | manifests, boot images, module indexes, what board and kernel say |
//! | `disk` | a disk that anybody may have written |
//! | `composite` | composites, signatures, keys, release files |
//! | `deb` | Debian packages, and the ELF files in them |
//! | `elf` | modules of packages: programs, libraries, archives |

mod composite;
mod deb;
mod dhcp;
mod disk;
mod document;
mod elf;
mod http;
mod input;
mod memory;
mod tftp;
mod verify;

/// A reader of foreign bytes, or a machine with its packets.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of its seeds' directory and of its fuzzer.
    pub name: &'static str,
    run: fn(&[u8]),
    /// Bytes of memory that it may take for an empty input.
    base: usize,
}

/// Bytes of memory that a target may take for each byte of its input, beside its base.
const PER_BYTE: usize = 64;

impl Target {
    /// Tries an input.
    ///
    /// # Panics
    /// A promise is broken.
    pub fn check(&self, data: &[u8]) {
        let most = memory::most_during(|| (self.run)(data));
        let allowed = self.base + PER_BYTE * data.len();
        assert!(
            most <= allowed,
            "{} took {most} bytes of memory for {} bytes of input, {allowed} are allowed",
            self.name,
            data.len()
        );
    }
}

macro_rules! targets {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $run:path, $base:expr;)*) => {
        $($(#[$doc])* pub const $name: Target = Target {
            name: $text,
            run: $run,
            base: $base,
        };)*

        /// All of them.
        pub const TARGETS: &[Target] = &[$($name),*];
    };
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

targets! {
    /// One DHCP packet, read and answered.
    DHCP_REQUEST = "dhcp_request", dhcp::request, 64 * KIB;
    /// Option 82, and its echo.
    DHCP_RELAY = "dhcp_relay", dhcp::relay, 64 * KIB;
    /// The DHCP server's machine under a sequence of packets.
    DHCP_SERVER = "dhcp_server", dhcp::server, 256 * KIB;
    /// The DHCP client's machine under a sequence of packets.
    DHCP_CLIENT = "dhcp_client", dhcp::client, 64 * KIB;
    /// The first packet of a TFTP client.
    TFTP_REQUEST = "tftp_request", tftp::request, 64 * KIB;
    /// The name of a configuration, and the command line that it carries.
    BOOT_CONFIG = "boot_config", tftp::boot_config, 64 * KIB;
    /// A text file, as TFTP sends it.
    NETASCII = "netascii", tftp::netascii, 16 * KIB;
    /// The TFTP server's machine under a sequence of packets.
    TFTP_TRANSFER = "tftp_transfer", tftp::transfer, 64 * KIB;
    /// The TFTP client's machine under a sequence of packets.
    TFTP_FETCH = "tftp_fetch", tftp::fetch, 64 * KIB;
    /// The master's machine of the verify protocol under a sequence of datagrams.
    VERIFY_MASTER = "verify_master", verify::master, 64 * KIB;
    /// The node's machine of the verify protocol under a sequence of datagrams.
    VERIFY_NODE = "verify_node", verify::node, 64 * KIB;
    /// The head of a request.
    HTTP_REQUEST = "http_request", http::request, 64 * KIB;
    /// The `Range` header of a request.
    HTTP_RANGE = "http_range", http::range, 16 * KIB;
    /// The query of iPXE for its script.
    IPXE_QUERY = "ipxe_query", http::ipxe_query, 16 * KIB;
    /// The head of an answer, as init reads it.
    HTTP_HEAD = "http_head", http::head, 64 * KIB;
    /// A manifest.
    MANIFEST = "manifest", document::manifest, 64 * KIB;
    /// The sections of a boot image.
    UKI = "uki", document::uki, 16 * KIB;
    /// The stub that a boot image is made from.
    UKI_STUB = "uki_stub", document::uki_stub, 2 * MIB;
    /// The index of kernel modules, and what it says to load.
    MODULE_INDEX = "module_index", document::module_index, 64 * KIB;
    /// What a board says of itself.
    SMBIOS = "smbios", document::smbios, 16 * KIB;
    /// An answer of rtnetlink.
    RTNETLINK = "rtnetlink", document::rtnetlink, 16 * KIB;
    /// What is on a disk.
    DISK = "disk", disk::recognise, 8 * MIB;
    /// A composite's archive and documents.
    COMPOSITE = "composite", composite::archive, 2 * MIB;
    /// A composite's description, rightly signed.
    DESCRIPTION = "description", composite::description, 2 * MIB;
    /// Signatures and keys.
    MINISIGN = "minisign", composite::minisign, 64 * KIB;
    /// The file that a composite is made from.
    RELEASE = "release", composite::release, 256 * KIB;
    /// A Debian package, and what a boot image takes from it.
    DEB = "deb", deb::package, 2 * MIB;
    /// A module of a package: what it says of itself, what it needs, its change signature.
    ELF = "elf", elf::module, 256 * KIB;
}
