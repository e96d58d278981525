use std::fs::File as FsFile;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use super::*;

const MIB: u64 = 1024 * 1024;

fn specs() -> Vec<FileSpec> {
    let spec = |path: &str, capacity| FileSpec {
        path: path.to_owned(),
        capacity,
    };
    vec![
        spec("/EFI/BOOT/BOOTX64.EFI", 4 * MIB),
        spec("/bootd/grubenv", 1024),
        spec("/bootd/a/linux", 64 * MIB),
        spec("/bootd/a/slot.cfg", 4096),
    ]
}

fn volume() -> Volume {
    Volume::new(512 * MIB, *b"\x01\x02\x03\x04", b"BOOTD-ESP  ", &specs()).expect("fits")
}

fn write_image(volume: &Volume, path: &Path) -> FsFile {
    let image = FsFile::create_new(path).expect("create");
    image.set_len(512 * MIB).expect("size");
    image.write_all_at(&volume.boot_sector(), 0).expect("write");
    for (offset, bytes) in volume.metadata() {
        image.write_all_at(&bytes, offset).expect("write");
    }
    image
}

fn run(program: &str, arguments: &[&str], image: &Path) -> String {
    let output = Command::new(program)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args(arguments)
        .arg(image)
        .output()
        .expect("dosfstools and mtools are installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {text}{errors}");
    text
}

fn mtool(program: &str, image: &Path, arguments: &[&str]) -> String {
    let script = "image=$1; shift; program=$1; shift; exec \"$program\" -i \"$image\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(image)
        .arg(program)
        .args(arguments)
        .output()
        .expect("sh runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn fsck_finds_nothing_in_a_volume_of_full_files() {
    let mut volume = volume();
    for file in volume.files().to_vec() {
        volume.set_size(&file, u32::try_from(file.capacity).expect("small"));
    }
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("esp");
    write_image(&volume, &path);
    let report = run("fsck.vfat", &["-n", "-v"], &path);
    assert!(!report.contains("Free cluster summary"), "{report}");
    assert!(report.contains("9 files, 17415/"), "{report}");
}

#[test]
fn mtools_read_names_in_their_case_and_contents_by_size() {
    let mut volume = volume();
    let config = volume.file("/bootd/a/slot.cfg").expect("laid out").clone();
    volume.set_size(&config, 5);
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("esp");
    let image = write_image(&volume, &path);
    image
        .write_all_at(b"hello, not this", config.offset)
        .expect("write");
    let listing = mtool("mdir", &path, &["-/", "-b", "::"]);
    let names: Vec<&str> = listing.lines().collect();
    let expected = [
        "::/EFI/",
        "::/EFI/BOOT/",
        "::/EFI/BOOT/BOOTX64.EFI",
        "::/bootd/",
        "::/bootd/a/",
        "::/bootd/a/linux",
        "::/bootd/a/slot.cfg",
        "::/bootd/grubenv",
    ];
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!(mtool("mtype", &path, &["::/bootd/a/slot.cfg"]), "hello");
    let label = mtool("mlabel", &path, &["-s", "::"]);
    assert!(label.contains("BOOTD-ESP"), "{label}");
}

#[test]
fn a_size_is_one_sector() {
    let before = volume();
    let file = before.file("/bootd/a/linux").expect("laid out").clone();
    let mut after = before.clone();
    after.set_size(&file, 77);
    let (offset, sector) = after.entry_sector(&file);
    assert_eq!(Volume::size_in(&file, &sector), 77);
    let differing: Vec<u64> = before
        .metadata()
        .into_iter()
        .zip(after.metadata())
        .filter(|(old, new)| old != new)
        .map(|(old, _)| old.0)
        .collect();
    assert_eq!(differing, [offset]);
}

#[test]
fn refuses_what_is_no_short_name() {
    for name in ["toolongname", "a.long", "Mixed", "a b", "", ".x", "\u{e9}"] {
        assert_eq!(short_name(name), None, "{name}");
    }
    assert_eq!(short_name("slot.cfg"), Some((*b"SLOT    CFG", 24)));
    assert_eq!(short_name("BOOTX64.EFI"), Some((*b"BOOTX64 EFI", 0)));
}

#[test]
fn refuses_files_that_do_not_fit() {
    let error = Volume::new(100 * MIB, [0; 4], b"X          ", &specs()).expect_err("too small");
    let text = "a FAT32 volume of 104857600 bytes cannot hold 71308288 bytes in clusters";
    assert_eq!(error.to_string(), text);
    let bytes = 300 * MIB;
    let large = [FileSpec {
        path: "/a".into(),
        capacity: bytes,
    }];
    let error = Volume::new(bytes, [0; 4], b"X          ", &large).expect_err("no room");
    let needed = bytes;
    assert_eq!(error, FatError::BadSize { bytes, needed });
}
