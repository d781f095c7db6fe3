//! Turns the author's typed traits into the boundary's batches of bytes.
//!
//! Each adapter wraps one Schema, Keyspace, View or Report behind a trait without types; [`Instance`] dispatches by
//! index. Every `out` is emptied first, so that a host may reuse it, and every entry is guarded against panics.

use crate::abi::{
    Call, DeltaRef, Emitted, ErrorCode, InstanceAbi, IntakeEvent, MapFailure, NO_EVENT, PluginError,
    PluginResult, ReaderRefAbi, ReportItem, ReportQuery, Rows, Span, Verdict,
};
use crate::chance::Chance;
use crate::codec::Canonical;
use crate::event::{EventKey, EventRef};
use crate::guard::{self, Failure, corrupt, failure};
use crate::instance::Instance;
use crate::keyspace::{Emit, KeyOf, Keyspace};
use crate::refusal::Refusal;
use crate::report::{Answer, Query, Reader, Report, ReportError, key_of};
use crate::schema::{DeclaredType, Event, EventData, Intake, RawEvent, Schema};
use crate::view::{Algebra, DeltaFor, View};
use abi_stable::std_types::{RBox, ROption, RSlice, RStr, RString, RVec};
use serde_json::{Map, Value};
use std::cell::Cell;

type Outcome<T> = Result<T, Failure>;

pub(crate) trait AnySchema: Send + Sync {
    fn admit(&self, event: &RawEvent<'_>) -> Result<(), Refusal>;
    fn admit_old(&self, event: &RawEvent<'_>) -> Result<(), Refusal>;
    fn upcast(&self, event: &RawEvent<'_>, out: &mut RVec<u8>) -> Result<(), Refusal>;
    fn retracts(&self, event: &RawEvent<'_>) -> Vec<EventKey>;
    fn intake(&self, format: &str, kind: &str, body: &[u8]) -> Result<Vec<IntakeEvent>, Refusal>;
    fn example(&self, type_number: u32, chance: &mut Chance) -> Option<Vec<u8>>;
}

pub(crate) trait AnyKeyspace: Send + Sync {
    fn map(&self, events: &[EventRef<'_>], out: &mut Emitted);
    fn query_key(&self, typed: &[&str]) -> Outcome<Vec<u8>>;
    fn example(&self, type_number: u32, chance: &mut Chance) -> Option<Vec<u8>>;
    fn recode(&self, delta: &[u8]) -> Outcome<Vec<u8>>;
}

pub(crate) trait AnyView: Send + Sync {
    fn fold(&self, state: Option<&[u8]>, run: &[DeltaRef<'_>]) -> Outcome<Vec<u8>>;
    fn merge(&self, states: &[RSlice<'_, u8>]) -> Outcome<Vec<u8>>;
    fn invert(&self, state: &[u8]) -> Outcome<Vec<u8>>;
    fn render(&self, key: &[u8], state: &[u8]) -> Outcome<Vec<u8>>;
}

pub(crate) trait AnyReport: Send + Sync {
    fn answer(&self, query: &Query<'_>, reader: &Reader<'_>) -> Outcome<Vec<ReportItem>>;
}

pub(crate) struct SchemaAdapter<S> {
    pub(crate) schema: S,
    pub(crate) types: Vec<DeclaredType>,
}

impl<S> SchemaAdapter<S> {
    fn declared(&self, number: u32) -> Result<&DeclaredType, Refusal> {
        let declared = self.types.iter().find(|declared| declared.declaration.number == number);
        declared.ok_or_else(|| Refusal::other_type(number))
    }
}

impl<S: Schema> AnySchema for SchemaAdapter<S> {
    fn admit(&self, event: &RawEvent<'_>) -> Result<(), Refusal> {
        (self.declared(event.type_number)?.check)(event)?;
        self.schema.admit(event)
    }

    fn admit_old(&self, event: &RawEvent<'_>) -> Result<(), Refusal> {
        self.schema.admit_old(event)
    }

    fn upcast(&self, event: &RawEvent<'_>, out: &mut RVec<u8>) -> Result<(), Refusal> {
        let declared = &self.declared(event.type_number)?.declaration;
        if event.version == 0 || event.version > declared.version {
            let (name, newest, version) = (&declared.name, declared.version, event.version);
            return Err(Refusal::new(format!(
                "{name} has versions 1 to {newest}, this is version {version}"
            )));
        }
        let mut data: Option<Vec<u8>> = None;
        for version in event.version..declared.version {
            let step = RawEvent { version, data: data.as_deref().unwrap_or(event.data), ..*event };
            data = Some(self.schema.upcast(&step)?);
        }
        out.extend_from_copy_slice(data.as_deref().unwrap_or(event.data));
        Ok(())
    }

    fn retracts(&self, event: &RawEvent<'_>) -> Vec<EventKey> {
        if S::RETRACTS { self.schema.retracts(event) } else { Vec::new() }
    }

    fn intake(&self, format: &str, kind: &str, body: &[u8]) -> Result<Vec<IntakeEvent>, Refusal> {
        let mut intake = Intake::default();
        self.schema.intake(format, kind, body, &mut intake)?;
        Ok(intake.rows)
    }

    fn example(&self, type_number: u32, chance: &mut Chance) -> Option<Vec<u8>> {
        let of_type = (self.declared(type_number).ok()?.example)(chance);
        of_type.or_else(|| self.schema.example(type_number, chance))
    }
}

pub(crate) struct KeyspaceAdapter<K>(pub(crate) K);

impl<K: Keyspace> KeyspaceAdapter<K> {
    fn map_one(&self, event: &EventRef<'_>, emit: &mut Emit<K>) -> Result<(), (ErrorCode, String)> {
        let outcome = guard::catch(|| {
            let data = K::Event::read(&RawEvent::of(event))?;
            self.0.map(&Event { key: event.key, data }, emit);
            Ok(())
        });
        let outcome = outcome.map_err(|panic| (ErrorCode::PANICKED, panic))?;
        outcome.map_err(|refusal: Refusal| (ErrorCode::REFUSED, refusal.to_string()))
    }
}

impl<K: Keyspace> AnyKeyspace for KeyspaceAdapter<K> {
    fn map(&self, events: &[EventRef<'_>], out: &mut Emitted) {
        let mut emit = Emit::new(self.0.parts());
        for (index, event) in (0_u32..).zip(events) {
            let (bytes, rows) = (emit.bytes.len(), emit.rows.len());
            emit.event = index;
            if let Err((code, message)) = self.map_one(event, &mut emit) {
                emit.bytes.truncate(bytes);
                emit.rows.truncate(rows);
                out.failures.push(MapFailure { event: index, code, message: message.into() });
            }
        }
        out.bytes.extend_from_copy_slice(emit.bytes.as_slice());
        out.rows.extend_from_copy_slice(emit.rows.as_slice());
    }

    fn query_key(&self, typed: &[&str]) -> Outcome<Vec<u8>> {
        let (parts, mut bytes) = (self.0.parts(), Vec::new());
        let key = self.0.query_key(typed)?;
        if <K::Key as KeyOf<&K::Key>>::encode_key(&key, &mut bytes) == parts {
            return Ok(bytes);
        }
        Err(Refusal::new(format!("a key here has {parts} parts")).into())
    }

    fn example(&self, type_number: u32, chance: &mut Chance) -> Option<Vec<u8>> {
        K::Event::types().contains(&type_number).then(|| K::Event::example(type_number, chance)).flatten()
    }

    fn recode(&self, delta: &[u8]) -> Outcome<Vec<u8>> {
        let delta = K::Delta::from_bytes(delta).map_err(|error| corrupt("delta", error))?;
        Ok(delta.to_bytes())
    }
}

pub(crate) struct ViewAdapter<V>(pub(crate) V);

impl<V: View> ViewAdapter<V> {
    fn state(bytes: &[u8]) -> Outcome<V::State> {
        V::State::from_bytes(bytes).map_err(|error| corrupt("state", error))
    }
}

impl<V: View> AnyView for ViewAdapter<V> {
    fn fold(&self, state: Option<&[u8]>, run: &[DeltaRef<'_>]) -> Outcome<Vec<u8>> {
        let at = Cell::new(NO_EVENT);
        let folded = guard::run(|| {
            let mut state = state.map(Self::state).transpose()?.unwrap_or_default();
            for (index, entry) in (0_u32..).zip(run) {
                at.set(index);
                let delta = DeltaFor::<V>::from_bytes(entry.delta.as_slice());
                self.0.fold(&mut state, entry.key, delta.map_err(|error| corrupt("delta", error))?);
            }
            Ok(state.to_bytes())
        });
        let blame = |error: Failure| RBox::new(PluginError { event: at.get(), ..RBox::into_inner(error) });
        folded.into_result().map_err(blame)
    }

    fn merge(&self, states: &[RSlice<'_, u8>]) -> Outcome<Vec<u8>> {
        let mut merged = V::State::default();
        for (index, state) in states.iter().enumerate() {
            let state = Self::state(state.as_slice())?;
            if index == 0 {
                merged = state;
            } else if !V::Algebra::merge(&self.0, &mut merged, state) {
                return Err(failure(
                    ErrorCode::UNSUPPORTED,
                    format!("the states of {} do not merge", V::NAME),
                ));
            }
        }
        Ok(merged.to_bytes())
    }

    fn invert(&self, state: &[u8]) -> Outcome<Vec<u8>> {
        let mut state = Self::state(state)?;
        if V::Algebra::invert(&self.0, &mut state) {
            return Ok(state.to_bytes());
        }
        Err(failure(ErrorCode::UNSUPPORTED, format!("the states of {} have no inverse", V::NAME)))
    }

    fn render(&self, key: &[u8], state: &[u8]) -> Outcome<Vec<u8>> {
        let key = key_of(key).map_err(|refusal| failure(ErrorCode::CORRUPT, refusal.message))?;
        let state = Self::state(state)?;
        let json = serde_json::to_vec(&self.0.render(&key, &state));
        json.map_err(|error| failure(ErrorCode::CORRUPT, format!("the state does not serialise: {error}")))
    }
}

pub(crate) struct ReportAdapter<R>(pub(crate) R);

impl<R: Report> AnyReport for ReportAdapter<R> {
    fn answer(&self, query: &Query<'_>, reader: &Reader<'_>) -> Outcome<Vec<ReportItem>> {
        let mut answer = Answer::default();
        match self.0.answer(query, reader, &mut answer) {
            Ok(()) => Ok(answer.items),
            Err(ReportError::Refused(refusal)) => Err(refusal.into()),
            Err(ReportError::Read(error)) => Err(RBox::new(*error)),
            Err(ReportError::Cancelled) => Err(failure(ErrorCode::CANCELLED, "the call was cancelled")),
        }
    }
}

/// The `index`-th of `offered`; a host that asks for more than was declared is told so.
fn at<'a, T: ?Sized>(offered: &'a [Box<T>], index: u32, what: &str) -> Outcome<&'a T> {
    let found = usize::try_from(index).ok().and_then(|index| offered.get(index));
    let missing = || failure(ErrorCode::UNSUPPORTED, format!("this plugin has no {what} of index {index}"));
    found.map(AsRef::as_ref).ok_or_else(missing)
}

/// Replaces what `out` holds.
fn put(out: &mut RVec<u8>, bytes: &[u8]) {
    out.clear();
    out.extend_from_copy_slice(bytes);
}

/// Appends to `rows` what `write` appends to its bytes, as one span that belongs to `item`.
fn span<E>(rows: &mut Rows, item: u32, write: impl FnOnce(&mut RVec<u8>) -> Result<(), E>) -> Result<(), E> {
    let offset = rows.bytes.len();
    write(&mut rows.bytes)?;
    let narrow = |length: usize| u32::try_from(length).expect("a batch is shorter than 4 GiB");
    rows.spans.push(Span { item, offset: narrow(offset), length: narrow(rows.bytes.len() - offset) });
    Ok(())
}

impl InstanceAbi for Instance {
    fn declaration(&self) -> RString {
        serde_json::to_string(&self.declaration).expect("names and numbers are JSON").into()
    }

    fn admit(
        &self,
        _: &Call<'_>,
        schema: u32,
        events: RSlice<'_, EventRef<'_>>,
        out: &mut RVec<Verdict>,
    ) -> PluginResult<()> {
        guard::run(|| {
            let schema = at(&self.schemas, schema, "Schema")?;
            verdicts(events.as_slice(), out, |event| schema.admit(event))
        })
    }

    fn upcast(
        &self,
        _: &Call<'_>,
        schema: u32,
        events: RSlice<'_, EventRef<'_>>,
        out: &mut Rows,
    ) -> PluginResult<()> {
        out.bytes.clear();
        out.spans.clear();
        guard::run(|| {
            let schema = at(&self.schemas, schema, "Schema")?;
            for (event, stored) in (0_u32..).zip(events.as_slice()) {
                let raw = RawEvent::of(stored);
                let rewritten = guard::catch(|| span(out, event, |bytes| schema.upcast(&raw, bytes)));
                let blame = |message| RBox::new(PluginError { event, ..panicked(message) });
                rewritten.map_err(blame)?.map_err(|refusal| {
                    RBox::new(PluginError { event, ..RBox::into_inner(refusal.into_error()) })
                })?;
            }
            Ok(())
        })
    }

    fn intake(
        &self,
        _: &Call<'_>,
        format: RStr<'_>,
        content_type: RStr<'_>,
        body: RSlice<'_, u8>,
        out: &mut RVec<IntakeEvent>,
    ) -> PluginResult<()> {
        out.clear();
        guard::run(|| {
            let reads = |schema: &crate::declare::SchemaDeclaration| {
                schema.formats.iter().any(|name| name == format.as_str())
            };
            let schema = self.declaration.schemas.iter().position(reads);
            let schema = schema.and_then(|index| self.schemas.get(index)).ok_or_else(|| {
                failure(ErrorCode::UNSUPPORTED, format!("this plugin reads no format {format}"))
            })?;
            out.extend(schema.intake(format.as_str(), content_type.as_str(), body.as_slice())?);
            Ok(())
        })
    }

    fn retracts(
        &self,
        _: &Call<'_>,
        schema: u32,
        events: RSlice<'_, EventRef<'_>>,
        out: &mut Rows,
    ) -> PluginResult<()> {
        out.bytes.clear();
        out.spans.clear();
        guard::run(|| {
            let schema = at(&self.schemas, schema, "Schema")?;
            for (event, stored) in (0_u32..).zip(events.as_slice()) {
                let blame = |message| RBox::new(PluginError { event, ..panicked(message) });
                for key in guard::catch(|| schema.retracts(&RawEvent::of(stored))).map_err(blame)? {
                    span::<Failure>(out, event, |bytes| {
                        bytes.extend_from_copy_slice(key.0.as_slice());
                        Ok(())
                    })?;
                }
            }
            Ok(())
        })
    }

    fn map(
        &self,
        _: &Call<'_>,
        keyspace: u32,
        events: RSlice<'_, EventRef<'_>>,
        out: &mut Emitted,
    ) -> PluginResult<()> {
        out.bytes.clear();
        out.rows.clear();
        out.failures.clear();
        guard::run(|| {
            at(&self.keyspaces, keyspace, "Keyspace")?.map(events.as_slice(), out);
            Ok(())
        })
    }

    fn query_key(
        &self,
        _: &Call<'_>,
        keyspace: u32,
        typed: RSlice<'_, RStr<'_>>,
        out: &mut RVec<u8>,
    ) -> PluginResult<()> {
        guard::run(|| {
            let typed: Vec<&str> = typed.iter().map(RStr::as_str).collect();
            put(out, &at(&self.keyspaces, keyspace, "Keyspace")?.query_key(&typed)?);
            Ok(())
        })
    }

    fn fold(
        &self,
        _: &Call<'_>,
        view: u32,
        state: ROption<RSlice<'_, u8>>,
        run: RSlice<'_, DeltaRef<'_>>,
        out: &mut RVec<u8>,
    ) -> PluginResult<()> {
        guard::run(|| {
            let state = state.into_option().map(|state| state.as_slice());
            put(out, &at(&self.views, view, "View")?.fold(state, run.as_slice())?);
            Ok(())
        })
    }

    fn merge(
        &self,
        _: &Call<'_>,
        view: u32,
        states: RSlice<'_, RSlice<'_, u8>>,
        out: &mut RVec<u8>,
    ) -> PluginResult<()> {
        guard::run(|| {
            put(out, &at(&self.views, view, "View")?.merge(states.as_slice())?);
            Ok(())
        })
    }

    fn invert(&self, _: &Call<'_>, view: u32, state: RSlice<'_, u8>, out: &mut RVec<u8>) -> PluginResult<()> {
        guard::run(|| {
            put(out, &at(&self.views, view, "View")?.invert(state.as_slice())?);
            Ok(())
        })
    }

    fn render(
        &self,
        _: &Call<'_>,
        view: u32,
        key: RSlice<'_, u8>,
        state: RSlice<'_, u8>,
        out: &mut RVec<u8>,
    ) -> PluginResult<()> {
        guard::run(|| {
            put(out, &at(&self.views, view, "View")?.render(key.as_slice(), state.as_slice())?);
            Ok(())
        })
    }

    fn report(
        &self,
        call: &Call<'_>,
        report: u32,
        query: &ReportQuery<'_>,
        reader: &ReaderRefAbi<'_>,
        out: &mut RVec<ReportItem>,
    ) -> PluginResult<()> {
        out.clear();
        guard::run(|| {
            let report = at(&self.reports, report, "Report")?;
            out.extend(report.answer(&Query { call, query }, &Reader { call, abi: reader })?);
            Ok(())
        })
    }

    fn example(
        &self,
        _: &Call<'_>,
        type_number: u32,
        seed: u64,
        extreme: bool,
        out: &mut RVec<u8>,
    ) -> PluginResult<()> {
        guard::run(|| {
            // Its owner knows a type best; Keyspaces each know what they read of it.
            let chance = || Chance::new(seed, extreme);
            let owner = self.schemas.iter().find_map(|schema| schema.example(type_number, &mut chance()));
            let readers =
                || self.keyspaces.iter().filter_map(|space| space.example(type_number, &mut chance()));
            let none = || failure(ErrorCode::UNSUPPORTED, format!("type {type_number} has no examples"));
            put(out, &owner.or_else(|| joined(readers())).ok_or_else(none)?);
            Ok(())
        })
    }

    fn recode(
        &self,
        _: &Call<'_>,
        keyspace: u32,
        delta: RSlice<'_, u8>,
        out: &mut RVec<u8>,
    ) -> PluginResult<()> {
        guard::run(|| {
            put(out, &at(&self.keyspaces, keyspace, "Keyspace")?.recode(delta.as_slice())?);
            Ok(())
        })
    }

    fn admit_old(
        &self,
        _: &Call<'_>,
        schema: u32,
        events: RSlice<'_, EventRef<'_>>,
        out: &mut RVec<Verdict>,
    ) -> PluginResult<()> {
        guard::run(|| {
            let schema = at(&self.schemas, schema, "Schema")?;
            verdicts(events.as_slice(), out, |event| schema.admit_old(event))
        })
    }
}

/// Replaces what `out` holds by the refusals of `judge`; of one event there may be several.
fn verdicts(
    events: &[EventRef<'_>],
    out: &mut RVec<Verdict>,
    judge: impl Fn(&RawEvent<'_>) -> Result<(), Refusal>,
) -> Outcome<()> {
    out.clear();
    for (event, stored) in (0_u32..).zip(events) {
        let verdict = guard::catch(|| judge(&RawEvent::of(stored)));
        let blame = |message| RBox::new(PluginError { event, ..panicked(message) });
        if let Err(refusal) = verdict.map_err(blame)? {
            let verdict = |Refusal { pointer, message, .. }| Verdict {
                event,
                pointer: RString::from(pointer),
                message: RString::from(message),
            };
            out.extend(refusal.into_each().map(verdict));
        }
    }
    Ok(())
}

/// The error for a panic while one event was at hand.
fn panicked(message: String) -> PluginError {
    RBox::into_inner(failure(ErrorCode::PANICKED, message))
}

/// One object with the members of all `examples`; the first of them if one is no object.
fn joined(examples: impl Iterator<Item = Vec<u8>>) -> Option<Vec<u8>> {
    let examples: Vec<Vec<u8>> = examples.collect();
    let objects: Result<Vec<Map<String, Value>>, _> =
        examples.iter().map(|json| serde_json::from_slice(json)).collect();
    match objects {
        Ok(objects) if objects.len() > 1 => {
            // What an earlier one made up stays.
            let joined: Map<String, Value> = objects.into_iter().rev().flatten().collect();
            serde_json::to_vec(&joined).ok()
        }
        _ => examples.into_iter().next(),
    }
}
