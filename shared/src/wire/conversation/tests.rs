//! A conversation with workers that keep to the protocol, and with those that do not.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::*;
use crate::log::Level;
use crate::wire::frame::Hello;
use crate::wsgi::response::ResponseHead;

/// What a worker sends, built frame by frame.
fn stream(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::hello(&mut bytes);
    build(&mut bytes);
    bytes
}

fn head(bytes: &mut Vec<u8>, status: u16, length: Option<u64>, is_file: bool) {
    let at = bytes.len();
    let head = ResponseHead { status, reason: b"", fields: &[], length };
    assert!(encode::head(bytes, Kind::Head, 1, head));
    if is_file {
        encode::mark_file(bytes, at);
    }
}

fn whole(bytes: &mut Vec<u8>) {
    head(bytes, 200, Some(2), false);
    encode::data(bytes, Kind::Chunk, 1, b"ok");
    encode::end(bytes, 1);
}

fn informational(bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&encode::header(Kind::Informational, 1, 16));
    bytes.extend_from_slice(&[103, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

fn begun(body: BodyMode) -> Conversation {
    let mut conversation = Conversation::new();
    assert_eq!(conversation.begin(false, body), Some(Begun { exchange: 1, needs_hello: true }));
    conversation
}

/// This file, which is a regular one.
fn regular_file() -> OwnedFd {
    File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/src/wire/conversation/tests.rs")).unwrap().into()
}

/// What comes of some bytes, by the names of the events.
fn read(conversation: &mut Conversation, mut input: &[u8]) -> Result<Vec<String>, WireError> {
    let mut seen = Vec::new();
    while let Some(event) = conversation.next(&mut input)? {
        seen.push(match event {
            Event::Head { head, is_file, has_body } => {
                format!("Head {} {is_file} {has_body}", head.view().status)
            }
            Event::File { offset, length, .. } => format!("File {offset} {length}"),
            Event::Data(data) => format!("Data {}", String::from_utf8_lossy(data)),
            Event::Log(_, line) => format!("Log {}", String::from_utf8_lossy(line)),
            Event::Failed { status, .. } => format!("Failed {status}"),
            Event::WantBody(wanted) => format!("WantBody {wanted}"),
            event @ (Event::Informational(_)
            | Event::Flush
            | Event::Unlogged
            | Event::Trailers(_)
            | Event::End
            | Event::GoAway) => {
                let shown = format!("{event:?}");
                shown.split('(').next().unwrap_or_default().to_owned()
            }
        });
    }
    assert!(input.is_empty());
    Ok(seen)
}

#[test]
fn a_response_comes_as_events_and_its_connection_may_be_kept() {
    let mut conversation = begun(BodyMode::Pulled);
    let bytes = stream(|bytes| {
        informational(bytes);
        encode::log(bytes, 1, Level::Info, b"a line");
        encode::want_body(bytes, 1, 7);
        head(bytes, 200, None, false);
        encode::data(bytes, Kind::Chunk, 1, b"data");
        encode::flush(bytes, 1);
        encode::end(bytes, 1);
    });
    let seen = read(&mut conversation, &bytes).unwrap();
    let expected =
        ["Informational", "Log a line", "WantBody 7", "Head 200 false true", "Data data", "Flush", "End"];
    assert_eq!(seen, expected);
    let before = BeforeHead { log_lines: 1, log_bytes: 6, informational: 1, wanted: 1 };
    assert_eq!(conversation.before_head(), before);
    assert!(conversation.may_be_kept(&[]));
    let next = conversation.begin(true, BodyMode::None);
    assert_eq!(next, Some(Begun { exchange: 2, needs_hello: false }));
    assert_eq!(conversation.before_head(), BeforeHead::default());
}

#[test]
fn data_is_a_part_of_the_bytes_that_were_given() {
    let bytes = stream(whole);
    for cut in 0..bytes.len() {
        let mut conversation = begun(BodyMode::None);
        let mut data = Vec::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            let mut input = part;
            while let Some(event) = conversation.next(&mut input).unwrap() {
                if let Event::Data(portion) = event {
                    let ends_at = part.len() - input.len();
                    assert_eq!(portion.as_ptr(), part[ends_at - portion.len()..].as_ptr());
                    data.extend_from_slice(portion);
                }
            }
        }
        assert_eq!(data, b"ok");
        assert!(conversation.may_be_kept(&[]));
    }
}

#[test]
fn a_response_without_a_body_is_said_so() {
    for (head_only, status, has_body) in
        [(false, 200, true), (true, 200, false), (false, 204, false), (false, 304, false)]
    {
        let mut conversation = Conversation::new();
        conversation.begin(head_only, BodyMode::None).unwrap();
        let bytes = stream(|bytes| head(bytes, status, Some(9), false));
        assert_eq!(read(&mut conversation, &bytes).unwrap(), [format!("Head {status} false {has_body}")]);
    }
}

#[test]
fn a_connection_with_anything_behind_the_end_is_not_kept() {
    let response = stream(whole);
    let behind = stream(|bytes| {
        whole(bytes);
        encode::go_away(bytes);
    });
    // Read with the end, or left in the buffer.
    let mut conversation = begun(BodyMode::None);
    assert_eq!(read(&mut conversation, &behind).unwrap()[2..], ["End", "GoAway"]);
    assert!(!conversation.may_be_kept(&[]));
    assert_eq!(conversation.begin(false, BodyMode::None), None);
    let mut conversation = begun(BodyMode::None);
    read(&mut conversation, &response).unwrap();
    assert!(!conversation.may_be_kept(&behind[response.len()..]));
    // A part of a frame.
    let mut conversation = begun(BodyMode::None);
    read(&mut conversation, &behind[..response.len() + 3]).unwrap();
    assert!(!conversation.may_be_kept(&[]));
    // And a response that nobody asked for.
    let mut conversation = begun(BodyMode::None);
    read(&mut conversation, &response).unwrap();
    let another = &response[HEADER + Hello::LENGTH..];
    assert_eq!(read(&mut conversation, another), Err(WireError::Order(Kind::Head)));
    assert!(!conversation.may_be_kept(&[]));
}

#[test]
fn a_connection_whose_response_is_open_is_not_kept() {
    let mut conversation = begun(BodyMode::None);
    assert!(!conversation.may_be_kept(&[]));
    read(&mut conversation, &stream(|bytes| head(bytes, 200, None, false))).unwrap();
    assert!(!conversation.may_be_kept(&[]));
}

#[test]
fn a_cut_says_how_far_the_exchange_had_come() {
    let log = |bytes: &mut Vec<u8>| encode::log(bytes, 1, Level::Info, b"x");
    for (bytes, expected) in [
        (Vec::new(), Cut::Unanswered),
        (stream(|_| ()), Cut::Unanswered),
        (stream(log), Cut::Unanswered),
        (stream(log)[..29].to_vec(), Cut::InFrame),
        (stream(encode::go_away), Cut::NotBegun),
        (stream(|bytes| head(bytes, 200, None, false)), Cut::InResponse),
        (
            stream(|bytes| {
                head(bytes, 200, None, false);
                bytes.extend_from_slice(&encode::header(Kind::Chunk, 1, 100));
            }),
            Cut::InResponse,
        ),
    ] {
        let mut conversation = begun(BodyMode::None);
        read(&mut conversation, &bytes).unwrap();
        assert_eq!(conversation.cut(true), expected, "{bytes:?}");
    }
    assert_eq!(begun(BodyMode::None).cut(false), Cut::Unsent);
}

#[test]
fn a_request_that_was_begun_cannot_be_given_back() {
    for begin in [
        |bytes: &mut Vec<u8>| encode::log(bytes, 1, Level::Info, b"x"),
        |bytes: &mut Vec<u8>| encode::want_body(bytes, 1, 1),
        informational,
        |bytes: &mut Vec<u8>| head(bytes, 200, None, false),
    ] {
        let bytes = stream(|bytes| {
            begin(bytes);
            encode::go_away(bytes);
        });
        let mut conversation = begun(BodyMode::Pulled);
        assert_eq!(read(&mut conversation, &bytes), Err(WireError::Order(Kind::GoAway)));
        assert_ne!(conversation.cut(true), Cut::NotBegun);
    }
}

#[test]
fn the_body_is_sent_when_it_is_asked_for_and_no_more_of_it() {
    let mut conversation = begun(BodyMode::Pulled);
    let mut sent = Vec::new();
    assert!(!conversation.send_body(&mut sent, Ok(b"unasked")));
    let want = stream(|bytes| encode::want_body(bytes, 1, 4));
    assert_eq!(read(&mut conversation, &want).unwrap(), ["WantBody 4"]);
    assert!(conversation.send_body(&mut sent, Ok(b"data")));
    assert!(!conversation.send_body(&mut sent, Ok(b"more")));
    let want = &want[HEADER + Hello::LENGTH..];
    assert_eq!(read(&mut conversation, want).unwrap(), ["WantBody 4"]);
    assert!(conversation.send_body(&mut sent, Ok(b"")));
    let mut expected = Vec::new();
    encode::data(&mut expected, Kind::Body, 1, b"data");
    encode::body_end(&mut expected, 1);
    assert_eq!(sent, expected);
    // Behind its end nothing is left to ask for.
    assert_eq!(read(&mut conversation, want), Err(WireError::Order(Kind::WantBody)));
}

#[test]
fn a_body_that_is_not_there_to_be_asked_for_is_not_asked_for() {
    let want = |wanted| stream(|bytes| encode::want_body(bytes, 1, wanted));
    let twice = stream(|bytes| {
        encode::want_body(bytes, 1, 1);
        encode::want_body(bytes, 1, 1);
    });
    for (mode, bytes, error) in [
        (BodyMode::None, want(1), WireError::Order(Kind::WantBody)),
        (BodyMode::Pushed, want(1), WireError::Order(Kind::WantBody)),
        (BodyMode::Pulled, twice, WireError::Order(Kind::WantBody)),
        (BodyMode::Pulled, want(0), WireError::Malformed(Kind::WantBody)),
    ] {
        assert_eq!(read(&mut begun(mode), &bytes), Err(error));
    }
}

#[test]
fn a_file_comes_with_its_descriptor() {
    let bytes = stream(|bytes| {
        head(bytes, 200, Some(10), true);
        encode::file(bytes, 1, 7, 10);
        encode::end(bytes, 1);
    });
    for cut in 0..bytes.len() {
        let mut conversation = begun(BodyMode::None);
        conversation.take_descriptors([regular_file()], false);
        let mut seen = read(&mut conversation, &bytes[..cut]).unwrap();
        seen.extend(read(&mut conversation, &bytes[cut..]).unwrap());
        assert_eq!(seen, ["Head 200 true true", "File 7 10", "End"]);
        assert!(conversation.may_be_kept(&[]));
    }
}

/// A response with a file, as far as its head announces it, and its end.
fn file(announced: bool, offset: u64, length: u64) -> Vec<u8> {
    stream(|bytes| {
        head(bytes, 200, None, announced);
        encode::file(bytes, 1, offset, length);
        encode::end(bytes, 1);
    })
}

#[test]
fn a_descriptor_comes_only_where_a_file_frame_says_so() {
    let response = stream(whole);
    let unanswered = stream(|bytes| encode::failed(bytes, 1, 503, 0, b""));
    let went_away = stream(encode::go_away);
    let unused = stream(|bytes| {
        head(bytes, 200, None, true);
        encode::end(bytes, 1);
    });
    for bytes in [&response, &unanswered, &went_away, &unused, &file(false, 0, 1)] {
        let mut conversation = begun(BodyMode::None);
        conversation.take_descriptors([regular_file()], false);
        assert_eq!(read(&mut conversation, bytes), Err(WireError::Descriptor));
        assert!(!conversation.may_be_kept(&[]));
        assert!(conversation.state.descriptor.is_none());
    }
    let without = read(&mut begun(BodyMode::None), &file(true, 0, 1));
    assert_eq!(without, Err(WireError::Descriptor));
    assert_eq!(read(&mut begun(BodyMode::None), &file(false, 0, 1)), Err(WireError::Order(Kind::File)));
}

#[test]
fn one_descriptor_waits_at_most() {
    let bytes = file(true, 0, 1);
    let mut two = begun(BodyMode::None);
    two.take_descriptors([regular_file(), regular_file()], false);
    let mut again = begun(BodyMode::None);
    again.take_descriptors([regular_file()], false);
    again.take_descriptors([regular_file()], false);
    let mut truncated = begun(BodyMode::None);
    truncated.take_descriptors([regular_file()], true);
    let mut idle = Conversation::new();
    idle.take_descriptors([regular_file()], false);
    for mut conversation in [two, again, truncated, idle] {
        assert!(conversation.state.descriptor.is_none());
        assert_eq!(read(&mut conversation, &bytes), Err(WireError::Descriptor));
        assert!(!conversation.may_be_kept(&[]));
    }
}

#[test]
fn a_cut_before_an_announced_file_is_no_error() {
    let mut conversation = begun(BodyMode::None);
    conversation.take_descriptors([regular_file()], false);
    let bytes = stream(|bytes| {
        head(bytes, 200, None, true);
        encode::failed(bytes, 1, 0, 0, b"");
    });
    assert_eq!(read(&mut conversation, &bytes).unwrap(), ["Head 200 true true", "Failed 0"]);
    assert!(conversation.may_be_kept(&[]));
}

#[test]
fn only_a_range_of_a_regular_file_is_sent() {
    let size = File::from(regular_file()).metadata().unwrap().len();
    let special = |path: &str| OwnedFd::from(File::open(path).unwrap());
    let (socket, _peer) = UnixStream::pair().unwrap();
    for (descriptor, offset, length, is_good) in [
        (regular_file(), 0, size, true),
        (regular_file(), size, 0, true),
        (regular_file(), 1, size, false),
        (regular_file(), size + 1, 0, false),
        (regular_file(), u64::MAX, 2, false),
        (special("/dev/null"), 0, 0, false),
        (special("/"), 0, 0, false),
        (special("/proc/self/stat"), 0, 10, false),
        (socket.into(), 0, 0, false),
    ] {
        let mut conversation = begun(BodyMode::None);
        conversation.take_descriptors([descriptor], false);
        let result = read(&mut conversation, &file(true, offset, length));
        if is_good {
            assert_eq!(result.unwrap().len(), 3);
        } else {
            assert_eq!(result, Err(WireError::NotInFile));
        }
    }
}

#[test]
fn a_response_has_to_begin() {
    let endless = stream(|bytes| (0..=MAX_INFORMATIONAL).for_each(|_| informational(bytes)));
    let mut conversation = begun(BodyMode::None);
    assert_eq!(read(&mut conversation, &endless), Err(WireError::Order(Kind::Informational)));
}

#[test]
fn what_broke_the_protocol_stays_broken() {
    let mut conversation = begun(BodyMode::None);
    assert_eq!(read(&mut conversation, b"HTTP/1.1 200 OK\r\n\r\n"), Err(WireError::UnknownKind(b'/')));
    assert_eq!(read(&mut conversation, &stream(whole)), Err(WireError::UnknownKind(b'/')));
    assert_eq!(conversation.begin(false, BodyMode::None), None);
    let mut idle = Conversation::new();
    assert_eq!(read(&mut idle, &stream(whole)[HEADER + Hello::LENGTH..]), Err(WireError::NotNeat));
}

#[test]
fn a_head_can_be_waited_for_until_it_is_whole() {
    let bytes = stream(|bytes| {
        encode::log(bytes, 1, Level::Info, b"a line");
        whole(bytes);
    });
    // Bytes that come one by one stay in the caller's buffer until they may be read on.
    let mut conversation = begun(BodyMode::None);
    let (mut read, mut seen) = (0, Vec::new());
    for end in 1..=bytes.len() {
        while conversation.has_whole_head(&bytes[read..end]).unwrap() {
            let mut input = &bytes[read..end];
            let event = conversation.next(&mut input).unwrap().map(|event| format!("{event:?}"));
            let used = end - read - input.len();
            read += used;
            let Some(event) = event else { break };
            assert!(!event.starts_with("Head") || used >= HEADER + 16, "a head of {used} bytes");
            seen.push(event);
        }
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
    let mut kept = &bytes[..];
    assert_eq!(kept_head(&mut kept).unwrap().view().status, 200);
    assert!(conversation.has_end(kept));
    assert!(!conversation.has_end(&kept[..kept.len() - 1]));
    assert_eq!(kept_head(&mut &bytes[..30]), None);
}
