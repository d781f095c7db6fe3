//! `laterbase serve`: configuration, log, signals, and the one line that says it is ready.

use super::watch::Watch;
use super::{EXIT_CONFIG, EXIT_IN_USE, EXIT_USAGE, ServeArguments, fail};
use crate::config::Config;
use crate::host::{Host, OpenError, Options};
use crate::peers::PeerAddress;
use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) fn run(arguments: ServeArguments) -> ExitCode {
    log_to_standard_error();
    let config = match configuration(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(fault) => return fail(EXIT_CONFIG, &fault),
    };
    let watches = arguments.watch;
    let (options, listen) = match options(arguments, &config) {
        Ok(options) => options,
        Err(fault) => return fail(EXIT_USAGE, &fault),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return fail(1, &format!("no threads to run on: {fault}")),
    };
    let ended = runtime.block_on(serve(options, listen, watches));
    // Whatever still runs is past the drain's deadline; the writers finish as their queues are dropped.
    runtime.shutdown_background();
    ended
}

fn log_to_standard_error() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("LATERBASE_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
}

/// The named file, or `laterbase.toml` if there is one, or nothing set.
fn configuration(named: Option<&Path>) -> Result<Config, String> {
    let default = Path::new("laterbase.toml");
    match named {
        Some(path) => Config::read(path).map_err(|fault| fault.to_string()),
        None if default.exists() => Config::read(default).map_err(|fault| fault.to_string()),
        None => Ok(Config::default()),
    }
}

fn options(arguments: ServeArguments, config: &Config) -> Result<(Options, SocketAddr), String> {
    let listen = arguments.listen.or(config.listen);
    let listen = listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 4000)));
    if !listen.ip().is_loopback() && !arguments.insecure && !config.insecure {
        return Err(format!(
            "{listen} can be reached from other machines, and there is no TLS and there are no tokens yet: \
             add --insecure if that is meant"
        ));
    }
    let folders = if arguments.plugins.is_empty() { config.plugins.clone() } else { arguments.plugins };
    let program = std::env::current_exe().ok();
    let own_folder = program.as_deref().and_then(Path::parent).map(Path::to_owned);
    let mut config = config.clone();
    for peer in arguments.peer {
        peer.parse::<PeerAddress>().map_err(|fault| fault.to_string())?;
        config.peers.all.push(peer);
    }
    let options = Options {
        data: arguments.data.or_else(|| config.data.clone()).unwrap_or_else(|| PathBuf::from("data")),
        default_folder: own_folder.filter(|_| folders.is_empty()),
        folders,
        probe: program,
        config,
        ..Options::default()
    };
    Ok((options, listen))
}

async fn serve(options: Options, listen: SocketAddr, watches: bool) -> ExitCode {
    let host = match Host::open(&options) {
        Ok(host) => Arc::new(host),
        Err(fault @ OpenError::InUse { .. }) => return fail(EXIT_IN_USE, &fault.to_string()),
        // Addresses of the command line were read before: this one stands in the configuration.
        Err(fault @ (OpenError::Peer(_) | OpenError::PluginConfiguration { .. })) => {
            return fail(EXIT_CONFIG, &fault.to_string());
        }
        Err(fault) => return fail(1, &fault.to_string()),
    };
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let [Ok(terminate), Ok(interrupt), Ok(hangup)] = signals else {
        return fail(1, "no signals can be received");
    };
    if watches {
        match Watch::start(&host) {
            Ok(watch) => {
                let host = Arc::clone(&host);
                drop(tokio::spawn(async move { watch.run(&host).await }));
            }
            Err(fault) => {
                return fail(1, &format!("--watch: the plugins' folders cannot be watched: {fault}"));
            }
        }
    }
    let bound = match host.bind(listen).await {
        Ok(bound) => bound,
        Err(fault) => return fail(1, &fault.to_string()),
    };
    println!("laterbase listening on http://{}", bound.address());
    if let Err(fault) = std::io::stdout().flush() {
        return fail(1, &format!("the ready line cannot be written: {fault}"));
    }
    let drained = bound.serve(until_told(&host, terminate, interrupt, hangup)).await;
    tracing::info!(?drained, "stopped");
    ExitCode::SUCCESS
}

/// Returns on SIGTERM or SIGINT; reloads changed plugins on SIGHUP.
async fn until_told(host: &Arc<Host>, mut terminate: Signal, mut interrupt: Signal, mut hangup: Signal) {
    loop {
        tokio::select! {
            _ = terminate.recv() => return,
            _ = interrupt.recv() => return,
            _ = hangup.recv() => {
                let host = Arc::clone(host);
                drop(tokio::task::spawn_blocking(move || host.reload_all()));
            }
        }
    }
}
