//! What plugins are configured with: read from the configuration file whenever a plugin is loaded or reloaded.

use crate::config::Config;
use crate::plugin::load_error::Cause;
use crate::plugin::module::Configuration;
use crate::plugin::registry::Configurations;

/// The configuration file, or what a program of one's own says instead.
#[derive(Debug)]
pub(super) struct Settings(pub(super) Config);

impl Configurations for Settings {
    fn read(&self, plugin: &str) -> Result<Configuration, Cause> {
        match &self.0.path {
            Some(path) => Ok(Config::read_plugin(path, plugin)?.roots),
            None => Ok(self.0.plugin.get(plugin).map(|plugin| plugin.roots.clone()).unwrap_or_default()),
        }
    }
}
