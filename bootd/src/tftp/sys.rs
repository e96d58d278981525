//! The three things that no crate does safely in the form needed here: many datagrams with one
//! system call, each with its own address and control data, and a file's pages shared with the
//! kernel. The only `unsafe` of this crate's TFTP.
#![expect(
    unsafe_code,
    reason = "recvmmsg, sendmmsg, mmap: see the notes at each block"
)]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::{NonNull, null_mut};

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};
use nix::sys::socket::{SockaddrLike as _, SockaddrStorage};

/// Datagrams that one system call takes or gives at most.
pub(super) const WIDTH: usize = 64;

/// Datagrams that come or go when one client is served.
const FEW: usize = 4;

/// Longest datagram that is looked at, bytes: a request, with a name, a mode and options, fits
/// many times over.
const MAX_DATAGRAM: usize = 1_024;

/// Bytes of a socket address that matter: a `sockaddr_in6`.
const NAME: usize = 28;

/// Room for control data, bytes: one packet info and one segment size, each behind a header.
const CONTROL: usize = 64;

/// Control data, aligned as its headers want it (cmsg(3)).
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// A file's pages, mapped read-only. Only the kernel ever reads them, on behalf of a `sendmsg`:
/// a file that is cut short behind our back gives `EFAULT` there, and no signal.
pub(super) struct Mapping {
    base: NonNull<c_void>,
    len: usize,
}

// SAFETY: a Mapping is an address range that stays the same until it is dropped, and it hands
// out no reference into it.
unsafe impl Send for Mapping {}
// SAFETY: as above; madvise(2) and the kernel's reads are safe from several threads.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `file`.
    pub(super) fn new(file: &File, len: NonZeroUsize) -> nix::Result<Self> {
        let (prot, flags) = (ProtFlags::PROT_READ, MapFlags::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe { mmap(None, len, prot, flags, file, 0)? };
        Ok(Mapping {
            base,
            len: len.get(),
        })
    }

    /// Has the kernel read what is not in memory of `len` bytes from `start`, a multiple of the
    /// page size, and waits for it.
    pub(super) fn populate(&self, start: usize, len: usize) -> nix::Result<()> {
        self.advise(start, len, MmapAdvise::MADV_POPULATE_READ)
    }

    /// The process lets go of these pages; the page cache keeps them while it likes.
    pub(super) fn release(&self, start: usize, len: usize) -> nix::Result<()> {
        self.advise(start, len, MmapAdvise::MADV_DONTNEED)
    }

    fn advise(&self, start: usize, len: usize, advice: MmapAdvise) -> nix::Result<()> {
        let len = len.min(self.len.saturating_sub(start));
        if len == 0 {
            return Ok(());
        }
        // SAFETY: start + len <= self.len, so that the range lies in the mapping; a shared file
        // mapping loses nothing by either advice.
        unsafe { madvise(self.base.byte_add(start), len, advice) }
    }

    /// Where the bytes from `start` lie; none if not all of `len` are in the mapping.
    pub(super) fn part(&self, start: usize, len: usize) -> Option<Part<'_>> {
        let end = start.checked_add(len)?;
        let address = self.base.as_ptr().wrapping_byte_add(start);
        let lives = PhantomData;
        (end <= self.len).then_some(Part {
            address,
            len,
            lives,
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping's own, and nothing points into it: a Part borrows it.
        let _ = unsafe { munmap(self.base, self.len) };
    }
}

/// Bytes in memory that the kernel is to read, borrowed for as long. Laid out as a
/// `struct iovec`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Part<'a> {
    address: *mut c_void,
    len: usize,
    lives: PhantomData<&'a [u8]>,
}

impl<'a> Part<'a> {
    /// The bytes of a slice.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Part {
            address: bytes.as_ptr().cast_mut().cast(),
            len: bytes.len(),
            lives: PhantomData,
        }
    }
}

/// One message to send: one datagram, or several of `segment` bytes that the kernel cuts out of
/// it (UDP_SEGMENT, udp(7)).
pub(super) struct Message {
    /// To whom.
    pub(super) to: SocketAddr,
    /// From which of our addresses (`IP_PKTINFO`, ip(7)); its port means nothing.
    pub(super) from: SocketAddr,
    /// Bytes in each datagram; none: the whole is one.
    pub(super) segment: Option<u16>,
    /// How many of the parts are this message's.
    pub(super) parts: usize,
}

/// Sends `messages` in order, [`WIDTH`] at most, whose parts lie one behind the other in `parts`.
/// Gives back how many the kernel has taken; the error is that of the first.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    messages: &[Message],
    parts: &[Part<'_>],
) -> nix::Result<usize> {
    // To lay out much room for one message would take as long as to send it.
    if messages.len() <= FEW {
        send_upto::<FEW>(socket, messages, parts)
    } else {
        send_upto::<WIDTH>(socket, messages, parts)
    }
}

fn send_upto<const N: usize>(
    socket: BorrowedFd<'_>,
    messages: &[Message],
    parts: &[Part<'_>],
) -> nix::Result<usize> {
    let mut names = [const { None::<SockaddrStorage> }; N];
    let mut controls = [Control([0; CONTROL]); N];
    // SAFETY: an mmsghdr of zeros is one without name, parts or control data.
    let mut headers: [libc::mmsghdr; N] = unsafe { zeroed() };
    let mut rest = parts;
    for (((message, header), name), control) in messages
        .iter()
        .zip(&mut headers)
        .zip(&mut names)
        .zip(&mut controls)
    {
        let (own, others) = rest.split_at(message.parts);
        rest = others;
        let name = name.insert(SockaddrStorage::from(message.to));
        let header = &mut header.msg_hdr;
        header.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_namelen = name.len();
        // A Part has the layout of an iovec.
        header.msg_iov = own.as_ptr().cast_mut().cast();
        header.msg_iovlen = own.len();
        header.msg_control = (&raw mut control.0).cast();
        header.msg_controllen = control.fill(message);
    }
    let count = libc::c_uint::try_from(messages.len().min(N)).unwrap_or(0);
    // SAFETY: the first `count` headers point to names, parts and control data above, which live
    // until the call returns, as does what the parts borrow.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
    Errno::result(sent).map(|sent| usize::try_from(sent).unwrap_or(0))
}

// A Part is handed to the kernel as an iovec.
const _: () = {
    assert!(size_of::<Part>() == size_of::<libc::iovec>());
    assert!(std::mem::offset_of!(Part, address) == std::mem::offset_of!(libc::iovec, iov_base));
    assert!(std::mem::offset_of!(Part, len) == std::mem::offset_of!(libc::iovec, iov_len));
};

impl Control {
    /// Writes what goes with a message; gives back its length.
    fn fill(&mut self, message: &Message) -> usize {
        let mut used = match message.from {
            SocketAddr::V4(from) => {
                // struct in_pktinfo: interface index, our address, the header's address.
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&from.ip().octets());
                self.push(0, libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
            }
            SocketAddr::V6(from) => {
                // struct in6_pktinfo: our address, interface index.
                let mut info = [0; 20];
                info[..16].copy_from_slice(&from.ip().octets());
                info[16..].copy_from_slice(&from.scope_id().to_ne_bytes());
                self.push(0, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
            }
        };
        if let Some(segment) = message.segment {
            let size = segment.to_ne_bytes();
            used = self.push(used, libc::SOL_UDP, libc::UDP_SEGMENT, &size);
        }
        used
    }

    /// Writes one item (`struct cmsghdr`, cmsg(3)); gives back where the next begins.
    fn push(&mut self, at: usize, level: i32, kind: i32, data: &[u8]) -> usize {
        let end = at + HEADER + data.len();
        let (head, rest) = self.0[at..end].split_at_mut(size_of::<usize>());
        head.copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
        rest[..4].copy_from_slice(&level.to_ne_bytes());
        rest[4..8].copy_from_slice(&kind.to_ne_bytes());
        rest[8..].copy_from_slice(data);
        end.next_multiple_of(size_of::<usize>())
    }
}

/// Length of a `struct cmsghdr`.
const HEADER: usize = size_of::<libc::cmsghdr>();

/// Room for datagrams to be taken.
pub(super) struct Inbox {
    buffers: Box<[[u8; MAX_DATAGRAM]]>,
    names: Box<[[u8; NAME]]>,
    controls: Box<[Control]>,
    lengths: [(usize, usize); WIDTH],
    taken: usize,
}

/// A datagram that was taken.
pub(super) struct Datagram<'a> {
    /// Its bytes, cut at [`MAX_DATAGRAM`].
    pub(super) bytes: &'a [u8],
    /// Who sent it.
    pub(super) peer: SocketAddr,
    /// Which of our addresses it was sent to, with port 0, where the socket tells.
    pub(super) local: Option<SocketAddr>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Inbox {
            buffers: vec![[0; MAX_DATAGRAM]; WIDTH].into(),
            names: vec![[0; NAME]; WIDTH].into(),
            controls: vec![Control([0; CONTROL]); WIDTH].into(),
            lengths: [(0, 0); WIDTH],
            taken: 0,
        }
    }

    /// Takes datagrams that wait at `socket`, [`WIDTH`] at most, in place of those taken before;
    /// gives back how many. More may wait, however many came.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> nix::Result<usize> {
        // As many came last time, or a few.
        let taken = if self.taken < FEW {
            self.receive_upto::<FEW>(socket)
        } else {
            self.receive_upto::<WIDTH>(socket)
        };
        self.taken = taken.unwrap_or(0);
        taken
    }

    fn receive_upto<const N: usize>(&mut self, socket: BorrowedFd<'_>) -> nix::Result<usize> {
        // SAFETY: an mmsghdr of zeros is one without name, parts or control data.
        let mut headers: [libc::mmsghdr; N] = unsafe { zeroed() };
        let mut parts = [libc::iovec {
            iov_base: null_mut(),
            iov_len: MAX_DATAGRAM,
        }; N];
        for (index, (header, part)) in headers.iter_mut().zip(&mut parts).enumerate() {
            part.iov_base = self.buffers[index].as_mut_ptr().cast();
            let header = &mut header.msg_hdr;
            header.msg_iov = part;
            header.msg_iovlen = 1;
            header.msg_name = self.names[index].as_mut_ptr().cast();
            header.msg_namelen = 28;
            header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL;
        }
        let (fd, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT);
        let count = libc::c_uint::try_from(N).unwrap_or(0);
        // SAFETY: every header points to a buffer, a name and control data of its own, of the
        // lengths it says, which are borrowed mutably for the time of the call.
        let taken = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), count, flags, null_mut()) };
        let taken = usize::try_from(Errno::result(taken)?).unwrap_or(0);
        for (header, lengths) in headers.iter().zip(&mut self.lengths).take(taken) {
            let len = usize::try_from(header.msg_len).unwrap_or(0);
            *lengths = (len.min(MAX_DATAGRAM), header.msg_hdr.msg_controllen);
        }
        Ok(taken)
    }

    /// The datagram `index` of those taken last.
    pub(super) fn get(&self, index: usize) -> Option<Datagram<'_>> {
        let (len, control) = *self.lengths.get(index)?;
        Some(Datagram {
            bytes: &self.buffers[index][..len],
            peer: address(&self.names[index])?,
            local: local(self.controls[index].0.get(..control)?),
        })
    }
}

/// Reads a `sockaddr_in` or `sockaddr_in6`.
fn address(name: &[u8; NAME]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(word(name, 0)?));
    let port = u16::from_be_bytes(word(name, 2)?);
    match family {
        libc::AF_INET => Some((Ipv4Addr::from(word::<4>(name, 4)?), port).into()),
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(word::<16>(name, 8)?);
            let scope = u32::from_ne_bytes(word(name, 24)?);
            Some(SocketAddrV6::new(ip, port, 0, scope).into())
        }
        _ => None,
    }
}

/// The address in the packet info that comes first in the control data.
fn local(control: &[u8]) -> Option<SocketAddr> {
    let level = i32::from_ne_bytes(word(control, size_of::<usize>())?);
    let data = control.get(HEADER..)?;
    match level {
        // The local address of the packet's route: right for a broadcast, too.
        libc::IPPROTO_IP => {
            let ip = Ipv4Addr::from(word::<4>(data, 4)?);
            Some(SocketAddr::new(IpAddr::V4(ip), 0))
        }
        libc::IPPROTO_IPV6 => {
            let ip = Ipv6Addr::from(word::<16>(data, 0)?);
            let index = u32::from_ne_bytes(word(data, 16)?);
            let scope = if ip.is_unicast_link_local() { index } else { 0 };
            Some(SocketAddrV6::new(ip, 0, 0, scope).into())
        }
        _ => None,
    }
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Reads at most 4 KiB from the start of `file` if that needs no disk; an error otherwise.
pub(super) fn read_resident(file: &File, start: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let offset = libc::off_t::try_from(start).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the one part is `bytes`, borrowed mutably for the time of the call.
    let read = unsafe {
        libc::preadv2(
            file.as_raw_fd(),
            &raw const part,
            1,
            offset,
            libc::RWF_NOWAIT,
        )
    };
    Ok(usize::try_from(Errno::result(read)?).unwrap_or(0))
}
