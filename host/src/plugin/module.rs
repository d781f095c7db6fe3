//! A plugin that is loaded but not yet configured, from a library or linked into the program.

use super::call_error::CallError;
use super::declared::{self, DeclarationError, is_name};
use super::instance::{Identity, Instance};
use super::load_error::LoadError;
use laterbase_plugin::abi::PluginModuleRef;
use laterbase_plugin::declare::{Declaration, Manifest};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The configuration of one plugin: a JSON object for each Root that has one. A Root that the plugin does not
/// declare itself is added to its Roots.
pub type Configuration = BTreeMap<String, Map<String, Value>>;

/// A loaded plugin and what it says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Module(PluginModuleRef);

impl Module {
    pub(super) fn new(module: PluginModuleRef) -> Self {
        Self(module)
    }

    /// Name, version and Roots, checked.
    pub(super) fn manifest(self) -> Result<Manifest, LoadError> {
        let failed = |source| LoadError::Declaration { root: None, source };
        let text = self.0.manifest()();
        let manifest: Manifest =
            serde_json::from_str(&text).map_err(|error| failed(DeclarationError::Json(error.to_string())))?;
        let bad = |kind, name: &str| Err(failed(DeclarationError::Name { kind, name: name.to_owned() }));
        if !is_name(&manifest.name) {
            return bad("plugin", &manifest.name);
        }
        match manifest.roots.iter().find(|root| !is_name(root)) {
            Some(root) => bad("root", root),
            None => Ok(manifest),
        }
    }

    /// The plugin's quick test by itself.
    pub(super) fn self_check(self, name: &str) -> Result<(), LoadError> {
        let result = self.0.self_check()().into_result();
        result.map_err(|error| LoadError::SelfCheck(CallError::new(name, 0, "self_check", &error)))
    }

    /// One instance for each Root that the plugin declares or the configuration adds, in the order of their
    /// names.
    pub(super) fn configure(
        self,
        manifest: &Manifest,
        generation: u32,
        library: [u8; 32],
        configuration: &Configuration,
    ) -> Result<Vec<Arc<Instance>>, LoadError> {
        let empty = Map::new();
        let mut roots: BTreeMap<&str, &Map<String, Value>> =
            manifest.roots.iter().map(|root| (root.as_str(), &empty)).collect();
        roots.extend(configuration.iter().map(|(root, config)| (root.as_str(), config)));
        let instance = |(root, config): (&str, &Map<String, Value>)| {
            let identity = Identity {
                plugin: manifest.name.clone(),
                version: manifest.version.clone(),
                generation,
                library,
                root: root.to_owned(),
                config: serde_json::to_string(config).expect("a JSON object is JSON"),
            };
            self.instance(identity).map(Arc::new)
        };
        roots.into_iter().map(instance).collect()
    }

    fn instance(self, identity: Identity) -> Result<Instance, LoadError> {
        let result = self.0.configure()(identity.root.as_str().into(), identity.config.as_str().into());
        let abi = result.into_result().map_err(|error| LoadError::Configure {
            root: identity.root.clone(),
            source: CallError::new(&identity.plugin, identity.generation, "configure", &error),
        })?;
        let text = abi.declaration();
        let declaration: Result<Declaration, _> =
            serde_json::from_str(&text).map_err(|error| DeclarationError::Json(error.to_string()));
        let checked = declaration.and_then(|declaration| {
            declared::check(&declaration)?;
            Ok(declaration)
        });
        let declaration =
            checked.map_err(|source| LoadError::Declaration { root: Some(identity.root.clone()), source })?;
        Ok(Instance::new(identity, declaration, abi))
    }
}
