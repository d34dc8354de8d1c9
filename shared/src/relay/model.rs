//! Models of the channel and of the queue: loom tries every interleaving of a Python thread and an event
//! loop.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p neat-shared --lib relay --release`
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use loom::thread;

use super::channel::{Channel, LoopEnd};
use super::item::Item;
use super::queue::{LoopQueue, Wake};
use super::registry::Id;
use super::sync::{Arc, Condvar, Mutex, lock, wait};
use crate::exchange::{BodyError, SendError};

/// What nginx's eventfd is: something that a loop sleeps on.
#[derive(Debug, Default, Clone)]
struct Event(Arc<(Mutex<bool>, Condvar)>);

impl Event {
    fn sleep(&self) {
        let mut woken = lock(&self.0.0);
        while !*woken {
            woken = wait(&self.0.1, woken);
        }
        *woken = false;
    }
}

impl Wake for Event {
    fn wake(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }
}

fn new_end() -> LoopEnd {
    LoopEnd::new(Id::from_bits(1 << 32).unwrap())
}

fn lend(channel: &Arc<Channel>, event: &Event) -> Result<(), SendError> {
    Channel::lend(channel, [Item::Data(vec![1])], &[2; 3], || event.wake())
}

#[test]
fn a_loan_returns_whatever_the_loop_does_with_what_it_took() {
    for close_first in [true, false] {
        loom::model(move || {
            let (end, event) = (new_end(), Event::default());
            let thread = {
                let (channel, event) = (Arc::clone(end.channel()), event.clone());
                thread::spawn(move || lend(&channel, &event))
            };
            event.sleep();
            // The head cannot be sent: what was taken is dropped.
            let taken = end.take(true);
            if close_first {
                end.close(SendError::Disconnected);
            }
            drop(taken);
            drop(end);
            // It may have gone on before the channel was closed.
            let _ = thread.join().unwrap();
        });
    }
}

#[test]
fn a_loan_returns_when_the_request_ends_at_any_moment() {
    loom::model(|| {
        let (end, event) = (new_end(), Event::default());
        let thread = {
            let channel = Arc::clone(end.channel());
            thread::spawn(move || lend(&channel, &event))
        };
        end.close(SendError::Disconnected);
        assert_eq!(thread.join().unwrap(), Err(SendError::Disconnected));
    });
}

#[test]
fn a_thread_that_waits_for_room_goes_on() {
    for held in [true, false] {
        loom::model(move || {
            let end = new_end();
            let block = 100 * 1024;
            end.channel().push([Item::Data(vec![0; block])], || {}).unwrap();
            let thread = {
                let channel = Arc::clone(end.channel());
                thread::spawn(move || channel.wait_for_room(block))
            };
            if held {
                end.hold(true);
            } else {
                end.sent(block);
            }
            assert_eq!(thread.join().unwrap(), Ok(()));
        });
    }
}

#[test]
fn a_thread_that_waits_for_the_body_gets_it_or_its_end() {
    loom::model(|| {
        let (end, event) = (new_end(), Event::default());
        let thread = {
            let (channel, event) = (Arc::clone(end.channel()), event.clone());
            thread::spawn(move || {
                let mut buffer = [0; 2];
                let first = channel.read_body(&mut buffer, || event.wake());
                (first, channel.read_body(&mut buffer, || event.wake()))
            })
        };
        event.sleep();
        assert!(end.take(true).wants_body);
        end.supply(b"x", None);
        end.close(SendError::Disconnected);
        assert_eq!(thread.join().unwrap(), (Ok(1), Err(BodyError::Disconnected)));
    });
}

#[test]
fn no_announcement_is_lost() {
    let mut model = loom::model::Builder::new();
    // Three threads: all interleavings would take a minute.
    model.preemption_bound = Some(3);
    model.check(|| {
        let event = Event::default();
        let queue = Arc::new(LoopQueue::new(event.clone()));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.push(new_end().channel()))
            })
            .collect();
        let mut announced = 0;
        while announced < 2 {
            event.sleep();
            queue.turn(4, |_, _| {}, |_| announced += 1);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn what_is_put_into_an_announced_channel_is_seen() {
    loom::model(|| {
        let (end, event) = (new_end(), Event::default());
        let queue = Arc::new(LoopQueue::new(event.clone()));
        let thread = {
            let (queue, channel) = (Arc::clone(&queue), Arc::clone(end.channel()));
            thread::spawn(move || {
                for byte in 0..2 {
                    // A byte each, so that they are joined or not, as it comes.
                    channel.push([Item::Data(vec![byte])], || queue.push(&channel)).unwrap();
                }
            })
        };
        let mut bytes = Vec::new();
        while bytes.len() < 2 {
            event.sleep();
            queue.turn(
                4,
                |_, _| {},
                |_| {
                    for item in end.take(true).items {
                        if let Item::Data(data) = item {
                            bytes.extend(data);
                        }
                    }
                },
            );
        }
        assert_eq!(bytes, [0, 1]);
        thread.join().unwrap();
    });
}
