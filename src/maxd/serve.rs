//! `maxd serve`: puts the parts together, listens, and takes them down in order.

use super::alerts::{self, Alerts};
use super::args::{Serve, Tls};
use super::audit;
use super::auth::Auth;
use super::contents::{Contents, collect_now_and_then};
use super::deploys::{Deploys, fail_unfinished};
use super::exec;
use super::http;
use super::keeper::Pace;
use super::line::NewLine;
use super::logs::Logs;
use super::metrics::{Metrics, expose};
use super::once;
use super::platform::{Address, Platform, all_apps, kept_rows};
use super::releases;
use super::router::{self, Routes};
use super::runtime::Runtime;
use super::runtime::process::Process;
use super::secrets::{self, Vault};
use super::sockets::Sockets;
use super::store::{Store, disk, make_private};
use super::supervisor::Supervisor;
use super::sweep;
use super::tls;
use super::trial::{self, Trial};
use super::webhooks::{Webhooks, deliver};
use crate::error::{Error, Kind, Result, io_reason};
use crate::sys::signals;
use crate::wire::Limits;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Files, directories and links in one source.
const MAX_FILES: u64 = 200_000;
/// Connections of one listener at a time.
const CONNECTIONS: usize = 10_000;
/// How long a client may take for its TLS handshake, and for a request's head.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at what is due now and then, at most.
const MINUTE: Duration = Duration::from_secs(60);
/// How long requests may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT.
pub async fn serve(args: Serve) -> Result<()> {
    heed_signals()?;
    for part in ["uploads", "apps", "run"] {
        make_private(&args.data.join(part))?;
    }
    let data = fs::canonicalize(&args.data).map_err(|error| disk("read", &args.data, &error))?;
    let _lock = lock(&data)?;
    let listener = listen(args.listen).await?;
    let apps_listener = listen(args.apps_listen).await?;
    let acceptor = acceptor(&args, &data)?;
    let (address, url) = addresses(&args, &acceptor, &listener, &apps_listener)?;
    let (stop, stopping) = watch::channel(false);
    let sockets = Sockets::new(trial()?);
    let platform = assemble(&args, data, address, sockets, stopping.clone()).await?;

    let connections = TaskTracker::new();
    let api = http::router(Arc::clone(&platform), expose::Door::open(&platform.data)?);
    let handle_api = move |request: hyper::Request<Incoming>, _, _| {
        api.clone().oneshot(request.map(axum::body::Body::new))
    };
    let routes = Arc::clone(&platform.routes);
    let handle_app = move |request, peer, secure| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, Infallible>(router::handle(routes, request, peer, secure).await) }
    };
    let api = accept(listener, acceptor.clone(), connections.clone(), stopping.clone(), handle_api);
    let apps = accept(apps_listener, acceptor, connections.clone(), stopping, handle_app);
    let listeners = [tokio::spawn(api), tokio::spawn(apps)];
    let collector = platform.metrics.begin()?;
    let helpers = [
        tokio::spawn(keep_house(Arc::clone(&platform))),
        tokio::spawn(alerts::watch(Arc::clone(&platform))),
        tokio::spawn(deliver(Arc::clone(&platform))),
        tokio::spawn(collect_now_and_then(Arc::clone(&platform))),
    ];

    let apps_url =
        format!("{}://{}{}", platform.address.scheme, platform.address.domain, platform.address.port);
    say!("listening at {url}, apps at {apps_url}");
    if let Some(path) = &args.ready_file {
        ready(path, &url, &apps_url)?;
    }
    wait_for_signal().await?;

    say!("stopping");
    stop.send_replace(true);
    helpers.iter().for_each(tokio::task::JoinHandle::abort);
    for listener in listeners {
        let _ = listener.await;
    }
    connections.close();
    let drained = async { tokio::join!(connections.wait(), platform.sockets.ended()) };
    let _ = tokio::time::timeout(DRAIN, drained).await;
    platform.execs.stop().await;
    platform.deploys.ended().await;
    platform.lifecycle.ended().await;
    platform.supervisor.shutdown().await;
    let _ = tokio::task::spawn_blocking(|| collector.end()).await;
    store_last(&platform).await;
    Ok(())
}

/// Waits until what has happened is in the logs; not for ever, since the disk may be stuck.
async fn store_last(platform: &Platform) {
    let (stored, wait) = oneshot::channel();
    let last = async {
        let _ = platform.lines.send(NewLine::mark(stored)).await;
        let _ = wait.await;
    };
    if tokio::time::timeout(DRAIN, last).await.is_err() {
        say!("the last log lines could not be stored in time");
    }
}

/// What a conformance test changes. Not to be overlooked.
fn trial() -> Result<Trial> {
    let words = std::env::var(trial::VARIABLE).ok();
    let trial = Trial::parse(words.as_deref())?;
    if let Some(words) = words.filter(|words| !words.is_empty()) {
        say!("{} is set to '{words}': for tests only", trial::VARIABLE);
    }
    Ok(trial)
}

/// One maxd for one data directory.
fn lock(data: &Path) -> Result<fs::File> {
    let path = data.join("lock");
    let file = fs::File::create(&path).map_err(|error| disk("write", &path, &error))?;
    file.try_lock().map_err(|_| {
        Error::new(Kind::Failed, format!("another maxd uses '{}'", data.display()))
            .hint("stop it, or give this one a directory of its own: --data DIR")
    })?;
    Ok(file)
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::AddrInUse => "address in use".to_owned(),
            _ => io_reason(&error),
        };
        Error::new(Kind::Failed, format!("cannot listen on '{address}': {reason}"))
            .hint("choose another with --listen and --apps-listen; port 0 takes a free one")
    })
}

fn acceptor(args: &Serve, data: &Path) -> Result<Option<TlsAcceptor>> {
    match &args.tls {
        Tls::None => Ok(None),
        Tls::Files(certificate, key) => tls::from_files(certificate, key).map(Some),
        Tls::Own => {
            // One wildcard stands for one label only, so that apps of a named network can't be
            // covered by one certificate; rig needs the server's own names.
            let mut names = vec!["localhost".to_owned(), args.domain.clone(), format!("*.{}", args.domain)];
            names.dedup();
            let files = tls::own(&data.join("tls"), &names, args.listen.ip())?;
            say!("clients trust this server with --ca {}", files.ca.display());
            tls::from_files(&files.certificate, &files.key).map(Some)
        }
    }
}

fn addresses(
    args: &Serve,
    acceptor: &Option<TlsAcceptor>,
    listener: &TcpListener,
    apps: &TcpListener,
) -> Result<(Address, String)> {
    let local = |listener: &TcpListener| {
        listener.local_addr().map_err(|error| Error::io("read", "the address listened on", &error))
    };
    let (api, apps) = (local(listener)?, local(apps)?);
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    let port = match (scheme, apps.port()) {
        ("https", 443) | ("http", 80) => String::new(),
        (_, port) => format!(":{port}"),
    };
    // Certificates of one's own are for names.
    let host = match (&args.tls, api.ip().is_loopback()) {
        (Tls::None, _) => api.to_string(),
        (_, true) => format!("localhost:{}", api.port()),
        (_, false) => format!("{}:{}", args.domain, api.port()),
    };
    Ok((Address { domain: args.domain.clone(), scheme, port }, format!("{scheme}://{host}")))
}

/// Opens the databases, clears up after a crash, and starts the apps.
async fn assemble(
    args: &Serve,
    data: std::path::PathBuf,
    address: Address,
    sockets: Arc<Sockets>,
    stopping: watch::Receiver<bool>,
) -> Result<Arc<Platform>> {
    let store = Store::open(&data.join("state.db"))?;
    let vault = Vault::open(&data, std::env::var(secrets::VARIABLE).ok(), &store)?;
    let killed = store.run(exec::note_killed)?;
    let (logs, lines) = Logs::open(&data.join("logs.db"), args.keep)?;
    for line in killed {
        let _ = lines.send(line).await;
    }
    let routes = Routes::new(lines.clone(), address.domain.clone());
    let secret = match &args.tls {
        Tls::Files(_, key) => Some(key.as_path()),
        Tls::None | Tls::Own => None,
    };
    let runtime = Process::new(&data, secret, args.isolation)?.grouped(sockets.trial.groups);
    let runtime: Arc<dyn Runtime> = Arc::new(runtime);
    let pace = Pace { check: sockets.trial.check, ..Pace::default() };
    let (running, run) = (Arc::clone(&runtime), data.join("run"));
    let supervisor = Supervisor::new(running, Arc::clone(&routes), lines.clone(), run, pace);
    let metrics = Metrics::open(&data.join("metrics.db"), Arc::clone(&runtime), Arc::clone(&routes))?;
    let limits = Limits { source_bytes: args.source_limit, files: MAX_FILES };
    let auth = Auth::new(Arc::clone(&store), args.access_lifetime);
    let deploys = Deploys::default();
    let trial = &sockets.trial;
    let contents = Arc::new(Contents::new(data.join("contents"), trial.grace));
    let settings = alerts::Settings {
        pace: alerts::Pace { fixed: trial.alerts },
        disk: trial.disk.map(|mebibytes| u64::from(mebibytes) << 20),
    };
    let alerts = Alerts::open(Arc::clone(&store), settings)?;
    let webhooks = Webhooks::new(args.webhook_private, args.webhook_ca.as_deref(), trial.second)?;
    let platform = Platform {
        store,
        vault,
        auth,
        logs,
        lines,
        supervisor,
        runtime,
        routes,
        metrics,
        execs: Default::default(),
        deploys,
        contents,
        keep: args.releases,
        cache_bytes: args.cache_bytes,
        lifecycle: Default::default(),
        alerts,
        webhooks,
        limits,
        grace: args.trash,
        address,
        data,
        sockets,
        stopping,
    };
    let platform = Arc::new(platform);
    recover(&platform).await?;
    Ok(platform)
}

/// After a crash: nothing stays half there, and what was live is started again. What is in the
/// trash stays as it is.
async fn recover(platform: &Arc<Platform>) -> Result<()> {
    platform.store.run(fail_unfinished)?;
    let uploads = platform.data.join("uploads");
    fs::remove_dir_all(&uploads).map_err(|error| disk("clear", &uploads, &error))?;
    make_private(&uploads)?;
    let (apps, (known, networks)) = platform.store.run(|t| Ok((all_apps(t)?, kept_rows(t)?)))?;
    // What can't be removed is no reason not to serve.
    let report = |error: Error| say!("cannot clear up: {error}");
    remove_strays(&platform.data.join("apps"), &known).unwrap_or_else(report);
    platform.contents.retain(&networks).unwrap_or_else(report);
    platform.metrics.retain(&known).unwrap_or_else(report);
    platform.logs.retain(&known, &networks).unwrap_or_else(report);
    for network in networks {
        platform.route(network).await;
    }
    for (row, network, name) in apps {
        let directory = platform.app_directory(row.id);
        if directory.exists() {
            for number in platform.store.run(|t| releases::unmeasured(t, row.id))? {
                let bytes = sweep::size(&directory.join(number.to_string()));
                platform.store.run(|t| releases::measured(t, row.id, number, bytes))?;
            }
            let kept = platform.store.run(|t| releases::kept(t, row.id, platform.keep))?;
            sweep::prune(&directory, &kept).unwrap_or_else(report);
        }
        match platform.release_of(&row).await {
            Ok(None) => {}
            Ok(Some(release)) if row.stopped => platform.supervisor.rest(&release),
            Ok(Some(release)) => platform.supervisor.resume(release, row.instances),
            Err(error) => say!("cannot start the release of {name}.{network}: {error}"),
        }
    }
    platform.resume_probations()
}

/// Removes the directories of apps that are gone.
fn remove_strays(directory: &Path, apps: &[i64]) -> Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    let items = fs::read_dir(directory).map_err(|error| disk("read", directory, &error))?;
    for item in items.flatten() {
        let id = item.file_name().to_str().and_then(|name| name.parse::<i64>().ok());
        if !id.is_some_and(|id| apps.contains(&id)) {
            sweep::remove(&item.path()).map_err(|error| disk("remove", &item.path(), &error))?;
        }
    }
    Ok(())
}

/// Takes connections until the server stops. Each gets a task, which ends its requests
/// in order.
async fn accept<H, F, E>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    connections: TaskTracker,
    stopping: watch::Receiver<bool>,
    handle: H,
) where
    H: Fn(hyper::Request<Incoming>, SocketAddr, bool) -> F + Clone + Send + 'static,
    F: Future<Output = Result<hyper::Response<axum::body::Body>, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut stopped = stopping.clone();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopping| *stopping) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Too many open files, most likely: that passes.
                say!("cannot accept a connection: {}", io_reason(&error));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, handle, stopping) = (tls.clone(), handle.clone(), stopping.clone());
        connections.spawn(async move {
            connection(stream, peer, tls, stopping, handle).await;
            drop(place);
        });
    }
}

async fn connection<H, F, E>(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    mut stopping: watch::Receiver<bool>,
    handle: H,
) where
    H: Fn(hyper::Request<Incoming>, SocketAddr, bool) -> F + Clone + Send + 'static,
    F: Future<Output = Result<hyper::Response<axum::body::Body>, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let _ = stream.set_nodelay(true);
    let secure = tls.is_some();
    let service = service_fn(move |request| handle(request, peer, secure));
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    // What goes wrong on a connection is the client's affair.
    match tls {
        None => {
            let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
            let mut served = std::pin::pin!(served);
            tokio::select! {
                _ = served.as_mut() => return,
                _ = stopping.wait_for(|stopping| *stopping) => served.as_mut().graceful_shutdown(),
            }
            let _ = served.await;
        }
        Some(tls) => {
            let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await else { return };
            let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
            let mut served = std::pin::pin!(served);
            tokio::select! {
                _ = served.as_mut() => return,
                _ = stopping.wait_for(|stopping| *stopping) => served.as_mut().graceful_shutdown(),
            }
            let _ = served.await;
        }
    }
}

/// What is due now and then.
async fn keep_house(platform: Arc<Platform>) {
    // What is kept for a short time is not to stay much longer.
    let pause = match platform.grace / 10 {
        Duration::ZERO => MINUTE,
        tenth => tenth.clamp(Duration::from_secs(1), MINUTE),
    };
    let mut due = tokio::time::interval(pause);
    loop {
        due.tick().await;
        for done in [
            platform.fail_stale_uploads().await,
            platform.store.with(once::forget_old).await,
            platform.store.with(audit::forget_old).await,
            platform.store.with(alerts::forget_old).await,
            platform.sweep_trash().await,
        ] {
            if let Err(error) = done {
                say!("{error}");
            }
        }
    }
}

/// What the ready file holds.
#[derive(miniserde::Serialize)]
struct Ready<'a> {
    url: &'a str,
    apps_url: &'a str,
}

fn ready(path: &Path, url: &str, apps_url: &str) -> Result<()> {
    let text = miniserde::json::to_string(&Ready { url, apps_url });
    let new = path.with_extension("new");
    let written = fs::File::create(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        fs::rename(&new, path)
    });
    written.map_err(|error| disk("write", path, &error))
}

/// Makes signals that whoever started maxd has it ignore do nothing in another way: apps and
/// shells would inherit that they are ignored, and no handler (execve(2)).
fn heed_signals() -> Result<()> {
    let kinds = [
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    for kind in kinds.into_iter().filter(|kind| signals::ignored(kind.as_raw_value())) {
        drop(signal(kind).map_err(|error| Error::io("wait for", "signals", &error))?);
    }
    Ok(())
}

async fn wait_for_signal() -> Result<()> {
    let failed = |error: std::io::Error| Error::io("wait for", "signals", &error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
