//! Where machines were when DHCP last heard of them: the verify protocol and HTTP know a machine
//! by its hardware address and must choose by the same rules as DHCP did.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use bootd_protocol::boot_choice::{Client, ClientKind, Place};
use bootd_protocol::identity::Mac;

/// So many different vendor classes are kept once for all who say them.
const MAX_VENDOR_CLASSES: usize = 1000;
/// The place of so many machines is kept: more than there are leases on the networks that one
/// master serves. A flood of made-up ones takes no more memory than they.
const MAX_MACHINES: usize = 200_000;

/// What DHCP heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// Where the machine is.
    pub place: Place,
    /// What its firmware is, if that spoke since bootd started.
    pub kind: Option<ClientKind>,
    /// Its vendor class, likewise.
    pub vendor_class: Option<Arc<str>>,
}

/// Machines that boot. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Locations(Arc<RwLock<Machines>>);

#[derive(Debug, Default)]
struct Machines {
    heard: HashMap<Mac, Heard>,
    /// Ten thousand cards say the same few words.
    vendor_classes: HashSet<Arc<str>>,
}

impl Machines {
    /// `None` where there are too many: somebody makes them up.
    fn vendor_class(&mut self, words: &str) -> Option<Arc<str>> {
        if let Some(known) = self.vendor_classes.get(words) {
            return Some(Arc::clone(known));
        }
        let new: Arc<str> = words.into();
        let room = self.vendor_classes.len() < MAX_VENDOR_CLASSES;
        room.then(|| {
            self.vendor_classes.insert(Arc::clone(&new));
            new
        })
    }
}

impl Locations {
    /// Continues from the places that leases tell.
    #[must_use]
    pub fn restored(places: impl IntoIterator<Item = (Mac, Place)>) -> Self {
        let heard = |place| Heard {
            place,
            ..Heard::default()
        };
        let places = places.into_iter().map(|(mac, place)| (mac, heard(place)));
        let machines = Machines {
            heard: places.collect(),
            ..Machines::default()
        };
        Locations(Arc::new(RwLock::new(machines)))
    }

    /// A machine was given an address or a boot file.
    pub fn saw(&self, client: &Client) {
        let mut machines = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if machines.heard.len() >= MAX_MACHINES && !machines.heard.contains_key(&client.mac) {
            return;
        }
        let place = client.place.clone();
        // Rules go by what the firmware says, not by what our own init says after it.
        let heard = if matches!(client.kind, ClientKind::Init { .. }) {
            let before = machines.heard.remove(&client.mac);
            Heard {
                place,
                ..before.unwrap_or_default()
            }
        } else {
            let words = client.vendor_class.as_deref();
            Heard {
                place,
                kind: Some(client.kind),
                vendor_class: words.and_then(|it| machines.vendor_class(it)),
            }
        };
        machines.heard.insert(client.mac, heard);
    }

    /// Where it was last.
    #[must_use]
    pub fn of(&self, mac: Mac) -> Option<Heard> {
        let machines = self.0.read().unwrap_or_else(PoisonError::into_inner);
        machines.heard.get(&mac).cloned()
    }
}
