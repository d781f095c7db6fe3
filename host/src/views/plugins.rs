//! A Root's catalog of plugins as the view engine sees it.

use super::computes::{
    Computes, Failure, FailureKind, FoldFailure, KeyspaceInfo, Mapped, Revision, Upcast, ViewInfo,
};
use crate::core::event::EventKey;
use crate::plugin::{CallError, EventRef, KeyspaceRef, RootCatalog, Services, Unread, ViewRef};
use laterbase_plugin::abi::DeltaRef;

impl RootCatalog {
    fn keyspace_at(&self, position: usize) -> Result<&KeyspaceRef, Failure> {
        self.keyspaces().get(position).ok_or_else(|| broken("there is no such keyspace"))
    }

    fn view_at(&self, position: usize) -> Result<&ViewRef, Failure> {
        self.views().nth(position).ok_or_else(|| broken("there is no such view"))
    }
}

impl Computes for RootCatalog {
    fn root(&self) -> &str {
        self.name()
    }

    fn code(&self) -> Revision {
        let libraries: Vec<&[u8]> =
            self.instances().iter().map(|instance| instance.identity().library.as_slice()).collect();
        Revision::of(&libraries)
    }

    fn keyspaces(&self) -> Vec<KeyspaceInfo> {
        let info = |keyspace: &KeyspaceRef| KeyspaceInfo {
            name: format!("{}.{}", keyspace.instance.identity().plugin, keyspace.declaration().name),
            revision: Revision(keyspace.revision),
            parts: keyspace.declaration().parts as usize,
        };
        self.keyspaces().iter().map(info).collect()
    }

    fn views(&self) -> Vec<ViewInfo> {
        let place = |view: &ViewRef| {
            let same = |keyspace: &KeyspaceRef| keyspace.revision == view.keyspace.revision;
            self.keyspaces().iter().position(same)
        };
        let info = |view: &ViewRef| ViewInfo {
            name: view.declaration().name.clone(),
            // A View without its Keyspace has no rows; its place is behind the last one.
            keyspace: place(view).unwrap_or(usize::MAX),
            revision: Revision(view.revision),
            algebra: view.declaration().algebra,
        };
        self.views().map(info).collect()
    }

    fn retractions_revision(&self) -> Revision {
        Revision(RootCatalog::retractions_revision(self))
    }

    fn upcast<'e>(&self, events: &[EventRef<'e>]) -> Vec<Result<Option<Upcast<'e>>, Failure>> {
        let results = RootCatalog::upcast(self, &Services::default(), events);
        let own = |result: Result<Upcast<'e>, Unread>| match result {
            Ok(event) => Ok(Some(event)),
            Err(Unread::UnknownType { .. }) => Ok(None),
            Err(unknown @ Unread::UnknownVersion { .. }) => {
                Err(Failure { kind: FailureKind::Refused, message: unknown.to_string() })
            }
            Err(Unread::Failed(error)) => Err(failure(&error)),
        };
        results.into_iter().map(own).collect()
    }

    fn retracts(&self, events: &[EventRef<'_>]) -> Vec<Result<Vec<EventKey>, Failure>> {
        let results = RootCatalog::retracts(self, &Services::default(), events);
        results.into_iter().map(|keys| keys.map_err(|error| failure(&error))).collect()
    }

    fn map(&self, keyspace: usize, events: &[EventRef<'_>]) -> Mapped {
        let mut mapped = Mapped::default();
        let mut all = |failure: &Failure| (0..events.len()).for_each(|at| mapped.fail(at, failure.clone()));
        let keyspace = match self.keyspace_at(keyspace) {
            Ok(keyspace) => keyspace,
            Err(failure) => {
                all(&failure);
                return mapped;
            }
        };
        let taken = (0..).zip(events).filter(|(_, event)| keyspace.takes(event.type_number));
        let (at, refs): (Vec<usize>, Vec<EventRef<'_>>) = taken.map(|(at, event)| (at, *event)).unzip();
        let mapping = match keyspace.instance.map(&Services::default(), keyspace.index, &refs) {
            Ok(mapping) => mapping,
            Err(error) => {
                all(&failure(&error));
                return mapped;
            }
        };
        let place = |index: usize| at.get(index).copied().unwrap_or(usize::MAX);
        for (index, key, delta) in mapping.rows() {
            mapped.push(place(index), key, delta);
        }
        for (index, error) in mapping.failures() {
            mapped.fail(place(*index), failure(error));
        }
        mapped
    }

    fn query_key(&self, keyspace: usize, typed: &[String]) -> Result<Vec<u8>, Failure> {
        let keyspace = self.keyspace_at(keyspace)?;
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        let key = keyspace.instance.query_key(&Services::default(), keyspace.index, &typed);
        key.map_err(|error| failure(&error))
    }

    fn fold(&self, view: usize, state: Option<&[u8]>, run: &[DeltaRef<'_>]) -> Result<Vec<u8>, FoldFailure> {
        let view = self.view_at(view).map_err(|failure| FoldFailure { failure, at: None })?;
        let state = view.instance.fold(&Services::default(), view.index, state, run);
        state.map_err(|error| FoldFailure { failure: failure(&error), at: error.blame().event })
    }

    fn merge(&self, view: usize, states: &[&[u8]]) -> Result<Vec<u8>, Failure> {
        let view = self.view_at(view)?;
        let state = view.instance.merge(&Services::default(), view.index, states);
        state.map_err(|error| failure(&error))
    }

    fn invert(&self, view: usize, state: &[u8]) -> Result<Vec<u8>, Failure> {
        let view = self.view_at(view)?;
        view.instance.invert(&Services::default(), view.index, state).map_err(|error| failure(&error))
    }

    fn render(&self, view: usize, key: &[u8], state: &[u8]) -> Result<Vec<u8>, Failure> {
        let view = self.view_at(view)?;
        let json = view.instance.render(&Services::default(), view.index, key, state);
        json.map(|json| json.get().as_bytes().to_vec()).map_err(|error| failure(&error))
    }
}

/// The failure without what differs between replicas: the generation and the place in the batch.
fn failure(error: &CallError) -> Failure {
    let kind = match error {
        CallError::Refused(_) => FailureKind::Refused,
        CallError::Panicked(_)
        | CallError::Corrupt(_)
        | CallError::Unsupported(_)
        | CallError::Cancelled(_)
        | CallError::Malformed(_) => FailureKind::Broken,
    };
    let blame = error.blame();
    let place = if blame.pointer.is_empty() { String::new() } else { format!(" at {}", blame.pointer) };
    Failure { kind, message: format!("{} {}{place}: {}", blame.plugin, blame.hook, blame.message) }
}

fn broken(message: &str) -> Failure {
    Failure { kind: FailureKind::Broken, message: message.to_owned() }
}
