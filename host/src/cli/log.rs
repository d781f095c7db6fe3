//! The log of `serve`: to standard error, as lines for people or as JSON for programs.
//!
//! Every line of a request carries its `request_id`. What users store is not logged: no line holds an event's data.

use clap::ValueEnum;
use std::io::{IsTerminal, stderr};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// How lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The variables that say what is logged where no flag does, the first that is set.
const VARIABLES: [&str; 2] = ["LATERBASE_LOG", "RUST_LOG"];

/// Begins the log; an error if `filter` is none.
pub(super) fn begin(filter: Option<&str>, format: Format) -> Result<(), String> {
    let set = VARIABLES.iter().find_map(|name| Some((*name, std::env::var(name).ok()?)));
    let (from, filter) = match (filter, &set) {
        (Some(filter), _) => ("--log", filter),
        (None, Some((name, filter))) => (*name, filter.as_str()),
        (None, None) => ("", "info"),
    };
    // Every request has a span, and only what names spans or their fields needs a filter that locks for each.
    let filter: Box<dyn Layer<Registry> + Send + Sync> = match filter.parse::<Targets>() {
        Ok(targets) => Box::new(targets),
        Err(_) => Box::new(EnvFilter::try_new(filter).map_err(|fault| format!("{from}: {fault}"))?),
    };
    let filtered = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(stderr);
    match format {
        Format::Text => filtered.with(lines.with_ansi(stderr().is_terminal())).init(),
        Format::Json => filtered.with(lines.json().flatten_event(true).with_span_list(false)).init(),
    }
    Ok(())
}
