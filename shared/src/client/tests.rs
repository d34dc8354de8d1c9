//! The client against workers that keep to the protocol, that do not, and that die.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Pool;
use super::retry::MAX_GIVEN_BACK;
use crate::conf::group::ProcessGroup;
use crate::exchange::{Body, BodyError, End, Exchange, SendError};
use crate::http::key::Key;
use crate::http::packed::Packer;
use crate::launch::handover::socket_path;
use crate::log::Level;
use crate::wire::decode::Side;
use crate::wire::{Frame, Kind, Reader, encode};
use crate::wsgi::response::ResponseHead;

/// A request without a body, and everything that was said to its server.
struct Asked {
    head: Vec<u8>,
    said: Vec<String>,
    logged: RefCell<String>,
}

impl Asked {
    fn new() -> Self {
        let mut head = Packer::new();
        head.set(Key::RequestMethod, b"GET");
        Self { head: head.finish().as_bytes().to_vec(), said: Vec::new(), logged: RefCell::default() }
    }

    fn served_by(mut self, pool: &Pool) -> (Vec<String>, String) {
        pool.serve(&mut self);
        (self.said, self.logged.into_inner())
    }
}

impl Exchange for Asked {
    fn mount(&self) -> &[u8] {
        &[]
    }
    fn head(&self) -> &[u8] {
        &self.head
    }
    fn body(&self) -> Body<'_> {
        Body::Empty
    }
    fn read_body(&mut self, _: &mut [u8]) -> Result<usize, BodyError> {
        Ok(0)
    }
    fn send_head(&mut self, head: ResponseHead<'_>) -> Result<(), SendError> {
        self.said.push(format!("head {}", head.status));
        Ok(())
    }
    fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.said.push(format!("body {}", String::from_utf8_lossy(data)));
        Ok(())
    }
    fn send_file(&mut self, _: BorrowedFd<'_>, _: u64, length: u64) -> Result<(), SendError> {
        self.said.push(format!("file {length}"));
        Ok(())
    }
    fn flush(&mut self) -> Result<(), SendError> {
        self.said.push("flush".to_owned());
        Ok(())
    }
    fn gone(&self) -> Option<SendError> {
        None
    }
    fn retry_after(&mut self, seconds: u16) {
        self.said.push(format!("retry after {seconds}"));
    }
    fn end(&mut self, end: End) {
        self.said.push(format!("{end:?}"));
    }
    fn log(&self, _: Level, message: &[u8]) {
        self.logged.borrow_mut().push_str(&String::from_utf8_lossy(message));
    }
    fn send_is_instant(&self, _: usize) -> bool {
        true
    }
}

/// What a worker does when a request has come, given its number.
type Script = fn(&mut Vec<u8>, u16);

/// A group of one worker that accepts connections in turn, and answers the requests of each with the next
/// answers.
struct Group {
    directory: PathBuf,
    pool: Pool,
    worker: JoinHandle<usize>,
    /// Gives something for each connection that the worker has closed.
    closed: Receiver<()>,
}

impl Group {
    /// A worker whose connections answer so; it gives the number of requests that it has seen.
    fn answering(name: &str, connections: Vec<Vec<Script>>) -> Self {
        let (directory, pool) = pool(name);
        let listener = UnixListener::bind(socket_path(&directory.join("wsgi"), "shop")).unwrap();
        let (closes, closed) = channel();
        let worker = std::thread::spawn(move || {
            let mut seen = 0;
            for answers in connections {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let mut reader = Reader::new(Side::Server);
                let mut greeting = true;
                for answer in answers {
                    let Some(exchange) = next_request(&mut stream, &mut reader) else { break };
                    seen += 1;
                    let mut bytes = Vec::new();
                    if std::mem::take(&mut greeting) {
                        encode::hello(&mut bytes);
                    }
                    answer(&mut bytes, exchange);
                    let _ = stream.write_all(&bytes);
                }
                drop(stream);
                let _ = closes.send(());
            }
            seen
        });
        Self { directory, pool, worker, closed }
    }

    fn seen(self) -> usize {
        drop(self.pool);
        let seen = self.worker.join().unwrap();
        std::fs::remove_dir_all(&self.directory).unwrap();
        seen
    }
}

fn pool(name: &str) -> (PathBuf, Pool) {
    let directory = std::env::temp_dir().join(format!("neat-client-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    let mut conf = ProcessGroup::named("shop");
    conf.connect_timeout = Duration::from_millis(200);
    conf.response_socket_timeout = Duration::from_millis(300);
    let pool = Pool::new(&directory.join("wsgi"), &conf);
    (directory, pool)
}

fn next_request(stream: &mut UnixStream, reader: &mut Reader) -> Option<u16> {
    let mut bytes = [0; 4096];
    loop {
        let length = stream.read(&mut bytes).ok().filter(|length| *length > 0)?;
        let mut input = &bytes[..length];
        while let Some(received) = reader.next(&mut input).unwrap() {
            if matches!(received.frame, Frame::Request { .. }) {
                return Some(received.exchange);
            }
        }
    }
}

fn head(bytes: &mut Vec<u8>, exchange: u16) {
    let head = ResponseHead { status: 200, reason: b"OK", fields: &[], length: None };
    assert!(encode::head(bytes, Kind::Head, exchange, head));
}

fn whole(bytes: &mut Vec<u8>, exchange: u16) {
    head(bytes, exchange);
    encode::data(bytes, Kind::Chunk, exchange, b"hello");
    encode::end(bytes, exchange);
}

fn nothing(_: &mut Vec<u8>, _: u16) {}

#[test]
fn a_connection_is_used_again() {
    let group = Group::answering("again", vec![vec![whole, whole]]);
    for _ in 0..2 {
        let (said, logged) = Asked::new().served_by(&group.pool);
        assert_eq!(
            (said, logged.as_str()),
            (vec!["head 200".into(), "body hello".into(), "Complete".into()], "")
        );
    }
    assert_eq!(group.seen(), 2);
}

#[test]
fn what_is_flushed_leaves_before_a_cut() {
    let cut: Script = |bytes, exchange| {
        head(bytes, exchange);
        encode::data(bytes, Kind::Chunk, exchange, b"one");
        encode::flush(bytes, exchange);
        encode::data(bytes, Kind::Chunk, exchange, b"two");
        encode::failed(bytes, exchange, 0, 0, b"it broke");
    };
    let group = Group::answering("flush", vec![vec![cut]]);
    let (said, logged) = Asked::new().served_by(&group.pool);
    assert_eq!(said, ["head 200", "body one", "flush", "body two", "flush", "Cut"]);
    assert_eq!(logged, "process group shop: it broke");
    assert_eq!(group.seen(), 1);
}

#[test]
fn a_request_that_was_not_begun_is_asked_again() {
    let closing: Script = |bytes, _| encode::go_away(bytes);
    let group = Group::answering("closing", vec![vec![whole, closing], vec![whole]]);
    for _ in 0..2 {
        assert_eq!(Asked::new().served_by(&group.pool).0, ["head 200", "body hello", "Complete"]);
    }
    assert_eq!(group.seen(), 3);
}

#[test]
fn a_worker_that_leaves_behind_its_response_is_not_asked_again() {
    let last: Script = |bytes, exchange| {
        whole(bytes, exchange);
        encode::go_away(bytes);
    };
    let group = Group::answering("leaves", vec![vec![last], vec![last], vec![whole]]);
    for _ in 0..3 {
        assert_eq!(Asked::new().served_by(&group.pool).0, ["head 200", "body hello", "Complete"]);
    }
    assert_eq!(group.seen(), 3);
}

#[test]
fn what_stands_behind_a_response_harms_nobody_but_its_connection() {
    let more: Script = |bytes, exchange| {
        whole(bytes, exchange);
        encode::end(bytes, exchange);
    };
    let group = Group::answering("behind", vec![vec![more], vec![whole]]);
    for _ in 0..2 {
        let (said, logged) = Asked::new().served_by(&group.pool);
        assert_eq!(said, ["head 200", "body hello", "Complete"], "{logged}");
    }
    assert_eq!(group.seen(), 2);
}

#[test]
fn a_request_that_every_worker_gives_back_is_503() {
    let closing: Script = |bytes, _| encode::go_away(bytes);
    let connections = (0..=MAX_GIVEN_BACK).map(|_| vec![closing]).collect();
    let group = Group::answering("gone", connections);
    let (said, logged) = Asked::new().served_by(&group.pool);
    assert_eq!(said, ["retry after 1", "Status(503)"]);
    assert!(logged.contains("takes no further request"), "{logged}");
    assert_eq!(group.seen(), 1 + MAX_GIVEN_BACK as usize);
}

#[test]
fn a_request_that_was_begun_and_given_back_is_502() {
    let both: Script = |bytes, exchange| {
        encode::log(bytes, exchange, Level::Info, b"begun, ");
        encode::go_away(bytes);
    };
    let group = Group::answering("both", vec![vec![both]]);
    let (said, logged) = Asked::new().served_by(&group.pool);
    assert_eq!(said, ["Status(502)"]);
    assert_eq!(logged, "begun, process group shop: its process sent a GoAway frame out of order");
    assert_eq!(group.seen(), 1);
}

#[test]
fn a_head_that_no_frame_holds_is_431() {
    let group = Group::answering("long", vec![vec![whole]]);
    let mut asked = Asked::new();
    asked.head.resize(1 << 20, 0);
    let (said, logged) = asked.served_by(&group.pool);
    assert_eq!(said, ["Status(431)"]);
    assert!(logged.contains("longer than 1 MiB"), "{logged}");
    assert_eq!(group.seen(), 0);
}

#[test]
fn a_connection_that_ended_while_it_rested_costs_nothing() {
    let group = Group::answering("rested", vec![vec![whole], vec![whole]]);
    assert_eq!(Asked::new().served_by(&group.pool).0, ["head 200", "body hello", "Complete"]);
    group.closed.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(Asked::new().served_by(&group.pool).0, ["head 200", "body hello", "Complete"]);
    assert_eq!(group.seen(), 2);
}

#[test]
fn a_request_that_ended_its_worker_is_not_asked_again() {
    let group = Group::answering("died", vec![vec![nothing], vec![head]]);
    let (said, logged) = Asked::new().served_by(&group.pool);
    assert_eq!(said, ["Status(502)"]);
    assert!(logged.contains("ended the connection before the response was complete"), "{logged}");
    assert_eq!(Asked::new().served_by(&group.pool).0, ["head 200", "flush", "Cut"]);
    assert_eq!(group.seen(), 2);
}

#[test]
fn a_worker_that_does_not_keep_to_the_protocol_is_502() {
    let garbage: Script = |bytes, _| bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\n\r\n");
    let group = Group::answering("garbage", vec![vec![garbage]]);
    let (said, logged) = Asked::new().served_by(&group.pool);
    assert_eq!(said, ["Status(502)"]);
    assert!(logged.starts_with("process group shop: its process sent "), "{logged}");
    assert_eq!(group.seen(), 1);
}

#[test]
fn a_worker_that_refuses_is_believed() {
    let refuses: Script = |bytes, exchange| encode::failed(bytes, exchange, 503, 7, b"the queue is full");
    let group = Group::answering("refuses", vec![vec![refuses]]);
    let (said, logged) = Asked::new().served_by(&group.pool);
    assert_eq!(said, ["retry after 7", "Status(503)"]);
    assert!(logged.contains("the queue is full"));
    assert_eq!(group.seen(), 1);
}

#[test]
fn a_worker_that_says_nothing_is_504() {
    let group = Group::answering("silent", vec![vec![nothing, nothing]]);
    let (said, logged) = Asked::new().served_by(&group.pool);
    assert_eq!(said, ["Status(504)"]);
    assert!(logged.contains("did not answer within 0.3 s (response-socket-timeout)"), "{logged}");
    assert_eq!(group.seen(), 1);
}

#[test]
fn a_group_that_is_not_there_is_503() {
    let (directory, pool) = pool("absent");
    let (said, logged) = Asked::new().served_by(&pool);
    assert_eq!(said, ["retry after 1", "Status(503)"]);
    assert!(logged.contains("wsgi.shop.sock\" cannot be reached"), "{logged}");
    std::fs::remove_dir_all(directory).unwrap();
}
