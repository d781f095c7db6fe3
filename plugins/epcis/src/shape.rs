//! The shape of EPCIS 2.0 events: which members each type has, of what kind, and which it must have.

use crate::words::Vocabulary;

/// What a member holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// The event's type, judged before its members.
    Type,
    /// Of no meaning for what is stored: left out.
    Dropped,
    /// An instant.
    Instant,
    /// An offset from UTC.
    Zone,
    /// A URI that stays as written.
    Reference,
    /// A list of such.
    References,
    /// A URI, GS1 keys in canonical form.
    Identifier,
    /// A sorted list of such.
    Identifiers,
    /// One such or a list.
    OneOrMoreIdentifiers,
    /// `ADD`, `OBSERVE` or `DELETE`.
    Action,
    /// A word or URI of a vocabulary.
    Word(Vocabulary),
    /// A sorted list of such, at least one.
    Words(Vocabulary),
    /// A decimal number.
    Number,
    /// An amount: a decimal number that is not negative.
    Amount,
    /// A unit of measure, UN/CEFACT Recommendation 20.
    Unit,
    /// True or false.
    Boolean,
    /// Any text.
    Text,
    /// Hexadecimal digits.
    Hex,
    /// An object of this shape.
    Object(&'static Shape),
    /// A sorted list of objects of this shape, at least this many.
    Objects(&'static Shape, usize),
}

/// One member of an object.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
}

/// The members that an object may have.
#[derive(Debug)]
pub struct Shape {
    /// The standard ones.
    pub members: &'static [Member],
    /// Whether there may be others, with a namespace prefix.
    pub extensions: bool,
}

const fn may(name: &'static str, kind: Kind) -> Member {
    Member { name, kind, required: false }
}

const fn must(name: &'static str, kind: Kind) -> Member {
    Member { name, kind, required: true }
}

const fn closed(members: &'static [Member]) -> Shape {
    Shape { members, extensions: false }
}

const fn open(members: &'static [Member]) -> Shape {
    Shape { members, extensions: true }
}

static QUANTITY: Shape =
    closed(&[must("epcClass", Kind::Identifier), may("quantity", Kind::Amount), may("uom", Kind::Unit)]);
static PLACE: Shape = open(&[must("id", Kind::Identifier)]);
static TRANSACTION: Shape =
    closed(&[may("type", Kind::Word(Vocabulary::Transaction)), must("bizTransaction", Kind::Identifier)]);
static SOURCE: Shape =
    closed(&[must("type", Kind::Word(Vocabulary::Party)), must("source", Kind::Identifier)]);
static DESTINATION: Shape =
    closed(&[must("type", Kind::Word(Vocabulary::Party)), must("destination", Kind::Identifier)]);
static PERSISTENT: Shape = closed(&[
    may("set", Kind::Words(Vocabulary::Disposition)),
    may("unset", Kind::Words(Vocabulary::Disposition)),
]);
static ILMD: Shape = open(&[]);
static DECLARATION: Shape = open(&[
    must("declarationTime", Kind::Instant),
    may("reason", Kind::Word(Vocabulary::Reason)),
    may("correctiveEventIDs", Kind::References),
]);

static METADATA: Shape = open(&[
    may("time", Kind::Instant),
    may("startTime", Kind::Instant),
    may("endTime", Kind::Instant),
    may("deviceID", Kind::Identifier),
    may("deviceMetadata", Kind::Identifier),
    may("rawData", Kind::Identifier),
    may("dataProcessingMethod", Kind::Identifier),
    may("bizRules", Kind::Identifier),
]);
static REPORT: Shape = open(&[
    may("type", Kind::Word(Vocabulary::Measurement)),
    may("exception", Kind::Word(Vocabulary::Exception)),
    may("deviceID", Kind::Identifier),
    may("deviceMetadata", Kind::Identifier),
    may("rawData", Kind::Identifier),
    may("dataProcessingMethod", Kind::Identifier),
    may("time", Kind::Instant),
    may("microorganism", Kind::Identifier),
    may("chemicalSubstance", Kind::Identifier),
    may("value", Kind::Number),
    may("component", Kind::Word(Vocabulary::Component)),
    may("stringValue", Kind::Text),
    may("booleanValue", Kind::Boolean),
    may("hexBinaryValue", Kind::Hex),
    may("uriValue", Kind::Identifier),
    may("minValue", Kind::Number),
    may("maxValue", Kind::Number),
    may("meanValue", Kind::Number),
    may("sDev", Kind::Number),
    may("percRank", Kind::Number),
    may("percValue", Kind::Number),
    may("uom", Kind::Unit),
    may("coordinateReferenceSystem", Kind::Identifier),
]);
static SENSOR: Shape =
    open(&[may("sensorMetadata", Kind::Object(&METADATA)), must("sensorReport", Kind::Objects(&REPORT, 1))]);

/// Attributes of a sensor element as a whole or of each report; given in both places they must agree.
pub const SENSOR_ATTRIBUTES: [&str; 4] = ["deviceID", "deviceMetadata", "rawData", "dataProcessingMethod"];

/// One of the five types of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Something happened to objects.
    Object,
    /// Objects were put into or taken out of another one.
    Aggregation,
    /// Objects were tied to a business transaction.
    Transaction,
    /// Inputs were used up and outputs came to be.
    Transformation,
    /// Objects were fixed to another one or a place.
    Association,
}

impl EventKind {
    /// All of them, in the order of their type numbers.
    pub const ALL: [Self; 5] =
        [Self::Object, Self::Aggregation, Self::Transaction, Self::Transformation, Self::Association];

    /// The type number stored with each event, from 1.
    pub fn number(self) -> u32 {
        match self {
            Self::Object => 1,
            Self::Aggregation => 2,
            Self::Transaction => 3,
            Self::Transformation => 4,
            Self::Association => 5,
        }
    }

    /// The type name that people use in Laterbase.
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object_event",
            Self::Aggregation => "aggregation_event",
            Self::Transaction => "transaction_event",
            Self::Transformation => "transformation_event",
            Self::Association => "association_event",
        }
    }

    /// The type as EPCIS writes it.
    pub fn epcis(self) -> &'static str {
        match self {
            Self::Object => "ObjectEvent",
            Self::Aggregation => "AggregationEvent",
            Self::Transaction => "TransactionEvent",
            Self::Transformation => "TransformationEvent",
            Self::Association => "AssociationEvent",
        }
    }

    /// The members that are this type's own.
    pub fn own(self) -> &'static [Member] {
        match self {
            Self::Object => OBJECT,
            Self::Aggregation => AGGREGATION,
            Self::Transaction => TRANSACTION_EVENT,
            Self::Transformation => TRANSFORMATION,
            Self::Association => ASSOCIATION,
        }
    }
}

/// The members that all types share.
pub const COMMON: &[Member] = &[
    must("type", Kind::Type),
    must("eventTime", Kind::Instant),
    must("eventTimeZoneOffset", Kind::Zone),
    may("recordTime", Kind::Dropped),
    may("eventID", Kind::Reference),
    may("certificationInfo", Kind::OneOrMoreIdentifiers),
    may("errorDeclaration", Kind::Object(&DECLARATION)),
    may("bizStep", Kind::Word(Vocabulary::Step)),
    may("disposition", Kind::Word(Vocabulary::Disposition)),
    may("persistentDisposition", Kind::Object(&PERSISTENT)),
    may("readPoint", Kind::Object(&PLACE)),
    may("bizLocation", Kind::Object(&PLACE)),
    may("sourceList", Kind::Objects(&SOURCE, 0)),
    may("destinationList", Kind::Objects(&DESTINATION, 0)),
    may("sensorElementList", Kind::Objects(&SENSOR, 0)),
];

const OBJECT: &[Member] = &[
    must("action", Kind::Action),
    may("epcList", Kind::Identifiers),
    may("quantityList", Kind::Objects(&QUANTITY, 0)),
    may("bizTransactionList", Kind::Objects(&TRANSACTION, 0)),
    may("ilmd", Kind::Object(&ILMD)),
];
const AGGREGATION: &[Member] = &[
    must("action", Kind::Action),
    may("parentID", Kind::Identifier),
    may("childEPCs", Kind::Identifiers),
    may("childQuantityList", Kind::Objects(&QUANTITY, 0)),
    may("bizTransactionList", Kind::Objects(&TRANSACTION, 0)),
];
const TRANSACTION_EVENT: &[Member] = &[
    must("action", Kind::Action),
    must("bizTransactionList", Kind::Objects(&TRANSACTION, 1)),
    may("parentID", Kind::Identifier),
    may("epcList", Kind::Identifiers),
    may("quantityList", Kind::Objects(&QUANTITY, 0)),
];
const TRANSFORMATION: &[Member] = &[
    may("inputEPCList", Kind::Identifiers),
    may("inputQuantityList", Kind::Objects(&QUANTITY, 0)),
    may("outputEPCList", Kind::Identifiers),
    may("outputQuantityList", Kind::Objects(&QUANTITY, 0)),
    may("transformationID", Kind::Identifier),
    may("bizTransactionList", Kind::Objects(&TRANSACTION, 0)),
    may("ilmd", Kind::Object(&ILMD)),
];
const ASSOCIATION: &[Member] = &[
    must("action", Kind::Action),
    must("parentID", Kind::Identifier),
    may("childEPCs", Kind::Identifiers),
    may("childQuantityList", Kind::Objects(&QUANTITY, 0)),
    may("bizTransactionList", Kind::Objects(&TRANSACTION, 0)),
];
