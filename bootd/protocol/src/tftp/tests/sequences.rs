//! Packet sequences: every step asserts the whole list of what comes out.

use std::time::Duration;

use super::*;

/// What happens to the server, at a time in milliseconds.
enum In {
    Ack(u16),
    Error(u16, &'static str),
    Bytes(&'static [u8]),
    /// The request comes again, unchanged.
    Again,
    /// Another request from the same port.
    Other,
    Timer,
}

struct Case {
    size: u64,
    asked: &'static [(&'static str, &'static str)],
    opening: &'static [&'static str],
    steps: &'static [(u64, In, &'static [&'static str])],
    /// When the timer is due at the end, milliseconds.
    due: Option<u64>,
}

/// An output in the words that the tables use.
fn words(command: &Command) -> String {
    match command {
        Command::Send(bytes) => {
            let Ok(Packet::OptionAck(options)) = Packet::parse(bytes) else {
                panic!("{bytes:?}");
            };
            options.iter().fold("OACK".to_owned(), |text, pair| {
                let [name, value] = [pair.0, pair.1].map(String::from_utf8_lossy);
                format!("{text} {name}={value}")
            })
        }
        Command::SendData(run) => {
            let (last, offset, len) = run.block(run.count - 1);
            format!("DATA {}-{last} end {}", run.block, offset + u64::from(len))
        }
        Command::Done(outcome) => format!("{outcome:?}"),
    }
}

fn outputs(transfer: &mut Transfer) -> Vec<String> {
    std::iter::from_fn(|| transfer.next_command())
        .map(|command| words(&command))
        .collect()
}

fn run(case: &Case) {
    let request = read_request(case.asked);
    let other = read_request(&[("tsize", "0")]);
    let limits = Limits::default();
    let read = read_of(&request);
    let mut transfer = Transfer::new(&request, &read, case.size, &limits, Duration::ZERO);
    assert_eq!(outputs(&mut transfer), case.opening);
    for (step, (millis, input, expected)) in case.steps.iter().enumerate() {
        let now = Duration::from_millis(*millis);
        match input {
            In::Ack(block) => {
                transfer.handle_packet(&Packet::Ack { block: *block }.to_bytes(), now);
            }
            In::Error(code, text) => {
                let (code, message) = ((*code).into(), text.as_bytes());
                transfer.handle_packet(&Packet::Error { code, message }.to_bytes(), now);
            }
            In::Bytes(bytes) => transfer.handle_packet(bytes, now),
            In::Again => assert_eq!(transfer.handle_request(&request, now), Repeat::Same),
            In::Other => assert_eq!(transfer.handle_request(&other, now), Repeat::New),
            In::Timer => transfer.handle_timeout(now),
        }
        assert_eq!(
            outputs(&mut transfer),
            *expected,
            "step {step} at {millis} ms"
        );
    }
    assert_eq!(transfer.poll_timeout(), case.due.map(Duration::from_millis));
}

#[test]
fn lock_step_without_options() {
    run(&Case {
        size: 1_100,
        asked: &[],
        opening: &["DATA 1-1 end 512"],
        steps: &[
            (1, In::Ack(1), &["DATA 2-2 end 1024"]),
            (2, In::Ack(2), &["DATA 3-3 end 1100"]),
            (3, In::Ack(3), &["Completed"]),
            (4, In::Ack(3), &[]),
        ],
        due: None,
    });
}

#[test]
fn an_empty_file_is_one_empty_block() {
    run(&Case {
        size: 0,
        asked: &[],
        opening: &["DATA 1-1 end 0"],
        steps: &[(1, In::Ack(1), &["Completed"])],
        due: None,
    });
}

#[test]
fn a_multiple_of_the_block_size_ends_in_an_empty_block() {
    run(&Case {
        size: 32,
        asked: &[("blksize", "16"), ("windowsize", "4")],
        opening: &["OACK blksize=16 windowsize=4"],
        steps: &[
            (1, In::Ack(0), &["DATA 1-3 end 32"]),
            (2, In::Ack(3), &["Completed"]),
        ],
        due: None,
    });
}

#[test]
fn windows_follow_each_other() {
    run(&Case {
        size: 95,
        asked: &[("windowsize", "4"), ("blksize", "10")],
        opening: &["OACK windowsize=4 blksize=10"],
        steps: &[
            (1, In::Ack(0), &["DATA 1-4 end 40"]),
            (2, In::Ack(4), &["DATA 5-8 end 80"]),
            (3, In::Ack(8), &["DATA 9-10 end 95"]),
            (4, In::Ack(10), &["Completed"]),
        ],
        due: None,
    });
}

#[test]
fn the_size_probe_of_edk2_ends_at_once() {
    run(&Case {
        size: 14_600_000,
        asked: &[("tsize", "0"), ("blksize", "1468"), ("windowsize", "4")],
        opening: &["OACK tsize=14600000 blksize=1468 windowsize=4"],
        steps: &[
            (
                1,
                In::Error(8, "User aborted the transfer"),
                &["Aborted { code: OptionsRefused, message: \"User aborted the transfer\" }"],
            ),
            (2, In::Ack(0), &[]),
            (9_000, In::Timer, &[]),
            (9_001, In::Other, &[]),
        ],
        due: None,
    });
}

#[test]
fn an_error_in_mid_flow_ends_at_once_and_is_made_printable() {
    run(&Case {
        size: 5_000,
        asked: &[],
        opening: &["DATA 1-1 end 512"],
        steps: &[(
            1,
            In::Error(3, "disk\r\nfull"),
            &["Aborted { code: DiskFull, message: \"diskfull\" }"],
        )],
        due: None,
    });
}

#[test]
fn the_loss_of_a_middle_block_is_mended_at_once() {
    run(&Case {
        size: 1_000,
        asked: &[("blksize", "10"), ("windowsize", "8")],
        opening: &["OACK blksize=10 windowsize=8"],
        steps: &[
            (1, In::Ack(0), &["DATA 1-8 end 80"]),
            // 4 is lost; a receiver that repeats itself for every block behind the gap.
            (2, In::Ack(3), &["DATA 4-11 end 110"]),
            (2, In::Ack(3), &[]),
            (2, In::Ack(3), &[]),
            (2, In::Ack(3), &[]),
            (3, In::Ack(11), &["DATA 12-19 end 190"]),
        ],
        due: Some(23),
    });
}

#[test]
fn the_loss_of_a_windows_first_block_is_mended_at_once() {
    run(&Case {
        size: 1_000,
        asked: &[("blksize", "10"), ("windowsize", "4")],
        opening: &["OACK blksize=10 windowsize=4"],
        steps: &[
            (1, In::Ack(0), &["DATA 1-4 end 40"]),
            (2, In::Ack(4), &["DATA 5-8 end 80"]),
            (3, In::Ack(4), &["DATA 5-8 end 80"]),
            (3, In::Ack(4), &[]),
            (3, In::Ack(4), &[]),
            (4, In::Ack(8), &["DATA 9-12 end 120"]),
        ],
        due: Some(24),
    });
}

#[test]
fn a_second_loss_in_the_same_window_takes_one_round_trip_more() {
    run(&Case {
        size: 1_000,
        asked: &[("blksize", "10"), ("windowsize", "8")],
        opening: &["OACK blksize=10 windowsize=8"],
        steps: &[
            (10, In::Ack(0), &["DATA 1-8 end 80"]),
            (20, In::Ack(8), &["DATA 9-16 end 160"]),
            (30, In::Ack(10), &["DATA 11-18 end 180"]),
            // 13 is lost again: may be an echo of the first 11-16, so the flow goes on...
            (40, In::Ack(12), &["DATA 19-20 end 200"]),
            (50, In::Ack(12), &[]),
            // ... and the doubt ends a round trip (10 ms and four times its variation) later.
            (64, In::Timer, &[]),
            (65, In::Timer, &["DATA 13-20 end 200"]),
            (75, In::Ack(20), &["DATA 21-28 end 280"]),
        ],
        due: Some(125),
    });
}

#[test]
fn echoes_do_not_double_the_flow() {
    run(&Case {
        size: 1_000,
        asked: &[("blksize", "10"), ("windowsize", "4")],
        opening: &["OACK blksize=10 windowsize=4"],
        steps: &[
            (1, In::Ack(0), &["DATA 1-4 end 40"]),
            // The ACK of 4 is slow: the timer sends the window again, for nothing.
            (201, In::Timer, &["DATA 1-4 end 40"]),
            (202, In::Ack(4), &["DATA 5-8 end 80"]),
            // The receiver answers every block that it has had before.
            (203, In::Ack(4), &[]),
            (203, In::Ack(4), &[]),
            (203, In::Ack(4), &[]),
            (203, In::Ack(4), &[]),
            (204, In::Ack(8), &["DATA 9-12 end 120"]),
            (205, In::Ack(12), &["DATA 13-16 end 160"]),
        ],
        // The time-out was doubled and no clean round trip... 13-16 is the first one measured.
        due: Some(225),
    });
}

#[test]
fn a_repeated_ack_in_lock_step_sends_nothing() {
    run(&Case {
        size: 1_000,
        asked: &[("blksize", "10")],
        opening: &["OACK blksize=10"],
        steps: &[
            (1, In::Ack(0), &["DATA 1-1 end 10"]),
            (2, In::Ack(1), &["DATA 2-2 end 20"]),
            (2, In::Ack(1), &[]),
            (3, In::Ack(2), &["DATA 3-3 end 30"]),
            (3, In::Ack(1), &[]),
            (3, In::Ack(2), &[]),
            (4, In::Ack(3), &["DATA 4-4 end 40"]),
        ],
        due: Some(24),
    });
}

#[test]
fn stale_and_impossible_acks_are_passed_over() {
    run(&Case {
        size: 1_000,
        asked: &[("blksize", "10"), ("windowsize", "2")],
        opening: &["OACK blksize=10 windowsize=2"],
        steps: &[
            (1, In::Ack(7), &[]),
            (1, In::Bytes(b"\0\x03\0\x01x"), &[]),
            (1, In::Bytes(b""), &[]),
            (1, In::Ack(0), &["DATA 1-2 end 20"]),
            (2, In::Ack(2), &["DATA 3-4 end 40"]),
            (3, In::Ack(1), &[]),
            (3, In::Ack(5), &[]),
            (3, In::Ack(40_000), &[]),
            (4, In::Ack(4), &["DATA 5-6 end 60"]),
        ],
        due: Some(24),
    });
}

#[test]
fn a_lost_offer_is_repeated_by_timer_and_by_request() {
    run(&Case {
        size: 5,
        asked: &[("tsize", "0")],
        opening: &["OACK tsize=5"],
        steps: &[
            (99, In::Timer, &[]),
            (100, In::Timer, &["OACK tsize=5"]),
            (200, In::Again, &["OACK tsize=5"]),
            (201, In::Ack(0), &["DATA 1-1 end 5"]),
            // The second OACK is acknowledged too.
            (202, In::Ack(0), &[]),
            // A late copy of the request.
            (203, In::Again, &[]),
            (204, In::Ack(1), &["Completed"]),
        ],
        due: None,
    });
}

#[test]
fn a_request_without_options_that_comes_again_is_answered_again() {
    run(&Case {
        size: 600,
        asked: &[],
        opening: &["DATA 1-1 end 512"],
        steps: &[
            (100, In::Again, &["DATA 1-1 end 512"]),
            (101, In::Ack(1), &["DATA 2-2 end 600"]),
            (101, In::Ack(1), &[]),
            (102, In::Ack(2), &["Completed"]),
        ],
        due: None,
    });
}

#[test]
fn another_request_from_the_same_port_is_a_new_session() {
    run(&Case {
        size: 600,
        asked: &[],
        opening: &["DATA 1-1 end 512"],
        steps: &[(100, In::Other, &["Superseded"]), (101, In::Ack(1), &[])],
        due: None,
    });
}

#[test]
fn a_silent_client_gets_a_few_windows_and_a_few_blocks() {
    run(&Case {
        size: 1_000,
        asked: &[("blksize", "10"), ("windowsize", "8")],
        opening: &["OACK blksize=10 windowsize=8"],
        steps: &[
            (2, In::Ack(0), &["DATA 1-8 end 80"]),
            (22, In::Timer, &["DATA 1-8 end 80"]),
            (62, In::Timer, &["DATA 1-8 end 80"]),
            (142, In::Timer, &["DATA 1-8 end 80"]),
            (302, In::Timer, &["DATA 1-4 end 40"]),
            (622, In::Timer, &["DATA 1-2 end 20"]),
            (1_262, In::Timer, &["DATA 1-1 end 10"]),
            (2_542, In::Timer, &["DATA 1-1 end 10"]),
            (5_102, In::Timer, &["DATA 1-1 end 10"]),
            (9_102, In::Timer, &["DATA 1-1 end 10"]),
            (13_102, In::Timer, &["DATA 1-1 end 10"]),
            (17_102, In::Timer, &["DATA 1-1 end 10"]),
            (21_102, In::Timer, &["Silent"]),
        ],
        due: None,
    });
}

#[test]
fn a_client_that_was_never_heard_is_given_up_soon() {
    run(&Case {
        size: 5,
        asked: &[],
        opening: &["DATA 1-1 end 5"],
        steps: &[
            (100, In::Timer, &["DATA 1-1 end 5"]),
            (300, In::Timer, &["DATA 1-1 end 5"]),
            (700, In::Timer, &["DATA 1-1 end 5"]),
            (1_500, In::Timer, &["DATA 1-1 end 5"]),
            (3_100, In::Timer, &["DATA 1-1 end 5"]),
            (6_300, In::Timer, &["Silent"]),
        ],
        due: None,
    });
}

#[test]
fn a_time_out_that_was_agreed_to_is_an_upper_bound() {
    run(&Case {
        size: 600,
        asked: &[("timeout", "3")],
        opening: &["OACK timeout=3"],
        steps: &[
            (1, In::Ack(0), &["DATA 1-1 end 512"]),
            (20, In::Timer, &[]),
            (21, In::Timer, &["DATA 1-1 end 512"]),
        ],
        due: Some(61),
    });
}

#[test]
fn a_client_that_never_gets_on_is_given_up() {
    let request = read_request(&[("blksize", "10"), ("windowsize", "8")]);
    let limits = Limits::default();
    let read = read_of(&request);
    let mut transfer = Transfer::new(&request, &read, 1_000, &limits, Duration::ZERO);
    transfer.handle_packet(&Packet::Ack { block: 0 }.to_bytes(), Duration::ZERO);
    let mut blocks = 0;
    let mut ended = None;
    for millis in 0..60_000 {
        let now = Duration::from_millis(millis);
        transfer.handle_packet(&Packet::Ack { block: 0 }.to_bytes(), now);
        transfer.handle_timeout(now);
        while let Some(command) = transfer.next_command() {
            match command {
                Command::Send(_) => {}
                Command::SendData(run) => blocks += u32::from(run.count),
                Command::Done(outcome) => ended = Some(outcome),
            }
        }
    }
    assert_eq!(ended, Some(Outcome::Stalled));
    assert_eq!(blocks, 8 * (1 + limits.vain_sends));
}

#[test]
fn block_numbers_wrap_to_zero() {
    let request = read_request(&[("blksize", "8"), ("windowsize", "64")]);
    let limits = Limits::default();
    let read = read_of(&request);
    let mut transfer = Transfer::new(&request, &read, 8 * 70_000, &limits, Duration::ZERO);
    transfer.handle_packet(&Packet::Ack { block: 0 }.to_bytes(), Duration::ZERO);
    outputs(&mut transfer);
    for window in 1..1_023_u16 {
        let ack = Packet::Ack { block: window * 64 };
        transfer.handle_packet(&ack.to_bytes(), Duration::ZERO);
        outputs(&mut transfer);
    }
    let mut step = |block: u16| {
        transfer.handle_packet(&Packet::Ack { block }.to_bytes(), Duration::ZERO);
        outputs(&mut transfer)
    };
    assert_eq!(step(65_472), ["DATA 65473-0 end 524288"]);
    assert_eq!(step(0), ["DATA 1-64 end 524800"]);
    // 65,535 is stale now; 0 is the block just before the window.
    assert_eq!(step(65_535), [""; 0]);
    assert_eq!(step(0), ["DATA 1-64 end 524800"]);
    assert_eq!(transfer.acknowledged(), 524_288);
}

#[test]
fn a_run_can_be_sent_in_parts() {
    let run = Run {
        block: 65_534,
        count: 4,
        offset: 1_000,
        block_size: 10,
        last_len: 3,
    };
    let blocks: Vec<_> = (0..4).map(|index| run.block(index)).collect();
    assert_eq!(
        blocks,
        [
            (65_534, 1_000, 10),
            (65_535, 1_010, 10),
            (0, 1_020, 10),
            (1, 1_030, 3)
        ]
    );
    let rest = run.skip(3).unwrap();
    assert_eq!((rest.count, rest.block(0)), (1, (1, 1_030, 3)));
    assert_eq!(run.skip(4), None);
}
