use super::*;
use crate::disk::layout::MIN_DISK;
use crate::disk::memory::MemoryDisk;

fn layout() -> Layout {
    Layout::new(MIN_DISK, &[5; 16]).expect("large enough")
}

fn fill(disk: &mut MemoryDisk, slot: Slot, linux: &[u8], cmdline: &str) -> Result<(), DiskError> {
    let content = SlotContent {
        linux: SlotPart {
            reader: &mut &*linux,
            size: u64::try_from(linux.len()).expect("small"),
        },
        initrd: SlotPart {
            reader: &mut io::repeat(7),
            size: 600_000,
        },
        cmdline,
    };
    write_slot(disk, &layout(), slot, content)
}

#[test]
fn contents_sizes_and_quoting() {
    let mut disk = MemoryDisk::new(MIN_DISK);
    fill(&mut disk, Slot::B, b"kernel", "quiet y=$z").expect("written");
    let layout = layout();
    assert_eq!(
        disk.bytes(layout.file(EspFile::Linux(Slot::B)).offset, 7),
        b"kernel\0"
    );
    let initrd = layout.file(EspFile::Initrd(Slot::B)).offset;
    assert_eq!(disk.bytes(initrd, 600_001)[599_999..], [7, 0]);
    let config = "set cmdline=\"quiet y=\\$z\"\n";
    let at = layout.file(EspFile::Config(Slot::B)).offset;
    assert_eq!(disk.bytes(at, config.len()), config.as_bytes());
    let sizes = SlotSizes {
        linux: 6,
        initrd: 600_000,
        config: u32::try_from(config.len()).expect("small"),
    };
    let directory = plan::set_slot_sizes(&layout, Slot::B, sizes);
    let [plan::Step::Write { offset, bytes, .. }, plan::Step::Flush] = directory.as_slice() else {
        panic!("{directory:?}");
    };
    assert_eq!(disk.bytes(*offset, bytes.len()), *bytes);
}

#[test]
fn the_committed_slot_is_never_overwritten() {
    let mut disk = MemoryDisk::new(MIN_DISK);
    fill(&mut disk, Slot::A, b"kernel", "").expect("written");
    commit_first(&mut disk, &layout(), Slot::A, &[1; BOOT_CODE]).expect("committed");
    let operations = disk.operations;
    let error = fill(&mut disk, Slot::A, b"other", "").expect_err("in use");
    let text = "memory: slot a is the committed one and must not be overwritten";
    assert_eq!(error.to_string(), text);
    assert_eq!(disk.operations, operations);
}

#[test]
fn writing_to_the_slot_on_trial_calls_the_trial_off() {
    let mut disk = MemoryDisk::new(MIN_DISK);
    let layout = layout();
    commit_first(&mut disk, &layout, Slot::A, &[1; BOOT_CODE]).expect("committed");
    fill(&mut disk, Slot::B, b"kernel", "").expect("written");
    let trial = commit_trial(&mut disk, &layout).expect("on trial");
    assert_eq!(trial.will_boot(), Some(Slot::B));
    fill(&mut disk, Slot::B, b"kernel", "").expect("written");
    let state = loader_state(&mut disk, &layout).expect("readable");
    assert_eq!(state, LoaderState::commit_first(Slot::A));
}

#[test]
fn a_good_slot_is_marked_once() {
    let mut disk = MemoryDisk::new(MIN_DISK);
    let layout = layout();
    commit_first(&mut disk, &layout, Slot::A, &[1; BOOT_CODE]).expect("committed");
    commit_trial(&mut disk, &layout).expect("on trial");
    let good = mark_good(&mut disk, &layout, Slot::B).expect("marked");
    assert_eq!(good, LoaderState::commit_first(Slot::B));
    let operations = disk.operations;
    assert_eq!(
        mark_good(&mut disk, &layout, Slot::B).expect("marked"),
        good
    );
    assert_eq!(disk.operations, operations);
}

#[test]
fn refusals_come_before_the_first_write() {
    let mut disk = MemoryDisk::new(MIN_DISK);
    for cmdline in ["a\nb", "a=\"b c\"", "a='b'", "a\\b", "\u{e9}"] {
        let error = fill(&mut disk, Slot::A, b"kernel", cmdline).expect_err("not for GRUB");
        assert!(matches!(error, DiskError::BadCommandLine { .. }), "{error}");
    }
    let content = SlotContent {
        linux: SlotPart {
            reader: &mut io::empty(),
            size: 65 << 20,
        },
        initrd: SlotPart {
            reader: &mut io::empty(),
            size: 0,
        },
        cmdline: "",
    };
    let error = write_slot(&mut disk, &layout(), Slot::A, content).expect_err("too large");
    let text = "memory: /bootd/a/linux has 68157440 bytes, but there is room for 67108864 only";
    assert_eq!(error.to_string(), text);
    let error = commit_trial(&mut disk, &layout()).expect_err("nothing installed");
    let text = "memory: nothing is installed yet, so nothing can be tried";
    assert_eq!(error.to_string(), text);
    assert_eq!(disk.operations, 0);
}

#[test]
fn a_reader_that_ends_early_leaves_the_slot_empty() {
    let mut disk = MemoryDisk::new(MIN_DISK);
    let content = SlotContent {
        linux: SlotPart {
            reader: &mut &b"half"[..],
            size: 8,
        },
        initrd: SlotPart {
            reader: &mut io::empty(),
            size: 0,
        },
        cmdline: "",
    };
    let error = write_slot(&mut disk, &layout(), Slot::A, content).expect_err("too short");
    let text = "memory: /bootd/a/linux: cannot read what should be written";
    assert_eq!(error.to_string(), text);
    let empty = plan::set_slot_sizes(&layout(), Slot::A, SlotSizes::default());
    let [plan::Step::Write { offset, bytes, .. }, plan::Step::Flush] = empty.as_slice() else {
        panic!("{empty:?}");
    };
    assert_eq!(disk.bytes(*offset, bytes.len()), *bytes);
}
