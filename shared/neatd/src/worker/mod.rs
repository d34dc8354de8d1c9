//! A worker: a process that serves requests, forked by its group's zygote.

mod arrival;
mod body;
mod connection;
mod connections;
mod exchange;
#[allow(unsafe_code)]
pub mod handover;
mod hub;
mod leader;
mod queue;
mod watchdog;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use shared::conf::group::ProcessGroup;
use shared::ffi::guard::guard;
use shared::loader::load::Engine;

use crate::clients::AllowedClients;
use crate::control::Report;
use crate::warden::scoreboard::{Scoreboard, now};
use crate::{reports, signals};
use handover::Handovers;
use hub::{Hub, Limits};
use leader::Requests;
use watchdog::Watchdog;

/// How long application threads may go on when the process ends, at most.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// What a worker needs.
pub struct Setup<'a> {
    /// Its group.
    pub conf: &'a ProcessGroup,
    /// The generation's scoreboard.
    pub board: Arc<Scoreboard>,
    /// Its slot there.
    pub slot: usize,
    /// Where each worker takes requests from others.
    pub handovers: Handovers,
    /// The group's socket.
    pub listener: OwnedFd,
    /// Who may connect.
    pub clients: AllowedClients,
    /// What could not be loaded.
    pub failed: Vec<String>,
}

/// Serves until it is told to leave. Has to be called on the thread that Python was started on.
///
/// # Errors
/// The system refuses what is needed; nothing was served.
pub fn run(setup: Setup<'_>, engine: Engine) -> std::io::Result<()> {
    let conf = setup.conf;
    let signals = signals::catch(&[Signal::SIGTERM])?;
    let threads = usize::try_from(conf.threads).unwrap_or(1);
    let limits = Limits {
        threads,
        queue_size: usize::try_from(conf.queue_size).unwrap_or(usize::MAX),
        queue_timeout: conf.queue_timeout,
        send_timeout: conf.socket_timeout,
        buffers: (conf.send_buffer_size, conf.receive_buffer_size),
        clients: setup.clients,
        header_line: usize::try_from(conf.header_buffer_size).unwrap_or(usize::MAX),
    };
    let board = Arc::clone(&setup.board);
    let hub = Hub::new(setup.listener, setup.handovers, setup.board, setup.slot, limits, reports::log)?;
    let mut running = Vec::new();
    for number in 0..threads {
        let hub = Arc::clone(&hub);
        let size = usize::try_from(conf.stack_size).unwrap_or(8 << 20);
        let life = move || {
            guard("a thread of Python's", (), || {
                hub.queue.join(number);
                engine.serve(&Requests(hub));
            });
        };
        running.push(thread::Builder::new().name(format!("wsgi-{number}")).stack_size(size).spawn(life)?);
    }
    let watch = Arc::clone(&hub);
    thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || guard("the watch", (), || watch.watch()))?;
    if let Some(timeout) = conf.deadlock_timeout {
        let (board, slot) = (Arc::clone(&board), setup.slot);
        let pause = (timeout / 4).clamp(Duration::from_millis(50), Duration::from_secs(15));
        let life = move || {
            guard("the pulse", (), || {
                loop {
                    // When it began to wait for the GIL: who was on time before the deadlock is not late by
                    // the pause behind that.
                    board.score(slot).pulse.store(now(), std::sync::atomic::Ordering::Relaxed);
                    engine.pulse();
                    thread::sleep(pause);
                }
            });
        };
        thread::Builder::new().name("pulse".to_owned()).spawn(life)?;
    }
    reports::send(&Report::Serving { slot: setup.slot, failed: setup.failed });
    let mut watchdog = Watchdog::new(conf, engine, Arc::clone(&hub), board, setup.slot);
    let mut draining = None;
    loop {
        let pause = if draining.is_some() { Some(Duration::from_millis(10)) } else { watchdog.pause() };
        let timeout =
            pause.map_or(PollTimeout::NONE, |pause| PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX));
        let mut polled = vec![PollFd::new(std::os::fd::AsFd::as_fd(&signals), PollFlags::POLLIN)];
        polled.extend(reports::flush());
        let _ = poll(&mut polled, timeout);
        if signals::caught(&signals).contains(&Signal::SIGTERM) && draining.is_none() {
            draining = Some(Instant::now());
            hub.drain();
        }
        watchdog.look();
        if draining.is_some() && hub.is_drained() {
            break;
        }
    }
    hub.close();
    for thread in running {
        // It ended, or it panicked, which is in the log.
        let _ = thread.join();
    }
    engine.stop(STOP_TIMEOUT.min(conf.shutdown_timeout));
    Ok(())
}
