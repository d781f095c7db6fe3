//! Why a row is refused: here, before it is sent, by a code of this list; by the server, by one of its own.

use std::borrow::Cow;

/// A row that is not in the store, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Its number, counted from 1 with the header and empty rows.
    pub(super) row: u64,
    /// The column by its name or, where only its place is known, as `#N`; empty where the whole row is meant.
    pub(super) column: String,
    /// A stable code.
    pub(super) code: Cow<'static, str>,
    /// What is wrong, in a sentence.
    pub(super) detail: String,
}

impl Refusal {
    /// A refusal of a cell.
    pub(super) fn new(row: u64, column: impl Into<String>, code: RowCode, detail: impl Into<String>) -> Self {
        Self { row, column: column.into(), code: code.word().into(), detail: detail.into() }
    }
}

/// One line of the list: variant, code, what it means.
macro_rules! codes {
    ($($variant:ident $code:literal $meaning:literal;)*) => {
        /// Why a row is not even sent.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum RowCode {
            $(#[doc = $meaning] $variant,)*
        }

        impl RowCode {
            /// The word that programs compare.
            pub(super) fn word(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
        }

        /// Why `import` does not send a row: every code, with what it means.
        pub const ROW_CODES: &[(&str, &str)] = &[$(($code, $meaning),)*];
    };
}

codes! {
    RowTooLarge "row_too_large" "The row is longer than an event may be.";
    CsvQuote "csv_quote" "A quote is not as RFC 4180 wants it; only the line where the row begins is refused.";
    CsvFields "csv_fields" "The row has more or fewer fields than the header.";
    BadText "bad_text" "A cell is not of the encoding that the file is said to have.";
    NulByte "nul_byte" "A cell holds a NUL byte.";
    EmptyCell "empty_cell" "A cell that must not be empty is.";
    BadInteger "bad_integer" "A cell is no whole number.";
    BadDecimal "bad_decimal" "A cell is no decimal number.";
    BadBoolean "bad_boolean" "A cell is neither true nor false.";
    BadTime "bad_time" "A cell is not a time of the format that was named.";
    TimeAmbiguous "time_ambiguous" "The local time happened twice, because clocks were set back: see --ambiguous.";
    TimeSkipped "time_skipped" "The local time never happened, because clocks were set forward: see --ambiguous.";
    TimeRange "time_range" "The instant is outside 1970..2106.";
    UnknownKind "unknown_kind" "The mapping gives no event type for what the cell says.";
}
