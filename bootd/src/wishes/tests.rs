//! What the protocols hear of machines whose class only their init can tell.

use bootd_protocol::dhcp::server::Wishes as _;
use bootd_protocol::digest::Digest;
use bootd_protocol::identity::SystemUuid;
use bootd_protocol::smbios::Smbios;
use bootd_protocol::verify::key::SecretKey;
use bootd_protocol::verify::master::Wishes as _;
use catalog::Catalog;
use catalog::state::StateStore;
use rusqlite::Connection;

use super::*;
use crate::desired::Desired;
use crate::recorder;

/// Classes `x86` and `arm`, each with a boot image for its processors.
struct World {
    desired: Desired,
    presence: Presence,
    images: [Digest; 2],
    _dir: tempfile::TempDir,
}

impl World {
    fn new(rules: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::create(dir.path()).unwrap();
        let images = [Digest::of(b"x86"), Digest::of(b"arm")];
        let [x86, arm] = images;
        let db = Connection::open(catalog.db_path()).unwrap();
        db.execute_batch(&format!(
            "INSERT INTO blob VALUES ('{x86}', 1), ('{arm}', 1);
             INSERT INTO boot_image VALUES ('i', '1', 'x86_64', '{x86}', '{x86}', NULL, NULL),
                 ('i', '1', 'aarch64', '{arm}', '{arm}', NULL, NULL);
             INSERT INTO class (name, key_policy) VALUES ('x86', 'open'), ('arm', 'open');
             INSERT INTO class_image VALUES ('x86', 'x86_64', 'i', '1'), ('arm', 'aarch64', 'i', '1');
             {rules}"
        ))
        .unwrap();
        let state = StateStore::open(&catalog.state_path()).unwrap();
        let (recorder, _) = recorder::recorder(state);
        World {
            desired: Desired::load(&catalog).unwrap(),
            presence: Presence::new(Vec::new(), recorder),
            images,
            _dir: dir,
        }
    }

    fn offer(&self, kind: ClientKind) -> Offer {
        let (view, locations) = (self.desired.view(), Locations::default());
        let wisher = Wisher {
            view: &view,
            presence: &self.presence,
            locations: &locations,
        };
        let client = Client {
            mac: MAC,
            uuid: None,
            kind,
            vendor_class: None,
            place: bootd_protocol::boot_choice::Place::default(),
        };
        let wish = wisher.wish(&client);
        assert!(!wish.known && wish.hostname.is_none());
        wish.offer
    }

    fn standing(&self, smbios: Smbios) -> Standing {
        let (view, locations) = (self.desired.view(), Locations::default());
        let wisher = Wisher {
            view: &view,
            presence: &self.presence,
            locations: &locations,
        };
        wisher.standing(&message::Identity {
            key: SecretKey::from_seed(&[1; 32]).public(),
            mac: MAC,
            uuid: SystemUuid([0; 16]),
            arch: Arch::X86_64,
            firmware: Firmware::Uefi,
            key_is_kept: false,
            smbios,
        })
    }
}

const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 9]);
const X86: ClientKind = ClientKind::UefiPxe(Arch::X86_64);
const ARM: ClientKind = ClientKind::UefiPxe(Arch::Aarch64);

fn slot(slot: &str) -> Smbios {
    Smbios {
        product: "Default string".into(),
        slot: slot.into(),
        ..Smbios::default()
    }
}

#[test]
fn a_machine_boots_to_say_what_it_is() {
    let world = World::new(
        "INSERT INTO rule (name, priority, class, slot) VALUES ('left', 1, 'x86', '1*');
         INSERT INTO rule (name, priority, class, slot) VALUES ('right', 2, 'arm', '2*');",
    );
    let [x86, arm] = world.images;
    let reason: Arc<str> = "rule left may take it in, once it has said what it is".into();
    let boots = |uki| Offer::Boot {
        uki,
        reason: Arc::clone(&reason),
    };
    assert_eq!(world.offer(X86), boots(x86));
    // What the first has no image for boots that of another rule.
    assert_eq!(world.offer(ARM), boots(arm));

    let Standing::Known(node) = world.standing(slot("11")) else {
        panic!("not taken in")
    };
    assert!(node.enrol && node.name == "node-000009", "{node:?}");
    let told = "no rule takes it in; rule left: slot should be 1*, the machine has 31; \
         rule right: slot should be 2*, the machine has 31";
    assert_eq!(
        world.standing(slot("31")),
        Standing::Ignored {
            reason: told.into()
        }
    );
}

#[test]
fn who_does_not_boot_is_a_stranger() {
    let world = World::new("INSERT INTO rule (name, class, slot) VALUES ('left', 'x86', '1*')");
    let reason = "no rule takes it in".into();
    assert_eq!(world.offer(ClientKind::Plain), Offer::None { reason });
}

#[test]
fn what_is_no_perhaps_is_as_it_was() {
    let world = World::new(
        "INSERT INTO rule (name, priority, class) VALUES ('all', 1, 'x86');
         INSERT INTO rule (name, priority, class, slot) VALUES ('late', 2, 'arm', '2*');",
    );
    let reason = "rule all takes it into class x86".into();
    let uki = world.images[0];
    assert_eq!(world.offer(X86), Offer::Boot { uki, reason });
}

#[test]
fn a_placeholder_is_no_product() {
    let world = World::new("INSERT INTO rule (name, class, product) VALUES ('any', 'x86', '*')");
    let told = "no rule takes it in; rule any: product should be *, the machine does not say";
    assert_eq!(
        world.standing(slot("1")),
        Standing::Ignored {
            reason: told.into()
        }
    );
}

#[test]
fn a_perhaps_that_holds_or_ignores_boots_as_well() {
    let world = World::new(
        "INSERT INTO rule (name, priority, action, slot) VALUES ('not', 1, 'ignore', '1');
         INSERT INTO rule (name, priority, action, class, slot)
             VALUES ('wait', 2, 'hold', 'x86', '2');",
    );
    let reason = "rule wait may take it in, once it has said what it is".into();
    let uki = world.images[0];
    assert_eq!(world.offer(X86), Offer::Boot { uki, reason });
    assert_eq!(
        world.standing(slot("1")),
        Standing::Ignored {
            reason: "rule not ignores it".into()
        }
    );
    assert_eq!(
        world.standing(slot("2")),
        Standing::Held {
            name: None,
            key: None,
            enrol: true,
            reason: "rule wait holds new machines".into()
        }
    );
}
