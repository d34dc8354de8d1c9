//! What an application sees of a request (PEP 3333): environ, wsgi.input, wsgi.errors.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on is to fail")]

mod rig;

use proptest::prelude::*;
use rig::{Act, Call, script, server_lines};
use shared::conf::mount::Target;
use shared::exchange::{BodyError, End};
use shared::http::key::Key;
use shared::log::Level;
use shared::wsgi::environ::keys::{KEYS, Presence};

/// What an application answered, or what it failed with.
fn answer(acts: &[Act]) -> String {
    let sent: Vec<u8> = acts
        .iter()
        .filter_map(|act| match act {
            Act::Send(data) => Some(data.as_slice()),
            _ => None,
        })
        .flatten()
        .copied()
        .collect();
    if sent.is_empty() { format!("{acts:?}") } else { String::from_utf8_lossy(&sent).into_owned() }
}

/// An application that answers with what the expression gives.
fn evaluate(name: &str, before: &str, expression: &str) -> std::path::PathBuf {
    let before = before.lines().map(|line| format!("    {line}\n")).collect::<Vec<_>>().concat();
    let text = format!(
        "import io, logging, os, subprocess, sys, threading, multiprocessing, signal\ndef application(environ, start_response):\n\
         {before}    result = {expression}\n    start_response('200 OK', [])\n    return [str(result).encode()]\n"
    );
    script(&format!("{name}.wsgi"), &text)
}

#[test]
fn environ_is_a_dict_of_native_strings() {
    let path = evaluate(
        "types",
        "",
        "type(environ) is dict and sorted(key for key, value in environ.items() if type(value) is not str)",
    );
    assert_eq!(
        answer(&Call::new(&path).key(Key::RequestStart, b"1500000").run()),
        "['mod_wsgi.request_start', 'mod_wsgi.server_pid', 'mod_wsgi.version', 'nginx.version', 'wsgi.errors', \
         'wsgi.file_wrapper', 'wsgi.input', 'wsgi.input_terminated', 'wsgi.multiprocess', 'wsgi.multithread', \
         'wsgi.run_once', 'wsgi.version']"
    );
}

#[test]
fn every_key_of_environ_is_documented() {
    let path = evaluate("documented", "", "' '.join(environ)");
    let keys = answer(&Call::new(&path).run());
    for key in keys.split(' ') {
        let is_known = KEYS.iter().any(|known| known.name == key) || key.starts_with("HTTP_");
        assert!(is_known, "{key} is not in the table of keys");
    }
    for known in KEYS.iter().filter(|known| known.presence == Presence::Always) {
        // What the rig leaves out is packed by every server: the tests of the table hold that.
        let is_engines = known.name.starts_with("wsgi.") || known.name == "mod_wsgi.script_name";
        assert!(!is_engines || keys.split(' ').any(|key| key == known.name), "{} is not there", known.name);
    }
}

/// What an imported module has (Python's reference, "Import-related attributes on module objects").
#[test]
fn a_script_is_a_module_like_any_other() {
    let path = evaluate(
        "module-attributes",
        "import importlib.abc, importlib.machinery, inspect\nmodule = sys.modules[__name__]",
        "dict(file=(type(__file__) is str, __file__.endswith('module-attributes.wsgi')), \
         name=(type(__name__) is str, module.__dict__ is globals()), \
         spec=(type(__spec__) is importlib.machinery.ModuleSpec, __spec__.name == __name__, __spec__.origin == __file__), \
         loader=(isinstance(__loader__, importlib.abc.InspectLoader), __spec__.loader is __loader__), \
         cached=__cached__, package=__package__, \
         source=(inspect.getsourcefile(module) == __file__, 'def application' in inspect.getsource(application), \
         'def application' in __loader__.get_source(__name__)), \
         stack=inspect.stack()[0].filename == __file__)",
    );
    assert_eq!(
        answer(&Call::new(&path).run()),
        "{'file': (True, True), 'name': (True, True), 'spec': (True, True, True), 'loader': (True, True), \
         'cached': None, 'package': '', 'source': (True, True, True), 'stack': True}"
    );
    assert!(!path.with_file_name("__pycache__").exists());
}

/// A key that the request does not have is not there at all, whatever other requests have.
#[test]
fn environ_has_no_empty_keys() {
    let path = evaluate(
        "empty-keys",
        "",
        "sorted(key for key in environ if environ[key] is None or key.startswith('HTTP_'))",
    );
    assert_eq!(answer(&Call::new(&path).run()), "[]");
    let full = Call::new(&path).header("User-Agent", b"x").header("Cookie", b"a=b").header("X-A", b"1");
    assert_eq!(answer(&full.run()), "['HTTP_COOKIE', 'HTTP_USER_AGENT', 'HTTP_X_A']");
    assert_eq!(answer(&Call::new(&path).header("Accept", b"*/*").run()), "['HTTP_ACCEPT']");
}

#[test]
fn environ_has_what_the_request_has_and_nothing_of_another() {
    let path = evaluate(
        "values",
        "",
        "[environ.get(key) for key in ('PATH_INFO', 'HTTP_X_A', 'QUERY_STRING', 'SERVER_SOFTWARE', 'neat.target_script', \
         'mod_wsgi.request_start', 'wsgi.version', 'wsgi.multithread', 'wsgi.multiprocess', 'PATH')]",
    );
    let first = Call::new(&path)
        .key(Key::PathInfo, b"/caf\xc3\xa9")
        .header("X-A", b"\xe9")
        .key(Key::RequestStart, b"1500000")
        .run();
    assert_eq!(answer(&first), "['/cafÃ©', 'é', '', 'rig/1', None, 1.5, (1, 0), True, False, None]");
    let second = Call::new(&path).run();
    assert_eq!(answer(&second), "['/a', None, '', 'rig/1', None, None, (1, 0), True, False, None]");
}

#[test]
fn an_application_may_change_its_environ_for_itself() {
    let path = evaluate(
        "change",
        "before = 'MINE' in environ\nenviron['MINE'] = 1\nenviron['wsgi.version'] = 2",
        "before",
    );
    assert_eq!(answer(&Call::new(&path).run()), "False");
    assert_eq!(answer(&Call::new(&path).run()), "False");
}

#[test]
fn a_dotted_module_is_imported() {
    let call = Call::target(&Target::Module("wsgiref.simple_server".into()), "demo_app");
    assert!(answer(&call.run()).starts_with("Hello world!"));
}

#[test]
fn a_body_that_is_cut_short_is_an_os_error() {
    let path = evaluate(
        "cut",
        "try:\n    data = environ['wsgi.input'].read()\nexcept OSError as error:\n    data = type(error).__mro__[1].__name__, str(error)",
        "data",
    );
    let cut = || Call::new(&path).stream(vec![Ok(b"abc".to_vec()), Err(BodyError::Disconnected)]);
    assert!(answer(&cut().run()).starts_with("('ConnectionResetError', 'the client closed the connection"));
    let late = Call::new(&path).stream(vec![Err(BodyError::TimedOut)]);
    assert!(answer(&late.run()).starts_with("('TimeoutError', "));
}

#[test]
fn a_body_error_that_the_application_lets_go_is_answered_with_its_own_status() {
    let path = evaluate("too_large", "", "environ['wsgi.input'].read()");
    for (error, status) in
        [(BodyError::TooLarge, 413), (BodyError::TimedOut, 408), (BodyError::Disconnected, 400)]
    {
        let acts = Call::new(&path).stream(vec![Err(error)]).run();
        assert_eq!(acts.last(), Some(&Act::End(End::Status(status))));
        assert!(!acts.iter().any(|act| matches!(act, Act::Log(Level::Error, _))), "{acts:?}");
    }
}

#[test]
fn a_body_is_not_read_before_the_application_reads_it() {
    let path = evaluate("unread", "", "1");
    let acts = Call::new(&path).stream(vec![Ok(b"abc".to_vec())]).run();
    assert!(!acts.contains(&Act::Read), "{acts:?}");
}

#[test]
fn a_body_cannot_be_read_after_its_request() {
    let path = script(
        "kept.wsgi",
        "kept = []\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    if not kept:\n        \
         kept.append(environ['wsgi.input'])\n        return [b'kept']\n    try:\n        kept[0].read()\n    \
         except ValueError as error:\n        return [str(error).encode()]\n    return [b'read']\n",
    );
    Call::new(&path).stream(vec![Ok(b"abc".to_vec())]).run();
    assert_eq!(answer(&Call::new(&path).run()), "wsgi.input was read after the request had ended");
}

fn lines(acts: &[Act]) -> Vec<(Level, String)> {
    acts.iter()
        .filter_map(|act| match act {
            Act::Log(level, text) => Some((*level, text.clone())),
            _ => None,
        })
        .collect()
}

#[test]
fn what_is_printed_belongs_to_its_request() {
    let path = evaluate(
        "prints",
        "print('one\\ntwo')\nprint('three', file=environ['wsgi.errors'], end='')\nsys.stderr.write('\\nfour \\u20ac')",
        "sys.stderr.fileno()",
    );
    let acts = Call::new(&path).run();
    let expected = ["one", "two", "three", "four €"].map(|line| (Level::Error, line.to_owned()));
    assert_eq!(lines(&acts), expected);
    assert_eq!(answer(&acts), "2");
}

#[test]
fn bytes_reach_the_log_too() {
    let path = evaluate(
        "buffer",
        "sys.stdout.buffer.write(b'raw \\xe2\\x82\\xac\\n')\nsys.stdout.reconfigure(encoding='utf-8')",
        "1",
    );
    assert_eq!(lines(&Call::new(&path).run()), [(Level::Error, "raw €".to_owned())]);
}

#[test]
fn a_record_keeps_its_level() {
    let path = evaluate("records", "logging.getLogger('shop').warning('low %s', 'stock')", "1");
    assert_eq!(lines(&Call::new(&path).run()), [(Level::Warning, "low stock".to_owned())]);
}

#[test]
fn what_a_thread_of_the_application_prints_goes_to_the_servers_log() {
    let path = evaluate(
        "thread",
        "thread = threading.Thread(target=print, args=('from a thread',))\nthread.start()\nthread.join()",
        "1",
    );
    assert_eq!(lines(&Call::new(&path).run()), []);
    assert!(server_lines().contains(&(Level::Error, "from a thread".to_owned())));
}

#[test]
fn children_end_as_they_should() {
    let path = evaluate(
        "children",
        "codes = [subprocess.run([sys.executable, '-c', f'raise SystemExit({n})']).returncode for n in (0, 3)]\n\
         child = subprocess.Popen(['sleep', '60'])\nchild.terminate()\n\
         process = multiprocessing.get_context('fork').Process(target=os._exit, args=(7,))\nprocess.start()\nprocess.join()",
        "codes, child.wait(), process.exitcode",
    );
    assert_eq!(answer(&Call::new(&path).run()), "([0, 3], -15, 7)");
}

#[test]
fn a_child_that_comes_back_answers_nothing() {
    let path = evaluate("fork", "pid = os.fork()\nstatus = os.waitpid(pid, 0)[1] if pid else None", "status");
    let acts = Call::new(&path).run();
    assert_eq!(acts.iter().filter(|act| matches!(act, Act::End(_))).count(), 1);
    assert_eq!(answer(&acts), "0");
}

/// Where Python holds SIGINT for its own, asyncio.run() takes it on the main thread (httpd's prefork MPM serves there).
#[test]
fn python_knows_that_it_has_no_signals() {
    let path = evaluate("sigint", "", "signal.getsignal(signal.SIGINT) is signal.SIG_DFL");
    assert_eq!(answer(&Call::new(&path).run()), "True");
}

/// Directories stand in front in the order of the directive, each with what its .pth files add (site.addsitedir).
#[test]
fn directories_stand_in_front_of_sys_path_in_their_order() {
    let path = evaluate("path", "", "[os.path.basename(entry) for entry in sys.path[:3]]");
    assert_eq!(answer(&Call::new(&path).run()), "['first', 'beside', 'second']");
}

#[test]
fn the_signals_belong_to_the_server() {
    let path = evaluate(
        "signals",
        "before = signal.getsignal(signal.SIGTERM)\nold = signal.signal(signal.SIGTERM, lambda *_: None)",
        "old == before == signal.getsignal(signal.SIGTERM)",
    );
    let acts = Call::new(&path).run();
    assert_eq!(answer(&acts), "True");
    assert!(lines(&acts)[0].1.contains("was ignored"), "{acts:?}");
}

/// Does the operations on wsgi.input and on the standard library's own stream over the same bytes.
const COMPARE: &str = "
import io
def application(environ, start_response):
    expected = io.BytesIO(environ['BODY'].encode('latin-1'))
    found = environ['wsgi.input']
    for operation in filter(None, environ['QUERY_STRING'].split(',')):
        name, _, size = operation.partition(':')
        size = int(size or -1)
        if name == 'iterate':
            pair = [list(expected), list(found)]
        else:
            pair = [getattr(stream, name)(size) for stream in (expected, found)]
        assert pair[0] == pair[1], (operation, pair)
    assert expected.read() == found.read()
    assert found.read(1) == b'' == found.readline() and found.readlines() == []
    start_response('200 OK', [])
    return [b'same']
";

fn operation() -> impl Strategy<Value = String> {
    let sized = |name: &'static str| (-1_i32..40).prop_map(move |size| format!("{name}:{size}"));
    prop_oneof![
        4 => sized("read"),
        4 => sized("readline"),
        // Without a hint: BytesIO counts up to it and BufferedReader beyond it, and PEP 3333 leaves it to either.
        1 => Just("readlines".to_owned()),
        1 => Just("iterate".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]
    #[test]
    fn input_reads_like_the_standard_librarys_stream(
        parts in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 1..30), 0..12),
        operations in proptest::collection::vec(operation(), 0..12),
        buffered: bool,
    ) {
        let path = script("compare.wsgi", COMPARE);
        let body = parts.concat();
        let call = Call::new(&path)
            .key(Key::QueryString, operations.join(",").as_bytes())
            .named("BODY", &body);
        let call = if buffered { call.memory(&body) } else { call.stream(parts.into_iter().map(Ok).collect()) };
        prop_assert_eq!(answer(&call.run()), "same");
    }
}
