//! Reading requests off connections that no thread serves.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use shared::log::Level;
use shared::wire::{BodyMode, Frame, WireError, encode};

use super::connection::{Connection, Inbound};
use super::exchange::{Arrival, DaemonExchange};
use super::hub::{Hub, Limits};
use super::log;
use crate::clients::Caller;

/// How much is received at a time.
const PORTION: usize = 64 * 1024;

thread_local! {
    static PORTIONS: RefCell<Vec<u8>> = RefCell::new(vec![0; PORTION]);
}

/// Accepts a connection, if one waits that may ask.
pub fn accept(listener: &OwnedFd, limits: &Limits) -> Option<OwnedFd> {
    let buffers = limits.buffers;
    let socket = loop {
        match limits.peers.accept(listener)? {
            Caller::Peer(socket) => break socket,
            Caller::Refused(uid) => {
                let why = format!(
                    "a connection of the user #{uid} was refused: the socket is for the web server's user"
                );
                log(Level::Warning, why.as_bytes());
            }
        }
    };
    // A size that the system refuses is not worth losing a connection for.
    if let Some(size) = buffers.0.and_then(|size| usize::try_from(size).ok()) {
        let _ = setsockopt(&socket, sockopt::SndBuf, &size);
    }
    if let Some(size) = buffers.1.and_then(|size| usize::try_from(size).ok()) {
        let _ = setsockopt(&socket, sockopt::RcvBuf, &size);
    }
    Some(socket)
}

/// Reads a connection that rests, and `bytes` before what is in its socket. A request makes it one that is served.
///
/// # Errors
/// The connection is of no use any more: it has ended (`None`), or something is wrong with it.
pub fn read(
    hub: &Arc<Hub>,
    connection: &Arc<Connection>,
    bytes: Option<&[u8]>,
) -> Result<Option<DaemonExchange>, Option<String>> {
    let mut inbound = connection.inbound();
    if !connection.is_resting() {
        // Somebody else was first, and has a request of it.
        connection.stir();
        return Ok(None);
    }
    let mut waiting = std::mem::take(&mut inbound.pending);
    waiting.drain(..std::mem::take(&mut inbound.used).min(waiting.len()));
    waiting.extend_from_slice(bytes.unwrap_or_default());
    let mut arrival = None;
    if !waiting.is_empty() {
        arrival = parse(&mut inbound, &waiting).map_err(|error| Some(error.to_string()))?;
    }
    while arrival.is_none() {
        let received = PORTIONS.with_borrow_mut(|portion| match connection.receive(portion) {
            Ok(0) => Err(None),
            Ok(length) => {
                let bytes = portion.get(..length).unwrap_or_default();
                let arrival = parse(&mut inbound, bytes).map_err(|error| Some(error.to_string()))?;
                // A stream that gave less than there was room for has no more.
                Ok((arrival, length < PORTION))
            }
            Err(Errno::EAGAIN) => Ok((None, true)),
            Err(_) => Err(None),
        })?;
        arrival = received.0;
        if received.1 {
            break;
        }
    }
    let Some(arrival) = arrival else { return Ok(None) };
    if inbound.closing {
        // It crossed the word that this worker takes no more: the server asks another.
        return Err(None);
    }
    connection.begin();
    drop(inbound);
    Ok(Some(DaemonExchange::new(Arc::clone(connection), Arc::clone(hub), arrival)))
}

/// Finds a request in what has come, with as much of its body as came along; what is behind it is kept for later.
fn parse(inbound: &mut Inbound, bytes: &[u8]) -> Result<Option<Arrival>, WireError> {
    let mut input = bytes;
    let mut arrival: Option<Arrival> = None;
    while let Some(received) = inbound.reader.next(&mut input)? {
        inbound.requests.take(&received)?;
        match (received.frame, &mut arrival) {
            (Frame::Request { mount, head, body }, _) => {
                arrival = Some(Arrival {
                    number: received.exchange,
                    packed: [mount, head].concat(),
                    mount_length: mount.len(),
                    mode: body,
                    body: Vec::new(),
                    ended: Ok(body == BodyMode::None),
                });
                if body == BodyMode::None {
                    break;
                }
            }
            (Frame::Body(data), Some(arrival)) => arrival.body.extend_from_slice(data),
            (Frame::BodyEnd, Some(arrival)) => {
                arrival.ended = Ok(true);
                break;
            }
            (Frame::BodyFailed(error), Some(arrival)) => {
                arrival.ended = Err(error);
                break;
            }
            // The hello, or the rest of a body whose response has ended.
            _ => {}
        }
    }
    inbound.pending = input.to_vec();
    inbound.used = 0;
    Ok(arrival)
}

/// Tells the server that a connection takes no further request, unless one of it is served.
pub fn say_closing(connection: &Connection) {
    let mut inbound = connection.inbound();
    if !connection.is_resting() || std::mem::replace(&mut inbound.closing, true) {
        return;
    }
    let mut outbound = connection.outbound();
    let mut bytes = std::mem::take(&mut outbound.buffer);
    encode::go_away(&mut bytes);
    // A server that is gone has nothing to be told.
    let _ = connection.send(&[std::io::IoSlice::new(&bytes)], None);
}
