//! Asking a Report, and holding it to its part: keys that rise, lie under the prefix and behind the start, and no more
//! items than were asked for.

use super::{Instance, Services};
use crate::core::limits::AGGREGATE_KEY_BYTES_MAX;
use crate::plugin::CallError;
use laterbase_plugin::abi::{ReaderAbi, ReaderAbi_TO, ReportItem, ReportQuery};
use laterbase_plugin::abi_stable::erased_types::TD_Opaque;
use laterbase_plugin::abi_stable::sabi_types::RRef;
use laterbase_plugin::abi_stable::std_types::{RSlice, RString, RVec};
use laterbase_plugin::aggregate;
use serde_json::value::RawValue;

/// What a Report is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReportAsk<'a> {
    /// The parts of the one key asked for; none: a listing.
    pub key: Option<&'a [String]>,
    /// A listing starts behind this encoded key.
    pub start: Option<&'a [u8]>,
    /// A listing's keys start with these parts, the last of them a prefix of its part.
    pub prefix: &'a [String],
    /// How many items are wanted at most.
    pub limit: u32,
    /// Further parameters, a JSON object.
    pub parameters: &'a str,
}

/// One item of a Report's answer.
#[derive(Debug, Clone)]
pub struct ReportRow {
    /// The parts of its key.
    pub key: Vec<String>,
    /// The same, encoded.
    pub encoded: Vec<u8>,
    /// Its value.
    pub value: Box<RawValue>,
}

impl Instance {
    /// The items of the Report with this index, checked: in key order, and no others than were asked for.
    pub fn report<R: ReaderAbi + Sync>(
        &self,
        services: &Services,
        report: u32,
        ask: &ReportAsk<'_>,
        reader: &R,
    ) -> Result<Vec<ReportRow>, CallError> {
        let lent = services.lend(&self.identity.plugin, &self.identity.root);
        let start = ask.start.map(|start| aggregate::decode(start).unwrap_or_default());
        let (key, start) = (ask.key.map(wire), start.as_deref().map(wire));
        let prefix = wire(ask.prefix);
        let query = ReportQuery {
            key: key.as_deref().map(RSlice::from_slice).into(),
            start: start.as_deref().map(RSlice::from_slice).into(),
            prefix: prefix.as_slice().into(),
            limit: ask.limit,
            parameters: ask.parameters.into(),
        };
        let reader = ReaderAbi_TO::from_ptr(RRef::new(reader), TD_Opaque);
        let mut out = RVec::new();
        self.run("report", || self.abi.report(&lent.call(), report, &query, &reader, &mut out))?;
        checked(ask, out).map_err(|reason| self.malformed("report", reason))
    }
}

fn wire(parts: &[String]) -> Vec<RString> {
    parts.iter().map(|part| RString::from(part.as_str())).collect()
}

/// The items, or what is wrong with them.
fn checked(ask: &ReportAsk<'_>, items: RVec<ReportItem>) -> Result<Vec<ReportRow>, String> {
    let most = if ask.key.is_some() { 1 } else { ask.limit as usize };
    if items.len() > most {
        return Err(format!("{} items; {most} were asked for", items.len()));
    }
    let mut prefix = Vec::new();
    if let Some((last, whole)) = ask.prefix.split_last() {
        aggregate::encode_prefix(whole.iter().map(String::as_str), last, &mut prefix);
    }
    let mut rows: Vec<ReportRow> = Vec::with_capacity(items.len());
    for item in items {
        let row = row(item)?;
        let before = rows.last().map(|before| before.encoded.as_slice());
        if ask.key.is_none() {
            if !row.encoded.starts_with(&prefix) {
                return Err(format!("the key {:?} does not start with {:?}", row.key, ask.prefix));
            }
            if before.or(ask.start).is_some_and(|before| row.encoded.as_slice() <= before) {
                return Err(format!("the key {:?} is not behind the one before: keys have to rise", row.key));
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

fn row(item: ReportItem) -> Result<ReportRow, String> {
    let key: Vec<String> = item.key.into_iter().map(String::from).collect();
    let mut encoded = Vec::new();
    aggregate::encode(key.iter().map(String::as_str), &mut encoded);
    if key.is_empty() || encoded.len() > AGGREGATE_KEY_BYTES_MAX {
        return Err(format!(
            "a key of {} parts and {} bytes; at least one part and at most {AGGREGATE_KEY_BYTES_MAX} bytes are possible",
            key.len(),
            encoded.len()
        ));
    }
    match serde_json::from_slice(&item.json) {
        Ok(value) => Ok(ReportRow { key, encoded, value }),
        Err(error) => Err(format!("the value of {key:?} is no JSON: {error}")),
    }
}
