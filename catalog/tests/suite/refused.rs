//! What `schema.sql` refuses of networks, locations, DHCP options and what a node is known by.

/// An edit and the sentence it is refused with.
pub(crate) const ON_NETWORKS: &[(&str, &str)] = &[
    (
        "INSERT INTO network (name, subnet) VALUES ('b', '10.0.0')",
        "CHECK constraint failed: subnet is like 10.0.0.0/24, with 1 to 30 network bits",
    ),
    (
        "INSERT INTO network (name, subnet) VALUES ('b', '10.1.0.0/0')",
        "CHECK constraint failed: subnet is like 10.0.0.0/24, with 1 to 30 network bits",
    ),
    (
        "INSERT INTO network (name, subnet) VALUES ('b', '10.1.0.0/31')",
        "CHECK constraint failed: subnet is like 10.0.0.0/24, with 1 to 30 network bits",
    ),
    (
        "INSERT INTO network (name, subnet) VALUES ('b', '10.1.0.0/032')",
        "CHECK constraint failed: subnet is like 10.0.0.0/24, with 1 to 30 network bits",
    ),
    (
        "INSERT INTO network (name, subnet) VALUES ('b', '10.1.0.256/8')",
        "CHECK constraint failed: subnet is like 10.0.0.0/24, with 1 to 30 network bits",
    ),
    (
        "INSERT INTO network (name, subnet) VALUES ('b', '10.01.0.0/16')",
        "CHECK constraint failed: subnet is like 10.0.0.0/24, with 1 to 30 network bits",
    ),
    (
        "INSERT INTO network (name, subnet) VALUES ('b', '10.1.0.0.0/16')",
        "CHECK constraint failed: subnet is like 10.0.0.0/24, with 1 to 30 network bits",
    ),
    (
        "INSERT INTO network (name, subnet) VALUES ('b', '10.1.0.0/1.6')",
        "CHECK constraint failed: subnet is like 10.0.0.0/24, with 1 to 30 network bits",
    ),
    (
        "INSERT INTO network (name, subnet) VALUES ('b', '999.0.0.0/8')",
        "CHECK constraint failed: subnet is like 10.0.0.0/24, with 1 to 30 network bits",
    ),
    (
        "INSERT INTO network (name, subnet) VALUES ('b', '10.1.0.1/16')",
        "subnet has host bits set: write its first address, as in 10.0.0.0/24",
    ),
    (
        "INSERT INTO network (name, subnet) VALUES ('b', '10.0.0.0/8')",
        "this subnet overlaps another network: see SELECT name, subnet FROM network",
    ),
    (
        "INSERT INTO network (name, subnet) VALUES ('b', '10.0.0.128/25')",
        "this subnet overlaps another network: see SELECT name, subnet FROM network",
    ),
    (
        "INSERT OR REPLACE INTO network (name, subnet) VALUES ('b', '10.1.0.0/16'); UPDATE network SET subnet = '10.0.0.0/22' WHERE name = 'b'",
        "this subnet overlaps another network: see SELECT name, subnet FROM network",
    ),
    (
        "UPDATE network SET pool_last = '10.0.1.9'",
        "pool_first and pool_last must be in the subnet, and neither its first nor its last address",
    ),
    (
        "UPDATE network SET pool_last = '10.0.0.255'",
        "pool_first and pool_last must be in the subnet, and neither its first nor its last address",
    ),
    (
        "UPDATE network SET pool_first = '10.0.0.201'",
        "pool_first comes after pool_last: swap them",
    ),
    (
        "UPDATE network SET subnet = '10.9.0.0/24'",
        "pool_first and pool_last must be in the subnet, and neither its first nor its last address",
    ),
    (
        "UPDATE network SET router = '10.0.0.0'",
        "router must be in the subnet, and neither its first nor its last address",
    ),
    (
        "UPDATE network SET router = '10.0.0.256'",
        "CHECK constraint failed: router is an IPv4 address",
    ),
    (
        "UPDATE network SET server = '10.0.0'",
        "CHECK constraint failed: server is an IPv4 address",
    ),
    (
        "UPDATE network SET pool_first = '10.0.0.x'",
        "CHECK constraint failed: pool_first is an IPv4 address",
    ),
    (
        "UPDATE network SET dns = '10.0.0.1;10.0.0.2'",
        "CHECK constraint failed: dns is IPv4 addresses separated by commas",
    ),
    (
        "UPDATE network SET dns = '10.0.0.1 10.0.0.2'",
        "CHECK constraint failed: dns is IPv4 addresses separated by commas",
    ),
    (
        "UPDATE network SET dns = '10.0.0.1, 10.0.0'",
        "dns is IPv4 addresses separated by commas, such as 10.0.0.2, 10.0.0.3",
    ),
    (
        "UPDATE network SET dns = '10.0.0.300'",
        "dns is IPv4 addresses separated by commas, such as 10.0.0.2, 10.0.0.3",
    ),
    (
        "UPDATE network SET mode = 'on'",
        "CHECK constraint failed: mode is full, proxy or off",
    ),
    (
        "UPDATE network SET bootp = 'yes'",
        "CHECK constraint failed: bootp is off, reserved or dynamic",
    ),
    (
        "UPDATE network SET probe = 2",
        "CHECK constraint failed: probe is 0 or 1",
    ),
    (
        "UPDATE network SET boot_by = 'nfs'",
        "CHECK constraint failed: boot_by is tftp or http",
    ),
    (
        "UPDATE network SET uefi_loader = 'ipxe'",
        "CHECK constraint failed: uefi_loader is ipxe.efi or snponly.efi, or NULL for none",
    ),
    (
        "UPDATE network SET unknown = 'hold'",
        "CHECK constraint failed: unknown is serve or ignore",
    ),
    (
        "UPDATE class SET lease_seconds = 59",
        "CHECK constraint failed: lease_seconds is from 60 to 31536000 (a year)",
    ),
    (
        "UPDATE class SET boot_by = 'pxe'",
        "CHECK constraint failed: boot_by is tftp or http",
    ),
    (
        "UPDATE node SET boot_by = 'pxe'",
        "CHECK constraint failed: boot_by is tftp or http",
    ),
    (
        "UPDATE node SET ip = '10.0.0.256'",
        "CHECK constraint failed: ip is an IPv4 address such as 10.0.0.7",
    ),
    (
        "UPDATE rule SET network = 'wan'",
        "no network has this name: see SELECT name FROM network",
    ),
    (
        "INSERT INTO rule (name, class, network) VALUES ('r', 'web', 'wan')",
        "no network has this name: see SELECT name FROM network",
    ),
    (
        "UPDATE rule SET relay = '10.0.0'",
        "CHECK constraint failed: relay is an IPv4 address such as 10.0.0.7",
    ),
    (
        "UPDATE rule SET circuit = ''",
        "CHECK constraint failed: circuit is a text, or NULL for any",
    ),
    (
        "UPDATE rule SET remote = ''",
        "CHECK constraint failed: remote is a text, or NULL for any",
    ),
    (
        "UPDATE rule SET vendor_class = ''",
        "CHECK constraint failed: vendor_class is a text, or NULL for any",
    ),
    (
        "UPDATE rule SET serial = ''",
        "CHECK constraint failed: serial is a text, or NULL for any",
    ),
    (
        "UPDATE rule SET chassis = ''",
        "CHECK constraint failed: chassis is a text, or NULL for any",
    ),
    (
        "UPDATE rule SET slot = ''",
        "CHECK constraint failed: slot is a text, or NULL for any",
    ),
    (
        "UPDATE rule SET network = 'lan'; DELETE FROM network",
        "a rule still names this network: delete the rule first, or give it another network",
    ),
    (
        "UPDATE node SET uuid = '123e4567-e89b-12d3-a456-426614174000', ip = '10.0.0.7', public_key = printf('%064d', 0); INSERT INTO node (name, uuid, class) SELECT 'n2', uuid, class FROM node",
        "another node has this uuid: a machine is one node, see SELECT name, uuid FROM node",
    ),
    (
        "UPDATE node SET ip = '10.0.0.7'; INSERT INTO node (name, mac, ip, class) VALUES ('n2', '52:54:00:00:00:02', '10.0.0.7', 'web')",
        "another node has this ip: an address is reserved for one node, see SELECT name, ip FROM node",
    ),
    (
        "UPDATE node SET public_key = printf('%064d', 0); INSERT INTO node (name, mac, class) VALUES ('n2', '52:54:00:00:00:02', 'web'); UPDATE node SET public_key = printf('%064d', 0)",
        "another node has this public_key: a key belongs to one node, see SELECT name, public_key FROM node",
    ),
    (
        "INSERT INTO node (name, mac, class) VALUES ('n2', '52:54:00:00:00:02', 'web'); UPDATE node SET mac = '52:54:00:00:00:01' WHERE name = 'n2'",
        "another node has this mac: a card belongs to one node, see SELECT name, mac FROM node",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'wan', 42, 'ip', '10.0.0.2', 0)",
        "no network has this name (owner): see SELECT name FROM network",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('class', 'lan', 42, 'ip', '10.0.0.2', 0)",
        "no class has this name (owner): see SELECT name FROM class",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('node', 'lan', 42, 'ip', '10.0.0.2', 0)",
        "no node has this name (owner): see SELECT name FROM node",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('all', 'lan', 42, 'ip', '10.0.0.2', 0)",
        "CHECK constraint failed: scope is network, class or node",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 42, 'ip', '10.0.0.2', 0); UPDATE dhcp_option SET owner = 'wan'",
        "no network has this name (owner): see SELECT name FROM network",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 0, 'u8', '1', 0)",
        "CHECK constraint failed: code is an option number from 1 to 254",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 255, 'u8', '1', 0)",
        "CHECK constraint failed: code is an option number from 1 to 254",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 50, 'ip', '10.0.0.9', 0)",
        "CHECK constraint failed: option 50 is the client's: a machine's own address is node.ip",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 51, 'u32', '60', 0)",
        "CHECK constraint failed: option 51 is the lease time: set network.lease_seconds or class.lease_seconds instead",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 52, 'u8', '1', 0)",
        "CHECK constraint failed: option 52 tells where options stand in the packet: bootd sets it itself",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 53, 'u8', '1', 0)",
        "CHECK constraint failed: option 53 is the kind of a DHCP message: bootd sets it itself",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 54, 'ip', '10.0.0.9', 0)",
        "CHECK constraint failed: option 54 is the server's address: set network.server instead",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 55, 'hex', '01', 0)",
        "CHECK constraint failed: option 55 is the client's: it lists what it asks for; to send more, set always = 1",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 57, 'u16', '576', 0)",
        "CHECK constraint failed: option 57 is the client's: it tells how large an answer may be",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 58, 'u32', '60', 0)",
        "CHECK constraint failed: options 58 and 59 follow from the lease time: set network.lease_seconds or class.lease_seconds instead",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 59, 'u32', '60', 0)",
        "CHECK constraint failed: options 58 and 59 follow from the lease time: set network.lease_seconds or class.lease_seconds instead",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 61, 'hex', '01', 0)",
        "CHECK constraint failed: option 61 is the client's: it is given back as it came",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 82, 'hex', '01', 0)",
        "CHECK constraint failed: option 82 is the relay's: it is given back as it came",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 42, 'ipv4', '10.0.0.9', 0)",
        "CHECK constraint failed: type is ip, text, u8, u16, u32 or hex",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 42, 'ip', '', 0)",
        "CHECK constraint failed: value is IPv4 addresses, separated by commas",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 42, 'ip', '10.0.0.9 10.0.0.8', 0)",
        "CHECK constraint failed: value is IPv4 addresses, separated by commas",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 42, 'ip', '10.0.0.9,10.0.0.8.7', 0)",
        "value is 1 to 63 IPv4 addresses, separated by commas",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 42, 'ip', '10.0.0.256', 0)",
        "value is 1 to 63 IPv4 addresses, separated by commas",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 42, 'ip', substr(replace(printf('%64s', ''), ' ', ',10.0.0.1'), 2), 0)",
        "value is 1 to 63 IPv4 addresses, separated by commas",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 23, 'u8', '64,', 0)",
        "CHECK constraint failed: value is numbers, separated by commas",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 23, 'u8', '-1', 0)",
        "CHECK constraint failed: value is numbers, separated by commas",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 23, 'u8', '1,256', 0)",
        "a number is too large for this type: u8 goes to 255, u16 to 65535, u32 to 4294967295",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 26, 'u16', '65536', 0)",
        "a number is too large for this type: u8 goes to 255, u16 to 65535, u32 to 4294967295",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 24, 'u32', '4294967296', 0)",
        "a number is too large for this type: u8 goes to 255, u16 to 65535, u32 to 4294967295",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 25, 'u16', substr(replace(printf('%128s', ''), ' ', ',1'), 2), 0)",
        "value is longer than the 255 bytes of an option: give fewer numbers",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 15, 'text', '', 0)",
        "CHECK constraint failed: value is a text of 1 to 255 bytes",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 15, 'text', printf('%256s', 'x'), 0)",
        "CHECK constraint failed: value is a text of 1 to 255 bytes",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 43, 'hex', '010', 0)",
        "CHECK constraint failed: value is 1 to 255 pairs of hexadecimal digits, with nothing between them",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 43, 'hex', '01:02', 0)",
        "CHECK constraint failed: value is 1 to 255 pairs of hexadecimal digits, with nothing between them",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 43, 'hex', '', 0)",
        "CHECK constraint failed: value is 1 to 255 pairs of hexadecimal digits, with nothing between them",
    ),
    (
        "INSERT INTO dhcp_option VALUES ('network', 'lan', 42, 'ip', '10.0.0.2', 2)",
        "CHECK constraint failed: always is 0 or 1",
    ),
];
