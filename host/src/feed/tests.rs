//! The feed against a model: what a walk must give is written down in a few lines of plain sets, and pages of any
//! size, by either way, must give exactly that, whatever is admitted or merged between them.

mod controls;
mod formats;
mod live;
mod model;
mod pages;
mod walks;
