//! A network's console: what `rig shell --network NETWORK` opens. It runs in maxd itself,
//! without a process or a terminal of the host, and does what the user could do with rig.
//!
//! ```text
//! keys ─► editor ─► line ─► command ─► platform
//! screen ◀── bytes ◀── table ◀── answer ◀┘
//! ```
//!
//! To the session that carries its bytes it is a job like a shell in an app. The terminal is
//! somewhere else and in raw mode; of it only the width is known here.

mod commands;
pub mod completion;
pub mod editor;
mod history;
mod keys;
mod line;
mod table;
pub mod text;
mod view;

use super::auth::Identity;
use super::platform::{Platform, network_in_row};
use super::runtime::{Exit, Future, Input, Job, Pipe, Size};
use crate::error::{Error, Kind, Result};
use crate::wire::app;
use commands::{Answer, Args, Call, Command};
use editor::{Editor, Event};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What its pipes hold, in bytes.
const PIPE: usize = 16 * 1024;
/// What one read takes.
const PIECE: usize = 4096;
/// How long its last bytes may take when it is ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The exit code of one that was ended: that of SIGTERM.
const ENDED: i32 = 128 + 15;

/// A console as a job.
pub struct Console {
    outputs: Option<(Pipe, Pipe)>,
    input: Option<Input>,
    size: watch::Sender<Size>,
    exit: watch::Receiver<Option<Exit>>,
    /// Ends it, at the latest when this is dropped.
    end: Option<DropGuard>,
}

impl Console {
    /// A console of the network (its row and its name) for `who`, who has it. It begins at once.
    pub fn open(platform: Arc<Platform>, who: Identity, network: (i64, String), size: Size) -> Console {
        let (output, far_output) = duplex(PIPE);
        let (input, far_input) = duplex(PIPE);
        let (size, sizes) = watch::channel(size);
        let (ended, exit) = watch::channel(None);
        let token = CancellationToken::new();
        let end = Some(token.clone().drop_guard());
        let mut desk = Desk::new(platform, who, network, input, output, sizes);
        tokio::spawn(async move {
            let code = tokio::select! {
                code = desk.run() => code,
                () = token.cancelled() => {
                    // The terminal is left as it was found.
                    let _ = timeout(LAST_WORDS, desk.write("\x1b[?2004l\r\n")).await;
                    ENDED
                }
            };
            ended.send_replace(Some(Exit { code }));
        });
        let outputs: (Pipe, Pipe) = (Box::new(far_output), Box::new(tokio::io::empty()));
        Console { outputs: Some(outputs), input: Some(Box::new(far_input)), size, exit, end }
    }
}

impl Job for Console {
    fn pid(&self) -> Option<u64> {
        None
    }

    fn outputs(&mut self) -> Option<(Pipe, Pipe)> {
        self.outputs.take()
    }

    fn input(&mut self) -> Option<Input> {
        self.input.take()
    }

    fn resize(&self, size: Size) {
        self.size.send_replace(size);
    }

    fn signal(&self, _: i32) -> bool {
        // There is nothing that a signal could end.
        true
    }

    fn wait(&mut self) -> Future<'_, Exit> {
        Box::pin(async {
            let exit = self.exit.wait_for(Option::is_some).await;
            // One that has left no code has crashed.
            exit.ok().and_then(|exit| *exit).unwrap_or(Exit { code: 1 })
        })
    }

    fn stop(&mut self, _: Duration) -> Future<'_, Exit> {
        self.end = None;
        self.wait()
    }
}

/// Where the console's user sits.
struct Desk {
    platform: Arc<Platform>,
    who: Identity,
    /// The network's row.
    row: i64,
    /// What it is called, when that was looked at last.
    network: String,
    editor: Editor,
    input: DuplexStream,
    output: DuplexStream,
    sizes: watch::Receiver<Size>,
    /// There will be no more input.
    closed: bool,
}

fn prompt(network: &str) -> String {
    format!("{network}> ")
}

/// Nobody takes what is written.
struct Gone;

impl Desk {
    fn new(
        platform: Arc<Platform>,
        who: Identity,
        (row, network): (i64, String),
        input: DuplexStream,
        output: DuplexStream,
        mut sizes: watch::Receiver<Size>,
    ) -> Desk {
        let columns = sizes.borrow_and_update().columns;
        let editor = Editor::new(&prompt(&network), columns);
        Desk { platform, who, row, network, editor, input, output, sizes, closed: false }
    }

    /// From the first prompt to the exit code.
    async fn run(&mut self) -> i32 {
        // Who is gone needs no code.
        self.talk().await.unwrap_or(0)
    }

    async fn talk(&mut self) -> Result<i32, Gone> {
        let banner = [
            format!("Max {}, network {}, as {}", env!("CARGO_PKG_VERSION"), self.network, self.who.name),
            "`help` lists the commands, Tab completes, Ctrl-D ends".to_owned(),
        ];
        for line in banner {
            let line = text::safe(&line);
            self.write(&format!("{}\r\n", text::cut(&line, self.editor.columns()))).await?;
        }
        self.editor.begin();
        loop {
            let event = self.editor.poll();
            self.flush().await?;
            match event {
                Some(Event::Line(line)) => {
                    self.learn_name().await;
                    if let Some(code) = self.do_line(&line).await? {
                        return Ok(code);
                    }
                    self.editor.begin();
                }
                Some(Event::Complete(line)) => {
                    // Without names there is nothing to complete.
                    let apps = self.apps().await;
                    self.editor.complete(commands::complete(&line, &apps));
                }
                Some(Event::End) => return Ok(0),
                None if self.closed => {
                    self.write("\r\n").await?;
                    return Ok(0);
                }
                None => self.hear().await,
            }
        }
    }

    /// Waits until something was typed, or the size has changed.
    async fn hear(&mut self) {
        let mut buffer = [0; PIECE];
        let room = self.editor.room().min(PIECE);
        tokio::select! {
            Ok(()) = self.sizes.changed() => {
                let size = *self.sizes.borrow_and_update();
                self.editor.resize(size.columns);
            }
            read = self.input.read(buffer.get_mut(..room).unwrap_or(&mut [])), if !self.closed && room > 0 => {
                match read {
                    Ok(count @ 1..) => self.editor.feed(buffer.get(..count).unwrap_or(&[])),
                    _ => self.closed = true,
                }
            }
            else => std::future::pending().await,
        }
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        let out = self.editor.take();
        self.write(&out).await
    }

    async fn write(&mut self, text: &str) -> Result<(), Gone> {
        self.output.write_all(text.as_bytes()).await.map_err(|_| Gone)
    }

    /// The network may have been renamed since.
    async fn learn_name(&mut self) {
        let row = self.row;
        if let Ok(Some(name)) = self.platform.store.with(move |t| network_in_row(t, row)).await
            && name != self.network
        {
            self.editor.ask_with(&prompt(&name));
            self.network = name;
        }
    }

    /// The names of the network's apps.
    async fn apps(&self) -> Vec<String> {
        let request = app::Filter { network: Some(self.network.clone()) };
        let Ok(who) = self.who.asks("app:list") else { return Vec::new() };
        let list = self.platform.list_apps(&who, request).await;
        list.map(|list| list.apps.into_iter().map(|app| app.name).collect()).unwrap_or_default()
    }

    /// Runs a line; the exit code when the console ends with it.
    async fn do_line(&mut self, line: &str) -> Result<Option<i32>, Gone> {
        let (command, args) = match commands::parse(line) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.explain(&error, &[]).await?;
                return Ok(None);
            }
        };
        match self.carry_out(command, args.clone()).await? {
            Some(Ok(Answer::Text(text))) => self.write(&text).await?,
            Some(Ok(Answer::Clear)) => self.write("\x1b[H\x1b[2J").await?,
            Some(Ok(Answer::Exit)) => return Ok(Some(0)),
            Some(Err(error)) => self.explain(&error, &args).await?,
            None => {}
        }
        Ok(None)
    }

    async fn explain(&mut self, error: &Error, args: &[Option<String>]) -> Result<(), Gone> {
        let apps = match error.field_name() {
            Some("app") => self.apps().await,
            _ => Vec::new(),
        };
        let line = commands::explain(error, &self.network, &apps, args);
        self.write(&format!("{}\r\n", text::safe(&line))).await
    }

    /// Waits for a command; nothing when the user has stopped waiting. It is a task of its
    /// own, so that a change goes on then, and so that its crash is not the console's.
    async fn carry_out(&mut self, command: &Command, args: Args) -> Result<Option<Result<Answer>>, Gone> {
        let (platform, who, network) = (Arc::clone(&self.platform), self.who.clone(), self.network.clone());
        let columns = self.editor.columns();
        let mut task = tokio::spawn((command.run)(Call { platform, who, network, columns, args }));
        while !self.editor.interrupted() {
            tokio::select! {
                done = &mut task => {
                    let crashed = |_| Err(Error::new(Kind::Internal, "the server failed at this command"));
                    return Ok(Some(done.unwrap_or_else(crashed)));
                }
                () = self.hear() => {}
            }
        }
        let more = match command.lasts {
            true => "it goes on without the console\r\n",
            false => {
                task.abort();
                ""
            }
        };
        self.write(&format!("^C\r\n{more}")).await?;
        Ok(None)
    }
}
