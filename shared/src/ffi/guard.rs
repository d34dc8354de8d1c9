//! The one guard at every entry point from C.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

static PANIC_SINK: OnceLock<fn(&str)> = OnceLock::new();

/// Sets what the guard hands the message of a panic to. The first call counts; a server module makes it when
/// it is loaded.
pub fn set_panic_sink(sink: fn(&str)) {
    let _ = PANIC_SINK.set(sink);
}

/// Runs `work` so that no panic leaves it: unwinding into C would end the worker with every request in it. A
/// panic is logged, and C gets `fallback`.
///
/// Every `extern "C"` function with a body has this as its outermost call; a test finds one that has not.
pub fn guard<R>(entry: &'static str, fallback: R, work: impl FnOnce() -> R) -> R {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(payload) => {
            let message =
                format!("panic in {entry}: {}; this is a fault of Neat, please report it", said(&payload));
            // A log that panics must not undo the guard.
            let _ = catch_unwind(AssertUnwindSafe(|| match PANIC_SINK.get() {
                Some(sink) => sink(&message),
                None => eprintln!("{message}"),
            }));
            // Dropping the payload may panic once more.
            let _ = catch_unwind(AssertUnwindSafe(move || drop(payload)));
            fallback
        }
    }
}

fn said(payload: &Box<dyn Any + Send>) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_fallback() {
        assert_eq!(guard("test", 7, || 3), 3);
        assert_eq!(guard("test", 7, || panic!("no")), 7);
    }
}
