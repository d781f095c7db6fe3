//! Tests of the view engine, against plugins of a few lines and a model that folds sorted lists.

mod laws;
mod model;
mod plugin;
mod rows;
