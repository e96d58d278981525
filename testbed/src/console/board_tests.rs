//! The board's tables, whole.

use super::*;

fn board() -> Board {
    Board::new(&[
        ("bios-1".to_owned(), Firmware::Bios),
        ("uefi-1".to_owned(), Firmware::Uefi),
    ])
}

fn at(tenths: u64) -> Duration {
    Duration::from_millis(tenths * 100)
}

fn feed(board: &mut Board, node: &str, events: &[(u64, EventKind)]) -> Vec<bool> {
    let apply = |(tenths, kind): &(u64, EventKind)| {
        board.apply(&Event {
            node: node.to_owned(),
            at: at(*tenths),
            kind: kind.clone(),
        })
    };
    events.iter().map(apply).collect()
}

#[test]
fn the_table_shows_the_present_state() {
    let mut board = board();
    let mib = |mib: u64| mib << 20;
    feed(
        &mut board,
        "bios-1",
        &[
            (0, EventKind::Stage(Stage::PowerOn)),
            (10, EventKind::Stage(Stage::Netboot)),
            (55, EventKind::Stage(Stage::Installing)),
            (
                60,
                EventKind::Progress {
                    done: mib(5),
                    total: mib(20),
                },
            ),
        ],
    );
    feed(
        &mut board,
        "uefi-1",
        &[(12, EventKind::Version("7.1".to_owned()))],
    );
    let expected = [
        "node    firmware  stage       for    version  progress",
        "bios-1  bios      installing  0.7 s           [#####...............]  25 %  5.0 of 20.0 MiB",
        "uefi-1  uefi      off         6.2 s  7.1",
    ];
    assert_eq!(board.table(at(62)), expected);
    assert_eq!(board.stage("bios-1"), Some(Stage::Installing));
    assert_eq!(board.stage("other"), None);
}

#[test]
fn the_summary_adds_up_the_visits_of_each_stage() {
    let mut board = board();
    let first = [
        (0, Stage::PowerOn),
        (5, Stage::Firmware),
        (30, Stage::Netboot),
        (50, Stage::Init),
        (60, Stage::Installing),
        (160, Stage::Restarting),
        (162, Stage::Firmware),
        (182, Stage::Init),
        (190, Stage::Verifying),
        (191, Stage::Running),
    ];
    for (tenths, stage) in first {
        feed(&mut board, "bios-1", &[(tenths, EventKind::Stage(stage))]);
    }
    feed(
        &mut board,
        "uefi-1",
        &[
            (0, EventKind::Stage(Stage::Firmware)),
            (99, EventKind::Stage(Stage::Failed)),
            (99, EventKind::Version("7.1".to_owned())),
        ],
    );
    let expected = [
        "node    firmware  power-on  firmware  netboot  init   installing  restarting  verifying  total   ends     version",
        "bios-1  bios      0.5 s     4.5 s     2.0 s    1.8 s  10.0 s      0.2 s       0.1 s      19.1 s  running",
        "uefi-1  uefi      -         9.9 s     -        -      -           -           -          9.9 s   failed   7.1",
    ];
    assert_eq!(board.summary(), expected);
    assert!(!board.all_in(Stage::Running));
}

#[test]
fn only_changes_are_worth_a_line() {
    let mut board = board();
    let progress = |done| EventKind::Progress { done, total: 8 };
    let events = [
        (0, EventKind::Stage(Stage::Init)),
        (1, EventKind::Stage(Stage::Init)),
        (2, progress(0)),
        (3, progress(1)),
        (4, progress(2)),
        (5, EventKind::Version("1".to_owned())),
        (6, EventKind::Version("1".to_owned())),
        (7, EventKind::Note("remark".to_owned())),
    ];
    let worth = feed(&mut board, "bios-1", &events);
    assert_eq!(worth, [true, false, true, false, true, true, false, true]);
    assert_eq!(feed(&mut board, "stranger", &events), [false; 8]);
}

#[test]
fn lines_of_a_log_say_when_who_and_what() {
    let line = |kind| {
        Board::line(&Event {
            node: "n".to_owned(),
            at: at(1234),
            kind,
        })
    };
    assert_eq!(
        line(EventKind::Stage(Stage::Netboot)),
        "  123.4 s  n  netboot"
    );
    assert_eq!(
        line(EventKind::Version("2.0".to_owned())),
        "  123.4 s  n  version 2.0"
    );
}
