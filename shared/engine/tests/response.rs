//! What an application's answer becomes (PEP 3333): heads, blocks, lengths, close(), failures.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on is to fail")]

mod rig;

use rig::{Act, Call, script};
use shared::exchange::End;
use shared::log::Level;

fn head(status: u16, length: Option<u64>) -> Act {
    Act::Head(status, vec![("Content-Type".into(), "text/plain".into())], length)
}

fn send(data: &[u8]) -> Act {
    Act::Send(data.to_vec())
}

/// An application whose body is the given lines.
fn app(name: &str, body: &str) -> std::path::PathBuf {
    let lines = body.lines().map(|line| format!("    {line}\n")).collect::<Vec<_>>().concat();
    let text = format!(
        "import sys, io\nHEADERS = [('Content-Type', 'text/plain')]\nclosed = []\n\
         def application(environ, start_response):\n{lines}"
    );
    script(&format!("{name}.wsgi"), &text)
}

fn logged(acts: &[Act], level: Level) -> Vec<String> {
    acts.iter()
        .filter_map(|act| match act {
            Act::Log(found, text) if *found == level => Some(text.clone()),
            _ => None,
        })
        .collect()
}

const HELLO: &str = "start_response('200 OK', HEADERS)\nreturn [b'hello']";

#[test]
fn a_list_of_one_block_has_its_length_and_leaves_in_one_go() {
    let path = app("hello", HELLO);
    let expected = [head(200, Some(5)), send(b"hello"), Act::End(End::Complete)];
    assert_eq!(Call::new(&path).run(), expected);
    assert_eq!(Call::new(&path).blocking().run(), expected);
}

#[test]
fn each_block_is_flushed_before_the_next_is_asked_for() {
    let path = app("blocks", "start_response('200 OK', HEADERS)\nreturn iter([b'a', b'', b'b'])");
    assert_eq!(
        Call::new(&path).run(),
        [head(200, None), send(b"a"), Act::Flush, send(b"b"), Act::Flush, Act::End(End::Complete)]
    );
}

#[test]
fn head_has_the_length_and_no_body() {
    assert_eq!(
        Call::new(&app("head", HELLO)).method("HEAD").run(),
        [head(200, Some(5)), Act::End(End::Complete)]
    );
}

#[test]
fn head_gets_no_length_that_the_application_did_not_give() {
    for (name, body) in [("no-block", "[]"), ("empty-block", "[b'']"), ("empty-tuple", "()")] {
        let path = app(&format!("head-{name}"), &format!("start_response('200 OK', HEADERS)\nreturn {body}"));
        assert_eq!(
            Call::new(&path).method("HEAD").run(),
            [head(200, None), Act::End(End::Complete)],
            "{name}"
        );
    }
}

#[test]
fn an_empty_list_is_an_empty_body() {
    let path = app("empty", "start_response('200 OK', HEADERS)\nreturn []");
    assert_eq!(Call::new(&path).run(), [head(200, Some(0)), Act::End(End::Complete)]);
}

#[test]
fn more_than_declared_is_dropped_and_less_is_a_cut() {
    let path = app("more", "start_response('200 OK', HEADERS + [('Content-Length', '2')])\nreturn [b'abc']");
    let acts = Call::new(&path).run();
    assert_eq!(acts[..2], [head(200, Some(2)), send(b"ab")]);
    assert_eq!(acts.last(), Some(&Act::End(End::Complete)));
    assert!(logged(&acts, Level::Warning)[0].contains("1 bytes more"));
    let path = app("less", "start_response('200 OK', HEADERS + [('Content-Length', '4')])\nreturn [b'abc']");
    let acts = Call::new(&path).run();
    assert_eq!(acts.last(), Some(&Act::End(End::Cut)));
    assert!(logged(&acts, Level::Error)[0].contains("1 bytes less"));
}

#[test]
fn an_exception_before_the_head_is_500_and_one_traceback_with_the_requests_context() {
    let path = app("raises", "raise ValueError('broken')");
    let acts = Call::new(&path).run();
    assert_eq!(acts.len(), 2, "{acts:?}");
    let lines = logged(&acts, Level::Error);
    assert!(lines[0].starts_with("GET /shop/a?b (") && lines[0].contains("raises.wsgi"), "{lines:?}");
    assert!(lines[0].contains("Traceback (most recent call last)"), "{lines:?}");
    assert!(lines[0].ends_with("ValueError: broken"), "{lines:?}");
    assert!(!lines[0].contains("<neat>"), "{lines:?}");
    assert_eq!(acts[1], Act::End(End::Status(500)));
}

#[test]
fn an_exception_after_the_head_is_a_cut() {
    let path = app("late", "start_response('200 OK', HEADERS)\nyield b'a'\nraise ValueError('broken')");
    let acts = Call::new(&path).run();
    assert_eq!(acts[..3], [head(200, None), send(b"a"), Act::Flush]);
    assert_eq!(acts.last(), Some(&Act::End(End::Cut)));
}

#[test]
fn what_is_no_exception_of_the_application_ends_no_process() {
    for (name, what) in
        [("exit", "sys.exit(3)"), ("interrupt", "raise KeyboardInterrupt"), ("base", "raise BaseException")]
    {
        let acts = Call::new(&app(name, what)).run();
        assert_eq!(acts.last(), Some(&Act::End(End::Status(500))), "{name}");
    }
    let deep = app("deep", "def f(): f()\nf()");
    assert_eq!(Call::new(&deep).run().last(), Some(&Act::End(End::Status(500))));
    assert_eq!(Call::new(&app("after", HELLO)).run().len(), 3);
}

#[test]
fn an_answer_that_breaks_the_rules_is_refused_before_a_byte_is_sent() {
    for (name, body) in [
        ("none", "start_response('200 OK', HEADERS)"),
        ("str", "start_response('200 OK', HEADERS)\nreturn ['text']"),
        ("nohead", "return [b'x']"),
        ("bytes_status", "start_response(b'200 OK', HEADERS)\nreturn [b'x']"),
        ("bad_status", "start_response('OK', HEADERS)\nreturn [b'x']"),
        ("injection", "start_response('200 OK', [('A', 'b\\r\\nC: d')])\nreturn [b'x']"),
        ("hop", "start_response('200 OK', [('Connection', 'close')])\nreturn [b'x']"),
        ("tuple", "start_response('200 OK', (('A', 'b'),))\nreturn [b'x']"),
        ("list", "start_response('200 OK', [['A', 'b']])\nreturn [b'x']"),
        ("beyond", "start_response('200 OK', [('A', '\\u20ac')])\nreturn [b'x']"),
        ("twice", "start_response('200 OK', HEADERS)\nstart_response('200 OK', HEADERS)\nreturn [b'x']"),
        ("empty_nohead", "return []"),
    ] {
        let acts = Call::new(&app(&format!("rule_{name}"), body)).run();
        assert_eq!(acts.last(), Some(&Act::End(End::Status(500))), "{name}: {acts:?}");
        assert_eq!(logged(&acts, Level::Error).len(), 1, "{name}: {acts:?}");
        assert_eq!(acts.len(), 2, "{name}: {acts:?}");
    }
}

#[test]
fn exc_info_replaces_a_head_that_has_not_left_and_is_raised_again_after_it_has() {
    let path = app(
        "replace",
        "start_response('200 OK', HEADERS)\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    \
         start_response('502 Bad', HEADERS, sys.exc_info())\nreturn [b'e']",
    );
    assert_eq!(Call::new(&path).run()[0], head(502, Some(1)));
    let path = app(
        "again",
        "write = start_response('200 OK', HEADERS)\nwrite(b'a')\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    \
         start_response('502 Bad', HEADERS, exc_info=sys.exc_info())\nreturn [b'e']",
    );
    let acts = Call::new(&path).run();
    assert_eq!(acts[..3], [head(200, None), send(b"a"), Act::Flush]);
    assert!(logged(&acts, Level::Error)[0].ends_with("ZeroDivisionError: division by zero"));
    assert_eq!(acts.last(), Some(&Act::End(End::Cut)));
}

#[test]
fn close_is_called_once_in_every_course_of_events() {
    let class = "class Body:\n    def __init__(self, end): self.end = end\n    def __iter__(self):\n        yield b'a'\n        \
                 if self.end == 'raise': raise ValueError\n        yield b'b'\n    \
                 def close(self):\n        print('closed')\n        if self.end == 'fail': raise OSError('late')\n";
    let path = app(
        "close",
        &format!("{class}start_response('200 OK', HEADERS)\nreturn Body(environ['QUERY_STRING'])"),
    );
    let call = |end: &str| Call::new(&path).key(shared::http::key::Key::QueryString, end.as_bytes());
    for (name, acts) in [
        ("whole", call("").run()),
        ("head", call("").method("HEAD").run()),
        ("raise", call("raise").run()),
        ("fail", call("fail").run()),
        ("gone", call("").refuse_after(1).run()),
    ] {
        let closed = logged(&acts, Level::Error).iter().filter(|line| *line == "closed").count();
        assert_eq!(closed, 1, "{name}: {acts:?}");
    }
    assert_eq!(call("gone").refuse_after(1).run().last(), Some(&Act::End(End::Cut)));
}

#[test]
fn what_close_raises_is_told_beside_what_the_iteration_raised() {
    let path = app(
        "both",
        "class Body:\n    def __iter__(self):\n        yield b'a'\n        raise ValueError('first')\n    \
         def close(self):\n        raise OSError('second')\nstart_response('200 OK', HEADERS)\nreturn Body()",
    );
    let acts = Call::new(&path).run();
    let told = logged(&acts, Level::Error);
    assert!(told.iter().any(|line| line.ends_with("ValueError: first")), "{told:?}");
    assert!(told.iter().any(|line| line.ends_with("OSError: second")), "{told:?}");
    assert_eq!(acts.last(), Some(&Act::End(End::Cut)));
}

#[test]
fn a_wrapped_file_goes_to_the_server_from_its_position() {
    let file = script("data.bin", "0123456789");
    let body = format!(
        "f = open({file:?}, 'rb')\nf.read(3)\nstart_response('200 OK', HEADERS)\n\
         return environ['wsgi.file_wrapper'](f, 4)"
    );
    assert_eq!(
        Call::new(&app("file", &body)).run(),
        [head(200, Some(7)), Act::File(b"3456789".to_vec()), Act::End(End::Complete)]
    );
    let body =
        "start_response('200 OK', HEADERS)\nreturn environ['wsgi.file_wrapper'](io.BytesIO(b'abcde'), 4)";
    assert_eq!(
        Call::new(&app("filelike", body)).run(),
        [head(200, None), send(b"abcd"), Act::Flush, send(b"e"), Act::Flush, Act::End(End::Complete)]
    );
}

#[test]
fn only_what_reads_the_file_as_it_stands_is_sent_by_the_server() {
    let wrapped = |name: &str, open: &str| {
        let body = format!(
            "import gzip, tempfile\nf = {open}\nf.write(b'0123456789')\nf.seek(4)\nstart_response('200 OK', HEADERS)\n\
             return environ['wsgi.file_wrapper'](f)"
        );
        Call::new(&app(name, &body)).run()
    };
    let file = Act::File(b"456789".to_vec());
    assert!(wrapped("named", "tempfile.NamedTemporaryFile()").contains(&file));
    assert!(wrapped("unnamed", "tempfile.TemporaryFile()").contains(&file));
    assert!(wrapped("raw", "tempfile.TemporaryFile(buffering=0)").contains(&file));
    // Other bytes than the file's, though it has a descriptor and a position.
    let other =
        "type('Other', (io.FileIO,), {'read': lambda self, size: io.FileIO.read(self, size).lower()})";
    let acts = wrapped("other", &format!("{other}(tempfile.mkstemp()[0], 'r+')"));
    assert!(acts.contains(&send(b"456789")), "{acts:?}");
    let zipped = script("zipped.gz", "");
    let body = format!(
        "import gzip\nwith gzip.open({zipped:?}, 'wb') as f:\n    f.write(b'abc')\nstart_response('200 OK', HEADERS)\n\
         return environ['wsgi.file_wrapper'](gzip.open({zipped:?}))"
    );
    let acts = Call::new(&app("gzip", &body)).run();
    assert!(acts.contains(&send(b"abc")), "{acts:?}");
}

#[test]
fn a_wrapped_file_keeps_to_a_declared_length_and_an_empty_one_is_no_block() {
    let wrapped = |name: &str, length: &str, text: &str| {
        let file = script(&format!("{name}.bin"), text);
        let body = format!(
            "start_response('200 OK', HEADERS{length})\nreturn environ['wsgi.file_wrapper'](open({file:?}, 'rb'))"
        );
        Call::new(&app(name, &body)).run()
    };
    assert_eq!(
        wrapped("part", " + [('Content-Length', '3')]", "abcde"),
        [head(200, Some(3)), Act::File(b"abc".to_vec()), Act::End(End::Complete)]
    );
    let acts = wrapped("short", " + [('Content-Length', '9')]", "abcde");
    assert_eq!(acts.last(), Some(&Act::End(End::Cut)));
    assert_eq!(wrapped("nothing", "", ""), [head(200, Some(0)), Act::End(End::Complete)]);
}

#[test]
fn a_wrapped_file_whose_size_is_not_that_of_its_content_is_iterated() {
    for (name, file) in
        [("proc", "/proc/self/status"), ("sys", "/sys/kernel/mm/transparent_hugepage/enabled")]
    {
        let Ok(content) = std::fs::read(file) else {
            println!("left out: this system has no {file}");
            continue;
        };
        let path = app(
            name,
            &format!(
                "start_response('200 OK', HEADERS)\nreturn environ['wsgi.file_wrapper'](open('{file}', 'rb'), 1 << 20)"
            ),
        );
        let acts = Call::new(&path).run();
        let [first, Act::Send(sent), Act::Flush, Act::End(End::Complete)] = acts.as_slice() else {
            panic!("{file}: {acts:?}");
        };
        assert_eq!(*first, head(200, None));
        // Figures change from one reading to the next; the first line does not.
        let line = |text: &[u8]| text.split(|byte| *byte == b'\n').next().map(<[u8]>::to_vec);
        assert_eq!(line(sent), line(&content));
    }
}

#[test]
fn a_fault_of_the_servers_half_costs_one_request() {
    let path = app("fault", HELLO);
    let acts = Call::new(&path).panicking().run();
    assert_eq!(acts.last(), Some(&Act::End(End::Cut)));
    assert_eq!(Call::new(&path).run().len(), 3);
}

#[test]
fn a_script_is_loaded_anew_when_it_changes_and_kept_while_it_is_broken() {
    let path = app("reload", "start_response('200 OK', HEADERS)\nreturn [b'one']");
    assert_eq!(Call::new(&path).run()[1], send(b"one"));
    app("reload", "start_response('200 OK', HEADERS)\nreturn [b'two!']");
    assert_eq!(Call::new(&path).run()[1], send(b"two!"));
    script("reload.wsgi", "def application(:\n");
    let acts = Call::new(&path).run();
    assert!(logged(&acts, Level::Error)[0].contains("SyntaxError"), "{acts:?}");
    assert_eq!(acts.last(), Some(&Act::End(End::Status(500))));
    app("reload", "start_response('200 OK', HEADERS)\nreturn [b'three']");
    assert_eq!(Call::new(&path).run()[1], send(b"three"));
}

#[test]
fn what_cannot_be_loaded_says_why() {
    let broken = script("broken.wsgi", "import nothing_like_this\n");
    let acts = Call::new(&broken).run();
    let told = logged(&acts, Level::Error);
    assert!(told[0].contains("No module named 'nothing_like_this'"), "{told:?}");
    assert!(!told[0].contains("<neat>"), "{told:?}");
    let acts = Call::with_callable(&app("missing", HELLO), "app").run();
    assert!(logged(&acts, Level::Error)[0].contains("has no 'app'"), "{acts:?}");
    let leaves = script("leaves.wsgi", "import sys\nsys.exit(1)\n");
    assert_eq!(Call::new(&leaves).run().last(), Some(&Act::End(End::Status(500))));
}

#[test]
fn a_factory_is_called_once() {
    let path = script(
        "factory.wsgi",
        "made = []\nclass web:\n    @staticmethod\n    def create():\n        made.append(1)\n        def app(environ, start_response):\n            \
         start_response('200 OK', [])\n            return [b'%d' % len(made)]\n        return app\n",
    );
    for _ in 0..2 {
        let acts = Call::with_callable(&path, "web.create()").run();
        assert_eq!(acts[1], send(b"1"), "{acts:?}");
    }
}

/// mod_wsgi's behaviour: what two mounts call in a script shares the script's globals.
#[test]
fn two_callables_of_a_script_share_it() {
    let path = script(
        "shared.wsgi",
        "import itertools\nnumbers = itertools.count()\ndef one(environ, start_response):\n    start_response('200 OK', [])\n    \
         return [b'%d' % next(numbers)]\ntwo = one\n",
    );
    for (number, name) in ["one", "two", "one", "two"].into_iter().enumerate() {
        assert_eq!(Call::with_callable(&path, name).run()[1], send(number.to_string().as_bytes()));
    }
}

/// One lock for every script would let a slow one stall all the others.
#[test]
fn a_slow_script_holds_up_its_own_requests_only_and_is_loaded_once() {
    let begun = script("slow_begun", "");
    let go = begun.with_file_name("slow_go");
    let slow = script(
        "slow.wsgi",
        &format!(
            "import os, time\nopen({begun:?}, 'a').write('loaded')\nwhile not os.path.exists({go:?}):\n    \
             time.sleep(0.001)\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    \
             return [b'slow']\n"
        ),
    );
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| Call::new(&slow).run())).collect();
        while std::fs::read(&begun).unwrap().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(Call::new(&app("quick", HELLO)).run().len(), 3);
        std::fs::write(&go, "").unwrap();
        for thread in waiting {
            assert_eq!(thread.join().unwrap()[1], send(b"slow"));
        }
    });
    assert_eq!(std::fs::read(&begun).unwrap(), b"loaded");
}
