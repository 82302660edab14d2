//! One running copy of a release: started on a free port, watched until it is healthy.

use super::build::brief;
use super::plan::Health;
use super::pump::{Journal, Pumps};
use super::runtime::{Exit, Job, Streams, Task, shell};
use super::supervisor::{Parts, Release};
use crate::error::{Error, Kind, Result};
use crate::time::rfc3339;
use crate::wire::app::Check;
use crate::wire::log::Source;
use axum::body::Body;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How often a start is repeated because somebody else took the port.
const PORT_TRIES: u32 = 3;

/// The pause between two looks at an instance that isn't healthy yet.
const LOOK: Duration = Duration::from_millis(50);

/// How long one request for the health path may take.
const PROBE: Duration = Duration::from_secs(10);

/// Variables that the user's win over.
const DEFAULTS: &[(&str, &str)] = &[
    // Otherwise Python keeps what it prints until there is a lot of it.
    ("PYTHONUNBUFFERED", "1"),
    // Otherwise Express shows visitors where it failed.
    ("NODE_ENV", "production"),
    ("npm_config_update_notifier", "false"),
];

/// An instance that was healthy when it was started. Dropping it kills it.
pub struct Instance {
    job: Box<dyn Job>,
    pumps: Pumps,
    port: Port,
    /// When it was started.
    pub since: SystemTime,
}

impl Instance {
    /// Starts `command` for the release and waits until it is healthy. `started` hears
    /// of each process. When it fails, or the future is dropped, nothing is left.
    pub async fn start(
        command: &str,
        release: &Release,
        parts: &Parts,
        journal: &Journal,
        started: impl Fn(&Instance),
    ) -> Result<Instance, Unhealthy> {
        let mut tries = 1;
        loop {
            let launch = Instance::launch(command, release, parts, journal);
            let mut instance = launch.await.map_err(Unhealthy::from)?;
            started(&instance);
            let pid = instance.pid().map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            journal.write(Source::Event, format!("started release {}{pid}", release.number)).await;
            let Err(failure) = instance.healthy(release, parts).await else { return Ok(instance) };
            let port = instance.port.number;
            let taken = matches!(failure, Failure::Exited(..)) && !is_free(port);
            let exit = instance.stop(Duration::from_secs(10)).await;
            if taken && tries < PORT_TRIES {
                tries += 1;
                let text = format!("{exit}, and port {port} is taken; starting again on another one");
                journal.write(Source::Event, text).await;
                continue;
            }
            return Err(failure.told(command, port, &release.plan.health));
        }
    }

    async fn launch(command: &str, release: &Release, parts: &Parts, journal: &Journal) -> Result<Instance> {
        let port = Ports::take(&parts.ports).map_err(|error| Error::io("get", "a free port", &error))?;
        let mut env = environment(release)?;
        env.extend(place(port.number));
        let (argv, dir, limits) = (shell(command), release.dir.clone(), release.plan.limits);
        let task = Task {
            argv,
            streams: Streams::Output,
            dir,
            writable: Vec::new(),
            env,
            app: Some(release.app),
            limits,
        };
        let mut job = parts.runtime.start(task).await?;
        let pumps = journal.follow(job.as_mut(), Source::Stdout, Source::Stderr);
        Ok(Instance { job, pumps, port, since: SystemTime::now() })
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// The number by which the host's administrator knows it.
    pub fn pid(&self) -> Option<u64> {
        self.job.pid()
    }

    /// How an end is told: with its reason, where the kernel has brought it about.
    pub fn told(&self, exit: Exit) -> String {
        match self.job.starved() {
            true => format!("{exit}, over its memory limit"),
            false => exit.to_string(),
        }
    }

    /// Waits until it ends by itself. May be dropped and called again.
    pub async fn exited(&mut self) -> Exit {
        self.job.wait().await
    }

    /// Ends it, and waits until its last words are in the log.
    pub async fn stop(mut self, grace: Duration) -> Exit {
        let exit = self.job.stop(grace).await;
        self.pumps.drain().await;
        exit
    }

    async fn healthy(&mut self, release: &Release, parts: &Parts) -> Result<(), Failure> {
        let health = &release.plan.health;
        let seen = Mutex::new(None);
        let look = async {
            loop {
                let host = parts.routes.hostname(release.app);
                match probe(self.port.number, health, &host).await {
                    Probe::Healthy => return,
                    Probe::Silent => {}
                    Probe::Answered(status) => {
                        *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                    }
                }
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            biased;
            exit = self.job.wait() => Err(Failure::Exited(self.told(exit))),
            looked = timeout(health.timeout, look) => looked.map_err(|_| {
                Failure::Late(seen.into_inner().unwrap_or_else(PoisonError::into_inner))
            }),
        }
    }
}

/// Where an instance listens, as it finds that in its environment.
pub fn place(port: u16) -> [(String, String); 2] {
    [("PORT".to_owned(), port.to_string()), ("HOST".to_owned(), Ipv4Addr::LOCALHOST.to_string())]
}

/// What every program of a release finds in its environment, besides its own port.
pub fn environment(release: &Release) -> Result<Vec<(String, String)>> {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut env: Vec<_> = DEFAULTS.iter().map(pair).collect();
    env.extend(release.env.open()?);
    Ok(env)
}

/// Why an instance did not become healthy.
enum Failure {
    /// As it is told.
    Exited(String),
    /// With what the health path answered last.
    Late(Option<String>),
}

/// Why an instance did not become healthy, for people.
pub struct Unhealthy {
    /// Without its subject: `exited with code 1`.
    pub short: String,
    /// The whole story.
    pub error: Error,
}

impl From<Error> for Unhealthy {
    fn from(error: Error) -> Unhealthy {
        Unhealthy { short: error.message().to_owned(), error }
    }
}

impl Failure {
    fn told(&self, command: &str, port: u16, health: &Health) -> Unhealthy {
        let limit = match health.timeout.subsec_millis() {
            0 => format!("{} s", health.timeout.as_secs()),
            _ => format!("{} ms", health.timeout.as_millis()),
        };
        let (short, more, hint) = match (self, &health.path) {
            (Failure::Exited(told), _) => {
                (told.clone(), " before it was healthy", "its last lines are in the app's log")
            }
            (Failure::Late(Some(seen)), Some(path)) => (
                format!("did not become healthy within {limit}: '{path}' {seen}"),
                "",
                "the health path must answer 2xx or 3xx",
            ),
            (Failure::Late(_), _) => (
                format!("did not listen on port {port} (PORT) within {limit}"),
                "",
                "listen on 127.0.0.1 or 0.0.0.0, on the port in the variable PORT; 'health.timeout' in \
                 rig.json allows more time",
            ),
        };
        let error = Error::new(Kind::DeployFailed, format!("'{}' {short}{more}", brief(command))).hint(hint);
        Unhealthy { short, error }
    }
}

/// Looks once whether what listens on the port is healthy: instance `number` of the app that
/// has this hostname.
pub async fn check(number: u64, port: u16, release: &Release, host: &str) -> Check {
    let (time, began, health) = (SystemTime::now(), Instant::now(), &release.plan.health);
    let reason = match (probe(port, health, host).await, &health.path) {
        (Probe::Healthy, _) => None,
        (Probe::Silent, _) => Some(format!("it does not listen on port {port} (PORT)")),
        (Probe::Answered(seen), path) => Some(format!("'{}' {seen}", path.as_deref().unwrap_or_default())),
    };
    let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    Check { time: rfc3339(time), instance: number, healthy: reason.is_none(), reason, took_us }
}

enum Probe {
    Healthy,
    Silent,
    /// `answered 500`, or what else came.
    Answered(String),
}

async fn probe(port: u16, health: &Health, hostname: &str) -> Probe {
    // It may listen without ever accepting.
    let connect = timeout(PROBE, TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
    let Ok(Ok(stream)) = connect.await else { return Probe::Silent };
    let Some(path) = &health.path else { return Probe::Healthy };
    match timeout(PROBE, status(stream, path, hostname)).await {
        Ok(Ok(status)) if (200..400).contains(&status) => Probe::Healthy,
        Ok(Ok(status)) => Probe::Answered(format!("answered {status}")),
        Ok(Err(_)) => Probe::Answered("broke off".to_owned()),
        Err(_) => Probe::Answered(format!("did not answer within {} s", PROBE.as_secs())),
    }
}

async fn status(stream: TcpStream, path: &str, hostname: &str) -> hyper::Result<u16> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::new(Body::empty());
    if let Ok(path) = path.parse() {
        *request.uri_mut() = path;
    }
    for (name, value) in [(header::HOST, hostname), (header::USER_AGENT, "maxd-health")] {
        if let Ok(value) = value.parse() {
            request.headers_mut().insert(name, value);
        }
    }
    let answer = async { sender.send_request(request).await.map(|response| response.status().as_u16()) };
    tokio::pin!(connection);
    tokio::select! {
        biased;
        status = answer => status,
        Err(error) = &mut connection => Err(error),
    }
}

/// Ports that are given to instances, so that two that start together differ.
#[derive(Default)]
pub struct Ports {
    taken: Mutex<HashSet<u16>>,
}

/// A port of 127.0.0.1, until it is dropped.
struct Port {
    number: u16,
    ports: Arc<Ports>,
}

impl Ports {
    /// A port that nobody listens on at the moment.
    fn take(ports: &Arc<Ports>) -> io::Result<Port> {
        loop {
            let number = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            if ports.lock().insert(number) {
                return Ok(Port { number, ports: ports.clone() });
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<u16>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.ports.lock().remove(&self.number);
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
