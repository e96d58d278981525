//! What survives a power cut.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::*;

const A: [u8; SECTOR] = [0xaa; SECTOR];
const B: [u8; SECTOR] = [0xbb; SECTOR];
const ZERO: [u8; SECTOR] = [0; SECTOR];

fn disk() -> (Disk, Session) {
    let disk = Disk::blank(1 << 20);
    let session = disk.open();
    (disk, session)
}

/// The first byte of each of the first `count` durable sectors.
fn durable(disk: &Disk, count: usize) -> Vec<u8> {
    let mut buffer = vec![0; count * SECTOR];
    disk.read_durable(0, &mut buffer);
    buffer.chunks(SECTOR).map(|sector| sector[0]).collect()
}

fn seen(disk: &Disk, session: Session) -> u8 {
    let mut buffer = ZERO;
    disk.read(session, 0, &mut buffer).unwrap();
    buffer[0]
}

#[test]
fn a_cut_loses_what_was_not_flushed_and_keeps_the_rest() {
    let (disk, session) = disk();
    disk.write(session, 0, &A, false).unwrap();
    disk.flush(session).unwrap();
    disk.write(session, 0, &B, false).unwrap();
    disk.write(session, 512, &[B, B].concat(), false).unwrap();
    assert_eq!(seen(&disk, session), 0xbb);
    assert_eq!(durable(&disk, 3), [0xaa, 0, 0]);
    let report = disk.cut(CutPolicy::LoseAll, 0);
    assert_eq!(
        report,
        CutReport {
            pending_writes: 2,
            kept_sectors: 0,
            lost_sectors: 3
        }
    );
    assert_eq!(seen(&disk, disk.open()), 0xaa);
    assert_eq!(durable(&disk, 3), [0xaa, 0, 0]);
}

#[test]
fn connections_from_before_a_cut_are_void() {
    let (disk, session) = disk();
    disk.cut(CutPolicy::LoseAll, 0);
    assert_eq!(disk.write(session, 0, &A, false), Err(PowerIsOff));
    assert_eq!(disk.flush(session), Err(PowerIsOff));
    assert_eq!(durable(&disk, 1), [0]);
}

#[test]
fn a_forced_write_survives_alone_and_older_writes_do_not_overtake_it() {
    for seed in 0..100 {
        let (disk, session) = disk();
        disk.write(session, 0, &[A, A].concat(), false).unwrap();
        disk.write(session, 0, &B, true).unwrap();
        assert_eq!(durable(&disk, 2), [0xbb, 0]);
        let report = disk.cut(CutPolicy::RandomSectors, seed);
        assert_eq!(durable(&disk, 1), [0xbb], "seed {seed}");
        assert_eq!(report.pending_writes, 1);
        assert_eq!(report.kept_sectors + report.lost_sectors, 2);
    }
}

#[test]
fn a_random_cut_keeps_a_part_that_the_seed_alone_decides() {
    let run = |seed| {
        let (disk, session) = disk();
        disk.write(session, 0, &vec![0xaa; 64 * SECTOR], false)
            .unwrap();
        disk.zero(session, 0, 8 * SECTOR, false).unwrap();
        let report = disk.cut(CutPolicy::RandomSectors, seed);
        assert_eq!(report.kept_sectors + report.lost_sectors, 72);
        (durable(&disk, 64), report)
    };
    assert_eq!(run(1), run(1));
    let kept: Vec<u64> = (0..50).map(|seed| run(seed).1.kept_sectors).collect();
    assert!(kept.iter().any(|&kept| kept < 20), "{kept:?}");
    assert!(kept.iter().any(|&kept| kept > 50), "{kept:?}");
}

#[test]
fn zeros_and_trims_are_held_back_too() {
    let (disk, session) = disk();
    disk.write(session, 0, &[A, A].concat(), false).unwrap();
    disk.flush(session).unwrap();
    disk.zero(session, 0, SECTOR, false).unwrap();
    assert_eq!(seen(&disk, session), 0);
    assert_eq!(durable(&disk, 2), [0xaa, 0xaa]);
    disk.flush(session).unwrap();
    disk.cut(CutPolicy::LoseAll, 0);
    assert_eq!(durable(&disk, 2), [0, 0xaa]);
}

#[test]
fn an_armed_cut_comes_at_its_request_and_nothing_is_answered_after_it() {
    type Expected = (CutAt, [u8; 2]);
    let cases: [Expected; 4] = [
        (CutAt::Write(2), [0, 0]),
        (CutAt::Flush(1), [0, 0]),
        (CutAt::Flush(2), [0xaa, 0xaa]),
        (CutAt::Bytes(1024), [0, 0]),
    ];
    for (at, left) in cases {
        let (disk, session) = disk();
        let (sender, receiver) = mpsc::channel();
        disk.arm(at, move || sender.send(()).unwrap());
        let asked = [
            disk.write(session, 0, &A, false),
            disk.write(session, 512, &A, false),
            disk.flush(session),
            disk.flush(session),
        ];
        assert_eq!(asked[3], Err(PowerIsOff), "{at:?}");
        assert!(asked.is_sorted_by_key(Result::is_err), "{at:?}: {asked:?}");
        assert_eq!(receiver.try_iter().count(), 1, "{at:?}");
        assert!(disk.wait_for_cut(Instant::now()));
        disk.cut(CutPolicy::LoseAll, 0);
        assert_eq!(durable(&disk, 2), left, "{at:?}");
        assert!(!disk.wait_for_cut(Instant::now()));
        assert_eq!(disk.flush(disk.open()), Ok(()));
    }
}

#[test]
fn a_cut_at_a_forced_write_may_lose_it() {
    let (disk, session) = disk();
    disk.arm(CutAt::Write(1), || {});
    assert_eq!(disk.write(session, 0, &A, true), Err(PowerIsOff));
    disk.cut(CutPolicy::LoseAll, 0);
    assert_eq!(durable(&disk, 1), [0]);
}

#[test]
fn waiting_for_a_cut_ends_when_it_comes() {
    let (disk, session) = disk();
    let disk = Arc::new(disk);
    disk.arm(CutAt::Write(1), || {});
    let writer = Arc::clone(&disk);
    let thread = std::thread::spawn(move || writer.write(session, 0, &A, false));
    assert!(disk.wait_for_cut(Instant::now() + Duration::from_secs(10)));
    assert_eq!(thread.join().unwrap(), Err(PowerIsOff));
}

#[test]
fn a_disarmed_cut_does_not_come() {
    let (disk, session) = disk();
    let called = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&called);
    disk.arm(CutAt::Write(1), move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    disk.disarm();
    disk.write(session, 0, &A, false).unwrap();
    assert_eq!(called.load(Ordering::Relaxed), 0);
}

#[test]
fn many_disks_begin_from_one_snapshot() {
    let (disk, session) = disk();
    disk.write(session, 0, &A, false).unwrap();
    disk.flush(session).unwrap();
    disk.write(session, 0, &B, false).unwrap();
    let snapshot = disk.snapshot();
    let copy = Disk::from_snapshot(&snapshot);
    assert_eq!(durable(&copy, 1), [0xaa]);
    let session = copy.open();
    copy.write(session, 0, &B, true).unwrap();
    assert_eq!(durable(&copy, 1), [0xbb]);
    copy.restore(&snapshot);
    assert_eq!(durable(&copy, 1), [0xaa]);
    assert_eq!(durable(&disk, 1), [0xaa]);
    assert_eq!(copy.size(), 1 << 20);
}

#[test]
fn everything_asked_is_counted() {
    let (disk, session) = disk();
    disk.write(session, 0, &A, true).unwrap();
    disk.zero(session, 0, 2 * SECTOR, false).unwrap();
    disk.flush(session).unwrap();
    seen(&disk, session);
    disk.cut(CutPolicy::LoseAll, 0);
    let expected = Counters {
        reads: 1,
        writes: 2,
        bytes_written: 3 * 512,
        flushes: 1,
        fua_writes: 1,
        cuts: 1,
    };
    assert_eq!(disk.counters(), expected);
}

#[test]
fn an_export_is_the_durable_content_and_sparse() {
    let (disk, session) = disk();
    disk.write(session, (1 << 20) - 512, &A, false).unwrap();
    disk.flush(session).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    disk.export(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 1 << 20);
    assert!(bytes.ends_with(&A));
    assert_eq!(disk.used(), 64 << 10);
}
