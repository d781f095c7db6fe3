//! Drives a plugin in its own unit tests, through the same boundary as the host and without one.
//!
//! [`Bench::answers`] is the plainest engine there is: it upcasts, leaves out what is retracted, maps, folds each
//! aggregate from the start in key order and renders. What it says is what the host must say, however it got there.
//! [`Bench::check_laws`] finds out whether a View's algebra is true of the given events. [`Bench::pin`] gives a Reader
//! over events in memory, through which [`Pinned::report`] asks a Report.

use crate::abi::{
    Call, CallAbi, CallAbi_TO, DeltaRef, Emission, Emitted, InstanceAbi_TO, InstanceBox, IntakeEvent,
    PluginError, PluginResult, Rows,
};
use crate::aggregate;
use crate::declare::{AlgebraKind, Declaration, TypeDeclaration};
use crate::event::{EventKey, EventRef, ValidTime};
use crate::export::StaticPlugin;
use crate::instance::Instance;
use crate::refusal::Refusal;
use abi_stable::erased_types::TD_Opaque;
use abi_stable::sabi_types::RRef;
use abi_stable::std_types::{RBox, RNone, ROption, RSlice, RStr, RString, RVec};
use std::collections::{BTreeMap, BTreeSet};

mod pinned;

pub use pinned::{Ask, Item, Pinned, Told};

/// An event for a test.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TestEvent {
    /// When it happened, and which it is.
    pub key: EventKey,
    /// The number of its type.
    pub type_number: u32,
    /// The version that `data` is written in.
    pub version: u32,
    /// Its data.
    pub data: Vec<u8>,
}

impl TestEvent {
    fn wire(&self) -> EventRef<'_> {
        let Self { key, type_number, version, data } = self;
        EventRef { key: *key, type_number: *type_number, version: *version, data: data.as_slice().into() }
    }
}

/// What one event adds to an aggregate: its key and the delta.
pub type Leaf = (EventKey, Vec<u8>);

/// A call without services: no bounds, never cancelled, its log goes nowhere.
struct Quiet;

impl CallAbi for Quiet {
    fn log(&self, _: u8, _: RStr<'_>) {}
    fn is_cancelled(&self) -> bool {
        false
    }
    fn at(&self) -> ROption<u64> {
        RNone
    }
    fn from(&self) -> ROption<u64> {
        RNone
    }
    fn to(&self) -> ROption<u64> {
        RNone
    }
    fn known(&self) -> ROption<u64> {
        RNone
    }
    fn deadline_ms(&self) -> ROption<u64> {
        RNone
    }
}

/// A configured plugin under test. Its methods panic with a sentence where a test has to fail.
pub struct Bench {
    instance: InstanceBox,
    declaration: Declaration,
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").field("declaration", &self.declaration).finish_non_exhaustive()
    }
}

#[expect(clippy::missing_panics_doc, reason = "a failing test panics; each method says so by being here")]
impl Bench {
    /// Configures `plugin` for `root` with `config`, a JSON object.
    pub fn new(plugin: StaticPlugin, root: &str, config: &str) -> Result<Self, PluginError> {
        let instance = plugin.configure(root, config).into_result().map_err(RBox::into_inner)?;
        let declaration = serde_json::from_str(&instance.declaration()).expect("a declaration is JSON");
        Ok(Self { instance, declaration })
    }

    /// Takes an instance that was built without `export_plugin!`.
    pub fn of(instance: Instance) -> Self {
        let declaration = instance.declaration.clone();
        Self { instance: InstanceAbi_TO::from_value(instance, TD_Opaque), declaration }
    }

    /// What the plugin offers.
    pub fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    /// The instance itself, for what this bench has no method for.
    pub fn instance(&self) -> &InstanceBox {
        &self.instance
    }

    /// An event of the newest version of `type_name` at `time` (RFC 3339) with `tail`, which tells events of one time
    /// apart.
    pub fn event(&self, type_name: &str, time: &str, tail: u64, data: &str) -> TestEvent {
        let time: jiff::Timestamp = time.parse().expect("the time of a test event is RFC 3339");
        let nanos = u32::try_from(time.subsec_nanosecond()).expect("a test event is not before 1970");
        let time = ValidTime::from_parts(time.as_second(), nanos).expect("a test event is within 1970..2106");
        let (_, declared) = self.event_type(|declared| declared.name == type_name);
        TestEvent {
            key: EventKey::new(time, tail.to_be_bytes()),
            type_number: declared.number,
            version: declared.version,
            data: data.as_bytes().to_vec(),
        }
    }

    /// The Schema's verdict on a new event.
    pub fn admit(&self, event: &TestEvent) -> Result<(), Refusal> {
        let (schema, _) = self.event_type(|declared| declared.number == event.type_number);
        let mut verdicts = RVec::new();
        let wire = [event.wire()];
        unbroken(call(|call| self.instance.admit(call, schema, RSlice::from_slice(&wire), &mut verdicts)));
        verdicts
            .into_iter()
            .next()
            .map_or(Ok(()), |verdict| Err(Refusal::at(verdict.pointer, verdict.message)))
    }

    /// What an intake reads from a body, or why it refuses it whole.
    pub fn intake(
        &self,
        format: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Vec<IntakeEvent>, PluginError> {
        let mut out = RVec::new();
        let (format, content_type) = (RStr::from_str(format), RStr::from_str(content_type));
        call(|call| self.instance.intake(call, format, content_type, body.into(), &mut out))
            .into_result()
            .map_err(RBox::into_inner)?;
        Ok(out.into_vec())
    }

    /// `event` in its type's newest version.
    pub fn upcast(&self, event: &TestEvent) -> Result<TestEvent, PluginError> {
        let (schema, declared) = self.event_type(|declared| declared.number == event.type_number);
        let (mut rows, wire) = (Rows::default(), [event.wire()]);
        call(|call| self.instance.upcast(call, schema, RSlice::from_slice(&wire), &mut rows))
            .into_result()
            .map_err(RBox::into_inner)?;
        Ok(TestEvent { version: declared.version, data: rows.bytes.into_vec(), ..event.clone() })
    }

    /// The keys that `event`, in its newest version, voids.
    pub fn retracts(&self, event: &TestEvent) -> Vec<EventKey> {
        let (schema, _) = self.event_type(|declared| declared.number == event.type_number);
        let (mut rows, wire) = (Rows::default(), [event.wire()]);
        unbroken(call(|call| self.instance.retracts(call, schema, RSlice::from_slice(&wire), &mut rows)));
        let (keys, _) = rows.bytes.as_chunks();
        keys.iter().map(|key| EventKey(*key)).collect()
    }

    /// Made-up data of an event type, as the host asks for it; none if the plugin makes none.
    pub fn example(&self, type_number: u32, seed: u64, extreme: bool) -> Option<Vec<u8>> {
        bytes(|call, out| self.instance.example(call, type_number, seed, extreme, out)).ok()
    }

    /// The run of each aggregate of a Keyspace, in the order of the events' keys, by encoded aggregate key.
    pub fn runs(&self, keyspace: &str, events: &[TestEvent]) -> BTreeMap<Vec<u8>, Vec<Leaf>> {
        let index = self.declaration.keyspaces.iter().position(|declared| declared.name == keyspace);
        let index = index.unwrap_or_else(|| panic!("the plugin has no Keyspace {keyspace}"));
        self.runs_of(index, events)
    }

    /// `state` with `run` folded in.
    pub fn fold(&self, view: &str, state: Option<&[u8]>, run: &[Leaf]) -> Result<Vec<u8>, PluginError> {
        let (view, _) = self.view(view);
        let run: Vec<_> =
            run.iter().map(|(key, delta)| DeltaRef { key: *key, delta: delta.as_slice().into() }).collect();
        let state = state.map(RSlice::from_slice).into();
        bytes(|call, out| self.instance.fold(call, view, state, RSlice::from_slice(&run), out))
    }

    /// The states merged from left to right.
    pub fn merge(&self, view: &str, states: &[&[u8]]) -> Result<Vec<u8>, PluginError> {
        let (view, _) = self.view(view);
        let states: Vec<_> = states.iter().map(|state| RSlice::from_slice(state)).collect();
        bytes(|call, out| self.instance.merge(call, view, RSlice::from_slice(&states), out))
    }

    /// The inverse of `state`.
    pub fn invert(&self, view: &str, state: &[u8]) -> Result<Vec<u8>, PluginError> {
        let (view, _) = self.view(view);
        bytes(|call, out| self.instance.invert(call, view, state.into(), out))
    }

    /// `state` of the aggregate with these key parts as JSON.
    pub fn render(&self, view: &str, key: &[&str], state: &[u8]) -> Result<String, PluginError> {
        let (view, _) = self.view(view);
        let mut encoded = Vec::new();
        aggregate::encode(key.iter().copied(), &mut encoded);
        let key = encoded.as_slice();
        let json = bytes(|call, out| self.instance.render(call, view, key.into(), state.into(), out))?;
        Ok(String::from_utf8(json).expect("JSON is UTF-8"))
    }

    /// The canonical key parts for what a user typed.
    pub fn query_key(&self, view: &str, typed: &[&str]) -> Result<Vec<String>, PluginError> {
        let (_, keyspace) = self.view(view);
        let keyspace = u32::try_from(keyspace).expect("few Keyspaces");
        let typed: Vec<_> = typed.iter().map(|part| RStr::from_str(part)).collect();
        let key =
            bytes(|call, out| self.instance.query_key(call, keyspace, RSlice::from_slice(&typed), out))?;
        Ok(aggregate::decode(&key).expect("a key is encoded by the adapter"))
    }

    /// What the View answers for every aggregate once `events`, in whatever order, are known: a line each, the key's
    /// parts joined by `|`, a space and the value as JSON.
    pub fn answers(&self, view: &str, events: &[TestEvent]) -> Vec<String> {
        let (_, keyspace) = self.view(view);
        let answer = |(key, run): (Vec<u8>, Vec<Leaf>)| {
            let parts = aggregate::decode(&key).expect("a key is encoded by the adapter");
            let parts: Vec<_> = parts.iter().map(String::as_str).collect();
            let state = self.fold(view, None, &run).expect("a View folds its own deltas");
            let json = self.render(view, &parts, &state).expect("a View renders its own states");
            format!("{} {json}", parts.join("|"))
        };
        self.runs_of(keyspace, events).into_iter().map(answer).collect()
    }

    /// Whether the View's algebra holds for every way to split each aggregate's run in two.
    pub fn check_laws(&self, view: &str, events: &[TestEvent]) -> Result<(), String> {
        let (index, keyspace) = self.view(view);
        let declared = usize::try_from(index).ok().and_then(|index| self.declaration.views.get(index));
        let algebra = declared.expect("the View was found by name").algebra;
        for run in self.runs_of(keyspace, events).into_values() {
            for at in 0..=run.len() {
                self.check_split(view, algebra, run.split_at(at))
                    .map_err(|law| format!("{view}: {law}, for the run {run:?} split at {at}"))?;
            }
        }
        Ok(())
    }

    fn check_split(
        &self,
        view: &str,
        algebra: AlgebraKind,
        (left, right): (&[Leaf], &[Leaf]),
    ) -> Result<(), String> {
        let error = |error: PluginError| error.message.into_string();
        let fold = |state: Option<&[u8]>, run: &[Leaf]| self.fold(view, state, run).map_err(error);
        let merge = |one: &[u8], other: &[u8]| self.merge(view, &[one, other]).map_err(error);
        let law = |holds: bool, law: &str| if holds { Ok(()) } else { Err(law.to_owned()) };
        let (identity, one, other) = (fold(None, &[])?, fold(None, left)?, fold(None, right)?);
        let whole = fold(None, &[left, right].concat())?;
        law(
            fold(Some(&one), right)? == whole,
            "folding on from a stored state differs from folding the whole run",
        )?;
        if algebra == AlgebraKind::Ordered {
            return Ok(());
        }
        law(merge(&one, &other)? == whole, "merging two halves differs from folding the whole run")?;
        law(merge(&identity, &whole)? == whole, "the default state merged from the left changes something")?;
        law(merge(&whole, &identity)? == whole, "the default state merged from the right changes something")?;
        if algebra == AlgebraKind::Associative {
            return Ok(());
        }
        law(merge(&other, &one)? == whole, "merging in the other order differs")?;
        law(fold(None, &[right, left].concat())? == whole, "folding the second half first differs")?;
        if algebra == AlgebraKind::Commutative {
            return Ok(());
        }
        let inverse = self.invert(view, &other).map_err(error)?;
        law(
            merge(&whole, &inverse)? == one,
            "merging with the inverse of a half does not leave the other half",
        )
    }

    /// Pins `events`, in whatever order: a Reader over just these, for Reports.
    ///
    /// ```rust
    /// # use laterbase_plugin::{testing::{Ask, Bench}, *};
    /// # #[derive(serde::Deserialize, EventType)]
    /// # #[event(number = 1, name = "add")]
    /// # struct Add { item: String, n: i64 }
    /// # struct Demo;
    /// # impl Schema for Demo {
    /// #     const NAME: &'static str = "demo";
    /// #     fn types(&self) -> Vec<DeclaredType> { event_types![Add] }
    /// # }
    /// # struct ByItem;
    /// # impl Keyspace for ByItem {
    /// #     type Event = Add; type Key = String; type Delta = i64;
    /// #     fn map(&self, e: &Event<Add>, out: &mut Emit<Self>) { out.emit(&e.data.item, e.data.n); }
    /// # }
    /// # struct Highest;
    /// # impl View for Highest {
    /// #     const NAME: &'static str = "highest";
    /// #     type Over = ByItem; type State = Option<i64>; type Algebra = Ordered;
    /// #     fn fold(&self, state: &mut Option<i64>, _: EventKey, n: i64) { *state = (*state).max(Some(n)); }
    /// # }
    /// struct Heavy;
    /// impl Report for Heavy {
    ///     const NAME: &'static str = "heavy";
    ///     fn answer(&self, query: &Query<'_>, reader: &Reader<'_>, out: &mut Answer) -> Result<(), ReportError> {
    ///         let start = query.start().map(|parts| parts.concat());
    ///         let rows = reader.scan_after::<Highest>(&query.prefix(), start.as_ref(), query.at());
    ///         let is_heavy = |row: &Result<StateOf<Highest>, _>| row.as_ref().map_or(true, |(_, n)| *n > Some(1000));
    ///         for row in rows.filter(is_heavy).take(query.limit()) {
    ///             let (item, n) = row?;
    ///             out.item(&[&item], &n)?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let instance = Instance::builder().schema(Demo).keyspace(ByItem).view(Highest).report(Heavy).build().unwrap();
    /// let bench = Bench::of(instance);
    /// let event = |tail, data| bench.event("add", "2026-05-01T10:00:00Z", tail, data);
    /// let events = [event(1, r#"{"item": "anvil", "n": 2000}"#), event(2, r#"{"item": "feather", "n": 1}"#)];
    /// let pinned = bench.pin(&events);
    /// let told = pinned.report("heavy", &Ask { limit: Some(10), ..Ask::default() }).unwrap();
    /// assert_eq!(told.items, [(vec!["anvil".to_owned()], "2000".to_owned())]);
    /// assert_eq!(pinned.walk("heavy", 1, &Ask::default()).unwrap(), told.items);
    /// ```
    pub fn pin(&self, events: &[TestEvent]) -> Pinned<'_> {
        Pinned::new(self, events)
    }

    fn runs_of(&self, keyspace: usize, events: &[TestEvent]) -> BTreeMap<Vec<u8>, Vec<Leaf>> {
        self.map(keyspace, &self.counted(&self.upcast_all(events)))
    }

    /// Each event once, in its type's newest version.
    fn upcast_all(&self, events: &[TestEvent]) -> BTreeSet<TestEvent> {
        let upcast = |event: &TestEvent| {
            self.upcast(event).unwrap_or_else(|error| panic!("{event:?}: {}", error.message))
        };
        events.iter().map(upcast).collect()
    }

    /// The upcast events that are not voided.
    fn counted<'e>(&self, events: &'e BTreeSet<TestEvent>) -> Vec<&'e TestEvent> {
        let voids: Vec<_> = events.iter().map(|event| (event.key, self.retracts(event))).collect();
        let retracting: BTreeSet<EventKey> =
            voids.iter().filter(|(_, keys)| !keys.is_empty()).map(|(key, _)| *key).collect();
        let voided: BTreeSet<EventKey> = voids.into_iter().flat_map(|(_, keys)| keys).collect();
        let counts = |event: &&TestEvent| !voided.contains(&event.key) || retracting.contains(&event.key);
        events.iter().filter(counts).collect()
    }

    /// The runs that a Keyspace's `map` makes of upcast events.
    fn map(&self, keyspace: usize, events: &[&TestEvent]) -> BTreeMap<Vec<u8>, Vec<Leaf>> {
        let declared = self.declaration.keyspaces.get(keyspace).expect("a declared index is in range");
        let shown: Vec<&TestEvent> =
            events.iter().copied().filter(|event| declared.types.contains(&event.type_number)).collect();
        let (mut out, wire) =
            (Emitted::default(), shown.iter().map(|event| event.wire()).collect::<Vec<_>>());
        let index = u32::try_from(keyspace).expect("few Keyspaces");
        unbroken(call(|call| self.instance.map(call, index, RSlice::from_slice(&wire), &mut out)));
        assert!(out.failures.is_empty(), "{} does not map: {:?}", declared.name, out.failures);
        let piece = |offset: u32, length: u32| {
            let place = |number: u32| usize::try_from(number).expect("32 bits fit");
            let rest = out.bytes.get(place(offset)..).unwrap_or_default();
            rest.get(..place(length)).expect("a piece lies within the bytes").to_vec()
        };
        let mut runs = BTreeMap::<Vec<u8>, Vec<Leaf>>::new();
        for Emission { event, key_offset, key_length, delta_offset, delta_length } in &out.rows {
            let event = usize::try_from(*event).ok().and_then(|event| shown.get(event));
            let run = runs.entry(piece(*key_offset, *key_length)).or_default();
            run.push((event.expect("an event of the batch").key, piece(*delta_offset, *delta_length)));
        }
        runs
    }

    fn event_type(&self, is_it: impl Fn(&TypeDeclaration) -> bool) -> (u32, &TypeDeclaration) {
        let mut schemas = (0_u32..).zip(&self.declaration.schemas);
        let found =
            schemas.find_map(|(index, schema)| Some((index, schema.types.iter().find(|t| is_it(t))?)));
        found.expect("a Schema of the plugin owns the event's type")
    }

    /// The View's index and that of its Keyspace.
    fn view(&self, view: &str) -> (u32, usize) {
        let mut views = (0_u32..).zip(&self.declaration.views);
        let found = views.find(|(_, declared)| declared.name == view);
        let (index, declared) = found.unwrap_or_else(|| panic!("the plugin has no View {view}"));
        (index, usize::try_from(declared.keyspace).expect("32 bits fit"))
    }
}

/// Makes a call without services.
fn call<T>(make: impl FnOnce(&Call<'_>) -> T) -> T {
    let quiet = Quiet;
    make(&CallAbi_TO::from_ptr(RRef::new(&quiet), TD_Opaque))
}

/// Makes a call that writes bytes.
fn bytes(make: impl FnOnce(&Call<'_>, &mut RVec<u8>) -> PluginResult<()>) -> Result<Vec<u8>, PluginError> {
    let mut out = RVec::new();
    call(|call| make(call, &mut out)).into_result().map_err(RBox::into_inner)?;
    Ok(out.into_vec())
}

/// The result of a call that a working plugin does not fail.
fn unbroken(result: PluginResult<()>) {
    if let Err(error) = result.into_result() {
        let message: &RString = &error.message;
        panic!("event {} of the batch: {message}", error.event);
    }
}
