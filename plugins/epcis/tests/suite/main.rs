//! Tests of the EPCIS plugin over its public surface, with the generated acceptance data in `tests/data`.

mod documents;
mod support;
