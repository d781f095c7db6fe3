//! Panics stop here and become error values.
//!
//! A panic that left a plugin would end the host. Each call into an author's code therefore runs inside [`run`]. The
//! message reaches the host in the error and nothing is printed: a plugin may panic once an event, and standard error
//! is the host's. A dynamic library has a standard library of its own, hence a panic hook of its own; the hook set
//! here keeps quiet inside [`run`] only and passes all other panics on to the hook before it, so that it is harmless
//! in a program into which plugins are linked statically.

use crate::abi::{ErrorCode, NO_EVENT, PluginError, PluginResult};
use crate::codec::CodecError;
use crate::refusal::Refusal;
use abi_stable::std_types::{RBox, RErr, ROk, RString};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// How many calls of [`run`] this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Where this thread panicked last inside [`run`].
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Why a guarded call failed.
pub(crate) type Failure = RBox<PluginError>;

/// A failure that blames no event.
pub(crate) fn failure(code: ErrorCode, message: impl Into<RString>) -> Failure {
    RBox::new(PluginError { code, event: NO_EVENT, pointer: RString::new(), message: message.into() })
}

/// The failure of bytes that the plugin wrote earlier.
pub(crate) fn corrupt(what: &str, error: CodecError) -> Failure {
    failure(ErrorCode::CORRUPT, format!("{what}: {error}"))
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        refusal.into_error()
    }
}

/// Runs `call`; a panic becomes [`ErrorCode::PANICKED`] with its message and place.
pub(crate) fn run<T>(call: impl FnOnce() -> Result<T, Failure>) -> PluginResult<T> {
    match catch(call) {
        Ok(Ok(value)) => ROk(value),
        Ok(Err(error)) => RErr(error),
        Err(message) => RErr(failure(ErrorCode::PANICKED, message)),
    }
}

/// Runs `call`; a panic becomes its message and place.
pub(crate) fn catch<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    DEPTH.set(DEPTH.get() + 1);
    let outcome = catch_unwind(AssertUnwindSafe(call));
    DEPTH.set(DEPTH.get() - 1);
    outcome.map_err(|payload| {
        let message = text_of(&*payload);
        // Dropping a foreign payload may panic again, outside of any guard: it is leaked instead.
        let _: &mut (dyn Any + Send) = Box::leak(payload);
        match PLACE.take() {
            Some(place) => format!("{message} ({place})"),
            None => message,
        }
    })
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}

/// Sets the quiet hook, once a library.
pub(crate) fn keep_quiet() {
    static ONCE: Once = Once::new();
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if DEPTH.get() == 0 {
                return before(info);
            }
            PLACE.set(info.location().map(|place| format!("{}:{}", place.file(), place.line())));
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    // Goal: every kind of payload becomes an error, even one that panics when it is dropped.
    #[test]
    fn panics_become_errors() {
        keep_quiet();
        let message = catch(|| -> u8 { panic!("number {}", 7) }).expect_err("it panics");
        assert!(message.starts_with("number 7 (plugin-api/src/guard.rs:"), "{message}");
        let message = catch(|| -> u8 { std::panic::resume_unwind(Box::new("no hook")) });
        assert_eq!(message, Err("no hook".to_owned()));
        let message = catch(|| std::panic::panic_any(Bomb)).expect_err("it panics");
        assert!(message.starts_with("a panic without a message"), "{message}");
        assert_eq!(catch(|| 7), Ok(7));
        let error = run(|| -> Result<(), Failure> { panic!("stop") }).into_result().expect_err("it panics");
        assert_eq!((error.code, error.event), (ErrorCode::PANICKED, NO_EVENT));
    }
}
