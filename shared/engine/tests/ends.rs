//! That every iteration ends: when enough was sent, and when nobody is left to send it to (PEP 3333,
//! "Handling the Content-Length Header" and "Specification Details").

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on is to fail")]

mod rig;

use rig::{Act, Call, script};
use shared::exchange::End;
use shared::log::Level;

/// An application whose body gives `block` for ever, and says when it is closed.
fn endless(name: &str, status: &str, headers: &str, block: &str) -> std::path::PathBuf {
    let text = format!(
        "class Body:\n    asked = 0\n    def __iter__(self): return self\n    def __next__(self):\n        \
         self.asked += 1\n        return {block}\n    def close(self): print('closed after', self.asked)\n\
         def application(environ, start_response):\n    start_response({status:?}, {headers})\n    return Body()"
    );
    script(&format!("{name}.wsgi"), &text)
}

fn logged(acts: &[Act], level: Level) -> Vec<&str> {
    acts.iter()
        .filter_map(|act| match act {
            Act::Log(found, text) if *found == level => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn iteration_stops_when_the_declared_length_was_sent() {
    let declared = |length: u32| format!("[('Content-Length', '{length}')]");
    for (name, length, asked) in [("exact", 4, 2), ("within", 3, 2), ("none", 0, 1)] {
        let path = endless(&format!("past-{name}"), "200 OK", &declared(length), "b'xy'");
        let acts = Call::new(&path).run();
        assert_eq!(acts.last(), Some(&Act::End(End::Complete)), "{name}: {acts:?}");
        assert_eq!(logged(&acts, Level::Error), [format!("closed after {asked}")], "{name}");
        assert_eq!(logged(&acts, Level::Warning).is_empty(), length == 4, "{name}");
    }
    // A body that is empty by its head is whole before anything of it came.
    let path = endless("past-nothing", "200 OK", &declared(0), "b''");
    assert_eq!(Call::new(&path).run().last(), Some(&Act::End(End::Complete)));
}

#[test]
fn iteration_of_a_response_without_a_body_stops_at_once() {
    for (method, status) in [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")] {
        for block in ["b'xy'", "b''"] {
            let path = endless(&format!("{method}-{}-{}", &status[..3], block.len()), status, "[]", block);
            let acts = Call::new(&path).method(method).run();
            assert_eq!(acts.last(), Some(&Act::End(End::Complete)), "{method} {status}: {acts:?}");
            assert_eq!(logged(&acts, Level::Error), ["closed after 1"]);
        }
    }
}

#[test]
fn empty_blocks_for_a_client_that_is_gone_end_at_the_next() {
    let path = endless("empty", "200 OK", "[]", "b'' if self.asked > 1 else b'x'");
    for acts in [Call::new(&path).refuse_after(1).run(), Call::new(&path).refuse_after(1).blocking().run()] {
        assert_eq!(acts.last(), Some(&Act::End(End::Cut)), "{acts:?}");
        assert_eq!(logged(&acts, Level::Error), ["closed after 2"]);
    }
}

#[test]
fn write_behind_the_declared_length_is_an_error_and_the_response_is_whole() {
    let path = script(
        "writes-on.wsgi",
        "def application(environ, start_response):\n    \
         write = start_response('200 OK', [('Content-Length', '3')])\n    write(b'abcd')\n    write(b'')\n    \
         while True: write(b'e')",
    );
    let acts = Call::new(&path).run();
    assert!(acts.contains(&Act::Send(b"abc".to_vec())), "{acts:?}");
    assert!(logged(&acts, Level::Error)[0].contains("ValueError: write() goes on"), "{acts:?}");
    assert_eq!(acts.last(), Some(&Act::End(End::Complete)));
}

#[test]
fn write_of_what_nobody_gets_ends_with_the_client() {
    let path = script(
        "writes-for-head.wsgi",
        "def application(environ, start_response):\n    write = start_response('200 OK', [])\n    \
         while True: write(b'x')",
    );
    let acts = Call::new(&path).method("HEAD").refuse_after(0).run();
    assert_eq!(acts.last(), Some(&Act::End(End::Cut)), "{acts:?}");
}

#[test]
fn a_head_that_the_server_refuses_is_no_whole_response() {
    let path = script(
        "refused.wsgi",
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'x']",
    );
    let acts = Call::new(&path).refusing_the_head().run();
    assert_eq!(acts.last(), Some(&Act::End(End::Cut)), "{acts:?}");
}
