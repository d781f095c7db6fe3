//! GS1 EPCIS 2.0 for Laterbase.
#![forbid(unsafe_code)]

pub mod canonical;
pub mod context;
pub mod decimal;
pub mod hash;
pub mod ident;
pub mod instant;
pub mod json;
pub mod shape;
pub mod words;
