//! Where a fuzzer begins: what both sides send, and each way to get it wrong.

use shared::exchange::BodyError;
use shared::log::Level;
use shared::wire::decode::Side;
use shared::wire::frame::{LONGEST_CAUSE, LONGEST_DATA, LONGEST_HEAD, LONGEST_LOG};
use shared::wire::{BodyMode, HEADER, Kind, encode};
use shared::wsgi::response::OwnedResponseHead;

use crate::check::{FIRST, RAW, SILENT, SIZES};

/// A head as a response begins with it.
pub fn head_of(status: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    built(|bytes| head(bytes, 1, status, fields))
}

fn head(bytes: &mut Vec<u8>, exchange: u16, status: &str, fields: &[(&str, &str)]) {
    let mut head = OwnedResponseHead::new(status.as_bytes()).unwrap();
    for (name, value) in fields {
        head.add(name.as_bytes(), value.as_bytes()).unwrap();
    }
    assert!(encode::head(bytes, Kind::Head, exchange, head.view()));
}

/// An informational response: the application gives none, so that no type makes one.
fn informational(bytes: &mut Vec<u8>, exchange: u16, status: u16) {
    let field = [&4_u16.to_le_bytes()[..], &6_u32.to_le_bytes(), b"Linkto/css"].concat();
    let parts = [&status.to_le_bytes()[..], &[0; 14], &field].concat();
    raw(bytes, Kind::Informational, exchange, &parts);
}

fn request(bytes: &mut Vec<u8>, exchange: u16, body: BodyMode) {
    // A numbered key and a named one.
    let entry = [&[0][..], &3_u32.to_le_bytes(), b"GET"].concat();
    let named = [&[254][..], &4_u16.to_le_bytes(), b"SPAM", &1_u32.to_le_bytes(), b"1"].concat();
    assert!(encode::request(bytes, exchange, &named, &entry, body));
}

/// A frame that no function makes.
fn raw(bytes: &mut Vec<u8>, kind: Kind, exchange: u16, data: &[u8]) {
    bytes.extend_from_slice(&encode::header(kind, exchange, data.len()));
    bytes.extend_from_slice(data);
}

/// A hello with one of its bytes changed.
fn hello(at: usize, byte: u8) -> Vec<u8> {
    built(|bytes| {
        encode::hello(bytes);
        bytes[at] = byte;
    })
}

/// A header of nothing, with a kind and a reserved byte that no encoder writes.
fn header(kind: u8, zero: u8) -> Vec<u8> {
    vec![0, 0, 0, 0, kind, zero, 1, 0]
}

fn built(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    build(&mut bytes);
    bytes
}

/// As a whole, in small portions, in larger ones, and with empty ones between: in turns over the seeds.
const PORTIONS: [[u8; SIZES]; 4] = [[255; SIZES], [3, 1, 7, 2], [40, 9, 64, 128], [0, 5, 0, 13]];

/// The seeds of a side, by their names.
pub fn of(side: Side) -> Vec<(&'static str, Vec<u8>)> {
    let seeds = if side == Side::Worker { answers() } else { requests() };
    let input = |number: usize, choices, stream: Vec<u8>| {
        [&PORTIONS[number % PORTIONS.len()][..], &[choices], &stream].concat()
    };
    seeds
        .into_iter()
        .enumerate()
        .map(|(number, (name, choices, stream))| (name, input(number, choices, stream)))
        .collect()
}

type Seed = (&'static str, u8, Vec<u8>);

fn seed(name: &'static str, choices: u8, build: impl FnOnce(&mut Vec<u8>)) -> Seed {
    (name, choices, built(build))
}

/// A response of two bytes up to its end, in the given exchange.
fn answer(bytes: &mut Vec<u8>, exchange: u16) {
    head(bytes, exchange, "200 OK", &[("Content-Length", "2")]);
    encode::data(bytes, Kind::Chunk, exchange, b"ok");
    encode::end(bytes, exchange);
}

fn answers() -> Vec<Seed> {
    let long = &[("Content-Length", "4"), ("X", "")];
    vec![
        seed("every-frame", 0, |bytes| {
            informational(bytes, 1, 103);
            encode::want_body(bytes, 1, 65536);
            encode::log(bytes, 1, Level::Warning, b"a line");
            head(bytes, 1, "200 OK", &[("Set-Cookie", "a"), ("Set-Cookie", "b")]);
            encode::data(bytes, Kind::Chunk, 1, b"some data");
            encode::flush(bytes, 1);
            encode::file(bytes, 1, 7, 10);
            raw(bytes, Kind::Trailers, 1, b"\x01\0\x01\0\0\0ab");
            encode::end(bytes, 1);
            encode::failed(bytes, 2, 503, 1, b"a cause");
            encode::go_away(bytes);
        }),
        seed("one-after-the-other", 0, |bytes| (1..5).for_each(|exchange| answer(bytes, exchange))),
        seed("file", 0, |bytes| {
            head(bytes, 1, "200 OK", &[("Content-Length", "10")]);
            encode::mark_file(bytes, 0);
            encode::file(bytes, 1, 7, 10);
            encode::end(bytes, 1);
        }),
        seed("file-longer-than-declared", 0, |bytes| {
            head(bytes, 1, "200 OK", long);
            encode::file(bytes, 1, u64::MAX, u64::MAX);
        }),
        seed("files-without-a-length", 0, |bytes| {
            head(bytes, 1, "200 OK", &[]);
            encode::file(bytes, 1, u64::MAX, u64::MAX);
            encode::file(bytes, 1, 1, u64::MAX);
            encode::end(bytes, 1);
        }),
        seed("data-cut", 0, |bytes| {
            head(bytes, 1, "200 OK", &[]);
            encode::data(bytes, Kind::Chunk, 1, b"more was to come");
            bytes.truncate(bytes.len() - 5);
        }),
        seed("header-cut", 0, |bytes| {
            answer(bytes, 1);
            bytes.truncate(bytes.len() - 3);
        }),
        seed("head-cut", 0, |bytes| {
            head(bytes, 1, "200 OK", long);
            bytes.truncate(bytes.len() - 2);
        }),
        seed("data-longer-than-declared", 0, |bytes| {
            head(bytes, 1, "200 OK", long);
            encode::data(bytes, Kind::Chunk, 1, b"12");
            encode::data(bytes, Kind::Chunk, 1, b"345");
        }),
        seed("data-shorter-than-declared", 0, |bytes| {
            head(bytes, 1, "200 OK", long);
            encode::data(bytes, Kind::Chunk, 1, b"123");
            encode::end(bytes, 1);
        }),
        seed("head-request", FIRST << 1, |bytes| {
            head(bytes, 1, "200 OK", long);
            encode::end(bytes, 1);
        }),
        seed("head-request-with-data", FIRST << 1, |bytes| answer(bytes, 1)),
        seed("no-content", 0, |bytes| {
            head(bytes, 1, "204 No Content", long);
            encode::end(bytes, 1);
        }),
        seed("not-modified-with-data", 0, |bytes| {
            head(bytes, 1, "304 Not Modified", long);
            encode::data(bytes, Kind::Chunk, 1, b"1234");
        }),
        seed("data-empty", 0, |bytes| {
            head(bytes, 1, "200 OK", &[]);
            raw(bytes, Kind::Chunk, 1, b"");
        }),
        seed("data-before-head", 0, |bytes| encode::data(bytes, Kind::Chunk, 1, b"x")),
        seed("head-twice", 0, |bytes| {
            head(bytes, 1, "200 OK", &[]);
            head(bytes, 1, "200 OK", &[]);
        }),
        seed("informational-behind-head", 0, |bytes| {
            head(bytes, 1, "200 OK", &[]);
            informational(bytes, 1, 103);
        }),
        seed("informational-switching-protocols", 0, |bytes| informational(bytes, 1, 101)),
        seed("end-before-head", 0, |bytes| encode::end(bytes, 1)),
        seed("answer-unasked", SILENT | (SILENT << 1) | (SILENT << 2), |bytes| answer(bytes, 1)),
        seed("answer-of-another-exchange", 0, |bytes| answer(bytes, 2)),
        seed("failed-before-head", 0, |bytes| encode::failed(bytes, 1, 500, 0, b"")),
        seed("failed-behind-head", 0, |bytes| {
            head(bytes, 1, "200 OK", &[]);
            encode::failed(bytes, 1, 0, 0, b"the application raised");
        }),
        seed("failed-with-a-status-behind-head", 0, |bytes| {
            head(bytes, 1, "200 OK", &[]);
            encode::failed(bytes, 1, 500, 0, b"");
        }),
        seed("failed-with-a-good-status", 0, |bytes| encode::failed(bytes, 1, 200, 0, b"")),
        seed("go-away-idle", SILENT | (SILENT << 1) | (SILENT << 2), encode::go_away),
        seed("go-away-crosses-a-request", 0, encode::go_away),
        seed("go-away-twice", 0, |bytes| {
            encode::go_away(bytes);
            encode::go_away(bytes);
        }),
        seed("go-away-within-a-body", 0, |bytes| {
            head(bytes, 1, "200 OK", &[]);
            encode::go_away(bytes);
        }),
        seed("go-away-of-an-exchange", 0, |bytes| raw(bytes, Kind::GoAway, 1, b"")),
        seed("answer-behind-go-away", 0, |bytes| {
            encode::go_away(bytes);
            answer(bytes, 1);
        }),
        seed("head-with-a-line-break", 0, |bytes| {
            head(bytes, 1, "200 OK", &[("Name", "value")]);
            let at = bytes.len() - 2;
            bytes[at] = b'\n';
        }),
        seed("head-with-a-reason-beyond-its-end", 0, |bytes| {
            head(bytes, 1, "200 OK", &[]);
            bytes[HEADER + 4] = 200;
        }),
        seed("head-with-a-field-beyond-its-end", 0, |bytes| {
            head(bytes, 1, "200 OK", &[("Name", "value")]);
            let at = bytes.len() - b"Namevalue".len() - 4;
            bytes[at] = 6;
        }),
        seed("head-with-an-unknown-flag", 0, |bytes| {
            head(bytes, 1, "200 OK", &[]);
            bytes[HEADER + 2] = 4;
        }),
        seed("log-of-an-unknown-level", 0, |bytes| raw(bytes, Kind::Log, 1, b"\xffa line")),
        seed("head-over-the-bound", 0, |bytes| {
            bytes.extend_from_slice(&encode::header(Kind::Head, 1, LONGEST_HEAD + 1));
        }),
        seed("log-over-the-bound", 0, |bytes| {
            bytes.extend_from_slice(&encode::header(Kind::Log, 1, LONGEST_LOG + 1));
        }),
        seed("cause-over-the-bound", 0, |bytes| {
            bytes.extend_from_slice(&encode::header(Kind::Failed, 1, LONGEST_CAUSE + 1));
        }),
        seed("data-over-the-bound", 0, |bytes| bytes.extend_from_slice(&over_the_bound(Kind::Chunk))),
        seed("frame-of-the-other-side", 0, |bytes| request(bytes, 1, BodyMode::None)),
        ("unknown-kind", 0, header(15, 0)),
        ("reserved-byte", 0, header(Kind::Flush as u8, 1)),
        ("hello-twice", RAW, [hello(0, 12), hello(0, 12)].concat()),
        ("hello-missing", RAW, built(|bytes| answer(bytes, 1))),
        ("hello-of-another-version", RAW, hello(HEADER + 4, 99)),
        ("hello-of-another-protocol", RAW, hello(HEADER, b'X')),
        ("hello-of-other-keys", RAW, hello(HEADER + 8, 0)),
        ("hello-with-a-reserved-byte", RAW, hello(HEADER + 6, 1)),
        ("hello-of-an-exchange", RAW, hello(HEADER - 2, 1)),
        ("http", RAW, b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        ("nothing", RAW, Vec::new()),
        seed("file-beyond-its-end", 0, |bytes| {
            head(bytes, 1, "200 OK", &[]);
            encode::mark_file(bytes, 0);
            encode::file(bytes, 1, u64::MAX, 2);
            encode::end(bytes, 1);
        }),
        seed("file-that-does-not-follow", 0, |bytes| {
            head(bytes, 1, "200 OK", &[]);
            encode::mark_file(bytes, 0);
            encode::end(bytes, 1);
        }),
        seed("file-unannounced", 0, |bytes| {
            head(bytes, 1, "200 OK", &[]);
            encode::file(bytes, 1, 0, 1);
            encode::end(bytes, 1);
        }),
        seed("body-wanted-again-and-again", 0, |bytes| {
            (0..3).for_each(|_| encode::want_body(bytes, 1, 1));
            answer(bytes, 1);
        }),
        seed("body-wanted-of-a-request-without-one", 0, |bytes| {
            answer(bytes, 1);
            encode::want_body(bytes, 2, 1);
        }),
        seed("body-wanted-of-no-bytes", 0, |bytes| encode::want_body(bytes, 1, 0)),
        seed("go-away-behind-a-log-line", 0, |bytes| {
            encode::log(bytes, 1, Level::Info, b"begun");
            encode::go_away(bytes);
        }),
        seed("go-away-behind-the-end", 0, |bytes| {
            answer(bytes, 1);
            encode::go_away(bytes);
        }),
    ]
}

fn over_the_bound(kind: Kind) -> Vec<u8> {
    let mut header = encode::header(kind, 1, LONGEST_DATA).to_vec();
    header[0] = 1;
    header
}

fn requests() -> Vec<Seed> {
    vec![
        seed("every-frame", 0, |bytes| {
            request(bytes, 1, BodyMode::Pushed);
            encode::data(bytes, Kind::Body, 1, b"some body");
            encode::body_end(bytes, 1);
            request(bytes, 2, BodyMode::Pulled);
            encode::body_failed(bytes, 2, BodyError::TimedOut);
            request(bytes, 3, BodyMode::None);
        }),
        seed("body-in-several-frames", 0, |bytes| {
            request(bytes, 1, BodyMode::Pulled);
            encode::data(bytes, Kind::Body, 1, b"first");
            encode::data(bytes, Kind::Body, 1, b"second");
            encode::body_end(bytes, 1);
        }),
        seed("body-pulled-and-left", 0, |bytes| {
            request(bytes, 1, BodyMode::Pulled);
            encode::data(bytes, Kind::Body, 1, b"first");
            request(bytes, 2, BodyMode::None);
        }),
        seed("body-pushed-and-left", 0, |bytes| {
            request(bytes, 1, BodyMode::Pushed);
            request(bytes, 2, BodyMode::None);
        }),
        seed("body-cut", 0, |bytes| {
            request(bytes, 1, BodyMode::Pushed);
            encode::data(bytes, Kind::Body, 1, b"more was to come");
            bytes.truncate(bytes.len() - 5);
        }),
        seed("header-cut", 0, |bytes| {
            request(bytes, 1, BodyMode::None);
            request(bytes, 2, BodyMode::None);
            bytes.truncate(bytes.len() - 30);
        }),
        seed("request-cut", 0, |bytes| {
            request(bytes, 1, BodyMode::None);
            bytes.truncate(bytes.len() - 1);
        }),
        seed("body-empty", 0, |bytes| {
            request(bytes, 1, BodyMode::Pushed);
            raw(bytes, Kind::Body, 1, b"");
        }),
        seed("body-unannounced", 0, |bytes| {
            request(bytes, 1, BodyMode::None);
            encode::data(bytes, Kind::Body, 1, b"x");
        }),
        seed("body-behind-its-end", 0, |bytes| {
            request(bytes, 1, BodyMode::Pushed);
            encode::body_end(bytes, 1);
            encode::body_end(bytes, 1);
        }),
        seed("body-of-another-exchange", 0, |bytes| {
            request(bytes, 1, BodyMode::Pushed);
            encode::data(bytes, Kind::Body, 2, b"x");
        }),
        seed("body-before-request", 0, |bytes| encode::data(bytes, Kind::Body, 0, b"x")),
        seed("body-failed-for-an-unknown-reason", 0, |bytes| {
            request(bytes, 1, BodyMode::Pulled);
            raw(bytes, Kind::BodyFailed, 1, &[0xff; 4]);
        }),
        seed("body-over-the-bound", 0, |bytes| {
            request(bytes, 1, BodyMode::Pushed);
            bytes.extend_from_slice(&over_the_bound(Kind::Body));
        }),
        seed("request-over-the-bound", 0, |bytes| {
            bytes.extend_from_slice(&encode::header(Kind::Request, 1, LONGEST_HEAD + 1));
        }),
        seed("request-under-the-bound", 0, |bytes| raw(bytes, Kind::Request, 1, &[0; 7])),
        seed("request-of-nothing", 0, |bytes| {
            assert!(encode::request(bytes, 1, b"", b"", BodyMode::None));
        }),
        seed("request-with-a-mount-beyond-its-end", 0, |bytes| {
            request(bytes, 1, BodyMode::None);
            bytes[HEADER + 4] = 200;
        }),
        seed("request-of-an-unknown-mode", 0, |bytes| {
            request(bytes, 1, BodyMode::None);
            bytes[HEADER] = 3;
        }),
        seed("request-out-of-turn", 0, |bytes| request(bytes, 2, BodyMode::None)),
        seed("request-that-is-no-head", 0, |bytes| {
            assert!(encode::request(bytes, 1, &[254, 255], &[1, 255, 255, 255, 255, 1], BodyMode::None));
        }),
        seed("resumed-over-the-last-number", RAW | FIRST, |bytes| {
            request(bytes, u16::MAX, BodyMode::None);
            request(bytes, 1, BodyMode::None);
        }),
        seed("resumed-over-zero", RAW | FIRST, |bytes| {
            request(bytes, u16::MAX, BodyMode::None);
            request(bytes, 0, BodyMode::None);
        }),
        seed("resumed-and-greeted", FIRST, |bytes| request(bytes, u16::MAX, BodyMode::None)),
        seed("frame-of-the-other-side", 0, |bytes| encode::end(bytes, 1)),
        ("unknown-kind", 0, header(0, 0)),
        ("reserved-byte", 0, header(Kind::BodyEnd as u8, 0x80)),
        ("hello-twice", RAW, [hello(0, 12), hello(0, 12)].concat()),
        ("hello-missing", RAW, built(|bytes| request(bytes, 1, BodyMode::None))),
        ("hello-too-short", RAW, hello(0, 11)),
        ("hello-of-another-version", RAW, hello(HEADER + 4, 99)),
        ("hello-of-another-protocol", RAW, hello(HEADER, b'X')),
        ("hello-of-other-keys", RAW, hello(HEADER + 8, 0)),
        ("hello-with-a-reserved-byte", RAW, hello(HEADER + 7, 1)),
        ("hello-of-an-exchange", RAW, hello(HEADER - 2, 1)),
        ("http", RAW, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("nothing", RAW, Vec::new()),
    ]
}
