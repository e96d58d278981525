//! Where machines were when DHCP last heard of them: the verify protocol and HTTP know a machine
//! by its hardware address and must choose by the same rules as DHCP did.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use bootd_protocol::boot_choice::{Client, ClientKind, Place};
use bootd_protocol::identity::Mac;

/// What DHCP heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Where the machine is.
    pub place: Place,
    /// Its vendor class, if it was its firmware that spoke.
    pub vendor_class: Option<String>,
}

/// Machines that boot. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Locations(Arc<RwLock<HashMap<Mac, Heard>>>);

impl Locations {
    /// Continues from the places that leases tell.
    #[must_use]
    pub fn restored(places: impl IntoIterator<Item = (Mac, Place)>) -> Self {
        let heard = |place| Heard {
            place,
            vendor_class: None,
        };
        let places = places.into_iter().map(|(mac, place)| (mac, heard(place)));
        Locations(Arc::new(RwLock::new(places.collect())))
    }

    /// A machine was given an address or a boot file.
    pub fn saw(&self, client: &Client) {
        let mut machines = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let heard = machines.entry(client.mac).or_insert_with(|| Heard {
            place: Place::default(),
            vendor_class: None,
        });
        heard.place.clone_from(&client.place);
        // Rules go by what the firmware says, not by what our own init says after it.
        if !matches!(client.kind, ClientKind::Init { .. }) {
            heard.vendor_class.clone_from(&client.vendor_class);
        }
    }

    /// Where it was last.
    #[must_use]
    pub fn of(&self, mac: Mac) -> Option<Heard> {
        let machines = self.0.read().unwrap_or_else(PoisonError::into_inner);
        machines.get(&mac).cloned()
    }
}
