//! Views and Reports as the routes ask for them, and their answers as JSON.

use super::{Front, blocking};
use crate::core::event::ValidTime;
use crate::core::limits::PAGE_ITEMS_DEFAULT;
use crate::http::service::{Known, ViewAnswer, ViewQuery};
use crate::plugin::Services;
use crate::plugin::catalog::RootCatalog;
use crate::problem::{Code, Problem};
use crate::root::Root;
use crate::views::{self, Bounds, Computes, PageQuery, ReportQuery};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// A Report that was told to stop has so long to return.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Sets the flag when nobody waits for the answer any more.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Front {
    /// Runs a Report on a thread of its own, for as long as it may take and as somebody waits for it.
    pub(super) async fn report(
        &self,
        (root, catalog): (Arc<Root>, Arc<RootCatalog>),
        name: &str,
        query: ViewQuery,
    ) -> Result<ViewAnswer, Problem> {
        let limits = self.host.limits();
        let patience = Duration::from_millis(limits.report_ms_max.into());
        let now_ms = self.host.now().millis().cast_unsigned();
        let cancelled = Arc::new(AtomicBool::new(false));
        let services = Services {
            deadline_ms: Some(now_ms + u64::from(limits.report_ms_max)),
            cancelled: Some(Arc::clone(&cancelled)),
            ..Services::default()
        };
        let wanted = Wanted(cancelled);
        let busy = || {
            let detail = "as many reports run as may; ask again, or for less".to_owned();
            Problem::new(Code::Overloaded, detail).retry_after(1)
        };
        let permit = timeout(patience, Arc::clone(&self.reports).acquire_owned()).await;
        let permit = permit.map_err(|_| busy())?.map_err(|_| busy())?;
        let query = asked(name, query)?;
        let late = views::ViewError::ReportTimeout { report: name.to_owned() }.problem();
        let mut work = std::pin::pin!(blocking(move || {
            let answer = told(&root, &catalog, &query, &services);
            drop(permit);
            answer
        }));
        if let Ok(answer) = timeout(patience, &mut work).await {
            return answer;
        }
        drop(wanted);
        // One that reads hears of it at its next batch.
        timeout(STOP_TIMEOUT, work).await.unwrap_or(Err(late))
    }
}

/// Refuses what is not asked of a View of the Root.
pub(super) fn check_view(
    root: &Root,
    catalog: &RootCatalog,
    view: &str,
    query: &ViewQuery,
) -> Result<(), Problem> {
    if catalog.report(view).is_some() {
        let detail = format!("{view} is a report: views have changes and digests");
        return Err(Problem::new(Code::BadParameter, detail));
    }
    query.refuse_others()?;
    if catalog.view(view).is_none() {
        let views = catalog.views().map(|view| view.declaration().name.as_str());
        let reports = catalog.reports().map(|report| report.declaration().name.as_str());
        let known: Vec<&str> = views.chain(reports).collect();
        let listed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let detail = format!("root {} has no view {view:?}; there are: {listed}", root.name());
        return Err(Problem::new(Code::UnknownView, detail).with("views", known));
    }
    Ok(())
}

/// The digest of all that a View says.
pub(super) async fn digest(
    (root, catalog): (Arc<Root>, Arc<RootCatalog>),
    view: &str,
    query: ViewQuery,
) -> Result<ViewAnswer, Problem> {
    check_view(&root, &catalog, view, &query)?;
    let (left, view) = (Arc::new(AtomicBool::new(false)), view.to_owned());
    let _wanted = Wanted(Arc::clone(&left));
    blocking(move || {
        let plugins: Arc<dyn Computes> = catalog as _;
        let is_wanted = || !left.load(Ordering::Relaxed);
        let digest = match root.opened()? {
            Some(opened) => {
                opened.views.digest(&plugins, &view, &is_wanted).map_err(|fault| fault.problem())?
            }
            None => views::Digest::default(),
        };
        let views::Digest { digest, aggregates, events, vv } = digest;
        let json = json!({"digest": digest, "aggregates": aggregates, "events": events, "vv": vv});
        Ok(ViewAnswer { json: json.to_string().into(), etag: digest })
    })
    .await
}

/// The answer of a View about one key, if it was given already and nothing has arrived since; neither waits nor calls
/// a plugin.
pub(super) fn view_again(
    root: &Root,
    catalog: &Arc<RootCatalog>,
    view: &str,
    query: &ViewQuery,
) -> Option<ViewAnswer> {
    if query.keys.is_empty() || !query.others.is_empty() || bounds(query) != Bounds::default() {
        return None;
    }
    let plugins: Arc<dyn Computes> = Arc::clone(catalog) as _;
    Some(one_json(&*root.open_now()?.views.one_again(&plugins, view, &query.keys)?))
}

/// The answer of a View. Blocks.
pub(super) fn view(
    root: &Root,
    catalog: &Arc<RootCatalog>,
    view: &str,
    query: ViewQuery,
) -> Result<ViewAnswer, Problem> {
    check_view(root, catalog, view, &query)?;
    let bounds = bounds(&query);
    let plugins: Arc<dyn Computes> = Arc::clone(catalog) as _;
    if !query.keys.is_empty() {
        return one(root, &plugins, view, &query.keys, &bounds);
    }
    let limit = query.limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    let page = PageQuery { view: view.to_owned(), prefix: query.prefix, limit, cursor: query.cursor, bounds };
    list(root, &plugins, &page)
}

fn bounds(query: &ViewQuery) -> Bounds {
    let ms = |time: Option<ValidTime>| time.map(ValidTime::millis);
    let known = query.known.as_ref().map(|known| match known {
        Known::At(time) => views::Known::At(time.millis()),
        Known::Vv(text) => views::Known::Vv(text.clone()),
    });
    let group = query.group.map(|parts| u32::try_from(parts).unwrap_or(u32::MAX));
    Bounds { at_ms: ms(query.at), from_ms: ms(query.from), to_ms: ms(query.to), known, group }
}

/// What a Report is asked. Parameters that this server does not know are its own.
fn asked(report: &str, query: ViewQuery) -> Result<ReportQuery, Problem> {
    if query.group.is_some() {
        let detail = format!("the parameter group: {report} is a report, which has no groups");
        return Err(Problem::new(Code::BadParameter, detail).with("parameter", "group"));
    }
    let mut parameters: Map<String, Value> = Map::new();
    for (name, value) in &query.others {
        let value = Value::from(value.as_str());
        match parameters.get_mut(name) {
            None => drop(parameters.insert(name.clone(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(one) => *one = Value::Array(vec![one.take(), value]),
        }
    }
    let bounds = bounds(&query);
    Ok(ReportQuery {
        report: report.to_owned(),
        keys: query.keys,
        prefix: query.prefix,
        limit: query.limit.unwrap_or(PAGE_ITEMS_DEFAULT),
        cursor: query.cursor,
        bounds,
        parameters: Value::Object(parameters).to_string(),
    })
}

/// What a Report answers. Blocks.
fn told(
    root: &Root,
    catalog: &Arc<RootCatalog>,
    query: &ReportQuery,
    services: &Services,
) -> Result<ViewAnswer, Problem> {
    let page = match root.opened()? {
        Some(opened) => opened.views.report(catalog, query, services).map_err(|fault| fault.problem())?,
        None => Arc::default(),
    };
    if query.keys.is_empty() {
        return Ok(page_json(&page));
    }
    let Some(item) = page.items.first() else {
        let detail = format!("{} has nothing to say about {}", query.report, query.keys.join(", "));
        return Err(Problem::new(Code::UnknownKey, detail));
    };
    let members = [
        ("key", key_of(&item.key).to_string().into()),
        ("value", item.value.get().into()),
        ("incomplete", incomplete(&page.incomplete)),
    ];
    Ok(ViewAnswer { json: json_of(&members).into(), etag: page.etag() })
}

fn one(
    root: &Root,
    plugins: &Arc<dyn Computes>,
    view: &str,
    keys: &[String],
    bounds: &Bounds,
) -> Result<ViewAnswer, Problem> {
    let found = match root.opened()? {
        Some(opened) => opened.views.one(plugins, view, keys, bounds).map_err(|fault| fault.problem())?,
        None => None,
    };
    let Some(answer) = found else {
        let detail = format!("no event within the bounds counts for {} in {view}", keys.join(", "));
        return Err(Problem::new(Code::UnknownKey, detail));
    };
    Ok(one_json(&answer))
}

fn one_json(answer: &views::Answer) -> ViewAnswer {
    let mut members = vec![
        ("key", key_of(&answer.key).to_string().into()),
        ("value", answer.value.get().into()),
        ("events", answer.events.to_string().into()),
        ("last", format!("\"{}\"", answer.last).into()),
        ("incomplete", incomplete(&answer.incomplete)),
    ];
    // A long repair is under way: this is what was known at an earlier arrival.
    members.extend(answer.stale.map(|_| ("repairing", "true".into())));
    ViewAnswer { json: json_of(&members).into(), etag: answer.etag() }
}

fn list(root: &Root, plugins: &Arc<dyn Computes>, query: &PageQuery) -> Result<ViewAnswer, Problem> {
    let page = match root.opened()? {
        Some(opened) => opened.views.page(plugins, query).map_err(|fault| fault.problem())?,
        None => views::Page::default(),
    };
    Ok(page_json(&page))
}

fn page_json(page: &views::Page) -> ViewAnswer {
    let items: Vec<String> = page
        .items
        .iter()
        .map(|item| {
            json_of(&[("key", key_of(&item.key).to_string().into()), ("value", item.value.get().into())])
        })
        .collect();
    let mut members = vec![("items", format!("[{}]", items.join(",")).into())];
    members.extend(page.cursor.as_ref().map(|cursor| ("cursor", format!("\"{cursor}\"").into())));
    if !page.incomplete.is_empty() {
        members.push(("incomplete", incomplete(&page.incomplete)));
    }
    if page.stale {
        members.push(("repairing", "true".into()));
    }
    ViewAnswer { json: json_of(&members).into(), etag: page.etag() }
}

/// An object of members whose values are JSON already.
fn json_of(members: &[(&str, Cow<'_, str>)]) -> String {
    let bytes = members.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
    let mut json = String::with_capacity(bytes + 2);
    for (name, value) in members {
        json.push(if json.is_empty() { '{' } else { ',' });
        json.extend(["\"", name, "\":", value]);
    }
    json.push('}');
    json
}

fn incomplete(set_aside: &[views::SetAside]) -> Cow<'static, str> {
    if set_aside.is_empty() {
        return "[]".into();
    }
    serde_json::to_string(set_aside).expect("keys and texts are JSON").into()
}

/// A single part as a text, several as an array.
pub(super) fn key_of(parts: &[String]) -> Value {
    match parts {
        [part] => part.as_str().into(),
        parts => parts.to_vec().into(),
    }
}
