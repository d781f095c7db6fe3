//! Declared views: events grouped by a key, and what is answered of each group.
//!
//! A view is a [`Space`], which makes one delta of each event, and a [`Table`] over it. One that only counts and sums
//! is a Group: an event can be taken out again, and every question costs the same. With `min`, `max` or `last` it is
//! Commutative: states join in any order, and a retraction makes the host fold again what is left. `last` is
//! the greatest (event key, value), so it does not depend on the order either.

use crate::decimal;
use crate::declare::{KeyConfig, OutputConfig, Span, ViewConfig};
use crate::tree::{DEPTH_MAX, Pointer, Tree};
use laterbase_plugin::{
    Canonical, Commutative, Emit, Event, EventData, EventKey, Group, Invert, Keyspace, Merge, RawEvent,
    Refusal, View,
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The longest part of a key, in bytes; a NUL counts twice, as it is stored.
const KEY_PART_BYTES_MAX: usize = 92;
/// Parts of one key, at most: an aggregate key has at most 400 bytes.
const KEY_PARTS_MAX: usize = 4;
/// The longest value of `last`, in bytes of JSON.
const LAST_BYTES_MAX: usize = 1024;
/// Outputs of one view, at most: a state has at most 64 KiB.
const OUTPUTS_MAX: usize = 32;

/// Something that a view reads of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pointer: Pointer,
    kind: Kind,
}

/// What a view needs a field for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Part of a key.
    Key,
    /// A number.
    Number,
    /// Any value, kept as it is.
    Value,
}

impl Field {
    fn new(pointer: &str, kind: Kind, place: &str) -> Result<Self, Refusal> {
        let pointer = pointer.parse().map_err(|fault| Refusal::at(place, format!("{pointer:?}: {fault}")))?;
        Ok(Self { pointer, kind })
    }

    /// Where it is.
    pub fn pointer(&self) -> &Pointer {
        &self.pointer
    }

    /// The types of JSON that it may have.
    pub fn types(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Key => &["string", "number", "integer", "boolean", "null"],
            Kind::Number => &["number", "integer", "null"],
            Kind::Value => &["string", "number", "integer", "boolean", "null", "object", "array"],
        }
    }

    /// Why an event with this data does not fit the view.
    pub fn fault(&self, data: &Tree) -> Option<Refusal> {
        let fault = match self.kind {
            Kind::Key => self.key(data).err(),
            Kind::Number => self.number(data).err(),
            Kind::Value => self.json(data).err(),
        };
        fault.map(|fault| Refusal::at(self.pointer.to_string(), fault))
    }

    /// The text of a key's part, if there is one.
    fn key(&self, data: &Tree) -> Result<Option<String>, String> {
        let Some(value) = self.pointer.value(data) else { return Ok(None) };
        let text = match value.leaf() {
            Some("true" | "false") => value.json(),
            Some(leaf) => match value.text() {
                Some(text) => text,
                None => decimal::text(
                    decimal::parse(leaf)
                        .ok_or_else(|| format!("a view counts by this number; it has {}", decimal::BOUNDS))?,
                ),
            },
            None => return Err("a view counts by this; it is a text, a number, true or false".to_owned()),
        };
        if is_short(&text) {
            return Ok(Some(text));
        }
        Err(format!("a view counts by this text; it has at most {KEY_PART_BYTES_MAX} bytes"))
    }

    /// The units of a number, if there is one.
    fn number(&self, data: &Tree) -> Result<Option<i128>, String> {
        let Some(value) = self.pointer.value(data) else { return Ok(None) };
        let fits = value.leaf().filter(|leaf| !leaf.starts_with(['"', 't', 'f'])).and_then(decimal::parse);
        fits.map(Some).ok_or_else(|| format!("a view counts this; it is a number with {}", decimal::BOUNDS))
    }

    /// A value as JSON, if there is one.
    fn json(&self, data: &Tree) -> Result<Option<String>, String> {
        let Some(value) = self.pointer.value(data) else { return Ok(None) };
        let json = value.json();
        if json.len() > LAST_BYTES_MAX {
            return Err(format!("a view keeps this; it has at most {LAST_BYTES_MAX} bytes of JSON"));
        }
        Ok(Some(json))
    }
}

/// One part of the keys of a view.
#[derive(Debug, Clone)]
enum Part {
    Member(Field, Option<String>),
    Constant(String),
    Time(Span),
}

/// What one output takes of an event.
#[derive(Debug, Clone)]
enum Take {
    Nothing,
    Number(Field),
    Value(Field),
}

/// Which aggregate an event belongs to, and what it adds.
#[derive(Debug, Clone)]
pub struct Space {
    parts: Vec<Part>,
    takes: Vec<Take>,
}

/// The outputs of a view, by name.
#[derive(Debug, Clone)]
pub struct Table(Vec<(String, OutputConfig)>);

/// An event's data, read.
#[derive(Debug)]
pub struct Data(Tree);

impl EventData for Data {
    /// Which types are shown is said when the Keyspace is added.
    fn types() -> Vec<u32> {
        Vec::new()
    }

    fn read(event: &RawEvent<'_>) -> Result<Self, Refusal> {
        Tree::parse(event.data, DEPTH_MAX).map(Self)
    }
}

/// What one event adds to one output.
#[derive(Debug, Clone, PartialEq, Eq, Canonical)]
pub enum Piece {
    /// Nothing but itself.
    Nothing,
    /// A number.
    Number(i128),
    /// A value as JSON.
    Value(String),
}

/// What one event adds: a piece for each output.
#[derive(Debug, Clone, PartialEq, Eq, Canonical)]
pub struct Delta(Vec<Piece>);

impl Space {
    /// The keys and pieces that `config` declares; `place` is where it stands in the configuration.
    pub fn new(config: &ViewConfig, place: &str) -> Result<Self, Refusal> {
        if config.key.is_empty() || config.key.len() > KEY_PARTS_MAX {
            let place = format!("{place}/key");
            return Err(Refusal::at(place, format!("bad_key: a key has 1 to {KEY_PARTS_MAX} parts")));
        }
        if config.outputs.is_empty() || config.outputs.len() > OUTPUTS_MAX {
            let place = format!("{place}/outputs");
            return Err(Refusal::at(place, format!("bad_outputs: a view has 1 to {OUTPUTS_MAX} outputs")));
        }
        let parts = config.key.iter().enumerate().map(|(at, key)| part(key, &format!("{place}/key/{at}")));
        let takes =
            config.outputs.iter().map(|(name, output)| take(output, &format!("{place}/outputs/{name}")));
        Ok(Self { parts: parts.collect::<Result<_, _>>()?, takes: takes.collect::<Result<_, _>>()? })
    }

    /// What it reads of an event.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        let keys = self.parts.iter().filter_map(|part| match part {
            Part::Member(field, _) => Some(field),
            Part::Constant(_) | Part::Time(_) => None,
        });
        keys.chain(self.takes.iter().filter_map(|take| match take {
            Take::Number(field) | Take::Value(field) => Some(field),
            Take::Nothing => None,
        }))
    }

    /// The key of the aggregate that an event belongs to, if it belongs to any.
    fn key(&self, event: &Event<Data>) -> Result<Option<Vec<String>>, String> {
        let part = |part: &Part| match part {
            Part::Member(field, missing) => Ok(field.key(&event.data.0)?.or_else(|| missing.clone())),
            Part::Constant(text) => Ok(Some(text.clone())),
            Part::Time(span) => {
                let day = event.time().day();
                Ok(match span {
                    Span::Day => Some(day),
                    Span::Month => day.rsplit_once('-').map(|(month, _)| month.to_owned()),
                })
            }
        };
        self.parts.iter().map(part).collect()
    }

    fn delta(&self, data: &Tree) -> Result<Delta, String> {
        let piece = |take: &Take| {
            Ok(match take {
                Take::Nothing => Piece::Nothing,
                Take::Number(field) => field.number(data)?.map_or(Piece::Nothing, Piece::Number),
                Take::Value(field) => field.json(data)?.map_or(Piece::Nothing, Piece::Value),
            })
        };
        self.takes.iter().map(piece).collect::<Result<_, _>>().map(Delta)
    }
}

fn part(key: &KeyConfig, place: &str) -> Result<Part, Refusal> {
    Ok(match key {
        KeyConfig::Pointer(pointer) => Part::Member(Field::new(pointer, Kind::Key, place)?, None),
        KeyConfig::Member(member) => {
            Part::Member(Field::new(&member.pointer, Kind::Key, place)?, Some(short(&member.missing, place)?))
        }
        KeyConfig::Constant(constant) => Part::Constant(short(&constant.constant, place)?),
        KeyConfig::Time(time) => Part::Time(time.time),
    })
}

fn short(text: &str, place: &str) -> Result<String, Refusal> {
    if is_short(text) {
        return Ok(text.to_owned());
    }
    Err(Refusal::at(place, format!("bad_key: a key's part has at most {KEY_PART_BYTES_MAX} bytes")))
}

fn is_short(text: &str) -> bool {
    text.len() + text.matches('\0').count() <= KEY_PART_BYTES_MAX
}

fn take(output: &OutputConfig, place: &str) -> Result<Take, Refusal> {
    Ok(match output {
        OutputConfig::Count => Take::Nothing,
        OutputConfig::Sum(at) | OutputConfig::Min(at) | OutputConfig::Max(at) => {
            Take::Number(Field::new(at, Kind::Number, place)?)
        }
        OutputConfig::Last(at) => Take::Value(Field::new(at, Kind::Value, place)?),
    })
}

impl Keyspace for Space {
    type Event = Data;
    type Key = Vec<String>;
    type Delta = Delta;

    fn parts(&self) -> u32 {
        u32::try_from(self.parts.len()).unwrap_or(u32::MAX)
    }

    fn map(&self, event: &Event<Data>, out: &mut Emit<Self>) {
        let mapped = self.key(event).and_then(|key| Ok((key, self.delta(&event.data.0)?)));
        match mapped {
            Ok((Some(key), delta)) => out.emit(&key, delta),
            Ok((None, _)) => {}
            // An event of another replica that was never admitted here: left out of the view, and told.
            Err(fault) => panic!("{fault}"),
        }
    }
}

/// What is known of one output.
#[derive(Debug, Clone, PartialEq, Eq, Canonical)]
pub enum Cell {
    /// How many.
    Count(u64),
    /// The sum.
    Sum(i128),
    /// The smallest.
    Min(Option<i128>),
    /// The greatest.
    Max(Option<i128>),
    /// The newest, with its event.
    Last(Option<(EventKey, String)>),
}

/// What is known of an aggregate: a cell for each output, or none at all if all of them say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Canonical)]
pub struct Cells(Vec<Cell>);

/// Only for people who look at states; answers are rendered.
impl Serialize for Cells {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Cell::json))
    }
}

impl Cell {
    fn of(output: &OutputConfig, event: EventKey, piece: Piece) -> Self {
        let number = if let Piece::Number(number) = piece { Some(number) } else { None };
        match output {
            OutputConfig::Count => Self::Count(1),
            OutputConfig::Sum(_) => Self::Sum(number.unwrap_or(0)),
            OutputConfig::Min(_) => Self::Min(number),
            OutputConfig::Max(_) => Self::Max(number),
            OutputConfig::Last(_) => match piece {
                Piece::Value(value) => Self::Last(Some((event, value))),
                Piece::Nothing | Piece::Number(_) => Self::Last(None),
            },
        }
    }

    fn nothing(output: &OutputConfig) -> Self {
        match output {
            OutputConfig::Count => Self::Count(0),
            OutputConfig::Sum(_) => Self::Sum(0),
            OutputConfig::Min(_) => Self::Min(None),
            OutputConfig::Max(_) => Self::Max(None),
            OutputConfig::Last(_) => Self::Last(None),
        }
    }

    fn is_nothing(&self) -> bool {
        matches!(self, Self::Count(0) | Self::Sum(0) | Self::Min(None) | Self::Max(None) | Self::Last(None))
    }

    fn join(&mut self, other: Self) {
        match (self, other) {
            (Self::Count(count), Self::Count(other)) => *count = count.wrapping_add(other),
            (Self::Sum(sum), Self::Sum(other)) => *sum = sum.wrapping_add(other),
            (Self::Min(least), Self::Min(Some(other))) => {
                *least = Some(least.map_or(other, |least| least.min(other)));
            }
            (Self::Max(greatest), Self::Max(other)) => *greatest = (*greatest).max(other),
            (Self::Last(last), Self::Last(other)) => {
                if other > *last {
                    *last = other;
                }
            }
            // Cells of two kinds are no states of one view.
            (_, _) => {}
        }
    }

    fn invert(&mut self) {
        match self {
            Self::Count(count) => *count = count.wrapping_neg(),
            Self::Sum(sum) => *sum = sum.wrapping_neg(),
            Self::Min(_) | Self::Max(_) | Self::Last(_) => {}
        }
    }

    fn json(&self) -> String {
        match self {
            Self::Count(count) => count.to_string(),
            Self::Sum(units) | Self::Min(Some(units)) | Self::Max(Some(units)) => decimal::text(*units),
            Self::Last(Some((_, value))) => value.clone(),
            Self::Min(None) | Self::Max(None) | Self::Last(None) => "null".to_owned(),
        }
    }
}

impl Cells {
    fn join(&mut self, other: Self) {
        if self.0.is_empty() {
            *self = other;
        } else {
            self.0.iter_mut().zip(other.0).for_each(|(cell, other)| cell.join(other));
        }
        // One state has one encoding: what says nothing is the state of no events.
        if self.0.iter().all(Cell::is_nothing) {
            self.0.clear();
        }
    }
}

impl Table {
    /// The outputs that `config` declares.
    pub fn new(config: &ViewConfig) -> Self {
        Self(config.outputs.iter().map(|(name, output)| (name.clone(), output.clone())).collect())
    }

    /// True if only sums and counts are answered.
    pub fn is_group(&self) -> bool {
        self.0.iter().all(|(_, output)| matches!(output, OutputConfig::Count | OutputConfig::Sum(_)))
    }

    fn fold(&self, state: &mut Cells, event: EventKey, delta: Delta) {
        let cells = self.0.iter().zip(delta.0).map(|((_, output), piece)| Cell::of(output, event, piece));
        state.join(Cells(cells.collect()));
    }

    fn render(&self, state: &Cells) -> BTreeMap<&str, Box<RawValue>> {
        let json =
            |at: usize, output| state.0.get(at).map_or_else(|| Cell::nothing(output).json(), Cell::json);
        let named = self
            .0
            .iter()
            .enumerate()
            .map(|(at, (name, output))| (name.as_str(), RawValue::from_string(json(at, output))));
        // A state that was not written here may hold anything but JSON.
        named.map(|(name, json)| (name, json.unwrap_or_else(|_| RawValue::NULL.to_owned()))).collect()
    }
}

macro_rules! views {
    ($($(#[$doc:meta])* $name:ident: $algebra:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(pub Table);

        impl View for $name {
            const NAME: &'static str = "declared";
            type Over = Space;
            type State = Cells;
            type Algebra = $algebra;

            fn fold(&self, state: &mut Cells, event: EventKey, delta: Delta) {
                self.0.fold(state, event, delta);
            }

            fn render(&self, _: &Vec<String>, state: &Cells) -> impl Serialize {
                self.0.render(state)
            }
        }

        impl Merge for $name {
            fn merge(&self, left: &mut Cells, right: Cells) {
                left.join(right);
            }
        }
    )*};
}
views! {
    /// A view of counts and sums.
    Sums: Group;
    /// Any view.
    Mixed: Commutative;
}

impl Invert for Sums {
    fn invert(&self, state: &mut Cells) {
        state.0.iter_mut().for_each(Cell::invert);
    }
}
