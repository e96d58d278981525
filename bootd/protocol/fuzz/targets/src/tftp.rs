//! TFTP, both sides.

use std::time::Duration;

use bootd_protocol::boot_choice::pxelinux::{self, Name};
use bootd_protocol::digest::Digest;
use bootd_protocol::tftp::netascii;
use bootd_protocol::tftp::{
    Admission, Agreed, Command, DEFAULT_BLOCK_SIZE, Fetch, FetchCommand, FetchPlan, Limits, Mode,
    Options, Packet, ReadRequest, Repeat, Run, Transfer, admit,
};
use bootd_protocol::uki::Part;

use crate::input::Input;

const START: Duration = Duration::from_secs(1000);

/// A file goes on the wire alike whole and in pieces, and is read back as it was.
pub(crate) fn netascii(data: &[u8]) {
    let mut input = Input::new(data);
    let (first, rest) = (input.piece(), input.rest());
    let mut pieces = Vec::new();
    netascii::encode(first, &mut pieces);
    netascii::encode(rest, &mut pieces);
    let mut whole = Vec::new();
    netascii::encode(&[first, rest].concat(), &mut whole);
    assert_eq!(pieces, whole);
    assert_eq!(
        whole.len(),
        netascii::encoded_len(first) + netascii::encoded_len(rest)
    );
    let mut wire = whole.iter();
    let mut file = Vec::new();
    while let Some(byte) = wire.next() {
        file.push(match (byte, byte == &b'\r') {
            (_, true) if wire.next() == Some(&b'\n') => b'\n',
            (other, _) => *other,
        });
    }
    assert_eq!(file, [first, rest].concat());
}

/// An OACK is not longer than the request by more than the digits of the file's size.
const SIZE_DIGITS: usize = 20;

pub(crate) fn request(data: &[u8]) {
    if let Ok(packet) = Packet::parse(data) {
        let again = packet.to_bytes();
        assert!(again.len() <= data.len() + 1);
        assert_eq!(Packet::parse(&again), Ok(packet));
    }
    let read = match admit(data) {
        Admission::Ignore(_) => return,
        Admission::Refuse(refusal) => {
            let reply = refusal.reply_to(data.len());
            assert!(reply.len() <= data.len(), "{} bytes refuse", reply.len());
            return;
        }
        Admission::Read(read) => read,
    };
    let climbs = read.name.split(['/', '\\']).any(|part| part == "..");
    assert!(!climbs && !read.name.starts_with('/') && !read.name.is_empty());
    for size in [0, 512, 70_000, u64::from(u32::MAX) + 5] {
        let mut transfer = Transfer::new(data, &read, size, &Limits::default(), START);
        check_agreed(transfer.agreed(), &Limits::default());
        match transfer.next_command() {
            Some(Command::Send(bytes)) => {
                let oack = matches!(Packet::parse(&bytes), Ok(Packet::OptionAck(_)));
                assert!(oack && bytes.len() <= data.len() + SIZE_DIGITS);
            }
            Some(Command::SendData(run)) => {
                assert_eq!((run.block, run.count), (1, 1));
                assert!(run.last_len <= DEFAULT_BLOCK_SIZE);
            }
            other => panic!("a request draws {other:?}"),
        }
        assert_eq!(transfer.next_command(), None, "a request draws two packets");
    }
}

/// The name of a file in the first line; what its configuration says in the rest: nothing in there
/// makes a line of its own, or is changed.
pub(crate) fn boot_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (name, rest) = text.split_once('\n').unwrap_or((text, ""));
    let words: Vec<&str> = name.split('/').filter(|word| !word.is_empty()).collect();
    let plain = words.join("/").replace(':', "-").to_ascii_lowercase();
    let end = match Name::parse(name) {
        Some(Name::OfCard(mac)) => format!("cfg/01-{}", mac.to_string().replace(':', "-")),
        Some(Name::OfMachine(uuid)) => format!("cfg/{uuid}"),
        Some(Name::Part(uki, Part::Linux)) => format!("boot/{uki}/linux"),
        Some(Name::Part(uki, Part::Initrd)) => format!("boot/{uki}/initrd"),
        None => String::new(),
    };
    assert!(plain.ends_with(&end), "{name:?} is read as {end}");
    let local = pxelinux::local(rest);
    assert!(local.starts_with("# ") && local.lines().count() == 5);
    if let Ok(config) = pxelinux::boot(rest, &Digest::NONE, rest) {
        let mut lines = config.lines().skip(6);
        let append: Vec<&str> = lines
            .next()
            .unwrap_or("APPEND")
            .split(' ')
            .skip(1)
            .collect();
        let words: Vec<&str> = rest.split_whitespace().collect();
        assert_eq!((append, lines.next()), (words, None));
    }
}

fn check_agreed(agreed: &Agreed, limits: &Limits) {
    assert!((8..=limits.block_size.max(DEFAULT_BLOCK_SIZE)).contains(&agreed.block_size));
    assert!((1..=limits.window).contains(&agreed.window));
    let longest = Duration::from_secs(limits.timeout.into());
    assert!(agreed.timeout.is_none_or(|it| it <= longest));
}

pub(crate) fn transfer(data: &[u8]) {
    let mut input = Input::new(data);
    // From an empty file to one whose block numbers wrap.
    let size = u64::from(input.u16()) << (input.u8() & 15);
    let asked = input.piece();
    let limits = Limits {
        window: 16,
        ..Limits::default()
    };
    let mut now = START;
    let read = ReadRequest {
        name: "file",
        mode: Mode::Octet,
        options: Options::from_wire(asked),
    };
    let mut transfer = Transfer::new(asked, &read, size, &limits, now);
    let mut paid = Paid::new(size, &limits);
    paid.look(&mut transfer);
    while !input.is_empty() {
        let (how, wait) = (input.u8(), input.u8());
        now += Duration::from_millis(u64::from(wait).pow(2));
        if transfer.poll_timeout().is_some_and(|due| due <= now) {
            transfer.handle_timeout(now);
            let due = transfer.poll_timeout();
            assert!(due.is_none_or(|due| due > now), "it wakes without end");
            paid.look(&mut transfer);
        }
        match how & 3 {
            // The block that was sent last, or one near it.
            0 => {
                let block = paid.last_block.wrapping_sub(u16::from(how >> 2));
                transfer.handle_packet(&Packet::Ack { block }.to_bytes(), now);
            }
            1 => transfer.handle_packet(input.piece(), now),
            2 => drop(transfer.handle_request(asked, now)),
            _ => {
                let request = input.piece();
                if transfer.handle_request(request, now) == Repeat::New {
                    assert_eq!(transfer.poll_timeout(), None);
                }
            }
        }
        paid.look(&mut transfer);
    }
}

/// What a client has drawn since it last got on.
struct Paid {
    size: u64,
    limits: Limits,
    last_block: u16,
    acknowledged: u64,
    in_vain: u32,
    over: bool,
}

impl Paid {
    fn new(size: u64, limits: &Limits) -> Self {
        Paid {
            size,
            limits: *limits,
            last_block: 0,
            acknowledged: 0,
            in_vain: 0,
            over: false,
        }
    }

    fn look(&mut self, transfer: &mut Transfer) {
        let mut commands = 0;
        check_agreed(transfer.agreed(), &self.limits);
        if transfer.acknowledged() > self.acknowledged {
            (self.acknowledged, self.in_vain) = (transfer.acknowledged(), 0);
        }
        while let Some(command) = transfer.next_command() {
            assert!(!self.over, "{command:?} after the end");
            commands += 1;
            match command {
                Command::Send(_) => self.in_vain += 1,
                Command::SendData(run) => self.check_run(run, transfer.agreed().window),
                Command::Done(_) => self.over = true,
            }
        }
        assert!(commands <= 2, "{commands} commands at once");
        // The OACK is acknowledged once, and the window may be filled up once after a doubt.
        let most = 2 * self.limits.vain_sends + self.limits.silent_waits + 4;
        assert!(self.in_vain <= most, "{} sends in vain", self.in_vain);
    }

    fn check_run(&mut self, run: Run, window: u16) {
        self.in_vain += 1;
        assert!((1..=window).contains(&run.count));
        let (block, offset, len) = run.block(run.count - 1);
        let end = offset + u64::from(len);
        assert!(end <= self.size, "{run:?} of {} bytes", self.size);
        assert!(len <= run.block_size);
        assert!(len == run.block_size || end == self.size);
        self.last_block = block;
    }
}

pub(crate) fn fetch(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.u8();
    let plan = FetchPlan {
        name: "boot/image".into(),
        block_size: (how & 1 != 0).then_some(1468),
        window: (how & 2 != 0).then_some(4),
        size: how & 4 != 0,
        probe: how & 8 != 0,
        wait: Duration::from_millis(500),
        tries: 5,
    };
    let largest = usize::from(plan.block_size.unwrap_or(DEFAULT_BLOCK_SIZE).max(512));
    let mut now = START;
    let mut fetch = Fetch::new(plan, now);
    say(&mut fetch);
    let mut len = 0;
    while !input.is_empty() {
        let wait = input.u8();
        now += Duration::from_millis(u64::from(wait).pow(2));
        if fetch.poll_timeout().is_some_and(|due| due <= now) {
            fetch.handle_timeout(now);
            let due = fetch.poll_timeout();
            assert!(due.is_none_or(|due| due > now), "it wakes without end");
            say(&mut fetch);
        }
        if let Some(piece) = fetch.handle_packet(input.piece(), now) {
            assert_eq!(piece.offset, len, "a gap, or bytes twice");
            assert!(piece.bytes.len() <= largest);
            len += u64::try_from(piece.bytes.len()).unwrap_or(u64::MAX);
        }
        say(&mut fetch);
    }
}

fn say(fetch: &mut Fetch) {
    let mut commands = 0;
    while let Some(command) = fetch.next_command() {
        commands += 1;
        if let FetchCommand::Send(bytes) = command {
            assert!(bytes.len() <= 100 && Packet::parse(&bytes).is_ok());
        }
    }
    assert!(commands <= 2, "{commands} commands at once");
}
