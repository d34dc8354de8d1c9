//! The engine's life, on threads that it does not own: serving from a queue, leaving nothing behind, ending.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on is to fail"
)]

mod rig;

use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use rig::{Act, Call, engine, script, server_lines};
use shared::backlog::Backlog;
use shared::exchange::End;

const HELLO: &str = "def application(environ, start_response):\n    start_response('200 OK', [('A', 'b')])\n    \
                     return [b'hello']\n";
const OBJECTS: &str = "import gc, sys\ndef application(environ, start_response):\n    gc.collect()\n    \
                       start_response('200 OK', [])\n    return [b'%d' % (len(gc.get_objects()) + sys.getallocatedblocks())]\n";
const LINGERING: &str = "import atexit, threading\natexit.register(print, 'atexit ran')\n\
                         threading.Thread(target=threading.Event().wait, daemon=False).start()\n\
                         def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'x']\n";

fn number(acts: &[Act]) -> i64 {
    match &acts[1] {
        Act::Send(text) => String::from_utf8_lossy(text).parse().unwrap(),
        act => panic!("{act:?}"),
    }
}

/// One test, because a process has one Python and it ends once.
#[test]
fn threads_serve_from_a_queue_and_leave_nothing_behind_and_python_ends_in_time() {
    let (starter, ended) = on_a_thread_of_its_own();
    let (hello, objects) = (script("hello.wsgi", HELLO), script("objects.wsgi", OBJECTS));

    let backlog = Backlog::new(100);
    std::thread::scope(|scope| {
        scope.spawn(|| backlog.watch());
        for _ in 0..4 {
            scope.spawn(|| engine().serve(&backlog));
        }
        let ask = |path| {
            let (exchange, acted) = Call::new(path).exchange();
            assert!(backlog.push(exchange).is_ok());
            acted.iter().collect::<Vec<Act>>()
        };
        for _ in 0..100 {
            assert_eq!(ask(&hello).last(), Some(&Act::End(End::Complete)));
        }
        let before = number(&ask(&objects));
        for _ in 0..5000 {
            ask(&hello);
        }
        let grown = number(&ask(&objects)) - before;
        assert!(grown < 500, "{grown} objects and blocks are left behind by 5000 requests");
        backlog.close();
    });
    // Threads come and go; each gives its thread state back.
    for _ in 0..50 {
        std::thread::scope(|scope| {
            scope.spawn(|| Call::new(&hello).run());
        });
    }

    Call::new(&script("lingering.wsgi", LINGERING)).run();
    let begin = Instant::now();
    starter.send(()).unwrap();
    ended.recv_timeout(Duration::from_secs(60)).expect("the engine ends although a thread never does");
    assert!(begin.elapsed() >= Duration::from_millis(300), "the application's thread was given its time");
    assert!(server_lines().iter().any(|(_, line)| line == "atexit ran"), "{:?}", server_lines());
    // Nothing runs any more, and nothing hangs: the exchange is answered without Python.
    assert_eq!(Call::new(&hello).run(), [Act::End(End::Status(500))]);
}

/// Starts the engine on a thread that stops it when it is told to.
fn on_a_thread_of_its_own() -> (Sender<()>, std::sync::mpsc::Receiver<()>) {
    let (ready, is_ready) = channel();
    let (stop, stopped) = channel();
    let (end, ended) = channel();
    std::thread::spawn(move || {
        let engine = engine();
        ready.send(()).unwrap();
        stopped.recv().unwrap();
        engine.stop(Duration::from_millis(300));
        end.send(()).unwrap();
    });
    is_ready.recv().unwrap();
    (stop, ended)
}
