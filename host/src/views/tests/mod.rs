//! Tests of the view engine, against plugins of a few lines and a model that folds sorted lists.

mod laws;
mod mended;
mod model;
mod plugin;
mod reload;
mod rows;
