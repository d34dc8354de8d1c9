//! Both directions, in whole frames, in portions, and with bytes that are none.

use proptest::prelude::*;

use super::decode::{Side, header};
use super::frame::{KEPT, LONGEST_DATA, LONGEST_HEAD};
use super::session::{Incoming, ServerSide, WorkerSide};
use super::*;
use crate::exchange::BodyError;
use crate::log::Level;
use crate::wsgi::response::OwnedResponseHead;

fn response(status: &str, fields: &[(&str, &str)]) -> OwnedResponseHead {
    let mut head = OwnedResponseHead::new(status.as_bytes()).unwrap();
    for (name, value) in fields {
        head.add(name.as_bytes(), value.as_bytes()).unwrap();
    }
    head
}

fn request_side() -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::hello(&mut bytes);
    assert!(encode::request(&mut bytes, 1, b"mount", b"head", BodyMode::Pushed));
    encode::data(&mut bytes, Kind::Body, 1, b"some body");
    encode::body_end(&mut bytes, 1);
    assert!(encode::request(&mut bytes, 2, b"", b"another", BodyMode::Pulled));
    encode::body_failed(&mut bytes, 2, BodyError::TimedOut);
    bytes
}

fn answer_side() -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::hello(&mut bytes);
    encode::want_body(&mut bytes, 1, 65536);
    encode::log(&mut bytes, 1, Level::Warning, b"a line");
    let head = response("200 OK", &[("X", "y"), ("Content-Length", "14")]);
    assert!(encode::head(&mut bytes, Kind::Head, 1, head.view()));
    encode::data(&mut bytes, Kind::Chunk, 1, b"four");
    encode::flush(&mut bytes, 1);
    encode::file(&mut bytes, 1, 7, 10);
    encode::end(&mut bytes, 1);
    bytes
}

/// Frames as text, with the portions of a data frame joined.
fn read(from: Side, bytes: &[u8], cuts: &[usize]) -> Result<Vec<String>, WireError> {
    let mut reader = Reader::new(from);
    let mut seen: Vec<String> = Vec::new();
    let mut joined = Vec::new();
    let mut at = 0;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    for end in ends {
        let mut input = &bytes[at..end];
        at = end;
        while let Some(received) = reader.next(&mut input)? {
            match received.frame {
                Frame::Body(data) | Frame::Chunk(data) => joined.extend_from_slice(data),
                frame => {
                    if !joined.is_empty() {
                        seen.push(format!("{:?}", String::from_utf8_lossy(&std::mem::take(&mut joined))));
                    }
                    seen.push(format!("{} {frame:?}", received.exchange));
                }
            }
        }
        assert!(input.is_empty());
    }
    Ok(seen)
}

#[test]
fn frames_come_out_as_they_went_in() {
    let seen = read(Side::Server, &request_side(), &[]).unwrap();
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert!(seen[1].starts_with("1 Request { mount: [109"), "{}", seen[1]);
    assert_eq!((seen[2].as_str(), seen[3].as_str()), ("\"some body\"", "1 BodyEnd"));
    assert_eq!(seen[5], "2 BodyFailed(TimedOut)");
    let seen = read(Side::Worker, &answer_side(), &[]).unwrap();
    assert_eq!(seen[1..3], ["1 WantBody(65536)", "1 Log(Warning, [97, 32, 108, 105, 110, 101])"]);
    assert!(seen[3].contains("length: Some(14)"), "{}", seen[3]);
    assert_eq!(seen[4..], ["\"four\"", "1 Flush", "1 File { offset: 7, length: 10 }", "1 End"]);
}

proptest! {
    #[test]
    fn portions_make_no_difference(cuts in proptest::collection::vec(0usize..400, 0..12)) {
        for (from, bytes) in [(Side::Server, request_side()), (Side::Worker, answer_side())] {
            prop_assert_eq!(read(from, &bytes, &cuts), read(from, &bytes, &[]));
        }
    }

    #[test]
    fn no_bytes_panic_or_are_kept_beyond_the_limits(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        at in 0usize..200,
        cuts in proptest::collection::vec(0usize..400, 0..4),
    ) {
        for (from, good) in [(Side::Server, request_side()), (Side::Worker, answer_side())] {
            let _ = read(from, &bytes, &cuts);
            let mut broken = good;
            let end = (at + bytes.len()).min(broken.len());
            let start = at.min(end);
            broken[start..end].copy_from_slice(&bytes[..end - start]);
            let _ = read(from, &broken, &cuts);
        }
    }

    #[test]
    fn a_header_is_judged_before_anything_is_kept(length in any::<u32>(), kind in any::<u8>()) {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[kind, 0, 1, 0]);
        if let Ok(Some(header)) = header(&bytes, Side::Worker) {
            prop_assert!(header.length <= LONGEST_HEAD.max(LONGEST_DATA));
        }
    }
}

#[test]
fn what_is_too_long_is_refused_on_both_sides() {
    let mut bytes = Vec::new();
    assert!(!encode::request(&mut bytes, 1, &[], &vec![0; LONGEST_HEAD], BodyMode::None));
    assert!(bytes.is_empty());
    bytes.extend_from_slice(&encode::header(Kind::Request, 1, LONGEST_HEAD + 1));
    assert!(matches!(read(Side::Server, &bytes, &[]), Err(WireError::Length { .. })));
    encode::data(&mut bytes, Kind::Chunk, 1, &vec![1; LONGEST_DATA + 1]);
}

#[test]
fn a_long_head_takes_its_own_length_and_is_not_kept() {
    let mut bytes = Vec::new();
    assert!(encode::request(&mut bytes, 1, &[], &vec![0; LONGEST_HEAD - 8], BodyMode::None));
    let mut reader = Reader::new(Side::Server);
    let (last, first) = bytes.split_last().unwrap();
    for mut portion in first.chunks(1000) {
        assert_eq!(reader.next(&mut portion), Ok(None));
        assert!(reader.capacity() <= HEADER + LONGEST_HEAD);
    }
    assert!(reader.next(&mut &[*last][..]).unwrap().is_some());
    assert_eq!(reader.next(&mut &[][..]), Ok(None));
    assert!(reader.capacity() <= KEPT);
}

#[test]
fn a_frame_from_the_wrong_side_is_refused() {
    assert_eq!(read(Side::Worker, &request_side(), &[]), Err(WireError::WrongSide(Kind::Request)));
    assert_eq!(read(Side::Server, &answer_side(), &[]), Err(WireError::WrongSide(Kind::WantBody)));
}

#[test]
fn another_build_is_told_so() {
    let mut bytes = Vec::new();
    encode::hello(&mut bytes);
    bytes[HEADER + 4] = 99;
    let error = read(Side::Worker, &bytes, &[]).unwrap_err();
    assert!(error.to_string().contains("version 99"), "{error}");
    bytes[HEADER] = b'X';
    assert_eq!(read(Side::Worker, &bytes, &[]), Err(WireError::NotNeat));
}

#[test]
fn what_has_to_be_zero_is() {
    let mut bytes = Vec::new();
    encode::hello(&mut bytes);
    encode::go_away(&mut bytes);
    // The reserved byte of a header, the number of an exchange that there is none of, and a hello's own
    // zeroes.
    let closing = bytes.len() - HEADER;
    for (at, kind) in [5, 6, HEADER + 6, HEADER + 7]
        .map(|at| (at, Kind::Hello))
        .into_iter()
        .chain([5, 7].map(|at| (closing + at, Kind::GoAway)))
    {
        let mut broken = bytes.clone();
        broken[at] = 1;
        assert_eq!(read(Side::Worker, &broken, &[]), Err(WireError::Malformed(kind)), "byte {at}");
    }
    assert!(read(Side::Worker, &bytes, &[]).is_ok());
}

#[test]
fn a_head_that_breaks_the_rules_is_refused() {
    let mut bytes = Vec::new();
    let head = response("200 OK", &[("Name", "value")]);
    assert!(encode::head(&mut bytes, Kind::Head, 1, head.view()));
    let at = bytes.windows(5).position(|window| window == b"value").unwrap();
    bytes[at] = b'\n';
    assert_eq!(read(Side::Worker, &bytes, &[]), Err(WireError::Malformed(Kind::Head)));
}

fn answers(frames: &[u8]) -> Result<ServerSide, WireError> {
    let mut answers = ServerSide::new();
    assert_eq!(answers.begin(false), Some(1));
    let mut reader = Reader::new(Side::Worker);
    let mut input = frames;
    while let Some(received) = reader.next(&mut input)? {
        answers.take(&received)?;
    }
    Ok(answers)
}

#[test]
fn an_answer_is_held_to_its_order_and_length() {
    assert!(answers(&answer_side()).unwrap().is_idle());
    let built = |build: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode::hello(&mut bytes);
        build(&mut bytes);
        answers(&bytes)
    };
    let head = response("200 OK", &[("Content-Length", "4")]);
    let headed = |bytes: &mut Vec<u8>| assert!(encode::head(bytes, Kind::Head, 1, head.view()));
    let chunk = |bytes: &mut Vec<u8>, data: &[u8]| encode::data(bytes, Kind::Chunk, 1, data);
    assert_eq!(built(&|bytes| chunk(bytes, b"x")).unwrap_err(), WireError::Order(Kind::Chunk));
    let more = built(&|bytes| {
        headed(bytes);
        chunk(bytes, b"12345");
    });
    assert_eq!(more.unwrap_err(), WireError::DeclaredLength);
    let less = built(&|bytes| {
        headed(bytes);
        chunk(bytes, b"123");
        encode::end(bytes, 1);
    });
    assert_eq!(less.unwrap_err(), WireError::DeclaredLength);
    let twice = built(&|bytes| {
        headed(bytes);
        headed(bytes);
    });
    assert_eq!(twice.unwrap_err(), WireError::Order(Kind::Head));
    let late = built(&|bytes| {
        headed(bytes);
        encode::failed(bytes, 1, 500, 0, b"");
    });
    assert_eq!(late.unwrap_err(), WireError::Order(Kind::Failed));
    let closing = built(&|bytes| encode::go_away(bytes)).unwrap();
    assert!(!closing.is_idle() && !closing.has_head());
    let other = built(&|bytes| encode::end(bytes, 2));
    assert_eq!(other.unwrap_err(), WireError::Exchange { found: 2, expected: 1 });
}

#[test]
fn a_request_is_held_to_its_order() {
    let mut requests = WorkerSide::new();
    let mut reader = Reader::new(Side::Server);
    let bytes = request_side();
    let mut input = bytes.as_slice();
    let mut current = 0;
    while let Some(received) = reader.next(&mut input).unwrap() {
        current += usize::from(requests.take(&received).unwrap() == Incoming::Current);
    }
    assert_eq!((current, requests.exchange(), requests.is_body_open()), (5, 2, false));
    let body = Received { exchange: 2, frame: Frame::Body(b"x") };
    assert_eq!(requests.take(&body), Err(WireError::Order(Kind::Body)));
    assert_eq!(WorkerSide::new().take(&body), Err(WireError::NotNeat));
}

#[test]
fn nothing_of_a_body_follows_the_fields_behind_it() {
    let frames = |after: &[Kind]| {
        let mut bytes = Vec::new();
        encode::hello(&mut bytes);
        assert!(encode::head(&mut bytes, Kind::Head, 1, response("200 OK", &[]).view()));
        encode::data(&mut bytes, Kind::Chunk, 1, b"four");
        bytes.extend_from_slice(&encode::header(Kind::Trailers, 1, 0));
        for kind in after {
            match kind {
                Kind::Chunk => encode::data(&mut bytes, Kind::Chunk, 1, b"more"),
                Kind::Log => encode::log(&mut bytes, 1, Level::Info, b"a line"),
                kind => bytes.extend_from_slice(&encode::header(*kind, 1, 0)),
            }
        }
        bytes
    };
    let judged = |bytes: Vec<u8>| {
        let (mut reader, mut side, mut input) = (Reader::new(Side::Worker), ServerSide::new(), &bytes[..]);
        side.begin(false);
        while let Some(received) = reader.next(&mut input).unwrap() {
            side.take(&received)?;
        }
        Ok(())
    };
    assert_eq!(judged(frames(&[Kind::Log, Kind::End])), Ok(()));
    for kind in [Kind::Trailers, Kind::Chunk, Kind::Flush] {
        assert_eq!(judged(frames(&[kind])), Err(WireError::Order(kind)));
    }
}

#[test]
fn a_worker_that_only_logs_is_heard_so_far_and_no_further() {
    let mut conversation = Conversation::new();
    conversation.begin(false, BodyMode::None).unwrap();
    let mut hello = Vec::new();
    encode::hello(&mut hello);
    assert!(conversation.next(&mut &hello[..]).unwrap().is_none());
    let mut line = Vec::new();
    encode::log(&mut line, 1, Level::Info, &[b'x'; 100_000]);
    let (mut written, mut left_out) = (0, 0);
    for _ in 0..200 {
        match conversation.next(&mut &line[..]).unwrap() {
            Some(Event::Log(_, line)) => written += line.len(),
            Some(Event::Unlogged) => left_out += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(written < 10 << 20, "{written} bytes");
    assert!(left_out > 100, "{left_out} lines were left out");
}
