//! Columns of networks that have one of a few words.

use bootd_protocol::boot_choice::{BootBy, UefiLoader};
use bootd_protocol::dhcp::server::{Bootp, Mode};

/// A value that the tables write as one of a few words.
pub trait Word: Copy + 'static {
    /// All values.
    const ALL: &'static [Self];

    /// As the tables write it.
    fn name(self) -> &'static str;
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
        impl Word for $kind {
            const ALL: &'static [$kind] = &[$($kind::$value),+];

            fn name(self) -> &'static str {
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
