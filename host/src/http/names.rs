//! Names in URLs, checked on the raw bytes of the path before anything else happens.
//!
//! Nothing is decoded first: a percent sign, a dot, a slash in disguise, a NUL or an upper-case letter is simply not a
//! name. A checked name is safe as the name of a directory.

use crate::core::name::{NAME_BYTES_MAX, is_name};
use crate::problem::{Code, Problem};
use std::fmt;

/// The first URL segment below a root that is not a view: its events.
pub const EVENTS: &str = "e";

/// The first URL segment of the host's own routes.
pub const HOST: &str = "_";

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Takes the text if it is `[a-z0-9][a-z0-9_-]{0,62}` and not reserved; otherwise `bad_name`.
            pub fn parse(text: &str) -> Result<Self, Problem> {
                check(text, $what)?;
                Ok(Self(text.to_owned()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// The name of a Root.
    RootName "root";
    /// The name of a View or a Report.
    ViewName "view";
    /// The name that a plugin declares.
    PluginName "plugin";
}

/// Whether `text` may be a name: its form, then the reserved ones.
fn check(text: &str, what: &str) -> Result<(), Problem> {
    if text == EVENTS || text.starts_with('_') {
        return Err(bad(text, what, "is reserved"));
    }
    if !is_name(text) {
        return Err(bad(text, what, "is not of the form [a-z0-9][a-z0-9_-]{0,62}"));
    }
    Ok(())
}

/// The problem with the name shown, shortened and with nothing in it that a terminal would act upon.
fn bad(text: &str, what: &str, why: &str) -> Problem {
    let shown: String = text.chars().take(NAME_BYTES_MAX).collect();
    Problem::new(Code::BadName, format!("the {what} name \"{}\" {why}", shown.escape_debug()))
}
