//! GS1 EPCIS 2.0 for Laterbase: bodies of EPCIS events in, `last_seen` and `throughput` out.
//!
//! ```text body -> intake: json -> canonical (shape, context, words, ident, instant, decimal) -> hash -> key
//! -> stored bytes stored bytes -> schema: admit, retracts        stored bytes -> views: last_seen,
//! throughput
//! ```
//!
//! Everything here is a pure function of its arguments. The README states the promises: what is read, the key
//! rule byte for byte, what the views answer.
#![forbid(unsafe_code)]

pub mod canonical;
pub mod context;
pub mod decimal;
pub mod hash;
pub mod ident;
pub mod instant;
pub mod intake;
pub mod json;
pub mod key;
pub mod schema;
pub mod shape;
pub mod views;
pub mod words;

use laterbase_plugin::{Instance, Refusal, Setup, export_plugin};

fn configure(_: &Setup<'_>) -> Result<Instance, Refusal> {
    let instance = Instance::builder()
        .schema(schema::Epcis)
        .keyspace(views::ByEpc)
        .view(views::LastSeen)
        .keyspace(views::ByDayAndStep)
        .view(views::Throughput);
    Ok(instance.build()?)
}

export_plugin! { name: "epcis", roots: ["epcis"], configure: configure }
