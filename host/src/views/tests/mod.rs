//! Tests of the view engine.
