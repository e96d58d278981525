//! What the catalog says of networks, locations and DHCP options.

use crate::common::{catalog, mac, sql};
use catalog::identify::{Identity, Match, columns, location_text, match_node, passed};
use catalog::snapshot::{BootBy, Bootp, DhcpOption, Mode, UefiLoader, Unknown};

fn option(code: u8, bytes: &[u8], always: bool) -> DhcpOption {
    DhcpOption {
        code,
        bytes: bytes.to_vec(),
        always,
    }
}

fn machine(last: u8) -> Identity {
    Identity {
        mac: Some(mac(last).parse().unwrap()),
        ..Identity::default()
    }
}

#[test]
fn rules_go_by_where_a_machine_sits() {
    let (_dir, catalog) = catalog();
    sql(
        &catalog,
        "DELETE FROM rule;
         INSERT INTO rule (name, priority, class, relay, circuit)
             VALUES ('port', 1, 'web', '10.7.0.1', 'ge-0/0/*');
         INSERT INTO rule (name, priority, class, remote) VALUES ('chassis', 2, 'idle', '0x0006*');
         INSERT INTO rule (name, priority, class, vendor_class)
             VALUES ('http', 3, 'web', 'HTTPClient*');
         INSERT INTO rule (name, priority, class, network) VALUES ('lan', 4, 'web', 'lan');",
    );
    let snapshot = catalog.snapshot().unwrap();
    let find = |identity: &Identity| match match_node(&snapshot, identity) {
        Match::Rule { rule } => rule.name.clone(),
        Match::Node { node, .. } => node.name.clone(),
        Match::Perhaps { rule } => format!("perhaps {}", rule.name),
        Match::Nobody => "nobody".into(),
    };
    let nowhere = machine(9);
    assert_eq!(find(&nowhere), "nobody");
    let told = passed(&snapshot, &nowhere);
    assert_eq!(
        told.iter()
            .map(|it| it.because.as_str())
            .collect::<Vec<_>>(),
        [
            "relay should be 10.7.0.1, the machine does not say",
            "remote should be 0x0006*, the machine does not say",
            "vendor_class should be HTTPClient*, the machine does not say",
            "network should be lan, the machine does not say",
        ]
    );
    let port = Identity {
        network: Some("lan".into()),
        relay: Some("10.7.0.1".parse().unwrap()),
        circuit: Some(location_text(b"ge-0/0/7")),
        ..nowhere.clone()
    };
    assert_eq!(find(&port), "port");
    let matched = columns(&snapshot.rules[0], &port).map(|column| column.to_string());
    assert_eq!(
        matched.collect::<Vec<_>>(),
        [
            "relay is 10.7.0.1",
            "circuit is ge-0/0/7, which fits ge-0/0/*"
        ]
    );
    let other_port = Identity {
        circuit: Some("xe-0/0/7".into()),
        ..port.clone()
    };
    assert_eq!(find(&other_port), "lan");
    assert_eq!(
        passed(&snapshot, &other_port)[0].because,
        "circuit should be ge-0/0/*, the machine has xe-0/0/7"
    );
    let chassis = Identity {
        remote: Some(location_text(&[0, 6, 0x0c, 0xff])),
        ..nowhere.clone()
    };
    assert_eq!(chassis.remote.as_deref(), Some("0x00060cff"));
    assert_eq!(find(&chassis), "chassis");
    let http = Identity {
        vendor_class: Some("HTTPClient:Arch:00016".into()),
        ..nowhere
    };
    assert_eq!(find(&http), "http");

    // A network takes its new name along.
    sql(
        &catalog,
        "UPDATE network SET name = 'hall' WHERE name = 'lan'",
    );
    let rules = catalog.snapshot().unwrap().rules;
    assert_eq!(rules[3].network.as_deref(), Some("hall"));
}

#[test]
fn networks_say_what_dhcp_does() {
    let (_dir, catalog) = catalog();
    sql(
        &catalog,
        "UPDATE network SET mode = 'proxy', bootp = 'dynamic', probe = 0, boot_by = 'http',
             uefi_loader = 'snponly.efi', unknown = 'ignore';
         INSERT INTO network (name, subnet) VALUES ('wan', '10.9.0.0/16');
         INSERT INTO dhcp_option VALUES
             ('network', 'lan', 42, 'ip', '10.0.0.2, 10.0.0.3', 1),
             ('network', 'lan', 15, 'text', 'lan.example', 0);",
    );
    let snapshot = catalog.snapshot().unwrap();
    assert_eq!(snapshot.problems, []);
    let [lan, wan] = &snapshot.networks[..] else {
        panic!("two networks");
    };
    assert_eq!(
        (
            lan.mode,
            lan.bootp,
            lan.probe,
            lan.boot_by,
            lan.uefi_loader,
            lan.unknown
        ),
        (
            Mode::Proxy,
            Bootp::Dynamic,
            false,
            Some(BootBy::Http),
            Some(UefiLoader::Snponly),
            Unknown::Ignore
        )
    );
    assert_eq!(
        lan.options,
        [
            option(15, b"lan.example", false),
            option(42, &[10, 0, 0, 2, 10, 0, 0, 3], true)
        ]
    );
    assert_eq!(
        (
            wan.mode,
            wan.bootp,
            wan.probe,
            wan.boot_by,
            wan.uefi_loader,
            wan.unknown
        ),
        (
            Mode::Full,
            Bootp::Reserved,
            true,
            None,
            None,
            Unknown::Serve
        )
    );
    assert_eq!(wan.options, []);
}

#[test]
fn classes_and_nodes_say_what_dhcp_does() {
    let (_dir, catalog) = catalog();
    sql(
        &catalog,
        "UPDATE class SET lease_seconds = 60, boot_by = 'tftp' WHERE name = 'web';
         UPDATE node SET boot_by = 'http';
         INSERT INTO dhcp_option VALUES
             ('class', 'web', 26, 'u16', '9000', 0), ('class', 'web', 24, 'u32', '1,4294967295', 0),
             ('node', 'n1', 43, 'hex', '01fF', 0), ('node', 'n1', 23, 'u8', '64, 65', 1);",
    );
    let snapshot = catalog.snapshot().unwrap();
    assert_eq!(snapshot.problems, []);
    let web = &snapshot.classes["web"];
    assert_eq!(web.lease.map(|lease| lease.as_secs()), Some(60));
    assert_eq!(web.boot_by, Some(BootBy::Tftp));
    assert_eq!(
        web.options,
        [
            option(24, &[0, 0, 0, 1, 255, 255, 255, 255], false),
            option(26, &[0x23, 0x28], false)
        ]
    );
    assert_eq!(snapshot.classes["idle"].options, []);
    let node = snapshot.node("n1").unwrap();
    assert_eq!(node.boot_by, Some(BootBy::Http));
    assert_eq!(
        node.options,
        [option(23, &[64, 65], true), option(43, &[1, 0xff], false)]
    );
}

#[test]
fn a_network_is_found_by_address_and_by_name() {
    let (_dir, catalog) = catalog();
    sql(
        &catalog,
        "INSERT INTO network (name, subnet) VALUES ('wan', '10.9.0.0/16'), ('a', '10.4.0.0/30');",
    );
    let snapshot = catalog.snapshot().unwrap();
    let find = |address: &str| {
        let network = snapshot.network_of(address.parse().unwrap());
        network.map(|network| network.name.as_str())
    };
    for (address, network) in [
        ("9.255.255.255", None),
        ("10.0.0.0", Some("lan")),
        ("10.0.0.255", Some("lan")),
        ("10.0.1.0", None),
        ("10.4.0.3", Some("a")),
        ("10.4.0.4", None),
        ("10.9.255.255", Some("wan")),
        ("10.10.0.0", None),
    ] {
        assert_eq!(find(address), network, "{address}");
    }
    assert_eq!(snapshot.network("wan").unwrap().subnet.prefix, 16);
    assert_eq!(snapshot.network("man"), None);
}

#[test]
fn options_follow_their_owners_name_and_go_with_it() {
    let (_dir, catalog) = catalog();
    sql(
        &catalog,
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 23, 'u8', '1', 0),
             ('class', 'web', 23, 'u8', '2', 0), ('node', 'n1', 23, 'u8', '3', 0);
         UPDATE network SET name = 'hall' WHERE name = 'lan';
         UPDATE class SET name = 'www' WHERE name = 'web'; UPDATE node SET name = 'm1' WHERE name = 'n1';",
    );
    let renamed = catalog.snapshot().unwrap();
    assert_eq!(renamed.problems, []);
    assert_eq!(renamed.network("hall").unwrap().options[0].bytes, [1]);
    assert_eq!(renamed.classes["www"].options[0].bytes, [2]);
    assert_eq!(renamed.node("m1").unwrap().options[0].bytes, [3]);
    sql(
        &catalog,
        "DELETE FROM rule; DELETE FROM node; DELETE FROM network; DELETE FROM class;",
    );
    let db = rusqlite::Connection::open(catalog.db_path()).unwrap();
    let count = "SELECT count(*) FROM dhcp_option";
    let left: i64 = db.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[test]
fn reservations_that_cannot_be_given_are_told_and_their_nodes_stay() {
    let (_dir, catalog) = catalog();
    sql(
        &catalog,
        "UPDATE network SET router = '10.0.0.1', server = '10.0.0.2';
         INSERT INTO node (name, mac, class, ip) VALUES
             ('a', '52:54:00:00:01:01', 'web', '10.9.0.7'), ('b', '52:54:00:00:01:02', 'web', '10.0.0.1'),
             ('c', '52:54:00:00:01:03', 'web', '10.0.0.2'), ('d', '52:54:00:00:01:04', 'web', '10.0.0.255'),
             ('e', '52:54:00:00:01:05', 'web', '10.0.0.7');",
    );
    let snapshot = catalog.snapshot().unwrap();
    let told: Vec<String> = snapshot.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "node a: its address 10.9.0.7 is in none of the networks, so it is never given",
            "node b: its address 10.0.0.1 is the router's in network lan, so it is never given",
            "node c: its address 10.0.0.2 is the server's in network lan, so it is never given",
            "node d: its address 10.0.0.255 is no machine's address in network lan, so it is never given",
        ]
    );
    assert_eq!(snapshot.nodes.len(), 6);
}
