//! The one guard at every entry point from C.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

static TOLD: OnceLock<fn(&str)> = OnceLock::new();

/// Says where the guard tells about a panic. The first word counts; a server module says it when it is
/// loaded.
pub fn tell_panics_to(tell: fn(&str)) {
    let _ = TOLD.set(tell);
}

/// Runs `work` so that no panic leaves it: unwinding into C would end the worker with every request in it. A
/// panic is told to the log, and C gets `fallback`.
///
/// Every `extern "C"` function with a body has this as its outermost call; a test finds one that has not.
pub fn guard<R>(entry: &'static str, fallback: R, work: impl FnOnce() -> R) -> R {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(payload) => {
            let message =
                format!("panic in {entry}: {}; this is a fault of Neat, please report it", said(&payload));
            // A log that panics must not undo the guard.
            let _ = catch_unwind(AssertUnwindSafe(|| match TOLD.get() {
                Some(tell) => tell(&message),
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
