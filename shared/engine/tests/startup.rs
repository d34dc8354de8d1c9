//! An application that is not loaded in time: the log says where it is, and who waits for it is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on is to fail")]

mod rig;

use std::time::{Duration, Instant};

use rig::{Act, Call, script, server_lines};
use shared::exchange::End;
use shared::log::Level;

fn wait_for_line(text: &str) -> (Level, String) {
    let begin = Instant::now();
    loop {
        if let Some(line) = server_lines().into_iter().find(|(_, line)| line.contains(text)) {
            return line;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "no line has {text:?}: {:?}", server_lines());
        std::thread::yield_now();
    }
}

#[test]
fn a_load_that_does_not_end_is_said_and_ended_and_who_waits_for_it_is_refused() {
    let go = script("go", "").with_file_name("go-on");
    let path = script(
        "stuck.wsgi",
        &format!(
            "import os, time\ndef run():\n    while not os.path.exists({go:?}): time.sleep(0.001)\nrun()\n\
             def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'loaded']"
        ),
    );
    let loading = {
        let call = Call::new(&path);
        std::thread::spawn(move || call.run())
    };
    let (level, line) =
        wait_for_line("still being loaded after 0.5 s (startup timeout): it is ended after 2 s");
    assert_eq!(level, Level::Error);
    assert!(line.contains("stuck.wsgi") && line.contains("__main__"), "{line}");
    let (_, stack) = wait_for_line("is here:");
    assert!(stack.contains("line 4") && stack.contains("in run"), "{stack}");
    for refused in [Call::new(&path).run(), loading.join().unwrap()] {
        assert_eq!(refused.last(), Some(&Act::End(End::Status(503))), "{refused:?}");
    }
    std::fs::write(&go, "").unwrap();
    assert!(Call::new(&path).run().contains(&Act::Send(b"loaded".to_vec())));
}
