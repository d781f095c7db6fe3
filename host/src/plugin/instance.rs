//! One configured plugin for one Root, as plain Rust: the only way in which the host calls a plugin.
//!
//! An [`Instance`] comes from a loaded library or from a plugin linked into the program (generation 0);
//! callers see no difference. It is immutable and called from any thread. **Nothing that comes back is
//! trusted**: every index, span, count and key is checked here, and what does not hold is
//! [`CallError::Malformed`], never a panic. An event that makes a batch fail is found by calling again one by
//! one, which the interface allows (calls keep nothing).

use super::call_error::{Blame, CallError};
use super::meter::Meters;
use super::services::Services;
use crate::core::event::{EventKey, ValidTime, Value};
use crate::core::limits::AGGREGATE_KEY_BYTES_MAX;
use laterbase_plugin::abi::{
    Call, DeltaRef, Emission, Emitted, InstanceBox, IntakeEvent, PluginResult, Rows, Span, Verdict,
};
use laterbase_plugin::abi_stable::std_types::{ROption, RSlice, RStr, RVec};
use laterbase_plugin::declare::{Declaration, KeyspaceDeclaration};
use laterbase_plugin::{EventRef, aggregate};
use std::collections::BTreeSet;
use std::fmt;

mod report;

pub use report::{ReportAsk, ReportRow};

/// How many events one call carries: the boundary's cost is flat from 64, and a deadline is looked at in
/// between.
pub const BATCH_EVENTS: usize = 256;

/// An event in the borrowed form that plugins see.
pub fn event_ref(key: EventKey, value: Value<'_>) -> EventRef<'_> {
    let Value { type_number, version, data } = value;
    EventRef { key, type_number, version, data: RSlice::from_slice(data) }
}

/// One event's contribution in the borrowed form that `fold` sees.
pub fn delta_ref(key: EventKey, delta: &[u8]) -> DeltaRef<'_> {
    DeltaRef { key, delta: RSlice::from_slice(delta) }
}

/// Which plugin, which load of it, for which Root, with which configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The plugin's declared name.
    pub plugin: String,
    /// The version of the plugin's crate.
    pub version: String,
    /// The n-th load of the plugin; 0 if it is linked into the program.
    pub generation: u32,
    /// BLAKE3 of the library's bytes; of the program's own for generation 0.
    pub library: [u8; 32],
    /// The Root that it is configured for.
    pub root: String,
    /// Its configuration, a JSON object as text.
    pub config: String,
}

/// One configured plugin for one Root.
pub struct Instance {
    identity: Identity,
    declaration: Declaration,
    abi: InstanceBox,
    meters: Meters,
}

/// A Schema's no to one event of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The index in the batch.
    pub event: usize,
    /// A JSON pointer into the event's data, empty for the whole.
    pub pointer: String,
    /// A sentence for people.
    pub message: String,
}

/// One event that an intake read from a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intake {
    /// A JSON pointer into the body (NDJSON: `/line` from 0 first).
    pub pointer: String,
    /// The event, or why it is refused.
    pub event: Result<IntakeDraft, String>,
    /// What the answer echoes as `id`; empty for nothing.
    pub id: String,
}

/// What an intake found out about an event; the host mints what is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeDraft {
    /// The number of its type; one of the plugin's own.
    pub type_number: u32,
    /// The version of its type, from 1 up to the newest.
    pub version: u32,
    /// The valid time, or none: now.
    pub time: Option<ValidTime>,
    /// The tail of the key, or none: the host mints one.
    pub tail: Option<[u8; 8]>,
    /// The canonical bytes to store.
    pub data: Vec<u8>,
    /// The key is derived from the content: an existing key is a duplicate whatever its bytes.
    pub same_key_is_same_event: bool,
}

/// What `map` gave out for a batch: every index and span holds, every key decodes to the declared number of
/// parts.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    bytes: Vec<u8>,
    rows: Vec<Emission>,
    failures: Vec<(usize, CallError)>,
}

impl Mapping {
    /// (event's index in the batch, encoded aggregate key, delta) in the order of the events.
    pub fn rows(&self) -> impl Iterator<Item = (usize, &[u8], &[u8])> {
        // All pieces were found to be there when the rows were added.
        self.rows.iter().filter_map(|row| {
            let key = piece(&self.bytes, row.key_offset, row.key_length)?;
            let delta = piece(&self.bytes, row.delta_offset, row.delta_length)?;
            Some((row.event as usize, key, delta))
        })
    }

    /// The events (index in the batch) that could not be mapped; none of them has a row.
    pub fn failures(&self) -> &[(usize, CallError)] {
        &self.failures
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Instance {
    /// Wraps what `configure` returned; `declaration` is what it declares, already checked.
    pub(super) fn new(identity: Identity, declaration: Declaration, abi: InstanceBox) -> Self {
        let meters = Meters::new(&identity.plugin);
        Self { identity, declaration, abi, meters }
    }

    /// Which plugin this is, for which Root.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What it offers; its indexes and names are checked.
    pub fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    /// The Schema's verdicts on events in their newest version; events that are not named are admitted, one that is
    /// named several times has several faults.
    pub fn admit(
        &self,
        services: &Services,
        schema: u32,
        events: &[EventRef<'_>],
    ) -> Result<Vec<Refusal>, CallError> {
        self.verdicts(services, "admit", events, |call, batch, out| {
            self.abi.admit(call, schema, batch.into(), out)
        })
    }

    /// The same for events that their clients wrote in older versions, as they were sent.
    pub fn admit_old(
        &self,
        services: &Services,
        schema: u32,
        events: &[EventRef<'_>],
    ) -> Result<Vec<Refusal>, CallError> {
        self.verdicts(services, "admit_old", events, |call, batch, out| {
            self.abi.admit_old(call, schema, batch.into(), out)
        })
    }

    fn verdicts(
        &self,
        services: &Services,
        hook: &'static str,
        events: &[EventRef<'_>],
        judge: impl Fn(&Call<'_>, &[EventRef<'_>], &mut RVec<Verdict>) -> PluginResult<()>,
    ) -> Result<Vec<Refusal>, CallError> {
        let mut refusals = Vec::new();
        self.in_batches(services, hook, events, |call, base, batch| {
            let mut out = RVec::new();
            self.run(hook, || judge(call, batch, &mut out))?;
            for verdict in out {
                let event = self.index(hook, verdict.event, batch.len())?;
                refusals.push(Refusal {
                    event: base + event,
                    pointer: verdict.pointer.into(),
                    message: verdict.message.into(),
                });
            }
            Ok(())
        })?;
        Ok(refusals)
    }

    /// The data of each event in its type's newest version; one result an event, in order.
    pub fn upcast(
        &self,
        services: &Services,
        schema: u32,
        events: &[EventRef<'_>],
    ) -> Vec<Result<Vec<u8>, CallError>> {
        self.one_by_one_if_needed(services, "upcast", events, |call, batch| {
            let mut out = Rows::default();
            self.run("upcast", || self.abi.upcast(call, schema, batch.into(), &mut out))?;
            let pieces = self.pieces("upcast", &out, batch.len())?;
            let single = |pieces: Vec<&[u8]>| match pieces.as_slice() {
                [data] => Ok(data.to_vec()),
                _ => Err(self.malformed("upcast", format!("{} data for one event", pieces.len()))),
            };
            pieces.into_iter().map(single).collect()
        })
    }

    /// The keys that each upcast event voids; one result an event, in order.
    pub fn retracts(
        &self,
        services: &Services,
        schema: u32,
        events: &[EventRef<'_>],
    ) -> Vec<Result<Vec<EventKey>, CallError>> {
        self.one_by_one_if_needed(services, "retracts", events, |call, batch| {
            let mut out = Rows::default();
            self.run("retracts", || self.abi.retracts(call, schema, batch.into(), &mut out))?;
            let key = |bytes: &[u8]| {
                let key = bytes.try_into().map(EventKey);
                key.map_err(|_| self.malformed("retracts", format!("a key of {} bytes", bytes.len())))
            };
            let pieces = self.pieces("retracts", &out, batch.len())?;
            pieces.into_iter().map(|keys| keys.into_iter().map(key).collect()).collect()
        })
    }

    /// The events in a body that is written in `format`; types, versions and times are checked.
    pub fn intake(
        &self,
        services: &Services,
        format: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Vec<Intake>, CallError> {
        let lent = services.lend(&self.identity.plugin, &self.identity.root);
        let mut out = RVec::new();
        self.run("intake", || {
            self.abi.intake(&lent.call(), format.into(), content_type.into(), body.into(), &mut out)
        })?;
        out.into_iter().map(|event| self.intake_event(event)).collect()
    }

    fn intake_event(&self, event: IntakeEvent) -> Result<Intake, CallError> {
        let (pointer, id) = (String::from(event.pointer), String::from(event.id));
        if let ROption::RSome(message) = event.refused {
            return Ok(Intake { pointer, id, event: Err(message.into()) });
        }
        let (type_number, version) = (event.type_number, event.version);
        let mut types = self.declaration.schemas.iter().flat_map(|schema| &schema.types);
        let known = types.find(|known| known.number == type_number);
        if known.is_none_or(|known| version == 0 || version > known.version) {
            let what = format!("type {type_number} version {version}, which it does not declare");
            return Err(self.malformed("intake", what));
        }
        let draft = IntakeDraft {
            type_number,
            version,
            time: event.time.into_option().map(ValidTime),
            tail: event.tail.into_option(),
            data: event.data.into(),
            same_key_is_same_event: event.same_key_is_same_event,
        };
        Ok(Intake { pointer, id, event: Ok(draft) })
    }

    /// What each upcast event adds to which aggregates of a Keyspace. An event that fails is left out and
    /// named in the mapping's failures; the call itself fails only when it is cancelled.
    pub fn map(
        &self,
        services: &Services,
        keyspace: u32,
        events: &[EventRef<'_>],
    ) -> Result<Mapping, CallError> {
        let mut mapping = Mapping::default();
        self.in_batches(services, "map", events, |call, base, batch| {
            if self.map_batch(call, keyspace, base, batch, &mut mapping).is_ok() {
                return Ok(());
            }
            for (index, event) in (base..).zip(batch) {
                let single = std::slice::from_ref(event);
                if let Err(error) = self.map_batch(call, keyspace, index, single, &mut mapping) {
                    if matches!(error, CallError::Cancelled(_)) {
                        return Err(error);
                    }
                    mapping.failures.push((index, error));
                }
            }
            Ok(())
        })?;
        Ok(mapping)
    }

    /// Adds one batch to the mapping, or leaves the mapping as it is.
    fn map_batch(
        &self,
        call: &Call<'_>,
        keyspace: u32,
        base: usize,
        batch: &[EventRef<'_>],
        mapping: &mut Mapping,
    ) -> Result<(), CallError> {
        let declared = usize::try_from(keyspace).ok().and_then(|at| self.declaration.keyspaces.get(at));
        let declared = declared.ok_or_else(|| self.malformed("map", "no such keyspace".to_owned()))?;
        let mut out = Emitted::default();
        self.run("map", || self.abi.map(call, keyspace, batch.into(), &mut out))?;
        let mut failures = Vec::new();
        for failure in &out.failures {
            let event = self.index("map", failure.event, batch.len())?;
            let blame = self.blame("map", Some(base + event), failure.message.to_string());
            failures.push((base + event, CallError::of_code(failure.code, Box::new(blame))));
        }
        for row in &out.rows {
            let event = self.index("map", row.event, batch.len())?;
            let bytes = |offset, length| {
                piece(&out.bytes, offset, length).ok_or_else(|| self.malformed("map", out_of(&out.bytes)))
            };
            bytes(row.delta_offset, row.delta_length)?;
            if let Err(reason) = check_key(declared, bytes(row.key_offset, row.key_length)?) {
                let blame = Box::new(self.blame("map", Some(base + event), reason));
                failures.push((base + event, CallError::Malformed(blame)));
            }
        }
        mapping.append(base, &out, failures).ok_or_else(|| self.malformed("map", "over 4 GiB".to_owned()))
    }

    /// The canonical encoded aggregate key for the parts that a user typed.
    pub fn query_key(
        &self,
        services: &Services,
        keyspace: u32,
        typed: &[&str],
    ) -> Result<Vec<u8>, CallError> {
        let lent = services.lend(&self.identity.plugin, &self.identity.root);
        let typed: Vec<RStr<'_>> = typed.iter().map(|part| RStr::from(*part)).collect();
        let mut out = RVec::new();
        self.run("query_key", || {
            self.abi.query_key(&lent.call(), keyspace, typed.as_slice().into(), &mut out)
        })?;
        let declared = usize::try_from(keyspace).ok().and_then(|at| self.declaration.keyspaces.get(at));
        let declared = declared.ok_or_else(|| self.malformed("query_key", "no such keyspace".to_owned()))?;
        check_key(declared, &out).map_err(|reason| self.malformed("query_key", reason))?;
        Ok(out.into())
    }

    /// `state` (none: the identity) with a run of deltas in key order folded in.
    pub fn fold(
        &self,
        services: &Services,
        view: u32,
        state: Option<&[u8]>,
        run: &[DeltaRef<'_>],
    ) -> Result<Vec<u8>, CallError> {
        self.bytes(services, "fold", |call, out| {
            self.abi.fold(call, view, state.map(RSlice::from_slice).into(), run.into(), out)
        })
    }

    /// The states merged from left to right.
    pub fn merge(&self, services: &Services, view: u32, states: &[&[u8]]) -> Result<Vec<u8>, CallError> {
        let states: Vec<RSlice<'_, u8>> = states.iter().map(|state| RSlice::from_slice(state)).collect();
        self.bytes(services, "merge", |call, out| self.abi.merge(call, view, states.as_slice().into(), out))
    }

    /// The inverse of `state`.
    pub fn invert(&self, services: &Services, view: u32, state: &[u8]) -> Result<Vec<u8>, CallError> {
        self.bytes(services, "invert", |call, out| self.abi.invert(call, view, state.into(), out))
    }

    /// `state` of the aggregate with the encoded key `key` as JSON text.
    pub fn render(
        &self,
        services: &Services,
        view: u32,
        key: &[u8],
        state: &[u8],
    ) -> Result<Box<serde_json::value::RawValue>, CallError> {
        let json = self.bytes(services, "render", |call, out| {
            self.abi.render(call, view, key.into(), state.into(), out)
        })?;
        serde_json::from_slice(&json).map_err(|error| self.malformed("render", error.to_string()))
    }

    /// Made-up data of an event type in its newest version; none if the plugin makes none up.
    pub fn example(
        &self,
        services: &Services,
        type_number: u32,
        seed: u64,
        is_extreme: bool,
    ) -> Result<Option<Vec<u8>>, CallError> {
        if_supported(self.bytes(services, "example", |call, out| {
            self.abi.example(call, type_number, seed, is_extreme, out)
        }))
    }

    /// A delta of the Keyspace decoded and encoded again; none if the plugin is older than this question.
    pub fn recode(
        &self,
        services: &Services,
        keyspace: u32,
        delta: &[u8],
    ) -> Result<Option<Vec<u8>>, CallError> {
        if_supported(
            self.bytes(services, "recode", |call, out| self.abi.recode(call, keyspace, delta.into(), out)),
        )
    }

    fn bytes(
        &self,
        services: &Services,
        hook: &'static str,
        body: impl FnOnce(&Call<'_>, &mut RVec<u8>) -> PluginResult<()>,
    ) -> Result<Vec<u8>, CallError> {
        let lent = services.lend(&self.identity.plugin, &self.identity.root);
        let mut out = RVec::new();
        self.run(hook, || body(&lent.call(), &mut out))?;
        Ok(out.into())
    }

    /// Calls `body` for every batch with the index of its first event, until it fails or the caller gives up.
    fn in_batches<'e>(
        &self,
        services: &Services,
        hook: &'static str,
        events: &[EventRef<'e>],
        mut body: impl FnMut(&Call<'_>, usize, &[EventRef<'e>]) -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        let lent = services.lend(&self.identity.plugin, &self.identity.root);
        let call = lent.call();
        for (number, batch) in events.chunks(BATCH_EVENTS).enumerate() {
            if services.is_cancelled() {
                let message = "the answer is no longer wanted".to_owned();
                return Err(CallError::Cancelled(Box::new(self.blame(hook, None, message))));
            }
            body(&call, number * BATCH_EVENTS, batch)?;
        }
        Ok(())
    }

    /// One result an event: a batch that fails is called again event by event, so that only the bad ones
    /// fail.
    fn one_by_one_if_needed<'e, T>(
        &self,
        services: &Services,
        hook: &'static str,
        events: &[EventRef<'e>],
        body: impl Fn(&Call<'_>, &[EventRef<'e>]) -> Result<Vec<T>, CallError>,
    ) -> Vec<Result<T, CallError>> {
        let mut results = Vec::with_capacity(events.len());
        let all = self.in_batches(services, hook, events, |call, first, batch| {
            match body(call, batch) {
                Ok(whole) => results.extend(whole.into_iter().map(Ok)),
                Err(_) => results.extend(batch.iter().zip(first..).map(|(event, at)| {
                    let single = body(call, std::slice::from_ref(event)).map_err(|fault| fault.of_event(at));
                    single?.pop().ok_or_else(|| self.malformed(hook, "no answer".to_owned()))
                })),
            }
            Ok(())
        });
        if let Err(cancelled) = all {
            results.resize_with(events.len(), || Err(cancelled.clone()));
        }
        results
    }

    /// The pieces of each item of a batch of `items`, in the plugin's order.
    fn pieces<'r>(
        &self,
        hook: &'static str,
        rows: &'r Rows,
        items: usize,
    ) -> Result<Vec<Vec<&'r [u8]>>, CallError> {
        let mut pieces = vec![Vec::new(); items];
        for Span { item, offset, length } in rows.spans.iter().copied() {
            let item = self.index(hook, item, items)?;
            let bytes = piece(&rows.bytes, offset, length);
            let bytes = bytes.ok_or_else(|| self.malformed(hook, out_of(&rows.bytes)))?;
            pieces.get_mut(item).expect("index is below items").push(bytes);
        }
        Ok(pieces)
    }

    fn index(&self, hook: &'static str, index: u32, len: usize) -> Result<usize, CallError> {
        let index = index as usize;
        if index < len {
            return Ok(index);
        }
        Err(self.malformed(hook, format!("index {index} in a batch of {len}")))
    }

    /// Makes one call across the boundary.
    fn run(&self, hook: &'static str, call: impl FnOnce() -> PluginResult<()>) -> Result<(), CallError> {
        let Identity { plugin, generation, .. } = &self.identity;
        self.meters.call(hook, || {
            call().into_result().map_err(|error| CallError::new(plugin, *generation, hook, &error))
        })
    }

    fn malformed(&self, hook: &'static str, message: String) -> CallError {
        CallError::Malformed(Box::new(self.blame(hook, None, message)))
    }

    fn blame(&self, hook: &'static str, event: Option<usize>, message: String) -> Blame {
        let Identity { plugin, generation, .. } = self.identity.clone();
        Blame { plugin, generation, hook, event, pointer: String::new(), message }
    }
}

impl Mapping {
    /// Adds a checked batch whose first event has the index `base`; events that failed lose all their rows.
    fn append(&mut self, base: usize, out: &Emitted, failures: Vec<(usize, CallError)>) -> Option<()> {
        let shift = u32::try_from(self.bytes.len()).ok()?;
        u32::try_from(self.bytes.len().checked_add(out.bytes.len())?).ok()?;
        let base_event = u32::try_from(base).ok()?;
        let failed: BTreeSet<usize> = failures.iter().map(|(event, _)| *event).collect();
        let mut rows: Vec<Emission> = out.rows.to_vec();
        rows.retain(|row| !failed.contains(&(base + row.event as usize)));
        rows.sort_by_key(|row| row.event);
        self.rows.extend(rows.into_iter().map(|row| Emission {
            event: base_event + row.event,
            key_offset: shift + row.key_offset,
            delta_offset: shift + row.delta_offset,
            ..row
        }));
        self.bytes.extend_from_slice(&out.bytes);
        self.failures.extend(failures);
        Some(())
    }
}

fn piece(bytes: &[u8], offset: u32, length: u32) -> Option<&[u8]> {
    bytes.get(offset as usize..(offset as usize).checked_add(length as usize)?)
}

fn if_supported(result: Result<Vec<u8>, CallError>) -> Result<Option<Vec<u8>>, CallError> {
    match result {
        Ok(bytes) => Ok(Some(bytes)),
        Err(CallError::Unsupported(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn out_of(bytes: &[u8]) -> String {
    format!("a piece outside of the {} bytes given", bytes.len())
}

/// Why `key` is not an aggregate key of the Keyspace.
fn check_key(keyspace: &KeyspaceDeclaration, key: &[u8]) -> Result<(), String> {
    if key.len() > AGGREGATE_KEY_BYTES_MAX {
        return Err(format!(
            "an aggregate key of {} bytes; at most {AGGREGATE_KEY_BYTES_MAX} are possible",
            key.len()
        ));
    }
    let parts = aggregate::count(key).map_err(|error| error.to_string())?;
    if parts == keyspace.parts as usize {
        return Ok(());
    }
    Err(format!("an aggregate key of {parts} parts; the keyspace declares {}", keyspace.parts))
}

#[cfg(test)]
mod tests;
