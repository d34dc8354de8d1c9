use super::*;
use proptest::prelude::*;

fn head(status: &str, length: Option<u64>) -> OwnedResponseHead {
    let mut head = OwnedResponseHead::new(status.as_bytes()).unwrap();
    if let Some(length) = length {
        head.add(b"Content-Length", length.to_string().as_bytes()).unwrap();
    }
    head
}

fn started(method: &str, status: &str, length: Option<u64>) -> Response {
    let mut response = Response::to(method.as_bytes());
    response.start(head(status, length));
    response
}

#[test]
fn the_head_leaves_with_the_first_block_and_only_once() {
    let mut response = started("GET", "200 OK", None);
    let first = response.block(3).unwrap();
    assert_eq!((first.head, first.admitted), (Some(head("200 OK", None)), Some(3)));
    for _ in 0..3 {
        assert_eq!(response.block(3), Ok(Step { head: None, admitted: Some(3) }));
    }
    assert_eq!(response.complete(), Ending { end: End::Complete, mismatch: None });
}

#[test]
fn an_empty_block_takes_the_head_along() {
    let mut response = started("GET", "200 OK", None);
    let step = response.block(0).unwrap();
    assert!(step.head.is_some());
    assert_eq!(step.admitted, Some(0));
}

#[test]
fn a_block_before_start_response_is_refused_and_changes_nothing() {
    let mut response = Response::to(b"GET");
    assert_eq!(response.block(1), Err(NoStep::Unstarted));
    assert_eq!(response.may_start(false), Ok(()));
    response.start(head("200 OK", None));
    assert!(response.block(1).unwrap().head.is_some());
}

#[test]
fn start_response_is_called_again_only_with_exc_info_and_before_the_head_has_left() {
    let unstarted = Response::to(b"GET");
    let waiting = started("GET", "200 OK", None);
    let mut sending = started("GET", "200 OK", None);
    let _ = sending.block(0).unwrap();
    let mut over = started("GET", "200 OK", None);
    let _ = over.block(0).unwrap();
    let _ = over.complete();
    for (response, has_exc_info, expected) in [
        (&unstarted, false, Ok(())),
        (&unstarted, true, Ok(())),
        (&waiting, false, Err(NoStart::Again)),
        (&waiting, true, Ok(())),
        (&sending, false, Err(NoStart::Again)),
        (&sending, true, Err(NoStart::HeadSent)),
        (&over, false, Err(NoStart::Again)),
        (&over, true, Err(NoStart::HeadSent)),
    ] {
        assert_eq!(response.may_start(has_exc_info), expected, "{response:?} {has_exc_info}");
    }
}

#[test]
fn a_head_that_waits_is_replaced_and_one_that_has_left_is_not() {
    let mut response = started("GET", "200 OK", None);
    response.start(head("500 No", None));
    assert_eq!(response.block(0).unwrap().head, Some(head("500 No", None)));
    response.start(head("201 Created", None));
    assert_eq!(response.block(0).unwrap().head, None);
}

#[test]
fn blocks_are_held_to_the_declared_length() {
    for (length, blocks, admitted, ending) in [
        (None, &[4, 4][..], &[4, 4][..], Ending { end: End::Complete, mismatch: None }),
        (Some(8), &[4, 4], &[4, 4], Ending { end: End::Complete, mismatch: None }),
        (Some(6), &[4, 4, 1], &[4, 2, 0], Ending { end: End::Complete, mismatch: Some(Mismatch::Longer(3)) }),
        (Some(9), &[4, 4], &[4, 4], Ending { end: End::Cut, mismatch: Some(Mismatch::Shorter(1)) }),
        (Some(9), &[0], &[0], Ending { end: End::Cut, mismatch: Some(Mismatch::Shorter(9)) }),
        (Some(0), &[0], &[0], Ending { end: End::Complete, mismatch: None }),
    ] {
        let mut response = started("GET", "200 OK", length);
        let found: Vec<_> =
            blocks.iter().map(|block| response.block(*block).unwrap().admitted.unwrap()).collect();
        assert_eq!(found, admitted, "{length:?} {blocks:?}");
        assert_eq!(response.complete(), ending, "{length:?} {blocks:?}");
    }
}

#[test]
fn a_response_without_a_body_admits_nothing_and_misses_nothing() {
    for (method, status) in [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")] {
        let mut response = started(method, status, Some(7));
        assert_eq!(response.block(3).unwrap().admitted, None, "{method} {status}");
        assert_eq!(response.room(), None);
        assert_eq!(response.complete(), Ending { end: End::Complete, mismatch: None });
    }
}

#[test]
fn the_length_of_one_block_is_offered_where_the_application_did_not_declare_one() {
    for (method, status, declared, expected) in [
        ("GET", "200 OK", None, Some(5)),
        ("GET", "200 OK", Some(3), Some(3)),
        ("POST", "404 Not Found", None, Some(5)),
        ("GET", "204 No Content", None, None),
        ("GET", "304 Not Modified", None, None),
    ] {
        let mut response = started(method, status, declared);
        response.offer_length(5);
        let head = response.block(5).unwrap().head.unwrap();
        assert_eq!(head.length(), expected, "{method} {status} {declared:?}");
    }
    // What HEAD's application leaves out may be what GET's would send.
    for (length, expected) in [(0, None), (5, Some(5))] {
        let mut response = started("HEAD", "200 OK", None);
        response.offer_length(length);
        assert_eq!(response.room(), expected, "HEAD {length}");
    }
    // There is nothing to offer it to, before and behind the head.
    let mut response = Response::to(b"GET");
    response.offer_length(5);
    response.start(head("200 OK", None));
    assert_eq!(response.room(), None);
    let _ = response.block(1).unwrap();
    response.offer_length(5);
    assert_eq!(response.room(), None);
}

#[test]
fn the_room_is_what_the_declared_length_leaves() {
    let mut response = started("GET", "200 OK", Some(9));
    assert_eq!(response.room(), Some(9));
    let _ = response.block(4).unwrap();
    assert_eq!(response.room(), Some(5));
}

#[test]
fn a_failure_is_a_status_until_the_head_has_left_and_a_cut_behind_it() {
    assert_eq!(Response::to(b"GET").fail(500), End::Status(500));
    assert_eq!(started("GET", "200 OK", None).fail(400), End::Status(400));
    let mut sending = started("GET", "200 OK", None);
    let _ = sending.block(0).unwrap();
    assert_eq!(sending.fail(500), End::Cut);
    assert_eq!(sending.block(1), Err(NoStep::Over));
}

#[test]
fn a_failure_behind_the_declared_length_leaves_the_response_whole() {
    let mut full = started("GET", "200 OK", Some(3));
    let _ = full.block(3).unwrap();
    assert_eq!(full.fail(500), End::Complete);
    let mut lost = started("GET", "200 OK", Some(3));
    let _ = lost.block(3).unwrap();
    lost.lose();
    assert_eq!(lost.fail(500), End::Cut);
    let mut short = started("GET", "200 OK", Some(4));
    let _ = short.block(3).unwrap();
    assert_eq!(short.fail(500), End::Cut);
}

#[test]
fn a_response_is_whole_as_soon_as_enough_was_handed_over() {
    for (method, status, length, before, behind) in [
        ("GET", "200 OK", None, false, false),
        ("GET", "200 OK", Some(4), false, false),
        ("GET", "200 OK", Some(3), false, true),
        ("GET", "200 OK", Some(2), false, true),
        ("GET", "200 OK", Some(0), true, true),
        ("GET", "204 No Content", None, true, true),
        ("GET", "304 Not Modified", Some(9), true, true),
        ("HEAD", "200 OK", Some(9), true, true),
    ] {
        let mut response = started(method, status, length);
        assert_eq!(response.is_whole(), before, "{method} {status} {length:?}");
        let _ = response.block(3).unwrap();
        assert_eq!(response.is_whole(), behind, "{method} {status} {length:?}");
    }
    assert!(!Response::to(b"HEAD").is_whole(), "there is no head yet");
}

#[test]
fn what_has_no_head_is_never_complete() {
    assert_eq!(Response::to(b"GET").complete().end, End::Status(500));
    assert_eq!(started("GET", "200 OK", None).complete().end, End::Status(500));
}

#[test]
fn a_longer_body_is_a_warning_and_a_shorter_one_an_error() {
    assert_eq!(Mismatch::Longer(1).level(), Level::Warning);
    assert_eq!(Mismatch::Shorter(1).level(), Level::Error);
    assert!(Mismatch::Shorter(2).to_string().contains("2 bytes less"));
}

proptest! {
    #[test]
    fn whatever_is_called_in_whatever_order_one_head_leaves_and_no_more_than_was_declared(
        declared in proptest::option::of(0_u64..20),
        calls in proptest::collection::vec((0_u8..5, 0_u64..10), 0..20)
    ) {
        let mut response = Response::to(b"GET");
        let (mut heads, mut sent) = (0, 0);
        for (call, number) in calls {
            match call {
                0 => response.start(head("200 OK", declared)),
                1 => response.offer_length(number),
                2 => drop(response.may_start(true)),
                _ => if let Ok(step) = response.block(number) {
                    heads += u32::from(step.head.is_some());
                    sent += step.admitted.unwrap_or(0);
                    prop_assert!(step.admitted.is_some_and(|admitted| admitted <= number));
                },
            }
        }
        prop_assert!(heads <= 1);
        prop_assert!(declared.is_none_or(|declared| sent <= declared));
        let ending = response.complete();
        match ending.end {
            End::Complete => prop_assert_eq!(heads, 1),
            End::Cut => prop_assert!(matches!(ending.mismatch, Some(Mismatch::Shorter(_)))),
            End::Status(_) => prop_assert_eq!(heads, 0),
        }
    }
}
