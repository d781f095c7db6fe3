//! `laterbase serve`: configuration, log, signals, and the one line that says it is ready.

use super::watch::Watch;
use super::{EXIT_CONFIG, EXIT_IN_USE, EXIT_USAGE, ServeArguments, fail, log};
use crate::config::{Config, PeersConfig};
use crate::host::{Host, OpenError, Options};
use crate::peers::PeerAddress;
use crate::service::Early;
use sd_notify::NotifyState;
use std::future::pending;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

pub(super) fn run(arguments: ServeArguments) -> ExitCode {
    if let Err(fault) = log::begin(arguments.log.as_deref(), arguments.log_format) {
        return fail(EXIT_USAGE, &fault);
    }
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
    if arguments.without_peers {
        config.peers = PeersConfig::default();
    }
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
    let config = options.config.clone();
    let claim = match Host::claim(options) {
        Ok(claim) => claim,
        Err(fault) => return refuse(&fault),
    };
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let [Ok(terminate), Ok(interrupt), Ok(hangup)] = signals else {
        return fail(1, "no signals can be received");
    };
    let server = match Early::bind(listen, &config).await {
        Ok(server) => server,
        Err(fault) => return fail(1, &fault.to_string()),
    };
    let address = server.address();
    tracing::info!(%address, "starting");
    let opening = tokio::task::spawn_blocking(move || claim.open(Vec::new()));
    let opened = Arc::new(OnceLock::new());
    let (fail_with, failed) = oneshot::channel();
    let host = async {
        match opening.await.map(|outcome| outcome.map_err(|fault| refuse(&fault))) {
            Ok(Ok(host)) => {
                let host = Arc::new(host);
                match begin(&host, watches, address) {
                    Ok(()) => return Arc::clone(opened.get_or_init(|| host)),
                    Err(code) => drop(fail_with.send(code)),
                }
            }
            Ok(Err(code)) => drop(fail_with.send(code)),
            Err(panic) => drop(fail_with.send(fail(1, &format!("the host does not open: {panic}")))),
        }
        // What is told above ends it.
        pending().await
    };
    let drained = tokio::select! {
        drained = server.serve(host, until_told(&opened, terminate, interrupt, hangup)) => drained,
        Ok(code) = failed => return code,
    };
    tracing::info!(?drained, "stopped");
    ExitCode::SUCCESS
}

/// The exit code for a host that does not open, said on the way.
fn refuse(fault: &OpenError) -> ExitCode {
    let code = match fault {
        OpenError::InUse { .. } => EXIT_IN_USE,
        // Addresses of the command line were read before: this one stands in the configuration.
        OpenError::Peer(_) | OpenError::PluginConfiguration { .. } => EXIT_CONFIG,
        OpenError::Data { .. } | OpenError::Plugin(_) => 1,
    };
    fail(code, &fault.to_string())
}

/// What is done once the host is open.
fn begin(host: &Arc<Host>, watches: bool, address: SocketAddr) -> Result<(), ExitCode> {
    if watches {
        let unseen = |fault| fail(1, &format!("--watch: the plugins' folders cannot be watched: {fault}"));
        let (watch, host) = (Watch::start(host).map_err(unseen)?, Arc::clone(host));
        drop(tokio::spawn(async move { watch.run(&host).await }));
    }
    say_ready(address)
}

/// The one line that says that requests are answered, and the same for a service manager.
fn say_ready(address: SocketAddr) -> Result<(), ExitCode> {
    let mut out = std::io::stdout();
    let said = writeln!(out, "laterbase listening on http://{address}").and_then(|()| out.flush());
    said.map_err(|fault| fail(1, &format!("the ready line cannot be written: {fault}")))?;
    tracing::info!(%address, "ready");
    notify(&[NotifyState::Ready]);
    Ok(())
}

/// Tells the service manager, if one started this program and wants to know.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(fault) = sd_notify::notify(state) {
        tracing::warn!(%fault, "the service manager was not told");
    }
}

/// Returns on SIGTERM or SIGINT; reloads changed plugins on SIGHUP.
async fn until_told(
    host: &OnceLock<Arc<Host>>,
    mut terminate: Signal,
    mut interrupt: Signal,
    mut hangup: Signal,
) {
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                // Before the host is open there is nothing that could have changed.
                let Some(host) = host.get().cloned() else { continue };
                drop(tokio::task::spawn_blocking(move || host.reload_all()));
            }
        }
    }
    notify(&[NotifyState::Stopping]);
}
