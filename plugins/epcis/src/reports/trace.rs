//! Where things are and what they are in, as of one time, read in batches and remembered for one call.
//!
//! ```text
//! a case            packed into pallet P at 10:00     status of the case
//! pallet P          emptied at 11:00, at the dock     status of P: the case came out at 11:00, at the dock
//! else, in P:       where P is, if that is newer      last_seen of P, and of what P is in, and so on
//! ```
//! Parents may form a ring, or a chain as long as someone cared to post: both end the climb and are told.

use super::query::BATCH;
use crate::views::last_seen::LastSeen;
use crate::views::status::{Status, StatusState};
use laterbase_plugin::{Bounds, Reader, ReportError, ValidTime};
use std::collections::{BTreeMap, BTreeSet};

/// How many parents above each other are climbed.
const LEVELS_MAX: usize = 64;
/// How many EPCs are remembered before all are forgotten.
const REMEMBERED_MAX: usize = 65_536;

/// A time, and the business location then, if one was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) time: ValidTime,
    pub(super) location: Option<String>,
}

/// Whether an EPC is in a parent.
#[derive(Debug, Clone)]
enum Held {
    /// It is in none, as far as it was said.
    Free,
    /// It is in this one.
    Inside(String),
    /// It was in one that was emptied, then and there.
    CameOut(Place),
}

/// Why a climb from parent to parent ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Something is in itself, through its parents.
    Ring,
    /// There are more than [`LEVELS_MAX`] of them.
    TooDeep,
}

/// Follows EPCs.
pub(super) struct Tracer<'r, 'h> {
    reader: &'r Reader<'h>,
    at: Option<ValidTime>,
    seen: BTreeMap<String, Option<Place>>,
    status: BTreeMap<String, StatusState>,
    held: BTreeMap<String, Held>,
}

impl<'r, 'h> Tracer<'r, 'h> {
    pub(super) fn new(reader: &'r Reader<'h>, at: Option<ValidTime>) -> Self {
        Self { reader, at, seen: BTreeMap::new(), status: BTreeMap::new(), held: BTreeMap::new() }
    }

    /// Takes a status that was read already.
    pub(super) fn know(&mut self, epc: &str, status: StatusState) {
        self.status.insert(epc.to_owned(), status);
    }

    /// Forgets everything if it is much; between two batches of a long listing.
    pub(super) fn relieve(&mut self) {
        if self.status.len() > REMEMBERED_MAX {
            *self = Self::new(self.reader, self.at);
        }
    }

    /// What was done to an EPC that was followed.
    pub(super) fn status(&self, epc: &str) -> Option<&StatusState> {
        self.status.get(epc)
    }

    /// The parent of an EPC that was followed.
    pub(super) fn parent(&self, epc: &str) -> Option<&str> {
        match self.held.get(epc) {
            Some(Held::Inside(parent)) => Some(parent),
            Some(Held::Free | Held::CameOut(_)) | None => None,
        }
    }

    /// Finds out what each of `epcs` is in.
    pub(super) fn hold(&mut self, epcs: &BTreeSet<String>) -> Result<(), ReportError> {
        let open: BTreeSet<String> =
            epcs.iter().filter(|epc| !self.held.contains_key(*epc)).cloned().collect();
        self.read_status(&open)?;
        let packed = |epc: &String| {
            let (parent, since) = self.status.get(epc)?.packed()?;
            Some((epc.clone(), parent.to_owned(), since))
        };
        let packed: Vec<(String, String, ValidTime)> = open.iter().filter_map(packed).collect();
        self.held.extend(open.into_iter().map(|epc| (epc, Held::Free)));
        self.read_status(&packed.iter().map(|(_, parent, _)| parent.clone()).collect())?;
        let mut later: BTreeMap<ValidTime, Vec<(String, String)>> = BTreeMap::new();
        for (epc, parent, since) in packed {
            let status = self.status.get(&parent).filter(|status| status.is_emptied_after(since));
            let held = match status.and_then(StatusState::first_emptied) {
                None => Held::Inside(parent),
                Some((time, location)) if time > since => came_out(time, location),
                Some(_) => {
                    later.entry(since).or_default().push((epc, parent));
                    continue;
                }
            };
            self.held.insert(epc, held);
        }
        self.hold_later(later)
    }

    /// Settles children whose parents were emptied both before and after the child came in: the first time after it
    /// is read through a window.
    fn hold_later(&mut self, later: BTreeMap<ValidTime, Vec<(String, String)>>) -> Result<(), ReportError> {
        for (since, children) in later {
            let parents: BTreeSet<&String> = children.iter().map(|(_, parent)| parent).collect();
            let parents: Vec<String> = parents.into_iter().cloned().collect();
            let from = Some(ValidTime(since.0.saturating_add(1)));
            let states = self.reader.states::<Status>(&parents, Bounds { at: self.at, from, to: None })?;
            let states: BTreeMap<String, StatusState> = states.into_iter().collect();
            for (epc, parent) in children {
                let held = match states.get(&parent).and_then(StatusState::first_emptied) {
                    Some((time, location)) => came_out(time, location),
                    None => Held::Inside(parent),
                };
                self.held.insert(epc, held);
            }
        }
        Ok(())
    }

    /// Finds out where each of `epcs` is: reads them, what they are in, and so on up.
    pub(super) fn follow(&mut self, epcs: &BTreeSet<String>) -> Result<(), ReportError> {
        let (mut level, mut done) = (epcs.clone(), BTreeSet::new());
        for _ in 0..=LEVELS_MAX {
            if level.is_empty() {
                break;
            }
            self.read_seen(&level)?;
            self.hold(&level)?;
            let parents: BTreeSet<String> =
                level.iter().filter_map(|epc| self.parent(epc)).map(str::to_owned).collect();
            done.append(&mut level);
            level = parents.difference(&done).cloned().collect();
        }
        Ok(())
    }

    /// Where an EPC is that was followed: the newest that is known of itself and of everything that it is in. None
    /// if nothing is known of it.
    pub(super) fn place(&self, epc: &str) -> Option<(Place, Option<Flaw>)> {
        let mut newest = self.own_place(epc)?;
        let (mut current, mut climbed) = (epc, BTreeSet::from([epc]));
        while let Some(parent) = self.parent(current) {
            if !climbed.insert(parent) {
                return Some((newest, Some(Flaw::Ring)));
            }
            if climbed.len() > LEVELS_MAX + 1 {
                return Some((newest, Some(Flaw::TooDeep)));
            }
            if let Some(place) = self.own_place(parent)
                && place.time > newest.time
            {
                newest = place;
            }
            current = parent;
        }
        Some((newest, None))
    }

    /// Where an EPC is as far as events say it of itself or of its coming out.
    fn own_place(&self, epc: &str) -> Option<Place> {
        let seen = self.seen.get(epc)?.clone()?;
        match self.held.get(epc) {
            Some(Held::CameOut(out)) if out.time > seen.time => Some(out.clone()),
            _ => Some(seen),
        }
    }

    fn read_seen(&mut self, epcs: &BTreeSet<String>) -> Result<(), ReportError> {
        let missing: Vec<String> = epcs.iter().filter(|epc| !self.seen.contains_key(*epc)).cloned().collect();
        for batch in missing.chunks(BATCH) {
            let states = self.reader.states::<LastSeen>(batch, self.bounds())?;
            self.seen.extend(batch.iter().map(|epc| (epc.clone(), None)));
            let place = |(time, location): (ValidTime, Option<&str>)| Place {
                time,
                location: location.map(str::to_owned),
            };
            self.seen.extend(states.into_iter().map(|(epc, state)| (epc, state.place().map(place))));
        }
        Ok(())
    }

    fn read_status(&mut self, epcs: &BTreeSet<String>) -> Result<(), ReportError> {
        let missing: Vec<String> =
            epcs.iter().filter(|epc| !self.status.contains_key(*epc)).cloned().collect();
        for batch in missing.chunks(BATCH) {
            self.status.extend(batch.iter().map(|epc| (epc.clone(), StatusState::default())));
            self.status.extend(self.reader.states::<Status>(batch, self.bounds())?);
        }
        Ok(())
    }

    fn bounds(&self) -> Bounds {
        Bounds { at: self.at, ..Bounds::default() }
    }
}

fn came_out(time: ValidTime, location: Option<&str>) -> Held {
    Held::CameOut(Place { time, location: location.map(str::to_owned) })
}
