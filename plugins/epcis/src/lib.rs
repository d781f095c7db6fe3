//! GS1 EPCIS 2.0 for Laterbase: bodies of EPCIS events in, answers about things and places out.
//!
//! ```text
//! body -> intake: json -> canonical (shape, context, words, ident, instant, decimal) -> hash -> key -> stored bytes
//! stored bytes -> schema: admit, retracts
//! stored bytes -> facts -> views: each EPC, class, unit or pair of them alone
//! views -> reports: what takes several of them, such as where a case in a pallet on a truck is
//! ```
//!
//! Everything here is a pure function of its arguments. The README states the promises: what is read, the key
//! rule byte for byte, what the views answer.
#![forbid(unsafe_code)]

pub mod canonical;
pub mod context;
pub mod decimal;
pub mod facts;
pub mod hash;
pub mod ident;
pub mod instant;
pub mod intake;
pub mod json;
pub mod key;
mod pair;
pub mod reports;
pub mod schema;
pub mod shape;
pub mod views;
pub mod words;

use laterbase_plugin::{Instance, Refusal, Setup, export_plugin};

/// What may be configured for a root.
#[derive(Debug, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Warmer than these hundredths of a degree Celsius is too warm.
    temperature_max: i64,
    /// For how long one reading of a temperature speaks, in milliseconds.
    temperature_gap_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self { temperature_max: 800, temperature_gap_ms: 3 * 3_600_000 }
    }
}

fn configure(setup: &Setup<'_>) -> Result<Instance, Refusal> {
    let config: Config = setup.config()?;
    let temperature = views::temperature::Temperature {
        celsius_max: config.temperature_max,
        gap_ms_max: config.temperature_gap_ms,
    };
    let instance = Instance::builder()
        .schema(schema::Epcis)
        .keyspace(facts::ByEpc)
        .view(views::last_seen::LastSeen)
        .view(views::status::Status)
        .keyspace(views::packings::ByParentAndChild)
        .view(views::packings::Packings)
        .keyspace(views::throughput::ByDayAndStep)
        .view(views::throughput::Throughput)
        .keyspace(views::lots::ByClass)
        .view(views::lots::Lots)
        .keyspace(views::temperature::ByAsset)
        .view(temperature)
        .keyspace(views::stays::ByUnit)
        .view(views::stays::Stays)
        .keyspace(views::consigned::ByAdviceAndEpc)
        .view(views::consigned::Consigned)
        .keyspace(views::made::ByInput)
        .view(views::made::Made)
        .report(reports::parent::Parent)
        .report(reports::whereabouts::Whereabouts)
        .report(reports::contents::Contents)
        .report(reports::stock::Stock)
        .report(reports::shipments::Shipments)
        .report(reports::recall::Recall)
        .report(reports::dwell::Dwell);
    Ok(instance.build()?)
}

export_plugin! { name: "epcis", roots: ["epcis"], configure: configure }
