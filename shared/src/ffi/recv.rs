//! Receiving bytes from a socket together with the descriptors that came with them (unix(7), `SCM_RIGHTS`).

use std::io::{Error, ErrorKind, IoSliceMut, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What came.
#[derive(Debug)]
pub struct Received {
    /// The bytes; 0 at the end of the connection.
    pub length: usize,
    /// The descriptors, which are closed on exec. Two at most.
    pub descriptors: Vec<OwnedFd>,
    /// The kernel dropped more descriptors (`MSG_CTRUNC`).
    pub is_truncated: bool,
    /// The user who sent it, as the kernel says, where the socket asks for that (`SO_PASSCRED`) and
    /// [`recv_with_sender`] has received it.
    pub sender: Option<u32>,
}

/// Room for one descriptor, and, by its alignment, a second.
// SAFETY: computes a size.
const CONTROL: usize = unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as usize;

/// Room for the sender's credentials as well.
// SAFETY: computes a size.
const CONTROL_WITH_SENDER: usize =
    CONTROL + unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) } as usize;

/// `CMSG_ALIGN` of every platform is at most this.
#[repr(align(16))]
struct Control<const SIZE: usize>([u8; SIZE]);

/// Receives into `parts`; `flags` as for recvmsg(2). A call that a signal interrupts is made again.
///
/// # Errors
/// What the system said.
pub fn recv(socket: BorrowedFd<'_>, parts: &mut [IoSliceMut<'_>], flags: i32) -> Result<Received> {
    recv_into(socket, parts, flags, &mut Control([0; CONTROL]))
}

/// Receives likewise, and says who sent it.
///
/// # Errors
/// What the system said.
pub fn recv_with_sender(
    socket: BorrowedFd<'_>,
    parts: &mut [IoSliceMut<'_>],
    flags: i32,
) -> Result<Received> {
    recv_into(socket, parts, flags, &mut Control([0; CONTROL_WITH_SENDER]))
}

fn recv_into<const SIZE: usize>(
    socket: BorrowedFd<'_>,
    parts: &mut [IoSliceMut<'_>],
    flags: i32,
    control: &mut Control<SIZE>,
) -> Result<Received> {
    loop {
        // SAFETY: all zeroes is an empty message; `IoSliceMut` has the layout of `iovec`; the parts and the
        // control memory live for the call.
        let (length, message) = unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = parts.as_mut_ptr().cast();
            message.msg_iovlen = parts.len() as _;
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = SIZE as _;
            let flags = flags | libc::MSG_CMSG_CLOEXEC;
            (libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags), message)
        };
        match usize::try_from(length) {
            Ok(length) => {
                // SAFETY: the kernel filled the message in just now.
                let (descriptors, sender) = unsafe { attached(&message) };
                let is_truncated = message.msg_flags & libc::MSG_CTRUNC != 0;
                return Ok(Received { length, descriptors, is_truncated, sender });
            }
            Err(_) => {
                let error = Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// # Safety
/// The kernel filled `message` in just now, and nobody else has read its descriptors.
unsafe fn attached(message: &libc::msghdr) -> (Vec<OwnedFd>, Option<u32>) {
    let mut found = Vec::new();
    let mut sender = None;
    // SAFETY: the macros of cmsg(3) walk what the kernel wrote; each descriptor is new and nobody else's.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                let numbers = libc::CMSG_DATA(header).cast::<RawFd>();
                for index in 0..bytes / size_of::<RawFd>() {
                    found.push(OwnedFd::from_raw_fd(numbers.add(index).read_unaligned()));
                }
            }
            let is_whole =
                (*header).cmsg_len as usize >= libc::CMSG_LEN(size_of::<libc::ucred>() as u32) as usize;
            if (*header).cmsg_level == libc::SOL_SOCKET
                && (*header).cmsg_type == libc::SCM_CREDENTIALS
                && is_whole
            {
                sender = Some(libc::CMSG_DATA(header).cast::<libc::ucred>().read_unaligned().uid);
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    (found, sender)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

    use super::*;

    fn sent(count: usize) -> Received {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let numbers = vec![ours.as_raw_fd(); count];
        let rights = [ControlMessage::ScmRights(&numbers)];
        let rights = if count == 0 { &[][..] } else { &rights };
        let parts = [IoSlice::new(b"bytes")];
        sendmsg::<()>(theirs.as_raw_fd(), &parts, rights, MsgFlags::empty(), None).unwrap();
        let (mut first, mut second) = ([0; 2], [0; 10]);
        let received =
            recv(ours.as_fd(), &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)], 0);
        assert_eq!((&first, &second[..3]), (b"by", &b"tes"[..]));
        received.unwrap()
    }

    #[test]
    fn descriptors_come_with_the_bytes() {
        for count in 0..3 {
            let received = sent(count);
            let came = (received.length, received.descriptors.len(), received.is_truncated);
            assert_eq!(came, (5, count, false));
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_dropped_and_said() {
        let received = sent(3);
        assert!(received.is_truncated);
        assert!(received.descriptors.len() <= 2);
    }

    #[test]
    fn an_error_is_the_systems() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let flags = libc::MSG_DONTWAIT;
        let error = recv(ours.as_fd(), &mut [IoSliceMut::new(&mut [0])], flags).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        drop(theirs);
        assert_eq!(recv(ours.as_fd(), &mut [IoSliceMut::new(&mut [0])], flags).unwrap().length, 0);
    }
}
