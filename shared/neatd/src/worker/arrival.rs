//! Reading requests off connections that no thread serves.

use std::cell::RefCell;

use nix::errno::Errno;
use shared::exchange::BodyError;
use shared::wire::{BodyMode, Frame, WireError};

use super::connection::{Connection, Inbound};

/// How much is received at a time.
const READ_SIZE: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
}

/// What is known of a request when its head has come.
#[derive(Debug)]
pub struct Arrival {
    /// Its number.
    pub number: u16,
    /// The packed entries of its mount, and its own behind them.
    pub packed: Vec<u8>,
    /// How long the first part is.
    pub mount_length: usize,
    /// How the body comes.
    pub mode: BodyMode,
    /// What of the body came with the head.
    pub body: Vec<u8>,
    /// Whether that is all of it, or an error instead.
    pub ended: Result<bool, BodyError>,
}

/// Reads a connection that rests, and `bytes` before what is in its socket. A request makes it one that is
/// served.
///
/// # Errors
/// The connection is of no use any more: it has ended (`None`), or something is wrong with it.
pub fn read(connection: &Connection, bytes: &[u8]) -> Result<Option<Arrival>, Option<String>> {
    let mut inbound = connection.inbound();
    if !connection.is_resting() {
        // Somebody else was first, and has a request of it.
        connection.note_readable();
        return Ok(None);
    }
    let mut waiting = std::mem::take(&mut inbound.pending);
    waiting.drain(..std::mem::take(&mut inbound.used).min(waiting.len()));
    waiting.extend_from_slice(bytes);
    let mut arrival = None;
    if !waiting.is_empty() {
        arrival = parse(&mut inbound, &waiting).map_err(|error| Some(error.to_string()))?;
    }
    while arrival.is_none() {
        let received = BUFFER.with_borrow_mut(|buffer| match connection.receive(buffer) {
            Ok(0) => Err(None),
            Ok(length) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                // Without a request it goes on until nothing is there, or the end: the one event that is told
                // may be of both the bytes and the end behind them, and nobody would look again.
                let arrival = parse(&mut inbound, bytes).map_err(|error| Some(error.to_string()))?;
                Ok((arrival, false))
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
    Ok(Some(arrival))
}

/// Finds a request in what has come, with as much of its body as came along; what is behind it is kept for
/// later.
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

#[cfg(test)]
mod tests {
    use super::*;
    use shared::wire::encode;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, Connection) {
        let (server, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (server, Connection::new(16, ours.into()))
    }

    fn request(number: u16, mode: BodyMode) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode::hello(&mut bytes);
        assert!(encode::request(&mut bytes, number, b"mount", b"head", mode));
        bytes
    }

    #[test]
    fn a_request_is_read_with_what_came_of_its_body() {
        let (mut server, connection) = pair();
        assert!(matches!(read(&connection, b""), Ok(None)));
        let mut bytes = request(1, BodyMode::Pushed);
        encode::data(&mut bytes, shared::wire::Kind::Body, 1, b"body");
        server.write_all(&bytes).unwrap();
        let arrival = read(&connection, b"").unwrap().unwrap();
        assert_eq!(
            (arrival.number, arrival.mount_length, arrival.packed.as_slice()),
            (1, 5, &b"mounthead"[..])
        );
        assert_eq!((arrival.body.as_slice(), arrival.ended), (&b"body"[..], Ok(false)));
        assert!(!connection.is_resting());
        assert!(matches!(read(&connection, b""), Ok(None)), "a thread serves it, and reads it");
        assert!(connection.rest(), "something may have come");
    }

    #[test]
    fn what_another_worker_has_read_comes_first() {
        let (mut server, connection) = pair();
        let bytes = request(1, BodyMode::None);
        let (first, rest) = bytes.split_at(7);
        server.write_all(rest).unwrap();
        assert_eq!(read(&connection, first).unwrap().unwrap().number, 1);
    }

    #[test]
    fn a_request_behind_the_go_away_is_not_begun() {
        let (mut server, connection) = pair();
        connection.send_go_away();
        server.write_all(&request(1, BodyMode::None)).unwrap();
        assert_eq!(read(&connection, b"").unwrap_err(), None);
        assert!(connection.is_resting());
    }

    #[test]
    fn nonsense_and_the_end_are_told_apart() {
        let (mut server, connection) = pair();
        server.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert!(read(&connection, b"").unwrap_err().is_some());
        let (server, connection) = pair();
        drop(server);
        assert_eq!(read(&connection, b"").unwrap_err(), None);
    }

    #[test]
    fn the_end_behind_half_a_request_is_seen_at_once() {
        let (mut server, connection) = pair();
        server.write_all(&request(1, BodyMode::None)[..7]).unwrap();
        drop(server);
        assert_eq!(read(&connection, b"").unwrap_err(), None);
    }
}
