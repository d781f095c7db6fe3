//! Reports: procedures of plugins that read Views, Keyspaces and events, asked like Views.
//!
//! A Report runs on one Knowledge: the last arrival when it was called, or what `known` names. A walk over pages keeps
//! to that of its first page, which the cursor carries.

use super::Views;
use super::answer::{Item, Page, SetAside};
use super::bounds::Bounds;
use super::computes::{Computes, Revision};
use super::cursor::{self, Pin, Scope};
use super::error::ViewError;
use super::reader::{Outcome, Reader};
use crate::core::event::Arrival;
use crate::plugin::{CallError, ReportAsk, ReportRow, RootCatalog, Services};
use std::sync::Arc;

/// A page ends behind the item with which its values have so many bytes.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// What a Report is asked.
#[derive(Clone, Debug, Default)]
pub struct ReportQuery {
    /// Its name.
    pub report: String,
    /// The parts of the one key asked for, as a user typed them; empty: a listing.
    pub keys: Vec<String>,
    /// A listing's keys start with these parts, the last of them a prefix of its part; empty for all.
    pub prefix: Vec<String>,
    /// How many items are wanted at most; taken as 1 if it is 0.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// Which events count.
    pub bounds: Bounds,
    /// The Report's own parameters, a JSON object.
    pub parameters: String,
}

impl ReportQuery {
    /// Names the question: equal if and only if it is the same.
    fn revision(&self) -> Revision {
        let list = |parts: &[String]| {
            let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
            Revision::of(&parts).0
        };
        let cursor = self.cursor.as_deref().unwrap_or_default();
        Revision::of(&[
            self.report.as_bytes(),
            &list(&self.keys),
            &list(&self.prefix),
            &self.limit.to_be_bytes(),
            cursor.as_bytes(),
            &self.bounds.canonical(),
            self.parameters.as_bytes(),
        ])
    }

    fn scope(&self, root: &str) -> Scope {
        let prefix: Vec<&[u8]> = self.prefix.iter().map(String::as_bytes).collect();
        let own = Revision::of(&[&Revision::of(&prefix).0, self.parameters.as_bytes()]);
        Scope::new(root, &self.report, &own.0, &self.bounds)
    }
}

impl Views {
    /// What the Report answers: one page of its items, or at most one item if a key is asked for. Of `services`, the
    /// deadline and the cancel flag count.
    pub fn report(
        &self,
        catalog: &Arc<RootCatalog>,
        query: &ReportQuery,
        services: &Services,
    ) -> Result<Arc<Page>, ViewError> {
        let scope = query.scope(catalog.name());
        let begun = query.cursor.as_deref().map(|text| cursor::read(scope, text)).transpose()?;
        let tables = self.store.read()?;
        let head = tables.head()?.arrivals;
        let arrival = match (&begun, self.known(&query.bounds)?) {
            (Some((pin, _)), _) => self.pinned(*pin)?,
            (None, Some(known)) => known,
            (None, None) => head,
        };
        let row = tables.arrival(Arrival(arrival))?;
        let pin = Pin { arrival, check: row.map(|row| row.check).unwrap_or_default() };
        drop(tables);
        let (is_kept, question) = (query.bounds.known.is_none(), query.revision());
        if is_kept && let Some(page) = self.reported.get(catalog, head, question) {
            return Ok(page);
        }
        let after = begun.map(|(_, after)| after);
        let page = Arc::new(self.run(catalog, query, services, (scope, pin, after))?);
        if is_kept {
            let bytes = page.items.iter().map(|item| item.value.get().len() + 128).sum();
            self.reported.put(catalog, head, question, (&page, bytes));
        }
        Ok(page)
    }

    fn run(
        &self,
        catalog: &Arc<RootCatalog>,
        query: &ReportQuery,
        services: &Services,
        (scope, pin, after): (Scope, Pin, Option<Vec<u8>>),
    ) -> Result<Page, ViewError> {
        let unknown =
            || ViewError::UnknownView { root: catalog.name().to_owned(), view: query.report.clone() };
        let report = catalog.report(&query.report).ok_or_else(unknown)?;
        let plugins: Arc<dyn Computes> = Arc::clone(catalog) as _;
        let services = Services {
            known: Some(Arrival(pin.arrival)),
            deadline_ms: services.deadline_ms,
            cancelled: services.cancelled.clone(),
            ..query.bounds.services()
        };
        let plugin = report.instance.identity().plugin.as_str();
        let reader = Reader::new(self, self.build_of(&plugins), plugin, &services, pin);
        let limit = query.limit.max(1);
        let ask = ReportAsk {
            key: Some(query.keys.as_slice()).filter(|keys| !keys.is_empty()),
            start: after.as_deref(),
            prefix: &query.prefix,
            // One more tells whether there is a further page.
            limit: u32::try_from(limit + 1).unwrap_or(u32::MAX),
            parameters: &query.parameters,
        };
        let told = report.instance.report(&services, report.index, &ask, &reader);
        let Outcome { fault, incomplete } = reader.finish();
        if let Some(fault) = fault {
            return Err(fault);
        }
        let rows = told.map_err(|error| failed(&query.report, services.is_cancelled(), error))?;
        let incomplete = incomplete.into_iter().map(|(key, reason)| SetAside { key, reason }).collect();
        Ok(page_of(rows, limit, &|last| cursor::write(scope, pin, last), incomplete))
    }
}

fn failed(report: &str, is_cancelled: bool, error: CallError) -> ViewError {
    if is_cancelled {
        return ViewError::ReportTimeout { report: report.to_owned() };
    }
    ViewError::Report { report: report.to_owned(), source: Box::new(error) }
}

/// The first items, within the bounds of a page, and where the next page begins if there are more.
fn page_of(
    rows: Vec<ReportRow>,
    limit: usize,
    cursor: &dyn Fn(&[u8]) -> String,
    incomplete: Vec<SetAside>,
) -> Page {
    let mut page = Page { incomplete, ..Page::default() };
    let (mut bytes, mut last) = (0, Vec::new());
    for ReportRow { key, encoded, value } in rows {
        if page.items.len() >= limit || bytes >= PAGE_BYTES_MAX {
            page.cursor = Some(cursor(&last));
            break;
        }
        bytes += value.get().len();
        last = encoded;
        page.items.push(Item { key, value });
    }
    page
}
