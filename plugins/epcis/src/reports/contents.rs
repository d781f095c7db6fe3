//! `contents`: what is in an EPC now, and what is in that, and so on.

use super::query::{Asked, BATCH, behind_all_of};
use super::trace::Tracer;
use crate::views::packings::Packings;
use crate::views::status::StatusState;
use laterbase_plugin::{Answer, Query, Reader, Refusal, Report, ReportError, StateOf, ValidTime};
use std::collections::BTreeSet;

/// How many EPCs one answer lists.
const INSIDE_MAX: usize = 100_000;

/// Parent → the sorted list of everything in it; parents with nothing in them are left out. What stands in its own
/// list is part of a ring of parents.
#[derive(Debug, Clone, Copy)]
pub struct Contents;

impl Report for Contents {
    const NAME: &'static str = "contents";

    fn answer(&self, query: &Query<'_>, reader: &Reader<'_>, out: &mut Answer) -> Result<(), ReportError> {
        let asked = Asked::read(query)?;
        let mut opener = Opener { reader, at: asked.at, tracer: Tracer::new(reader, asked.at) };
        if let Some(parent) = asked.key {
            return opener.tell(&parent, out).map(drop);
        }
        let start = asked.start.as_deref().map(behind_all_of);
        let (mut last, mut left) = (None, asked.limit);
        for row in reader.scan_after::<Packings>(&[&asked.prefix], start.as_ref(), asked.at) {
            let ((parent, _), _) = row?;
            if last.as_ref() == Some(&parent) {
                continue;
            }
            if left == 0 {
                break;
            }
            left -= usize::from(opener.tell(&parent, out)?);
            opener.tracer.relieve();
            last = Some(parent);
        }
        Ok(())
    }
}

/// Opens parents.
struct Opener<'r, 'h> {
    reader: &'r Reader<'h>,
    at: Option<ValidTime>,
    tracer: Tracer<'r, 'h>,
}

impl Opener<'_, '_> {
    /// Puts the item of `parent` into the answer; false if nothing is in it.
    fn tell(&mut self, parent: &str, out: &mut Answer) -> Result<bool, ReportError> {
        let (mut inside, mut level) = (BTreeSet::new(), BTreeSet::from([parent.to_owned()]));
        while !level.is_empty() {
            self.tracer.hold(&level)?;
            let mut next = BTreeSet::new();
            for opened in &level {
                for child in self.children(opened)? {
                    if inside.insert(child.clone()) {
                        next.insert(child);
                    }
                }
                if inside.len() > INSIDE_MAX {
                    let message =
                        format!("more than {INSIDE_MAX} are in {parent}: ask for what is in its parts");
                    return Err(Refusal::new(message).into());
                }
            }
            level = next;
        }
        if inside.is_empty() {
            return Ok(false);
        }
        out.item(&[parent], &inside)?;
        Ok(true)
    }

    /// What is directly in `parent`, whose status is known.
    fn children(&mut self, parent: &str) -> Result<BTreeSet<String>, ReportError> {
        let mut children = BTreeSet::new();
        if !self.tracer.status(parent).is_some_and(StatusState::may_hold) {
            return Ok(children);
        }
        let mut rows = self.reader.scan::<Packings>(&[parent, ""], self.at);
        loop {
            let batch: Vec<StateOf<Packings>> = rows.by_ref().take(BATCH).collect::<Result<_, _>>()?;
            if batch.is_empty() {
                return Ok(children);
            }
            let batch: BTreeSet<String> =
                batch.into_iter().filter_map(|((_, child), state)| state.child(child)).collect();
            self.tracer.hold(&batch)?;
            children.extend(batch.into_iter().filter(|child| self.tracer.parent(child) == Some(parent)));
        }
    }
}
