//! Columns of networks that have one of a few words.

/// What bootd does on a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is the DHCP server.
    #[default]
    Full,
    /// It gives boot information only; addresses come from another DHCP server.
    Proxy,
    /// It answers nobody.
    Off,
}

/// Who is answered that speaks BOOTP without DHCP (RFC 951).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Bootp {
    /// Nobody.
    Off,
    /// Nodes with a reserved address.
    #[default]
    Reserved,
    /// Everybody: those without a reservation get an address of the pool, for good.
    Dynamic,
}

/// How boot images are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootBy {
    /// By TFTP.
    Tftp,
    /// By HTTP.
    Http,
}

/// An iPXE program for UEFI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UefiLoader {
    /// `ipxe.efi`, with drivers of its own.
    Ipxe,
    /// `snponly.efi`, which uses the firmware's driver.
    Snponly,
}

/// What happens to machines that are no node and that no rule takes in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unknown {
    /// They get an address and nothing to boot.
    #[default]
    Serve,
    /// They get no answer.
    Ignore,
}

/// The words that the tables have for an enum's values.
macro_rules! words {
    ($kind:ident: $($value:ident = $word:literal),+) => {
        impl $kind {
            /// All of them.
            pub(super) const ALL: &[$kind] = &[$($kind::$value),+];

            /// As the tables write it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $($kind::$value => $word),+
                }
            }
        }
    };
}

words!(Mode: Full = "full", Proxy = "proxy", Off = "off");
words!(Bootp: Off = "off", Reserved = "reserved", Dynamic = "dynamic");
words!(BootBy: Tftp = "tftp", Http = "http");
words!(UefiLoader: Ipxe = "ipxe.efi", Snponly = "snponly.efi");
words!(Unknown: Serve = "serve", Ignore = "ignore");
