//! A Python thread against an event loop that fails at each of its steps: afterwards no thread waits.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::body::Body;
use super::channel::{Channel, HELD_WINDOW, LoopEnd, WINDOW};
use super::item::Item;
use super::loan::Lent;
use super::queue::{LoopQueue, Wake};
use super::registry::Id;
use super::sync::Arc;
use super::thread_side::{EventLoop, MAX_LENT, MIN_LENT, ThreadSide};
use crate::exchange::{BodyError, End, Exchange, SendError};
use crate::http::packed::Packer;
use crate::log::Level;
use crate::wsgi::response::OwnedResponseHead;

/// How long a test waits for what has to come.
const LIMIT: Duration = Duration::from_secs(10);

/// The event loop of a test: its thread sleeps until something is announced.
struct Announce(std::sync::mpsc::Sender<()>);

impl EventLoop for Announce {
    fn announce(&self, _: &Arc<Channel>) {
        // A loop that is gone needs no news.
        let _ = self.0.send(());
    }

    fn away<R>(&self, wait: impl FnOnce() -> R) -> R {
        wait()
    }
}

/// Where the loop fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// Reading the body, which the thread asked for before.
    Body,
    /// The head is refused, by a filter or by a connection that is gone.
    Head,
    /// There is no memory for what comes at this place behind the head.
    Memory(usize),
    /// The output fails: nginx holds the bytes until the request is freed.
    Output,
    /// The client takes nothing; the request ends by a timeout.
    Timeout,
    /// The loop ends, and with it everything.
    Exit,
}

/// A request of a fake server, with what it would hand to its filters.
struct FakeLoop {
    end: LoopEnd,
    chain: Vec<Item>,
}

impl FakeLoop {
    /// What a server's loop does with what it took, up to where it fails: it drops what it has in its hands.
    fn deliver(&mut self, failure: Failure) -> Result<(), SendError> {
        let taken = self.end.take(true);
        if taken.wants_body && failure == Failure::Body {
            return Err(SendError::Disconnected);
        }
        for (place, item) in taken.items.into_iter().enumerate() {
            match item {
                Item::Head(_) if failure == Failure::Head => return Err(SendError::Server),
                Item::Head(_) | Item::End(_) => {}
                _ if failure == Failure::Memory(place) => return Err(SendError::Server),
                other => self.chain.push(other),
            }
        }
        match failure {
            Failure::Output if !self.chain.is_empty() => Err(SendError::Disconnected),
            Failure::Timeout if !self.chain.is_empty() => Err(SendError::TimedOut),
            Failure::Exit if !self.chain.is_empty() => Err(SendError::Stopping),
            _ => Ok(()),
        }
    }
}

fn exchange(end: &LoopEnd, announce: Announce, body: Body) -> ThreadSide<Announce> {
    let packed = || Packer::new().finish();
    ThreadSide::new(announce, Arc::clone(end.channel()), packed().into(), packed(), body)
}

fn new_end() -> LoopEnd {
    LoopEnd::new(Id::from_bits(1 << 32).unwrap())
}

fn head() -> OwnedResponseHead {
    OwnedResponseHead::new(b"200 OK").unwrap()
}

/// A thread that serves an exchange; what it returns comes through the receiver.
fn serve<R: Send + 'static>(
    end: &LoopEnd,
    body: Body,
    serve: impl FnOnce(&mut ThreadSide<Announce>) -> R + Send + 'static,
) -> (Receiver<()>, Receiver<R>) {
    let (announce, announced) = channel();
    let (result, results) = channel();
    let mut exchange = exchange(end, Announce(announce), body);
    std::thread::spawn(move || {
        let served = serve(&mut exchange);
        drop(exchange);
        let _ = result.send(served);
    });
    (announced, results)
}

/// A response of a head, small and large blocks, and a file.
fn respond(exchange: &mut ThreadSide<Announce>) -> Result<(), SendError> {
    exchange.send_head(head().view())?;
    exchange.send(b"a small block")?;
    exchange.send(&vec![b'x'; 3 * MIN_LENT])?;
    let file = std::fs::File::open("/dev/null").map_err(|_| SendError::Server)?;
    exchange.send_file(std::os::fd::AsFd::as_fd(&file), 0, 10)?;
    exchange.send(&vec![b'y'; 5 * MIN_LENT])?;
    exchange.end(End::Complete);
    Ok(())
}

#[test]
fn no_thread_waits_for_a_loop_that_failed_at_any_step() {
    let failures = [Failure::Body, Failure::Head, Failure::Output, Failure::Timeout, Failure::Exit]
        .into_iter()
        .chain((1..6).map(Failure::Memory));
    for failure in failures {
        for is_closed_first in [true, false] {
            let mut fake = FakeLoop { end: new_end(), chain: Vec::new() };
            let streams = failure == Failure::Body;
            let body = if streams { Body::Streamed } else { Body::Empty };
            let (announced, result) = serve(&fake.end, body, move |exchange| {
                if streams {
                    let _ = exchange.read_body(&mut [0; 10]);
                }
                let sent = respond(exchange);
                exchange.end(End::Cut);
                sent
            });
            let failed = loop {
                match announced.recv_timeout(LIMIT) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Disconnected) => break None,
                    Err(RecvTimeoutError::Timeout) => panic!("{failure:?}: the thread says nothing"),
                }
                if let Err(why) = fake.deliver(failure) {
                    break Some(why);
                }
                // The client takes all of it.
                fake.chain.clear();
            };
            // nginx closes the channel when it ends the request, and frees the chain later; or the request
            // goes all at once.
            if let (Some(why), true) = (failed, is_closed_first) {
                fake.end.close(why);
            }
            drop(fake);
            let served = result.recv_timeout(LIMIT);
            let served = served.unwrap_or_else(|_| panic!("{failure:?}: a thread waits for ever"));
            assert_eq!(served.is_err(), failed.is_some(), "{failure:?}: {served:?}");
        }
    }
}

#[test]
fn a_loan_lasts_until_the_loop_drops_it() {
    let end = new_end();
    let (announced, result) = serve(&end, Body::Empty, |exchange| exchange.send(&[b'x'; MIN_LENT]));
    announced.recv_timeout(LIMIT).unwrap();
    let mut items = end.take(true).items;
    let Some(Item::Lent(lent)) = items.pop_front() else { panic!("the block is lent: {items:?}") };
    end.close(SendError::Disconnected);
    // The channel is closed, and still nginx points to the bytes.
    assert_eq!(result.try_recv().ok(), None);
    assert!(lent.bytes().iter().all(|byte| *byte == b'x'));
    drop(lent);
    assert_eq!(result.recv_timeout(LIMIT), Ok(Err(SendError::Disconnected)));
}

#[test]
fn a_loan_that_was_copied_counts_against_the_window() {
    let end = new_end();
    let (announced, result) = serve(&end, Body::Empty, |exchange| {
        let large = vec![b'x'; WINDOW + 1];
        exchange.send(&large).and_then(|()| exchange.send(&large))
    });
    let lent = |announced: &Receiver<()>| -> Lent {
        announced.recv_timeout(LIMIT).unwrap();
        match end.take(true).items.pop_front() {
            Some(Item::Lent(lent)) => lent,
            other => panic!("the block is lent: {other:?}"),
        }
    };
    let copy = end.copy(lent(&announced));
    assert_eq!(copy.len(), WINDOW + 1);
    // The second block waits: nothing of the first was sent.
    assert_eq!(announced.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty));
    end.sent(copy.len());
    drop(lent(&announced));
    assert_eq!(result.recv_timeout(LIMIT), Ok(Ok(())));
}

#[test]
fn a_page_that_waits_for_its_fragment_does_not_hold_its_thread() {
    let end = new_end();
    end.hold(true);
    let (_announced, result) = serve(&end, Body::Empty, |exchange| {
        for _ in 0..100 {
            exchange.send(&[b'x'; 32 * 1024])?;
        }
        exchange.end(End::Complete);
        Ok::<_, SendError>(())
    });
    // 3.2 MB, of which nobody takes anything.
    const { assert!(HELD_WINDOW > 100 * 32 * 1024) };
    assert_eq!(result.recv_timeout(LIMIT), Ok(Ok(())));
}

#[test]
fn a_page_that_waits_too_long_for_its_fragment_is_cut_once() {
    let end = new_end();
    end.hold(true);
    let (_announced, result) = serve(&end, Body::Empty, |exchange| {
        exchange.send_head(head().view())?;
        let sent = std::iter::repeat_with(|| exchange.send(&[b'x'; 32 * 1024]));
        let failed = sent.take(HELD_WINDOW).find_map(Result::err);
        // An application that goes on all the same does not wait again, and has nothing sent.
        let more = (exchange.send(b"more"), exchange.send(&[b'y'; MIN_LENT]), exchange.flush());
        exchange.end(End::Complete);
        Ok::<_, SendError>((failed, more))
    });
    let timed_out = Err(SendError::TimedOut);
    let expected = (Some(SendError::TimedOut), (timed_out, timed_out, timed_out));
    assert_eq!(result.recv_timeout(LIMIT), Ok(Ok(expected)));
    let items = end.take(true).items;
    assert!(matches!(items.back(), Some(Item::End(End::Cut))), "{:?}", items.back());
    let is_end = |item: &&Item| matches!(item, Item::End(_));
    assert_eq!(items.iter().filter(is_end).count(), 1);
}

#[test]
fn a_large_block_of_a_page_that_waits_is_copied_in_parts() {
    let end = new_end();
    end.hold(true);
    let (announced, result) =
        serve(&end, Body::Empty, |exchange| exchange.send(&vec![b'x'; HELD_WINDOW + 3 * MAX_LENT]));
    let mut copied = 0;
    let failed = loop {
        match result.recv_timeout(Duration::from_millis(1)) {
            Ok(served) => break served,
            Err(RecvTimeoutError::Disconnected) => panic!("the thread is gone"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        for _ in announced.try_iter() {
            for item in end.take(true).items {
                if let Item::Lent(lent) = item {
                    copied += end.copy(lent).len();
                }
            }
        }
    };
    assert_eq!(failed, Err(SendError::TimedOut), "nobody took anything");
    assert!(copied <= HELD_WINDOW + MAX_LENT, "{copied} bytes were copied");
}

#[test]
fn what_is_instant_is_so_whenever_the_window_becomes_smaller() {
    let end = new_end();
    let (announce, _announced) = channel();
    let mut exchange = exchange(&end, Announce(announce), Body::Empty);
    end.hold(true);
    exchange.send_head(head().view()).unwrap();
    for _ in 0..WINDOW / 1024 {
        exchange.send(&[b'x'; 1024]).unwrap();
        exchange.flush().unwrap();
    }
    assert!(!exchange.send_is_instant(1024), "the page's turn may come before it is handed over");
    drop(end);
}

#[test]
fn small_blocks_wait_for_the_client_and_are_joined() {
    let end = new_end();
    let (announced, result) = serve(&end, Body::Empty, |exchange| {
        for _ in 0..100 {
            exchange.send(&[b'x'; 10 * 1024])?;
        }
        exchange.end(End::Complete);
        Ok::<_, SendError>(())
    });
    let mut received = 0;
    while received < 100 * 10 * 1024 {
        announced.recv_timeout(LIMIT).unwrap();
        for item in end.take(true).items {
            if let Item::Data(bytes) = item {
                received += bytes.len();
                end.sent(bytes.len());
            }
        }
    }
    assert_eq!(result.recv_timeout(LIMIT), Ok(Ok(())));
    assert_eq!(received, 100 * 10 * 1024);
}

#[test]
fn an_exchange_that_is_dropped_before_its_end_is_cut() {
    let end = new_end();
    let (announced, _result) = serve(&end, Body::Empty, |exchange| exchange.send_head(head().view()));
    announced.recv_timeout(LIMIT).unwrap();
    let items: Vec<Item> = end.take(true).items.into();
    assert!(matches!(items[..], [Item::End(End::Cut)]), "{items:?}");
}

#[test]
fn a_streamed_body_comes_as_it_is_supplied() {
    let end = new_end();
    let (announced, result) = serve(&end, Body::Streamed, |exchange| {
        let (mut all, mut buffer) = (Vec::new(), [0; 7]);
        loop {
            match exchange.read_body(&mut buffer) {
                Ok(0) => return Ok(all),
                Ok(count) => all.extend_from_slice(&buffer[..count]),
                Err(error) => return Err((all, error)),
            }
        }
    });
    announced.recv_timeout(LIMIT).unwrap();
    assert!(end.take(true).wants_body);
    end.supply(b"the first part", None);
    end.supply(b", the second", Some(Err(BodyError::Malformed)));
    // Only the first end counts.
    end.close(SendError::Disconnected);
    let expected = (b"the first part, the second".to_vec(), BodyError::Malformed);
    assert_eq!(result.recv_timeout(LIMIT), Ok(Err(expected)));
}

#[test]
fn log_lines_of_a_request_are_bounded() {
    let end = new_end();
    let (_announced, result) = serve(&end, Body::Empty, |exchange| {
        for _ in 0..100_000 {
            exchange.log(Level::Error, &[b'x'; 100]);
        }
    });
    result.recv_timeout(LIMIT).unwrap();
    let logs = end.take(false).logs;
    assert!(logs.len() < 10_000, "{} lines wait", logs.len());
    let (level, last) = logs.last().unwrap();
    assert_eq!(*level, Level::Warning);
    assert!(String::from_utf8_lossy(last).contains("log lines were dropped"));
}

/// A waker that counts.
#[derive(Clone, Default)]
struct Count(Rc<RefCell<usize>>);

impl Wake for Count {
    fn wake(&self) {
        *self.0.borrow_mut() += 1;
    }
}

#[test]
fn the_loop_is_woken_once_for_all_that_waits() {
    let woken = Count::default();
    let (queue, end) = (LoopQueue::new(woken.clone()), new_end());
    queue.push(end.channel());
    queue.log(3, b"a line");
    queue.push(end.channel());
    assert_eq!(*woken.0.borrow(), 1);
    let (mut lines, mut channels) = (Vec::new(), 0);
    queue.turn(4, |level, line| lines.push((level, line.to_vec())), |_| channels += 1);
    assert_eq!((lines, channels), (vec![(3, b"a line".to_vec())], 2));
    queue.push(end.channel());
    assert_eq!(*woken.0.borrow(), 2);
}

#[test]
fn a_queue_that_does_not_become_empty_leaves_the_loop_its_other_events() {
    let woken = Count::default();
    let (queue, end) = (LoopQueue::new(woken.clone()), new_end());
    queue.push(end.channel());
    let mut turns = 0;
    queue.turn(
        4,
        |_, _| {},
        |channel| {
            turns += 1;
            queue.push(channel);
        },
    );
    assert!(turns < 100);
    assert_eq!(*woken.0.borrow(), 2);
}
