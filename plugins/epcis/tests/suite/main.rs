//! Tests of the EPCIS plugin over its public surface, with the generated acceptance data in `tests/data`.

mod conformance;
mod documents;
mod generated;
mod hostile;
mod identifiers;
mod keys;
mod support;
