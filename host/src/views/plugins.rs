//! The Root's plugins as the view engine sees them.

use super::computes::{Computes, Emission, Failure, FailureKind, KeyspaceInfo, Revision, Upcast, ViewInfo};
use crate::core::event::EventKey;
use crate::plugin::upcast::Unread;
use crate::plugin::{CallError, EventRef, KeyspaceRef, RootCatalog, Services, ViewRef, delta_ref};
use laterbase_plugin::declare::AlgebraKind;

impl Computes for RootCatalog {
    fn root(&self) -> &str {
        self.name()
    }

    fn keyspaces(&self) -> Vec<KeyspaceInfo> {
        let info = |keyspace: &KeyspaceRef| {
            let declared = keyspace.declaration();
            let name = format!("{}.{}", keyspace.instance.identity().plugin, declared.name);
            KeyspaceInfo { name, revision: Revision(keyspace.revision), parts: declared.parts as usize }
        };
        self.keyspaces().iter().map(info).collect()
    }

    fn views(&self) -> Vec<ViewInfo> {
        let info = |view: &ViewRef| ViewInfo {
            name: view.declaration().name.clone(),
            keyspace: position(self, &view.keyspace),
            revision: Revision(view.revision),
            mergeable: view.declaration().algebra != AlgebraKind::Ordered,
        };
        self.views().map(info).collect()
    }

    fn retractions_revision(&self) -> Revision {
        Revision(self.retractions_revision())
    }

    fn upcast(&self, events: &[EventRef<'_>]) -> Vec<Result<Option<Upcast>, Failure>> {
        let owned = |event: crate::plugin::Upcast<'_>| Upcast {
            key: event.key,
            type_number: event.type_number,
            version: event.version,
            data: event.data.into_owned(),
        };
        let upcast = self.upcast(&Services::default(), events).into_iter();
        let read = upcast.map(|event| match event {
            Ok(event) => Ok(Some(owned(event))),
            Err(Unread::UnknownType { .. }) => Ok(None),
            Err(unread @ Unread::UnknownVersion { .. }) => {
                Err(Failure { kind: FailureKind::Refused, message: unread.to_string() })
            }
            Err(Unread::Failed(fault)) => Err(failure(&fault)),
        });
        read.collect()
    }

    fn retracts(&self, events: &[Upcast]) -> Vec<Result<Vec<EventKey>, Failure>> {
        let voided = self.retracts(&Services::default(), &wire(events.iter()));
        voided.into_iter().map(|keys| keys.map_err(|fault| failure(&fault))).collect()
    }

    fn map(&self, keyspace: usize, events: &[Upcast]) -> Vec<Result<Vec<Emission>, Failure>> {
        let mut results: Vec<Result<Vec<Emission>, Failure>> =
            events.iter().map(|_| Ok(Vec::new())).collect();
        let Some(keyspace) = self.keyspaces().get(keyspace) else { return results };
        let types = &keyspace.declaration().types;
        let taken: Vec<usize> = events
            .iter()
            .enumerate()
            .filter(|(_, e)| types.contains(&e.type_number))
            .map(|(at, _)| at)
            .collect();
        let batch = wire(taken.iter().filter_map(|at| events.get(*at)));
        let mut put = |at: usize, result| {
            if let Some(place) = taken.get(at).and_then(|at| results.get_mut(*at)) {
                *place = result;
            }
        };
        match keyspace.instance.map(&Services::default(), keyspace.index, &batch) {
            Err(fault) => (0..batch.len()).for_each(|at| put(at, Err(failure(&fault)))),
            Ok(mapping) => {
                let mut emitted: Vec<Vec<Emission>> = vec![Vec::new(); batch.len()];
                for (at, key, delta) in mapping.rows() {
                    if let Some(event) = emitted.get_mut(at) {
                        event.push((key.to_vec(), delta.to_vec()));
                    }
                }
                emitted.into_iter().enumerate().for_each(|(at, emissions)| put(at, Ok(emissions)));
                mapping.failures().iter().for_each(|(at, fault)| put(*at, Err(failure(fault))));
            }
        }
        results
    }

    fn query_key(&self, keyspace: usize, typed: &[String]) -> Result<Vec<u8>, Failure> {
        let keyspace = self.keyspaces().get(keyspace).ok_or_else(no_such)?;
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        let key = keyspace.instance.query_key(&Services::default(), keyspace.index, &typed);
        key.map_err(|fault| failure(&fault))
    }

    fn fold(&self, view: usize, state: Option<&[u8]>, run: &[(EventKey, &[u8])]) -> Result<Vec<u8>, Failure> {
        let view = self.views().nth(view).ok_or_else(no_such)?;
        let run: Vec<_> = run.iter().map(|(key, delta)| delta_ref(*key, delta)).collect();
        let folded = view.instance.fold(&Services::default(), view.index, state, &run);
        folded.map_err(|fault| failure(&fault))
    }

    fn render(&self, view: usize, key: &[u8], state: &[u8]) -> Result<Vec<u8>, Failure> {
        let view = self.views().nth(view).ok_or_else(no_such)?;
        let rendered = view.instance.render(&Services::default(), view.index, key, state);
        rendered.map(|json| json.get().as_bytes().to_vec()).map_err(|fault| failure(&fault))
    }
}

/// Where the Keyspace of a View stands in the Root's list.
fn position(catalog: &RootCatalog, wanted: &KeyspaceRef) -> usize {
    let found = catalog.keyspaces().iter().position(|keyspace| keyspace.revision == wanted.revision);
    found.expect("a View's Keyspace is one of its Root's")
}

fn wire<'e>(events: impl Iterator<Item = &'e Upcast>) -> Vec<EventRef<'e>> {
    let wire = |event: &'e Upcast| EventRef {
        key: event.key,
        type_number: event.type_number,
        version: event.version,
        data: event.data.as_slice().into(),
    };
    events.map(wire).collect()
}

fn no_such() -> Failure {
    Failure { kind: FailureKind::Broken, message: "the plugin offers no such keyspace or view".to_owned() }
}

fn failure(fault: &CallError) -> Failure {
    let kind = match fault {
        CallError::Refused(_) => FailureKind::Refused,
        CallError::Panicked(_)
        | CallError::Corrupt(_)
        | CallError::Unsupported(_)
        | CallError::Cancelled(_)
        | CallError::Malformed(_) => FailureKind::Broken,
    };
    Failure { kind, message: fault.to_string() }
}
