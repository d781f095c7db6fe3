//! `laterbase plugin list` and `reload`: what the plugins of a running server are at, and their replacement.

use super::{EXIT_USAGE, fail};
use crate::peers::{Client, PeerAddress, Tcp};
use crate::sync::ExchangeError;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime;

/// How often the server is asked how far a reload is.
const ASKED_EVERY: Duration = Duration::from_millis(200);
/// A reload builds the views of the new generation, which may take this long.
const RELOAD_MAX: Duration = Duration::from_hours(24);

#[derive(Deserialize)]
struct Listed {
    plugins: Vec<Plugin>,
}

#[derive(Deserialize)]
struct Plugin {
    name: Option<String>,
    state: String,
    done: Option<u64>,
    of: Option<u64>,
    file: Option<String>,
    generation: Option<u32>,
    version: Option<String>,
    roots: Vec<Root>,
    #[serde(default)]
    warnings: Vec<String>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Root {
    #[serde(rename = "root")]
    name: String,
    types: Vec<String>,
    formats: Vec<String>,
    views: Vec<String>,
    reports: Vec<String>,
}

#[derive(Deserialize)]
struct Failure {
    code: String,
    detail: String,
}

/// The answer to a reload.
#[derive(Deserialize)]
struct Reloaded {
    state: String,
    generation: u32,
}

/// Prints every plugin of `server`, and every file that is none.
pub(super) fn list(server: &PeerAddress) -> ExitCode {
    let asked = on_a_runtime(async {
        let mut client = client(server);
        get::<Listed>(&mut client).await
    });
    match asked {
        Ok(Listed { plugins }) => {
            if plugins.is_empty() {
                say!("{server} has no plugins: serve --plugins DIR names the folder of their libraries");
            }
            plugins.iter().flat_map(lines).for_each(|line| say!("{line}"));
            ExitCode::SUCCESS
        }
        Err(exit) => fail(1, &format!("{server}: {exit}")),
    }
}

/// Has `server` replace a plugin by what its file holds now, and waits until the new generation serves.
pub(super) fn reload(server: &PeerAddress, name: &str) -> ExitCode {
    if !crate::core::name::is_name(name) {
        return fail(
            EXIT_USAGE,
            &format!("{name:?} is no plugin's name: `laterbase plugin list` shows them"),
        );
    }
    match on_a_runtime(reloaded(server, name)) {
        Ok(Reloaded { state, generation }) => {
            say!("{name}: {state}, generation {generation} serves");
            ExitCode::SUCCESS
        }
        Err(fault) => fail(1, &format!("{name} was not reloaded: {fault}")),
    }
}

async fn reloaded(server: &PeerAddress, name: &str) -> Result<Reloaded, String> {
    let mut asking = client(server).waiting(RELOAD_MAX);
    let path = format!("/_/plugins/{name}/reload");
    let reloading = async { asking.post(&path, String::new()).await.map_err(|fault| sentence(&fault)) };
    let answer = tokio::select! {
        answer = reloading => answer?,
        never = show(server, name) => match never {},
    };
    read(&answer)
}

/// Shows how far the reload is, until it is over.
async fn show(server: &PeerAddress, name: &str) -> std::convert::Infallible {
    let bar = ProgressBar::new(0).with_prefix(name.to_owned());
    let style =
        ProgressStyle::with_template("{prefix} {wide_bar} {human_pos} of {human_len} events, {eta} left");
    let bar = style.map(|style| bar.clone().with_style(style)).unwrap_or(bar);
    let mut client = client(server);
    loop {
        tokio::time::sleep(ASKED_EVERY).await;
        // What the reload itself hears decides; this only draws.
        let Ok(Listed { plugins }) = get::<Listed>(&mut client).await else { continue };
        let running = plugins.into_iter().find(|plugin| plugin.name.as_deref() == Some(name));
        if let Some(Plugin { done: Some(done), of: Some(of), .. }) = running {
            bar.set_length(of);
            bar.set_position(done);
        }
    }
}

fn lines(plugin: &Plugin) -> Vec<String> {
    let name = plugin.name.as_deref().or(plugin.file.as_deref()).unwrap_or("?");
    let version = plugin.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
    let generation = plugin.generation.map(|number| format!(", generation {number}")).unwrap_or_default();
    let progress = match (plugin.done, plugin.of) {
        (Some(done), Some(of)) => format!(" ({done} of {of} events)"),
        _ => String::new(),
    };
    let mut lines = vec![format!("{name}{version}: {}{progress}{generation}", plugin.state)];
    lines.extend(plugin.file.as_ref().map(|file| format!("  file     {file}")));
    for Root { name, types, formats, views, reports } in &plugin.roots {
        lines.push(format!("  root     {name}"));
        for (what, names) in [("types", types), ("formats", formats), ("views", views), ("reports", reports)]
        {
            if !names.is_empty() {
                lines.push(format!("    {what:<8} {}", names.join(", ")));
            }
        }
    }
    lines.extend(plugin.warnings.iter().map(|warning| format!("  warning  {warning}")));
    lines
        .extend(plugin.error.as_ref().map(|Failure { code, detail }| format!("  error    {code}: {detail}")));
    lines
}

fn client(server: &PeerAddress) -> Client<Tcp> {
    Client::new(Tcp, server.clone(), "", Arc::default())
}

async fn get<T: DeserializeOwned>(client: &mut Client<Tcp>) -> Result<T, String> {
    let answer = client.get("/_/plugins").await.map_err(|fault| sentence(&fault))?;
    read(&answer)
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, String> {
    serde_json::from_slice(answer).map_err(|fault| format!("this is no Laterbase: {fault}"))
}

/// What the server said, without how it said it.
fn sentence(fault: &ExchangeError) -> String {
    match fault {
        ExchangeError::Refused { code, detail, .. } => format!("{code}: {detail}"),
        ExchangeError::Connection(_) | ExchangeError::TimedOut { .. } | ExchangeError::TooSlow { .. } => {
            fault.to_string()
        }
    }
}

fn on_a_runtime<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|fault| format!("no threads to run on: {fault}"))?.block_on(work)
}
