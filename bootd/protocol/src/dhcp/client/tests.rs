use super::*;
use crate::dhcp::hint::MasterHint;
use crate::dhcp::packet::{Builder, Kind, Request, code};

const MAC: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const BOOTD: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 254);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 100);
const HINT: MasterHint = MasterHint {
    ip: BOOTD,
    verify_port: 4068,
    http_port: 4080,
};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn config() -> Config {
    Config {
        mac: MAC,
        uuid: None,
        machine: (Arch::X86_64, Firmware::Uefi),
    }
}

fn info(server: Ipv4Addr, obtained: Duration) -> LeaseInfo {
    LeaseInfo {
        address: ADDRESS,
        prefix_len: 24,
        router: None,
        dns: vec![],
        hostname: None,
        server,
        master: (server == BOOTD).then_some(HINT),
        obtained,
        renew_after: s(500),
        rebind_after: s(875),
        lease_time: s(1000),
    }
}

/// What the client does, with packets read.
#[derive(Debug, PartialEq)]
enum Done {
    /// Kind, `ciaddr`, option 50, option 54, broadcast flag, unicast to.
    Sent(
        Kind,
        Ipv4Addr,
        Option<Ipv4Addr>,
        Option<Ipv4Addr>,
        bool,
        Option<Ipv4Addr>,
    ),
    Configured(LeaseInfo),
    Deconfigured,
}

const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn inform() -> Done {
    Done::Sent(Kind::Inform, ADDRESS, None, None, false, None)
}

fn discover() -> Done {
    Done::Sent(Kind::Discover, NONE, None, None, true, None)
}

fn select(server: Ipv4Addr) -> Done {
    Done::Sent(Kind::Request, NONE, Some(ADDRESS), Some(server), true, None)
}

fn reboot() -> Done {
    Done::Sent(Kind::Request, NONE, Some(ADDRESS), None, true, None)
}

fn extend(to: Option<Ipv4Addr>) -> Done {
    Done::Sent(Kind::Request, ADDRESS, None, None, false, to)
}

struct Node {
    client: Client,
    last: Option<Request>,
    settled: Option<LeaseInfo>,
}

impl Node {
    fn new() -> Self {
        Node {
            client: Client::new(config(), 1, s(0)),
            last: None,
            settled: None,
        }
    }

    /// Bound by bootd to a lease of 1000 seconds, asked for at 0.
    fn bound() -> Self {
        let mut node = Node::new();
        assert_eq!(node.done(), [discover()]);
        assert_eq!(node.hear(s(0), AnswerKind::Offer, BOOTD), [select(BOOTD)]);
        let expected = [Done::Configured(info(BOOTD, s(0)))];
        assert_eq!(node.hear(s(0), AnswerKind::Ack, BOOTD), expected);
        node
    }

    fn done(&mut self) -> Vec<Done> {
        let mut done = Vec::new();
        while let Some(command) = self.client.next_command() {
            let (to, bytes) = match command {
                Command::SendBroadcast(bytes) => (None, bytes),
                Command::SendUnicast(to, bytes) => (Some(to), bytes),
                Command::Configure(lease) => {
                    done.push(Done::Configured(lease));
                    continue;
                }
                Command::Settled(lease) => {
                    self.settled = Some(lease);
                    continue;
                }
                Command::Deconfigure => {
                    done.push(Done::Deconfigured);
                    continue;
                }
            };
            let it = Request::parse(&bytes).unwrap();
            let broadcast = it.wants_broadcast();
            let (wanted, server) = (it.requested_ip, it.server_id);
            done.push(Done::Sent(
                it.kind, it.ciaddr, wanted, server, broadcast, to,
            ));
            self.last = Some(it);
        }
        done
    }

    fn wait(&mut self, now: Duration) -> Vec<Done> {
        self.client.handle_timeout(now);
        self.done()
    }

    /// Waits until the machine wants to be called; gives the time and what it does then.
    fn wake(&mut self) -> (Duration, Vec<Done>) {
        let now = self.client.poll_timeout().unwrap();
        assert_eq!(self.wait(now - Duration::from_nanos(1)), []);
        (now, self.wait(now))
    }

    /// An answer of `server` to the last question.
    fn hear(&mut self, now: Duration, kind: AnswerKind, server: Ipv4Addr) -> Vec<Done> {
        let answer = answer(kind, self.last.as_ref().unwrap(), server);
        self.client.handle_packet(&answer.build().bytes, now);
        self.done()
    }
}

fn answer(kind: AnswerKind, request: &Request, server: Ipv4Addr) -> Builder {
    let answer = Builder::answer(kind, request, server);
    if kind == AnswerKind::Nak {
        return answer;
    }
    let hint = if server == BOOTD {
        HINT.to_bytes()
    } else {
        vec![]
    };
    answer
        .yiaddr(ADDRESS)
        .option(code::SUBNET_MASK, [255, 255, 255, 0])
        .option(code::LEASE_SECONDS, 1000_u32.to_be_bytes())
        .option(code::VENDOR_OPTIONS, hint)
}

#[test]
fn says_all_of_itself() {
    let mut node = Node {
        client: Client::new(
            Config {
                uuid: "123e4567-e89b-12d3-a456-426614174000".parse().ok(),
                ..config()
            },
            1,
            s(0),
        ),
        last: None,
        settled: None,
    };
    node.done();
    let request = node.last.unwrap();
    let expected = Request {
        kind: Kind::Discover,
        xid: request.xid,
        secs: 0,
        flags: 0x8000,
        ciaddr: NONE,
        giaddr: NONE,
        mac: MAC,
        requested_ip: None,
        server_id: None,
        client_id: Some(vec![1, 2, 0, 0, 0, 0, 0xa]),
        max_message_size: Some(1500),
        parameters: vec![1, 3, 6, 12, 43, 51, 54, 58, 59],
        vendor_class: Some("bootd-node".into()),
        user_classes: vec![],
        architectures: vec![7],
        machine_id: "123e4567-e89b-12d3-a456-426614174000".parse().ok(),
        relay_agent: None,
        subnet_selection: None,
        has_cookie: true,
    };
    assert_eq!(request, expected);
}

#[test]
fn asks_with_growing_patience_in_one_transaction() {
    let mut node = Node::new();
    assert_eq!(node.done(), [discover()]);
    let xid = node.last.as_ref().unwrap().xid;
    let mut then = s(0);
    for expected in [1, 2, 4, 8, 16, 32, 64, 64] {
        let (now, done) = node.wake();
        assert_eq!(done, [discover()]);
        let waited = (now - then).as_secs_f64();
        assert!((waited - f64::from(expected)).abs() <= 1.0, "{waited}");
        then = now;
        let request = node.last.as_ref().unwrap();
        assert_eq!((request.xid, u64::from(request.secs)), (xid, now.as_secs()));
    }
}

#[test]
fn renews_then_rebinds_then_begins_anew() {
    let mut node = Node::bound();
    assert_eq!(node.wake(), (s(500), vec![extend(Some(BOOTD))]));
    let at = Duration::from_millis;
    assert_eq!(node.wake(), (at(687_500), vec![extend(Some(BOOTD))]));
    assert_eq!(node.wake(), (at(781_250), vec![extend(Some(BOOTD))]));
    // Not more than once a minute.
    assert_eq!(node.wake(), (at(841_250), vec![extend(Some(BOOTD))]));
    assert_eq!(node.wake(), (s(875), vec![extend(None)]));
    assert_eq!(node.wake(), (at(937_500), vec![extend(None)]));
    assert_eq!(node.wake(), (at(997_500), vec![extend(None)]));
    assert_eq!(node.wake(), (s(1000), vec![Done::Deconfigured, discover()]));
    assert_eq!(node.client.lease(), None);
}

#[test]
fn a_renewed_lease_counts_from_its_question() {
    let mut node = Node::bound();
    node.wake();
    let renewed = info(BOOTD, s(500));
    let done = node.hear(s(510), AnswerKind::Ack, BOOTD);
    assert_eq!(done, [Done::Configured(renewed.clone())]);
    assert_eq!(node.client.lease(), Some(&renewed));
    assert_eq!(node.client.poll_timeout(), Some(s(1000)));
}

#[test]
fn a_foreign_server_is_second_choice() {
    let mut node = Node::new();
    node.done();
    assert_eq!(node.hear(s(0), AnswerKind::Offer, ROUTER), []);
    assert_eq!(node.hear(s(0), AnswerKind::Offer, BOOTD), [select(BOOTD)]);
    // The one that was not chosen has no say.
    assert_eq!(node.hear(s(0), AnswerKind::Nak, ROUTER), []);
    assert_eq!(node.hear(s(0), AnswerKind::Ack, ROUTER), []);
    assert_eq!(node.client.ignored(), 2);

    let mut node = Node::new();
    node.done();
    node.hear(s(0), AnswerKind::Offer, ROUTER);
    let (now, done) = node.wake();
    assert_eq!(done, [select(ROUTER)]);
    let done = node.hear(now, AnswerKind::Ack, ROUTER);
    let lease = info(ROUTER, now);
    assert_eq!(done, [Done::Configured(lease), inform()]);
}

/// The lease is another server's; where the master is, a boot server beside it says.
#[test]
fn a_master_beside_the_server_is_asked_for() {
    let bound = || {
        let mut node = Node::new();
        node.done();
        node.hear(s(0), AnswerKind::Offer, ROUTER);
        let (now, _) = node.wake();
        assert_eq!(node.hear(now, AnswerKind::Ack, ROUTER).len(), 2);
        assert_eq!(node.settled, None);
        (node, now)
    };
    let (mut node, now) = bound();
    assert_eq!(
        node.hear(now, AnswerKind::Ack, ROUTER),
        [],
        "that one knows none"
    );
    assert_eq!(node.hear(now, AnswerKind::Ack, BOOTD), []);
    let settled = LeaseInfo {
        master: Some(HINT),
        ..info(ROUTER, now)
    };
    assert_eq!(node.settled.as_ref(), Some(&settled));
    // Renewed by the server that knows no master, it keeps the one it has.
    node.wake();
    let done = node.hear(settled.renew_at(), AnswerKind::Ack, ROUTER);
    let renewed = LeaseInfo {
        obtained: settled.renew_at(),
        ..settled
    };
    assert_eq!(done, [Done::Configured(renewed)]);

    // Nobody says anything: it lives without.
    let (mut node, now) = bound();
    assert_eq!(node.wake().1, [inform()]);
    assert_eq!(node.wake().1, []);
    assert_eq!(node.settled, Some(info(ROUTER, now)));
}

#[test]
fn gives_up_a_server_that_does_not_confirm() {
    let mut node = Node::new();
    node.done();
    node.hear(s(0), AnswerKind::Offer, BOOTD);
    for _ in 0..3 {
        assert_eq!(node.wake().1, [select(BOOTD)]);
    }
    assert_eq!(node.wake().1, [discover()]);
}

#[test]
fn a_refusal_takes_the_address_away() {
    let mut node = Node::bound();
    node.wake();
    let done = node.hear(s(500), AnswerKind::Nak, BOOTD);
    assert_eq!(done, [Done::Deconfigured]);
    assert_eq!(node.wake(), (s(501), vec![discover()]));
}

#[test]
fn a_conflict_is_declined() {
    let mut node = Node::bound();
    node.client.handle_conflict(s(1));
    let decline = Done::Sent(Kind::Decline, NONE, Some(ADDRESS), Some(BOOTD), false, None);
    assert_eq!(node.done(), [Done::Deconfigured, decline]);
    node.client.handle_conflict(s(2));
    assert_eq!(node.done(), []);
    assert_eq!(node.wake(), (s(11), vec![discover()]));
}

fn remembering(obtained: Duration, now: Duration) -> Node {
    Node {
        client: Client::with_remembered(config(), 1, info(BOOTD, obtained), now),
        last: None,
        settled: None,
    }
}

#[test]
fn asks_for_the_address_of_its_last_boot() {
    let mut node = remembering(s(0), s(100));
    assert_eq!(node.done(), [reboot()]);
    let done = node.hear(s(100), AnswerKind::Ack, BOOTD);
    assert_eq!(done, [Done::Configured(info(BOOTD, s(100)))]);

    let mut node = remembering(s(0), s(100));
    node.done();
    assert_eq!(node.hear(s(100), AnswerKind::Nak, ROUTER), []);
    assert_eq!(node.wake(), (s(101), vec![discover()]));
}

#[test]
fn uses_what_it_remembers_when_nobody_answers() {
    let mut node = remembering(s(0), s(100));
    assert_eq!(node.done(), [reboot()]);
    assert_eq!(node.wake().1, [reboot()]);
    let (now, done) = node.wake();
    assert!(now < s(104), "{now:?}");
    assert_eq!(done, [Done::Configured(info(BOOTD, s(0))), extend(None)]);
    let done = node.hear(now, AnswerKind::Ack, BOOTD);
    assert_eq!(done, [Done::Configured(info(BOOTD, now))]);

    let mut node = remembering(s(0), s(1000));
    assert_eq!(node.done(), [discover()], "the lease has ended");
}

#[test]
fn what_is_no_answer_changes_nothing() {
    let mut node = Node::new();
    node.done();
    let request = node.last.clone().unwrap();
    let other = |edit: fn(&mut Request)| {
        let mut request = request.clone();
        edit(&mut request);
        answer(AnswerKind::Offer, &request, BOOTD).build().bytes
    };
    let no_mask = Builder::answer(AnswerKind::Offer, &request, BOOTD)
        .yiaddr(ADDRESS)
        .option(code::LEASE_SECONDS, 1000_u32.to_be_bytes());
    let good = answer(AnswerKind::Offer, &request, BOOTD);
    let cases = [
        vec![],
        other(|it| it.xid ^= 1),
        other(|it| it.mac.0[5] ^= 1),
        no_mask.build().bytes,
        good.clone().yiaddr(NONE).build().bytes,
        answer(AnswerKind::Ack, &request, BOOTD).build().bytes,
        answer(AnswerKind::Nak, &request, BOOTD).build().bytes,
    ];
    for (count, bytes) in (1..).zip(cases) {
        node.client.handle_packet(&bytes, s(0));
        assert_eq!((node.done(), node.client.ignored()), (vec![], count));
    }
    node.client.handle_packet(&good.build().bytes, s(0));
    assert_eq!(node.done(), [select(BOOTD)]);
}
