//! More than one hand on a request: an application's threads, its child processes, requests inside of
//! requests.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on is to fail")]

mod rig;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rig::{Act, Call, Recorded, engine, script};
use shared::exchange::{End, Next, Source};
use shared::log::Level;

const TIMEOUT: Duration = Duration::from_secs(20);

fn sent(acts: &[Act]) -> String {
    let sent = acts.iter().filter_map(|act| match act {
        Act::Send(data) => Some(String::from_utf8_lossy(data).into_owned()),
        _ => None,
    });
    sent.collect()
}

fn lines(acts: &[Act]) -> Vec<String> {
    let lines = acts.iter().filter_map(|act| match act {
        Act::Log(_, line) => Some(line.clone()),
        _ => None,
    });
    lines.collect()
}

/// Waits for a file that the other side of the test makes.
fn until_there(path: &Path) {
    let begin = Instant::now();
    while !path.exists() {
        assert!(begin.elapsed() < TIMEOUT, "{path:?} did not come");
        std::thread::yield_now();
    }
}

/// PEP 3333 leaves threads to the application; the engine's rule is that nobody waits for a client while
/// holding the GIL.
#[test]
fn one_thread_answers_while_another_waits_for_the_body() {
    let path = script(
        "threads.wsgi",
        "import os, threading, time\n\
         def application(environ, start_response):\n    body = []\n    \
             reader = threading.Thread(target=lambda: body.append(environ['wsgi.input'].read()))\n    reader.start()\n    \
             while not os.path.exists(environ['READING']):\n        time.sleep(0.001)\n    \
             start_response('200 OK', [])\n    print('answered')\n    open(environ['ANSWERED'], 'w').close()\n    \
             reader.join()\n    return body\n",
    );
    let (reading, answered) = (path.with_extension("reading"), path.with_extension("answered"));
    let acts = Call::new(&path)
        .named("READING", reading.to_str().unwrap().as_bytes())
        .named("ANSWERED", answered.to_str().unwrap().as_bytes())
        .stream(vec![Ok(b"abc".to_vec())])
        .while_reading(move || {
            std::fs::write(&reading, "").unwrap();
            until_there(&answered);
        })
        .run();
    assert_eq!(sent(&acts), "abc");
    assert_eq!(acts.last(), Some(&Act::End(End::Complete)));
}

/// httpd runs a subrequest on the thread of the request around it, in the middle of its output.
#[test]
fn a_request_inside_of_a_request_has_a_log_and_an_end_of_its_own() {
    let path = script(
        "nested.wsgi",
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    print('in', environ['NAME'])\n    \
         yield environ['NAME'].encode()\n    print('still in', environ['NAME'])\n",
    );
    for blocking in [false, true] {
        let (inner_acts, inner_acted) = std::sync::mpsc::channel();
        let inner_path = path.clone();
        let outer = Call::new(&path).named("NAME", b"outer").while_sending(move || {
            inner_acts.send(Call::new(&inner_path).named("NAME", b"inner").run()).unwrap();
        });
        let outer = if blocking { outer.blocking().run() } else { outer.run() };
        let inner = inner_acted.recv_timeout(TIMEOUT).unwrap();
        assert_eq!((sent(&inner).as_str(), sent(&outer).as_str()), ("inner", "outer"));
        assert_eq!(lines(&inner), ["in inner", "still in inner"]);
        assert_eq!(lines(&outer), ["in outer", "still in outer"]);
        assert_eq!([inner.last(), outer.last()], [Some(&Act::End(End::Complete)); 2]);
    }
}

/// Runs an application in a child that it forks; the parent answers with the child's exit status.
fn forked(name: &str, child: &str) -> Vec<Act> {
    let text = format!(
        "import os, sys\ndef application(environ, start_response):\n    write = start_response('200 OK', [])\n    pid = os.fork()\n    \
         if not pid:\n        {child}\n    return [b'%d' % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]\n"
    );
    let acts = Call::new(&script(&format!("{name}.wsgi"), &text)).stream(vec![Ok(b"abc".to_vec())]).run();
    assert_eq!(acts.iter().filter(|act| matches!(act, Act::End(_))).count(), 1, "{acts:?}");
    acts
}

#[test]
fn a_child_ends_with_the_code_that_it_says() {
    for (name, child, code) in [
        ("returns", "return [b'x']", "0"),
        ("exits", "sys.exit(3)", "3"),
        ("exits_with_text", "sys.exit('no')", "1"),
        ("exits_well", "sys.exit()", "0"),
        ("fails", "1 / 0", "1"),
    ] {
        assert_eq!(sent(&forked(name, child)), code, "{name}");
    }
}

#[test]
fn a_child_cannot_touch_its_parents_request() {
    for (name, child, code) in [
        ("writes", "write(b'from the child')", "1"),
        ("reads", "environ['wsgi.input'].read()", "1"),
        ("iterates", "return iter([b'from the child'])", "0"),
    ] {
        assert_eq!(sent(&forked(name, child)), code, "{name}");
    }
}

/// The client's going is no fault of the application's, wherever it hears of it.
#[test]
fn a_client_that_went_away_is_no_error_in_the_log() {
    let path = script(
        "gone.wsgi",
        "def application(environ, start_response):\n    write = start_response('200 OK', [])\n    write(b'a')\n    write(b'b')\n    \
         return []\n",
    );
    let acts = Call::new(&path).refuse_after(1).run();
    assert_eq!(acts.last(), Some(&Act::End(End::Cut)));
    assert!(!acts.iter().any(|act| matches!(act, Act::Log(Level::Error, _))), "{acts:?}");
    assert!(lines(&acts)[0].contains("the client closed the connection"), "{acts:?}");
}

/// Some exchanges, one after the other.
struct Queue(Mutex<VecDeque<Recorded>>);

impl Source for Queue {
    type Exchange = Recorded;

    fn try_next(&self) -> Next<Recorded> {
        self.0.lock().unwrap().pop_front().map_or(Next::Closed, Next::Exchange)
    }

    fn wait_next(&self) -> Next<Recorded> {
        Next::Closed
    }
}

/// `request-timeout` is about one request: what is raised for it when it has done its work is nothing to the
/// next one of the same thread, and nothing is raised for one that is over.
#[test]
fn an_interrupt_is_for_the_request_that_is_meant() {
    let path = script(
        "meant.wsgi",
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'x' * len(str(environ))]\n",
    );
    for meant in [true, false] {
        let (stacks, stack) = std::sync::mpsc::channel();
        let late = Call::new(&path).blocking().while_sending(move || {
            // SAFETY: names the calling thread.
            let thread = unsafe { libc::pthread_self() } as u64;
            let interrupt = std::thread::spawn(move || engine().interrupt(thread, &|| meant));
            stacks.send(interrupt.join().unwrap()).unwrap();
        });
        let ((late, late_acts), (next, next_acts)) = (late.exchange(), Call::new(&path).exchange());
        std::thread::scope(|scope| {
            scope.spawn(|| engine().serve(&Queue(Mutex::new([late, next].into()))));
        });
        assert_eq!(stack.recv_timeout(TIMEOUT).unwrap().is_some(), meant);
        for acts in [late_acts, next_acts] {
            assert_eq!(acts.iter().last(), Some(Act::End(End::Complete)));
        }
    }
}
