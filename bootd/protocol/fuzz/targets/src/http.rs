//! HTTP, both sides.

use bootd::boot_files;
use bootd::http::range::{Range, choose};
use bootd::http::request::{self, MAX_HEAD};
use node_initramfs::http::read_head;

use crate::input::Input;

/// A head is found at the same place however its bytes come in, and read.
pub(crate) fn request(data: &[u8]) {
    let mut input = Input::new(data);
    let cut = usize::from(input.u8());
    let data = input.rest();
    let data = &data[request::blank(data)..];
    let whole = request::head_len(data, 0);
    let mut seen = 0;
    let mut found = None;
    for end in (0..=data.len()).step_by(cut.max(1)).chain([data.len()]) {
        found = request::head_len(&data[..end], seen);
        if found.is_some() {
            break;
        }
        seen = end;
    }
    assert_eq!(found, whole, "in pieces of {cut} bytes");
    let Some(len) = whole else {
        let bad = request::too_long(data);
        assert!(!bad.why.is_empty());
        return;
    };
    if let Ok(request) = request::parse(&data[..len.min(MAX_HEAD)]) {
        assert!(request.target.starts_with(&request.path));
        assert!(request.host.is_some() || request.old);
    }
}

pub(crate) fn range(data: &[u8]) {
    let mut input = Input::new(data);
    let size = u64::from(input.u16()) << (input.u8() & 31);
    let Ok(header) = std::str::from_utf8(input.rest()) else {
        return;
    };
    for size in [size, 0, 1, u64::MAX] {
        match choose(Some(header), size) {
            Range::Part { start, len } => {
                assert!(len >= 1 && start.checked_add(len).is_some_and(|it| it <= size));
            }
            Range::Whole | Range::Unsatisfiable => {}
        }
    }
}

pub(crate) fn ipxe_query(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok((client, _)) = boot_files::client(query) {
        assert!(client.place.network.is_none());
    }
}

pub(crate) fn head(data: &[u8]) {
    let mut rest = data;
    if read_head(&mut rest).is_ok() {
        let head = &data[..data.len() - rest.len()];
        assert!(head.ends_with(b"\r\n\r\n"), "a byte of the body is lost");
    }
}
