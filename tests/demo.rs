//! `make demo`: the main job with the real `rig` against a `maxd` of its own, each
//! command shown with its output. On a terminal the server then stays up.

use rig::sys::signals;
use std::error::Error;
use std::fs;
use std::io::{IsTerminal, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The server and its files; both go when this does.
struct Demo {
    bin: PathBuf,
    dir: tempfile::TempDir,
    maxd: Option<Child>,
    apps: String,
    url: String,
    step: &'static str,
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Some(mut maxd) = self.maxd.take() {
            // SIGTERM, so that it stops the apps too.
            let _ = Command::new("kill").arg(maxd.id().to_string()).status();
            let deadline = Instant::now() + Duration::from_secs(60);
            while matches!(maxd.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    eprintln!("demo: maxd does not stop; it is killed");
                    let _ = maxd.kill();
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
    }
}

/// Ctrl-C, or Enter at the end.
static STOP: OnceLock<mpsc::Sender<()>> = OnceLock::new();

fn main() -> ExitCode {
    let (stop, stopped) = mpsc::channel();
    // Ctrl-C reaches rig and maxd too; here it only must not keep the files from being
    // removed.
    let _ = STOP.set(stop);
    signals::watch(|signal| match signal {
        signals::RESIZED => {}
        signals::STOPPED => signals::suspend(),
        _ => stop_now(),
    });
    let ended = Demo::new().and_then(|mut demo| {
        let ended = demo.run().and_then(|()| demo.stay(&stopped));
        ended.map_err(|error| format!("the step '{}' failed: {error}\n{}", demo.step, demo.log()).into())
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn stop_now() {
    if let Some(stop) = STOP.get() {
        // Nobody listens any more: the demo is ending.
        let _ = stop.send(());
    }
}

impl Demo {
    fn new() -> Result<Demo> {
        // target/PROFILE/examples/demo: rig and maxd are one directory up.
        let here = std::env::current_exe()?;
        let bin = here.parent().and_then(Path::parent).ok_or("no target directory")?.to_owned();
        let dir = tempfile::Builder::new().prefix("rig-demo-").tempdir()?;
        Ok(Demo { bin, dir, maxd: None, apps: String::new(), url: String::new(), step: "prepare" })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("maxd.log")).unwrap_or_default()
    }

    fn run(&mut self) -> Result<()> {
        self.step = "start maxd";
        self.start()?;
        self.step = "make a token";
        let maxd = Command::new(self.bin.join("maxd"))
            .args(["token", "create", "--user", "demo", "--data"])
            .arg(self.path("data"))
            .stderr(Stdio::inherit())
            .output()?;
        if !maxd.status.success() {
            return Err("maxd token create failed".into());
        }
        println!("$ maxd token create --data DATA --user demo > token");
        fs::write(self.path("token"), maxd.stdout)?;
        self.step = "log in";
        let url = self.url.clone();
        self.rig(&["login", "--url", &url, "--token-stdin", "--store", "file"], Some("token"))?;
        self.step = "create a network";
        self.rig(&["create", "network", "demo"], None)?;
        self.step = "create an app";
        self.rig(&["create", "app", "hello", "--network", "demo"], None)?;
        self.step = "deploy";
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/hello"), &self.path("hello"))?;
        self.rig(&["deploy", "hello", "--app", "hello", "--network", "demo"], None)?;
        self.step = "ask the app";
        self.get("Hello from Max!\n")?;
        self.step = "status";
        self.rig(&["status", "app", "hello.demo"], None)?;
        self.step = "logs";
        self.rig(&["logs", "app", "hello.demo", "--no-follow"], None)?;
        self.step = "deploy again";
        println!("$ echo 'Hello again, from release 2!' > hello/message.txt");
        fs::write(self.path("hello/message.txt"), "Hello again, from release 2!\n")?;
        self.rig(&["deploy", "hello", "--app", "hello", "--network", "demo"], None)?;
        self.step = "ask the app again";
        self.get("Hello again, from release 2!\n")
    }

    fn start(&mut self) -> Result<()> {
        let log = fs::File::create(self.path("maxd.log"))?;
        let ready = self.path("ready");
        let args = ["--listen", "127.0.0.1:0", "--apps-listen", "127.0.0.1:0", "--domain", "localhost"];
        println!("$ maxd serve --data DATA {}", args.join(" "));
        let mut maxd = Command::new(self.bin.join("maxd"))
            .args(["serve", "--ready-file"])
            .arg(&ready)
            .arg("--data")
            .arg(self.path("data"))
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while !ready.exists() {
            if let Some(status) = maxd.try_wait()? {
                return Err(format!("maxd ended with {status}").into());
            }
            if Instant::now() > deadline {
                return Err("maxd was not ready within 30 s".into());
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        self.maxd = Some(maxd);
        let text = fs::read_to_string(&ready)?;
        let ready: serde_json::Value = serde_json::from_str(&text)?;
        let member =
            |name: &str| ready[name].as_str().map(str::to_owned).ok_or("the ready file is malformed");
        (self.url, self.apps) = (member("url")?, member("apps_url")?);
        Ok(())
    }

    /// Shows and runs a command; its output goes where the demo's goes.
    fn rig(&self, args: &[&str], stdin: Option<&str>) -> Result<()> {
        let from = stdin.map_or(String::new(), |file| format!(" < {file}"));
        println!("\n$ rig {}{from}", args.join(" "));
        let stdin = match stdin {
            Some(file) => fs::File::open(self.path(file))?.into(),
            None => Stdio::null(),
        };
        let status = Command::new(self.bin.join("rig"))
            .args(args)
            .current_dir(self.dir.path())
            .env("RIG_CONFIG_DIR", self.path("config"))
            .env_remove("RIG_TOKEN")
            .env_remove("RIG_URL")
            .env_remove("RIG_CA")
            .stdin(stdin)
            .status()?;
        if status.success() { Ok(()) } else { Err(format!("rig ended with {status}").into()) }
    }

    /// Asks the app over the router, and expects `wanted`.
    fn get(&self, wanted: &str) -> Result<()> {
        let (_, port) = self.apps.rsplit_once(':').ok_or("no port")?;
        let host = format!("hello.demo.localhost:{port}");
        println!("\n$ GET http://{host}/");
        let mut stream = TcpStream::connect(("127.0.0.1", port.parse()?))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
        println!("{}\n{body}", head.lines().next().unwrap_or_default());
        if body == wanted { Ok(()) } else { Err(format!("the app answered {body:?}, not {wanted:?}").into()) }
    }

    /// On a terminal: stays up until Enter or Ctrl-C.
    fn stay(&mut self, stopped: &mpsc::Receiver<()>) -> Result<()> {
        self.step = "stay up";
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            println!("\nThe demo is done.");
            return Ok(());
        }
        let (_, port) = self.apps.rsplit_once(':').ok_or("no port")?;
        println!("\nMax stays up. Open http://hello.demo.localhost:{port}/ or go on in another terminal:\n");
        println!(
            "  export PATH={}:$PATH RIG_CONFIG_DIR={}",
            self.bin.display(),
            self.path("config").display()
        );
        println!(
            "  rig whoami\n  rig logs app hello.demo\n  cd {} && rig deploy --app hello --network demo",
            self.path("hello").display()
        );
        println!("\nEnter ends it.");
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_line(&mut String::new());
            stop_now();
        });
        stopped.recv()?;
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for item in fs::read_dir(from)? {
        let item = item?;
        fs::copy(item.path(), to.join(item.file_name()))?;
    }
    Ok(())
}
